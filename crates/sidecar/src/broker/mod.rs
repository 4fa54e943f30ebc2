//! Package managers of the system, for commands that may not run them.
//!
//! ```text
//!  command ── apt-get, a link to this program ── socket ── process 1 ── a child for each ── apt-get
//!  as the caller          (shim)                             as root      (serve)           as root
//! ```
//!
//! A shim hands over its arguments, environment, directory and standard streams; what the real
//! program leaves in the workspace is then given to the caller. Process 1 only takes connections in:
//! what is said on them is read by a child.

mod clean_up;
mod hand_back;
mod programs;
mod request;
mod serve;
mod shim;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use crate::arguments::Init;
use crate::container::signals::Signals;

pub(crate) use programs::{PROGRAMS, find_program};
pub(crate) use shim::{called_as, run as run_shim};

/// Where the shims are: first on the path of every command.
pub(crate) const SHIMS: &str = "/.stigmer/bin";

/// Where process 1 is asked.
const SOCKET: &str = "/.stigmer/run/broker";

/// Package managers at once: they wait for each other's locks anyway. Others wait to be taken in.
const MAX_CHILDREN: usize = 32;

/// What takes requests in.
pub(crate) struct Broker {
    listener: UnixListener,
    owner: Owner,
    children: Vec<Child>,
    /// The child that cleans up, if one does.
    cleaner: Option<Pid>,
    /// Since when there is to be cleaned up after children that were killed.
    unclean: Option<SystemTime>,
}

/// A child that looks after a package manager.
#[derive(Clone, Copy)]
struct Child {
    pid: Pid,
    began: SystemTime,
}

/// Exit codes of children.
const DONE: i32 = 0;
const FAILED: i32 = 1;

/// Whose the workspace is.
struct Owner {
    uid: u32,
    gid: u32,
    root: PathBuf,
}

impl Broker {
    /// Listens; nothing if this is not root, or the image has no package manager.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn listen(wanted: &Init) -> io::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() || !programs::has_any() {
            return Ok(None);
        }
        if let Some(directory) = Path::new(SOCKET).parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        match fs::remove_file(SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(SOCKET)?;
        // Every user of the container may ask.
        fs::set_permissions(SOCKET, Permissions::from_mode(0o666))?;
        listener.set_nonblocking(true)?;
        let owner = Owner { uid: wanted.uid, gid: wanted.gid, root: wanted.root.clone() };
        Ok(Some(Self { listener, owner, children: Vec::new(), cleaner: None, unclean: None }))
    }

    /// Names the workspace, whose files are given back to the caller.
    pub(crate) fn work_in(&mut self, root: &Path) {
        self.owner.root = root.to_owned();
    }

    /// What becomes readable when somebody asks; nothing while there are as many as there may be, or
    /// it is being cleaned up, which would take new ones for what was left.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.takes_in().then(|| self.listener.as_fd())
    }

    fn takes_in(&self) -> bool {
        self.children.len() < MAX_CHILDREN && self.cleaner.is_none() && self.unclean.is_none()
    }

    /// Takes in whoever asks. Does not wait.
    pub(crate) fn accept(&mut self, signals: &Signals) {
        while self.takes_in() {
            let Ok((connection, _)) = self.listener.accept() else { return };
            let began = SystemTime::now();
            // Out of processes: the shim sees its connection close.
            let child = fork(|| serve::serve(connection, &self.owner, signals));
            self.children.extend(child.map(|pid| Child { pid, began }));
        }
    }

    /// Notes that a child has ended, if it is one of these. One that was killed has not ended what it
    /// looked after.
    ///
    /// # Errors
    /// In words, if that cannot be made good: the container has to end.
    pub(crate) fn ended(&mut self, pid: Pid, status: WaitStatus) -> Result<(), &'static str> {
        let is_done = status.exit_status() == Some(DONE);
        if self.cleaner == Some(pid) {
            self.cleaner = None;
            return if is_done {
                Ok(())
            } else {
                Err("what a package manager left cannot be ended")
            };
        }
        let Some(at) = self.children.iter().position(|child| child.pid == pid) else {
            return Ok(());
        };
        let child = self.children.swap_remove(at);
        if !is_done {
            let before = self.unclean.unwrap_or(child.began);
            self.unclean = Some(before.min(child.began));
        }
        Ok(())
    }

    /// Kills a child that is stopped: nobody looks after what it looked after.
    pub(crate) fn stopped(&self, pid: Pid) {
        if self.cleaner == Some(pid) || self.children.iter().any(|child| child.pid == pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Has what a killed child left cleaned up, one child at a time.
    ///
    /// # Errors
    /// In words, if there can be no such child: the container has to end.
    pub(crate) fn clean_up(&mut self, server: Option<Pid>) -> Result<(), &'static str> {
        let Some(since) = self.unclean.filter(|_| self.cleaner.is_none()) else { return Ok(()) };
        self.unclean = None;
        let process_1 = rustix::process::getpid();
        let mut spared: Vec<Pid> = self.children.iter().map(|child| child.pid).collect();
        spared.extend(server);
        self.cleaner = fork(|| {
            let _ = rustix::thread::set_name(c"stigmer-cleaner");
            spared.push(rustix::process::getpid());
            let is_clean = clean_up::kill_strangers(process_1, self.owner.uid, &spared);
            hand_back::hand_back(&self.owner, since);
            is_clean
        });
        let out = "what a package manager left cannot be ended: there are too many processes";
        self.cleaner.map(drop).ok_or(out)
    }

    /// Ends all that run.
    pub(crate) fn end(&self) {
        for child in &self.children {
            let _ = kill_process(child.pid, Signal::TERM);
        }
    }

    /// Whether any runs.
    pub(crate) fn is_busy(&self) -> bool {
        !self.children.is_empty() || self.cleaner.is_some() || self.unclean.is_some()
    }
}

/// Has a child do something and end, with a code that says whether it did; nothing if there can be
/// none.
fn fork(work: impl FnOnce() -> bool) -> Option<Pid> {
    // SAFETY: there is one thread, so the child is a whole copy.
    match unsafe { libc::fork() } {
        -1 => None,
        0 => {
            // A panic must not unwind into process 1's own stack.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let code = if matches!(done, Ok(true)) { DONE } else { FAILED };
            // SAFETY: `_exit` takes a number and does not return.
            unsafe { libc::_exit(code) }
        }
        pid => Pid::from_raw(pid),
    }
}
