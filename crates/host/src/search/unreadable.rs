//! What a walk should have looked at and could not.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::Error;
use stigmer_core::{ByteString, limits};

use super::smallest::Smallest;
use super::walk::Walk;
use crate::Root;

/// Paths that could not be read, each with the reason.
#[derive(Debug)]
pub(super) struct Unreadable(Smallest<Vec<u8>, ByteString>);

impl Unreadable {
    pub(super) fn new() -> Self {
        Self(Smallest::new(limits::MAX_UNREADABLE, limits::MAX_SEARCH_BYTES))
    }

    /// Takes note of a path relative to the root.
    pub(super) fn insert(&self, relative: &Path, message: &str) {
        let path = relative.as_os_str().as_bytes().to_vec();
        self.0.insert(path, 1, message.len(), ByteString::from(message));
    }

    /// Takes note of what a walk could not read, if it is really there.
    pub(super) fn insert_error(&self, root: &Root, walk: &Walk<'_>, error: &Error) {
        // Rules that cannot be parsed are passed over, as ripgrep does after a warning.
        let (Some(path), Some(io)) = (error_path(error), error.io_error()) else { return };
        let Some(relative) = walk.relative(path) else { return };
        if io.kind() != io::ErrorKind::NotFound && root.stat(relative).is_ok() {
            self.insert(relative, &format!("{}: {io}", relative.display()));
        }
    }

    /// The reasons, in the order of the paths, up to the path `last` if there is one.
    pub(super) fn finish(self, last: Option<&[u8]>) -> Vec<ByteString> {
        let (unreadable, _) = self.0.finish_singles();
        unreadable
            .into_iter()
            .filter(|(path, _)| last.is_none_or(|last| path.as_slice() <= last))
            .map(|(_, message)| message)
            .collect()
    }
}

fn error_path(error: &Error) -> Option<&Path> {
    match error {
        Error::WithPath { path, .. } => Some(path),
        Error::WithDepth { err, .. } | Error::WithLineNumber { err, .. } => error_path(err),
        _ => None,
    }
}
