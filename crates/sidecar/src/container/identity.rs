//! Becoming the caller.

use std::io;

use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// More than the kernel has capabilities.
const CAPABILITIES: u32 = 64;

/// Makes this process one of the caller's, for good: no other groups, no capabilities, and no way to
/// get any. System calls only: it is done between fork and exec, where there is one thread.
///
/// # Errors
/// What the kernel refuses, if the process would be more than the caller is.
pub(super) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    // It takes a capability that a container need not have. What it would take away cannot come
    // back without it either: nothing that is executed from here on gets any.
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        let _ = thread::remove_capability_from_bounding_set(one);
    }
    let own = (rustix::process::getuid(), rustix::process::getgid());
    match thread::set_thread_groups(&[]) {
        // Without root outside, groups are what they are; they are the caller's own.
        Err(Errno::PERM) if own == (uid, gid) => {}
        other => other?,
    }
    if own != (uid, gid) {
        thread::set_thread_res_gid(gid, gid, gid)?;
        thread::set_thread_res_uid(uid, uid, uid)?;
    }
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    thread::set_capabilities(None, none)?;
    // Kernels before 4.3 have no such set.
    let _ = thread::clear_ambient_capability_set();
    Ok(thread::set_no_new_privs(true)?)
}
