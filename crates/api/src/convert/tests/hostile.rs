//! Nothing that arrives does harm.

use proptest::prelude::*;
use prost::Message;
use stigmer_core::event::Event;
use stigmer_core::file::{
    DeleteFile, EditFile, FileContent, FileStat, ListDirectory, Listing, MakeDirectory, MovePath,
    ReadFile, WriteFile,
};
use stigmer_core::manager::PlaceStatus;
use stigmer_core::process::{
    Executed, ExitStatus, OutputEvent, ProcessInfo, ReadOutput, SignalRequest, StartedProcess,
    TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::skill::{AddedSkill, Skill};
use stigmer_core::transfer::{Change, Download, Upload, Watch};
use stigmer_core::workspace::{OpenWorkspace, Preparation, WorkspaceInfo};
use stigmer_core::{ErrorCode, ProcessId, ToolError};

use super::any;
use crate::convert::{execute_from_wire, reply, request, split_characters, start_from_wire};
use crate::{Preparing, ServerInfo, wire};

/// Decodes bytes as every message that there is a word for, and converts what comes of it.
fn convert_as_everything(bytes: &[u8]) {
    macro_rules! each {
        ($($wire:ident as $core:ty,)+) => {$(
            if let Ok(message) = wire::$wire::decode(bytes) {
                if let Err(error) = request::<_, $core>(message.clone()) {
                    assert_eq!(error.code, ErrorCode::InvalidArgument);
                }
                if let Err(error) = reply::<_, $core>(message) {
                    assert_eq!(error.code, ErrorCode::Io);
                    assert!(error.message.starts_with("the server's answer: "), "{error}");
                }
            }
        )+};
    }
    each! {
        ReadFileRequest as ReadFile, FileContent as FileContent, FileStat as FileStat,
        WriteFileRequest as WriteFile, EditFileRequest as EditFile,
        DeleteFileRequest as DeleteFile, MovePathRequest as MovePath,
        MakeDirectoryRequest as MakeDirectory, ListDirectoryRequest as ListDirectory,
        Listing as Listing, SearchFilesRequest as SearchFiles, FoundFiles as FoundFiles,
        GrepSearchRequest as GrepSearch, GrepMatches as GrepMatches, UploadBegin as Upload,
        DownloadRequest as Download, WatchRequest as Watch, WatchEvent as Change,
        OpenWorkspaceRequest as OpenWorkspace, Workspace as WorkspaceInfo,
        PrepareRequest as (OpenWorkspace, Preparation), Preparing as Preparing,
        PlaceStatus as PlaceStatus, PlaceList as Vec<PlaceStatus>,
        WorkspaceList as Vec<WorkspaceInfo>, ServerInfo as ServerInfo, Event as Event,
        StartedProcess as StartedProcess, Executed as Executed, ExitStatus as ExitStatus,
        OutputRequest as (ProcessId, ReadOutput), OutputEvent as OutputEvent,
        ProcessInfo as ProcessInfo, ProcessList as Vec<ProcessInfo>,
        SignalProcessRequest as (ProcessId, SignalRequest),
        SignalProcessResponse as Option<ExitStatus>, TerminalSize as TerminalSize,
        AddedSkill as AddedSkill, SkillList as Vec<Skill>, Error as ToolError,
    }
    let none = |_: &str| Err(ToolError::invalid_argument("stdin_ticket", "there is none"));
    if let Ok(message) = wire::StartProcessRequest::decode(bytes) {
        let _ = start_from_wire(message, none);
    }
    if let Ok(message) = wire::ExecuteRequest::decode(bytes) {
        let _ = execute_from_wire(message, none);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        convert_as_everything(&bytes);
    }

    #[test]
    fn damaged_messages_do_no_harm(
        info in any::info(), executed in any::executed(), event in any::event(),
        start in any::start(), damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let messages = [
            wire::ProcessInfo::from(info).encode_to_vec(),
            wire::Executed::from(executed).encode_to_vec(),
            wire::Event::from(event).encode_to_vec(),
            crate::convert::start_request(start, None).unwrap().encode_to_vec(),
        ];
        for mut message in messages {
            for (place, byte) in &damage {
                let length = message.len();
                message[place % length] = *byte;
            }
            convert_as_everything(&message);
        }
    }

    #[test]
    fn splitting_any_output_loses_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
        let stream = stigmer_core::process::OutputKind::Stdout;
        let event = OutputEvent::Output { offset: 7, stream, bytes: bytes.clone().into() };
        let mut all = Vec::new();
        for event in split_characters(event) {
            let OutputEvent::Output { offset, bytes, .. } = event else { panic!("{event:?}") };
            prop_assert_eq!(offset, 7 + all.len() as u64);
            all.extend_from_slice(bytes.as_bytes());
        }
        prop_assert_eq!(all, bytes);
    }
}

/// The error of a request that cannot be understood names its field.
fn refused<W, C: TryFrom<W, Error = crate::convert::Fault>>(message: W, field: &str) {
    let Err(error) = request::<W, C>(message) else { panic!("{field} is accepted") };
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.starts_with(&format!("{field}: ")), "{error}");
}

#[test]
fn what_is_unknown_or_out_of_range_is_refused_and_named() {
    refused::<_, GrepSearch>(wire::GrepSearchRequest { case: 9, ..Default::default() }, "case");
    refused::<_, SearchFiles>(wire::SearchFilesRequest { kind: -1, ..Default::default() }, "kind");
    refused::<_, Download>(wire::DownloadRequest { format: 3, ..Default::default() }, "format");
    refused::<_, OpenWorkspace>(
        wire::OpenWorkspaceRequest { mode: 7, ..Default::default() },
        "mode",
    );
    refused::<_, (OpenWorkspace, Preparation)>(wire::PrepareRequest::default(), "open");
    let open = Some(wire::OpenWorkspaceRequest::default());
    let message = wire::PrepareRequest { open, preparation: 5 };
    refused::<_, (OpenWorkspace, Preparation)>(message, "preparation");
    let mode = Some(0o10000);
    refused::<_, Upload>(wire::UploadBegin { mode, ..Default::default() }, "mode");
    refused::<_, TerminalSize>(wire::TerminalSize { rows: 65_536, columns: 1 }, "rows");
    refused::<_, TerminalSize>(wire::TerminalSize { rows: 1, columns: u32::MAX }, "columns");
    refused::<_, (ProcessId, ReadOutput)>(wire::OutputRequest::default(), "id");
    let id = ProcessId::from_random(1).to_string();
    let message = wire::OutputRequest { id: id.clone(), follow: 4, ..Default::default() };
    refused::<_, (ProcessId, ReadOutput)>(message, "follow");
    let message = wire::SignalProcessRequest { id, ..Default::default() };
    refused::<_, (ProcessId, SignalRequest)>(message.clone(), "signal");
    let message = wire::SignalProcessRequest { signal: Some(Default::default()), ..message };
    refused::<_, (ProcessId, SignalRequest)>(message, "signal.cancel, kill or send");
}

#[test]
fn a_start_that_cannot_be_understood_is_refused_and_named() {
    let good = || wire::StartProcessRequest {
        command: Some(stigmer_core::process::Command::Shell("true".into()).into()),
        ..Default::default()
    };
    let none = |_: &str| Err(ToolError::invalid_argument("stdin_ticket", "there is none"));
    start_from_wire(good(), none).unwrap();
    let twice = wire::Variable { name: Some(wire::ByteString::default()), value: None };
    let terminal = wire::TerminalSize { rows: 1 << 16, columns: 0 };
    let umask = wire::Caller { umask: Some(0o1000), ..Default::default() };
    let wrong = [
        ("command", wire::StartProcessRequest { command: None, ..good() }),
        (
            "command.shell or argv",
            wire::StartProcessRequest { command: Some(wire::Command { command: None }), ..good() },
        ),
        ("variables", wire::StartProcessRequest { variables: vec![twice; 2], ..good() }),
        ("caller.umask", wire::StartProcessRequest { caller: Some(umask), ..good() }),
        ("terminal.rows", wire::StartProcessRequest { terminal: Some(terminal), ..good() }),
        ("stdin", wire::StartProcessRequest { stdin: 4, ..good() }),
        ("stdin_ticket", wire::StartProcessRequest { stdin: 3, ..good() }),
        ("stdin_ticket", wire::StartProcessRequest { stdin_ticket: "t".into(), ..good() }),
        (
            "client_grace_ms",
            wire::StartProcessRequest { detached: true, client_grace_ms: Some(1), ..good() },
        ),
        ("id", wire::StartProcessRequest { id: Some("../../etc".into()), ..good() }),
        ("traceparent", wire::StartProcessRequest { traceparent: Some("a\nb".into()), ..good() }),
    ];
    for (field, message) in wrong {
        let error = start_from_wire(message, none).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(error.message.starts_with(&format!("{field}: ")), "{field}: {error}");
    }
    let error = execute_from_wire(wire::ExecuteRequest::default(), none).unwrap_err();
    assert!(error.message.starts_with("start: "), "{error}");
}

#[test]
fn an_answer_that_cannot_be_understood_is_a_fault_of_the_server() {
    let error = reply::<_, Executed>(wire::Executed::default()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Io);
    assert!(error.message.starts_with("the server's answer: id is not a process id"), "{error}");
    let gap = wire::Gap { offset: u64::MAX, length: 1, reason: 1 };
    let event = Some(wire::output_event::Event::Gap(gap));
    assert!(reply::<_, OutputEvent>(wire::OutputEvent { next: 0, event }).is_err());
    assert!(reply::<_, FileStat>(wire::FileStat::default()).is_err(), "no kind");
    assert!(reply::<_, Change>(wire::WatchEvent::default()).is_err());
}

#[test]
fn a_capability_of_a_newer_server_is_passed_over() {
    let reply: WorkspaceInfo = reply(wire::Workspace {
        id: "ws-0123456789abcdef".into(),
        mode: 1,
        capabilities: vec![0, 1, 99],
        ..Default::default()
    })
    .unwrap();
    assert_eq!(reply.capabilities.has, [stigmer_core::Capability::Terminal]);
}
