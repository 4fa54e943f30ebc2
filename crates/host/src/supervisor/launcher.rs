//! Getting a supervisor for a command, quickly.
//!
//! A supervisor is forked, not executed: that costs a tenth. But a process with threads must not
//! fork and go on, so the fork happens before there are any: [`Launcher::fork`] is the first thing
//! that a program does. What it forks is either the one supervisor that a program needs, or a small
//! process that keeps some in reserve. A reserve takes its job straight from the program, over a
//! socket that all reserves share, so that nothing has to be passed on.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Resource, Rlimit};
use std::mem::MaybeUninit;

use super::protocol::{self, Launch, Reply, Request, Watch};
use super::supervise::{Job, supervise};

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
    jobs: OwnedFd,
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
const MAX_DESCRIPTORS: usize = 2;

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
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // SAFETY: there is one thread, so the child is a whole copy.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                drop(ours);
                // A panic must not unwind into the program's own stack.
                let _ = std::panic::catch_unwind(|| match reserve {
                    Reserve::One => become_reserve(theirs, None),
                    Reserve::Keep(count) => keep_reserves(&theirs, count.max(1)),
                });
                // SAFETY: `_exit` takes a number and does not return. The program's own exit
                // handlers are not ours to run.
                unsafe { libc::_exit(0) }
            }
            _ => {
                raise_open_files();
                Ok(Self { jobs: ours })
            }
        }
    }

    /// Hands a launch to a supervisor, and with it what to watch once the command runs: one message
    /// saves waking the supervisor a second time. The answers come over the returned connection.
    ///
    /// # Errors
    /// What `sendmsg(2)` says; `BrokenPipe` when the reserve is gone or used up.
    pub(crate) fn launch(
        &self,
        launch: Launch,
        then: Option<Watch>,
        cwd: &OwnedFd,
        stdin: Option<&OwnedFd>,
    ) -> io::Result<UnixStream> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let encode = |request: &Request| {
            protocol::encode(request, &[])
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
        };
        let mut message = encode(&Request::Launch(Box::new(launch)))?;
        if let Some(watch) = then {
            message.extend(encode(&Request::Watch(watch))?);
        }
        send_descriptors(&self.jobs, b"j", &[theirs.as_fd()])?;
        drop(theirs);
        let mut descriptors = vec![cwd.as_fd()];
        descriptors.extend(stdin.map(AsFd::as_fd));
        let sent = send_descriptors(&ours, &message[..1], &descriptors)?;
        let mut stream = UnixStream::from(ours);
        io::Write::write_all(&mut stream, &message[sent..])?;
        Ok(stream)
    }
}

fn send_descriptors(
    socket: &OwnedFd,
    bytes: &[u8],
    descriptors: &[std::os::fd::BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        let parts = [io::IoSlice::new(bytes)];
        match sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Receives bytes and whatever descriptors come with them; no bytes at the end.
fn receive(
    socket: &OwnedFd,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [io::IoSliceMut::new(buffer)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(received.bytes)
}

/// Keeps `count` supervisors waiting for a job until the program is gone.
fn keep_reserves(jobs: &OwnedFd, count: u8) {
    detach("stigmer-reserve", &[jobs.as_fd()]);
    // SAFETY: `signal` with SIG_IGN installs no handler; the kernel then reaps our children.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let Ok((taken, takes)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else {
        return;
    };
    let mut waiting = 0;
    loop {
        while waiting < count {
            let (Ok(jobs), Ok(takes)) = (jobs.try_clone(), takes.try_clone()) else { return };
            // SAFETY: this process has one thread.
            match unsafe { libc::fork() } {
                // Out of processes: those that wait still serve, and the next job tries again.
                -1 => break,
                0 => {
                    drop(taken);
                    return become_reserve(jobs, Some(takes));
                }
                _ => waiting += 1,
            }
        }
        // The program's end of the socket closes when it is gone; its reserves see that themselves.
        let mut fds = [PollFd::new(&taken, PollFlags::IN), PollFd::new(jobs, PollFlags::HUP)];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let (take, hangup) = (fds[0].revents(), fds[1].revents());
        if hangup.contains(PollFlags::HUP) {
            return;
        }
        if take.contains(PollFlags::IN) {
            let mut bytes = [0; 64];
            let count = rustix::io::read(&taken, &mut bytes).unwrap_or(0);
            waiting = waiting.saturating_sub(u8::try_from(count).unwrap_or(u8::MAX));
        }
    }
}

/// Waits for a job and becomes its supervisor.
fn become_reserve(jobs: OwnedFd, takes: Option<OwnedFd>) {
    let mut keep = vec![jobs.as_fd()];
    keep.extend(takes.as_ref().map(AsFd::as_fd));
    detach("stigmer-superv", &keep);
    let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);

    let mut connection = Vec::new();
    let taken = receive(&jobs, &mut [0], &mut connection);
    if let Some(takes) = takes {
        let _ = rustix::io::write(&takes, &[0]);
    }
    drop(jobs);
    let (Ok(1..), Some(connection)) = (taken, connection.pop()) else { return };
    if let Some((job, reply_to)) = receive_job(connection, umask) {
        match job {
            Ok(job) => supervise(job),
            Err(error) => {
                let reply =
                    Reply::Failed(stigmer_core::ToolError::invalid_argument("launch", error));
                if let (Ok(message), Some(mut stream)) =
                    (protocol::encode(&reply, &[]), reply_to.map(UnixStream::from))
                {
                    let _ = io::Write::write_all(&mut stream, &message);
                }
            }
        }
    }
}

type ReceivedJob = (Result<Job, String>, Option<OwnedFd>);

/// Reads the launch from a job's connection; nothing if the program went away.
fn receive_job(connection: OwnedFd, umask: Mode) -> Option<ReceivedJob> {
    let mut received = Vec::new();
    let mut descriptors = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = receive(&connection, &mut buffer, &mut descriptors).ok()?;
        if count == 0 {
            return None;
        }
        received.extend_from_slice(&buffer[..count]);
        let (launch, used) = match protocol::decode::<Request>(&received) {
            Ok(None) => continue,
            Ok(Some((Request::Launch(launch), _, used))) => (*launch, used),
            Ok(Some(_)) => return Some((Err("not a launch".into()), Some(connection))),
            Err(error) => return Some((Err(error.to_string()), Some(connection))),
        };
        let mut descriptors = descriptors.into_iter();
        let Some(cwd) = descriptors.next() else {
            return Some((Err("no working directory came with it".into()), Some(connection)));
        };
        let rest = received.split_off(used);
        let job =
            Job { launch, connection: (connection, rest), cwd, stdin: descriptors.next(), umask };
        return Some((Ok(job), None));
    }
}

/// Leaves the program's terminal, descriptors and directory: what outlives it must hold nothing of
/// it, or whoever waits for the end of its output would wait for us.
fn detach(name: &str, keep: &[std::os::fd::BorrowedFd<'_>]) {
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
    let mut kept: Vec<u32> = keep
        .iter()
        .map(|descriptor| std::os::fd::AsRawFd::as_raw_fd(descriptor).unsigned_abs())
        .collect();
    kept.sort_unstable();
    let mut first = 3;
    for descriptor in kept.into_iter().chain([u32::MAX]) {
        if first < descriptor {
            close_range(first, descriptor - 1);
        }
        first = descriptor.saturating_add(1).max(first);
    }
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let null = OwnedFd::from(null);
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
        if std::os::fd::AsRawFd::as_raw_fd(&null) <= 2 {
            // It was opened as one of the three: it stays.
            let _ = null.into_raw_fd();
        }
    }
}

/// Closes all descriptors from `first` to `last`.
fn close_range(first: u32, last: u32) {
    // SAFETY: the descriptors closed belong to the program that forked us; nothing in this process
    // refers to them again, for this process never returns to the program's code.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if closed == 0 {
        return;
    }
    // Kernels before 5.9.
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        if let Some(number) =
            number.filter(|number| (first..=last).contains(&number.unsigned_abs()))
        {
            // SAFETY: as above.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}
