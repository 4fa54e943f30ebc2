//! Which ignore files must not be read.
//!
//! The walker opens them with a plain `open(2)` and reads them to their end: a FIFO would hang it for
//! ever, and `/dev/zero` would eat all memory. It follows links and git's pointers wherever they
//! lead. ripgrep trusts the tree that it searches; we do not.

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
    Outside,
}

impl UnfitFile {
    pub(super) fn at(self, path: &Path, root: &Path) -> ToolError {
        let path = ByteString::from(path);
        match self {
            Self::Kind(kind) => ToolError::not_a_file(&path, kind),
            Self::Size(size) => ToolError::too_large(&path, size, limits::MAX_IGNORE_FILE_BYTES),
            Self::Outside => ToolError::outside_workspace(&path, &root.into()),
        }
        .with_hint("remove this file, or search without ignore rules")
    }
}

/// The first ignore file of `directory` that must not be read: the name that leads to it, and why.
///
/// With `root` given, `directory` lies beneath it and so must what is read for it.
pub(super) fn unfit_ignore_file(
    directory: &Path,
    root: Option<&Path>,
) -> Option<(&'static str, UnfitFile)> {
    IGNORE_FILES.iter().find_map(|name| {
        let path = directory.join(name);
        let metadata = fs::metadata(&path).ok()?;
        let unfit = unfit(&path, &metadata, root).or_else(|| match *name {
            ".git" => unfit_exclude(&path, &metadata, root),
            _ => None,
        })?;
        Some((*name, unfit))
    })
}

fn unfit(path: &Path, metadata: &Metadata, root: Option<&Path>) -> Option<UnfitFile> {
    let kind = metadata.file_type();
    // A directory cannot be read, which is harmless: ripgrep passes over it.
    if kind.is_dir() {
        return None;
    }
    if kind.is_file() {
        let size = metadata.len();
        if size > limits::MAX_IGNORE_FILE_BYTES {
            return Some(UnfitFile::Size(size));
        }
        let inside = root.is_none_or(|root| leads_beneath(path, root));
        return (!inside).then_some(UnfitFile::Outside);
    }
    let kind = match () {
        () if kind.is_fifo() => FileKind::Fifo,
        () if kind.is_socket() => FileKind::Socket,
        () => FileKind::Device,
    };
    Some(UnfitFile::Kind(kind.name()))
}

/// [`unfit`] of a file that need not exist.
fn unfit_if_there(path: &Path, root: Option<&Path>) -> Option<UnfitFile> {
    unfit(path, &fs::metadata(path).ok()?, root)
}

fn leads_beneath(path: &Path, root: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path.starts_with(root))
}

/// Follows `.git` to `info/exclude` as the walker does (`ignore`, `resolve_git_commondir`).
fn unfit_exclude(git: &Path, metadata: &Metadata, root: Option<&Path>) -> Option<UnfitFile> {
    if !metadata.is_file() {
        return unfit_if_there(&git.join("info/exclude"), root);
    }
    // Relative to the directory of the process, for the walker reads it so.
    let directory = to_path(first_line(git)?.strip_prefix(b"gitdir: ")?);
    let pointer = directory.join("commondir");
    let root = root.filter(|root| leads_beneath(&directory, root) || !knows(&directory, git));
    if let Some(unfit) = unfit_if_there(&pointer, root) {
        return Some(unfit);
    }
    let common = first_line(&pointer)?;
    let common = match common.first() {
        Some(b'.') => directory.join(to_path(&common)),
        _ => to_path(&common),
    };
    unfit_if_there(&common.join("info/exclude"), root)
}

/// Whether a git directory names this `.git` file as that of one of its linked worktrees.
///
/// Such a directory may lie outside: whoever made the tree cannot have written there, so it was git.
fn knows(directory: &Path, git: &Path) -> bool {
    let back = directory.join("gitdir");
    // It is read here, so it must not hang either.
    if !fs::metadata(&back).is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let Some(line) = first_line(&back) else { return false };
    match (directory.join(to_path(&line)).canonicalize(), git.canonicalize()) {
        (Ok(back), Ok(git)) => back == git,
        _ => false,
    }
}

/// The first line as [`BufRead::lines`](std::io::BufRead::lines) gives it to the walker.
fn first_line(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(POINTER_BYTES).read_to_end(&mut bytes).ok()?;
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return (!bytes.is_empty()).then_some(bytes);
    };
    bytes.truncate(end);
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Some(bytes)
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

    fn unfit_of(root: &Path, directory: &str) -> Option<(&'static str, UnfitFile)> {
        unfit_ignore_file(&root.join(directory), Some(root))
    }

    #[test]
    fn what_would_hang_or_never_end_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = &directory.path().canonicalize().unwrap();
        assert_eq!(unfit_of(path, "."), None);
        fs::write(path.join(".gitignore"), "a").unwrap();
        fs::create_dir(path.join(".rgignore")).unwrap();
        assert_eq!(unfit_of(path, "."), None);
        symlink("/dev/zero", path.join(".ignore")).unwrap();
        assert_eq!(unfit_of(path, "."), Some((".ignore", UnfitFile::Kind("device"))));
        fs::remove_file(path.join(".ignore")).unwrap();
        fs::remove_file(path.join(".gitignore")).unwrap();
        fifo(&path.join(".gitignore"));
        assert_eq!(unfit_of(path, "."), Some((".gitignore", UnfitFile::Kind("fifo"))));
        fs::remove_file(path.join(".gitignore")).unwrap();
        let large = limits::MAX_IGNORE_FILE_BYTES + 1;
        fs::File::create(path.join(".gitignore")).unwrap().set_len(large).unwrap();
        assert_eq!(unfit_of(path, "."), Some((".gitignore", UnfitFile::Size(large))));
    }

    #[test]
    fn private_excludes_are_followed_through_a_linked_worktree() {
        let directory = tempfile::tempdir().unwrap();
        let path = &directory.path().canonicalize().unwrap();
        fs::create_dir_all(path.join("main/info")).unwrap();
        fs::create_dir_all(path.join("main/worktrees/w")).unwrap();
        fs::create_dir(path.join("w")).unwrap();
        let pointer = format!("gitdir: {}/main/worktrees/w\n", path.display());
        fs::write(path.join("w/.git"), pointer).unwrap();
        fs::write(path.join("main/worktrees/w/commondir"), "../..\n").unwrap();
        assert_eq!(unfit_of(path, "w"), None);
        fifo(&path.join("main/info/exclude"));
        assert_eq!(unfit_of(path, "w"), Some((".git", UnfitFile::Kind("fifo"))));
        fs::remove_file(path.join("main/worktrees/w/commondir")).unwrap();
        fifo(&path.join("main/worktrees/w/commondir"));
        assert_eq!(unfit_of(path, "w"), Some((".git", UnfitFile::Kind("fifo"))));
    }
    #[test]
    fn a_common_directory_is_looked_for_where_the_walker_looks() {
        let directory = tempfile::tempdir().unwrap();
        let path = &directory.path().canonicalize().unwrap();
        fs::create_dir_all(path.join("w")).unwrap();
        fs::create_dir_all(path.join("git")).unwrap();
        fs::create_dir_all(path.join("common/info")).unwrap();
        fs::create_dir_all(path.join("git\r")).unwrap();
        fifo(&path.join("common/info/exclude"));
        let hangs = Some((".git", UnfitFile::Kind("fifo")));
        let point = |end: &str| {
            fs::write(path.join("w/.git"), format!("gitdir: {}/git{end}", path.display())).unwrap();
        };
        point("\n");
        fs::write(path.join("git/commondir"), format!("{}/common", path.display())).unwrap();
        assert_eq!(unfit_of(path, "w"), hangs);
        fs::write(path.join("git/commondir"), "common").unwrap();
        assert_eq!(unfit_of(path, "w"), None, "that is relative to the process");
        // Up from here, by a path that does not begin with a dot.
        let here = std::env::current_dir().unwrap();
        let names = fs::read_dir(&here).unwrap().flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let name = names.find(|name| {
            let up = Path::new(name).join("..");
            !name.starts_with('.') && up.canonicalize().is_ok_and(|up| up == here)
        });
        let ups: String = here.components().map(|_| "../").collect();
        let common = path.strip_prefix("/").unwrap().join("common");
        let up = format!("{}/{ups}{}", name.unwrap(), common.display());
        fs::write(path.join("git/commondir"), &up).unwrap();
        assert_eq!(unfit_of(path, "w"), hangs, "{up}");
        fs::write(path.join("git/commondir"), "").unwrap();
        fs::write(path.join("git\r/commondir"), "../common").unwrap();
        assert_eq!(unfit_of(path, "w"), None);
        point("\r");
        assert_eq!(unfit_of(path, "w"), hangs, "a return without a line feed is part of the name");
    }

    #[test]
    fn what_lies_outside_is_not_read_unless_git_says_that_it_belongs_to_the_worktree() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let (root, out) = (&base.join("root"), base.join("out"));
        let outside = |name| Some((name, UnfitFile::Outside));
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir_all(out.join(".git/info")).unwrap();
        fs::create_dir_all(out.join(".git/worktrees/d")).unwrap();
        fs::write(out.join("secret"), "a").unwrap();
        fs::write(root.join("rules"), "a").unwrap();
        symlink("../../out/secret", root.join("d/.gitignore")).unwrap();
        assert_eq!(unfit_of(root, "d"), outside(".gitignore"));
        assert_eq!(unfit_ignore_file(&root.join("d"), None), None);
        fs::remove_file(root.join("d/.gitignore")).unwrap();
        symlink("../rules", root.join("d/.gitignore")).unwrap();
        assert_eq!(unfit_of(root, "d"), None);

        fs::write(out.join(".git/info/exclude"), "a").unwrap();
        fs::write(out.join(".git/worktrees/d/commondir"), "../..\n").unwrap();
        let pointer = format!("gitdir: {}/.git/worktrees/d\n", out.display());
        fs::write(root.join("d/.git"), pointer).unwrap();
        assert_eq!(unfit_of(root, "d"), outside(".git"));
        let back = |directory: &str| {
            let back = format!("{}/{directory}/.git\n", root.display());
            fs::write(out.join(".git/worktrees/d/gitdir"), back).unwrap();
        };
        back("other");
        assert_eq!(unfit_of(root, "d"), outside(".git"));
        back("d");
        assert_eq!(unfit_of(root, "d"), None);

        // A git directory in the tree is whatever the tree's maker wants, so it proves nothing.
        fs::create_dir_all(root.join("git")).unwrap();
        fs::write(root.join("git/gitdir"), format!("{}/d/.git\n", root.display())).unwrap();
        fs::write(root.join("git/commondir"), format!("{}/.git\n", out.display())).unwrap();
        fs::write(root.join("d/.git"), format!("gitdir: {}/git\n", root.display())).unwrap();
        assert_eq!(unfit_of(root, "d"), outside(".git"));
        fs::remove_file(root.join("d/.git")).unwrap();
        symlink(out.join(".git"), root.join("d/.git")).unwrap();
        assert_eq!(unfit_of(root, "d"), outside(".git"));
    }
}
