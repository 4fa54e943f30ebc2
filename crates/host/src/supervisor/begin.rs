//! Everything that happens before a command runs: it is on disk before the command runs.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stigmer_core::{ErrorCode, ProcessId, Routing, ToolError};

use super::endpoints::listen;
use super::protocol::Launch;
use super::record::{self, ExitRecord, ProcessRecord};
use super::spawn::NotStarted;
use super::supervise::now_ms;
use super::{prune, spawn};

/// A command that was started, and what is kept of it.
pub(super) struct Begun {
    pub(super) directory: OwnedFd,
    pub(super) listener: OwnedFd,
    pub(super) exit_record: ExitRecord,
    pub(super) spawned: spawn::Spawned,
}

/// Makes the process's directory and starts the command. If that fails nothing is left.
///
/// The directory is what makes an id unique: whoever finds it there has lost, and starts nothing.
///
/// Whoever gave up waiting for the command has closed `client`, and may have told that it was not
/// started; so it is looked at last before the directory is made, and before the command is.
pub(super) fn begin(
    launch: &Launch,
    path: &Path,
    cwd: &OwnedFd,
    inherited: spawn::Inherited,
    client: &OwnedFd,
) -> Result<Begun, NotStarted> {
    wanted_still(client)?;
    let at = |operation: &str, error: std::io::Error| {
        ToolError::from_io(operation, &path.into(), &error)
    };
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Err(id_is_taken(&launch.id).into()),
        Err(error) => return Err(at("make the process directory", error.into()).into()),
    }
    // Before the socket goes, and the directory's name first: nobody takes it for a command whose
    // supervisor died.
    let undo = || prune::remove(&launch.processes, path);
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|error| at("open", error.into()))
        .inspect_err(|_| undo())?;
    let listener = listen(&directory)
        .map_err(|error| at("listen in", error.into()))
        .inspect_err(|_| undo())?;
    let mut record = ProcessRecord {
        stigmer: env!("CARGO_PKG_VERSION").to_owned(),
        id: launch.id.clone(),
        command: launch.command.clone(),
        workspace: launch.workspace.clone(),
        cwd: launch.cwd.clone(),
        started_ms: now_ms(),
        terminal: launch.terminal.is_some(),
        detached: launch.client_grace.is_none(),
        traceparent: launch.traceparent.clone(),
        routing: None,
    };
    let mut exit_record = None;
    let write = |routing: Option<&Routing>| {
        record.routing = routing.cloned().map(Box::new);
        let written = record::write_process(&directory, &record)
            .map_err(|error| at("write the record of the process in", error))?;
        exit_record = Some(written);
        wanted_still(client)
    };
    let spawned = spawn::spawn(launch, cwd, inherited, write).inspect_err(|_| undo())?;
    let exit_record = exit_record.ok_or_else(|| {
        undo();
        ToolError::new(ErrorCode::Io, "a command was started and not recorded")
    })?;
    Ok(Begun { directory, listener, exit_record, spawned })
}

/// Refuses to go on for a client that is gone.
fn wanted_still(client: &OwnedFd) -> Result<(), ToolError> {
    let mut one = [PollFd::new(client, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut one, Some(&at_once)) {
        Ok(1..) => Err(ToolError::new(ErrorCode::Unavailable, "whoever wants it is gone")),
        _ => Ok(()),
    }
}

/// The id of a new command is that of another one.
pub(crate) fn id_is_taken(id: &ProcessId) -> ToolError {
    ToolError::new(ErrorCode::Exists, format!("a process with the id {id} exists already"))
        .with_detail("process", id.as_str())
        .with_hint("give each command an id of its own, chosen at random, or none")
}
