//! Whatever arrives as a request is measured, looked at for fields that are not known, decoded and
//! understood, or refused as an argument that is wrong. What can be decoded was not called broken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::{Message, Name};
use stigmer_api::convert::{
    execute_from_wire, request, signal_request, start_from_wire, start_request,
};
use stigmer_api::message_size::MAX_DECODED_REQUEST_BYTES;
use stigmer_api::shape::Shape;
use stigmer_api::{codec, wire};
use stigmer_core::file::{
    DeleteFile, EditFile, ListDirectory, MakeDirectory, MovePath, ReadFile, WriteFile,
};
use stigmer_core::process::{ReadOutput, SignalRequest, TerminalSize};
use stigmer_core::search::{GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, Upload, Watch};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, FilePath, ProcessId, ToolError};

fn decoded<M: Message + Name + Default>(bytes: &[u8]) -> Option<M> {
    let shape = Shape::of(&M::full_name()).expect("the contract has it");
    let measured = shape.measure(bytes, MAX_DECODED_REQUEST_BYTES);
    assert_eq!(codec::check::<M>(bytes).is_ok(), measured.is_ok());
    shape.unknown_field(bytes);
    let message = M::decode(bytes).ok()?;
    assert!(measured.is_ok(), "{measured:?}");
    // What is written again has none of the fields that are not known.
    let again = message.encode_to_vec();
    assert_eq!(shape.unknown_field(&again), None);
    Some(message)
}

fn refused<T>(result: Result<T, ToolError>) -> Option<T> {
    result.map_err(|error| assert_eq!(error.code, ErrorCode::InvalidArgument, "{error}")).ok()
}

fn no_ticket<T>(_: &str) -> Result<T, ToolError> {
    Err(ToolError::invalid_argument("stdin_ticket", "there is none"))
}

macro_rules! check {
    ($bytes:ident: $($wire:ident as $core:ty,)+) => {$(
        if let Some(message) = decoded::<wire::$wire>($bytes) {
            refused(request::<_, $core>(message));
        }
    )+};
}

/// Requests that hold nothing but names are not converted.
macro_rules! only_decode {
    ($bytes:ident: $($wire:ident)+) => {$( decoded::<wire::$wire>($bytes); )+};
}

fuzz_target!(|bytes: &[u8]| {
    check! { bytes:
        ReadFileRequest as ReadFile, StatFileRequest as FilePath, WriteFileRequest as WriteFile,
        EditFileRequest as EditFile, DeleteFileRequest as DeleteFile, MovePathRequest as MovePath,
        MakeDirectoryRequest as MakeDirectory, ListDirectoryRequest as ListDirectory,
        SearchFilesRequest as SearchFiles, GrepSearchRequest as GrepSearch,
        UploadBegin as Upload, DownloadRequest as Download, WatchRequest as Watch,
        OpenWorkspaceRequest as OpenWorkspace, OutputRequest as (ProcessId, ReadOutput),
        TerminalSize as TerminalSize,
    }
    only_decode! { bytes:
        UploadRequest AttachRequest WriteStdinRequest CloseStdinRequest ResizeRequest WaitRequest
        GetProcessRequest ListProcessesRequest InfoRequest EventsRequest GetWorkspaceRequest
        ListWorkspacesRequest ForgetWorkspaceRequest
    }
    if let Some(message) = decoded::<wire::SignalProcessRequest>(bytes)
        && let Some((id, signal)) = refused(request::<_, (ProcessId, SignalRequest)>(message))
    {
        let again = signal_request(&id, signal.clone());
        let same = request::<_, (ProcessId, SignalRequest)>(again).expect("was understood before");
        assert_eq!(same, (id, signal));
    }
    if let Some(message) = decoded::<wire::StartProcessRequest>(bytes) {
        if let Some(start) = refused(start_from_wire(message, no_ticket)) {
            let again = start_request(start, None).expect("has no descriptor");
            start_from_wire(again, no_ticket).expect("was understood before");
        }
    }
    if let Some(message) = decoded::<wire::ExecuteRequest>(bytes) {
        refused(execute_from_wire(message, no_ticket));
    }
});
