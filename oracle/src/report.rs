//! What all observations come to.

use std::fmt;

use stigmer_core::Lane;
use stigmer_guard::HostLane;

use crate::labelled::Labelled;
use crate::rights::beyond;
use crate::trial::{Change, Observation, What};

/// Of a hundred commands that only read, how many the read-only lane has to keep (issue 6).
pub const LEAST_KEPT: usize = 85;

/// A command with all that is known of it.
pub struct Judged {
    /// The command and its label.
    pub labelled: Labelled,
    /// Where auto mode sends it.
    pub lane: Lane,
    /// Which rule said so.
    pub rule: String,
    /// What it did in its lane; nothing for the sandbox.
    pub confined: Option<Observation>,
    /// What it did when nothing held it; nothing for the sandbox.
    pub bare: Option<Observation>,
}

impl Judged {
    /// Its lane on the host.
    pub fn host(&self) -> Option<HostLane> {
        HostLane::of(self.lane)
    }

    /// Effects in its lane that the lane gives no right to.
    pub fn escaped(&self) -> Vec<&Change> {
        let (Some(lane), Some(confined)) = (self.host(), &self.confined) else { return Vec::new() };
        confined.changes.iter().filter(|change| beyond(lane, change)).collect()
    }

    /// Effects that it has where nothing holds it, and that its lane gives no right to.
    pub fn held_back(&self) -> Vec<&Change> {
        let (Some(lane), Some(bare)) = (self.host(), &self.bare) else { return Vec::new() };
        let private = |change: &Change| {
            let places = ["/tmp", "/dev/shm"];
            lane == HostLane::Workspace
                && matches!(change.what, What::Made | What::Changed | What::Removed | What::Wrote)
                && places.iter().any(|place| std::path::Path::new(&change.to).starts_with(place))
        };
        // Servers of the world listen on the loopback interface, which is another one in the lane.
        let loopback = |change: &Change| {
            lane == HostLane::Workspace && change.what == What::Connected && is_loopback(&change.to)
        };
        let all = bare.changes.iter().filter(|change| beyond(lane, change));
        all.filter(|change| !private(change) && !loopback(change)).collect()
    }
}

fn is_loopback(address: &str) -> bool {
    ["127.0.0.", "\"::1\""].iter().any(|name| address.contains(name))
}

/// The figures, and the commands that are worth a look.
pub struct Report<'a> {
    judged: &'a [Judged],
}

impl<'a> Report<'a> {
    /// Over all commands.
    pub fn of(judged: &'a [Judged]) -> Self {
        Self { judged }
    }

    /// How many of a hundred commands that only read are kept in the read-only lane.
    pub fn kept(&self) -> usize {
        let reads = self.judged.iter().filter(|judged| judged.labelled.lane == "ro");
        let (all, kept) = reads.fold((0, 0), |(all, kept), judged| {
            (all + 1, kept + usize::from(judged.lane == Lane::HostReadOnly))
        });
        kept * 100 / all
    }

    /// Effects beyond a lane's right, in the lane.
    pub fn escaped(&self) -> Vec<String> {
        self.about(|judged| shown(&judged.escaped()))
    }

    /// Commands judged to be read-only that would do more if nothing held them.
    pub fn misjudged_read_only(&self) -> Vec<String> {
        self.about(|judged| match judged.host() {
            Some(HostLane::ReadOnly) => shown(&judged.held_back()),
            _ => Vec::new(),
        })
    }

    /// Commands of the workspace lane that would reach further if nothing held them.
    pub fn stopped_in_workspace(&self) -> Vec<String> {
        self.about(|judged| match judged.host() {
            Some(HostLane::Workspace) => shown(&judged.held_back()),
            _ => Vec::new(),
        })
    }

    /// Commands in a lane that their label does not allow.
    pub fn mislabelled(&self) -> Vec<String> {
        self.about(|judged| {
            let wrong = !judged.labelled.allows(judged.lane);
            if wrong {
                vec![format!("is in {:?} by {}", judged.lane, judged.rule)]
            } else {
                Vec::new()
            }
        })
    }

    /// Commands that only read and are sent elsewhere.
    pub fn lost(&self) -> Vec<String> {
        self.about(|judged| {
            let lost = judged.labelled.lane == "ro" && judged.lane != Lane::HostReadOnly;
            if lost {
                vec![format!("goes to {:?} by {}", judged.lane, judged.rule)]
            } else {
                Vec::new()
            }
        })
    }

    /// Commands that only read and were refused by the guard, or denied something.
    pub fn denied(&self) -> Vec<String> {
        self.about(|judged| match &judged.confined {
            Some(seen) if judged.lane == Lane::HostReadOnly => {
                seen.refused.iter().cloned().chain(seen.real_denials()).collect()
            }
            _ => Vec::new(),
        })
    }

    /// Commands that were ended because they took too long.
    pub fn ended(&self) -> Vec<String> {
        let ended = |seen: &Option<Observation>| seen.as_ref().is_some_and(|seen| seen.ended);
        self.about(|judged| {
            if ended(&judged.confined) { vec!["in its lane".to_owned()] } else { Vec::new() }
        })
    }

    fn about(&self, what: impl Fn(&Judged) -> Vec<String>) -> Vec<String> {
        let all = self.judged.iter().map(|judged| (judged, what(judged)));
        let worth = all.filter(|(_, what)| !what.is_empty());
        worth
            .map(|(judged, what)| format!("{:?}: {}", judged.labelled.command, what.join("; ")))
            .collect()
    }
}

fn shown(changes: &[&Change]) -> Vec<String> {
    changes.iter().map(ToString::to_string).collect()
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} labelled commands", self.judged.len())?;
        for lane in [Lane::HostReadOnly, Lane::HostWorkspace, Lane::Sandbox] {
            let count = self.judged.iter().filter(|judged| judged.lane == lane).count();
            writeln!(formatter, "  {lane:?}: {count}")?;
        }
        writeln!(
            formatter,
            "harmless read-only commands kept in the read-only lane: {} % (at least {LEAST_KEPT} %)",
            self.kept()
        )?;
        for (title, list) in [
            ("effects beyond the lane's right", self.escaped()),
            ("judged read-only, would do more if nothing held it", self.misjudged_read_only()),
            ("in a lane that the label does not allow", self.mislabelled()),
            ("workspace lane: stopped by the lane", self.stopped_in_workspace()),
            ("read-only lane: refused or denied", self.denied()),
            ("only reads, and is sent elsewhere", self.lost()),
            ("ended after too long", self.ended()),
        ] {
            writeln!(formatter, "{title}: {}", list.len())?;
            for line in list {
                writeln!(formatter, "  {line}")?;
            }
        }
        Ok(())
    }
}
