//! Every value arrives as it was.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use proptest::option::of;
use proptest::prelude::*;
use prost::Message;
use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditSummary, FileContent, FileStat, ListDirectory, Listing,
    MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::process::{
    Executed, ExitStatus, OutputEvent, ProcessInfo, SignalRequest, StartProcess, StartedProcess,
    Stdin, TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches};
use stigmer_core::transfer::{Download, UploadSummary, Watch};
use stigmer_core::workspace::{OpenWorkspace, Preparation};
use stigmer_core::{ByteString, ErrorCode, FilePath, Result, ToolError};

use super::any;
use crate::convert::{
    Fault, InWorkspace, Position, execute_from_wire, execute_request, output_request, reply,
    request, signal_request, start_from_wire, start_request,
};
use crate::{Preparing, ServerInfo, ServerKind, wire};

/// Through bytes, as on a wire. Not every word of the core's can be compared; each can be shown.
fn same<W, C>(value: &C)
where
    W: Message + Default + From<C>,
    C: TryFrom<W, Error: Into<Fault>> + Clone + Debug,
{
    let encoded = W::from(value.clone()).encode_to_vec();
    let back: C = reply(W::decode(encoded.as_slice()).unwrap()).unwrap();
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
    let back: C = request(W::decode(encoded.as_slice()).unwrap()).unwrap();
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
}

fn no_descriptor(_: &str) -> Result<std::os::fd::OwnedFd> {
    panic!("nobody asked for it")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_survive(bytes in any::bytes()) {
        prop_assert_eq!(ByteString::from(wire::ByteString::from(bytes.clone())), bytes);
    }

    #[test]
    fn requests_about_files_survive(
        path in any::bytes(), content in any::bytes(), flag: bool, lines: [Option<u64>; 2],
        digest in of(".{0,8}"), depth: u32, limit: Option<usize>, edit in any::edit_file(),
    ) {
        same::<wire::ReadFileRequest, _>(
            &ReadFile { path: path.clone(), first_line: lines[0], last_line: lines[1] });
        same::<wire::StatFileRequest, FilePath>(&path);
        same::<wire::WriteFileRequest, _>(&WriteFile {
            path: path.clone(), content: content.clone(), expected_sha256: digest, create_only: flag,
        });
        same::<wire::EditFileRequest, _>(&edit);
        same::<wire::DeleteFileRequest, _>(&DeleteFile { path: path.clone(), recursive: flag });
        same::<wire::MovePathRequest, _>(
            &MovePath { from: path.clone(), to: content, replace: flag });
        same::<wire::MakeDirectoryRequest, _>(&MakeDirectory { path: path.clone(), parents: flag });
        same::<wire::ListDirectoryRequest, _>(
            &ListDirectory { path, depth, ignore_rules: flag, limit });
    }

    #[test]
    fn answers_about_files_survive(
        content in any::file_content(), stat in any::file_stat(), entry in any::entry(),
        unreadable in any::list(), flag: bool, numbers: [u64; 2], text in ".{0,8}",
    ) {
        same::<wire::FileContent, FileContent>(&content);
        same::<wire::FileStat, FileStat>(&stat);
        let [lines_added, lines_removed] = numbers;
        same::<wire::WriteSummary, _>(
            &WriteSummary { is_new_file: flag, lines_added, lines_removed, sha256: text.clone() });
        same::<wire::EditSummary, _>(&EditSummary {
            occurrences: numbers.to_vec(), lines_added, lines_removed,
            diff: text.clone(), sha256: text,
        });
        same::<wire::DeleteSummary, _>(&DeleteSummary { was_already_deleted: flag });
        same::<wire::Listing, _>(&Listing { entries: vec![entry], truncated: flag, unreadable });
    }

    #[test]
    fn searches_survive(
        find in any::search_files(), grep in any::grep_search(), found in any::grep_match(),
        paths in any::list(), unreadable in any::list(), truncated: bool,
    ) {
        same::<wire::SearchFilesRequest, _>(&find);
        same::<wire::GrepSearchRequest, _>(&grep);
        same::<wire::FoundFiles, _>(
            &FoundFiles { paths: paths.clone(), truncated, unreadable: unreadable.clone() });
        same::<wire::GrepMatches, _>(
            &GrepMatches { matches: vec![found], truncated, binary: paths, unreadable });
    }

    #[test]
    fn transfers_survive(
        upload in any::upload(), numbers: [u64; 4], change in any::change(),
        directories in any::list(), ignore_rules: bool,
    ) {
        same::<wire::DownloadRequest, _>(
            &Download { path: upload.path.clone(), format: upload.format });
        same::<wire::UploadBegin, _>(&upload);
        let [files, directories_made, symlinks, bytes] = numbers;
        same::<wire::UploadSummary, _>(
            &UploadSummary { files, directories: directories_made, symlinks, bytes });
        same::<wire::WatchRequest, _>(&Watch { directories, ignore_rules });
        same::<wire::WatchEvent, _>(&change);
    }

    #[test]
    fn commands_survive(start in any::start(), execute in any::execute()) {
        let shown = format!("{start:?}");
        let encoded = start_request(start, None).unwrap().encode_to_vec();
        let message = wire::StartProcessRequest::decode(encoded.as_slice()).unwrap();
        let back = start_from_wire(message, no_descriptor).unwrap();
        prop_assert_eq!(format!("{back:?}"), shown);

        let shown = format!("{execute:?}");
        let encoded = execute_request(execute, None).unwrap().encode_to_vec();
        let message = wire::ExecuteRequest::decode(encoded.as_slice()).unwrap();
        let back = execute_from_wire(message, no_descriptor).unwrap();
        prop_assert_eq!(format!("{back:?}"), shown);
    }

    #[test]
    fn answers_about_commands_survive(
        started in any::started(), executed in any::executed(), exit in any::exit(),
        all in proptest::collection::vec(any::info(), 0..3), info in any::info(),
    ) {
        same::<wire::StartedProcess, StartedProcess>(&started);
        same::<wire::Executed, Executed>(&executed);
        same::<wire::ExitStatus, ExitStatus>(&exit);
        same::<wire::SignalProcessResponse, _>(&Some(exit));
        same::<wire::SignalProcessResponse, Option<ExitStatus>>(&None);
        same::<wire::ProcessInfo, ProcessInfo>(&info);
        same::<wire::ProcessList, _>(&all);
    }

    #[test]
    fn skills_survive(skill in any::skill(), change in 0..3_usize) {
        use stigmer_core::skill::{AddedSkill, SkillChange::{Added, Replaced, Unchanged}};
        same::<wire::SkillList, _>(&vec![skill.clone()]);
        let change = [Added, Replaced, Unchanged][change];
        same::<wire::AddedSkill, _>(&AddedSkill { skill, change });
    }

    #[test]
    fn steering_survives(
        id in any::id(), read in any::read_output(), signal in any::signal(),
        terminal in any::terminal(),
    ) {
        prop_assert_eq!(request(output_request(&id, read)), Ok((id.clone(), read)));
        let message = signal_request(&id, signal);
        prop_assert_eq!(request::<_, (_, SignalRequest)>(message), Ok((id, signal)));
        same::<wire::TerminalSize, TerminalSize>(&terminal);
    }

    #[test]
    fn output_survives(event in any::output_event(), since in 0..u64::MAX) {
        let message = Position::at(since).event(event.clone());
        prop_assert!(message.next >= since);
        prop_assert_eq!(reply::<_, OutputEvent>(message), Ok(event));
    }

    #[test]
    fn workspaces_and_events_survive(
        path in any::bytes(), mode in of(any::mode()), workspace in any::workspace(),
        preparing in any::preparing(), event in any::event(), kind: bool, numbers: [u32; 2], socket in of(".{1,8}"),
    ) {
        let settings = workspace.server_settings.clone();
        let open = OpenWorkspace { path, mode, settings };
        same::<wire::OpenWorkspaceRequest, _>(&open);
        same::<wire::PrepareRequest, _>(&(open.clone(), Preparation::Create));
        same::<wire::PrepareRequest, _>(&(open.clone(), Preparation::Start));
        same::<wire::PrepareRequest, _>(&(open, Preparation::Recover));
        same::<wire::Preparing, _>(&preparing);
        if let Preparing::Done(status) = preparing {
            same::<wire::PlaceList, _>(&vec![status]);
        }
        same::<wire::WorkspaceList, _>(&vec![workspace.clone()]);
        same::<wire::Workspace, _>(&workspace);
        same::<wire::Event, _>(&event);
        same::<wire::ServerInfo, _>(&ServerInfo {
            version: workspace.capabilities.backend,
            kind: if kind { ServerKind::Daemon } else { ServerKind::Sidecar },
            pid: numbers[0],
            uid: numbers[1],
            started_ms: workspace.opened_ms,
            descriptor_socket: socket.map(PathBuf::from),
        });
    }
}

#[test]
fn a_search_without_limit_has_one_on_the_wire() {
    let grep = stigmer_core::search::GrepSearch { limit: Some(usize::MAX), ..Default::default() };
    let message = wire::GrepSearchRequest::from(grep);
    assert_eq!(message.limit, Some(u64::MAX));
    let back: stigmer_core::search::GrepSearch = request(message).unwrap();
    assert_eq!(back.limit, Some(usize::MAX - 1));
}

#[test]
fn a_time_limit_that_is_not_said_is_two_minutes_for_execute_and_none_for_start() {
    let start = |timeout_ms| {
        let command = Some(stigmer_core::process::Command::Shell("true".into()).into());
        wire::StartProcessRequest { command, timeout_ms, ..Default::default() }
    };
    let executed = |timeout_ms| {
        let start = Some(start(timeout_ms));
        let message = wire::ExecuteRequest { start, ..Default::default() };
        execute_from_wire(message, no_descriptor).unwrap().start.timeout
    };
    assert_eq!(executed(None), Some(Duration::from_secs(120)));
    assert_eq!(executed(Some(0)), None);
    assert_eq!(executed(Some(7)), Some(Duration::from_millis(7)));
    let started = |timeout_ms| start_from_wire(start(timeout_ms), no_descriptor).unwrap().timeout;
    assert_eq!(started(None), None);
    assert_eq!(started(Some(0)), Some(Duration::ZERO), "which the executor refuses");
}

#[test]
fn times_below_a_millisecond_do_not_vanish() {
    let start = StartProcess { timeout: Some(Duration::from_nanos(1)), ..StartProcess::shell("x") };
    assert_eq!(start_request(start, None).unwrap().timeout_ms, Some(1));
    let mut execute = stigmer_core::process::Execute::new(StartProcess::shell("x"));
    execute.start.timeout = Some(Duration::ZERO);
    let error = execute_request(execute, None).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument, "zero would be for ever");
}

#[test]
fn an_inherited_descriptor_travels_as_its_ticket() {
    let descriptor = std::sync::Arc::new(std::fs::File::open("/dev/null").unwrap().into());
    let start = StartProcess { stdin: Stdin::Inherit(descriptor), ..StartProcess::shell("cat") };
    let error = start_request(start.clone(), None).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    let message = start_request(start, Some("a ticket".to_owned())).unwrap();
    let back = start_from_wire(message.clone(), |ticket| {
        assert_eq!(ticket, "a ticket");
        Ok(std::fs::File::open("/dev/zero").unwrap().into())
    });
    assert!(matches!(back.unwrap().stdin, Stdin::Inherit(_)));
    let refused = |_: &str| Err(ToolError::invalid_argument("stdin_ticket", "there is none"));
    let error = start_from_wire(message.clone(), refused).unwrap_err();
    assert!(error.message.contains("there is none"), "{error}");
    // A request that is refused for something else uses up no ticket.
    let wrong = wire::StartProcessRequest { id: Some("no id".to_owned()), ..message };
    assert!(start_from_wire(wrong, no_descriptor).unwrap_err().message.contains("id"));
}

#[test]
fn a_message_names_its_workspace() {
    let message = wire::ReadFileRequest::from(ReadFile::default()).in_workspace("ws");
    assert_eq!(message.workspace(), "ws");
    let start = start_request(StartProcess::shell("x"), None).unwrap();
    let execute = wire::ExecuteRequest { start: Some(start), ..Default::default() };
    assert_eq!(execute.in_workspace("ws").workspace(), "ws");
}

#[test]
fn the_end_of_a_command_does_not_move_its_reader() {
    let mut position = Position::at(5);
    let output = |offset, text: &str| OutputEvent::Output {
        offset,
        stream: stigmer_core::process::OutputKind::Stdout,
        bytes: text.into(),
    };
    let exit = |output_bytes| ExitStatus {
        code: 0,
        reason: stigmer_core::process::EndReason::Exited,
        signal: None,
        ended_ms: 1,
        duration_ms: 1,
        output_bytes,
        memory_limit: None,
        cause: None,
        survivors: Vec::new(),
        denied: None,
    };
    assert_eq!(position.event(output(5, "abc")).next, 8);
    // The reader had taken more than was written by the end.
    assert_eq!(position.event(OutputEvent::Exit(exit(6))).next, 8);
    assert_eq!(position.event(output(8, "d")).next, 9);
}
