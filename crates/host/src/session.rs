//! Sessions of processes.

use std::io;

/// Begins a session of its own for this process, and leaves the one that it is in.
///
/// Not by way of a library that looks at the session's number: gVisor returns 0 for it. A system call
/// only, so that it can be made between fork and exec.
///
/// # Errors
/// What `setsid(2)` says.
pub fn new_session() -> io::Result<()> {
    // SAFETY: takes nothing and touches no memory of ours.
    match unsafe { libc::setsid() } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
