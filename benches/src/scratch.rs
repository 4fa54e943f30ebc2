//! Directories that are gone in the end.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a directory may be written to by those who are just ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// A directory that is removed with this.
#[derive(Debug)]
pub(crate) struct Scratch(TempDir);

impl Scratch {
    /// In the system's directory for such.
    pub(crate) fn new() -> std::io::Result<Self> {
        tempfile::tempdir().map(Self)
    }

    /// In this directory.
    pub(crate) fn beneath(directory: &Path) -> std::io::Result<Self> {
        tempfile::tempdir_in(directory).map(Self)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    /// The supervisor of the last command tidies up after its end was told, and is nobody's child:
    /// what it writes meanwhile makes a removal fail.
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        while std::fs::remove_dir_all(self.path()).is_err() && Instant::now() < until {
            std::thread::sleep(PATIENCE / 100);
        }
    }
}
