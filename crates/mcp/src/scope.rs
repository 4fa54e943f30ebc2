//! Which workspaces a client may use.
//!
//! The tools' arguments are the agent's, and an agent must not argue itself out of its isolation: no
//! tool takes a mode. Where the mode isolates, only workspaces of that mode can be used that somebody
//! else has opened, and if one was named for the client, only that one: any directory of this machine
//! would be within reach by opening it. In local mode there is no isolation to keep: a command can name
//! any directory anyway.

use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError, WorkspaceId};

use crate::Workspaces;

/// The workspaces of one client.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The mode of the workspaces that it opens; of all, if it isolates.
    pub mode: ExecutionMode,
    /// The workspace that was named for it: the one that tools work in when they name none.
    pub workspace: Option<WorkspaceInfo>,
}

impl Scope {
    /// The workspace that a tool's argument names, or the one that is meant without it.
    pub(crate) async fn find(
        &self,
        workspaces: &dyn Workspaces,
        named: Option<&str>,
    ) -> Result<WorkspaceInfo> {
        let Some(name) = named else {
            return self.workspace.clone().ok_or_else(|| {
                ToolError::invalid_argument("workspace", "none was named for this client")
                    .with_hint("pass an absolute directory, or an id that `workspaces` lists")
            });
        };
        if let Some(own) = &self.workspace
            && (name == own.id.as_str() || name.as_bytes() == own.root.as_bytes())
        {
            return Ok(own.clone());
        }
        self.allow_others()?;
        let info = match name.parse::<WorkspaceId>() {
            Ok(_) => workspaces.get(name).await?,
            Err(_) if name.starts_with('/') => self.open(workspaces, name).await?,
            Err(_) => {
                let reason = format!("\"{name}\" is neither an id nor an absolute directory");
                return Err(ToolError::invalid_argument("workspace", reason)
                    .with_hint("`workspaces` lists the ids"));
            }
        };
        self.check(&info)?;
        Ok(info)
    }

    /// Opens a directory as a workspace.
    pub(crate) async fn open(
        &self,
        workspaces: &dyn Workspaces,
        directory: &str,
    ) -> Result<WorkspaceInfo> {
        if let Some(own) = self.workspace.as_ref().filter(|own| own.root == directory.into()) {
            return Ok(own.clone());
        }
        self.allow_others()?;
        let path = directory.into();
        let mode = Some(self.mode);
        if self.mode != ExecutionMode::Local {
            let open = workspaces.list().await?;
            let known = open.into_iter().find(|info| info.root == path && info.mode == self.mode);
            return known.ok_or_else(|| {
                let message = format!("{directory}: is no workspace that is open in {} mode", self.mode);
                let hint = "in a mode that isolates, whoever sets the server up chooses what can be \
                            reached: with `workspace` in its address, or `stigmer workspace create`";
                ToolError::new(ErrorCode::PermissionDenied, message).with_hint(hint)
            });
        }
        workspaces.open(OpenWorkspace { path, mode, settings: Vec::new() }).await
    }

    /// Whether the client may know of a workspace.
    pub(crate) fn shows(&self, info: &WorkspaceInfo) -> bool {
        let own = self.workspace.as_ref().is_some_and(|own| own.id == info.id);
        own || (self.allow_others().is_ok() && self.check(info).is_ok())
    }

    fn allow_others(&self) -> Result<()> {
        match &self.workspace {
            Some(own) if self.mode != ExecutionMode::Local => {
                let message = format!("this client may use the workspace {} only", own.root);
                let hint = "in a mode that isolates, the workspace is chosen by whoever sets the \
                            server up";
                Err(ToolError::new(ErrorCode::PermissionDenied, message).with_hint(hint))
            }
            _ => Ok(()),
        }
    }

    fn check(&self, info: &WorkspaceInfo) -> Result<()> {
        if self.mode == ExecutionMode::Local || info.mode == self.mode {
            return Ok(());
        }
        let message = format!(
            "the workspace {} is in {} mode, and this client in {} mode",
            info.id, info.mode, self.mode
        );
        Err(ToolError::new(ErrorCode::PermissionDenied, message)
            .with_hint("pass its directory to open it in the mode of this client"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use stigmer_core::{Capabilities, ToolExecutor};

    use super::*;

    /// Has one workspace in each of two modes, and opens any directory.
    struct Two;

    fn info(number: u64, root: &str, mode: ExecutionMode) -> WorkspaceInfo {
        WorkspaceInfo {
            id: WorkspaceId::from_number(number),
            root: root.into(),
            mode,
            capabilities: Capabilities { backend: "test".to_owned(), has: Vec::new() },
            opened_ms: 0,
            server_settings: Vec::new(),
        }
    }

    #[async_trait]
    impl Workspaces for Two {
        async fn executor(&self, workspace: &str) -> Result<Arc<dyn ToolExecutor>> {
            Err(ToolError::not_available(workspace))
        }

        async fn open(&self, request: OpenWorkspace) -> Result<WorkspaceInfo> {
            Ok(info(3, &request.path.to_string(), request.mode.unwrap()))
        }

        async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
            let all = self.list().await?;
            let found = all.into_iter().find(|info| info.id.as_str() == workspace);
            found.ok_or_else(|| ToolError::new(ErrorCode::UnknownWorkspace, workspace))
        }

        async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
            Ok(vec![
                info(1, "/local", ExecutionMode::Local),
                info(2, "/boxed", ExecutionMode::Sandbox),
            ])
        }
    }

    fn id(number: u64) -> String {
        WorkspaceId::from_number(number).to_string()
    }

    async fn found(scope: &Scope, name: Option<&str>) -> Result<u64, ErrorCode> {
        let info = scope.find(&Two, name).await.map_err(|error| error.code)?;
        let digits = info.id.as_str().trim_start_matches("ws-").to_owned();
        Ok(u64::from_str_radix(&digits, 16).unwrap())
    }

    #[tokio::test]
    async fn an_agent_in_a_sandbox_reaches_nothing_but_its_workspace() {
        let own = info(2, "/boxed", ExecutionMode::Sandbox);
        let scope = Scope { mode: ExecutionMode::Sandbox, workspace: Some(own.clone()) };
        for name in [None, Some(id(2)), Some("/boxed".to_owned())] {
            assert_eq!(found(&scope, name.as_deref()).await, Ok(2));
        }
        for name in [id(1), "/local".to_owned(), "/".to_owned(), id(9)] {
            assert_eq!(
                found(&scope, Some(&name)).await,
                Err(ErrorCode::PermissionDenied),
                "{name}"
            );
        }
        assert_eq!(scope.open(&Two, "/").await.unwrap_err().code, ErrorCode::PermissionDenied);
        assert_eq!(scope.open(&Two, "/boxed").await.unwrap(), own);
        let shown: Vec<_> =
            Two.list().await.unwrap().iter().map(|info| scope.shows(info)).collect();
        assert_eq!(shown, [false, true]);
    }

    #[tokio::test]
    async fn without_a_workspace_of_its_own_it_stays_in_the_mode_and_opens_nothing() {
        let scope = Scope { mode: ExecutionMode::Sandbox, workspace: None };
        assert_eq!(found(&scope, Some(&id(2))).await, Ok(2));
        assert_eq!(found(&scope, Some("/boxed")).await, Ok(2));
        for name in [id(1), "/local".to_owned(), "/other".to_owned()] {
            assert_eq!(found(&scope, Some(&name)).await, Err(ErrorCode::PermissionDenied));
        }
        assert_eq!(found(&scope, None).await, Err(ErrorCode::InvalidArgument));
        assert_eq!(scope.open(&Two, "/boxed").await.unwrap().id, WorkspaceId::from_number(2));
        assert_eq!(scope.open(&Two, "/x").await.unwrap_err().code, ErrorCode::PermissionDenied);
    }

    #[tokio::test]
    async fn where_nothing_isolates_any_can_be_used() {
        let own = info(1, "/local", ExecutionMode::Local);
        let scope = Scope { mode: ExecutionMode::Local, workspace: Some(own) };
        assert_eq!(found(&scope, None).await, Ok(1));
        assert_eq!(found(&scope, Some(&id(2))).await, Ok(2));
        assert_eq!(found(&scope, Some("/other")).await, Ok(3));
        assert_eq!(found(&scope, Some("other")).await, Err(ErrorCode::InvalidArgument));
    }
}
