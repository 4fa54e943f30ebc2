//! A process that waits until it is known what it is to execute.
//!
//! It shares its supervisor's memory until it executes, which spares both the copy that a fork makes. While it
//! prepares itself both run: it touches its own stack only, allocates nothing, and makes only system calls that
//! do not fail, or end it, or whose errors are not kept in a variable of the C library: the supervisor may read
//! that just then. Then it waits; and when it goes on the supervisor stands still until it has executed, so that
//! it may use what the supervisor may.

use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::denials::Denials;
use crate::entry::{Entry, Step, at};
use crate::family::{self, Leash};
use crate::handover::{self, Message};
use crate::lane::{HostLane, Refusal};
use crate::namespaces::{ALL, Identity, capabilities, forgo_capabilities, loopback_up};
use crate::plan::Plan;
use crate::view::Mounts;

/// A stack to enter a lane on.
const STACK: usize = 512 << 10;

/// A stack to call a few functions on.
const SMALL_STACK: usize = 64 << 10;

/// A process that waits to become a command in a lane, in namespaces of its own if the lane has them.
///
/// To make one for the workspace lane takes longer than all else that the lane needs. Who waits for commands can
/// make it while it waits. It must be the same thread that begins the command, with the same user; each is for
/// one command only. One that is dropped ends by itself.
///
/// Whoever makes it gets up to three children, of which it knows one: it waits for all that end (`wait(2)`).
#[derive(Debug)]
pub struct Waiting {
    lane: HostLane,
    socket: OwnedFd,
    leash: Option<Leash>,
    shared: &'static Shared,
    /// It has what is the thread's that made it, and ends when that does.
    thread: PhantomData<*const ()>,
}

/// What the process and its supervisor both see.
#[derive(Debug)]
struct Shared {
    lane: HostLane,
    identity: Identity,
    socket: RawFd,
    /// The first process's end, and stacks for it and for the command; none in the read-only lane.
    leash: RawFd,
    stacks: [*mut libc::c_void; 2],
    capabilities: libc::c_ulong,
    /// The command's process, as soon as it is known.
    command: AtomicI32,
    /// What to do, once that is known. It lives until the process has executed or ended.
    job: AtomicPtr<Job<'static>>,
    /// Why it could not execute.
    error: AtomicI32,
}

struct Job<'a> {
    entry: &'a Entry,
    program: &'a CStr,
    arguments: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
    prepare: &'a dyn Fn() -> io::Result<()>,
}

/// What is begun in a lane.
pub struct Start<'a> {
    /// The program. A relative path counts from where the command begins.
    pub program: &'a CStr,
    /// Its arguments, the first of which is its name.
    pub arguments: &'a [CString],
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// What the command's process does when it is confined, before it executes: to begin a session, take a
    /// terminal, block signals, set the umask and limits. It may open nothing, and do nothing else that the
    /// supervisor is asked about, who waits; nor may it keep anything in memory.
    pub prepare: &'a dyn Fn() -> io::Result<()>,
}

/// What was begun.
#[derive(Debug)]
pub struct Begun {
    /// The command's process, a child of this one.
    pub pid: Pid,
    /// What the supervisor has to do until nobody is left.
    pub denials: Denials,
}

impl Waiting {
    /// Makes one. It prepares itself while the caller goes on, which takes up to a millisecond; what fails then is
    /// told when a command is begun.
    ///
    /// # Errors
    /// [`Refusal::Io`] if the system is out of something.
    pub fn make(lane: HostLane) -> Result<Self, Refusal> {
        Self::try_make(lane).map_err(|error| Refusal::io("make a process", error))
    }

    fn try_make(lane: HostLane) -> io::Result<Self> {
        let (socket, theirs) = handover::pair()?;
        let (leash, held) = match lane {
            HostLane::ReadOnly => (None, None),
            HostLane::Workspace => {
                let (ours, theirs) = Leash::new()?;
                (Some(ours), Some(theirs))
            }
        };
        let commands = family::stack(STACK)?;
        let (life, stack, first): (family::Life, _, _) = match lane {
            HostLane::ReadOnly => (command, commands, null_mut()),
            HostLane::Workspace => {
                (maker, family::stack(SMALL_STACK)?, family::stack(SMALL_STACK)?)
            }
        };
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            lane,
            identity: Identity::own(),
            socket: theirs.as_raw_fd(),
            leash: held.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            stacks: [first, commands],
            // The other lane has none to forgo.
            capabilities: leash.as_ref().map_or(0, |_| capabilities()),
            command: AtomicI32::new(0),
            job: AtomicPtr::new(null_mut()),
            error: AtomicI32::new(0),
        }));
        let argument = std::ptr::from_ref(shared).cast_mut().cast();
        // SAFETY: the stack is nobody else's and is never given back, nor is what is shared. See above for what
        // the process does.
        let pid = unsafe { family::start(life, stack, false, argument)? };
        if lane == HostLane::ReadOnly {
            shared.command.store(pid, Ordering::Relaxed);
        }
        Ok(Self { lane, socket, leash, shared, thread: PhantomData })
    }

    /// Which lane it is for.
    pub fn lane(&self) -> HostLane {
        self.lane
    }

    /// Whether it is still there.
    pub fn waits(&self) -> bool {
        let mut one = [PollFd::new(&self.socket, PollFlags::empty())];
        poll(&mut one, Some(&Timespec::default())) == Ok(0)
    }
}

impl Plan {
    /// Begins a command in the lane, in a process that was made for it. Several may be begun one after the
    /// other, for a command that has to be tried again.
    ///
    /// Returns when the process has executed; the inner error is why it could not.
    ///
    /// # Errors
    /// [`Refusal::NotEntered`] with the step at which the lane could not be entered; [`Refusal::Io`] if the
    /// system is out of something, or the process is gone without a word. Nothing was executed then.
    pub fn begin(
        &self,
        waiting: Waiting,
        start: &Start<'_>,
    ) -> Result<Result<Begun, io::Error>, Refusal> {
        let Waiting { lane, socket, leash, shared, .. } = waiting;
        let entry = self.entry()?;
        let variables = self.environment().iter().map(|(name, value)| {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            CString::new(pair).map_err(|error| Refusal::io("use a variable", error))
        });
        let environment: Vec<CString> = variables.collect::<Result<_, _>>()?;
        let pointers = |all: &[CString]| {
            let all = all.iter().map(|text| text.as_ptr());
            all.chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (arguments, environment_of) = (pointers(start.arguments), pointers(&environment));
        let mut job = Job {
            entry: &entry,
            program: start.program,
            arguments: &arguments,
            environment: &environment_of,
            prepare: start.prepare,
        };
        shared.job.store((&raw mut job).cast(), Ordering::Release);
        let [input, output, errors] = start.stdio;
        let failed = |error: io::Error| Refusal::io("enter the lane", error);
        if let Some(stopped) = Pid::from_raw(shared.command.load(Ordering::Relaxed)) {
            // Whoever stopped it while it waited for nothing would have the supervisor wait for it.
            let _ = kill_process(stopped, Signal::CONT);
        }
        match handover::go(&socket, [input, output, errors, entry.rules.as_fd()]) {
            // It has failed and said why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            gone => gone.map_err(failed)?,
        }
        // It has the job as long as it has the socket; what it says before that can wait, and whoever is woken by
        // each word takes as long as the rest.
        let mut end = [PollFd::new(&socket, PollFlags::empty())];
        while poll(&mut end, None).is_err() {}
        let (mut ready, mut refusal) = (None, None);
        loop {
            match handover::receive(&socket) {
                Ok(Message::Ready(Some(listener), pid)) => ready = Some((listener, pid)),
                // Whom nobody answers is not to go on, nor to be begun once more as if it had not been.
                Ok(Message::Ready(None, _)) => {
                    return Err(shared.give_up(lane, "no descriptor is free"));
                }
                Err(error) => return Err(shared.give_up(lane, error)),
                Ok(Message::Failed(reason)) => refusal = Some(Refusal::NotEntered { lane, reason }),
                Ok(Message::End) => break,
            }
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let Some((listener, pid)) = ready else {
            return Err(Refusal::io("enter the lane", "its process said nothing"));
        };
        match shared.error.load(Ordering::Acquire) {
            0 => {
                let denials = Denials::new(lane, listener, self.judge().clone(), leash);
                Ok(Ok(Begun { pid, denials }))
            }
            error => {
                reap(pid);
                Ok(Err(io::Error::from_raw_os_error(error)))
            }
        }
    }
}

fn reap(pid: Pid) {
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

/// Takes the namespaces, and makes the first process and the command's in them.
extern "C" fn maker(shared: *mut libc::c_void) -> libc::c_int {
    set_signals(true);
    // SAFETY: it is never given back.
    let known = unsafe { &*shared.cast_const().cast::<Shared>() };
    let made = known.namespaces().and_then(|()| {
        let [first, commands] = known.stacks;
        // SAFETY: each has a stack of its own.
        unsafe {
            let leash = known.leash as usize as *mut libc::c_void;
            let started = family::start(family::first, first, true, leash);
            at("start the first process", started)?;
            let started = family::start(command, commands, true, shared);
            known.command.store(at("start the command's process", started)?, Ordering::Relaxed);
            Ok(())
        }
    });
    if let Err((step, error)) = made {
        // SAFETY: it is this process's own, which ends.
        let socket = unsafe { BorrowedFd::borrow_raw(known.socket) };
        handover::failed(socket, step, &error);
        family::exit(1);
    }
    family::exit(0)
}

/// What becomes the command.
extern "C" fn command(shared: *mut libc::c_void) -> libc::c_int {
    set_signals(true);
    // SAFETY: it is never given back.
    let shared = unsafe { &*shared.cast_const().cast::<Shared>() };
    // SAFETY: this process uses no other descriptor but the standard streams, and this one for itself.
    let (kept, socket) =
        unsafe { (family::keep_only(shared.socket, 3), OwnedFd::from_raw_fd(shared.socket)) };
    let followed = at("keep descriptors to itself", kept).and_then(|()| shared.follow(&socket));
    if let Err((step, error)) = followed {
        handover::failed(&socket, step, &error);
    }
    family::exit(1)
}

impl Shared {
    /// Ends a command that may have been executed already and cannot be supervised.
    fn give_up(&self, lane: HostLane, error: impl std::fmt::Display) -> Refusal {
        if let Some(pid) = Pid::from_raw(self.command.load(Ordering::Relaxed)) {
            let _ = kill_process(pid, Signal::KILL);
            reap(pid);
        }
        Refusal::NotEntered { lane, reason: format!("supervise the command: {error}") }
    }

    fn namespaces(&self) -> Step<()> {
        at("enter namespaces", self.identity.enter(ALL))?;
        at("switch the loopback interface on", loopback_up())
    }

    /// Waits, enters the lane and executes. Returns if it could not, or nothing will come.
    fn follow(&self, socket: &OwnedFd) -> Step<()> {
        // A command whose supervisor dies cannot be followed or ended by anybody: it goes, too. One that is gone
        // already sends nothing.
        let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        at("follow the supervisor", set.map_err(Into::into))?;
        let mounts = match self.lane {
            HostLane::ReadOnly => None,
            HostLane::Workspace => {
                at("forgo capabilities", forgo_capabilities(self.capabilities))?;
                Some(Mounts::make()?)
            }
        };
        let Some(given) = at("wait", handover::wait(socket))? else { return Ok(()) };
        let [input, output, errors, rules] = given;
        let streams = rustix::stdio::dup2_stdin(input)
            .and_then(|()| rustix::stdio::dup2_stdout(output))
            .and_then(|()| rustix::stdio::dup2_stderr(errors));
        at("take its standard streams", streams.map_err(Into::into))?;
        // SAFETY: the supervisor stands still, and keeps it until this process has executed or ended.
        let job = unsafe { &*self.job.load(Ordering::Acquire) };
        job.entry.enter(&rules, mounts.as_ref(), socket)?;
        set_signals(false);
        let error = match (job.prepare)() {
            Ok(()) => job.entry.execute(job.program, job.arguments, job.environment),
            Err(error) => error,
        };
        self.error.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Release);
        Ok(())
    }
}

/// Blocks all signals, or none. What a program is used to: it is told of its children, and ends when it writes to
/// nobody. Whoever called may have ignored both.
fn set_signals(blocked: bool) {
    // SAFETY: fills and reads a set on this stack; sets what this process does, which installs no handler.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        if blocked {
            libc::sigfillset(&raw mut all);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, null_mut());
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Policy, Probe, plan};

    /// `true` in the read-only lane, in a process to which something was done while it waited.
    fn after(what: Signal) -> Result<Begun, Refusal> {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let policy = Policy::new(directory.path(), std::env::vars_os().collect());
        let lane = HostLane::ReadOnly;
        let plan = plan(lane, &policy, &Probe::for_lane(lane)).unwrap();
        let waiting = Waiting::make(lane).unwrap();
        assert!(waiting.waits());
        let pid = Pid::from_raw(waiting.shared.command.load(Ordering::Relaxed)).unwrap();
        kill_process(pid, what).unwrap();
        if what == Signal::KILL {
            reap(pid);
            assert!(!waiting.waits());
        }
        let (done, late) = std::sync::mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            // It hangs: somebody else has it go on.
            let late = late.recv_timeout(Duration::from_secs(10)).is_err();
            if late {
                let _ = kill_process(pid, Signal::CONT);
            }
            late
        });
        let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let (program, arguments) = (c"/bin/true", &[c"true".into()]);
        let start = Start { program, arguments, stdio: [null.as_fd(); 3], prepare: &|| Ok(()) };
        let begun = plan.begin(waiting, &start).map(Result::unwrap);
        let _ = done.send(());
        assert!(!watch.join().unwrap(), "it waited for a process that was stopped");
        begun
    }

    #[test]
    fn a_process_that_was_stopped_while_it_waited_goes_on() {
        let Begun { pid, denials } = after(Signal::STOP).unwrap();
        drop(denials);
        let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    #[test]
    fn a_process_that_was_killed_while_it_waited_has_executed_nothing() {
        let refusal = after(Signal::KILL).unwrap_err();
        assert!(matches!(refusal, Refusal::Io { .. }), "{refusal}");
    }
}
