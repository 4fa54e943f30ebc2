//! The trait that every backend implements.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::Capabilities;
use crate::Result;
use crate::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, ListDirectory,
    Listing, MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use crate::id::ProcessId;
use crate::process::{
    Execute, Executed, ExitStatus, OutputEvent, ProcessInfo, ReadOutput, SignalRequest,
    StartProcess, StartedProcess, TerminalSize,
};
use crate::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use crate::transfer::{Change, Download, Upload, UploadSummary, Watch};
use crate::{ByteString, FilePath};

/// A stream of bytes.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;
/// A stream of what a command writes.
pub type OutputStream = Pin<Box<dyn Stream<Item = Result<OutputEvent>> + Send>>;
/// A stream of changes to files.
pub type ChangeStream = Pin<Box<dyn Stream<Item = Result<Change>> + Send>>;

/// Every operation that an agent needs, in one workspace.
///
/// Paths are relative to the workspace's root or absolute beneath it; no operation reads, writes,
/// lists, moves or deletes anything outside it, whatever links, renames or races say. A command is
/// only confined as far as the backend confines it.
///
/// Every method fails with a [`ToolError`](crate::ToolError) whose code is in the one table of
/// [`ErrorCode`](crate::ErrorCode). A command that fails is not an error: its exit status says so.
#[async_trait]
pub trait ToolExecutor: Send + Sync {
    /// What this executor can do.
    fn capabilities(&self) -> &Capabilities;

    /// Reads a file, whole or by lines.
    ///
    /// # Errors
    /// `not_found`, `is_directory`, `not_a_file`, `too_large`, `outside_workspace`.
    async fn read_file(&self, request: ReadFile) -> Result<FileContent>;

    /// Describes a path; a symbolic link is described itself.
    ///
    /// # Errors
    /// `not_found`, `outside_workspace`.
    async fn stat_file(&self, path: FilePath) -> Result<FileStat>;

    /// Replaces or creates a file, atomically.
    ///
    /// # Errors
    /// `stale`, `exists`, `is_directory`, `too_large`, `disk_full`, `outside_workspace`; the old
    /// content is whole in every case.
    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary>;

    /// Applies replacements to a file, all or none.
    ///
    /// # Errors
    /// `text_not_found` (with the nearest lines), `text_not_unique` (with line numbers),
    /// `empty_old_string`, `identical_strings`, `stale` and those of `read_file`; nothing is written
    /// in every case.
    async fn edit_file(&self, request: EditFile) -> Result<EditSummary>;

    /// Deletes a path; one that is not there is a success.
    ///
    /// # Errors
    /// `directory_not_empty`, `outside_workspace`.
    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary>;

    /// Moves or renames a path.
    ///
    /// # Errors
    /// `not_found`, `exists`, `outside_workspace`.
    async fn move_path(&self, request: MovePath) -> Result<()>;

    /// Makes a directory.
    ///
    /// # Errors
    /// `exists`, `not_found` (the parent), `outside_workspace`.
    async fn make_directory(&self, request: MakeDirectory) -> Result<()>;

    /// Lists a directory, sorted by path.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `outside_workspace`.
    async fn list_directory(&self, request: ListDirectory) -> Result<Listing>;

    /// Finds files by name.
    ///
    /// # Errors
    /// `bad_glob`, `not_found`, `outside_workspace`.
    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles>;

    /// Finds lines by content. No match is a success.
    ///
    /// # Errors
    /// `bad_regex`, `bad_glob`, `not_found`, `outside_workspace`.
    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches>;

    /// Reports changes until the stream is dropped. The watch is in place when this returns.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `outside_workspace`, `unsupported`, `out_of_resources`.
    async fn watch(&self, request: Watch) -> Result<ChangeStream>;

    /// Takes a tar archive or one file into the workspace. Each file arrives whole or not at all.
    ///
    /// # Errors
    /// `outside_workspace` for an entry that leads out, `invalid_argument` for a broken archive,
    /// `disk_full`, and whatever the stream itself fails with.
    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary>;

    /// Gives a tar archive or one file out of the workspace.
    ///
    /// # Errors
    /// `not_found`, `is_directory` (one file asked for), `outside_workspace`.
    async fn download(&self, request: Download) -> Result<ByteStream>;

    /// Starts a command under a supervisor of its own. Returns when it runs. A command that is not
    /// found is started, writes so on its standard error and exits with 127.
    ///
    /// # Errors
    /// `unsupported`, `not_found` or `not_a_directory` (the working directory),
    /// `outside_workspace`, `out_of_resources`.
    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess>;

    /// Reads or follows a command's output from an offset, without loss and without repetition.
    ///
    /// # Errors
    /// `unknown_process`, `invalid_argument` (an offset past the end).
    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream>;

    /// Writes to a command's standard input. Returns when the command's pipe or terminal has taken
    /// all of it.
    ///
    /// # Errors
    /// `unknown_process`, `process_ended`, `stdin_closed`.
    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()>;

    /// Closes a command's standard input; on a terminal it types the end-of-file character.
    ///
    /// # Errors
    /// `unknown_process`, `process_ended`, `stdin_closed`.
    async fn close_stdin(&self, id: &ProcessId) -> Result<()>;

    /// Signals or ends a command. Ending one returns when nothing of it is left, the processes that
    /// it left behind included; what could not be ended is in `survivors`. Returns the exit status
    /// if the command has ended.
    ///
    /// # Errors
    /// `unknown_process`, `process_ended` (only for [`SignalRequest::Send`]), `invalid_argument`.
    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>>;

    /// Changes the size of a command's terminal.
    ///
    /// # Errors
    /// `unknown_process`, `process_ended`, `not_a_terminal`.
    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()>;

    /// Waits until a command has ended.
    ///
    /// # Errors
    /// `unknown_process`.
    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus>;

    /// What is known of one command.
    ///
    /// # Errors
    /// `unknown_process`.
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo>;

    /// The commands of this workspace that are kept, the oldest first.
    ///
    /// # Errors
    /// `io` if they cannot be read.
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>>;

    /// Runs a command to its end: start, follow and wait in one round trip.
    ///
    /// # Errors
    /// Those of `start_process`. A timeout is no error: exit code 124 with what was written.
    async fn execute(&self, request: Execute) -> Result<Executed>;
}
