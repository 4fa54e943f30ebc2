//! Which paths a watch leaves out: hidden ones, and what ignore files name, as ripgrep does.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::Root;

/// The ignore files of a directory, the strongest first.
const FILES: [&str; 4] = [".rgignore", ".ignore", ".gitignore", ".git/info/exclude"];

/// Larger ignore files are cut: they are somebody's mistake, and every rule costs memory.
const MOST_BYTES: u64 = 1 << 20;

/// The rules, read where they are needed and kept until an ignore file changes.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// What each directory's ignore files say, in the order of [`FILES`].
    known: HashMap<PathBuf, Arc<[Gitignore; 4]>>,
}

impl Rules {
    /// Whether a change of this path may change the rules.
    pub(super) fn concern(path: &Path) -> bool {
        FILES.iter().any(|file| path.ends_with(file))
    }

    /// Reads all anew.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Whether a path or a directory above it is left out.
    pub(super) fn leave_out(&mut self, root: &Root, path: &Path, is_directory: bool) -> bool {
        let mut above: Vec<&Path> =
            path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
        above.reverse();
        let last = above.len();
        above
            .into_iter()
            .enumerate()
            .any(|(index, part)| self.names(root, part, is_directory || index + 1 < last))
    }

    fn names(&mut self, root: &Root, path: &Path, is_directory: bool) -> bool {
        let all: Vec<Arc<[Gitignore; 4]>> =
            path.ancestors().skip(1).map(|directory| self.of(root, directory)).collect();
        for kind in 0..FILES.len() {
            for rules in &all {
                match rules[kind].matched(path, is_directory) {
                    Match::None => {}
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                }
            }
        }
        path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."))
    }

    fn of(&mut self, root: &Root, directory: &Path) -> Arc<[Gitignore; 4]> {
        if let Some(known) = self.known.get(directory) {
            return Arc::clone(known);
        }
        let rules = Arc::new(FILES.map(|file| read(root, directory, file)));
        self.known.insert(directory.to_owned(), Arc::clone(&rules));
        rules
    }
}

/// One ignore file; an unreadable or missing one names nothing.
fn read(root: &Root, directory: &Path, file: &str) -> Gitignore {
    let mut builder = GitignoreBuilder::new(directory);
    let mut text = Vec::new();
    if let Ok(file) = root.open_file(&directory.join(file)) {
        // What was read before an error still counts.
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
    }
    for line in text.split(|byte| *byte == b'\n') {
        // A line that is no pattern names nothing, as in git.
        let _ = builder.add_line(None, &OsStr::from_bytes(line).to_string_lossy());
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignore_files_and_dots_are_heeded() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        let put = |path: &str, text| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put(".gitignore", "target/\n*.log\n/top\n!.shown\n");
        put("a/.gitignore", "!keep.log\n");
        put("a/.ignore", "local\n");
        let mut rules = Rules::default();
        let mut out = |path: &str, directory| rules.leave_out(&root, Path::new(path), directory);
        for (path, directory, left_out) in [
            ("", true, false),
            ("f", false, false),
            ("x.log", false, true),
            ("a/x.log", false, true),
            ("a/keep.log", false, false),
            ("target", true, true),
            ("target", false, false),
            ("a/target/x/y", false, true),
            ("top", false, true),
            ("a/top", false, false),
            ("a/local/x", false, true),
            ("local", false, false),
            (".hidden", false, true),
            (".git/config", false, true),
            (".shown", false, false),
        ] {
            assert_eq!(out(path, directory), left_out, "{path}");
        }
    }
}
