//! A supervisor that is stopped hides no other command.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};
use stigmer_core::ToolExecutor;
use stigmer_core::process::{Lifetime, ProcessState, SignalRequest, StartProcess};
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};

/// Commands whose supervisors are stopped.
const STOPPED: usize = 8;

/// Supervisors are forked before there are threads, so it has a `main` of its own.
fn main() {
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(3)).unwrap());
    let trials = vec![Trial::test("stopped_supervisors_hide_no_command", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(stopped_supervisors_hide_no_command(launcher));
        Ok::<(), Failed>(())
    })];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

async fn stopped_supervisors_hide_no_command(launcher: Arc<Launcher>) {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("w");
    std::fs::create_dir(&root).unwrap();
    let processes = ProcessOptions { launcher: Some(launcher), ..ProcessOptions::default() };
    let options = HostOptions { processes, ..HostOptions::new(root, home.path().join("state")) };
    let executor = HostExecutor::open(options).unwrap();
    let mut stopped = Vec::new();
    for index in 0..=STOPPED {
        let sleep =
            StartProcess { lifetime: Lifetime::Detached, ..StartProcess::shell("sleep 300") };
        let id = executor.start_process(sleep).await.unwrap().id;
        if index < STOPPED {
            let command = executor.process(&id).await.unwrap().pid.unwrap();
            let supervisor = parent(command);
            kill_process(supervisor, Signal::STOP).unwrap();
            stopped.push((id, supervisor));
        }
    }
    // One of them has no room for another connection.
    let name = stopped[0].0.as_str();
    let control = find(home.path(), name).unwrap();
    let waiting = fill(&control);

    let listed = tokio::time::timeout(Duration::from_secs(60), executor.list_processes()).await;
    let listed = listed.unwrap().unwrap();
    drop(waiting);
    for (_, supervisor) in &stopped {
        kill_process(*supervisor, Signal::CONT).unwrap();
    }
    assert_eq!(listed.len(), STOPPED + 1);
    assert!(listed.iter().all(|process| process.state == ProcessState::Running));
    assert_eq!(listed.iter().filter(|process| process.pid.is_some()).count(), 1);
    for process in &listed {
        executor.signal(&process.id, SignalRequest::Cancel).await.unwrap();
    }
}

fn parent(pid: u32) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(") ").unwrap();
    Pid::from_raw(after.split(' ').nth(1).unwrap().parse().unwrap()).unwrap()
}

/// The socket of a process's supervisor, the only one in its directory.
fn find(beneath: &Path, name: &str) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    for entry in std::fs::read_dir(beneath).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_socket() && beneath.ends_with(name) {
            return Some(entry.path());
        }
        if kind.is_dir()
            && let Some(found) = find(&entry.path(), name)
        {
            return Some(found);
        }
    }
    None
}

/// Connects until no more connections are taken.
fn fill(control: &Path) -> Vec<OwnedFd> {
    // A socket's path holds only 107 bytes.
    let directory = std::fs::File::open(control.parent().unwrap()).unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
    let name = control.file_name().unwrap().display();
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{number}/{name}")).unwrap();
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let mut waiting = Vec::new();
    loop {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        match rustix::net::connect(&socket, &address) {
            Ok(()) => waiting.push(socket),
            Err(error) => {
                assert_eq!(error, Errno::AGAIN);
                return waiting;
            }
        }
    }
}
