//! Starting the command.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, stat};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Rlimit, Signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use stigmer_core::limits::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND};
use stigmer_core::process::{Command as Wanted, OutputKind, TerminalSize};
use stigmer_core::{ByteString, ErrorCode, Routing, ToolError};

use super::lane::{Ahead, Lane};
use super::limits::{Limit, limits};
use super::memory;
use super::protocol::{Launch, StdinSource};

/// A command that runs.
#[derive(Debug)]
pub(super) struct Spawned {
    /// The command's process; `None` if there was nothing that could be executed.
    pub(crate) main: Option<Pid>,
    /// What it could not be executed for: a message and an exit code.
    pub(crate) refusal: Option<Refusal>,
    /// The program that was found.
    pub(crate) executable: Option<PathBuf>,
    /// Where its output is read.
    pub(crate) outputs: Vec<(OutputKind, OwnedFd)>,
    /// Where its input is written.
    pub(crate) stdin: Option<OwnedFd>,
    /// The terminal's side that we hold.
    pub(crate) terminal: Option<OwnedFd>,
    /// Its other side.
    pub(crate) terminal_peer: Option<OwnedFd>,
    /// What it is confined to.
    pub(super) lane: Option<Lane>,
}

/// Why nothing was started.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The lane is off, or does not fit.
    Refused(String),
    /// Something failed.
    Failed(ToolError),
}

impl From<ToolError> for NotStarted {
    fn from(error: ToolError) -> Self {
        Self::Failed(error)
    }
}

/// What a command has from whoever started it.
#[derive(Debug)]
pub(crate) struct Inherited {
    /// Standard input.
    pub(crate) stdin: Option<OwnedFd>,
    /// The file mode creation mask.
    pub(crate) umask: Mode,
    /// Signals that are held back.
    pub(crate) mask: libc::sigset_t,
    /// The limit of open descriptors.
    pub(crate) open_files: Rlimit,
    /// What was made for its lane before it was known.
    pub(super) ahead: Ahead,
}

/// Starts the command of a launch in `cwd`. Before it runs, `record` is told what it is confined to.
pub(super) fn spawn(
    launch: &Launch,
    cwd: &OwnedFd,
    inherited: Inherited,
    record: impl FnOnce(Option<&Routing>) -> Result<(), ToolError>,
) -> Result<Spawned, NotStarted> {
    // Relative programs and PATH entries count from the command's directory. The supervisor goes
    // back to `/` itself so as not to hold it.
    rustix::process::fchdir(cwd).map_err(|error| failed("enter the working directory", error))?;
    let spawned = spawn_here(launch, inherited, record);
    let _ = rustix::process::chdir("/");
    spawned
}

fn spawn_here(
    launch: &Launch,
    inherited: Inherited,
    record: impl FnOnce(Option<&Routing>) -> Result<(), ToolError>,
) -> Result<Spawned, NotStarted> {
    let Inherited { stdin: inherited, umask, mask, open_files, ahead } = inherited;
    let umask = launch.umask.map_or(umask, Mode::from_raw_mode);
    let mut spawned = Spawned {
        main: None,
        refusal: None,
        executable: None,
        outputs: Vec::new(),
        stdin: None,
        terminal: None,
        terminal_peer: None,
        lane: None,
    };
    let found = find(launch);
    let (stdio, terminal) = match (&found, launch.terminal) {
        (Err(_), _) => (None, None),
        (Ok(_), Some(size)) => {
            let (stdio, name) = terminal_stdio(size, &mut spawned)?;
            (Some(stdio), Some(name))
        }
        (Ok(_), None) => (Some(pipe_stdio(launch.stdin, inherited, &mut spawned)?), None),
    };
    if let Some(confine) = &launch.confinement {
        let program = found.as_ref().ok().map(|program| program.executable.as_path());
        let lane = Lane::plan(launch, confine, program, terminal, ahead);
        let lane = lane.map_err(NotStarted::Refused)?;
        spawned.lane = Some(lane);
    }
    record(spawned.lane.as_ref().map(Lane::routing))?;
    let (Program { executable, name, arguments }, stdio) = match (found, stdio) {
        (Ok(program), Some(stdio)) => (program, stdio),
        (found, _) => {
            spawned.refusal = found.err();
            spawned.lane.as_mut().map(Lane::forgo);
            return Ok(spawned);
        }
    };
    let limits = limits(&launch.limits, &launch.caller_limits, open_files);
    let terminal = launch.terminal.is_some();
    let prepare = Arc::new(move || prepare(terminal, umask, &mask, &limits));
    let mut start = |executable: &Path, name: &OsStr, arguments: &[OsString]| {
        if let Some(lane) = &mut spawned.lane {
            let stdio = stdio.each_ref().map(AsFd::as_fd);
            return lane.begin(executable, name, arguments, stdio, &*prepare);
        }
        let mut command = Command::new(executable);
        command.arg0(name).args(arguments).env_clear();
        command.envs(launch.environment.iter().map(|(k, v)| (k.as_os_str(), v.as_os_str())));
        let again = |descriptor: &OwnedFd| descriptor.try_clone().map(Stdio::from);
        let streams = stdio.each_ref().map(again);
        let spawn = || {
            let [input, output, errors] = streams;
            command.stdin(input?).stdout(output?).stderr(errors?);
            before_exec(&mut command, launch.oom_score, Arc::clone(&prepare));
            // It is waited for as all that the command leaves are.
            let child = command.spawn()?;
            Ok(Pid::from_child(&child))
        };
        Ok(spawn())
    };
    let started = start(&executable, &name, &arguments).map_err(NotStarted::Refused)?;
    let started = match started {
        // A script without a `#!` line is the shell's (POSIX `execvp`).
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
            let shell = Path::new("/bin/sh");
            let mut all = vec![executable.clone().into_os_string()];
            all.extend(arguments);
            start(shell, shell.as_os_str(), &all).map_err(NotStarted::Refused)?
        }
        other => other,
    };
    match started {
        Ok(main) => spawned.main = Some(main),
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::NotFound => EXIT_NOT_FOUND,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ArgumentListTooLong => {
                    EXIT_NOT_EXECUTABLE
                }
                _ if error.raw_os_error() == Some(libc::ENOEXEC) => EXIT_NOT_EXECUTABLE,
                _ => return Err(failed("start the command", error).into()),
            };
            spawned.refusal = Some((format!("{}: {error}", executable.display()), code));
        }
    }
    spawned.executable = Some(executable);
    Ok(spawned)
}

/// Why nothing can be executed, and the exit code for it.
type Refusal = (String, i32);

/// What is executed.
struct Program {
    executable: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

fn find(launch: &Launch) -> Result<Program, Refusal> {
    let path = variable(launch, "PATH");
    match &launch.command {
        Wanted::Shell(line) => {
            // Agents write for bash; every POSIX system has sh.
            let (executable, name) = match find_program(OsStr::new("bash"), path) {
                Ok(bash) => (bash, "bash"),
                Err(_) => (find_program(OsStr::new("/bin/sh"), None)?, "sh"),
            };
            let arguments = vec!["-c".into(), line.as_os_str().to_owned()];
            Ok(Program { executable, name: name.into(), arguments })
        }
        Wanted::Argv(words) => {
            let mut words = words.iter().map(|word| word.as_os_str().to_owned());
            let name = words.next().unwrap_or_default();
            Ok(Program { executable: find_program(&name, path)?, name, arguments: words.collect() })
        }
    }
}

fn variable<'a>(launch: &'a Launch, name: &str) -> Option<&'a ByteString> {
    // The last one counts, as it does for the command.
    let mut found =
        launch.environment.iter().rev().filter(|(key, _)| key.as_bytes() == name.as_bytes());
    found.next().map(|(_, value)| value)
}

/// Looks a program up as a shell does (POSIX, "Command Search and Execution").
fn find_program(name: &OsStr, path: Option<&ByteString>) -> Result<PathBuf, Refusal> {
    let not_found = || (format!("{}: command not found", name.display()), EXIT_NOT_FOUND);
    let mut refused = None;
    let mut candidate = |candidate: PathBuf| -> Option<PathBuf> {
        let status = stat(&candidate).ok()?;
        let kind = FileType::from_raw_mode(status.st_mode);
        let executable = accessat(CWD, &candidate, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        if kind == FileType::RegularFile && executable {
            return Some(candidate);
        }
        let why = if kind == FileType::Directory { "is a directory" } else { "permission denied" };
        refused.get_or_insert((format!("{}: {why}", candidate.display()), EXIT_NOT_EXECUTABLE));
        None
    };
    if name.is_empty() {
        return Err(not_found());
    }
    if name.as_bytes().contains(&b'/') {
        if let Some(found) = candidate(PathBuf::from(name)) {
            return Ok(found);
        }
        return Err(refused.unwrap_or_else(|| {
            (format!("{}: no such file or directory", name.display()), EXIT_NOT_FOUND)
        }));
    }
    // The default of `confstr(_CS_PATH)` with the places where programs are installed by hand.
    let path = path.map_or(&b"/usr/local/bin:/usr/bin:/bin"[..], ByteString::as_bytes);
    for directory in path.split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b"." } else { directory };
        if let Some(found) = candidate(Path::new(OsStr::from_bytes(directory)).join(name)) {
            return Ok(found);
        }
    }
    Err(refused.unwrap_or_else(not_found))
}

fn pipe_stdio(
    source: StdinSource,
    inherited: Option<OwnedFd>,
    spawned: &mut Spawned,
) -> Result<[OwnedFd; 3], ToolError> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("make a pipe", error));
    let stdin = match (source, inherited) {
        (StdinSource::Inherit, Some(descriptor)) => descriptor,
        (StdinSource::Stream, _) => {
            let (read, write) = pipe()?;
            nonblocking(&write)?;
            spawned.stdin = Some(write);
            read
        }
        _ => File::open("/dev/null").map_err(|error| failed("open /dev/null", error))?.into(),
    };
    let (read_out, write_out) = pipe()?;
    let (read_err, write_err) = pipe()?;
    for (kind, read) in [(OutputKind::Stdout, read_out), (OutputKind::Stderr, read_err)] {
        nonblocking(&read)?;
        spawned.outputs.push((kind, read));
    }
    Ok([stdin, write_out, write_err])
}

/// The three streams, and the terminal's name.
fn terminal_stdio(
    size: TerminalSize,
    spawned: &mut Spawned,
) -> Result<([OwnedFd; 3], PathBuf), ToolError> {
    let open = || -> rustix::io::Result<([OwnedFd; 4], CString)> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let name = ptsname(&ours, Vec::new())?;
        let theirs = rustix::fs::open(&name, flags, Mode::empty())?;
        tcsetwinsize(&ours, window(size))?;
        Ok(([theirs.try_clone_fd()?, theirs.try_clone_fd()?, theirs, ours], name))
    };
    let ([stdin, stdout, stderr, ours], name) =
        open().map_err(|error| failed("open a terminal", error))?;
    nonblocking(&ours)?;
    let again = |fd: &OwnedFd| fd.try_clone_fd().map_err(|error| failed("open a terminal", error));
    spawned.outputs.push((OutputKind::Terminal, again(&ours)?));
    spawned.stdin = Some(again(&ours)?);
    spawned.terminal_peer = Some(again(&stdin)?);
    spawned.terminal = Some(ours);
    Ok(([stdin, stdout, stderr], PathBuf::from(OsStr::from_bytes(name.as_bytes()))))
}

/// `try_clone` with the error type of the calls around it.
trait TryClone {
    fn try_clone_fd(&self) -> rustix::io::Result<OwnedFd>;
}

impl TryClone for OwnedFd {
    fn try_clone_fd(&self) -> rustix::io::Result<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(self, 3)
    }
}

/// A terminal's size for the kernel.
pub(crate) fn window(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn nonblocking(descriptor: &OwnedFd) -> Result<(), ToolError> {
    let set = |fd: BorrowedFd<'_>| {
        let flags = rustix::fs::fcntl_getfl(fd)?;
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)
    };
    set(descriptor.as_fd()).map_err(|error| failed("prepare a descriptor", error))
}

/// What a process does before it executes the command, in a lane or not. System calls only, none of which opens
/// anything.
fn prepare(terminal: bool, umask: Mode, mask: &libc::sigset_t, limits: &[Limit]) -> io::Result<()> {
    crate::session::new_session()?;
    if terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    rustix::process::umask(umask);
    // SAFETY: reads the set behind the pointer, which lives until it returns.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
    Ok(limits.iter().try_for_each(Limit::apply)?)
}

/// What the child does between fork and exec. Only system calls: the supervisor has one thread, but
/// the rule costs nothing.
fn before_exec(
    command: &mut Command,
    oom_score: Option<u16>,
    prepare: Arc<impl Fn() -> io::Result<()> + Send + Sync + 'static>,
) {
    let oom_score = oom_score.map(|score| score.to_string());
    let supervisor = rustix::process::getpid();
    let before = move || -> io::Result<()> {
        if let Some(score) = &oom_score {
            memory::be_killed_first(score.as_bytes());
        }
        // A command whose supervisor dies cannot be followed or ended by anybody: it goes too.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(supervisor) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        prepare()
    };
    // SAFETY: the closure makes system calls only and allocates nothing.
    unsafe { command.pre_exec(before) };
}

fn failed(what: &str, error: impl Into<io::Error>) -> ToolError {
    let error = error.into();
    let code = match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOSPC) => {
            ErrorCode::OutOfResources
        }
        _ => ErrorCode::Io,
    };
    let error = ToolError::new(code, format!("cannot {what}: {error}"));
    match code {
        ErrorCode::OutOfResources => error.with_hint(
            "the machine or the user is at a limit: see `ulimit -a`, or end other commands (`stigmer ps`)",
        ),
        _ => error,
    }
}
