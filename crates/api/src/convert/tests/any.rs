//! Any value of the core's.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use stigmer_core::event::{Event, EventKind};
use stigmer_core::file::{
    DirectoryEntry, Edit, EditFile, Encoding, FileContent, FileKind, FileStat,
};
use stigmer_core::manager::{PlaceState, PlaceStatus, Progress};
use stigmer_core::process::{
    Caller, CallerLimit, Captured, Command, EndReason, Execute, Executed, ExitStatus, Follow,
    GapReason, Lifetime, OutputEvent, OutputKind, ProcessInfo, ProcessState, ReadOutput,
    ResourceLimits, SignalRequest, StartProcess, StartedProcess, Stdin, Survivor, TerminalSize,
};
use stigmer_core::search::{CaseRule, GrepMatch, GrepSearch, QueryKind, SearchFiles};
use stigmer_core::skill::Skill;
use stigmer_core::transfer::{Change, ChangeKind, TransferFormat, Upload};
use stigmer_core::workspace::WorkspaceInfo;
use stigmer_core::{
    ByteString, Capabilities, Capability, Denial, Denied, Enforced, ErrorCode, ExecutionMode, Lane,
    Place, ProcessId, Routing, ToolError, WorkspaceId,
};

use crate::Preparing;

pub(super) fn bytes() -> impl Strategy<Value = ByteString> {
    prop_oneof!["\\PC{0,8}".prop_map(ByteString::from), vec(any::<u8>(), 0..8).prop_map(Into::into)]
}

pub(super) fn list() -> impl Strategy<Value = Vec<ByteString>> {
    vec(bytes(), 0..3)
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,8}"
}

pub(super) fn id() -> impl Strategy<Value = ProcessId> {
    any::<u64>().prop_map(ProcessId::from_random)
}

fn one<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn kind() -> impl Strategy<Value = FileKind> {
    use FileKind::{Device, Directory, Fifo, File, Socket, Symlink};
    one(&[File, Directory, Symlink, Fifo, Socket, Device])
}

pub(super) fn file_content() -> impl Strategy<Value = FileContent> {
    let encoding = one(&[Encoding::Utf8, Encoding::Base64]);
    (bytes(), encoding, any::<[u64; 4]>(), of(any::<u64>()), text()).prop_map(
        |(content, encoding, [total_lines, start_line, end_line, size], next_line, sha256)| {
            FileContent {
                content,
                encoding,
                total_lines,
                start_line,
                end_line,
                next_line,
                size,
                sha256,
            }
        },
    )
}

pub(super) fn file_stat() -> impl Strategy<Value = FileStat> {
    (bytes(), kind(), any::<u64>(), any::<i64>(), any::<u32>(), of(bytes())).prop_map(
        |(path, kind, size, modified_ms, mode, symlink_target)| FileStat {
            path,
            kind,
            size,
            modified_ms,
            mode,
            symlink_target,
        },
    )
}

pub(super) fn edit_file() -> impl Strategy<Value = EditFile> {
    let edit = (bytes(), bytes(), any::<bool>()).prop_map(|(old, new, replace_all)| Edit {
        old,
        new,
        replace_all,
    });
    (bytes(), vec(edit, 0..3), of(text())).prop_map(|(path, edits, expected_sha256)| EditFile {
        path,
        edits,
        expected_sha256,
    })
}

pub(super) fn entry() -> impl Strategy<Value = DirectoryEntry> {
    (bytes(), kind(), any::<u64>()).prop_map(|(path, kind, size)| DirectoryEntry {
        path,
        kind,
        size,
    })
}

pub(super) fn search_files() -> impl Strategy<Value = SearchFiles> {
    let kind = one(&[QueryKind::Fuzzy, QueryKind::Glob]);
    (text(), kind, list(), any::<bool>(), of(any::<usize>())).prop_map(
        |(query, kind, directories, ignore_rules, limit)| SearchFiles {
            query,
            kind,
            directories,
            ignore_rules,
            limit,
        },
    )
}

pub(super) fn grep_search() -> impl Strategy<Value = GrepSearch> {
    let case = one(&[CaseRule::Sensitive, CaseRule::Insensitive, CaseRule::Smart]);
    let globs = (vec(text(), 0..3), vec(text(), 0..3));
    let limit = of(0..usize::MAX);
    (bytes(), any::<[bool; 2]>(), case, list(), globs, any::<[u32; 2]>(), limit).prop_map(
        |(pattern, [literal, no_ignore], case, paths, (include, exclude), context, limit)| {
            GrepSearch {
                pattern,
                literal,
                case,
                paths,
                include,
                exclude,
                no_ignore,
                before: context[0],
                after: context[1],
                limit,
            }
        },
    )
}

pub(super) fn grep_match() -> impl Strategy<Value = GrepMatch> {
    (bytes(), any::<u64>(), any::<u64>(), bytes(), list(), list()).prop_map(
        |(path, line, column, text, before, after)| GrepMatch {
            path,
            line,
            column,
            text,
            before,
            after,
        },
    )
}

fn format() -> impl Strategy<Value = TransferFormat> {
    one(&[TransferFormat::Tar, TransferFormat::File])
}

pub(super) fn upload() -> impl Strategy<Value = Upload> {
    (bytes(), format(), of(0..=0o7777u32)).prop_map(|(path, format, mode)| Upload {
        path,
        format,
        mode,
    })
}

pub(super) fn skill() -> impl Strategy<Value = Skill> {
    let problem = proptest::option::of(text());
    (text(), text(), bytes(), text(), any::<[u64; 2]>(), problem).prop_map(
        |(name, description, path, digest, [files, bytes], problem)| Skill {
            name,
            description,
            path,
            digest,
            files,
            bytes,
            problem,
        },
    )
}

pub(super) fn change() -> impl Strategy<Value = Change> {
    use ChangeKind::{Created, Modified, Removed, Rescan};
    (bytes(), one(&[Created, Modified, Removed, Rescan]))
        .prop_map(|(path, kind)| Change { path, kind })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![bytes().prop_map(Command::Shell), list().prop_map(Command::Argv)]
}

fn caller() -> impl Strategy<Value = Caller> {
    let limit = (any::<u32>(), of(any::<u64>()), of(any::<u64>()))
        .prop_map(|(resource, soft, hard)| CallerLimit { resource, soft, hard });
    (vec((bytes(), bytes()), 0..3), of(0..=0o777u32), vec(limit, 0..3))
        .prop_map(|(environment, umask, limits)| Caller { environment, umask, limits })
}

pub(super) fn terminal() -> impl Strategy<Value = TerminalSize> {
    any::<(u16, u16)>().prop_map(|(rows, columns)| TerminalSize { rows, columns })
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn variables() -> impl Strategy<Value = BTreeMap<ByteString, ByteString>> {
    btree_map(bytes(), bytes(), 0..3)
}

/// Without an inherited descriptor, which no test needs to make at random.
pub(super) fn start() -> impl Strategy<Value = StartProcess> {
    let stdin = prop_oneof![Just(Stdin::Empty), Just(Stdin::Stream)];
    let lifetime = prop_oneof![
        Just(Lifetime::Detached),
        duration().prop_map(|client_grace| Lifetime::Foreground { client_grace })
    ];
    let limits = any::<[Option<u64>; 5]>();
    (
        (of(id()), command(), bytes(), of(caller()), variables(), stdin),
        (of(terminal()), of(duration()), duration(), lifetime),
        (limits, of(text()), of(any::<u64>()), of("[0-9a-f-]{1,60}")),
    )
        .prop_map(|(what, how, rest)| {
            let (id, command, cwd, caller, variables, stdin) = what;
            let (terminal, timeout, termination_grace, lifetime) = how;
            let (limits, user, output_cap, traceparent) = rest;
            let [cpu_seconds, address_space_bytes, open_files, file_size_bytes, processes] = limits;
            let limits = ResourceLimits {
                cpu_seconds,
                address_space_bytes,
                open_files,
                file_size_bytes,
                processes,
            };
            StartProcess {
                id,
                command,
                cwd,
                caller,
                variables,
                stdin,
                terminal,
                timeout,
                termination_grace,
                lifetime,
                limits,
                user,
                output_cap,
                traceparent,
            }
        })
}

pub(super) fn execute() -> impl Strategy<Value = Execute> {
    let start =
        start().prop_filter("zero is no limit", |start| start.timeout != Some(Duration::ZERO));
    (start, bytes(), any::<usize>()).prop_map(|(start, input, capture_bytes)| Execute {
        start,
        input,
        capture_bytes,
    })
}

fn place() -> impl Strategy<Value = Place> {
    one(&[Place::Host, Place::Container, Place::Vm, Place::Pod, Place::Cloud])
}

fn lane() -> impl Strategy<Value = Lane> {
    one(&[Lane::HostReadOnly, Lane::HostWorkspace, Lane::Sandbox])
}

fn denied() -> impl Strategy<Value = Denied> {
    let denial = (text(), of(bytes()), any::<i32>(), any::<bool>());
    let denial = denial.prop_map(|(call, path, errno, probe)| Denial { call, path, errno, probe });
    (vec(denial, 0..3), any::<u64>()).prop_map(|(denials, omitted)| Denied { denials, omitted })
}

fn routing() -> impl Strategy<Value = Option<Box<Routing>>> {
    let enforced = (any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
        |(landlock, namespaces, scoped_signals)| Enforced { landlock, namespaces, scoped_signals },
    );
    let texts = (text(), text(), text(), vec(text(), 0..3));
    let routing = (lane(), texts, of(enforced), of(denied())).prop_map(
        |(lane, (rule, token, reason, dropped_variables), enforced, fell_over)| {
            Box::new(Routing { lane, rule, token, reason, enforced, fell_over, dropped_variables })
        },
    );
    of(routing)
}

pub(super) fn started() -> impl Strategy<Value = StartedProcess> {
    (id(), place(), routing(), of(bytes())).prop_map(|(id, place, routing, executable)| {
        StartedProcess { id, place, routing, executable }
    })
}

pub(super) fn exit() -> impl Strategy<Value = ExitStatus> {
    use EndReason::{Cancelled, Exited, Lost, OutOfMemory, Signalled, TimedOut};
    let reason = one(&[Exited, Signalled, TimedOut, Cancelled, OutOfMemory, Lost]);
    let survivor = (any::<u32>(), text(), any::<u32>()).prop_map(|(pid, name, uid)| Survivor {
        pid,
        name,
        uid,
    });
    let signal = of(any::<i32>());
    let times = (any::<[u64; 3]>(), of(any::<u64>()), of(".{1,8}"));
    (any::<i32>(), reason, signal, times, vec(survivor, 0..3), of(denied())).prop_map(
        |(
            code,
            reason,
            signal,
            ([ended_ms, duration_ms, output_bytes], memory_limit, cause),
            survivors,
            denied,
        )| ExitStatus {
            code,
            reason,
            signal,
            ended_ms,
            duration_ms,
            output_bytes,
            memory_limit,
            cause,
            survivors,
            denied: denied.map(Box::new),
        },
    )
}

fn captured() -> impl Strategy<Value = Captured> {
    (bytes(), bytes(), any::<u64>()).prop_map(|(head, tail, omitted_bytes)| Captured {
        head,
        tail,
        omitted_bytes,
    })
}

pub(super) fn executed() -> impl Strategy<Value = Executed> {
    (started(), exit(), captured(), captured(), any::<bool>()).prop_map(
        |(started, exit, stdout, stderr, truncated)| Executed {
            id: started.id,
            exit,
            stdout,
            stderr,
            truncated,
            place: started.place,
            routing: started.routing,
            executable: started.executable,
        },
    )
}

pub(super) fn read_output() -> impl Strategy<Value = ReadOutput> {
    let follow = one(&[Follow::No, Follow::UntilExit, Follow::UntilClosed]);
    (any::<u64>(), follow, any::<bool>()).prop_map(|(since, follow, hold)| ReadOutput {
        since,
        follow,
        hold,
    })
}

pub(super) fn output_event() -> impl Strategy<Value = OutputEvent> {
    let stream = one(&[OutputKind::Stdout, OutputKind::Stderr, OutputKind::Terminal]);
    let reason = one(&[GapReason::OverCap, GapReason::DiskFull]);
    let offset = 0..u64::MAX / 2;
    prop_oneof![
        (offset.clone(), stream, bytes()).prop_map(|(offset, stream, bytes)| OutputEvent::Output {
            offset,
            stream,
            bytes
        }),
        (offset.clone(), offset, reason).prop_map(|(offset, length, reason)| OutputEvent::Gap {
            offset,
            length,
            reason
        }),
        exit().prop_map(OutputEvent::Exit),
    ]
}

pub(super) fn info() -> impl Strategy<Value = ProcessInfo> {
    let state = one(&[ProcessState::Running, ProcessState::Exited, ProcessState::Lost]);
    (
        (id(), command(), bytes(), bytes(), state, of(exit())),
        (any::<[u64; 2]>(), of(any::<u32>()), any::<u32>(), any::<[bool; 2]>(), routing()),
    )
        .prop_map(
            |(
                (id, command, workspace, cwd, state, exit),
                (numbers, pid, background, is, routing),
            )| {
                ProcessInfo {
                    id,
                    command,
                    workspace,
                    cwd,
                    state,
                    exit,
                    started_ms: numbers[0],
                    pid,
                    background,
                    terminal: is[0],
                    detached: is[1],
                    output_bytes: numbers[1],
                    routing,
                }
            },
        )
}

pub(super) fn signal() -> impl Strategy<Value = SignalRequest> {
    prop_oneof![
        Just(SignalRequest::Cancel),
        Just(SignalRequest::Kill),
        any::<i32>().prop_map(SignalRequest::Send)
    ]
}

pub(super) fn mode() -> impl Strategy<Value = ExecutionMode> {
    use ExecutionMode::{Auto, Cloud, Firecracker, Kubernetes, Local, Sandbox};
    one(&[Local, Sandbox, Auto, Firecracker, Kubernetes, Cloud])
}

fn workspace_id() -> impl Strategy<Value = WorkspaceId> {
    any::<u64>().prop_map(WorkspaceId::from_number)
}

pub(super) fn workspace() -> impl Strategy<Value = WorkspaceInfo> {
    use Capability::{CallerEnvironment, InheritStdin, ResourceLimits, Terminal, User, Watch};
    let has =
        vec(one(&[CallerEnvironment, InheritStdin, ResourceLimits, Terminal, User, Watch]), 0..7);
    let capabilities = (text(), has).prop_map(|(backend, has)| Capabilities { backend, has });
    let settings = vec((text(), text()), 0..3);
    (workspace_id(), bytes(), mode(), capabilities, any::<u64>(), settings).prop_map(
        |(id, root, mode, capabilities, opened_ms, server_settings)| WorkspaceInfo {
            id,
            root,
            mode,
            capabilities,
            opened_ms,
            server_settings,
        },
    )
}

pub(super) fn preparing() -> impl Strategy<Value = Preparing> {
    use PlaceState::{Creating, Deleting, Failed, Gone, Ready, Stopped};
    let state = one(&[Creating, Ready, Stopped, Deleting, Gone, Failed]);
    let texts = (of(text()), of(text()), vec(text(), 0..3), vec(text(), 0..3));
    let status = (workspace_id(), bytes(), state, texts, of(any::<u64>()), any::<bool>()).prop_map(
        |(workspace, root, state, (name, image, notes, affinity), created_ms, failed)| {
            PlaceStatus {
                workspace,
                root,
                state,
                reason: failed.then(|| ToolError::new(ErrorCode::DiskFull, "full").with_hint("h")),
                name,
                image,
                created_ms,
                notes,
                affinity,
            }
        },
    );
    let layer = (text(), text(), any::<u64>(), any::<u64>())
        .prop_map(|(id, what, done, total)| Progress::Layer { id, what, done, total });
    prop_oneof![
        text().prop_map(|text| Preparing::Progress(Progress::Step(text))),
        text().prop_map(|text| Preparing::Progress(Progress::Note(text))),
        layer.prop_map(Preparing::Progress),
        status.prop_map(Preparing::Done),
    ]
}

/// Without traces, which do not cross the wire.
pub(super) fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        (id(), place(), any::<bool>()).prop_map(|(id, place, detached)| {
            EventKind::ProcessStarted { id, place, detached, traceparent: None }
        }),
        (id(), lane(), text(), text(), vec(text(), 0..3)).prop_map(
            |(id, lane, rule, reason, fell_over)| EventKind::CommandRouted {
                id,
                lane,
                rule,
                reason,
                fell_over
            }
        ),
        (id(), exit()).prop_map(|(id, exit)| EventKind::ProcessEnded {
            id,
            exit,
            traceparent: None
        }),
        workspace_id().prop_map(|id| EventKind::WorkspaceOpened { id }),
        workspace_id().prop_map(|id| EventKind::WorkspaceForgotten { id }),
        (text(), bytes()).prop_map(|(operation, path)| EventKind::FilesChanged { operation, path }),
        Just(EventKind::EventsLost),
    ];
    (any::<[u64; 2]>(), bytes(), of(text()), kind).prop_map(
        |([next, at_ms], workspace, request_id, kind)| Event {
            next,
            at_ms,
            workspace,
            request_id,
            kind,
        },
    )
}

pub(super) fn error() -> impl Strategy<Value = ToolError> {
    let value = prop_oneof![
        text().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        bytes().prop_map(serde_json::Value::from),
    ];
    let details = btree_map(text(), value, 0..3);
    (one(ErrorCode::ALL), text(), of(text()), any::<bool>(), details).prop_map(
        |(code, message, hint, retryable, details)| ToolError {
            code,
            message,
            hint,
            retryable,
            details,
        },
    )
}
