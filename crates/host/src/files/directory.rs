//! Making directories.

use rustix::fs::Mode;
use rustix::io::Errno;
use stigmer_core::file::{FileKind, MakeDirectory};
use stigmer_core::{Result, ToolError};

use crate::Root;
use crate::root::{Links, kind_of};

/// Makes a directory, with its parents if asked.
pub(crate) fn make_directory(root: &Root, request: MakeDirectory) -> Result<()> {
    let relative = root.relative(&request.path)?;
    let made = match root.spot(&relative, request.parents)? {
        Some(spot) => {
            let mode = Mode::from_raw_mode(0o777);
            rustix::fs::mkdirat(&spot.directory, &spot.name, mode)
        }
        None => Err(Errno::EXIST),
    };
    match made {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) if request.parents => {
            let object = root.resolve(&relative, Links::Follow)?;
            match kind_of(&root.fstat(&relative, object)?) {
                FileKind::Directory => Ok(()),
                _ => Err(ToolError::exists(&relative.as_path().into())),
            }
        }
        Err(errno) => Err(root.io_error("make the directory", &relative, errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stigmer_core::ErrorCode;

    #[test]
    fn parents_are_made_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        let make = |path: &str, parents| {
            let request = MakeDirectory { path: path.into(), parents };
            make_directory(&root, request).map_err(|error| error.code)
        };
        assert_eq!(make("a/b/c", false), Err(ErrorCode::NotFound));
        assert_eq!(make("a/b/c", true), Ok(()));
        assert!(folder.path().join("a/b/c").is_dir());
        assert_eq!(make("a/b/c", true), Ok(()));
        assert_eq!(make("a/b/c", false), Err(ErrorCode::Exists));
        assert_eq!(make("", true), Ok(()));
        assert_eq!(make("", false), Err(ErrorCode::Exists));
        std::fs::write(folder.path().join("f"), "").unwrap();
        assert_eq!(make("f", true), Err(ErrorCode::Exists));
        assert_eq!(make("f/x", true), Err(ErrorCode::NotADirectory));
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        assert_eq!(make("link", true), Ok(()));
        assert_eq!(make("link/d", false), Ok(()));
        std::os::unix::fs::symlink("..", folder.path().join("out")).unwrap();
        assert_eq!(make("out/d", true), Err(ErrorCode::OutsideWorkspace));
    }
}
