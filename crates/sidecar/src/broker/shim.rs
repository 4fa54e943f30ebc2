//! A command calls `apt-get` and gets this: it asks process 1 to run the real one, and is its shadow.

use std::ffi::OsString;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::request::{DESCRIPTORS, Request};
use super::{PROGRAMS, SOCKET};
use crate::container::signals::Signals;

/// Exit code when the real program cannot be reached: what a shell says of what cannot be executed.
const UNREACHABLE: u8 = 126;

/// The most bytes in which it is said why nothing was run: a line.
const MAX_REASON: u64 = 1024;

/// Signals that are passed on.
const PASSED_ON: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// The package manager that this program is called as.
pub(crate) fn called_as() -> Option<&'static str> {
    let called = std::env::args_os().next()?;
    let name = Path::new(&called).file_name()?.to_str()?;
    PROGRAMS.into_iter().find(|program| *program == name)
}

/// Is the package manager.
pub(crate) fn run(name: &str) -> ExitCode {
    match ask(name) {
        Ok(Some(code)) => ExitCode::from(code),
        Ok(None) => {
            say(name, "whoever ran it was killed, and it ended with that");
            ExitCode::from(UNREACHABLE)
        }
        Err(error) => {
            say(name, &format!("process 1 cannot be asked to run it: {error}"));
            ExitCode::from(UNREACHABLE)
        }
    }
}

fn say(name: &str, text: &str) {
    let _ = io::stderr().write_all(format!("stigmer: {name}: {text}\n").as_bytes());
}

/// Has the program run; nothing if nobody says how it ended.
fn ask(name: &str) -> io::Result<Option<u8>> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    arguments[0] = name.into();
    let request = Request { arguments, environment: std::env::vars_os().collect() };
    let message =
        request.encode().ok_or_else(|| io::Error::from(io::ErrorKind::ArgumentListTooLong))?;
    let here = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    // Who ignores a signal goes on ignoring it: held back it would be passed on.
    let signals =
        Signals::hold(&PASSED_ON.into_iter().filter(|n| !is_ignored(*n)).collect::<Vec<_>>())?;
    let mut connection = UnixStream::connect(SOCKET)?;

    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let descriptors = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), here.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let first = [IoSlice::new(&message[..1])];
    sendmsg(&connection, &first, &mut control, SendFlags::NOSIGNAL)?;
    connection.write_all(&message[1..])?;
    drop(message);

    loop {
        let mut polled = [
            PollFd::new(&connection, PollFlags::IN),
            PollFd::new(signals.descriptor(), PollFlags::IN),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !polled[0].revents().is_empty() {
            let mut code = [0];
            if !matches!(connection.read(&mut code), Ok(1)) {
                return Ok(None);
            }
            let mut why = Vec::new();
            let _ = connection.take(MAX_REASON).read_to_end(&mut why);
            if !why.is_empty() {
                say(name, &String::from_utf8_lossy(&why));
            }
            return Ok(Some(code[0]));
        }
        for signal in signals.take() {
            // Each is one byte. If nobody reads them any more, the answer is on its way.
            let _ = connection.write_all(&[u8::try_from(signal).unwrap_or_default()]);
        }
    }
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: a set of zeros is a value of the type; the call writes to it and changes nothing.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}
