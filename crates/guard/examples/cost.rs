//! What a lane costs: `true` bare and in each lane, one after the other, many times over.
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

use stigmer_guard::{HostLane, Policy, Probe, plan};

fn main() {
    let rounds = std::env::args().nth(1).map_or(500, |text| text.parse().unwrap());
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let policy = Policy::new(directory.path(), variables);
    let probe = Probe::take();
    println!("{probe:?}");
    let lanes = [HostLane::ReadOnly, HostLane::Workspace];
    let mut bare = Vec::new();
    let mut inside = [Vec::new(), Vec::new()];
    let mut planned = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        bare.push(time(|| wait(command(directory.path()).spawn().unwrap())));
        for (index, lane) in lanes.into_iter().enumerate() {
            inside[index].push(time(|| {
                let began = Instant::now();
                let plan = plan(lane, &policy, &probe).unwrap();
                let (entry, pending) = plan.entry().unwrap();
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
    let base = median(&mut bare);
    println!("bare {base:?}");
    for (index, lane) in lanes.into_iter().enumerate() {
        let (whole, planned) = (median(&mut inside[index]), median(&mut planned[index]));
        println!(
            "{lane} {whole:?}, {:?} over bare, of which planned {planned:?}",
            whole.saturating_sub(base)
        );
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

fn time(run: impl FnOnce()) -> Duration {
    let began = Instant::now();
    run();
    began.elapsed()
}

fn median(all: &mut [Duration]) -> Duration {
    all.sort();
    all[all.len() / 2]
}
