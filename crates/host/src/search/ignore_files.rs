//! Which ignore files must not be read.
//!
//! The walker opens them with a plain `open(2)` and reads them to their end: a FIFO would hang it for
//! ever, and `/dev/zero` would eat all memory. ripgrep trusts the tree that it searches; we do not.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use stigmer_core::file::FileKind;
use stigmer_core::{ByteString, ToolError, limits};

/// The files that the walker reads in every directory. `.git` is read where it is a file, as in
/// linked worktrees.
const IGNORE_FILES: [&str; 4] = [".rgignore", ".ignore", ".gitignore", ".git"];

/// How much of a `.git` or `commondir` file is read to find where it points; more than any path.
const POINTER_BYTES: u64 = 8 << 10;

/// Why an ignore file must not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnfitFile {
    Kind(&'static str),
    Size(u64),
}

impl UnfitFile {
    pub(super) fn at(self, path: &Path) -> ToolError {
        let path = ByteString::from(path);
        match self {
            Self::Kind(kind) => ToolError::not_a_file(&path, kind),
            Self::Size(size) => ToolError::too_large(&path, size, limits::MAX_IGNORE_FILE_BYTES),
        }
        .with_hint("remove this file, or search without ignore rules")
    }
}

/// The first ignore file of `directory` that must not be read: the name that leads to it, and why.
pub(super) fn unfit_ignore_file(directory: &Path) -> Option<(&'static str, UnfitFile)> {
    IGNORE_FILES.iter().find_map(|name| {
        let path = directory.join(name);
        let metadata = fs::metadata(&path).ok()?;
        let unfit = unfit(&metadata).or_else(|| match *name {
            ".git" => unfit_exclude(&path, &metadata),
            _ => None,
        })?;
        Some((*name, unfit))
    })
}

fn unfit(metadata: &Metadata) -> Option<UnfitFile> {
    let kind = metadata.file_type();
    // A directory cannot be read, which is harmless: ripgrep passes over it.
    if kind.is_dir() {
        return None;
    }
    if kind.is_file() {
        let size = metadata.len();
        return (size > limits::MAX_IGNORE_FILE_BYTES).then_some(UnfitFile::Size(size));
    }
    let kind = match () {
        () if kind.is_fifo() => FileKind::Fifo,
        () if kind.is_socket() => FileKind::Socket,
        () => FileKind::Device,
    };
    Some(UnfitFile::Kind(kind.name()))
}

/// Follows `.git` to `info/exclude` as the walker does (`ignore`, `resolve_git_commondir`).
fn unfit_exclude(git: &Path, metadata: &Metadata) -> Option<UnfitFile> {
    let mut common = git.to_owned();
    if metadata.is_file() {
        let directory = to_path(first_line(git)?.strip_prefix(b"gitdir: ")?);
        let pointer = directory.join("commondir");
        if let Some(unfit) = fs::metadata(&pointer).ok().as_ref().and_then(unfit) {
            return Some(unfit);
        }
        common = directory.join(to_path(&first_line(&pointer)?));
    }
    unfit(&fs::metadata(common.join("info/exclude")).ok()?)
}

fn first_line(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(POINTER_BYTES).read_to_end(&mut bytes).ok()?;
    let line = bytes.split(|&byte| byte == b'\n').next()?;
    Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn fifo(path: &Path) {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    #[test]
    fn what_would_hang_or_never_end_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(unfit_ignore_file(path), None);
        fs::write(path.join(".gitignore"), "a").unwrap();
        fs::create_dir(path.join(".rgignore")).unwrap();
        assert_eq!(unfit_ignore_file(path), None);
        symlink("/dev/zero", path.join(".ignore")).unwrap();
        assert_eq!(unfit_ignore_file(path), Some((".ignore", UnfitFile::Kind("device"))));
        fs::remove_file(path.join(".ignore")).unwrap();
        fs::remove_file(path.join(".gitignore")).unwrap();
        fifo(&path.join(".gitignore"));
        assert_eq!(unfit_ignore_file(path), Some((".gitignore", UnfitFile::Kind("fifo"))));
        fs::remove_file(path.join(".gitignore")).unwrap();
        let large = limits::MAX_IGNORE_FILE_BYTES + 1;
        fs::File::create(path.join(".gitignore")).unwrap().set_len(large).unwrap();
        assert_eq!(unfit_ignore_file(path), Some((".gitignore", UnfitFile::Size(large))));
    }

    #[test]
    fn private_excludes_are_followed_through_a_linked_worktree() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir_all(path.join("main/info")).unwrap();
        fs::create_dir_all(path.join("main/worktrees/w")).unwrap();
        fs::create_dir(path.join("w")).unwrap();
        let pointer = format!("gitdir: {}/main/worktrees/w\n", path.display());
        fs::write(path.join("w/.git"), pointer).unwrap();
        fs::write(path.join("main/worktrees/w/commondir"), "../..\n").unwrap();
        assert_eq!(unfit_ignore_file(&path.join("w")), None);
        fifo(&path.join("main/info/exclude"));
        assert_eq!(unfit_ignore_file(&path.join("w")), Some((".git", UnfitFile::Kind("fifo"))));
        fs::remove_file(path.join("main/worktrees/w/commondir")).unwrap();
        fifo(&path.join("main/worktrees/w/commondir"));
        assert_eq!(unfit_ignore_file(&path.join("w")), Some((".git", UnfitFile::Kind("fifo"))));
    }
}
