//! Auto mode's decision for a workspace: the rules in force there, and what is known of it.
//!
//! `stigmer-route` decides and looks at nothing; what it is to know is gathered here.

mod repository;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use stigmer_core::process::Command;
use stigmer_core::{ErrorCode, Result, ToolError};
use stigmer_route::{Facts, Policy, Verdict, decide};

use crate::configuration::Configuration;

/// The user's rules, in stigmer's home.
const USER_RULES: &str = "rules.toml";

/// A project's, in the workspace. They come with the code that an agent works on, and may only tighten.
const PROJECT_RULES: &str = ".stigmer/rules.toml";

/// Bytes of a file of rules or of a repository's configuration: more was not written by a person.
const MOST_BYTES: u64 = 1 << 20;

/// Says where commands of a workspace belong.
#[derive(Clone, Debug)]
pub struct Router {
    policy: Policy,
    facts: Facts,
}

impl Router {
    /// Reads the rules and looks at the workspace, whose commands start in `cwd`.
    ///
    /// # Errors
    /// `bad_configuration` for rules that cannot be read or are not understood: without them more would
    /// be let on the host than their author wants.
    pub fn read(configuration: &Configuration, root: &Path, cwd: &Path) -> Result<Self> {
        let mut policy = Policy::embedded().clone();
        if let Ok(home) = configuration.home() {
            let path = home.join(USER_RULES);
            if let Some(text) = rules(&path)? {
                policy = policy.with_user(&text).map_err(|error| bad(&path, &error))?;
            }
        }
        let path = root.join(PROJECT_RULES);
        if let Some(text) = rules(&path)? {
            policy = policy.with_project(&text).map_err(|error| bad(&path, &error))?;
        }
        let facts = Facts {
            root: root.to_owned(),
            cwd: cwd.to_owned(),
            home: configuration.around().user_home.clone(),
            repository_runs_programs: repository::runs_programs(cwd, root),
        };
        Ok(Self { policy, facts })
    }

    /// Where a command belongs, and why.
    pub fn decide(&self, command: &Command) -> Verdict {
        decide(command, &self.facts, &self.policy)
    }
}

/// A file of rules; nothing if there is none.
fn rules(path: &Path) -> Result<Option<String>> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(path, &error)),
    }
}

fn bad(path: &Path, why: &dyn std::fmt::Display) -> ToolError {
    ToolError::new(ErrorCode::BadConfiguration, format!("{}: {why}", path.display()))
        .with_hint("mend or remove the file; `stigmer explain` shows whether it is understood")
}

/// Reads a file that the workspace may have put there: no link, no pipe, not without end.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    let read = File::from(file).take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read).is_ok_and(|read| read > MOST_BYTES) {
        return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
    }
    Ok(text)
}

/// The nearest directory of `name` at or above `from`, not above `top`.
fn above(from: &Path, top: &Path, name: &str) -> Option<PathBuf> {
    let places = from.ancestors().take_while(|place| place.starts_with(top));
    places.map(|place| place.join(name)).find(|path| path.symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use stigmer_core::Lane;

    use super::*;
    use crate::{Sources, Surroundings};

    struct Scene {
        directory: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            for path in ["home/.stigmer", "work/.stigmer", "work/.git"] {
                std::fs::create_dir_all(directory.path().join(path)).unwrap();
            }
            Self { directory }
        }

        fn write(&self, path: &str, text: &str) {
            std::fs::write(self.directory.path().join(path), text).unwrap();
        }

        fn lane(&self, line: &str) -> Result<Lane> {
            let home = self.directory.path().join("home");
            let surroundings = Surroundings { environment: Vec::new(), home: Some(home) };
            let sources = Sources { surroundings, ..Sources::default() };
            let root = self.directory.path().join("work");
            let router = Router::read(&Configuration::load(&sources)?, &root, &root)?;
            Ok(router.decide(&Command::Shell(line.into())).lane)
        }
    }

    #[test]
    fn a_user_may_add_rules_and_a_project_may_only_tighten() {
        let scene = Scene::new();
        assert_eq!(scene.lane("frobnicate"), Ok(Lane::Sandbox));
        assert_eq!(scene.lane("ls"), Ok(Lane::HostReadOnly));
        scene.write("home/.stigmer/rules.toml", "[frobnicate]\nlane = 'read-only'\n");
        assert_eq!(scene.lane("frobnicate"), Ok(Lane::HostReadOnly));
        scene.write("work/.stigmer/rules.toml", "[ls]\nlane = 'sandbox'\n");
        assert_eq!(scene.lane("ls"), Ok(Lane::Sandbox));
        scene.write("work/.stigmer/rules.toml", "[curl]\nlane = 'read-only'\n");
        assert_eq!(scene.lane("curl http://localhost"), Ok(Lane::Sandbox));
    }

    #[test]
    fn rules_that_are_not_understood_are_an_error_that_names_the_file() {
        for place in ["home/.stigmer/rules.toml", "work/.stigmer/rules.toml"] {
            let scene = Scene::new();
            scene.write(place, "[ls\n");
            let error = scene.lane("ls").unwrap_err();
            assert_eq!(error.code, ErrorCode::BadConfiguration);
            assert!(error.message.contains(place), "{}", error.message);
        }
    }

    #[test]
    fn rules_behind_a_link_or_in_a_pipe_are_not_read() {
        let scene = Scene::new();
        let path = scene.directory.path().join("work/.stigmer/rules.toml");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        let error = scene.lane("ls").unwrap_err();
        assert!(!error.message.contains("root:"), "{}", error.message);
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        scene.lane("ls").unwrap_err();
    }

    #[test]
    fn reading_with_git_runs_what_the_repository_says() {
        let scene = Scene::new();
        scene.write("work/.git/config", "[core]\n\tbare = false\n");
        assert_eq!(scene.lane("git status"), Ok(Lane::HostReadOnly));
        scene.write("work/.git/config", "[core]\n\tfsmonitor = ./evil\n");
        assert_eq!(scene.lane("git status"), Ok(Lane::HostWorkspace));
    }
}
