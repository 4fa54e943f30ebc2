//! Namespaces that are made before a command is known.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::family;
use crate::namespaces::{Identity, loopback_up};

/// A user, a network and an IPC namespace for one command in the workspace lane, made ahead of time.
///
/// To make a network namespace takes longer than all else that a lane needs. A process that waits for its
/// command can do it while it waits ([`Plan::entry_in`](crate::Plan::entry_in)). It must be the same process,
/// with the same user, that plans; nobody has been in the namespaces before, and each is for one command only.
#[derive(Debug)]
pub struct Nest {
    user: OwnedFd,
    network: OwnedFd,
    queues: OwnedFd,
}

/// What the process that makes them and the one that waits for it share.
struct Made {
    identity: Identity,
    result: io::Result<Nest>,
}

impl Nest {
    /// Makes them, in about a millisecond, during which the thread that calls it stands still.
    ///
    /// # Errors
    /// What the system says: the workspace lane is off then, or there are too many namespaces.
    pub fn make() -> io::Result<Self> {
        let result = Err(io::ErrorKind::Interrupted.into());
        let mut made = Made { identity: Identity::own(), result };
        // It shares our descriptors, so that what it opens is ours.
        let flags = libc::CLONE_VFORK | libc::CLONE_FILES;
        family::run_once(make, (&raw mut made).cast(), flags)?;
        made.result
    }

    /// Takes this process in. Its mounts and its children's numbers are its own.
    pub(crate) fn enter(&self) -> io::Result<()> {
        for (namespace, kind) in [
            // Who made this one may do anything in it, and so enter the others.
            (&self.user, libc::CLONE_NEWUSER),
            (&self.network, libc::CLONE_NEWNET),
            (&self.queues, libc::CLONE_NEWIPC),
        ] {
            // SAFETY: takes numbers and touches no memory.
            if unsafe { libc::setns(namespace.as_raw_fd(), kind) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: as above.
        match unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Runs in a process of its own while the other stands still.
extern "C" fn make(made: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the other process lent it, and does not run.
    let made = unsafe { &mut *made.cast::<Made>() };
    made.result = namespaces(&made.identity);
    0
}

fn namespaces(identity: &Identity) -> io::Result<Nest> {
    const OWN: libc::c_int = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
    identity.enter(OWN)?;
    loopback_up()?;
    let own = |name| {
        Ok::<_, io::Error>(openat(CWD, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    };
    Ok(Nest {
        user: own(c"/proc/self/ns/user")?,
        network: own(c"/proc/self/ns/net")?,
        queues: own(c"/proc/self/ns/ipc")?,
    })
}
