//! The host, as auto mode has it: nothing can be started on it but in a lane.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use stigmer_core::process::{Execute, Executed, StartProcess, StartedProcess};
use stigmer_core::{FilePath, ProcessId, Result};
use stigmer_host::{Confined, Confinement, HostExecutor};

/// The host's executor, of which only this module has hold. What starts commands is wrapped, and all else
/// is got by names of operations that start none.
#[derive(Clone, Debug)]
pub(crate) struct Confining(Arc<HostExecutor>);

impl Confining {
    pub(crate) fn new(host: Arc<HostExecutor>) -> Self {
        Self(host)
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &Path {
        self.0.root()
    }

    /// Whether a path still leads to the root.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.0.is_at(path)
    }

    /// The directory that a path beneath the root leads to, without links.
    pub(crate) fn directory(&self, path: &FilePath) -> Result<PathBuf> {
        self.0.directory(path)
    }

    /// Whether a command was started on the host.
    pub(crate) fn knows(&self, id: &ProcessId) -> bool {
        self.0.knows(id)
    }

    /// Starts a command in a lane.
    pub(crate) async fn start(
        &self,
        request: StartProcess,
        confinement: &Confinement,
    ) -> Result<Confined<StartedProcess>> {
        self.0.start_confined(request, confinement).await
    }

    /// Runs a command in a lane to its end.
    pub(crate) async fn execute(
        &self,
        request: Execute,
        confinement: &Confinement,
    ) -> Result<Confined<Executed>> {
        self.0.execute_confined(request, confinement).await
    }
}

/// Hands operations that start nothing to the host's executor.
macro_rules! passed_on {
    ($($method:ident($($name:ident: $type:ty),*) -> $result:ty;)+) => {
        impl Confining {
            $(pub(crate) async fn $method(&self, $($name: $type),*) -> Result<$result> {
                stigmer_core::ToolExecutor::$method(&*self.0, $($name),*).await
            })+
        }

        /// The operations of the trait that are passed on.
        #[cfg(test)]
        pub(super) const PASSED_ON: &[&str] = &[$(stringify!($method)),+];
    };
}

passed_on! {
    read_file(request: stigmer_core::file::ReadFile) -> stigmer_core::file::FileContent;
    stat_file(path: stigmer_core::FilePath) -> stigmer_core::file::FileStat;
    write_file(request: stigmer_core::file::WriteFile) -> stigmer_core::file::WriteSummary;
    edit_file(request: stigmer_core::file::EditFile) -> stigmer_core::file::EditSummary;
    delete_file(request: stigmer_core::file::DeleteFile) -> stigmer_core::file::DeleteSummary;
    move_path(request: stigmer_core::file::MovePath) -> ();
    make_directory(request: stigmer_core::file::MakeDirectory) -> ();
    list_directory(request: stigmer_core::file::ListDirectory) -> stigmer_core::file::Listing;
    search_files(request: stigmer_core::search::SearchFiles) -> stigmer_core::search::FoundFiles;
    grep_search(request: stigmer_core::search::GrepSearch) -> stigmer_core::search::GrepMatches;
    watch(request: stigmer_core::transfer::Watch) -> stigmer_core::ChangeStream;
    upload(
        request: stigmer_core::transfer::Upload,
        content: stigmer_core::ByteStream
    ) -> stigmer_core::transfer::UploadSummary;
    download(request: stigmer_core::transfer::Download) -> stigmer_core::ByteStream;
    process_output(
        id: &ProcessId,
        request: stigmer_core::process::ReadOutput
    ) -> stigmer_core::OutputStream;
    write_stdin(id: &ProcessId, bytes: stigmer_core::ByteString) -> ();
    close_stdin(id: &ProcessId) -> ();
    signal(
        id: &ProcessId,
        request: stigmer_core::process::SignalRequest
    ) -> Option<stigmer_core::process::ExitStatus>;
    resize(id: &ProcessId, size: stigmer_core::process::TerminalSize) -> ();
    wait(id: &ProcessId) -> stigmer_core::process::ExitStatus;
    process(id: &ProcessId) -> stigmer_core::process::ProcessInfo;
    list_processes() -> Vec<stigmer_core::process::ProcessInfo>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What starts a command is not among them, and whoever adds an operation to the trait is asked.
    #[test]
    fn nothing_that_starts_a_command_is_passed_on() {
        assert!(!PASSED_ON.contains(&"start_process") && !PASSED_ON.contains(&"execute"));
        let contract = include_str!("../../../core/src/executor.rs");
        let methods: Vec<&str> = contract
            .lines()
            .filter_map(|line| line.trim().strip_prefix("async fn ")?.split('(').next())
            .collect();
        let others: Vec<&str> =
            methods.iter().copied().filter(|name| !PASSED_ON.contains(name)).collect();
        assert_eq!(others, ["start_process", "execute"]);
    }

    /// Only this module can reach the executor itself, and it names no other way to start something.
    #[test]
    fn no_other_way_leads_to_a_command_on_the_host() {
        let text = include_str!("host.rs").split("#[cfg(test)]\nmod tests").next().unwrap();
        for (call, most) in
            [("start_confined(", 1), ("execute_confined(", 1), (".start_process(", 0)]
        {
            assert_eq!(text.matches(call).count(), most, "{call}");
        }
        assert!(!text.contains("pub(crate) fn executor") && !text.contains("pub struct Confining"));
        assert!(!text.contains("impl Deref") && !text.contains("AsRef"));
    }
}
