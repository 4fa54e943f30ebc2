//! Auto mode's decision for a workspace: the rules in force there, and what is known of it.
//!
//! `stigmer-route` decides and looks at nothing; what it is to know is gathered here.

mod repository;
mod rules;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FileType, Mode, OFlags};
use stigmer_core::process::Command;
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError};
use stigmer_guard::{HostLane, Outlook, Policy as GuardPolicy, Probe, outlook};
use stigmer_route::{Facts, Verdict};

use crate::auto::{Affinities, Judged, State, following, kept_apart, without};
use crate::configuration::Configuration;
use crate::sandbox::Sandboxes;
use crate::store::{Store, id_of};

pub(crate) use rules::Rules;

/// The user's rules, in stigmer's home.
const USER_RULES: &str = "rules.toml";

/// A project's, in the workspace. They come with the code that an agent works on, and may only tighten.
const PROJECT_RULES: &str = ".stigmer/rules.toml";

/// Bytes of a file of rules or of a repository's configuration: more was not written by a person.
const MOST_BYTES: u64 = 1 << 20;

/// Says where commands of a workspace belong.
#[derive(Debug)]
pub struct Router {
    rules: Rules,
    facts: Facts,
    state: State,
    policy: GuardPolicy,
    probe: OnceLock<Probe>,
    /// What the two lanes would be like, for the environment that was asked for first.
    lanes: [OnceLock<Outlook>; 2],
}

/// Where a command belongs, and what it would find there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The verdict, with what follows from toolchains that live in the sandbox.
    pub verdict: Verdict,
    /// Directories whose programs a lane on the host may execute, beside the workspace; none in the
    /// sandbox, which has programs of its own.
    pub tool_roots: Vec<PathBuf>,
    /// Names of the caller's variables that a lane on the host leaves out. The sandbox has none of the
    /// caller's.
    pub dropped_variables: Vec<String>,
    /// Why the lane cannot be had here, so that the command goes to the sandbox instead.
    pub lane_off: Option<String>,
}

impl Router {
    /// Reads the rules and looks at the workspace, whose commands start in `cwd`.
    ///
    /// # Errors
    /// `bad_configuration` for rules that cannot be read or are not understood: without them more would
    /// be let on the host than their author wants.
    pub fn read(configuration: &Configuration, root: &Path, cwd: &Path) -> Result<Self> {
        let rules = Rules::read(configuration, root)?;
        let mut facts = rules.facts(root, cwd, None);
        facts.installed = rules::installed(root, cwd);
        let mut policy = GuardPolicy::new(root, Vec::new());
        policy.cwd = cwd.to_owned();
        policy.tool_roots = configuration.tool_roots().to_vec();
        let state = living(configuration, root);
        let (probe, lanes) = Default::default();
        Ok(Self { rules, facts, state, policy, probe, lanes })
    }

    /// Where a command belongs, and why. What lives in the sandbox is left out of it.
    pub fn decide(&self, command: &Command) -> Verdict {
        self.rules.judge(command, &self.facts)
    }

    /// Where a command belongs with all that is known, and what it would find there. `environment` is the
    /// caller's; the lanes are looked at once, with the environment that came first.
    pub fn explain(&self, command: &Command, environment: &[(OsString, OsString)]) -> Explanation {
        let verdict = self.decide(command);
        let verdict = match self.state.judge(&verdict, &self.facts.root, &self.facts.cwd) {
            Judged::AsItIs => verdict,
            Judged::Follow(toolchain) => following(verdict, &toolchain),
            Judged::Lost(toolchain) => without(verdict, &toolchain),
            Judged::Apart { toolchain, environment } => {
                kept_apart(verdict, &toolchain, &environment)
            }
        };
        let Some(lane) = HostLane::of(verdict.lane) else {
            let (tool_roots, dropped_variables) = Default::default();
            return Explanation { verdict, tool_roots, dropped_variables, lane_off: None };
        };
        let told = self.lanes[usize::from(lane == HostLane::Workspace)].get_or_init(|| {
            let policy = GuardPolicy { environment: environment.to_vec(), ..self.policy.clone() };
            outlook(lane, &policy, self.probe.get_or_init(Probe::take))
        });
        let names = told.dropped.iter().map(|(name, _)| name.to_string_lossy().into_owned());
        Explanation {
            verdict,
            tool_roots: told.tool_roots.clone(),
            dropped_variables: names.collect(),
            lane_off: told.refusal.as_ref().map(ToString::to_string),
        }
    }
}

/// What is known of toolchains in the sandbox of a directory.
fn living(configuration: &Configuration, root: &Path) -> State {
    let Ok(state) = configuration.state_directory() else { return State::default() };
    let id = id_of(root, ExecutionMode::Sandbox);
    Affinities::new(&state).of(&id, || {
        let record = Store::new(&state).get(&id).ok()??;
        Sandboxes::new(configuration.clone(), Box::new(crate::docker)).identity(&record)
    })
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
