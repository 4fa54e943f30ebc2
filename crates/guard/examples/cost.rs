//! What a lane costs: `true` bare and in each lane, one after the other, many times over. Time on the
//! clock, and time of processors, which says more on a machine that is busy.
//!
//! `cargo run --release -p stigmer-guard --example cost [ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers that prints what it measured"
)]

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stigmer_guard::{HostLane, Nest, Policy, Probe, plan};

fn main() {
    let rounds = std::env::args().nth(1).map_or(500, |text| text.parse().unwrap());
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = Policy::new(directory.path(), variables);
    let probe = Probe::take();
    println!("{probe:?}");
    // What the workspace lane leaves for a moment is counted, too.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let lanes = [
        ("read-only", HostLane::ReadOnly, false),
        ("workspace", HostLane::Workspace, false),
        ("workspace, namespaces made ahead,", HostLane::Workspace, true),
    ];
    let mut bare = Vec::new();
    let mut inside = [Vec::new(), Vec::new(), Vec::new()];
    let mut planned = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        bare.push(time(|| wait(command(directory.path()).spawn().unwrap())));
        for (index, (_, lane, ahead)) in lanes.into_iter().enumerate() {
            let nest = ahead.then(|| Nest::make().unwrap());
            inside[index].push(time(|| {
                let began = Instant::now();
                let plan = plan(lane, &policy, &probe).unwrap();
                let (entry, pending) = plan.entry_in(nest).unwrap();
                let environment: Vec<CString> = plan
                    .environment()
                    .iter()
                    .map(|(name, value)| {
                        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).unwrap()
                    })
                    .collect();
                planned[index].push(began.elapsed());
                let mut command = command(directory.path());
                // SAFETY: this process has one thread.
                unsafe {
                    command.pre_exec(move || {
                        entry.enter()?;
                        Err(entry.execute(c"/bin/true", &[c"true".into()], &environment))
                    });
                }
                let child = command.spawn().unwrap();
                let mut denials = pending.receive().unwrap();
                serve(&mut denials, &child);
                wait(child);
            }));
        }
    }
    let base = Spread::of(&bare);
    println!("bare: {base:?}");
    for (index, (name, ..)) in lanes.into_iter().enumerate() {
        let over = Spread::of(&inside[index]).over(&base);
        planned[index].sort();
        let planned = (planned[index][rounds / 2], planned[index][0]);
        println!("{name} over bare: {over:?}; planned in {planned:?}");
    }
}

/// The median and the least, on the clock and of processors.
#[derive(Debug)]
struct Spread {
    clock: (Duration, Duration),
    processors: (Duration, Duration),
}

impl Spread {
    fn of(all: &[(Duration, Duration)]) -> Self {
        let (mut clock, mut processors): (Vec<_>, Vec<_>) = all.iter().copied().unzip();
        clock.sort();
        processors.sort();
        let two = |all: &[Duration]| (all[all.len() / 2], all[0]);
        Self { clock: two(&clock), processors: two(&processors) }
    }

    fn over(&self, base: &Self) -> Self {
        let less = |a: (Duration, Duration), b: (Duration, Duration)| {
            (a.0.saturating_sub(b.0), a.1.saturating_sub(b.1))
        };
        Self {
            clock: less(self.clock, base.clock),
            processors: less(self.processors, base.processors),
        }
    }
}

/// Forked and not spawned, as a supervisor does it.
fn command(directory: &std::path::Path) -> Command {
    let mut command = Command::new("/bin/true");
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: it does nothing.
    unsafe { command.pre_exec(|| Ok(())) };
    command
}

fn serve(denials: &mut stigmer_guard::Denials, child: &Child) {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap();
    let mut wanted = PollFlags::IN;
    loop {
        let mut polled =
            [PollFd::new(&ended, PollFlags::IN), PollFd::new(&*denials, PollFlags::IN)];
        let count = if wanted.is_empty() { 1 } else { 2 };
        poll(&mut polled[..count], None).unwrap();
        let [over, asked] = polled.map(|polled| polled.revents());
        if asked.contains(PollFlags::IN) {
            denials.answer().unwrap();
        } else if !over.is_empty() {
            return;
        } else if asked.contains(PollFlags::HUP) {
            wanted = PollFlags::empty();
        }
    }
}

fn wait(mut child: Child) {
    assert!(child.wait().unwrap().success());
}

/// How long it took: on the clock, and of processors.
fn time(run: impl FnOnce()) -> (Duration, Duration) {
    let (began, used) = (Instant::now(), processors());
    run();
    let clock = began.elapsed();
    // Namespaces are taken apart when the command has ended already.
    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    (clock, processors().saturating_sub(used))
}

/// What this process and its children have used so far.
fn processors() -> Duration {
    let used = |who| {
        // SAFETY: all bits of the structure may be zero, and the kernel writes it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(who, &raw mut usage);
            usage
        };
        let time = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec.unsigned_abs())
                + Duration::from_micros(time.tv_usec.unsigned_abs())
        };
        time(usage.ru_utime) + time(usage.ru_stime)
    };
    used(libc::RUSAGE_SELF) + used(libc::RUSAGE_CHILDREN)
}
