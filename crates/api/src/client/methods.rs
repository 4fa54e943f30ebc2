//! The methods of the contract, each with what it takes and gives.

use std::marker::PhantomData;

use crate::wire;

/// A method of the contract: takes a `Q` and gives an `R`, or a stream of them.
pub(super) struct Method<Q, R> {
    path: &'static str,
    types: PhantomData<fn(Q) -> R>,
}

impl<Q, R> Clone for Method<Q, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<Q, R> Copy for Method<Q, R> {}

impl<Q, R> Method<Q, R> {
    const fn new(path: &'static str) -> Self {
        Self { path, types: PhantomData }
    }

    /// Where HTTP finds it.
    pub(super) fn path(self) -> &'static str {
        self.path
    }
}

/// What people call the method at a path: `Files.Read`.
pub(super) fn name(path: &str) -> String {
    path.trim_start_matches("/stigmer.v1.").replace('/', ".")
}

macro_rules! methods {
    ($($name:ident = $path:literal, $takes:ident => $gives:ident;)+) => {
        $(pub(super) const $name: Method<wire::$takes, wire::$gives> =
            Method::new(concat!("/stigmer.v1.", $path));)+

        /// Each method's path, what it takes and what it gives.
        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] =
            &[$((concat!("/stigmer.v1.", $path), stringify!($takes), stringify!($gives)),)+];
    };
}

methods! {
    READ = "Files/Read", ReadFileRequest => FileContent;
    STAT = "Files/Stat", StatFileRequest => FileStat;
    WRITE = "Files/Write", WriteFileRequest => WriteSummary;
    EDIT = "Files/Edit", EditFileRequest => EditSummary;
    DELETE = "Files/Delete", DeleteFileRequest => DeleteSummary;
    MOVE = "Files/Move", MovePathRequest => MovePathResponse;
    MAKE_DIRECTORY = "Files/MakeDirectory", MakeDirectoryRequest => MakeDirectoryResponse;
    LIST_DIRECTORY = "Files/List", ListDirectoryRequest => Listing;
    FIND = "Search/Find", SearchFilesRequest => FoundFiles;
    GREP = "Search/Grep", GrepSearchRequest => GrepMatches;
    UPLOAD = "Transfers/Upload", UploadRequest => UploadSummary;
    DOWNLOAD = "Transfers/Download", DownloadRequest => DownloadPart;
    WATCH = "Transfers/Watch", WatchRequest => WatchEvent;
    START = "Processes/Start", StartProcessRequest => StartedProcess;
    EXECUTE = "Processes/Execute", ExecuteRequest => Executed;
    OUTPUT = "Processes/Output", OutputRequest => OutputEvent;
    WRITE_STDIN = "Processes/WriteStdin", WriteStdinRequest => WriteStdinResponse;
    CLOSE_STDIN = "Processes/CloseStdin", CloseStdinRequest => CloseStdinResponse;
    SIGNAL = "Processes/Signal", SignalProcessRequest => SignalProcessResponse;
    RESIZE = "Processes/Resize", ResizeRequest => ResizeResponse;
    WAIT = "Processes/Wait", WaitRequest => ExitStatus;
    GET_PROCESS = "Processes/Get", GetProcessRequest => ProcessInfo;
    LIST_PROCESSES = "Processes/List", ListProcessesRequest => ProcessList;
    INFO = "Server/Info", InfoRequest => ServerInfo;
    EVENTS = "Server/Events", EventsRequest => Event;
    OPEN = "Workspaces/Open", OpenWorkspaceRequest => Workspace;
    GET_WORKSPACE = "Workspaces/Get", GetWorkspaceRequest => Workspace;
    LIST_WORKSPACES = "Workspaces/List", ListWorkspacesRequest => WorkspaceList;
    FORGET = "Workspaces/Forget", ForgetWorkspaceRequest => ForgetWorkspaceResponse;
    PREPARE = "Workspaces/Prepare", PrepareRequest => Preparing;
    STATUS = "Workspaces/Status", PlaceRequest => PlaceStatus;
    PLACES = "Workspaces/Places", PlacesRequest => PlaceList;
    STOP = "Workspaces/Stop", PlaceRequest => PlaceStatus;
    REMOVE = "Workspaces/Remove", PlaceRequest => PlaceStatus;
    RESET_AFFINITY = "Workspaces/ResetAffinity", PlaceRequest => PlaceStatus;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn the_client_knows_every_method_of_the_contract_that_it_needs() {
        let files = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap().file;
        let mut contract = BTreeSet::new();
        for service in files.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                contract.insert((
                    format!("/stigmer.v1.{}/{}", service.name(), method.name()),
                    method.input_type().replace(".stigmer.v1.", ""),
                    method.output_type().replace(".stigmer.v1.", ""),
                ));
            }
        }
        let known: BTreeSet<_> = ALL
            .iter()
            .map(|(path, takes, gives)| {
                ((*path).to_owned(), (*takes).to_owned(), (*gives).to_owned())
            })
            .collect();
        let missing: Vec<_> = contract.difference(&known).map(|method| &method.0).collect();
        // A terminal over one connection is for front-ends that have no executor; ours is made of
        // Output, WriteStdin, Resize and Signal, each of which survives a broken connection.
        // Skills are for them as well: ours are put into a workspace through any executor.
        let skills = ["Add", "List", "Remove"].map(|name| format!("/stigmer.v1.Skills/{name}"));
        let [add, list, remove] = &skills;
        assert_eq!(missing, ["/stigmer.v1.Processes/Attach", add, list, remove]);
        assert_eq!(known.difference(&contract).next(), None);
    }

    #[test]
    fn a_method_has_a_name_for_people() {
        assert_eq!(name(READ.path()), "Files.Read");
    }
}
