//! What a supervisor listens to beside its command: its socket, and signals.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::record::CONTROL;

/// A socket named `control` in the process's directory.
pub(super) fn listen(directory: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // A socket's path holds 107 bytes (`unix(7)`) and state directories may lie deeper, so the name
    // is bound from within.
    rustix::process::fchdir(directory)?;
    let bound = rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(CONTROL)?);
    let _ = rustix::process::chdir("/");
    bound?;
    // Followers of one command connect rarely; the queue only has to outlast one turn of the loop.
    rustix::net::listen(&socket, 128)?;
    Ok(socket)
}

/// Signals as something to poll. All that could end the supervisor are held back: TERM is an order
/// to end the command, the others are for whoever uses the terminal. Also returns what was held back
/// before, for the command.
pub(super) fn signal_descriptor() -> std::io::Result<(OwnedFd, libc::sigset_t)> {
    // SAFETY: the sets are initialised by `sigemptyset` before they are read, and live on this
    // stack; `signal` restores the default for SIGCHLD, which an ignoring parent may have left us.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut held: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut held);
        let all = [
            libc::SIGCHLD,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGPIPE,
            libc::SIGXFSZ,
            libc::SIGUSR1,
            libc::SIGUSR2,
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGTTOU,
        ];
        for signal in all {
            libc::sigaddset(&raw mut held, signal);
        }
        let mut before: libc::sigset_t = std::mem::zeroed();
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const held, &raw mut before) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let mut read: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut read);
        libc::sigaddset(&raw mut read, libc::SIGCHLD);
        libc::sigaddset(&raw mut read, libc::SIGTERM);
        let descriptor =
            libc::signalfd(-1, &raw const read, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(descriptor), before))
    }
}
