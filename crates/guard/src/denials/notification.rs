//! Asking and answering (`seccomp_unotify(2)`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use libc::c_long;

/// Room for what the kernel writes and reads; newer ones may have longer structures. A kernel whose
/// structures are longer still has no lanes.
pub(crate) const LARGEST: usize = 256;

// `_IOWR('!', 0, struct seccomp_notif)`, `_IOWR('!', 1, struct seccomp_notif_resp)`,
// `_IOW('!', 2, __u64)` (`linux/seccomp.h`).
const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;

// `_IOW('!', 3, struct seccomp_notif_addfd)` and `SECCOMP_ADDFD_FLAG_SEND` (Linux 5.14).
const GIVE: libc::c_ulong = 0x4018_2103;
const AND_ANSWER: u32 = 2;

// `_IOW('!', 4, __u64)` and `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6).
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
const SYNCHRONOUS: libc::c_ulong = 1;

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

/// `struct seccomp_notif`, with room.
#[repr(C, align(8))]
struct Raw {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction: u64,
    arguments: [u64; 6],
    more: [u64; 22],
}

const _: () = assert!(size_of::<Raw>() >= LARGEST);

/// `struct seccomp_notif_resp`, with room.
#[repr(C, align(8))]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
    more: [u64; 29],
}

const _: () = assert!(size_of::<Response>() >= LARGEST);

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct Given {
    id: u64,
    flags: u32,
    from: u32,
    to: u32,
    to_flags: u32,
}

/// Has the kernel wake who waits where the other runs, since one of the two always waits: that is several
/// times as fast. Older kernels do without.
pub(crate) fn wake_at_once(listener: &OwnedFd) {
    // SAFETY: takes numbers and touches no memory.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, SYNCHRONOUS) };
}

/// What a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Error(i32),
    Continue,
}

/// A call that waits for its answer.
pub(crate) struct Notification(Raw);

impl Notification {
    /// Takes one that waits; `None` if it is gone already.
    pub(crate) fn receive(listener: &OwnedFd) -> io::Result<Option<Self>> {
        // SAFETY: all bits of the structure may be zero, and the kernel wants it so.
        let mut raw: Raw = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes the structure behind the pointer, which has room for more.
        let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut raw) };
        if result == 0 {
            return Ok(Some(Self(raw)));
        }
        match io::Error::last_os_error() {
            error
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::EINTR | libc::EAGAIN)
                ) =>
            {
                Ok(None)
            }
            error => Err(error),
        }
    }

    pub(crate) fn number(&self) -> c_long {
        c_long::from(self.0.number)
    }

    /// The thread that waits, as this process sees it.
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid
    }

    pub(crate) fn argument(&self, index: u8) -> u64 {
        self.0.arguments[usize::from(index)]
    }

    /// Whether the thread still waits: then what was read by its number was its own.
    pub(crate) fn is_valid(&self, listener: &OwnedFd) -> bool {
        // SAFETY: the kernel reads a number behind the pointer.
        unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID, &raw const self.0.id) == 0 }
    }

    /// Answers a call that opens a file with a descriptor of ours.
    pub(crate) fn give(
        &self,
        listener: &OwnedFd,
        file: &OwnedFd,
        closes_on_exec: bool,
    ) -> io::Result<()> {
        let to_flags = if closes_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
        let from = file.as_raw_fd() as u32;
        let given = Given { id: self.0.id, flags: AND_ANSWER, from, to: 0, to_flags };
        // SAFETY: the kernel reads the structure behind the pointer.
        match unsafe { libc::ioctl(listener.as_raw_fd(), GIVE, &raw const given) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(crate) fn reply(&self, listener: &OwnedFd, reply: Reply) -> io::Result<()> {
        let (error, flags) = match reply {
            Reply::Error(error) => (-error, 0),
            Reply::Continue => (0, CONTINUE),
        };
        let mut response = Response { id: self.0.id, value: 0, error, flags, more: [0; 29] };
        // SAFETY: the kernel reads the structure behind the pointer.
        let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut response) };
        match result {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // The thread is gone, or has been interrupted.
                error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                error => Err(error),
            },
        }
    }
}
