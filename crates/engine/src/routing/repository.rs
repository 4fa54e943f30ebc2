//! Whether a repository's own configuration may make git run programs.
//!
//! Names of settings are accepted, never suspected: git gets new ones that run something with every
//! other release (git-config(1)).

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

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
    ("extensions", &["compatobjectformat", "objectformat", "preciousobjects", "refstorage"]),
    ("lfs", &["repositoryformatversion"]),
    ("merge", &["conflictstyle", "ff", "log", "renamelimit", "renames", "stat"]),
    ("remote", &["fetch", "mirror", "prune", "push", "pushurl", "tagopt", "url"]),
    ("submodule", &["active", "branch", "fetchrecursesubmodules", "ignore", "recurse", "url"]),
];

/// Hooks that only run when something is committed, merged, sent or received (githooks(5)).
const HOOKS_OF_CHANGES: &[&str] = &[
    "applypatch-msg",
    "commit-msg",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "prepare-commit-msg",
    "proc-receive",
    "push-to-checkout",
    "sendemail-validate",
    "update",
];

/// Whether git, in `cwd`, may run what a repository of the workspace names. What cannot be read is taken
/// to.
pub(super) fn runs_programs(cwd: &Path, root: &Path) -> bool {
    let Some(entry) = above(cwd, root, ".git") else { return is_in_bare(cwd, root) };
    let Some((directory, common)) = git_directories(&entry) else { return true };
    // Looking at a submodule reads its own settings.
    let modules = entry.with_file_name(".gitmodules").symlink_metadata().is_ok()
        || common.join("modules").symlink_metadata().is_ok();
    if modules || has_other_hooks(&common) || may_link_repositories(&directory) {
        return true;
    }
    let configurations = [common.join("config"), directory.join("config.worktree")];
    configurations.iter().any(|path| match read(path) {
        Ok(text) => text_runs_programs(&text),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    })
}

/// Whether git would take a directory at or above `cwd` for a repository without a tree of its own.
fn is_in_bare(cwd: &Path, root: &Path) -> bool {
    let has = |place: &Path, name| place.join(name).symlink_metadata().is_ok();
    let mut places = cwd.ancestors().take_while(|place| place.starts_with(root));
    places.any(|place| ["HEAD", "objects", "refs"].iter().all(|name| has(place, name)))
}

/// Whether there are hooks that reading may run, such as `post-index-change` (githooks(5)).
fn has_other_hooks(common: &Path) -> bool {
    let entries = match std::fs::read_dir(common.join("hooks")) {
        Ok(entries) => entries,
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    !entries.map_while(std::result::Result::ok).all(|entry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.ends_with(".sample") || HOOKS_OF_CHANGES.contains(&name))
    })
}

/// Whether the index may name other repositories ("gitlinks", which need not be submodules): git looks at their
/// settings, too.
fn may_link_repositories(directory: &Path) -> bool {
    /// A longer index is not read for this.
    const MOST: u64 = 64 << 20;
    /// The mode of such an entry, 160000, in its place in an entry of gitformat-index(5).
    const GITLINK: [u8; 4] = [0, 0, 0xe0, 0];
    /// From the mode to the size, which is zero.
    const SIZE: std::ops::Range<usize> = 12..16;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let index = rustix::fs::open(directory.join("index"), flags, Mode::empty());
    let index = index.map_err(std::io::Error::from).and_then(|file| {
        let mut bytes = Vec::new();
        File::from(file).take(MOST + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    match index {
        Ok(bytes) if bytes.len() as u64 > MOST => true,
        Ok(bytes) => memchr::memmem::find_iter(&bytes, &GITLINK)
            .any(|at| bytes.get(at..).and_then(|entry| entry.get(SIZE)) == Some(&[0; 4])),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
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
        if let Some(rest) = line.strip_prefix('[') {
            let name = header(rest);
            section = name.unwrap_or_default().to_ascii_lowercase();
            return name.is_some();
        }
        let name = line.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        HARMLESS_SECTIONS.contains(&section.as_str())
            || HARMLESS
                .iter()
                .any(|(known, names)| *known == section && names.contains(&name.as_str()))
    })
}

/// The section that a line behind its `[` begins, if there is nothing else in it.
fn header(rest: &str) -> Option<&str> {
    let end =
        rest.find(|character: char| !character.is_ascii_alphanumeric() && character != '-')?;
    let (name, rest) = rest.split_at(end);
    // `[section.subsection]` is an old way to write one.
    let old =
        |sub: &str| sub.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    let sub = |sub: &str| !sub.contains(['"', '\\']);
    let inside = rest.strip_suffix(']')?;
    let quoted = inside.trim_start().strip_prefix('"').and_then(|sub| sub.strip_suffix('"'));
    let plain = inside.is_empty()
        || inside.strip_prefix('.').is_some_and(old)
        || (inside.starts_with([' ', '\t']) && quoted.is_some_and(sub));
    (!name.is_empty() && plain).then_some(name)
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
            "[diff \"d\"] textconv = x #]",
            "[includeIf \"gitdir:/\"] path = x #]",
            "[branch \"a\\\"] [core] fsmonitor = x #\"]",
            "[remote \"o\"]\npromisor = true",
            "[extensions]\npartialClone = o",
        ] {
            assert!(text_runs_programs(text), "{text}");
        }
    }

    #[test]
    fn hooks_of_reading_bare_repositories_and_submodules_run_programs() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        std::fs::create_dir_all(root.join(".git/hooks")).unwrap();
        for harmless in ["pre-commit", "update.sample"] {
            std::fs::write(root.join(".git/hooks").join(harmless), "").unwrap();
        }
        assert!(!runs_programs(root, root));
        std::fs::write(root.join(".git/hooks/post-index-change"), "").unwrap();
        assert!(runs_programs(root, root));
        std::fs::remove_file(root.join(".git/hooks/post-index-change")).unwrap();
        std::fs::write(root.join(".gitmodules"), "").unwrap();
        assert!(runs_programs(root, root));
        std::fs::remove_file(root.join(".gitmodules")).unwrap();
        assert!(!runs_programs(root, root));
        // An entry of the index: times, device, inode; mode, user, group and size.
        let index = |mode: u32, size: u32| {
            let words = [0, 0, 0, 0, 1, 2, mode, 1000, 1000, size];
            let header = *b"DIRC\0\0\0\x02\0\0\0\x01";
            let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
            std::fs::write(root.join(".git/index"), [&header[..], &bytes].concat()).unwrap();
        };
        index(0o100_644, 0);
        assert!(!runs_programs(root, root));
        index(0o100_644, 0o160_000);
        assert!(!runs_programs(root, root), "a size is no mode");
        index(0o160_000, 0);
        assert!(runs_programs(root, root), "another repository is linked");
        let bare = tempfile::tempdir().unwrap();
        for name in ["objects", "refs", "deep"] {
            std::fs::create_dir(bare.path().join(name)).unwrap();
        }
        assert!(!runs_programs(&bare.path().join("deep"), bare.path()));
        std::fs::write(bare.path().join("HEAD"), "ref: refs/heads/main").unwrap();
        assert!(runs_programs(&bare.path().join("deep"), bare.path()));
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
