//! A unix socket that nobody but its owner can reach, from its first moment on.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};
use tokio::net::UnixListener;

/// The longest path of a socket (`unix(7)`), without its end mark.
const MAX_PATH_BYTES: usize = 107;

/// The file of a socket. It goes when this is dropped, unless another server has its place by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if same {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, in a directory that is ours alone to write to; it is made if it is missing. A
/// socket that nobody listens on is replaced, and nothing else.
///
/// # Errors
/// `busy` if a server listens there; `exists` if something else is there; `permission_denied` if
/// the directory is not ours, or others may write to it; `invalid_argument` for a path that is too
/// long for a socket.
pub fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile)> {
    let name = ByteString::from(path);
    let fail = |operation: &str, error: io::Error| ToolError::from_io(operation, &name, &error);
    if path.as_os_str().len() > MAX_PATH_BYTES {
        let length = path.as_os_str().len();
        return Err(ToolError::invalid_argument(
            "socket",
            format!("{name} has {length} bytes, and a socket's path at most {MAX_PATH_BYTES}"),
        ));
    }
    let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else {
        return Err(ToolError::invalid_argument("socket", format!("{name} names no file")));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let directory = own_directory(parent)?;
    // Two that start at once look one after the other.
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)
        .map_err(|error| fail("lock the directory of", error.into()))?;
    check_place(path, &name)?;

    let nonce = std::process::id();
    let staging = parent.join(format!(".{nonce}.stigmer-socket"));
    let _ = std::fs::remove_dir_all(&staging);
    DirBuilder::new().mode(0o700).create(&staging).map_err(|error| fail("make", error))?;
    let bound = bind_staged(&staging, &directory, file);
    let _ = std::fs::remove_dir_all(&staging);
    let listener = bound.map_err(|error| fail("listen at", error))?;

    let found = std::fs::symlink_metadata(path).map_err(|error| fail("look at", error))?;
    let identity = (found.dev(), found.ino());
    let listener = UnixListener::from_std(listener).map_err(|error| fail("listen at", error))?;
    Ok((listener, SocketFile { path: path.to_owned(), identity }))
}

/// Binds where nobody else can look, then moves the socket to its place.
fn bind_staged(
    staging: &Path,
    directory: &impl std::os::fd::AsFd,
    file: &std::ffi::OsStr,
) -> io::Result<StdListener> {
    let staged = rustix::fs::open(
        staging,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    // The staging directory's own path may be too long for a socket.
    let short = PathBuf::from(format!("/proc/self/fd/{}/s", staged.as_raw_fd()));
    let listener = StdListener::bind(&short)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&listener, super::BACKLOG)?;
    rustix::fs::renameat(&staged, "s", directory, file)?;
    Ok(listener)
}

/// Opens the directory, and makes sure that it is ours and nobody else may write to it.
fn own_directory(parent: &Path) -> Result<std::os::fd::OwnedFd> {
    let name = ByteString::from(parent);
    let fail = |operation: &str, error: io::Error| ToolError::from_io(operation, &name, &error);
    match DirBuilder::new().mode(0o700).recursive(true).create(parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(fail("make", error));
        }
        _ => {}
    }
    let directory = rustix::fs::open(
        parent,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| fail("open", error.into()))?;
    let stat = rustix::fs::fstat(&directory).map_err(|error| fail("look at", error.into()))?;
    let us = rustix::process::geteuid().as_raw();
    if stat.st_uid != us || stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(ToolError::new(
            ErrorCode::PermissionDenied,
            format!(
                "{name}: a socket needs a directory that only its user may write to; this one belongs to user {} and has mode {mode:04o}",
                stat.st_uid
            ),
        )
        .with_hint("choose a directory of your own with mode 0700"));
    }
    Ok(directory)
}

/// Makes sure that a socket may be put at `path`: nothing is there, or a socket that nobody listens
/// on any more.
fn check_place(path: &Path, name: &ByteString) -> Result<()> {
    let fail = |operation: &str, error: io::Error| ToolError::from_io(operation, name, &error);
    let kind = match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(fail("look at", error.into())),
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
    };
    if kind != FileType::Socket {
        return Err(ToolError::exists(name).with_hint("it is no socket; choose another path"));
    }
    let address = SocketAddrUnix::new(path).map_err(|error| fail("look at", error.into()))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| fail("look at", error.into()))?;
    match rustix::net::connect(&probe, &address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        // Taken, or so busy that its queue is full.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => {
            Err(ToolError::new(ErrorCode::Busy, format!("{name}: a server is listening there"))
                .with_hint("`stigmer server status` says which; stop it, or choose another path"))
        }
        Err(error) => Err(fail("look at", error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn private() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        directory
    }

    #[tokio::test]
    async fn a_socket_is_its_users_alone_and_goes_with_its_server() {
        let directory = private();
        let path = directory.path().join("made/s");
        let (_listener, file) = bind_unix(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let parent = path.parent().unwrap();
        assert_eq!(std::fs::metadata(parent).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1, "nothing else is left");
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_socket_is_never_touched_and_a_dead_one_is_replaced() {
        let directory = private();
        let path = directory.path().join("s");
        let (listener, file) = bind_unix(&path).unwrap();
        let error = bind_unix(&path).unwrap_err();
        assert_eq!(error.code, ErrorCode::Busy);
        assert!(error.message.contains("/s"));
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(path.exists(), "the server died without removing it");
        let (_listener, _file) = bind_unix(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = private();
        let path = directory.path().join("s");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(bind_unix(&path).unwrap_err().code, ErrorCode::Exists);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let link = directory.path().join("l");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(bind_unix(&link).unwrap_err().code, ErrorCode::Exists);
    }

    #[tokio::test]
    async fn a_directory_that_others_may_write_to_is_refused() {
        let directory = private();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = bind_unix(&directory.path().join("s")).unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
        assert!(error.message.contains("0777"));
    }

    #[tokio::test]
    async fn a_path_that_no_client_could_use_is_refused() {
        let path = Path::new("/tmp").join("x".repeat(110));
        assert_eq!(bind_unix(&path).unwrap_err().code, ErrorCode::InvalidArgument);
    }
}
