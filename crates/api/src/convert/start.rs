//! Starting and executing commands.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use stigmer_core::limits::{
    DEFAULT_CAPTURE_BYTES, DEFAULT_CLIENT_GRACE, DEFAULT_TERMINATION_GRACE, DEFAULT_TIMEOUT,
};
use stigmer_core::process::{
    Caller, CallerLimit, Command, Execute, Lifetime, ResourceLimits, StartProcess, Stdin,
    TerminalSize,
};
use stigmer_core::{ByteString, Result, ToolError};

use super::bytes::{bytes, field, list};
use super::{Fault, count, optional, process_id, required, size};
use crate::wire;
use crate::wire::StdinSource;
use crate::wire::command::Command as WireCommand;

/// The longest `traceparent`: version 00 has 55 characters, and a later one may add some.
const MAX_TRACEPARENT_BYTES: usize = 128;

/// The bits of a file mode creation mask.
const UMASK_BITS: u32 = 0o777;

/// Whether a text can be a `traceparent`: short, and nothing but hexadecimal digits and hyphens.
pub fn is_traceparent(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    !text.is_empty() && text.len() <= MAX_TRACEPARENT_BYTES && text.bytes().all(allowed)
}

impl From<Command> for wire::Command {
    fn from(command: Command) -> Self {
        let command = match command {
            Command::Shell(line) => WireCommand::Shell(line.into()),
            Command::Argv(words) => WireCommand::Argv(wire::Argv { words: list(words) }),
        };
        Self { command: Some(command) }
    }
}
impl TryFrom<wire::Command> for Command {
    type Error = Fault;
    fn try_from(command: wire::Command) -> Result<Self, Fault> {
        match command.command.ok_or_else(|| Fault::new("shell or argv", "is missing"))? {
            WireCommand::Shell(line) => Ok(Self::Shell(line.into())),
            WireCommand::Argv(argv) => Ok(Self::Argv(list(argv.words))),
        }
    }
}

impl From<TerminalSize> for wire::TerminalSize {
    fn from(size: TerminalSize) -> Self {
        Self { rows: size.rows.into(), columns: size.columns.into() }
    }
}
impl TryFrom<wire::TerminalSize> for TerminalSize {
    type Error = Fault;
    fn try_from(size: wire::TerminalSize) -> Result<Self, Fault> {
        let fits = |field, number| {
            let reason = || Fault::new(field, format!("{number} is more than {}", u16::MAX));
            u16::try_from(number).map_err(|_| reason())
        };
        Ok(Self { rows: fits("rows", size.rows)?, columns: fits("columns", size.columns)? })
    }
}

impl From<CallerLimit> for wire::CallerLimit {
    fn from(limit: CallerLimit) -> Self {
        let CallerLimit { resource, soft, hard } = limit;
        Self { resource, soft, hard }
    }
}
impl From<wire::CallerLimit> for CallerLimit {
    fn from(limit: wire::CallerLimit) -> Self {
        let wire::CallerLimit { resource, soft, hard } = limit;
        Self { resource, soft, hard }
    }
}

fn variable((name, value): (ByteString, ByteString)) -> wire::Variable {
    wire::Variable { name: field(name), value: field(value) }
}

fn name_and_value(variable: wire::Variable) -> (ByteString, ByteString) {
    (bytes(variable.name), bytes(variable.value))
}

impl From<Caller> for wire::Caller {
    fn from(caller: Caller) -> Self {
        let Caller { environment, umask, limits } = caller;
        let environment = environment.into_iter().map(variable).collect();
        Self { environment, umask, limits: list(limits) }
    }
}
impl TryFrom<wire::Caller> for Caller {
    type Error = Fault;
    fn try_from(caller: wire::Caller) -> Result<Self, Fault> {
        let wire::Caller { environment, umask, limits } = caller;
        if let Some(umask) = umask.filter(|umask| *umask > UMASK_BITS) {
            let reason = format!("{umask:#o} has more than permission bits: at most 0o777");
            return Err(Fault::new("umask", reason));
        }
        let environment = environment.into_iter().map(name_and_value).collect();
        Ok(Self { environment, umask, limits: list(limits) })
    }
}

impl From<ResourceLimits> for wire::ResourceLimits {
    fn from(limits: ResourceLimits) -> Self {
        let ResourceLimits {
            cpu_seconds,
            address_space_bytes,
            open_files,
            file_size_bytes,
            processes,
        } = limits;
        Self { cpu_seconds, address_space_bytes, open_files, file_size_bytes, processes }
    }
}
impl From<wire::ResourceLimits> for ResourceLimits {
    fn from(limits: wire::ResourceLimits) -> Self {
        let wire::ResourceLimits {
            cpu_seconds,
            address_space_bytes,
            open_files,
            file_size_bytes,
            processes,
        } = limits;
        Self { cpu_seconds, address_space_bytes, open_files, file_size_bytes, processes }
    }
}

/// Milliseconds, rounded up: a time that is not zero stays so.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The request to start a command. Whoever hands over a descriptor gives the ticket that it got for
/// it; [`Stdin::Inherit`] needs one.
///
/// # Errors
/// `invalid_argument` if the ticket is missing.
pub fn start_request(
    start: StartProcess,
    stdin_ticket: Option<String>,
) -> Result<wire::StartProcessRequest> {
    let (stdin, stdin_ticket) = match start.stdin {
        Stdin::Empty => (StdinSource::Empty, String::new()),
        Stdin::Stream => (StdinSource::Stream, String::new()),
        Stdin::Inherit(_) => {
            let missing = "the descriptor cannot be handed to this server";
            let ticket =
                stdin_ticket.ok_or_else(|| ToolError::invalid_argument("stdin", missing))?;
            (StdinSource::Inherit, ticket)
        }
    };
    let (detached, client_grace_ms) = match start.lifetime {
        Lifetime::Detached => (true, None),
        Lifetime::Foreground { client_grace } => (false, Some(milliseconds(client_grace))),
    };
    let limits = (!start.limits.is_empty()).then(|| start.limits.into());
    Ok(wire::StartProcessRequest {
        workspace: String::new(),
        command: Some(start.command.into()),
        cwd: field(start.cwd),
        variables: start.variables.into_iter().map(variable).collect(),
        caller: start.caller.map(Into::into),
        stdin: stdin.into(),
        stdin_ticket,
        terminal: start.terminal.map(Into::into),
        timeout_ms: start.timeout.map(milliseconds),
        termination_grace_ms: Some(milliseconds(start.termination_grace)),
        detached,
        client_grace_ms,
        limits,
        user: start.user,
        output_cap: start.output_cap,
        id: start.id.map(Into::into),
        traceparent: start.traceparent,
    })
}

/// The request to execute a command.
///
/// # Errors
/// Those of [`start_request`], and `invalid_argument` for a time limit of zero: on the wire zero is
/// without end.
pub fn execute_request(
    execute: Execute,
    stdin_ticket: Option<String>,
) -> Result<wire::ExecuteRequest> {
    let Execute { start, input, capture_bytes } = execute;
    if start.timeout == Some(Duration::ZERO) {
        return Err(ToolError::invalid_argument("timeout", "must be more than zero"));
    }
    let mut start = start_request(start, stdin_ticket)?;
    start.timeout_ms = Some(start.timeout_ms.unwrap_or(0));
    let capture_bytes = Some(count(capture_bytes));
    Ok(wire::ExecuteRequest { start: Some(start), input: field(input), capture_bytes })
}

/// Understands the request to start a command. `descriptor` gives what was handed over under a
/// ticket; it is asked last, so that a request that is refused uses up no ticket.
///
/// # Errors
/// `invalid_argument`, naming the field, and what `descriptor` says.
pub fn start_from_wire(
    mut request: wire::StartProcessRequest,
    descriptor: impl FnOnce(&str) -> Result<OwnedFd>,
) -> Result<StartProcess> {
    let ticket = std::mem::take(&mut request.stdin_ticket);
    let source = known_or_empty(request.stdin).map_err(Fault::in_request)?;
    if (source == StdinSource::Inherit) == ticket.is_empty() {
        let reason = "must be given with STDIN_SOURCE_INHERIT, and only then";
        return Err(ToolError::invalid_argument("stdin_ticket", reason));
    }
    let mut start = without_stdin(request).map_err(Fault::in_request)?;
    start.stdin = match source {
        StdinSource::Unspecified | StdinSource::Empty => Stdin::Empty,
        StdinSource::Stream => Stdin::Stream,
        StdinSource::Inherit => Stdin::Inherit(Arc::new(descriptor(&ticket)?)),
    };
    Ok(start)
}

/// Understands the request to execute a command, as [`start_from_wire`] does.
///
/// # Errors
/// Those of [`start_from_wire`].
pub fn execute_from_wire(
    request: wire::ExecuteRequest,
    descriptor: impl FnOnce(&str) -> Result<OwnedFd>,
) -> Result<Execute> {
    let wire::ExecuteRequest { start, input, capture_bytes } = request;
    let mut start = start.ok_or_else(|| Fault::missing("start").in_request())?;
    start.timeout_ms = match start.timeout_ms {
        None => Some(milliseconds(DEFAULT_TIMEOUT)),
        Some(0) => None,
        Some(more) => Some(more),
    };
    let capture_bytes = match capture_bytes {
        None => DEFAULT_CAPTURE_BYTES,
        Some(number) => size("capture_bytes", number).map_err(Fault::in_request)?,
    };
    let start = start_from_wire(start, descriptor)?;
    Ok(Execute { start, input: bytes(input), capture_bytes })
}

fn known_or_empty(number: i32) -> Result<StdinSource, Fault> {
    StdinSource::try_from(number)
        .map_err(|_| Fault::new("stdin", format!("has the unknown value {number}")))
}

fn without_stdin(request: wire::StartProcessRequest) -> Result<StartProcess, Fault> {
    let mut variables = BTreeMap::new();
    for variable in request.variables {
        let (name, value) = name_and_value(variable);
        if variables.insert(name, value).is_some() {
            return Err(Fault::new("variables", "one name is given twice"));
        }
    }
    let lifetime = match (request.detached, request.client_grace_ms) {
        (true, None) => Lifetime::Detached,
        (true, Some(_)) => {
            return Err(Fault::new("client_grace_ms", "is for commands that are not detached"));
        }
        (false, grace) => Lifetime::Foreground {
            client_grace: grace.map_or(DEFAULT_CLIENT_GRACE, Duration::from_millis),
        },
    };
    if request.traceparent.as_deref().is_some_and(|text| !is_traceparent(text)) {
        return Err(Fault::new("traceparent", "is no W3C trace context"));
    }
    let grace = request.termination_grace_ms;
    Ok(StartProcess {
        id: request.id.map(|id| process_id("id", &id)).transpose()?,
        command: required("command", request.command)?,
        cwd: bytes(request.cwd),
        caller: optional("caller", request.caller)?,
        variables,
        stdin: Stdin::Empty,
        terminal: optional("terminal", request.terminal)?,
        timeout: request.timeout_ms.map(Duration::from_millis),
        termination_grace: grace.map_or(DEFAULT_TERMINATION_GRACE, Duration::from_millis),
        lifetime,
        limits: request.limits.map(Into::into).unwrap_or_default(),
        user: request.user,
        output_cap: request.output_cap,
        traceparent: request.traceparent,
    })
}
