//! Signals as something to wait for with all else.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Signals that are held back and read instead.
pub(crate) struct Signals {
    descriptor: OwnedFd,
    before: libc::sigset_t,
}

impl Signals {
    /// Holds signals back from now on.
    ///
    /// # Errors
    /// What `signalfd(2)` says.
    pub(crate) fn hold(numbers: &[i32]) -> io::Result<Self> {
        // SAFETY: a set of zeros is a value of the type, and all calls get pointers to local sets
        // that live until they return.
        unsafe {
            let mut held: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut held);
            for number in numbers {
                libc::sigaddset(&raw mut held, *number);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const held, &raw mut before) != 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::signalfd(-1, &raw const held, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(Self { descriptor: OwnedFd::from_raw_fd(fd), before }),
            }
        }
    }

    /// What becomes readable with a signal.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// The signals that came.
    pub(crate) fn take(&self) -> Vec<i32> {
        let mut buffer = [0_u8; 16 * size_of::<libc::signalfd_siginfo>()];
        let Ok(count) = rustix::io::read(&self.descriptor, &mut buffer) else { return Vec::new() };
        let each = buffer[..count].chunks_exact(size_of::<libc::signalfd_siginfo>());
        // `ssi_signo` is the first field (`signalfd(2)`).
        each.map(|info| i32::from_ne_bytes([info[0], info[1], info[2], info[3]])).collect()
    }

    /// What is held back in programs that are executed: what was so before.
    pub(crate) fn before(&self) -> Mask {
        Mask(self.before)
    }
}

/// Signals that are held back.
#[derive(Clone, Copy)]
pub(crate) struct Mask(libc::sigset_t);

impl Mask {
    /// Makes it this process's. A system call only.
    pub(crate) fn set(&self) {
        // SAFETY: reads the set behind the pointer.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}
