//! What waits for a command: a few supervisors, and the small process that forks them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg};
use std::mem::MaybeUninit;
use stigmer_core::Lane;

use super::lane::Ahead;
use super::launcher::{MAX_DESCRIPTORS, Reserve};
use super::memory::Memory;
use super::protocol::{self, Reply, Request};
use super::supervise::{Job, supervise};

/// What a supervisor that waited tells whoever forked it: it has taken a job;
const TAKEN: u8 = 0;
/// and that is for one of these lanes, by its place.
const LANES: [Lane; 2] = [Lane::HostReadOnly, Lane::HostWorkspace];

/// How many supervisors prepare the lane that was wanted last while they wait: enough for an agent that pauses.
/// Nobody else pays for that.
const AHEAD: u8 = 16;

/// How soon a fork that failed is tried again: nothing tells when there is room for a process.
const FORK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Becomes the reserve that takes its jobs from a socket, and ends when the program has. `alive` is
/// held as long as this process forks new supervisors.
pub(super) fn serve(reserve: Reserve, jobs: OwnedFd, alive: Option<&OwnedFd>) {
    match reserve {
        Reserve::One => become_reserve(jobs, None, None),
        Reserve::Keep(count) => keep_reserves(&jobs, alive, count.max(1)),
    }
}

/// The same in a program that was executed for it: the socket is its standard input, and what shows
/// that it lives its standard output.
pub(super) fn serve_from_stdio(reserve: Reserve) {
    let again = |stdio: std::os::fd::BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(stdio, 3);
    let (Ok(jobs), Ok(alive)) = (again(rustix::stdio::stdin()), again(rustix::stdio::stdout()))
    else {
        return;
    };
    // Whoever tries the argument by hand has no such socket.
    if rustix::net::sockopt::socket_type(&jobs) == Ok(SocketType::SEQPACKET) {
        serve(reserve, jobs, Some(&alive));
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
fn keep_reserves(jobs: &OwnedFd, alive: Option<&OwnedFd>, count: u8) {
    let keep: Vec<_> = [Some(jobs), alive].into_iter().flatten().map(AsFd::as_fd).collect();
    detach("stigmer-reserve", &keep);
    // SAFETY: `signal` with SIG_IGN installs no handler; the kernel then reaps our children.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let Ok((taken, takes)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else {
        return;
    };
    let (mut waiting, mut ahead, mut lane) = (0_u8, 0_u8, None);
    loop {
        while waiting < count {
            let (Ok(jobs), Ok(takes)) = (jobs.try_clone(), takes.try_clone()) else { return };
            // SAFETY: this process has one thread.
            match unsafe { libc::fork() } {
                // Out of processes: those that wait still serve, and it is tried again below.
                -1 => break,
                0 => {
                    drop(taken);
                    return become_reserve(jobs, Some(takes), lane.filter(|_| ahead > 0));
                }
                _ => (waiting, ahead) = (waiting + 1, ahead.saturating_sub(1)),
            }
        }
        // The program's end of the socket closes when it is gone; its reserves see that themselves.
        let mut fds = [PollFd::new(&taken, PollFlags::IN), PollFd::new(jobs, PollFlags::HUP)];
        // If none waits, no job is taken that would be a reason to try again.
        let again = (waiting < count).then_some(&FORK_AGAIN);
        if poll(&mut fds, again).is_err() {
            continue;
        }
        let (take, hangup) = (fds[0].revents(), fds[1].revents());
        if hangup.contains(PollFlags::HUP) {
            return;
        }
        if take.contains(PollFlags::IN) {
            let mut bytes = [0; 64];
            let count = rustix::io::read(&taken, &mut bytes).unwrap_or(0);
            for byte in &bytes[..count] {
                match byte.checked_sub(TAKEN + 1) {
                    Some(place) => (lane, ahead) = (LANES.get(usize::from(place)).copied(), AHEAD),
                    None => waiting = waiting.saturating_sub(1),
                }
            }
        }
    }
}

/// Waits for a job and becomes its supervisor.
fn become_reserve(jobs: OwnedFd, takes: Option<OwnedFd>, lane: Option<Lane>) {
    let mut keep = vec![jobs.as_fd()];
    keep.extend(takes.as_ref().map(AsFd::as_fd));
    detach("stigmer-superv", &keep);
    let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);

    let memory = Memory::look_up();
    let ahead = lane.map(Ahead::make).unwrap_or_default();
    let mut connection = Vec::new();
    let taken = receive(&jobs, &mut [0], &mut connection);
    if let Some(takes) = &takes {
        let _ = rustix::io::write(takes, &[TAKEN]);
    }
    drop(jobs);
    let (Ok(1..), Some(connection)) = (taken, connection.pop()) else { return };
    if let Some((job, reply_to)) = receive_job(connection, umask, memory, ahead) {
        match job {
            Ok(job) => {
                let lane = job.launch.confinement.as_ref().map(|confine| confine.routing.lane);
                let place = LANES.iter().position(|of| Some(*of) == lane);
                if let (Some(takes), Some(place)) = (takes, place) {
                    let _ = rustix::io::write(&takes, &[TAKEN + 1 + place as u8]);
                }
                supervise(job);
            }
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
fn receive_job(
    connection: OwnedFd,
    umask: Mode,
    memory: Memory,
    ahead: Ahead,
) -> Option<ReceivedJob> {
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
        let stdin = descriptors.next();
        let job = Job { launch, connection: (connection, rest), cwd, stdin, umask, memory, ahead };
        return Some((Ok(job), None));
    }
}

/// Leaves the program's terminal, descriptors and directory: what outlives it must hold nothing of
/// it, or whoever waits for the end of its output would wait for us.
fn detach(name: &str, keep: &[std::os::fd::BorrowedFd<'_>]) {
    let _ = crate::session::new_session();
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
