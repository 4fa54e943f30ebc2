//! What this kernel can do, and so which lanes there are.

use std::io;

use serde::{Deserialize, Serialize};

use crate::lane::{HostLane, Refusal};
use crate::namespaces;
use crate::rules::{LEAST, SCOPED};
use stigmer_core::Enforced;

/// What this kernel lets this user do.
///
/// [`take`](Self::take) finds out everything, once for a program, and says what is missing before anything is
/// tried: for `stigmer doctor`, and for a program that lives. [`for_lane`](Self::for_lane) is for who makes
/// one lane and is gone, such as a supervisor: it asks and tries nothing. If the workspace lane's
/// namespaces turn out not to be permitted, the process that enters says so before it executes anything, and
/// [`Plan::begin`](crate::Plan::begin) gives [`Refusal::NotEntered`]: the lane is off, and nothing
/// ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The version of Landlock's interface; 0 if there is none.
    pub landlock: u32,
    /// Whether a filter may ask a supervisor (Linux 5.5: with an answer that the kernel goes on).
    pub notifications: bool,
    /// Why namespaces cannot be set up; `None` if they can, or if that was not tried.
    pub namespaces: Option<String>,
}

impl Probe {
    /// Asks the kernel. Forks a process that tries the namespaces, and takes about a millisecond; a
    /// program with threads may call it.
    pub fn take() -> Self {
        Self {
            landlock: landlock_version(),
            notifications: notifications(),
            namespaces: namespaces::attempt().err(),
        }
    }

    /// What can be known for one lane without trying it: some microseconds.
    pub fn for_lane(lane: HostLane) -> Self {
        let namespaces = match lane {
            HostLane::ReadOnly => None,
            HostLane::Workspace => namespaces::switched_off(),
        };
        Self { landlock: landlock_version(), notifications: notifications(), namespaces }
    }

    /// What a lane would enforce.
    ///
    /// # Errors
    /// [`Refusal::Unsupported`] with everything that is missing. There is no lesser form of a lane.
    pub fn level(&self, lane: HostLane) -> Result<Enforced, Refusal> {
        let mut missing = Vec::new();
        if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            missing.push("system calls of this architecture are not known".to_owned());
        }
        if self.landlock < LEAST {
            missing.push(match self.landlock {
                0 => "the kernel has no Landlock, or it is not switched on (`lsm=`)".to_owned(),
                version => format!(
                    "Landlock's interface is version {version}, and {LEAST} is needed (Linux 6.2)"
                ),
            });
        }
        if !self.notifications {
            missing.push("the kernel has no seccomp notifications (Linux 5.5)".to_owned());
        }
        if let (HostLane::Workspace, Some(reason)) = (lane, &self.namespaces) {
            missing.push(format!("namespaces cannot be set up: {reason}"));
        }
        if !missing.is_empty() {
            return Err(Refusal::Unsupported { lane, reason: missing.join("; ") });
        }
        Ok(Enforced {
            landlock: self.landlock.min(SCOPED),
            namespaces: lane == HostLane::Workspace,
            scoped_signals: self.landlock >= SCOPED,
        })
    }
}

/// `landlock_create_ruleset(2)` with `LANDLOCK_CREATE_RULESET_VERSION`.
fn landlock_version() -> u32 {
    // SAFETY: with this flag the kernel takes no attribute, and gives a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, 1_u32)
    };
    u32::try_from(version).unwrap_or(0)
}

/// Whether notifications have the sizes that we know, or smaller ones.
fn notifications() -> bool {
    let mut sizes = [0_u16; 3];
    // SAFETY: the kernel writes three numbers (`struct seccomp_notif_sizes`) behind the pointer.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, sizes.as_mut_ptr())
    };
    result == 0
        && sizes[0] as usize <= crate::denials::LARGEST
        && sizes[1] as usize <= crate::denials::LARGEST
}

/// The error of the last call, for the text of a reason.
pub(crate) fn last_error(step: &str) -> String {
    format!("{step}: {}", io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_lane_without_trying_is_what_a_try_finds() {
        let all = Probe::take();
        let read_only = Probe::for_lane(HostLane::ReadOnly);
        assert_eq!(read_only, Probe { namespaces: None, ..all.clone() });
        if all.namespaces.is_none() {
            assert_eq!(Probe::for_lane(HostLane::Workspace), all);
        }
    }

    const ALL: Probe = Probe { landlock: 7, notifications: true, namespaces: None };

    #[test]
    fn a_kernel_with_everything_has_both_lanes() {
        let level = ALL.level(HostLane::ReadOnly).unwrap();
        assert_eq!((level.landlock, level.namespaces, level.scoped_signals), (6, false, true));
        let level = ALL.level(HostLane::Workspace).unwrap();
        assert!(level.namespaces);
        let old = Probe { landlock: 3, ..ALL }.level(HostLane::ReadOnly).unwrap();
        assert_eq!((old.landlock, old.scoped_signals), (3, false));
    }

    #[test]
    fn a_lane_is_off_with_a_reason_when_anything_is_missing() {
        for (probe, reason) in [
            (Probe { landlock: 0, ..ALL }, "no Landlock"),
            (Probe { landlock: 2, ..ALL }, "version 2"),
            (Probe { notifications: false, ..ALL }, "notifications"),
        ] {
            for lane in [HostLane::ReadOnly, HostLane::Workspace] {
                let text = probe.level(lane).unwrap_err().to_string();
                assert!(text.contains(reason) && text.contains("is off"), "{text}");
            }
        }
        let probe = Probe { namespaces: Some("not permitted".into()), ..ALL };
        assert!(probe.level(HostLane::ReadOnly).is_ok());
        assert!(
            probe.level(HostLane::Workspace).unwrap_err().to_string().contains("not permitted")
        );
    }
}
