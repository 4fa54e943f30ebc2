//! What a lane costs: `true` bare and in each lane, one after the other, many times over. Time on the
//! clock, and time of processors, which says more on a machine that is busy.
//!
//! `cargo run --release -p stigmer-guard --example cost [ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers that prints what it measured"
)]

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use stigmer_guard::{Begun, Denials, HostLane, Policy, Probe, Start, Waiting, plan};

/// So long nothing happens before a command: what is made ahead is ready then.
const PAUSE: Duration = Duration::from_millis(2);

/// Rounds in one process. A supervisor has one command: what many leave in memory would make forks slower.
const BATCH: usize = 4;

const LANES: [(&str, HostLane, bool); 3] = [
    ("read-only", HostLane::ReadOnly, false),
    ("workspace", HostLane::Workspace, false),
    ("workspace, its process made ahead,", HostLane::Workspace, true),
];

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("batch") => batch(),
        rounds => all(rounds.map_or(500, |text| text.parse().unwrap())),
    }
}

/// Measures in processes of its own.
fn all(rounds: usize) {
    println!("{:?}", Probe::take());
    let mut columns: Vec<Vec<Duration>> = Vec::new();
    for _ in 0..rounds.div_ceil(BATCH) {
        let out = Command::new("/proc/self/exe").arg("batch").output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        for line in String::from_utf8(out.stdout).unwrap().lines() {
            let numbers =
                line.split(' ').map(|number| Duration::from_nanos(number.parse().unwrap()));
            columns.resize(line.split(' ').count(), Vec::new());
            columns.iter_mut().zip(numbers).for_each(|(column, number)| column.push(number));
        }
    }
    let spread = |at: usize| {
        let two = columns[at].iter().copied().zip(columns[at + 1].iter().copied());
        Spread::of(&two.collect::<Vec<_>>())
    };
    let base = spread(0);
    println!("bare: {base:?}");
    for (index, (name, ..)) in LANES.into_iter().enumerate() {
        let over = spread(2 + 3 * index).over(&base);
        let planned = &mut columns[4 + 3 * index].clone();
        planned.sort();
        let planned = (planned[planned.len() / 2], planned[0]);
        println!("{name} over bare: {over:?}; planned in {planned:?}");
    }
}

/// Some rounds; a line of nanoseconds for each.
fn batch() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = Policy::new(directory.path(), variables);
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    // What the workspace lane leaves for a moment is counted, too.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    // The first of all pays for what is not in memory yet.
    wait(command(directory.path()).spawn().unwrap());
    for _ in 0..BATCH {
        std::thread::sleep(PAUSE);
        let (clock, processors) = time(|| wait(command(directory.path()).spawn().unwrap()));
        let mut line = format!("{} {}", clock.as_nanos(), processors.as_nanos());
        for (_, lane, ahead) in LANES {
            let waiting = ahead.then(|| Waiting::make(lane).unwrap());
            let mut planned = Duration::ZERO;
            let (clock, processors) = time(|| {
                let began = Instant::now();
                let plan = plan(lane, &policy, &Probe::for_lane(lane)).unwrap();
                planned = began.elapsed();
                let waiting = waiting.unwrap_or_else(|| Waiting::make(lane).unwrap());
                let start = Start {
                    program: c"/bin/true",
                    arguments: &[c"true".into()],
                    stdio: [null.as_fd(); 3],
                    prepare: &|| Ok(()),
                };
                let Begun { pid, mut denials } = plan.begin(waiting, &start).unwrap().unwrap();
                assert_eq!(serve(&mut denials, pid), 0);
                denials.ended();
            });
            let of = [clock, processors, planned].map(|time| time.as_nanos());
            line += &format!(" {} {} {}", of[0], of[1], of[2]);
        }
        println!("{line}");
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

fn serve(denials: &mut Denials, pid: Pid) -> i32 {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{PidfdFlags, WaitOptions, pidfd_open, waitpid};
    let ended = pidfd_open(pid, PidfdFlags::empty()).unwrap();
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
            return waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap().1.as_raw();
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
