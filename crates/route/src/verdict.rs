//! What goes into a decision beside the command, and what comes out.

use std::path::PathBuf;

use serde::Serialize;
use stigmer_core::Lane;

/// What is known of the place that a command would run in. Handed in as data: this crate does not
/// look for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The workspace's root, absolute.
    pub root: PathBuf,
    /// The directory that the command starts in, absolute.
    pub cwd: PathBuf,
    /// The caller's home directory. Without it, paths that begin with `~` are unknown.
    pub home: Option<PathBuf>,
    /// The repository's own configuration names programs that git would run (`core.fsmonitor`,
    /// `diff.external`, a `textconv`, a filter …). Reading with git then belongs in the workspace
    /// lane, as everything that runs code of the workspace does.
    pub repository_runs_programs: bool,
    /// Names of programs that a package manager has put into the workspace (`node_modules/.bin`): only
    /// asked about what fetches a program that is not there, as `npx` does.
    pub installed: Vec<String>,
}

impl Facts {
    /// A command that starts at the workspace's root, of a caller whose home is not known.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { cwd: root.clone(), root, ..Self::default() }
    }
}

/// Where a command belongs, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The lane.
    pub lane: Lane,
    /// The rule that decided: a tool as the rules name it (`git log`), or what is said of the shell
    /// itself (`shell:redirect`).
    pub rule: String,
    /// The part of the command that the rule speaks of, cut to a length that can be shown.
    pub token: String,
    /// Why, in plain words.
    pub reason: String,
    /// Programs that the command executes itself, as it names them, each once and in the order in
    /// which they are found: wrappers (`env`, `xargs`) and what they run both, what the shell does
    /// by itself (`cd`, `echo`) not. Never all that runs: a program may start others, and a name that
    /// is only known later is not among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// Toolchains that the command uses (`python`, `node`), as the rules name them; and
    /// [`TEMPORARY`](crate::TEMPORARY) if it names something there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub toolchains: Vec<String>,
    /// Toolchains whose state the command changes: `pip install` that of `python`, and who writes there that
    /// of [`TEMPORARY`](crate::TEMPORARY). For a command in
    /// the sandbox this list and the two above are filled from all of its parts; of a text that cannot be
    /// parsed nothing is known, and they may be empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub installs: Vec<String>,
}

/// How strict a lane is: of several parts of a command the strictest decides.
pub(crate) fn strictness(lane: Lane) -> u8 {
    match lane {
        Lane::HostReadOnly => 0,
        Lane::HostWorkspace => 1,
        Lane::Sandbox => 2,
    }
}
