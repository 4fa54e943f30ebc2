//! Commands, from the side of whoever starts, follows and ends them.
//!
//! The truth is on disk and in each command's supervisor; nothing here has to survive for a command
//! to go on.

mod confined;
mod connection;
mod execute;
mod fresh;
mod known;
mod list;
mod output;
mod start;
mod steer;

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stigmer_core::{ByteString, FilePath, ProcessId, Result, ToolError};

use crate::supervisor::Launcher;
use crate::supervisor::record::{self, ProcessRecord};
pub use confined::{Confined, Confinement};
use fresh::Fresh;

/// Which processes an executor knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessScope {
    /// Those of its workspace.
    #[default]
    Workspace,
    /// All that the state directory keeps: for a person who looks after their own commands.
    All,
}

/// Settings for the commands that an executor starts.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Where supervisors come from; without it commands can be looked after but not started.
    pub launcher: Option<Arc<Launcher>>,
    /// Which processes are known.
    pub scope: ProcessScope,
    /// Variables for commands whose client sends no environment of its own.
    pub environment: Vec<(ByteString, ByteString)>,
    /// Bytes of output kept for a command that names no cap.
    pub output_cap: u64,
    /// How long ended processes are kept; `None` is for ever, as far as there is room.
    pub retention: Option<Duration>,
    /// The directory of the records where it is not `processes` beneath the state directory, held
    /// open: what led to it may have been exchanged for a link since.
    pub records: Option<Arc<OwnedFd>>,
    /// How much likelier than others commands are killed when memory runs out, in thousandths of it
    /// (`proc(5)`, `oom_score_adj`); `None` is as likely as the program that starts them.
    pub oom_score: Option<u16>,
}

impl Default for ProcessOptions {
    fn default() -> Self {
        Self {
            launcher: None,
            scope: ProcessScope::Workspace,
            environment: vec![(
                "PATH".into(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            )],
            output_cap: stigmer_core::limits::DEFAULT_OUTPUT_CAP,
            retention: Some(stigmer_core::limits::DEFAULT_RETENTION),
            records: None,
            oom_score: None,
        }
    }
}

/// The processes of an executor.
#[derive(Debug)]
pub(crate) struct Processes {
    directory: PathBuf,
    workspace: FilePath,
    options: ProcessOptions,
    /// Connections over which commands were started and that no follower has taken over yet.
    fresh: Fresh,
}

impl Processes {
    /// The processes kept beneath a state directory.
    pub(crate) fn new(
        state: &std::path::Path,
        workspace: FilePath,
        options: ProcessOptions,
    ) -> Self {
        let directory = match &options.records {
            Some(records) => PathBuf::from(format!("/proc/self/fd/{}", records.as_raw_fd())),
            None => state.join("processes"),
        };
        Self { directory, workspace, options, fresh: Fresh::default() }
    }

    /// A process's directory.
    fn open(&self, id: &ProcessId) -> Result<Arc<OwnedFd>> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(self.directory.join(id.as_str()), flags, Mode::empty()) {
            Ok(directory) => Ok(Arc::new(directory)),
            Err(Errno::NOENT) => Err(ToolError::unknown_process(id.as_str())),
            Err(error) => {
                let path = FilePath::from(self.directory.join(id.as_str()));
                Err(ToolError::from_io("open", &path, &error.into()))
            }
        }
    }

    /// Whether something was started under an id here.
    pub(crate) fn knows(&self, id: &ProcessId) -> bool {
        self.find(id).is_ok()
    }

    /// A process's directory and what it says was started.
    fn find(&self, id: &ProcessId) -> Result<(Arc<OwnedFd>, ProcessRecord)> {
        let directory = self.open(id)?;
        let unknown = || ToolError::unknown_process(id.as_str());
        let record = self.read(id, &directory).ok_or_else(unknown)?;
        Ok((directory, record))
    }

    /// What a process's directory says was started; nothing if it is of another workspace.
    fn read(&self, id: &ProcessId, directory: &OwnedFd) -> Option<ProcessRecord> {
        // One that calls itself otherwise would be taken for another.
        let record = record::read_process(directory).filter(|record| record.id == *id)?;
        let ours = self.options.scope == ProcessScope::All || record.workspace == self.workspace;
        ours.then_some(record)
    }
}
