//! The rules in force for a workspace, and whether their files are as they were.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_core::{ByteString, Result, ToolError};
use stigmer_route::{Facts, Policy, Verdict, decide};

use super::{PROJECT_RULES, USER_RULES, bad, read, repository};
use crate::configuration::Configuration;

/// How many installed programs are looked at: large workspaces have some hundreds.
const MOST_INSTALLED: usize = 4_000;

/// What tells a file from one that was written later. The change time is the kernel's own.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The rules in force for a workspace.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Ours, if nobody has added any.
    policy: Option<Policy>,
    home: Option<PathBuf>,
    files: Vec<(PathBuf, Stamp)>,
}

impl Rules {
    /// Reads them.
    ///
    /// # Errors
    /// `bad_configuration` for rules that cannot be read or are not understood.
    pub(crate) fn read(configuration: &Configuration, root: &Path) -> Result<Self> {
        let (mut policy, mut files) = (None, Vec::new());
        let user = configuration.home().ok().map(|home| home.join(USER_RULES));
        let project = root.join(PROJECT_RULES);
        for (path, of_project) in
            user.map(|path| (path, false)).into_iter().chain([(project, true)])
        {
            // Before it is read: what is written meanwhile is read again.
            files.push((path.clone(), stamp(&path)));
            let Some(text) = rules(&path)? else { continue };
            let before = policy.as_ref().unwrap_or(Policy::embedded());
            let added =
                if of_project { before.with_project(&text) } else { before.with_user(&text) };
            policy = Some(added.map_err(|error| bad(&path, &error))?);
        }
        Ok(Self { policy, home: configuration.around().user_home.clone(), files })
    }

    /// Whether the files are those that were read.
    pub(crate) fn are_current(&self) -> bool {
        self.files.iter().all(|(path, before)| stamp(path) == *before)
    }

    /// What is known of a workspace, whose command starts in `cwd`; `home` is what the command says.
    pub(super) fn facts(&self, root: &Path, cwd: &Path, home: Option<PathBuf>) -> Facts {
        let repository_runs_programs = repository::runs_programs(cwd, root);
        Facts { repository_runs_programs, ..self.strictest(root, cwd, home) }
    }

    /// What is known without a look at the disk.
    fn strictest(&self, root: &Path, cwd: &Path, home: Option<PathBuf>) -> Facts {
        Facts {
            root: root.to_owned(),
            cwd: cwd.to_owned(),
            // One that is no whole path means nothing that is known.
            home: home.or_else(|| self.home.clone()).filter(|home| home.is_absolute()),
            repository_runs_programs: true,
            installed: Vec::new(),
        }
    }

    /// Where a command belongs, and why.
    pub(crate) fn decide(
        &self,
        command: &Command,
        root: &Path,
        cwd: &Path,
        home: Option<PathBuf>,
    ) -> Verdict {
        let mut facts = self.strictest(root, cwd, home);
        if speaks_of_fetching(command) {
            facts.installed = installed(root, cwd);
        }
        let verdict = self.judge(command, &facts);
        // To look at the repository takes longer than all else, and matters only to git.
        let named =
            |name: &String| name.rsplit('/').next().is_some_and(|name| name.starts_with("git"));
        if verdict.lane != Lane::HostWorkspace || !verdict.programs.iter().any(named) {
            return verdict;
        }
        match repository::runs_programs(cwd, root) {
            true => verdict,
            false => self.judge(command, &Facts { repository_runs_programs: false, ..facts }),
        }
    }

    /// The same of facts that are known.
    pub(super) fn judge(&self, command: &Command, facts: &Facts) -> Verdict {
        decide(command, facts, self.policy.as_ref().unwrap_or(Policy::embedded()))
    }
}

/// Whether it can be asked what is installed: for most commands nobody looks.
fn speaks_of_fetching(command: &Command) -> bool {
    let said = |text: &ByteString| {
        let mut parts = text.as_bytes().windows(3);
        parts.any(|part| part == b"npx" || part == b"unx")
    };
    match command {
        Command::Shell(line) => said(line),
        Command::Argv(words) => words.iter().any(said),
    }
}

/// The programs that package managers have put into a workspace, and into the package in it that a command
/// starts in.
pub(super) fn installed(root: &Path, cwd: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for package in if root == cwd { vec![root] } else { vec![root, cwd] } {
        let Ok(entries) = fs::read_dir(package.join("node_modules/.bin")) else { continue };
        let entries = entries.take(MOST_INSTALLED).flatten();
        names.extend(entries.filter_map(|entry| entry.file_name().into_string().ok()));
    }
    names
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}

/// A file of rules; nothing if there is none.
fn rules(path: &Path) -> std::result::Result<Option<String>, ToolError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, Surroundings};

    #[test]
    fn git_reads_where_its_repository_runs_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        std::fs::create_dir(root.join(".git")).unwrap();
        let configuration = Configuration::load(&Sources::default()).unwrap();
        let rules = Rules::read(&configuration, root).unwrap();
        let lane = |line: &str| rules.decide(&Command::Shell(line.into()), root, root, None).lane;
        let lines = ["git status", "g\"it\" status | head", "/usr/bin/git log", "ls"];
        assert_eq!(lines.map(lane), [Lane::HostReadOnly; 4]);
        std::fs::write(root.join(".git/config"), "[core]\nfsmonitor = x\n").unwrap();
        let [git, spelt, path, other] = lines.map(lane);
        assert_eq!([git, spelt, path], [Lane::HostWorkspace; 3]);
        assert_eq!(other, Lane::HostReadOnly);
    }

    #[test]
    fn what_would_be_fetched_runs_in_the_workspace_once_it_is_installed() {
        let scratch = tempfile::tempdir().unwrap();
        let (root, package) = (scratch.path().to_owned(), scratch.path().join("web"));
        std::fs::create_dir_all(package.join("node_modules/.bin")).unwrap();
        std::fs::write(package.join("node_modules/.bin/tsc"), "").unwrap();
        let configuration = Configuration::load(&Sources::default()).unwrap();
        let rules = Rules::read(&configuration, &root).unwrap();
        let lane = |line: &str, cwd: &Path| {
            rules.decide(&Command::Shell(line.into()), &root, cwd, None).lane
        };
        assert_eq!(lane("npx tsc --noEmit", &package), Lane::HostWorkspace);
        assert_eq!(lane("npx tsc --noEmit", &root), Lane::Sandbox);
        assert_eq!(lane("npx jest", &package), Lane::Sandbox);
        let words = Command::Argv(vec!["npx".into(), "tsc".into()]);
        assert_eq!(rules.decide(&words, &root, &package, None).lane, Lane::HostWorkspace);
    }

    #[test]
    fn rules_are_current_until_one_of_their_files_comes_changes_or_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let (home, root) = (scratch.path().join("home"), scratch.path().join("w"));
        std::fs::create_dir_all(home.join(".stigmer")).unwrap();
        std::fs::create_dir_all(root.join(".stigmer")).unwrap();
        let surroundings = Surroundings { environment: Vec::new(), home: Some(home.clone()) };
        let sources = Sources { surroundings, ..Sources::default() };
        let configuration = Configuration::load(&sources).unwrap();
        let read = || Rules::read(&configuration, &root).unwrap();
        for path in [home.join(".stigmer/rules.toml"), root.join(".stigmer/rules.toml")] {
            let rules = read();
            assert!(rules.are_current());
            std::fs::write(&path, "[ls]\nlane = 'sandbox'\n").unwrap();
            assert!(!rules.are_current());
            let rules = read();
            assert!(rules.are_current());
            // The same size, and whatever its times are set to.
            std::fs::write(&path, "[ps]\nlane = 'sandbox'\n").unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            assert!(!rules.are_current());
            let rules = read();
            std::fs::remove_file(&path).unwrap();
            assert!(!rules.are_current());
        }
    }
}
