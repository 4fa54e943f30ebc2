//! `workspaces` and `workspace_open`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::Result;
use stigmer_core::workspace::WorkspaceInfo;

use super::{Effect, Operation};
use crate::Scope;
use crate::answer::Answer;
use crate::call::Call;

/// Which: all that this client may use.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {}

/// Workspaces.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// The workspaces that were opened, sorted by directory.
    workspaces: Vec<Workspace>,
}

/// A workspace.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workspace {
    /// Its id, for the argument `workspace` of other tools.
    id: String,
    /// Its directory.
    root: String,
    /// Where its commands run: local (on the host, without isolation), sandbox (in a container) or
    /// another mode.
    mode: String,
    /// Whether tools work in it that name no workspace.
    default: bool,
}

impl Workspace {
    fn new(info: &WorkspaceInfo, scope: &Scope) -> Self {
        Self {
            id: info.id.to_string(),
            root: info.root.to_string(),
            mode: info.mode.to_string(),
            default: scope.workspace.as_ref().is_some_and(|own| own.id == info.id),
        }
    }

    fn line(&self) -> String {
        let default = if self.default { "  (default)" } else { "" };
        format!("{}  {}  {} mode{default}", self.id, self.root, self.mode)
    }
}

impl Operation for List {
    const NAME: &'static str = "workspaces";
    const TITLE: &'static str = "List workspaces";
    const DESCRIPTION: &'static str = "\
List the workspaces that can be used, with their directories and where their commands run.";
    const EFFECT: Effect = Effect::Reads;
    type Answer = Listed;

    async fn call(self, call: Call) -> Result<Listed> {
        let mut all = call.server.workspaces.list().await?;
        all.retain(|info| call.scope.shows(info));
        let workspaces = all.iter().map(|info| Workspace::new(info, &call.scope)).collect();
        Ok(Listed { workspaces })
    }
}

impl Answer for Listed {
    fn text(&self) -> String {
        let lines: Vec<_> = self.workspaces.iter().map(Workspace::line).collect();
        match lines.is_empty() {
            true => "no workspace was opened".to_owned(),
            false => lines.join("\n"),
        }
    }
}

/// What to open.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Open {
    /// An absolute directory that exists.
    path: String,
}

impl Operation for Open {
    const NAME: &'static str = "workspace_open";
    const TITLE: &'static str = "Open a workspace";
    const DESCRIPTION: &'static str = "\
Open a directory as a workspace and get its id. The same directory gives the same workspace. Where its \
commands run is a setting of the server's.";
    const EFFECT: Effect = Effect::Adds;
    type Answer = Workspace;

    async fn call(self, call: Call) -> Result<Workspace> {
        let info = call.scope.open(&*call.server.workspaces, &self.path).await?;
        Ok(Workspace::new(&info, &call.scope))
    }
}

impl Answer for Workspace {
    fn text(&self) -> String {
        self.line()
    }
}
