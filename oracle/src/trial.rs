//! What is said between a test and a world.

use std::fmt;

use serde::{Deserialize, Serialize};
use stigmer_core::Denial;
use stigmer_guard::HostLane;

/// How a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// In a lane.
    Lane,
    /// Held by nothing but the world, with the variables of the lane.
    Bare,
    /// The same, followed by `strace`.
    Traced,
    /// Held by nothing but the world, with the caller's own variables: as without auto mode.
    Local,
}

/// A command to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// As bash reads it.
    pub command: String,
    /// The lane that it is for.
    pub lane: HostLane,
    /// How it is run.
    pub way: Way,
    /// Programs that it is known to call, as the guard is told of them.
    pub programs: Vec<String>,
    /// After how many seconds it is ended: it may wait for input that never comes, or watch a file.
    pub seconds: u64,
}

/// What became of a file, a server or a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum What {
    /// It is there and was not.
    Made,
    /// It was there and is not.
    Removed,
    /// Its content, mode, owner, names, attributes or times are others.
    Changed,
    /// A secret's content was read.
    Read,
    /// A secret's content was printed.
    Shown,
    /// A server that is not the command's was reached.
    Reached,
    /// Something remains that should have gone with the lane.
    Left,
    /// It tried to change something (`strace`).
    Wrote,
    /// It executed a program of the workspace (`strace`).
    Executed,
    /// It tried to reach somebody (`strace`).
    Connected,
    /// It asked for what no lane has: mounts, namespaces, other processes' memory (`strace`).
    Asked,
}

/// An effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// What happened.
    pub what: What,
    /// To what: a path, a server, or a call.
    pub to: String,
}

impl Change {
    pub(crate) fn new(what: What, to: impl Into<String>) -> Self {
        Self { what, to: to.into() }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} {}", self.what, self.to)
    }
}

/// What a command did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Observation {
    /// Why the lane was refused; nothing ran then.
    pub refused: Option<String>,
    /// As a shell tells it: 128 and the signal, if one ended the command.
    pub code: i32,
    /// Whether it was ended because it took too long.
    pub ended: bool,
    /// What it printed, both outputs in their order. The lane's private directory is called `$TMPDIR`.
    pub output: String,
    /// What the guard says was denied.
    pub denials: Vec<Denial>,
    /// Every effect that was observed, the lane's rights notwithstanding.
    pub changes: Vec<Change>,
}

impl Observation {
    /// What was denied and is no everyday probe.
    pub fn real_denials(&self) -> Vec<String> {
        let real = self.denials.iter().filter(|denial| !denial.probe);
        real.map(|denial| {
            let path = denial.path.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{} {path}", denial.call)
        })
        .collect()
    }
}
