//! The directory that is shared with a container. Whatever is in it the container may have put
//! there: no link is followed, nothing is waited for.

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};
use tokio::net::UnixStream;

use crate::options::Owner;

/// The directory's name in a workspace's place, and the socket's in it.
const SHARED: &str = "shared";
const SOCKET: &str = "socket";

/// The directory of a pool's container that is being taken for the workspace, in its place.
const CLAIMED: &str = "claimed";

/// What a shared directory is called that could not be used any more, before a number.
const ASIDE: &str = "shared-aside-";

/// What a place is called that could not be removed.
const LEFT: &str = "left-";

/// A workspace's place on this machine, of which one directory is shared.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: PathBuf,
    owner: Owner,
}

impl Place {
    pub(crate) fn new(state: &Path, workspace: &stigmer_core::WorkspaceId, owner: Owner) -> Self {
        Self { path: state.join(workspace.as_str()), owner }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn shared(&self) -> PathBuf {
        self.path.join(SHARED)
    }

    /// What is here of a container that is being taken out of the pool, and no longer than that.
    pub(crate) fn claimed(&self) -> PathBuf {
        self.path.join(CLAIMED)
    }

    /// Makes the directories, for the owner and nobody else.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn make(&self) -> Result<()> {
        let parent = self.path.parent().unwrap_or(&self.path);
        let all = || {
            DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
            make_directory(&self.path, self.owner)?;
            match make_directory(&self.shared(), self.owner) {
                // Root of a container can make it root's. The directory around it is ours.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.put_aside()?;
                    make_directory(&self.shared(), self.owner)
                }
                other => other,
            }
        };
        all().map_err(|error| ToolError::from_io("make", &self.path.clone().into(), &error))
    }

    /// Takes away the socket of a container that is gone, whatever it is.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn clear_socket(&self) -> Result<()> {
        let path = self.shared();
        let clear = || -> io::Result<()> {
            let directory = open(&path)?;
            match rustix::fs::unlinkat(&directory, SOCKET, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                // Whatever is in it, it can be put aside.
                Err(rustix::io::Errno::ISDIR) => {
                    let aside = format!("{SOCKET}.{}", nanoseconds());
                    Ok(rustix::fs::renameat(&directory, SOCKET, &directory, aside)?)
                }
                Err(error) => Err(error.into()),
            }
        };
        clear().map_err(|error| ToolError::from_io("clear", &path.clone().into(), &error))
    }

    /// Removes everything.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn remove(&self) -> Result<()> {
        let mut all = vec![self.shared()];
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(ASIDE.as_bytes()) {
                all.push(entry.path());
            }
        }
        for path in all {
            remove_tree(&path).map_err(|error| {
                ToolError::from_io("remove", &ByteString::from(path.as_path()), &error)
            })?;
        }
        Ok(())
    }

    /// Gives the directory another name, so that another one can have its own.
    fn put_aside(&self) -> io::Result<()> {
        std::fs::rename(self.shared(), self.path.join(format!("{ASIDE}{}", nanoseconds())))
    }

    /// Gives all of it a name that no workspace has; returns that.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn leave(&self) -> io::Result<PathBuf> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let left = self.path.with_file_name(format!("{LEFT}{name}-{}", nanoseconds()));
        std::fs::rename(&self.path, &left)?;
        Ok(left)
    }

    /// Connects to the sidecar's socket.
    ///
    /// # Errors
    /// `permission_denied` if what is there is no socket, or whose server is another user's;
    /// `unavailable` if nobody listens.
    pub(crate) async fn connect(&self) -> Result<UnixStream> {
        let path = self.shared().join(SOCKET);
        let failed = |error: &io::Error| {
            let message = format!("{}: cannot connect: {error}", path.display());
            ToolError::new(ErrorCode::Unavailable, message)
        };
        let hostile = |what: &str| {
            let message = format!("{}: {what}", path.display());
            ToolError::new(ErrorCode::PermissionDenied, message)
                .with_detail("path", ByteString::from(path.as_path()))
                .with_hint("a program in the container tampers with it: `stigmer workspace recover` makes a new container")
        };
        let socket = match self.socket() {
            Ok(socket) => socket,
            Err(error) => return Err(failed(&error)),
        };
        let kind = rustix::fs::fstat(&socket).map_err(|error| failed(&error.into()))?;
        if FileType::from_raw_mode(kind.st_mode) != FileType::Socket {
            return Err(hostile("is no socket"));
        }
        // The descriptor's own name: it is what was looked at, and it is short enough for a socket.
        let name = format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd());
        let stream = UnixStream::connect(name).await.map_err(|error| failed(&error))?;
        let peer = stream.peer_cred().map_err(|error| failed(&error))?.uid();
        if peer != self.owner.uid {
            return Err(hostile(&format!(
                "the server runs as user {peer}, not as {}",
                self.owner.uid
            )));
        }
        Ok(stream)
    }

    fn socket(&self) -> io::Result<OwnedFd> {
        let directory = open(&self.shared())?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(directory, SOCKET, flags, Mode::empty())?)
    }
}

/// Makes a directory, for the owner and nobody else; one that is there is taken as it is.
///
/// # Errors
/// What the operating system says.
pub(crate) fn make_directory(path: &Path, owner: Owner) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let directory = open(path)?;
    let uid = File::from(directory.try_clone()?).metadata()?.uid();
    if uid != owner.uid {
        // Only root may; anybody else has no business here.
        let uid = rustix::fs::Uid::from_raw(owner.uid);
        let gid = rustix::fs::Gid::from_raw(owner.gid);
        rustix::fs::fchown(&directory, Some(uid), Some(gid))?;
    }
    Ok(())
}

/// Removes a tree without following links, however deep it is: one directory is open at a time. The
/// container that could change something is gone. One that is not there is a success.
fn remove_tree(top: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(top) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(about) if !about.is_dir() => return std::fs::remove_file(top),
        _ => {}
    }
    // Paths become longer than the kernel takes, so deep directories come up into the top one.
    let mut number = nanoseconds();
    loop {
        let mut is_empty = true;
        for entry in read(top)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                std::fs::remove_file(entry.path())?;
                continue;
            }
            let directory = entry.path();
            for inner in read(&directory)? {
                let inner = inner?;
                if inner.file_type()?.is_dir() {
                    is_empty = false;
                    number += 1;
                    // Renaming a directory writes into it.
                    let _ = std::fs::set_permissions(inner.path(), Permissions::from_mode(0o700));
                    std::fs::rename(inner.path(), top.join(format!("{UP}{number}")))?;
                } else {
                    std::fs::remove_file(inner.path())?;
                }
            }
            std::fs::remove_dir(&directory)?;
        }
        if is_empty {
            return std::fs::remove_dir(top);
        }
    }
}

/// Before the number of a directory that came up.
const UP: &str = ".stigmer-removed-";

/// A number that nobody has guessed.
fn nanoseconds() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// Reads a directory that a command may have closed. Nobody changes it meanwhile.
fn read(directory: &Path) -> io::Result<std::fs::ReadDir> {
    let _ = std::fs::set_permissions(directory, Permissions::from_mode(0o700));
    std::fs::read_dir(directory)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use stigmer_core::WorkspaceId;

    use super::*;

    fn place(home: &Path) -> Place {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let place = Place::new(home, &WorkspaceId::from_number(1), Owner { uid, gid });
        place.make().unwrap();
        place
    }

    #[tokio::test]
    async fn only_the_owner_gets_in_and_the_socket_is_reached() {
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path());
        place.make().unwrap();
        for path in [place.path(), &place.shared()] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        assert_eq!(place.connect().await.unwrap_err().code, ErrorCode::Unavailable);
        let _listener = tokio::net::UnixListener::bind(place.shared().join(SOCKET)).unwrap();
        place.connect().await.unwrap();
        place.clear_socket().unwrap();
        place.clear_socket().unwrap();
        assert_eq!(place.connect().await.unwrap_err().code, ErrorCode::Unavailable);
        place.remove().unwrap();
        place.remove().unwrap();
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_for_a_socket_is_none_to_us() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let place = place(&deep);
        let short = home.path().join("s");
        let _listener = tokio::net::UnixListener::bind(&short).unwrap();
        std::fs::rename(short, place.shared().join(SOCKET)).unwrap();
        place.connect().await.unwrap();
    }

    #[tokio::test]
    async fn what_the_container_puts_in_the_sockets_place_does_no_harm() {
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path());
        let path = place.shared().join(SOCKET);
        let elsewhere = home.path().join("elsewhere");
        let _listener = tokio::net::UnixListener::bind(&elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert_eq!(place.connect().await.unwrap_err().code, ErrorCode::PermissionDenied, "link");
        place.clear_socket().unwrap();
        assert!(elsewhere.exists());
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(place.connect().await.unwrap_err().code, ErrorCode::PermissionDenied, "fifo");
        place.clear_socket().unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(place.connect().await.unwrap_err().code, ErrorCode::PermissionDenied, "file");
        place.clear_socket().unwrap();
        std::fs::create_dir_all(path.join("full")).unwrap();
        assert_eq!(place.connect().await.unwrap_err().code, ErrorCode::PermissionDenied, "dir");
        place.clear_socket().unwrap();
        assert_eq!(place.connect().await.unwrap_err().code, ErrorCode::Unavailable, "aside");
    }

    #[test]
    fn however_deep_a_container_nests_its_directories_they_are_removed() {
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path());
        let mut directory = open(&place.shared()).unwrap();
        for level in 0..1500 {
            rustix::fs::mkdirat(&directory, "deep", Mode::RWXU).unwrap();
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
            let next = rustix::fs::openat(&directory, "deep", flags, Mode::empty()).unwrap();
            if level % 500 == 499 {
                let file = rustix::fs::openat(
                    &directory,
                    "file",
                    OFlags::CREATE | OFlags::WRONLY,
                    Mode::RUSR,
                );
                drop(file.unwrap());
                symlink("/", place.shared().join(format!("link{level}"))).unwrap();
                rustix::fs::fchmod(&directory, Mode::empty()).unwrap();
            }
            directory = next;
        }
        place.remove().unwrap();
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_shared_directory_that_may_not_be_opened_is_put_aside() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path());
        // What root of a container can do to it by its owner, its mode does here.
        std::fs::set_permissions(place.shared(), Permissions::from_mode(0o000)).unwrap();
        place.make().unwrap();
        std::fs::write(place.shared().join("file"), "").unwrap();
        let left = place.leave().unwrap();
        assert!(!place.path().exists());
        assert_eq!(std::fs::read_dir(left).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_link_in_place_of_the_directory_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let place = place(home.path());
        std::fs::remove_dir(place.shared()).unwrap();
        let elsewhere = home.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let _listener = tokio::net::UnixListener::bind(elsewhere.join(SOCKET)).unwrap();
        symlink(&elsewhere, place.shared()).unwrap();
        place.connect().await.unwrap_err();
        place.make().unwrap_err();
        place.clear_socket().unwrap_err();
        assert!(elsewhere.join(SOCKET).exists());
    }
}
