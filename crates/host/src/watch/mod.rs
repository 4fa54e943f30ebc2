//! Watching files change.
//!
//! inotify, used directly: every watch is set on a descriptor that [`Root`] resolved, so a directory
//! that is swapped for a link is never watched beyond the workspace. Libraries watch path strings,
//! which the kernel follows anew.

mod ignored;
mod watcher;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use rustix::pipe::{PipeFlags, pipe_with};
use stigmer_core::transfer::{Change, Watch};
use stigmer_core::{ByteString, ChangeStream, ErrorCode, FilePath, Result, ToolError};
use tokio::sync::mpsc;

use crate::Root;
use watcher::Watcher;

/// Changes that may wait for the reader. When they are full the kernel's queue takes over, and when
/// that is full the reader is told to read anew.
const WAITING: usize = 1024;

/// Sets the watches and reports changes until the stream is dropped.
pub(crate) async fn watch(root: Arc<Root>, request: Watch) -> Result<ChangeStream> {
    let broke =
        |error: std::io::Error| ToolError::from_io("watch", &ByteString::from(root.path()), &error);
    let directories = match request.directories.as_slice() {
        [] => vec![PathBuf::new()],
        named => {
            let relative = |path: &FilePath| root.relative(path);
            named.iter().map(relative).collect::<Result<_>>()?
        }
    };
    let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| broke(errno.into()))?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let place = Arc::clone(&root);
    let ignore_rules = request.ignore_rules;
    let ready =
        tokio::task::spawn_blocking(move || Watcher::start(place, directories, ignore_rules));
    let mut watcher = ready.await.unwrap_or_else(|error| {
        Err(ToolError::new(ErrorCode::Io, format!("setting the watches broke off: {error}")))
    })?;
    // A thread of its own: a watch may last for days, and blocking tasks are few and shared.
    std::thread::Builder::new()
        .name("watch".to_owned())
        .spawn(move || watcher.run(&sender, &stopped))
        .map_err(broke)?;
    Ok(Box::pin(Changes { receiver, _stop: stop }))
}

struct Changes {
    receiver: mpsc::Receiver<Result<Change>>,
    /// Closing it ends the thread.
    _stop: OwnedFd,
}

impl Stream for Changes {
    type Item = Result<Change>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

#[cfg(test)]
mod tests;
