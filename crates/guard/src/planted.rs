//! What a command leaves behind that others execute or obey.
//!
//! What is not there cannot be held without leaving something in its place, and what is documents as well is
//! changed in the course of work. So it is looked at before and after, and the difference is told.

use std::path::{Path, PathBuf};

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

/// What there was of it before a command.
#[derive(Debug)]
pub(crate) struct Before(Vec<(PathBuf, Was)>);

impl Before {
    /// Looks at a workspace and the directories of repositories in it, both relative to it.
    pub(crate) fn look(workspace: &Path, repositories: &[PathBuf], look: &impl Look) -> Self {
        let kind = |path: &Path| look.kind(&workspace.join(path));
        let in_git = |place: &&str| place.starts_with(".git/");
        let mut all = Vec::new();
        let mut protected = |path: PathBuf| {
            let was = if kind(&path).is_some() { Was::Held } else { Was::Missing };
            all.push((path, was));
        };
        for place in data::PROTECTED.iter().filter(|place| !in_git(place)) {
            protected(place.into());
        }
        for repository in repositories {
            let names = data::PROTECTED.iter().filter_map(|place| place.strip_prefix(".git/"));
            names.for_each(|name| protected(repository.join(name)));
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
        if !repositories.iter().any(|path| path == Path::new(".git"))
            && kind(Path::new(".git")).is_none()
        {
            all.push((".git".into(), Was::Missing));
        }
        Self(all)
    }

    /// What is there now and was not, or is another or changed since, as paths relative to the workspace.
    pub(crate) fn changed(&self, workspace: &Path) -> Vec<PathBuf> {
        let differs = |(path, was): &&(PathBuf, Was)| match (was, seen(&workspace.join(path))) {
            (_, None) | (Was::Held, _) => false,
            (was, Some(now)) => *was != now,
        };
        self.0.iter().filter(differs).map(|(path, _)| path.clone()).collect()
    }
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
        let before = Before::look(root, &[".git".into()], &Machine);
        assert_eq!(before.changed(root), [""; 0].map(PathBuf::from));
        std::fs::write(root.join("AGENTS.md"), "two").unwrap();
        std::fs::write(root.join(".git/commondir"), "x").unwrap();
        std::fs::write(root.join("other"), "x").unwrap();
        std::fs::create_dir_all(root.join(".github/workflows")).unwrap();
        std::fs::create_dir(root.join(".vscode")).unwrap();
        let expected = [".vscode", ".git/commondir", "AGENTS.md", ".github/workflows"];
        assert_eq!(before.changed(root), expected.map(PathBuf::from));
    }

    #[test]
    fn a_new_repository_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let before = Before::look(directory.path(), &[], &Machine);
        std::fs::create_dir(directory.path().join(".git")).unwrap();
        assert_eq!(before.changed(directory.path()), [PathBuf::from(".git")]);
    }
}
