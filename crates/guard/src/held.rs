//! What of a workspace the workspace lane does not let change, by names alone: for who changes files
//! without being in a lane.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::data;

/// How a part of a workspace is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It keeps its name and what it is: it may not be removed, renamed, or replaced. What lies in it may be
    /// changed.
    InPlace,
    /// Nothing in it may be made, changed, renamed or removed, nor itself.
    ReadOnly,
}

/// How a path is held, given relative to the root of the workspace, with all links resolved. The empty path
/// is the workspace.
///
/// Names count, whether or not there is anything: what is not there may not be made. Letters in either case
/// are the same, as they are to some file systems. Repositories that lie deeper are held, too; of them the
/// lane itself holds those that are known to it.
///
/// Who removes or renames a directory moves what is held in it: [`Holding::InPlace`] is said of directories
/// that lead to what is held by a name of its own, but of a directory that has a repository in it somewhere
/// nothing is said.
pub fn held(relative: &Path) -> Option<Holding> {
    let path = plain(relative)?;
    let parts: Vec<&OsStr> = path.iter().collect();
    if parts.is_empty() {
        return Some(Holding::InPlace);
    }
    let own = data::PROTECTED.iter().filter(|place| !place.starts_with(".git/"));
    let own = own.filter_map(|place| against(&parts, &place.split('/').collect::<Vec<_>>()));
    let repositories = (0..parts.len()).filter(|index| same(parts[*index], ".git"));
    let in_them = repositories.filter_map(|index| in_repository(&parts[index + 1..]));
    stricter(own.chain(in_them))
}

/// Whether a path may be neither written nor made, removed, renamed or replaced: the simple form of
/// [`held`], for whoever has no way to change only what lies in a directory. The workspace itself is not.
pub fn is_held(relative: &Path) -> bool {
    match held(relative) {
        Some(Holding::ReadOnly) => true,
        Some(Holding::InPlace) => plain(relative).is_none_or(|path| path != Path::new("")),
        None => false,
    }
}

/// The same of a path that is absolute, or relative to the workspace, and that nobody has resolved: `..` is
/// taken as it is written. It looks at names only: where a part of the path may be a link, resolve it
/// beneath the workspace and ask [`is_held`], too. What is not in the workspace is not held.
pub fn is_held_in(workspace: &Path, path: &Path) -> bool {
    let inner = plain(&workspace.join(path)).and_then(|full| {
        let root = plain(workspace)?;
        full.strip_prefix(root).map(Path::to_owned).ok()
    });
    inner.is_some_and(|inner| is_held(&inner))
}

/// How a part of a repository's directory is held; nothing is the directory.
fn in_repository(parts: &[&OsStr]) -> Option<Holding> {
    let names = data::PROTECTED.iter().filter_map(|place| place.strip_prefix(".git/"));
    let mut found: Vec<_> = names.filter_map(|name| against(parts, &[name])).collect();
    match parts {
        [] => found.push(Holding::InPlace),
        // Other repositories, and what other worktrees have of this one: who changes files has no business
        // there.
        [first, ..] if same(first, "modules") || same(first, "worktrees") => {
            found.push(Holding::ReadOnly);
        }
        _ => {}
    }
    stricter(found.into_iter())
}

fn stricter(all: impl Iterator<Item = Holding>) -> Option<Holding> {
    all.max_by_key(|holding| *holding == Holding::ReadOnly)
}

/// What a place that is held makes of a path: itself, what lies in it, and what leads to it.
fn against(path: &[&OsStr], place: &[&str]) -> Option<Holding> {
    let alike = path.iter().zip(place).all(|(part, name)| same(part, name));
    match (alike, path.is_empty() || path.len() < place.len()) {
        (false, _) => None,
        (true, true) => Some(Holding::InPlace),
        (true, false) => Some(Holding::ReadOnly),
    }
}

fn same(part: &OsStr, name: &str) -> bool {
    part.as_bytes().eq_ignore_ascii_case(name.as_bytes())
}

/// A path without `.` and `..`; `None` if it leads above where it begins.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if plain.has_root() => drop(plain.pop()),
            Component::ParentDir => plain.pop().then_some(())?,
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_configuration_and_agents_settings_are_held_by_any_spelling() {
        for path in [
            ".git/hooks",
            ".git/hooks/pre-commit",
            ".git/hooks/a/b",
            ".git/config",
            ".git/commondir",
            ".git/config.worktree",
            ".GIT/Hooks/pre-commit",
            "./.git//config",
            "src/../.git/config",
            ".git/modules",
            ".git/modules/m/hooks/x",
            ".git/modules/a/b/config",
            ".git/modules/m/modules/n/hooks",
            ".git/worktrees/w/config.worktree",
            "vendor/dep/.git/hooks/post-checkout",
            "vendor/dep/.git/config",
            ".claude/settings.json",
            ".vscode/tasks.json",
            ".mcp.json",
            ".husky/pre-commit",
            ".envrc",
        ] {
            assert_eq!(held(path.as_ref()), Some(Holding::ReadOnly), "{path}");
            assert!(is_held(path.as_ref()), "{path}");
            assert!(is_held_in("/w".as_ref(), path.as_ref()), "{path}");
            assert!(is_held_in("/w/".as_ref(), &Path::new("/w").join(path)), "{path}");
        }
    }

    #[test]
    fn what_leads_to_it_stays_and_what_lies_beside_it_may_change() {
        for path in ["", ".", "a/..", ".git", ".git/", "sub/.git", "a/../.GIT"] {
            assert_eq!(held(path.as_ref()), Some(Holding::InPlace), "{path}");
            let inner = path.to_ascii_lowercase().contains(".git");
            assert_eq!(is_held(path.as_ref()), inner, "{path}");
            assert_eq!(is_held_in("/w".as_ref(), path.as_ref()), inner, "{path}");
        }
        for path in [
            "a",
            ".git/objects/aa/bb",
            ".git/HEAD",
            ".git/index",
            ".git/refs/heads/config",
            ".git/info/exclude",
            ".git/config.lock",
            ".env",
            ".gitignore",
            ".github/workflows/ci.yml",
            "hooks/x",
            "config",
            "src/.vscode/x",
            "CLAUDE.md",
            ".claudette",
        ] {
            assert_eq!(held(path.as_ref()), None, "{path}");
        }
    }

    #[test]
    fn what_leads_above_the_workspace_is_nobodys_to_judge() {
        assert_eq!(held("../x/.git/config".as_ref()), None);
        assert!(!is_held_in("/w".as_ref(), "/other/.git/config".as_ref()));
        assert!(!is_held_in("/w".as_ref(), "../other/.git/config".as_ref()));
        assert!(is_held_in("/w".as_ref(), "../w/.git/config".as_ref()));
        assert!(is_held_in("/w".as_ref(), "/../w/.git/config".as_ref()));
    }
}
