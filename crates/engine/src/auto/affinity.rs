//! Which toolchains' state lives in a workspace's sandbox, and what follows from that for a command.
//!
//! ```text
//! <state>/affinity/
//!     <workspace>.json   what is known of one sandbox; appears and changes as a whole
//! ```
//!
//! Whoever changes a file keeps the directory locked meanwhile. A file that cannot be read says nothing:
//! what follows is that commands go where their rules send them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stigmer_core::process::{EndReason, ExitStatus};
use stigmer_core::{Lane, ProcessId, Result, ToolError, WorkspaceId};
use stigmer_route::{TEMPORARY, Verdict};

use super::environments::{self, Mark};

/// Commands whose end is waited for. Older ones are given up: their sandbox is asked about each.
const MOST_PENDING: usize = 64;

/// Environments that are remembered: one for each directory and toolchain that was installed for.
const MOST_OWN: usize = 256;

/// The longest file that is read: far more than the two bounds allow for.
const MOST_BYTES: u64 = 4 << 20;

/// What is known of one sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The place that the rest is true of; what another one had is gone with it.
    #[serde(default)]
    place: Option<String>,
    /// Toolchains whose state lives there.
    #[serde(default)]
    pub(crate) toolchains: BTreeSet<String>,
    /// Those that lived in the place before, which nobody has been told of yet.
    #[serde(skip)]
    lost: BTreeSet<String>,
    /// Environments in the workspace that commands in a sandbox have made. They outlive it.
    #[serde(default)]
    own: Vec<Mark>,
    /// Commands whose end decides.
    #[serde(default)]
    pub(crate) pending: Vec<Pending>,
}

/// A command in a sandbox that changes a toolchain's state if it succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The command.
    pub(crate) id: ProcessId,
    /// The toolchains that it uses.
    pub(crate) uses: Vec<String>,
    /// Those whose state it changes.
    pub(crate) installs: Vec<String>,
    /// Where it starts.
    pub(crate) cwd: PathBuf,
    /// The environments that were there before.
    pub(crate) before: Vec<Mark>,
    /// The place that it was started in.
    pub(crate) place: Option<String>,
}

impl Pending {
    /// Whether its end may matter to a command.
    pub(crate) fn concerns(&self, verdict: &Verdict) -> bool {
        let mut wanted = verdict.toolchains.iter().chain(&verdict.installs);
        wanted.any(|toolchain| self.uses.contains(toolchain) || self.installs.contains(toolchain))
    }
}

/// What follows for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It goes where its rule sends it.
    AsItIs,
    /// It goes to the sandbox, where this toolchain's state lives.
    Follow(String),
    /// It goes where its rule sends it, without what was installed for this toolchain: that went with its
    /// sandbox.
    Lost(String),
    /// It would go to the sandbox for a toolchain's sake, and that has an environment in the workspace.
    Apart {
        /// The toolchain.
        toolchain: String,
        /// The environment, relative to the workspace's root.
        environment: PathBuf,
    },
}

/// Says what follows for a command. `foreign` is an environment that a toolchain has in the workspace and
/// that no command in a sandbox has made.
pub(crate) fn judge(
    verdict: &Verdict,
    living: &BTreeSet<String>,
    foreign: impl Fn(&str) -> Option<PathBuf>,
) -> Judged {
    let affine = || verdict.toolchains.iter().filter(|toolchain| living.contains(*toolchain));
    // What is sent there for another reason is not sent for the toolchain's sake.
    let concerned: Vec<&String> = match verdict.lane {
        Lane::Sandbox => verdict.installs.iter().collect(),
        Lane::HostReadOnly | Lane::HostWorkspace => affine().collect(),
    };
    for toolchain in &concerned {
        if let Some(environment) = foreign(toolchain) {
            return Judged::Apart { toolchain: (*toolchain).clone(), environment };
        }
    }
    match concerned.first() {
        Some(toolchain) if verdict.lane != Lane::Sandbox => Judged::Follow((*toolchain).clone()),
        _ => Judged::AsItIs,
    }
}

impl State {
    /// The same, for a command of a workspace at `root` that starts in `cwd`.
    pub(crate) fn judge(&self, verdict: &Verdict, root: &Path, cwd: &Path) -> Judged {
        let judged = judge(verdict, &self.toolchains, |toolchain| {
            let all = environments::found(root, cwd, [&toolchain.to_owned()]);
            let foreign = all.into_iter().find(|mark| !self.own.contains(mark));
            foreign.map(|mark| mark.path.as_path().to_owned())
        });
        let lost = || verdict.toolchains.iter().find(|toolchain| self.lost.contains(*toolchain));
        match (judged, lost()) {
            (Judged::AsItIs, Some(toolchain)) if verdict.lane != Lane::Sandbox => {
                Judged::Lost(toolchain.clone())
            }
            (judged, _) => judged,
        }
    }

    /// Leaves out what lived in another place.
    fn of_place(mut self, place: Option<&str>) -> Self {
        if self.place.as_deref() != place || place.is_none() {
            self.lost.append(&mut self.toolchains);
            self.place = place.map(str::to_owned);
        }
        self
    }

    /// A command has ended, or nobody will know how: its environments are its sandbox's, and if it
    /// succeeded the toolchains that it has changed live there.
    fn settle(&mut self, root: &Path, id: &ProcessId, exit: Option<&ExitStatus>) {
        let Some(at) = self.pending.iter().position(|pending| pending.id == *id) else { return };
        let Pending { uses, installs, cwd, before, place, .. } = self.pending.remove(at);
        let now = environments::found(root, &cwd, uses.iter().chain(&installs));
        for mark in now {
            if !before.contains(&mark) && !self.own.contains(&mark) {
                self.own.push(mark);
            }
        }
        let succeeded = exit.is_some_and(|exit| exit.code == 0 && exit.reason == EndReason::Exited);
        if succeeded && place.is_some() && place == self.place {
            self.toolchains.extend(installs);
        }
    }

    fn is_empty(&self) -> bool {
        self.toolchains.is_empty() && self.own.is_empty() && self.pending.is_empty()
    }

    /// Keeps within bounds, and leaves out what is there no more.
    fn prune(&mut self, root: &Path) {
        self.own.retain(|mark| mark.is_there(root));
        self.own.drain(..self.own.len().saturating_sub(MOST_OWN));
        self.pending.drain(..self.pending.len().saturating_sub(MOST_PENDING));
    }
}

/// All that is known, on disk.
#[derive(Clone, Debug)]
pub(crate) struct Affinities {
    directory: PathBuf,
}

impl Affinities {
    /// What is kept beneath a state directory.
    pub(crate) fn new(state: &Path) -> Self {
        Self { directory: state.join("affinity") }
    }

    /// What is known of a sandbox; `place` tells the one that is there from others before.
    pub(crate) fn of(
        &self,
        workspace: &WorkspaceId,
        place: impl FnOnce() -> Option<String>,
    ) -> State {
        match self.read(workspace) {
            Some(state) => state.of_place(place().as_deref()),
            None => State::default(),
        }
    }

    /// A command is about to be started.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn begin(
        &self,
        workspace: &WorkspaceId,
        root: &Path,
        pending: Pending,
    ) -> Result<()> {
        self.change(workspace, root, |state| {
            *state = std::mem::take(state).of_place(pending.place.as_deref());
            // What it leaves there is there however it ends, and while it runs.
            let temporary = pending.installs.iter().filter(|name| *name == TEMPORARY).cloned();
            state.toolchains.extend(temporary.filter(|_| pending.place.is_some()));
            state.pending.retain(|other| other.id != pending.id);
            state.pending.push(pending);
        })
    }

    /// A command has ended; without an exit, nobody will know how.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn settle(
        &self,
        workspace: &WorkspaceId,
        root: &Path,
        id: &ProcessId,
        exit: Option<&ExitStatus>,
    ) -> Result<()> {
        self.change(workspace, root, |state| state.settle(root, id, exit))
    }

    /// Whether the end of a command decides.
    pub(crate) fn awaits(&self, workspace: &WorkspaceId, id: &ProcessId) -> bool {
        let awaited = |state: State| state.pending.iter().any(|pending| pending.id == *id);
        self.read(workspace).is_some_and(awaited)
    }

    /// Somebody was told what went with a sandbox, of which `place` is what there is instead.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn told(
        &self,
        workspace: &WorkspaceId,
        root: &Path,
        place: Option<&str>,
    ) -> Result<()> {
        self.change(workspace, root, |state| *state = std::mem::take(state).of_place(place))
    }

    /// No toolchain lives in the sandbox any more; environments that it has made stay known as its.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn reset(&self, workspace: &WorkspaceId, root: &Path) -> Result<()> {
        if self.read(workspace).is_none() {
            return Ok(());
        }
        self.change(workspace, root, |state| {
            state.toolchains.clear();
            // What they make in the workspace stays theirs.
            state.pending.iter_mut().for_each(|pending| pending.installs.clear());
        })
    }

    /// Forgets everything of a workspace that is forgotten.
    pub(crate) fn forget(&self, workspace: &WorkspaceId) {
        let _ = fs::remove_file(self.path(workspace));
    }

    fn path(&self, workspace: &WorkspaceId) -> PathBuf {
        self.directory.join(format!("{workspace}.json"))
    }

    fn read(&self, workspace: &WorkspaceId) -> Option<State> {
        let path = self.path(workspace);
        let size = fs::symlink_metadata(&path).ok()?.len();
        if size > MOST_BYTES {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn change(
        &self,
        workspace: &WorkspaceId,
        root: &Path,
        change: impl FnOnce(&mut State),
    ) -> Result<()> {
        stigmer_host::make_state_directory(&self.directory)?;
        let path = self.path(workspace);
        let changed = (|| -> io::Result<()> {
            let lock = File::open(&self.directory)?;
            lock.lock()?;
            let mut state = self.read(workspace).unwrap_or_default();
            change(&mut state);
            state.prune(root);
            if state.is_empty() {
                return match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                };
            }
            // Whoever has the lock is the only one who writes.
            let pending = self.directory.join(format!(".{workspace}.pending"));
            let _ = fs::remove_file(&pending);
            let mut file =
                File::options().write(true).create_new(true).mode(0o600).open(&pending)?;
            file.write_all(&serde_json::to_vec(&state)?)?;
            fs::rename(&pending, &path)
        })();
        changed.map_err(|error| {
            ToolError::from_io("remember toolchains of the sandbox in", &path.into(), &error)
        })
    }
}

#[cfg(test)]
mod tests;
