//! Children that do what they can to outlive their command. Each writes its process id to a file
//! whose name begins with the mark, so that the test can look whether any is left.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};
use std::time::Duration;

/// Every way out that is tried.
pub(crate) const KINDS: &[&str] = &[
    "plain",
    "new_session",
    "daemon",
    "ignores_term",
    "own_group",
    "no_environment",
    "stopped",
    "respawned",
    "forking_chain",
    "own_subreaper",
    "pid_namespace",
];

/// Does it; the command itself then stays, so that its end is its supervisor's doing.
pub(crate) fn run(kind: &str, mark: &Path) -> ! {
    match kind {
        "plain" => fork(|| stay(mark)),
        "new_session" => fork(|| {
            session();
            stay(mark)
        }),
        "daemon" => fork(|| {
            session();
            fork(|| {
                // SAFETY: nothing of this process uses its descriptors after this.
                unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
                stay(mark)
            });
            exit(0)
        }),
        "ignores_term" => fork(|| {
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
                // SAFETY: ignoring a signal installs no handler.
                unsafe { libc::signal(signal, libc::SIG_IGN) };
            }
            session();
            stay(mark)
        }),
        "own_group" => fork(|| {
            // SAFETY: takes two numbers.
            unsafe { libc::setpgid(0, 0) };
            stay(mark)
        }),
        "no_environment" => {
            let me = std::env::current_exe().unwrap();
            let mut child = Command::new(me);
            child.env_clear().arg("--escape").arg("stay").arg(mark);
            fork(|| {
                let error = child.exec();
                panic!("{error}")
            });
        }
        "stay" => stay(mark),
        "stopped" => fork(|| {
            note(mark);
            // SAFETY: takes one number.
            unsafe { libc::raise(libc::SIGSTOP) };
            stay(mark)
        }),
        // A guard that starts another as soon as one dies, each in a session of its own.
        "respawned" => fork(|| {
            session();
            note(mark);
            loop {
                fork(|| {
                    session();
                    note(mark);
                    std::thread::sleep(Duration::from_millis(5));
                    exit(0)
                });
                // SAFETY: a null status is allowed.
                unsafe { libc::wait(std::ptr::null_mut()) };
            }
        }),
        // No process of the chain lives longer than it takes to make the next one, and each is in a
        // session of its own, so that no group can be killed as one.
        "forking_chain" => fork(|| {
            let mut count = 0_u32;
            loop {
                session();
                if count.is_multiple_of(64) {
                    note(mark);
                }
                count += 1;
                // SAFETY: this process has one thread.
                match unsafe { libc::fork() } {
                    0 | -1 => {}
                    // SAFETY: takes a number.
                    _ => unsafe { libc::_exit(0) },
                }
            }
        }),
        "own_subreaper" => fork(|| {
            // SAFETY: takes numbers.
            unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
            session();
            fork(|| {
                session();
                fork(|| stay(mark));
                exit(0)
            });
            stay(mark)
        }),
        "pid_namespace" => fork(|| {
            // SAFETY: takes a number. Where namespaces are not allowed it fails, and the child is
            // a plain one.
            unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) };
            session();
            fork(|| stay(mark));
            stay(mark)
        }),
        other => panic!("no way out is called {other}"),
    }
    note(mark);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn fork(child: impl FnOnce()) {
    // SAFETY: this process has one thread.
    if unsafe { libc::fork() } == 0 {
        child();
        exit(0);
    }
}

fn session() {
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
}

/// Leaves word of this process.
fn note(mark: &Path) {
    let name = format!("{}.{}", mark.display(), own_pid());
    let _ = std::fs::write(name, "");
}

/// The process id as the whole machine knows it, even from a namespace.
fn own_pid() -> String {
    let link = std::fs::read_link("/proc/self").unwrap_or_default();
    link.display().to_string()
}

fn stay(mark: &Path) -> ! {
    note(mark);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
