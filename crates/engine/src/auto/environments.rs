//! Environments of toolchains that lie in a workspace, and which of them is which.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::{Deserialize, Serialize};
use stigmer_core::FilePath;
use stigmer_route::environments;

/// One environment, told from another that has its path later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Where it is, relative to the workspace's root.
    pub(crate) path: FilePath,
    device: (u32, u32),
    inode: u64,
    /// When it was made, where the file system tells: an inode's number may come again.
    born: Option<(i64, u32)>,
}

/// The environments that some toolchains have in a workspace, for a command that starts in `cwd`: there
/// and in every directory above it, up to the root.
pub(crate) fn found<'a>(
    root: &Path,
    cwd: &Path,
    toolchains: impl IntoIterator<Item = &'a String>,
) -> Vec<Mark> {
    let places: Vec<&Path> = cwd.ancestors().take_while(|place| place.starts_with(root)).collect();
    let mut found = Vec::new();
    for toolchain in toolchains {
        for environment in environments(toolchain) {
            let known = places.iter().map(|place| place.join(&environment.path));
            let known = known.filter(|path| {
                let holds = |name: &String| path.join(name).symlink_metadata().is_ok();
                environment.holds.as_ref().is_none_or(holds)
            });
            found.extend(known.filter_map(|path| Mark::of(root, &path)));
        }
    }
    found
}

impl Mark {
    /// What is at a path beneath a root; a link is marked itself.
    fn of(root: &Path, path: &Path) -> Option<Self> {
        let what = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, what).ok()?;
        let tells = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        Some(Self {
            path: path.strip_prefix(root).ok()?.into(),
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: tells.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
        })
    }

    /// Whether it is there still.
    pub(crate) fn is_there(&self, root: &Path) -> bool {
        let path: PathBuf = root.join(self.path.as_path());
        Self::of(root, &path).is_some_and(|now| now == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(root: &Path, cwd: &str, toolchain: &str) -> Vec<String> {
        let all = found(root, &root.join(cwd), [&toolchain.to_owned()]);
        all.iter().map(|mark| mark.path.to_string()).collect()
    }

    #[test]
    fn environments_are_found_where_a_command_starts_and_above() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("w");
        for path in ["w/a/b/.venv", "w/node_modules", "w/env", ".venv", "w/other/.venv"] {
            std::fs::create_dir_all(scratch.path().join(path)).unwrap();
        }
        assert_eq!(paths(&root, "a/b", "python"), ["a/b/.venv"]);
        assert_eq!(paths(&root, "a/b", "node"), ["node_modules"]);
        assert!(paths(&root, "a", "python").is_empty(), "one beside or beneath is not used");
        assert!(paths(&root, "", "rust").is_empty());
        // A name alone does not tell.
        std::fs::write(root.join("env/pyvenv.cfg"), "").unwrap();
        assert_eq!(paths(&root, "", "python"), ["env"]);
        std::os::unix::fs::symlink("/nonexistent", root.join("venv")).unwrap();
        assert_eq!(paths(&root, "", "python"), ["venv", "env"], "a link is one, too");
    }

    #[test]
    fn one_that_was_made_anew_is_another() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let one = || found(root, root, [&"node".to_owned()]).pop();
        std::fs::create_dir(root.join("node_modules")).unwrap();
        let mark = one().unwrap();
        std::fs::write(root.join("node_modules/x"), "").unwrap();
        assert_eq!(one().as_ref(), Some(&mark), "what changes in it makes no other of it");
        assert!(mark.is_there(root));
        // Kept, so that its number cannot come again.
        std::fs::rename(root.join("node_modules"), root.join("old")).unwrap();
        assert!(!mark.is_there(root));
        std::fs::create_dir(root.join("node_modules")).unwrap();
        assert!(!mark.is_there(root));
        assert_ne!(one().unwrap(), mark);
    }
}
