//! What this machine has of what the modes need.
//!
//! Everything is tried, not looked up by version: kernels are built without features, containers
//! filter calls, and distributions switch things off. Nothing is changed, and each try has a
//! deadline.

mod docker;
mod kernel;
mod machine;

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use stigmer_core::ExecutionMode;

use crate::configuration::{self, Configuration, Sources, Surroundings};

/// How something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with less than there could be.
    Warning,
    /// Not there.
    Missing,
}

/// What needs a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NeededFor {
    /// Everything: without it nothing works.
    Local,
    /// Containers.
    Sandbox,
    /// The lanes of auto mode.
    Auto,
    /// MicroVMs.
    Firecracker,
    /// Comfort.
    Convenience,
}

impl NeededFor {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Sandbox => "sandbox",
            Self::Auto => "auto",
            Self::Firecracker => "firecracker",
            Self::Convenience => "convenience",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it was found.
    pub status: Status,
    /// What needs it.
    pub needed_for: NeededFor,
    /// What was found, in a few words.
    pub found: String,
    /// What to do about a lack: a sentence with a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, needed_for: NeededFor, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, needed_for, found: found.into(), fix: None }
    }

    fn lack(
        status: Status,
        name: &'static str,
        needed_for: NeededFor,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { name, status, needed_for, found: found.into(), fix: Some(fix.into()) }
    }

    fn missing(
        name: &'static str,
        needed_for: NeededFor,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::lack(Status::Missing, name, needed_for, found, fix)
    }

    fn warning(
        name: &'static str,
        needed_for: NeededFor,
        found: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::lack(Status::Warning, name, needed_for, found, fix)
    }
}

/// Whether local mode works by these checks.
pub fn local_mode_works(checks: &[Check]) -> bool {
    !checks
        .iter()
        .any(|check| check.needed_for == NeededFor::Local && check.status == Status::Missing)
}

/// Whether a mode works by these checks. One that this build does not have does not.
pub fn mode_works(mode: ExecutionMode, checks: &[Check]) -> bool {
    let lacks = |what| {
        checks.iter().any(|check| check.needed_for == what && check.status == Status::Missing)
    };
    match mode {
        ExecutionMode::Local => local_mode_works(checks),
        ExecutionMode::Sandbox => local_mode_works(checks) && !lacks(NeededFor::Sandbox),
        // What is for a lane that is off goes to the sandbox; without one only the lanes are left, and
        // what is not for them is refused.
        ExecutionMode::Auto => {
            local_mode_works(checks) && !(lacks(NeededFor::Sandbox) && lacks(NeededFor::Auto))
        }
        ExecutionMode::Firecracker | ExecutionMode::Kubernetes | ExecutionMode::Cloud => false,
    }
}

/// Looks at everything.
pub fn examine(sources: &Sources) -> Vec<Check> {
    let surroundings = &sources.surroundings;
    let mut checks = vec![settings(sources)];
    checks.extend(unknown_variables(surroundings));
    checks.extend(machine::state(surroundings));
    checks.extend(kernel::checks());
    checks.extend(machine::checks(surroundings));
    let configuration = Configuration::load(sources).ok();
    checks.extend(docker::checks(surroundings, configuration.as_ref()));
    checks
}

fn settings(sources: &Sources) -> Check {
    let name = "configuration";
    let target = Configuration::load(sources)
        .and_then(|configuration| configuration.target().map(|(mode, _)| mode));
    match target {
        Ok(mode) => Check::ok(name, NeededFor::Local, format!("execution mode {mode}")),
        Err(error) => Check::missing(
            name,
            NeededFor::Local,
            error.message,
            error.hint.unwrap_or_else(|| "see `stigmer config list`".to_owned()),
        ),
    }
}

fn unknown_variables(surroundings: &Surroundings) -> Option<Check> {
    let unknown = configuration::unknown_variables(surroundings);
    let (first, near) = unknown.first()?;
    let names: Vec<&str> = unknown.iter().map(|(name, _)| name.as_str()).collect();
    let fix = match near {
        Some(near) => format!("did you mean {near}? Otherwise `unset {first}`"),
        None => format!("they have no effect: `unset {}`", names.join(" ")),
    };
    let found = format!("no setting: {}", names.join(", "));
    Some(Check::warning("variables", NeededFor::Convenience, found, fix))
}

/// How long a program or daemon that is asked may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What came of a program that was tried.
#[derive(Debug)]
enum Tried {
    /// It succeeded and wrote this.
    Worked(String),
    /// It failed and wrote this.
    Failed(String),
    /// There is no such program.
    NotThere,
}

/// Runs a program with no input and little output, for a limited time.
fn try_program(program: &str, arguments: &[&str]) -> Tried {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Tried::NotThere,
        Err(error) => return Tried::Failed(error.to_string()),
    };
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Tried::Failed(format!("{program} did not end in {PATIENCE:?}"));
            }
            Err(error) => return Tried::Failed(error.to_string()),
        }
    };
    // What fits a pipe is there; the programs that are asked write one line.
    let read = |stream: Option<&mut dyn Read>| {
        let mut bytes = vec![0; 1024];
        let length = stream.and_then(|stream| stream.read(&mut bytes).ok()).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };
    if status.success() {
        Tried::Worked(read(child.stdout.as_mut().map(|stream| stream as &mut dyn Read)))
    } else {
        let said = read(child.stderr.as_mut().map(|stream| stream as &mut dyn Read));
        Tried::Failed(if said.is_empty() { status.to_string() } else { said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lack_has_its_fix_and_names_are_unique() {
        let home = tempfile::tempdir().unwrap();
        let surroundings = Surroundings {
            environment: vec![
                ("PATH".into(), "/nonexistent".into()),
                ("DOCKER_HOST".into(), "unix:///nonexistent.sock".into()),
                ("STIGMER_TIMOUT".into(), "1".into()),
            ],
            home: Some(home.path().to_owned()),
        };
        let checks = examine(&Sources { surroundings, ..Sources::default() });
        for (index, check) in checks.iter().enumerate() {
            assert_eq!(check.status == Status::Ok, check.fix.is_none(), "{check:?}");
            assert!(!check.found.is_empty(), "{check:?}");
            assert!(checks[..index].iter().all(|other| other.name != check.name), "{check:?}");
        }
        let named = |name| checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(named("docker").status, Status::Missing);
        assert!(named("docker").fix.as_ref().unwrap().contains("unset DOCKER_HOST"));
        assert!(named("variables").fix.as_ref().unwrap().contains("STIGMER_TIMEOUT"));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn only_what_local_mode_needs_decides() {
        let lack = |needed_for| Check::missing("x", needed_for, "no", "do");
        assert!(local_mode_works(&[lack(NeededFor::Sandbox), lack(NeededFor::Auto)]));
        assert!(!local_mode_works(&[lack(NeededFor::Local)]));
        let warning = Check::warning("x", NeededFor::Local, "meh", "do");
        assert!(local_mode_works(&[warning]));
        let sandbox = |checks: &[Check]| mode_works(ExecutionMode::Sandbox, checks);
        assert!(sandbox(&[lack(NeededFor::Auto)]));
        assert!(!sandbox(&[lack(NeededFor::Sandbox)]) && !sandbox(&[lack(NeededFor::Local)]));
        assert!(mode_works(ExecutionMode::Local, &[lack(NeededFor::Sandbox)]));
        let auto = |checks: &[Check]| mode_works(ExecutionMode::Auto, checks);
        assert!(auto(&[]) && auto(&[lack(NeededFor::Auto)]) && auto(&[lack(NeededFor::Sandbox)]));
        assert!(!auto(&[lack(NeededFor::Sandbox), lack(NeededFor::Auto)]));
        assert!(!auto(&[lack(NeededFor::Local)]));
        assert!(!mode_works(ExecutionMode::Kubernetes, &[]), "this build does not have it");
    }

    #[test]
    fn bad_settings_are_a_lack() {
        let surroundings =
            Surroundings { environment: vec![("MODE".into(), "x".into())], home: None };
        let sources = Sources { surroundings, ..Sources::default() };
        assert_eq!(settings(&sources).status, Status::Missing);
    }

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let begun = Instant::now();
        assert!(matches!(try_program("sleep", &["60"]), Tried::Failed(_)));
        assert!(begun.elapsed() < PATIENCE * 3);
        assert!(matches!(try_program("/nonexistent", &[]), Tried::NotThere));
        let Tried::Worked(said) = try_program("echo", &["hi"]) else { panic!() };
        assert_eq!(said, "hi");
    }
}
