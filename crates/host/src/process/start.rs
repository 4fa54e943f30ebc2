//! Starting a command.

use std::path::PathBuf;
use std::time::Duration;

use stigmer_core::limits::MIN_OUTPUT_CAP;
use stigmer_core::process::{Command, Lifetime, StartProcess, StartedProcess, Stdin};
use stigmer_core::{
    ByteString, Capability, ErrorCode, FilePath, Place, ProcessId, Result, ToolError,
};

use super::Processes;
use super::connection::{Connection, unexpected};
use crate::Root;
use crate::supervisor::protocol::{Launch, Reply, StdinSource, VERSION, Watch};

impl Processes {
    /// Starts a command in the workspace beneath `root`.
    pub(crate) async fn start(&self, root: &Root, request: StartProcess) -> Result<StartedProcess> {
        let (started, connection) = self.launch(root, request, None).await?;
        self.keep_fresh(started.id.clone(), connection);
        Ok(started)
    }

    /// Starts a command; its supervisor is also told what to watch, and answers to that next.
    pub(super) async fn launch(
        &self,
        root: &Root,
        request: StartProcess,
        then: Option<Watch>,
    ) -> Result<(StartedProcess, Connection)> {
        let launcher = self.options.launcher.as_ref().ok_or_else(|| {
            ToolError::new(ErrorCode::NotAvailable, "this program cannot start commands")
                .with_hint("it must call Launcher::fork before it starts threads")
        })?;
        check(&request)?;
        let relative = root.relative(&request.cwd)?;
        let cwd = root.open_directory(&relative)?;
        let cwd_path = FilePath::from(join(root.path().to_owned(), relative));
        crate::state::make_directory(&self.directory)?;
        let id = new_id()?;
        let environment = self.environment(&request, &cwd_path);
        let (stdin, inherited) = match request.stdin {
            Stdin::Empty => (StdinSource::Empty, None),
            Stdin::Stream => (StdinSource::Stream, None),
            Stdin::Inherit(descriptor) => (StdinSource::Inherit, Some(descriptor)),
        };
        let launch = Launch {
            version: VERSION,
            id: id.clone(),
            processes: self.directory.clone(),
            workspace: self.workspace.clone(),
            cwd: cwd_path,
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
        };
        let not_launched = |error: std::io::Error| {
            let error = ToolError::new(
                ErrorCode::OutOfResources,
                format!("no supervisor could be had for the command: {error}"),
            );
            error.with_hint("see `ulimit -u` and `ulimit -n`; a program's reserve must be running")
        };
        let stream =
            launcher.launch(launch, then, &cwd, inherited.as_deref()).map_err(not_launched)?;
        let mut connection = Connection::from_launch(stream).map_err(not_launched)?;
        let executable = match connection.answer().await? {
            Some(Reply::Started { executable, .. }) => executable,
            Some(other) => return Err(unexpected(&id, &other)),
            None => return Err(ToolError::supervisor_unreachable(&id, "it ended before it began")),
        };
        let started = StartedProcess { id, place: Place::Host, lane: None, executable };
        Ok((started, connection))
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
        all.push(("PWD".into(), cwd.clone()));
        all.extend(request.variables.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }
}

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
    Ok(())
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
