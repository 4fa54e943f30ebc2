//! What a command leaves behind that others execute or obey.
//!
//! What is not there cannot be held without leaving something in its place, and what is documents as well is
//! changed in the course of work. So it is looked at before and after, and the difference is told. What leads
//! git elsewhere is taken away.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, openat, openat2, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::data;
use crate::look::{Kind, Look};

/// What such a place was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Was {
    /// Not there.
    Missing,
    /// There, and held: it cannot have changed.
    Held,
    /// There: which file, and when it was last changed (seconds and nanoseconds).
    Seen(u64, i64, i64),
}

/// What the name of something ends in that was taken away.
const TAKEN: &str = ".stigmer-removed";

/// How often something is taken away and kept. Then it is only removed.
const MOST_TAKEN: u32 = 16;

/// What there was of it before a command.
#[derive(Debug)]
pub(crate) struct Before {
    places: Vec<(PathBuf, Was)>,
    /// What git would go by, and is not there.
    absent: Vec<PathBuf>,
}

impl Before {
    /// Looks at a workspace. What is `absent` in it, relative to it, is to stay so.
    pub(crate) fn look(workspace: &Path, absent: &[PathBuf], look: &impl Look) -> Self {
        let kind = |path: &Path| look.kind(&workspace.join(path));
        let mut all = Vec::new();
        for place in data::PROTECTED.iter().filter(|place| !place.starts_with(".git/")) {
            let was = if kind(Path::new(place)).is_some() { Was::Held } else { Was::Missing };
            all.push((PathBuf::from(place), was));
        }
        let outer = |place: &str| {
            Path::new(place).parent().is_none_or(|outer| {
                outer.as_os_str().is_empty() || kind(outer) == Some(Kind::Directory)
            })
        };
        for place in data::OBEYED {
            let there = outer(place) && kind(Path::new(place)).is_some();
            let was = there.then(|| seen(&workspace.join(place))).flatten();
            all.push((place.into(), was.unwrap_or(Was::Missing)));
        }
        // A repository that was none before has hooks of its own.
        if kind(Path::new(".git")).is_none() {
            all.push((".git".into(), Was::Missing));
        }
        Self { places: all, absent: absent.to_vec() }
    }

    /// What is there now and was not, or is another or changed since, as paths relative to the workspace.
    pub(crate) fn changed(&self, workspace: &Path) -> Vec<PathBuf> {
        let differs = |(path, was): &&(PathBuf, Was)| match (was, seen(&workspace.join(path))) {
            (_, None) | (Was::Held, _) => false,
            (was, Some(now)) => *was != now,
        };
        self.places.iter().filter(differs).map(|(path, _)| path.clone()).collect()
    }
}

impl Before {
    /// What is to stay absent, relative to the workspace.
    pub(crate) fn absent(&self) -> impl Iterator<Item = &PathBuf> {
        self.absent.iter()
    }

    /// Takes away what was to stay absent and is there, and says which. Who looks finds it beside its
    /// place.
    pub(crate) fn take_away(&self, workspace: &Path) -> Vec<Taken> {
        let there = |path: &&PathBuf| rustix::fs::lstat(workspace.join(path)).is_ok();
        let found = self.absent.iter().filter(there);
        let taken =
            found.map(|path| Taken { path: path.clone(), gone: away(workspace, path).is_ok() });
        taken.collect()
    }
}

/// Something that was to be taken away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    /// Whether it is gone.
    pub(crate) gone: bool,
}

/// Renames something in the workspace aside, or removes it. No link on the way is followed: it would lead
/// to where this process may do more than the command.
fn away(workspace: &Path, path: &Path) -> rustix::io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, workspace, flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let parent = openat2(&root, parent, flags, Mode::empty(), resolve)?;
    for number in 0..MOST_TAKEN {
        let mut aside = OsString::from(name);
        aside.push(TAKEN);
        if number > 0 {
            aside.push(format!(".{number}"));
        }
        match renameat_with(&parent, name, &parent, &aside, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            done => return done,
        }
    }
    unlinkat(&parent, name, AtFlags::empty())
}

fn seen(path: &Path) -> Option<Was> {
    let status = rustix::fs::lstat(path).ok()?;
    Some(Was::Seen(status.st_ino, status.st_ctime, status.st_ctime_nsec as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::Machine;

    #[test]
    fn what_is_new_or_changed_is_told_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join(".git/hooks")).unwrap();
        std::fs::create_dir_all(root.join(".github")).unwrap();
        std::fs::write(root.join(".envrc"), "").unwrap();
        for name in ["CLAUDE.md", "AGENTS.md"] {
            std::fs::write(root.join(name), "one").unwrap();
        }
        let before = Before::look(root, &[], &Machine);
        assert_eq!(before.changed(root), [""; 0].map(PathBuf::from));
        std::fs::write(root.join("AGENTS.md"), "two").unwrap();
        std::fs::write(root.join("other"), "x").unwrap();
        std::fs::create_dir_all(root.join(".github/workflows")).unwrap();
        std::fs::create_dir(root.join(".vscode")).unwrap();
        let expected = [".vscode", "AGENTS.md", ".github/workflows"];
        assert_eq!(before.changed(root), expected.map(PathBuf::from));
    }

    #[test]
    fn a_new_repository_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let before = Before::look(directory.path(), &[], &Machine);
        std::fs::create_dir(directory.path().join(".git")).unwrap();
        assert_eq!(before.changed(directory.path()), [PathBuf::from(".git")]);
    }

    #[test]
    fn what_was_to_stay_absent_is_taken_away_however_often() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let at = root.join(".git/commondir");
        std::fs::create_dir(root.join(".git")).unwrap();
        let before = Before::look(root, &[".git/commondir".into(), "x".into()], &Machine);
        assert_eq!(before.take_away(root), []);
        for number in 0..=MOST_TAKEN {
            std::fs::write(&at, number.to_string()).unwrap();
            let taken = Taken { path: ".git/commondir".into(), gone: true };
            assert_eq!(before.take_away(root), [taken], "{number}");
            assert!(!at.exists());
        }
        let kept = std::fs::read(root.join(".git/commondir.stigmer-removed")).unwrap();
        assert_eq!(kept, b"0");
        std::os::unix::fs::symlink("nowhere", root.join("x")).unwrap();
        assert_eq!(before.take_away(root), [Taken { path: "x".into(), gone: true }]);
        assert!(root.join("x.stigmer-removed").is_symlink());
    }

    #[test]
    fn what_lies_behind_a_link_is_told_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("w");
        let outside = directory.path().join("o");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        let before = Before::look(&root, &["a/x".into()], &Machine);
        std::fs::write(outside.join("x"), "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a")).unwrap();
        assert_eq!(before.take_away(&root), [Taken { path: "a/x".into(), gone: false }]);
        assert!(outside.join("x").exists());
    }
}
