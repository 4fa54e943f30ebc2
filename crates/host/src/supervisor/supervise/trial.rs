//! How long a try in the read-only lane may yet be discarded.
//!
//! What was discarded is run again elsewhere, so nobody may have seen anything of it: until the trial is
//! over no client is answered, none is let in, and standard input takes nothing.

use std::time::{Duration, Instant};

use stigmer_core::Denied;

use super::super::lane::Lane;
use super::super::protocol::{Confine, Launch, Reply, StdinSource};
use super::super::prune;
use super::{Main, Supervisor};

/// Bytes of output with which a try stands: a message about what was refused is shorter.
const MOST_OUTPUT: u64 = 4 << 10;

/// How long a trial lasts while nothing was refused. A command that is refused what it needs mostly finds
/// out at once; what runs longer is worth seeing.
const UNDENIED: Duration = Duration::from_millis(250);

/// The same if standard input is a stream, for whose bytes the command may be waiting: they cannot be sent
/// before the trial is over.
const WITH_INPUT: Duration = Duration::from_millis(30);

/// How long it lasts once something was refused: what failed without it is to end by itself.
const DENIED: Duration = Duration::from_secs(2);

/// What a look at a trial comes to.
#[derive(Debug)]
enum Judged {
    NotYet,
    Stands,
    Discarded(Denied),
    Unwanted,
}

/// Whether a command is tried first: in the read-only lane only, since another may have changed
/// something before it fails. What it takes from the caller's own descriptor nobody else can read
/// again.
pub(super) fn may_be_discarded(launch: &Launch) -> bool {
    let reads = |confine: &Confine| {
        confine.may_fall_over && confine.routing.lane == stigmer_core::Lane::HostReadOnly
    };
    launch.confinement.as_deref().is_some_and(reads) && launch.stdin != StdinSource::Inherit
}

impl Supervisor {
    /// Waits until it is certain that the command stands, and says so to whoever launched it. False if it
    /// does not: then nothing of it is left.
    pub(super) fn begins(&mut self, started: &Reply) -> bool {
        while self.on_trial {
            self.reap();
            match self.judge() {
                Judged::NotYet => self.wait(),
                Judged::Stands => self.on_trial = false,
                Judged::Discarded(denied) => {
                    if self.discard() {
                        self.tell_launcher(&Reply::Discarded(denied));
                        return false;
                    }
                    self.on_trial = false;
                }
                // Whoever wanted it is gone, and was told of nothing.
                Judged::Unwanted => {
                    if self.discard() {
                        return false;
                    }
                    self.on_trial = false;
                }
            }
        }
        self.tell_launcher(started);
        if let Some(first) = self.clients.first_mut() {
            first.launched = true;
        }
        self.news.started();
        true
    }

    fn tell_launcher(&mut self, reply: &Reply) {
        if let Some(first) = self.clients.first_mut() {
            first.reply(reply);
        }
    }

    /// How far a trial is.
    fn judge(&mut self) -> Judged {
        if self.clients.is_empty() {
            return Judged::Unwanted;
        }
        let denied = self.lane.as_ref().and_then(Lane::stopped);
        let much = self.log.end() + self.outputs.waiting() > MOST_OUTPUT;
        if much || self.ending.is_some() || self.trial_end(denied.is_some()) <= Instant::now() {
            return Judged::Stands;
        }
        match (self.main_status, denied) {
            (None, _) => Judged::NotYet,
            (Some(Main::Exited(0)), _) | (Some(_), None) => Judged::Stands,
            (Some(_), Some(denied)) => Judged::Discarded(denied),
        }
    }

    /// When a trial is over.
    pub(super) fn trial_end(&self, denied: bool) -> Instant {
        let mut window = window(self.launch.stdin, denied);
        if let Some(timeout) = self.launch.timeout {
            window = window.min(timeout);
        }
        self.started.checked_add(window).unwrap_or(self.started)
    }

    /// Takes a command back as if it had not been started. False if something of it cannot be ended.
    fn discard(&mut self) -> bool {
        if !self.sweep().is_empty() {
            return false;
        }
        let processes = &self.launch.processes;
        // Before the socket goes: nobody takes it for a command whose supervisor died.
        prune::remove(processes, &processes.join(self.launch.id.as_str()));
        true
    }
}

/// How long a trial lasts from the command's start.
fn window(stdin: StdinSource, denied: bool) -> Duration {
    match (denied, stdin) {
        (true, _) => DENIED,
        (false, StdinSource::Stream) => WITH_INPUT,
        (false, StdinSource::Empty | StdinSource::Inherit) => UNDENIED,
    }
}
