//! A command's lane: what the supervisor holds of it while anything of the command is left.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use stigmer_core::process::Command;
use stigmer_core::{ByteString, Denied, Lane as LaneKind, Routing};
use stigmer_guard::{Begun, Denials, HostLane, Plan, Policy, Probe, Refusal, Start, Waiting};

use super::protocol::{Confine, Launch};

/// Calls that are answered before the supervisor looks at anything else: a command that asks without
/// end must not keep it from being ended.
const MOST_ANSWERS: u32 = 64;

/// What is made while no command is there: a process for it, in namespaces of its own if the lane has any, which
/// take longer than all else.
#[derive(Debug, Default)]
pub(super) struct Ahead(Option<Waiting>);

impl Ahead {
    /// Makes it. What cannot be made is tried again when there is a command, and then is an error.
    pub(super) fn make(lane: LaneKind) -> Self {
        Self(HostLane::of(lane).and_then(|lane| Waiting::make(lane).ok()))
    }
}

/// A command's lane.
#[derive(Debug)]
pub(super) struct Lane {
    plan: Plan,
    /// The process for the command, until that is begun.
    waiting: Option<Waiting>,
    denials: Option<Denials>,
    /// Somebody is left who may ask.
    asked: bool,
    routing: Routing,
}

impl Lane {
    /// Works out the lane of a launch that executes `program`. An error says why there is none.
    pub(super) fn plan(
        launch: &Launch,
        confine: &Confine,
        program: Option<&Path>,
        terminal: Option<PathBuf>,
        ahead: Ahead,
    ) -> Result<Self, String> {
        let Some(lane) = HostLane::of(confine.routing.lane) else {
            return Err(format!("{} is no lane on the host", confine.routing.lane));
        };
        if launch.oom_score.is_some() {
            // It would be the supervisor's as well, whose memory the command's process shares.
            return Err("a command in a lane has no score for when memory runs out".to_owned());
        }
        let ahead = ahead.0.filter(|waiting| waiting.lane() == lane && waiting.waits());
        // It prepares itself while this goes on.
        let waiting = ahead.map_or_else(|| Waiting::make(lane), Ok).ok();
        let own = |text: &ByteString| text.as_os_str().to_owned();
        let callers = launch.environment.len().saturating_sub(confine.declared);
        let variables = launch.environment.iter().map(|(name, value)| (own(name), own(value)));
        let mut environment: Vec<_> = variables.collect();
        let declared = environment.split_off(callers);
        let mut policy = Policy::new(launch.workspace.as_path(), environment);
        policy.declared = declared;
        policy.cwd = launch.cwd.as_path().to_owned();
        policy.tool_roots.clone_from(&confine.tool_roots);
        policy.command = match &launch.command {
            Command::Shell(line) => vec![own(line)],
            Command::Argv(words) => words.iter().map(own).collect(),
        };
        policy.programs = confine.programs.iter().map(own).collect();
        policy.programs.extend(program.map(OsString::from));
        policy.terminal = terminal;
        let plan = stigmer_guard::plan(lane, &policy, &Probe::for_lane(lane));
        let plan = plan.map_err(|refusal| refusal.to_string())?;
        let mut routing = confine.routing.clone();
        routing.enforced = Some(*plan.enforced());
        let dropped = plan.dropped().iter();
        routing.dropped_variables =
            dropped.map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        Ok(Self { plan, waiting, denials: None, asked: false, routing })
    }

    /// What is kept with the command.
    pub(super) fn routing(&self) -> &Routing {
        &self.routing
    }

    /// Whether it has namespaces of its own, with a first process that is none of the command's.
    pub(super) fn has_namespaces(&self) -> bool {
        self.plan.enforced().namespaces
    }

    /// Nothing is begun: whoever waited for the command ends.
    pub(super) fn forgo(&mut self) {
        self.waiting = None;
    }

    /// Begins the command in a process of its own, which executes `program`; gives that. The inner
    /// error says why it could not be executed, the outer why it did not enter.
    pub(super) fn begin(
        &mut self,
        program: &Path,
        name: &OsStr,
        arguments: &[OsString],
        stdio: [BorrowedFd<'_>; 3],
        prepare: &dyn Fn() -> io::Result<()>,
    ) -> Result<io::Result<Pid>, String> {
        let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(|error| error.to_string());
        let arguments = arguments.iter().map(OsString::as_os_str);
        let arguments = std::iter::once(name).chain(arguments).map(text);
        let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let program = text(program.as_os_str())?;
        let start = Start { program: &program, arguments: &arguments, stdio, prepare };
        let make = || Waiting::make(self.plan.lane());
        let begin = |waiting: Waiting| self.plan.begin(waiting, &start);
        let begun = match self.waiting.take().map(begin) {
            // It was there for a while, and may have been killed. What was executed is another refusal.
            None | Some(Err(Refusal::Io { .. })) => make().and_then(begin),
            Some(begun) => begun,
        };
        Ok(begun.map_err(|refusal| refusal.to_string())?.map(|Begun { pid, denials }| {
            self.denials = Some(denials);
            self.asked = true;
            pid
        }))
    }

    /// The command has ended.
    pub(super) fn ended(&self) {
        if let Some(denials) = &self.denials {
            denials.ended();
        }
    }

    /// What to poll.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.denials.as_ref().filter(|_| self.asked).map(AsFd::as_fd)
    }

    /// Answers what is asked.
    pub(super) fn answer(&mut self, mut ready: PollFlags) {
        let Some(denials) = &mut self.denials else { return };
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        for _ in 0..MOST_ANSWERS {
            if !ready.contains(PollFlags::IN) {
                // Hung up: nobody is left who could ask.
                self.asked = !ready.intersects(PollFlags::HUP | PollFlags::ERR);
                return;
            }
            if denials.answer().is_err() {
                self.asked = false;
                return;
            }
            let mut one = [PollFd::from_borrowed_fd(denials.as_fd(), PollFlags::IN)];
            if poll(&mut one, Some(&at_once)).is_err() {
                return;
            }
            ready = one[0].revents();
        }
    }

    /// What was refused so far, if it is more than everyday probes.
    fn denied(&self) -> Option<Denied> {
        let denials = self.denials.as_ref()?;
        let kept = denials.kept().iter().filter(|denial| !denial.probe).cloned();
        let denied = Denied { denials: kept.collect(), omitted: denials.dropped() };
        (!denied.denials.is_empty()).then_some(denied)
    }

    /// The same, if more was refused than reading: what cannot be read here cannot be read in a sandbox
    /// either.
    pub(super) fn stopped(&self) -> Option<Denied> {
        self.denied().filter(|denied| denied.denials.iter().any(|denial| denial.call != "read"))
    }

    /// The same when the command has ended, and what it left behind that others execute or obey.
    pub(super) fn told(&self) -> Option<Denied> {
        // A command that was never begun leaves nothing.
        let planted = self.denials.as_ref().map(|denials| self.plan.planted(denials.begun()));
        let mut told = self.denied().unwrap_or_default();
        told.denials.extend(planted.unwrap_or_default());
        (!told.denials.is_empty()).then_some(told)
    }

    /// What processes left behind that outlived the command; nobody waits to be told.
    pub(super) fn take_away(&self) {
        self.plan.take_away();
    }
}
