//! Choosing the directory that an agent works in.

use std::path::{Path, PathBuf};

use stigmer_core::{ByteString, Result, ToolError};

/// A workspace's root: an existing directory, absolute and without symbolic links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    root: PathBuf,
    given: PathBuf,
}

impl Workspace {
    /// The directory that was named, or else the current one.
    ///
    /// `current` is the caller's current directory: a relative `named` is relative to it.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `permission_denied`; `invalid_argument` for an empty path.
    pub fn choose(named: Option<&Path>, current: &Path) -> Result<Self> {
        if named.is_some_and(|path| path.as_os_str().is_empty()) {
            return Err(ToolError::invalid_argument("workspace", "the path is empty"));
        }
        let path = named.map_or_else(|| current.to_owned(), |named| current.join(named));
        let shown = ByteString::from(path.as_path());
        let root = path.canonicalize().map_err(|error| {
            ToolError::from_io("open", &shown, &error)
                .with_hint("name a directory that exists as the workspace")
        })?;
        if !root.is_dir() {
            return Err(ToolError::not_a_directory(&shown));
        }
        Ok(Self { root, given: path })
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root as it was named, from `/`: absolute paths may begin with it as well.
    pub fn given(&self) -> &Path {
        &self.given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stigmer_core::ErrorCode;

    #[test]
    fn named_or_current_and_always_real() {
        let scratch = tempfile::tempdir().unwrap();
        let current = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(current.join("a")).unwrap();
        std::fs::write(current.join("f"), "").unwrap();
        std::os::unix::fs::symlink("a", current.join("link")).unwrap();
        let choose = |named: &str| Workspace::choose(Some(Path::new(named)), &current);
        assert_eq!(Workspace::choose(None, &current).unwrap().root(), current);
        assert_eq!(choose("link").unwrap().root(), current.join("a"));
        assert_eq!(choose("link").unwrap().given(), current.join("link"));
        assert_eq!(choose("a/../a/.").unwrap().root(), current.join("a"));
        assert_eq!(choose("/").unwrap().root(), Path::new("/"));
        for (named, code) in [
            ("none", ErrorCode::NotFound),
            ("f", ErrorCode::NotADirectory),
            ("f/x", ErrorCode::NotADirectory),
            ("", ErrorCode::InvalidArgument),
        ] {
            assert_eq!(choose(named).unwrap_err().code, code, "{named:?}");
        }
    }
}
