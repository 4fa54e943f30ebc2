//! Whether a repository's own configuration may make git run programs.
//!
//! Names of settings are accepted, never suspected: git gets new ones that run something with every
//! other release (git-config(1)).

use std::path::{Path, PathBuf};

use super::{above, read};

/// Sections all of whose settings are words, numbers and names for git itself.
const HARMLESS_SECTIONS: &[&str] = &[
    "advice", "apply", "branch", "color", "column", "commit", "fetch", "gc", "index", "init",
    "log", "pack", "pull", "push", "rebase", "receive", "rerere", "status", "user",
];

/// Settings of other sections.
const HARMLESS: &[(&str, &[&str])] = &[
    (
        "core",
        &[
            "abbrev",
            "autocrlf",
            "bare",
            "bigfilethreshold",
            "checkstat",
            "commentchar",
            "compression",
            "deltabasecachelimit",
            "eol",
            "filemode",
            "fscache",
            "ignorecase",
            "ignorestat",
            "logallrefupdates",
            "longpaths",
            "loosecompression",
            "multipackindex",
            "packedgitlimit",
            "packedgitwindowsize",
            "precomposeunicode",
            "preloadindex",
            "protecthfs",
            "protectntfs",
            "quotepath",
            "repositoryformatversion",
            "safecrlf",
            "sharedrepository",
            "sparsecheckout",
            "sparsecheckoutcone",
            "splitindex",
            "symlinks",
            "trustctime",
            "untrackedcache",
            "warnambiguousrefs",
            "whitespace",
        ],
    ),
    (
        "diff",
        &[
            "algorithm",
            "colormoved",
            "context",
            "mnemonicprefix",
            "noprefix",
            "renamelimit",
            "renames",
        ],
    ),
    (
        "extensions",
        &["compatobjectformat", "objectformat", "partialclone", "preciousobjects", "refstorage"],
    ),
    ("lfs", &["repositoryformatversion"]),
    ("merge", &["conflictstyle", "ff", "log", "renamelimit", "renames", "stat"]),
    (
        "remote",
        &[
            "fetch",
            "mirror",
            "partialclonefilter",
            "promisor",
            "prune",
            "push",
            "pushurl",
            "tagopt",
            "url",
        ],
    ),
    ("submodule", &["active", "branch", "fetchrecursesubmodules", "ignore", "recurse", "url"]),
];

/// Whether git, in `cwd`, may run what a repository of the workspace names. What cannot be read is taken
/// to.
pub(super) fn runs_programs(cwd: &Path, root: &Path) -> bool {
    let Some(entry) = above(cwd, root, ".git") else { return false };
    let Some((directory, common)) = git_directories(&entry) else { return true };
    let configurations = [common.join("config"), directory.join("config.worktree")];
    configurations.iter().any(|path| match read(path) {
        Ok(text) => text_runs_programs(&text),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    })
}

/// Where a repository's own files are, and those that it shares with its other worktrees
/// (gitrepository-layout(5)).
fn git_directories(entry: &Path) -> Option<(PathBuf, PathBuf)> {
    let one = |text: &str| PathBuf::from(text.strip_suffix('\n').unwrap_or(text));
    let directory = match entry.symlink_metadata().ok()?.is_dir() {
        true => entry.to_owned(),
        false => {
            let text = read(entry).ok()?;
            entry.parent()?.join(one(text.strip_prefix("gitdir: ")?))
        }
    };
    let common = match read(&directory.join("commondir")) {
        Ok(text) => directory.join(one(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => directory.clone(),
        Err(_) => return None,
    };
    Some((directory, common))
}

/// Whether a configuration has anything but what is known to run nothing.
fn text_runs_programs(text: &str) -> bool {
    let mut section = String::new();
    !text.lines().all(|line| {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return true;
        }
        // A line that goes on, or a section with a setting behind it, is read by git and not by this.
        if line.ends_with('\\') {
            return false;
        }
        if let Some(name) = line.strip_prefix('[') {
            let Some(name) = name.strip_suffix(']') else { return false };
            let name = name.split(['"', ' ', '\t']).next().unwrap_or_default();
            // `[section.subsection]` is an old way to write one.
            section = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
            return !name.contains(']');
        }
        let name = line.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        HARMLESS_SECTIONS.contains(&section.as_str())
            || HARMLESS
                .iter()
                .any(|(known, names)| *known == section && names.contains(&name.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_clone_has_runs_nothing() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\
            \tlogallrefupdates = true\n[remote \"origin\"]\n\turl = https://example.org/a.git\n\
            \tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n\
            \tmerge = refs/heads/main\n; a remark\n# another\n[submodule]\n\tactive = .\n\
            [user]\n\tname = Ada = Lovelace\n";
        assert!(!text_runs_programs(text));
        assert!(!text_runs_programs(""));
    }

    #[test]
    fn what_names_a_program_or_is_not_known_does() {
        for text in [
            "[core]\nfsmonitor = x",
            "[CORE]\n  FsMonitor=x",
            "[core] fsmonitor = x",
            "[core]\npager = x",
            "[core]\nhooksPath = x",
            "[core]\nsshCommand = x",
            "[core]\neditor = x",
            "[core]\nattributesFile = x",
            "[core]\nworktree = /",
            "[diff]\nexternal = x",
            "[diff \"d\"]\ntextconv = x",
            "[diff \"d\"]\ncommand = x",
            "[filter \"f\"]\nclean = x",
            "[filter \"f\"]\nprocess = x",
            "[alias]\nstatus = !x",
            "[include]\npath = x",
            "[includeIf \"gitdir:/\"]\npath = x",
            "[merge \"m\"]\ndriver = x",
            "[gpg]\nprogram = x",
            "[credential]\nhelper = x",
            "[remote \"r\"]\nuploadpack = x",
            "[remote \"r\"]\nvcs = x",
            "[submodule \"s\"]\nupdate = !x",
            "[extensions]\nworktreeConfig = true",
            "[protocol]\nallow = always",
            "[new]\nthing = x",
            "[lfs \"customtransfer.x\"]\npath = x",
            "fsmonitor = x",
            "[core]\nbare = a\\\nfsmonitor = x",
            "[core",
            "[a]b]\n",
            "[core.x]\nfsmonitor = x",
        ] {
            assert!(text_runs_programs(text), "{text}");
        }
    }

    #[test]
    fn a_worktree_has_the_repositorys_settings_and_what_cannot_be_read_is_taken_to_run_programs() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        assert!(!runs_programs(root, root), "there is none");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        assert!(!runs_programs(&root.join("a/b"), root), "it has no configuration");
        std::fs::write(root.join(".git/config"), b"[core]\n\xff").unwrap();
        assert!(runs_programs(&root.join("a/b"), root));
        std::fs::write(root.join("a/.git"), "gitdir: ../.git/worktrees/a\n").unwrap();
        let own = root.join(".git/worktrees/a");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("commondir"), "../..\n").unwrap();
        assert!(runs_programs(&root.join("a/b"), root), "the shared one counts");
        std::fs::write(root.join(".git/config"), "[core]\nbare = false\n").unwrap();
        assert!(!runs_programs(&root.join("a/b"), root));
        std::fs::write(own.join("config.worktree"), "[core]\nfsmonitor = x\n").unwrap();
        assert!(runs_programs(&root.join("a/b"), root), "its own counts, too");
        std::fs::write(root.join("a/.git"), "elsewhere").unwrap();
        assert!(runs_programs(&root.join("a/b"), root));
    }
}
