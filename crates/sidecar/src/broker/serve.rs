//! One package manager, looked after by a child of process 1. The shim may be anybody: what it says
//! is bounded, and so is the time that it may take to say it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, wait};
use stigmer_host::supervisor::{be_killed_first, kill_descendants};

use super::programs::system_path;
use super::request::{DESCRIPTORS, HEAD, Request, length};
use super::{Owner, PROGRAMS, find_program, hand_back};
use crate::OOM_SCORE;
use crate::container::signals::Signals;

/// How long a shim may take to say what it wants: it has it ready.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How long the answer may take to be taken: it is one byte, and a line if nothing was run.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Exit codes of a shell: for a program that cannot be executed, one that is not there, and of what
/// a signal ended.
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
const SIGNALLED: i32 = 128;

/// What came with a request.
struct Asked {
    request: Request,
    stdio: [OwnedFd; 3],
    directory: OwnedFd,
}

/// Serves one connection. Everything that it starts is gone when this returns, or it says that it is
/// not.
pub(super) fn serve(mut connection: UnixStream, owner: &Owner, signals: &Signals) -> bool {
    let own = rustix::process::getpid();
    let _ = rustix::thread::set_name(c"stigmer-broker");
    // A group of its own, which is spared when all beneath is killed.
    let _ = stigmer_host::new_session();
    if rustix::process::set_child_subreaper(Some(own)).is_err()
        || connection.set_nonblocking(false).is_err()
        || connection.set_write_timeout(Some(ANSWER_LIMIT)).is_err()
    {
        return true;
    }
    let Some(asked) = receive(&mut connection) else { return true };
    let began = SystemTime::now();
    let answer = run(asked, &mut connection, signals);
    let is_clean = kill_descendants();
    hand_back::hand_back(owner, began);
    if let Some((code, why)) = answer {
        let _ = connection.write_all(&[&[code], why.as_bytes()].concat());
    }
    is_clean
}

/// Reads the request; nothing if it is none, or takes too long.
fn receive(connection: &mut UnixStream) -> Option<Asked> {
    let limit = Instant::now() + REQUEST_LIMIT;
    let wait = |connection: &UnixStream| {
        let left = limit.saturating_duration_since(Instant::now());
        // A limit of zero would be none.
        connection.set_read_timeout(Some(left).filter(|left| !left.is_zero())).ok()?;
        (!left.is_zero()).then_some(())
    };
    wait(connection)?;
    let mut descriptors = Vec::new();
    let mut first = [0];
    receive_descriptors(connection, &mut first, &mut descriptors)?;
    let mut fill = |bytes: &mut [u8]| {
        let mut filled = 0;
        while filled < bytes.len() {
            wait(connection)?;
            match connection.read(&mut bytes[filled..]) {
                Ok(0) => return None,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(())
    };
    let mut head = [first[0]; HEAD];
    fill(&mut head[1..])?;
    let mut body = vec![0; length(head)?];
    fill(&mut body)?;
    let request = Request::decode(&body)?;
    // What is more than these is nobody's.
    descriptors.truncate(DESCRIPTORS);
    let [stdin, stdout, stderr, directory]: [OwnedFd; DESCRIPTORS] = descriptors.try_into().ok()?;
    Some(Asked { request, stdio: [stdin, stdout, stderr], directory })
}

fn receive_descriptors(
    connection: &UnixStream,
    first: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Option<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(first)];
    let received = recvmsg(connection, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    (received.bytes == 1).then_some(())
}

/// Runs the program: its exit code, or that of a shell and why it did not run. The shim says that: what
/// is written to the command's own streams could hold this up. Nothing if the shim went away meanwhile,
/// or everything is to end.
fn run(asked: Asked, connection: &mut UnixStream, signals: &Signals) -> Option<(u8, String)> {
    let Asked { request, stdio, directory } = asked;
    let [stdin, stdout, stderr] = stdio;
    let name = request.arguments.first().cloned().unwrap_or_default();
    if !PROGRAMS.iter().any(|program| OsStr::new(program) == name) {
        return Some((NOT_EXECUTABLE, "no package manager that runs as root".to_owned()));
    }
    let environment = environment(request.environment, rustix::termios::isatty(&stdin));
    let Some(program) = find_program(&name) else {
        let why = "command not found: this image has no such package manager";
        return Some((NOT_FOUND, why.to_owned()));
    };
    let mut command = Command::new(program);
    command.arg0(&name).args(&request.arguments[1..]).env_clear().envs(environment);
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
    let score = OOM_SCORE.to_string();
    let (mask, parent) = (signals.before(), rustix::process::getpid());
    let prepare = move || {
        stigmer_host::new_session()?;
        rustix::process::fchdir(&directory)?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        be_killed_first(score.as_bytes());
        mask.set();
        Ok(())
    };
    // SAFETY: the closure makes system calls only and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let child = match command.spawn() {
        Ok(child) => Pid::from_raw(child.id().cast_signed())?,
        Err(error) => return Some((NOT_EXECUTABLE, format!("cannot be executed: {error}"))),
    };
    // The descriptors are the program's alone now: whoever reads what it writes sees its end.
    drop(command);
    follow(child, connection, signals).map(|code| (code, String::new()))
}

/// The caller's environment as root has it.
fn environment(given: Vec<(OsString, OsString)>, terminal: bool) -> BTreeMap<OsString, OsString> {
    let mut all: BTreeMap<OsString, OsString> = given.into_iter().collect();
    all.insert("PATH".into(), system_path());
    // What it keeps for its user must not be root's in the caller's home.
    for (name, value) in [("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")] {
        all.insert(name.into(), value.into());
    }
    if !terminal {
        // Nobody could answer.
        all.entry("DEBIAN_FRONTEND".into()).or_insert_with(|| "noninteractive".into());
    }
    all
}

/// Waits for the program's end, and passes on what the shim says.
fn follow(child: Pid, connection: &mut UnixStream, signals: &Signals) -> Option<u8> {
    loop {
        let mut polled = [
            PollFd::new(&*connection, PollFlags::IN),
            PollFd::new(signals.descriptor(), PollFlags::IN),
        ];
        if poll(&mut polled, None).is_err() {
            continue;
        }
        let said = polled[0].revents();
        if signals.take().contains(&libc::SIGTERM) {
            return None;
        }
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if pid == child {
                let signalled = status.terminating_signal().map(|signal| SIGNALLED + signal);
                let code = status.exit_status().or(signalled).unwrap_or(SIGNALLED);
                return Some(u8::try_from(code).unwrap_or(NOT_EXECUTABLE));
            }
        }
        if !said.is_empty() {
            let mut numbers = [0; 16];
            let count = match connection.read(&mut numbers) {
                Ok(0) | Err(_) => return None,
                Ok(count) => count,
            };
            for number in &numbers[..count] {
                let signal = Signal::from_named_raw((*number).into());
                if let Some(signal) = signal.filter(|signal| may_be_passed_on(*signal)) {
                    let _ = kill_process_group(child, signal);
                }
            }
        }
    }
}

fn may_be_passed_on(signal: Signal) -> bool {
    matches!(signal, Signal::HUP | Signal::INT | Signal::QUIT | Signal::TERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_home_of_its_own_and_nobody_to_ask() {
        let given = || {
            vec![
                ("HOME".into(), "/home/x".into()),
                ("PATH".into(), "/x".into()),
                ("A".into(), "b".into()),
            ]
        };
        let silent = environment(given(), false);
        assert_eq!(silent[OsStr::new("HOME")], "/root");
        assert_eq!(silent[OsStr::new("A")], "b");
        assert_eq!(silent[OsStr::new("PATH")], system_path(), "not the caller's");
        assert_eq!(silent[OsStr::new("DEBIAN_FRONTEND")], "noninteractive");
        assert!(!environment(given(), true).contains_key(OsStr::new("DEBIAN_FRONTEND")));
    }

    #[test]
    fn who_says_nothing_or_nonsense_gets_nothing() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(&[5, 0, 0, 0, 1, 0, 0, 0, b'x']).unwrap();
        drop(theirs);
        assert!(receive(&mut ours).is_none());
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(&[255; 64]).unwrap();
        assert!(receive(&mut ours).is_none());
    }
}
