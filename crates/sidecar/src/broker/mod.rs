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

mod hand_back;
mod programs;
mod request;
mod serve;
mod shim;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

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
    children: Vec<Pid>,
}

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
        Ok(Some(Self { listener, owner, children: Vec::new() }))
    }

    /// Names the workspace, whose files are given back to the caller.
    pub(crate) fn work_in(&mut self, root: &Path) {
        self.owner.root = root.to_owned();
    }

    /// What becomes readable when somebody asks; nothing while there are as many as there may be.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        (self.children.len() < MAX_CHILDREN).then(|| self.listener.as_fd())
    }

    /// Takes in whoever asks. Does not wait.
    pub(crate) fn accept(&mut self, signals: &Signals) {
        while self.children.len() < MAX_CHILDREN {
            let Ok((connection, _)) = self.listener.accept() else { return };
            self.fork(connection, signals);
        }
    }

    fn fork(&mut self, connection: UnixStream, signals: &Signals) {
        // SAFETY: there is one thread, so the child is a whole copy.
        match unsafe { libc::fork() } {
            // Out of processes: the shim sees its connection close.
            -1 => {}
            0 => {
                // A panic must not unwind into process 1's own stack.
                let serve = || serve::serve(connection, &self.owner, signals);
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve));
                // SAFETY: `_exit` takes a number and does not return.
                unsafe { libc::_exit(0) }
            }
            pid => self.children.extend(Pid::from_raw(pid)),
        }
    }

    /// Notes that a child has ended, if it is one of these.
    pub(crate) fn ended(&mut self, pid: Pid) {
        self.children.retain(|child| *child != pid);
    }

    /// Ends all that run.
    pub(crate) fn end(&self) {
        for child in &self.children {
            let _ = kill_process(*child, Signal::TERM);
        }
    }

    /// Whether any runs.
    pub(crate) fn is_busy(&self) -> bool {
        !self.children.is_empty()
    }
}
