//! The keeper: mounts directories of its user's in containers that wait for them.
//!
//! It has the right to mount and sees nothing that it could mount: no file of this machine but its
//! program and the directory of its socket. Whoever asks brings the descriptors.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::process::{WaitOptions, wait};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{admit, receive, send};
use crate::arguments::Keep;
use crate::container::signals::Signals;
use crate::{ITSELF, say};

/// Claims at once: more wait to be taken in.
const MOST_CHILDREN: usize = 8;

/// A request's one byte: to mount, or to say that somebody needs the keeper.
const MOUNT: u8 = b'm';
const STAY: u8 = b's';

/// What comes with a request to mount: the mounts of whoever asks, two directories in them, the mounts
/// of the container, and two directories in those.
const DESCRIPTORS: usize = 6;

/// Where every container of ours has this program.
const SIDECAR: &str = "/.stigmer/sidecar";

/// Where a container of ours waits. It has no need of it then, and is left with the mounts that every
/// container has.
const POOL: &str = "/.stigmer/pool";

/// Is the keeper until it is told to end, or nobody needed it for its time to live.
pub(crate) fn run(wanted: &Keep) -> ExitCode {
    match keep(wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("cannot keep mounts: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn keep(wanted: &Keep) -> io::Result<()> {
    let signals = Signals::hold(&[libc::SIGTERM, libc::SIGINT, libc::SIGCHLD])?;
    match fs::remove_file(&wanted.socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&wanted.socket)?;
    // Who gets to it is settled by the directory that it is in, and by who the kernel says it is.
    fs::set_permissions(&wanted.socket, Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    say(&format!("listening on unix:{}", wanted.socket.display()));
    let (mut children, mut used) = (0, Instant::now());
    loop {
        let left = wanted.ttl.map(|ttl| ttl.saturating_sub(used.elapsed()));
        if left == Some(Duration::ZERO) && children == 0 {
            return Ok(());
        }
        let mut polled = vec![PollFd::new(signals.descriptor(), PollFlags::IN)];
        if children < MOST_CHILDREN {
            polled.push(PollFd::new(&listener, PollFlags::IN));
        }
        // A child's end wakes it, too.
        let left =
            left.filter(|left| !left.is_zero()).and_then(|left| Timespec::try_from(left).ok());
        let _ = poll(&mut polled, left.as_ref());
        if signals.take().iter().any(|signal| *signal != libc::SIGCHLD) {
            return Ok(());
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {
            children = children.saturating_sub(1);
        }
        while children < MOST_CHILDREN {
            let Ok((connection, _)) = listener.accept() else { break };
            if admit(&connection, wanted.owner).is_err() {
                continue;
            }
            used = Instant::now();
            // SAFETY: there is one thread, so the child is a whole copy.
            match unsafe { libc::fork() } {
                -1 => {}
                0 => {
                    let serve = || serve(&connection);
                    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve));
                    // SAFETY: `_exit` takes a number and does not return.
                    unsafe { libc::_exit(0) }
                }
                _ => children += 1,
            }
        }
    }
}

/// Answers one request, in a process of its own: it changes its mounts.
fn serve(connection: &UnixStream) {
    let mut kind = [0];
    let Ok((1, descriptors)) = receive(connection, &mut kind) else { return };
    let done = match (kind[0], <[OwnedFd; DESCRIPTORS]>::try_from(descriptors)) {
        (MOUNT, Ok(descriptors)) => hand_over(&descriptors),
        (STAY, Err(none)) if none.is_empty() => Ok(()),
        _ => Err(Step::Understand.failed(io::Error::from_raw_os_error(libc::EINVAL))),
    };
    let (step, number) = match done {
        Ok(()) => (0, 0),
        Err(Failed { step, error }) => (step as u8, error.raw_os_error().unwrap_or(libc::EIO)),
    };
    let mut answer = [step, 0, 0, 0, 0];
    answer[1..].copy_from_slice(&number.to_le_bytes());
    let _ = send(connection, &answer, &[]);
}

/// What is done, in this order. The number is in the answer.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Understand = 1,
    /// Entering the mounts of whoever asks.
    Caller = 2,
    /// Taking a directory out of them.
    Take = 3,
    /// Entering the container's mounts.
    Container = 4,
    /// Making sure that it is a container of ours.
    Recognize = 5,
    /// Mounting there.
    Mount = 6,
    /// Taking away where it waited.
    Unmount = 7,
}

struct Failed {
    step: Step,
    error: io::Error,
}

impl Step {
    fn failed(self, error: impl Into<io::Error>) -> Failed {
        Failed { step: self, error: error.into() }
    }
}

fn hand_over(descriptors: &[OwnedFd; DESCRIPTORS]) -> Result<(), Failed> {
    let [caller, root, shared, container, root_target, shared_target] = descriptors;
    let own = identity(rustix::fs::open(ITSELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()));
    let own = own.map_err(|error| Step::Recognize.failed(error))?;
    enter(caller).map_err(|error| Step::Caller.failed(error))?;
    let mut trees = Vec::with_capacity(2);
    for directory in [root, shared] {
        trees.push(take(directory.as_fd()).map_err(|error| Step::Take.failed(error))?);
    }
    enter(container).map_err(|error| Step::Container.failed(error))?;
    // A container of ours has this very program in its place; this machine does not.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match identity(rustix::fs::open(SIDECAR, flags, Mode::empty())) {
        Ok(theirs) if theirs == own => {}
        Ok(_) => return Err(Step::Recognize.failed(io::Error::from_raw_os_error(libc::EPERM))),
        Err(error) => return Err(Step::Recognize.failed(error)),
    }
    for (tree, target) in trees.iter().zip([root_target, shared_target]) {
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree, "", target, "", flags).map_err(|error| Step::Mount.failed(error))?;
    }
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    unmount(POOL, flags).map_err(|error| Step::Unmount.failed(error))
}

fn enter(mounts: &OwnedFd) -> rustix::io::Result<()> {
    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))
}

fn identity(file: rustix::io::Result<OwnedFd>) -> rustix::io::Result<(u64, u64)> {
    let found = rustix::fs::fstat(file?)?;
    Ok((found.st_dev, found.st_ino))
}

/// A copy of a directory's mount and of all beneath it, as an engine's bind mount is one: nothing that
/// is mounted on the one side later appears on the other.
fn take(directory: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(directory, "", flags)?;
    let private = MountAttributes { set: 0, clear: 0, propagation: libc::MS_PRIVATE, user: 0 };
    let flags = AtFlags::EMPTY_PATH.bits() | OpenTreeFlags::AT_RECURSIVE.bits();
    // SAFETY: the structure and the empty name live until the call returns, which changes neither.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            std::os::fd::AsRawFd::as_raw_fd(&tree),
            c"".as_ptr(),
            flags,
            &raw const private,
            size_of::<MountAttributes>(),
        )
    };
    match done {
        0 => Ok(tree),
        _ => Err(rustix::io::Errno::from_io_error(&io::Error::last_os_error())
            .unwrap_or(rustix::io::Errno::IO)),
    }
}

/// `struct mount_attr` (`mount_setattr(2)`).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: libc::c_ulong,
    user: u64,
}
