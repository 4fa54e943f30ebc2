//! Getting a supervisor for a command, quickly.
//!
//! A supervisor is forked, not executed: that costs a tenth. But a process with threads must not
//! fork and go on, so the fork happens before there are any: [`Launcher::fork`] is the first thing
//! that a program does. What it forks is either the one supervisor that a program needs, or a small
//! process that keeps some in [`reserve`](super::reserve). A reserve takes its job straight from the
//! program, over a socket that all reserves share, so that nothing has to be passed on.
//!
//! In a program that lives long the reserve may be killed before it ends. A program with threads
//! may execute another: it executes itself anew as its reserve ([`Launcher::with_program`]).

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions, umask, waitpid};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::protocol::{self, Launch, Request, Watch};
use super::reserve;

/// How many supervisors to have ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Exactly one, for a program that starts one command.
    One,
    /// So many at any time, for a program that starts many.
    Keep(u8),
}

/// Where commands get their supervisors from. When it is dropped the reserves go; supervisors that
/// have a command stay.
#[derive(Debug)]
pub struct Launcher {
    running: Mutex<Arc<Running>>,
    program: Option<Program>,
    origin: Origin,
}

/// What supervisors have from the program as it was when it began.
#[derive(Clone, Copy, Debug)]
struct Origin {
    open_files: Rlimit,
    umask: Mode,
}

/// The reserve that jobs go to.
#[derive(Debug)]
struct Running {
    jobs: OwnedFd,
    /// Ends with the process that forks the supervisors; the one of [`Reserve::One`] has none.
    alive: Option<OwnedFd>,
    pid: Option<Pid>,
}

/// How to execute this program as a reserve.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

/// Raises this program's limit of open descriptors as far as it may: each followed command takes
/// three, and the usual limit of 1,024 would end at 340. The supervisors were forked before, so that
/// commands keep the limit that their caller has. Returns what it was.
pub(super) fn raise_open_files() -> Rlimit {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
    limit
}

/// The most descriptors that come with a launch: working directory and standard input.
pub(super) const MAX_DESCRIPTORS: usize = 2;

/// How long a supervisor may take to take a command: as long as to answer. Jobs wait only while
/// hundreds do, or while whoever forks supervisors is stopped.
pub(crate) const LAUNCH_LIMIT: Duration = Duration::from_secs(10);

/// How often a job is offered for which there was no room.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

impl Launcher {
    /// Forks the reserve. Must be called before the program has a second thread.
    ///
    /// # Errors
    /// `Unsupported` if there are threads; what `socketpair(2)` or `fork(2)` say.
    pub fn fork(reserve: Reserve) -> io::Result<Self> {
        if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "supervisors must be forked before the program starts threads",
            ));
        }
        let (ours, theirs) = jobs_socket()?;
        let (alive, lives) = match reserve {
            Reserve::One => (None, None),
            Reserve::Keep(_) => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
                (Some(read), Some(write))
            }
        };
        // SAFETY: there is one thread, so the child is a whole copy.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop((ours, alive));
                // A panic must not unwind into the program's own stack.
                let _ =
                    std::panic::catch_unwind(|| reserve::serve(reserve, theirs, lives.as_ref()));
                // SAFETY: `_exit` takes a number and does not return. The program's own exit
                // handlers are not ours to run.
                unsafe { libc::_exit(0) }
            }
            pid => {
                let running = Running { jobs: ours, alive, pid: Pid::from_raw(pid) };
                // It can only be read by setting it; there is no thread that could notice.
                let mask = umask(Mode::RWXG | Mode::RWXO);
                umask(mask);
                let origin = Origin { open_files: raise_open_files(), umask: mask };
                Ok(Self { running: Mutex::new(Arc::new(running)), program: None, origin })
            }
        }
    }

    /// Makes this launcher get itself a new reserve when the one it has is gone, by executing a
    /// program with arguments that make it call [`Launcher::serve_as_reserve`]: this program, as
    /// `/proc/self/exe`.
    #[must_use]
    pub fn with_program(
        mut self,
        path: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        self.program = Some(Program { path: path.into(), arguments });
        self
    }

    /// Is the reserve of the program that executed this one: the first thing that `main` does when
    /// it finds the arguments given to [`Launcher::with_program`].
    pub fn serve_as_reserve(reserve: Reserve) -> ! {
        let _ = std::panic::catch_unwind(|| reserve::serve_from_stdio(reserve));
        // SAFETY: `_exit` takes a number and does not return. A supervisor leaves nothing behind
        // that an exit handler would have to see to.
        unsafe { libc::_exit(0) }
    }

    /// Whether a launch that failed may be tried again: the reserve can be replaced.
    pub(crate) fn can_revive(&self) -> bool {
        self.program.is_some()
    }

    /// What is sent to a supervisor: a launch, and with it what to watch once the command runs: one
    /// message saves waking the supervisor a second time.
    ///
    /// # Errors
    /// `InvalidInput` for a launch that is longer than any can be.
    pub(crate) fn message(launch: Launch, then: Option<Watch>) -> io::Result<Vec<u8>> {
        let encode = |request: &Request| {
            protocol::encode(request, &[])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
        };
        let mut message = encode(&Request::Launch(Box::new(launch)))?;
        if let Some(watch) = then {
            message.extend(encode(&Request::Watch(watch))?);
        }
        Ok(message)
    }

    /// Hands a message to a supervisor. The answers come over the returned connection.
    ///
    /// # Errors
    /// What `sendmsg(2)` says; `BrokenPipe` when the reserve is gone or used up; `TimedOut` when no
    /// supervisor took the whole message within [`LAUNCH_LIMIT`], and nothing was started.
    pub(crate) async fn launch(
        &self,
        message: &[u8],
        cwd: &OwnedFd,
        stdin: Option<&OwnedFd>,
    ) -> io::Result<UnixStream> {
        let handed_over = self.hand_over(message, cwd, stdin);
        let handed_over = tokio::time::timeout(LAUNCH_LIMIT, handed_over).await;
        handed_over.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits for nothing while there is room in the sockets, which there mostly is.
    async fn hand_over(
        &self,
        message: &[u8],
        cwd: &OwnedFd,
        stdin: Option<&OwnedFd>,
    ) -> io::Result<UnixStream> {
        let (ours, theirs) = connection()?;
        let mut gone = None;
        loop {
            let running = self.running(gone.as_ref())?;
            match send_descriptors(&running.jobs, b"j", &[theirs.as_fd()]) {
                Ok(_) => break,
                // So many jobs wait that no more fit.
                Err(Errno::AGAIN) => tokio::time::sleep(LOOK_AGAIN).await,
                // Nobody has taken it.
                Err(error) if is_gone(error) && gone.is_none() && self.can_revive() => {
                    gone = Some(running);
                }
                Err(error) => return Err(error.into()),
            }
        }
        drop(theirs);
        let mut descriptors = vec![cwd.as_fd()];
        descriptors.extend(stdin.map(AsFd::as_fd));
        let mut sent = send_descriptors(&ours, &message[..1], &descriptors)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        // At once if it fits: the runtime knows only after a turn that a new socket has room.
        sent += match rustix::io::retry_on_intr(|| {
            rustix::net::send(&ours, &message[sent..], SendFlags::NOSIGNAL)
        }) {
            Err(Errno::AGAIN) => 0,
            other => other?,
        };
        let mut stream = UnixStream::from_std(ours.into())?;
        if sent < message.len() {
            stream.write_all(&message[sent..]).await?;
        }
        Ok(stream)
    }

    /// The reserve; a new one if the one there was is gone, as it is known to be of `gone`.
    fn running(&self, gone: Option<&Arc<Running>>) -> io::Result<Arc<Running>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = gone.is_some_and(|gone| Arc::ptr_eq(gone, &running));
        if let Some(program) = self.program.as_ref().filter(|_| known || !running.lives()) {
            if let Some(pid) = running.pid {
                // It is a child of ours that nobody else waits for.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
            *running = Arc::new(program.start(self.origin)?);
        }
        Ok(Arc::clone(&running))
    }
}

impl Running {
    /// Whether there is somebody to fork new supervisors. Asked before each launch: supervisors that
    /// wait would still take jobs, and the jobs behind theirs be lost.
    fn lives(&self) -> bool {
        let Some(alive) = &self.alive else { return true };
        let mut one = [PollFd::new(alive, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        !matches!(poll(&mut one, Some(&at_once)), Ok(1..))
    }
}

impl Program {
    /// Executes a reserve. What supervisors have from whoever starts them is as it was at first.
    fn start(&self, origin: Origin) -> io::Result<Running> {
        let (jobs, theirs) = jobs_socket()?;
        let (alive, lives) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear().current_dir("/");
        command.stdin(Stdio::from(theirs)).stdout(Stdio::from(lives)).stderr(Stdio::null());
        let prepare = move || {
            umask(origin.umask);
            Ok(rustix::process::setrlimit(Resource::Nofile, origin.open_files)?)
        };
        // SAFETY: the closure makes system calls only and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Running { jobs, alive: Some(alive), pid })
    }
}

/// The socket over which jobs are taken: each message by one reserve.
fn jobs_socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// The connection of one command's client and its supervisor.
fn connection() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// What a socket says when nobody holds its other end.
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED)
}

/// Sends without waiting: `AGAIN` if there is no room.
fn send_descriptors(
    socket: &OwnedFd,
    bytes: &[u8],
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    loop {
        let parts = [io::IoSlice::new(bytes)];
        // Threads that serve others must not wait here.
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(socket, &parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
