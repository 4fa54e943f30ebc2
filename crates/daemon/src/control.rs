//! Ending a daemon, from outside.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use stigmer_core::{ErrorCode, Result, ToolError};

use crate::lock::Lock;
use crate::place::DaemonPlace;
use crate::record::find;
use crate::run::DRAIN;

/// How long after the drain's limit a daemon may take for the rest of its end.
const MARGIN: Duration = Duration::from_secs(5);

/// How to end a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It finishes what it is doing, for a while.
    Drain,
    /// At once.
    Now,
}

/// Ends the daemon of this place and waits for its end; returns its process id.
///
/// # Errors
/// `not_found` if none runs, `busy` if it does not end in time, `unsupported` if it lives where we
/// cannot signal it.
pub fn stop(place: &DaemonPlace, how: Stop) -> Result<u32> {
    let none = || {
        ToolError::new(ErrorCode::NotFound, "no daemon runs")
            .with_hint("`stigmer server start` starts one")
    };
    let running = find(place)?.ok_or_else(none)?;
    let known = running.pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let pid = known.ok_or_else(|| match running.record {
        Some(_) => ToolError::new(ErrorCode::Unsupported, "the daemon lives in another container")
            .with_hint("stop it there"),
        None => ToolError::new(ErrorCode::Busy, "the daemon is just starting or ending")
            .with_hint("try again in a moment"),
    })?;
    let failed = |error: Errno| {
        ToolError::new(ErrorCode::Io, format!("process {pid}: cannot be signalled: {error}"))
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Err(none()),
        Err(error) => return Err(failed(error)),
    };
    // The descriptor is of the process that has the id now. If that is the daemon now, too, then it
    // is what is signalled, whatever becomes of the id from here on.
    if find(place)?.and_then(|again| again.pid) != running.pid {
        return Err(none());
    }
    let signal = if how == Stop::Now { Signal::KILL } else { Signal::TERM };
    match pidfd_send_signal(&process, signal) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(failed(error)),
    }
    let patience = DRAIN + MARGIN;
    let number = Pid::as_raw_nonzero(pid).get().unsigned_abs();
    if !ends(&process, patience) {
        let seconds = patience.as_secs();
        let message = format!("the daemon, process {number}, still runs after {seconds} s");
        return Err(ToolError::new(ErrorCode::Busy, message)
            .with_hint("`stigmer server stop --now` ends it; commands go on all the same"));
    }
    clear(place)?;
    Ok(number)
}

/// Whether a process ends in time.
fn ends(process: &impl std::os::fd::AsFd, patience: Duration) -> bool {
    let until = std::time::Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return false,
            Err(Errno::INTR) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// Removes what a killed daemon left behind, unless another has been started meanwhile.
pub(crate) fn clear(place: &DaemonPlace) -> Result<()> {
    if let Some(_lock) = Lock::take(&place.lock())? {
        remove(place);
    }
    Ok(())
}

/// Removes what says that a daemon is there. Who calls this holds the lock.
pub(crate) fn remove(place: &DaemonPlace) {
    for path in [place.record(), place.socket(), place.descriptors()] {
        // It may not be there; and a next start would clear it away.
        let _ = std::fs::remove_file(path);
    }
}
