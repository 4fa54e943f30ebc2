//! Starting a command.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use stigmer_core::limits::MIN_OUTPUT_CAP;
use stigmer_core::process::{
    Caller, CallerLimit, Command, Lifetime, SignalRequest, StartProcess, StartedProcess, Stdin,
};
use stigmer_core::{
    ByteString, Capability, Denied, ErrorCode, FilePath, Place, ProcessId, Result, ToolError,
    is_traceparent,
};

use super::connection::{Connection, unexpected};
use super::known::Wanted;
use super::{Confined, Confinement, Processes};
use crate::Root;
use crate::supervisor::protocol::{Launch, Reply, Request, StdinSource, VERSION, Watch};
use crate::supervisor::{LAUNCH_LIMIT, limits};
use crate::{Launcher, journal};

/// The variable in which programs find the trace that they belong to.
const TRACEPARENT: &str = "TRACEPARENT";

/// How often a launch is repeated that was handed to a supervisor which died before it began. Those
/// of a reserve that is being killed still take commands until they are gone; with the pauses that
/// is a second, which a busy machine may need.
const MAX_LAUNCHES: u32 = 10;

/// The first pause before a launch is repeated; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// What asking for a command came to.
#[derive(Debug)]
pub(super) enum Launched {
    /// It was started, over this connection.
    Now(StartedProcess, Connection),
    /// It had been started before, by the same request.
    Before(StartedProcess),
    /// Nothing ran: its lane is off, or does not fit.
    Refused(String),
    /// It failed because of what it was refused in its lane, and nothing of it is left.
    Discarded(Denied),
}

impl Processes {
    /// Starts a command in the workspace beneath `root`.
    pub(crate) async fn start(&self, root: &Root, request: StartProcess) -> Result<StartedProcess> {
        let foreground = request.lifetime != Lifetime::Detached;
        let launched = self.launch(root, request, None, None).await?;
        self.kept(launched, foreground).unconfined()
    }

    /// Keeps the connection over which a command was started, for whoever follows it next.
    pub(super) fn kept(&self, launched: Launched, foreground: bool) -> Confined<StartedProcess> {
        match launched {
            Launched::Now(started, connection) => {
                // Whoever follows a command that waits for nobody needs no connection kept.
                if foreground {
                    self.fresh.keep(started.id.clone(), connection);
                }
                Confined::Ran(started)
            }
            Launched::Before(started) => Confined::Ran(started),
            Launched::Refused(reason) => Confined::Refused(reason),
            Launched::Discarded(denied) => Confined::Discarded(denied),
        }
    }

    /// Starts a command; its supervisor is also told what to watch, and answers to that next.
    pub(super) async fn launch(
        &self,
        root: &Root,
        request: StartProcess,
        then: Option<Watch>,
        confinement: Option<&Confinement>,
    ) -> Result<Launched> {
        let launcher = self.options.launcher.as_ref().ok_or_else(|| {
            ToolError::new(ErrorCode::NotAvailable, "this program cannot start commands")
                .with_hint("it must call Launcher::fork before it starts threads")
        })?;
        check(&request)?;
        let relative = root.relative(&request.cwd)?;
        let cwd = root.open_directory(&relative)?;
        let cwd_path = FilePath::from(join(root.path().to_owned(), relative));
        crate::state::make_directory(&self.directory)?;
        let chosen = request.id.clone().map(|id| {
            let wanted = Wanted {
                command: request.command.clone(),
                cwd: cwd_path.clone(),
                terminal: request.terminal.is_some(),
                detached: request.lifetime == Lifetime::Detached,
            };
            (id, wanted)
        });
        let id = chosen.as_ref().map_or_else(new_id, |(id, _)| Ok(id.clone()))?;
        let declared = request.variables.len();
        let (mut launch, inherited) = self.describe(id.clone(), cwd_path, request);
        launch.confinement = confinement.map(|wanted| Box::new(wanted.for_supervisor(declared)));
        let message = Launcher::message(launch, then).map_err(not_launched)?;
        let mut launches = 0_u32;
        loop {
            if let Some((id, wanted)) = &chosen
                && let Some(started) = self.started_before(id, wanted).await?
            {
                return Ok(Launched::Before(started));
            }
            if let Some(doublings) = launches.checked_sub(1) {
                tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(doublings)).await;
            }
            launches += 1;
            let again = launches < MAX_LAUNCHES && launcher.can_revive();
            let answer = match launcher.launch(&message, &cwd, inherited.as_deref()).await {
                Ok(stream) => {
                    let mut connection = Connection::from_launch(stream);
                    (connection.answer_soon(&id).await, Some(connection))
                }
                // Handed over, and not taken in whole.
                Err(error) if again && !self.is_there(&id) && is_hangup(&error) => continue,
                Err(error) => return Err(not_launched(error)),
            };
            match answer {
                (Ok(Some(Reply::Started { executable, routing, .. })), Some(mut connection)) => {
                    // Whoever does not say that it is confined must not be believed to be.
                    let confined = routing.as_ref().is_some_and(|to| to.enforced.is_some());
                    if confinement.is_some() && !confined {
                        let kill = Request::Signal(SignalRequest::Kill);
                        let _ = connection.ask_soon(&id, &kill).await;
                        return Err(not_confined(&id));
                    }
                    let started = StartedProcess { id, place: Place::Host, routing, executable };
                    return Ok(Launched::Now(started, connection));
                }
                (Ok(Some(Reply::Refused { reason })), _) => return Ok(Launched::Refused(reason)),
                (Ok(Some(Reply::Discarded(denied))), _) => return Ok(Launched::Discarded(denied)),
                (Ok(Some(other)), _) => return Err(unexpected(&id, &other)),
                // Somebody was quicker with the same id.
                (Err(error), _) if error.code == ErrorCode::Exists && chosen.is_some() => {}
                (Err(error), _) => return Err(error),
                // Who makes the directory has the command; without one nobody has, and nobody else
                // will make it: the supervisor is gone.
                (Ok(None), _) if again && !self.is_there(&id) => {}
                (Ok(None), _) => {
                    return Err(ToolError::supervisor_unreachable(&id, "it ended before it began"));
                }
            }
        }
    }

    /// A request as a supervisor is told it, and the descriptor that goes with it.
    fn describe(
        &self,
        id: ProcessId,
        cwd: FilePath,
        request: StartProcess,
    ) -> (Launch, Option<std::sync::Arc<std::os::fd::OwnedFd>>) {
        let environment = self.environment(&request, &cwd);
        let (stdin, inherited) = match request.stdin {
            Stdin::Empty => (StdinSource::Empty, None),
            Stdin::Stream => (StdinSource::Stream, None),
            Stdin::Inherit(descriptor) => (StdinSource::Inherit, Some(descriptor)),
        };
        let caller = request.caller.unwrap_or_default();
        let launch = Launch {
            version: VERSION,
            id,
            processes: self.directory.clone(),
            workspace: self.workspace.clone(),
            cwd,
            command: request.command,
            environment,
            stdin,
            terminal: request.terminal,
            timeout: request.timeout,
            termination_grace: request.termination_grace,
            client_grace: match request.lifetime {
                Lifetime::Detached => None,
                Lifetime::Foreground { client_grace } => Some(client_grace),
            },
            limits: request.limits,
            output_cap: request.output_cap.unwrap_or(self.options.output_cap),
            retention: self.options.retention,
            umask: caller.umask,
            caller_limits: caller.limits,
            traceparent: request.traceparent,
            journal: self.directory.parent().map(journal::directory),
            oom_score: self.options.oom_score,
            confinement: None,
        };
        (launch, inherited)
    }

    /// The command's whole environment: the caller's or our own, what agents' tools need, what was
    /// declared.
    fn environment(&self, request: &StartProcess, cwd: &FilePath) -> Vec<(ByteString, ByteString)> {
        let caller = request.caller.as_ref().map(|caller| caller.environment.clone());
        let mut all = caller.unwrap_or_else(|| {
            let mut own = self.options.environment.clone();
            if request.terminal.is_some() {
                own.push(("TERM".into(), "xterm-256color".into()));
            }
            own
        });
        // Python holds back what it writes into a pipe; an agent that waits for a line would wait
        // for ever. Whoever set it otherwise meant it.
        if !all.iter().any(|(name, _)| name.as_bytes() == b"PYTHONUNBUFFERED") {
            all.push(("PYTHONUNBUFFERED".into(), "1".into()));
        }
        // The trace that the caller is in already is nearer than the request's.
        if let Some(traceparent) = &request.traceparent
            && !all.iter().any(|(name, _)| name.as_bytes() == TRACEPARENT.as_bytes())
        {
            all.push((TRACEPARENT.into(), traceparent.as_str().into()));
        }
        all.push(("PWD".into(), cwd.clone()));
        all.extend(request.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }
}

/// All permission bits: what a mask can hold back (`umask(2)`).
const MOST_UMASK: u32 = 0o777;

/// Refuses what cannot be done, before anything is.
fn check(request: &StartProcess) -> Result<()> {
    if request.user.is_some() {
        return Err(ToolError::unsupported(Capability::User, "local"));
    }
    let has_nul = |text: &ByteString| text.as_bytes().contains(&0);
    let words = match &request.command {
        Command::Shell(line) => std::slice::from_ref(line),
        Command::Argv(words) => words.as_slice(),
    };
    if words.first().is_none_or(ByteString::is_empty) {
        return Err(ToolError::invalid_argument("command", "is empty"));
    }
    if words.iter().any(has_nul) {
        return Err(ToolError::invalid_argument("command", "contains a NUL byte"));
    }
    for (name, value) in &request.variables {
        if name.is_empty() || name.as_bytes().contains(&b'=') || has_nul(name) || has_nul(value) {
            let reason =
                format!("\"{name}\" is no variable: a name without \"=\", and no NUL bytes");
            return Err(ToolError::invalid_argument("variables", reason));
        }
    }
    if request.terminal.is_some() && matches!(request.stdin, Stdin::Inherit(_)) {
        return Err(ToolError::invalid_argument("stdin", "a terminal cannot inherit its input"));
    }
    if let Some(cap) = request.output_cap.filter(|cap| *cap < MIN_OUTPUT_CAP) {
        let reason = format!("{cap} bytes are less than the minimum of {MIN_OUTPUT_CAP}");
        return Err(ToolError::invalid_argument("output_cap", reason));
    }
    if request.timeout == Some(Duration::ZERO) {
        return Err(ToolError::invalid_argument("timeout", "must be more than zero"));
    }
    if request.traceparent.as_ref().is_some_and(|text| !is_traceparent(text)) {
        let reason = "is not of the form 00-<32 digits>-<16 digits>-<2 digits>";
        return Err(ToolError::invalid_argument("traceparent", reason));
    }
    request.caller.as_ref().map_or(Ok(()), check_caller)
}

/// Refuses a caller whose circumstances no command can have.
fn check_caller(caller: &Caller) -> Result<()> {
    if let Some(umask) = caller.umask.filter(|umask| *umask > MOST_UMASK) {
        let reason = format!("{umask:#o} has more than the bits of {MOST_UMASK:#o}");
        return Err(ToolError::invalid_argument("caller.umask", reason));
    }
    for (index, limit) in caller.limits.iter().enumerate() {
        let CallerLimit { resource, soft, hard } = *limit;
        let refused = if limits::resource(resource).is_none() {
            "is no resource of this machine"
        } else if caller.limits[..index].iter().any(|other| other.resource == resource) {
            "is named twice"
        } else if hard.is_some_and(|hard| soft.is_none_or(|soft| soft > hard)) {
            "has a soft limit above its hard one"
        } else {
            continue;
        };
        let reason = format!("resource {resource} {refused}");
        return Err(ToolError::invalid_argument("caller.limits", reason));
    }
    Ok(())
}

fn not_launched(error: io::Error) -> ToolError {
    if error.kind() == io::ErrorKind::TimedOut {
        let limit = LAUNCH_LIMIT.as_secs();
        let message = format!("no supervisor took the command within {limit} s; nothing was run");
        return ToolError::new(ErrorCode::Busy, message).with_hint(
            "too many commands are being started, or what forks supervisors is stopped: \
             `pkill -CONT stigmer-reserve` wakes it",
        );
    }
    ToolError::new(
        ErrorCode::OutOfResources,
        format!("no supervisor could be had for the command: {error}"),
    )
    .with_hint("see `ulimit -u` and `ulimit -n`; a program's reserve must be running")
}

/// A supervisor that knows nothing of lanes.
fn not_confined(id: &ProcessId) -> ToolError {
    ToolError::supervisor_unreachable(
        id,
        "it did not confine its command as it was told, and was told to end it",
    )
    .with_hint("a supervisor of another version waited in reserve: start the program anew")
}

fn is_hangup(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

fn join(mut root: PathBuf, relative: PathBuf) -> PathBuf {
    if !relative.as_os_str().is_empty() {
        root.push(relative);
    }
    root
}

fn new_id() -> Result<ProcessId> {
    let random = getrandom::u64().map_err(|error| {
        ToolError::new(ErrorCode::Io, format!("the kernel gives no random numbers: {error}"))
    })?;
    Ok(ProcessId::from_random(random))
}
