//! The settings that a daemon's environment has set, and what they are for its clients.
//!
//! `STIGMER_EXECUTION_MODE=sandbox stigmer server start` counts for a plain `stigmer run` in another
//! terminal. So the daemon says what its environment set, and the client puts it in the layer below
//! its own.

use stigmer_core::{ErrorCode, Result, ToolError};

use super::variables::Key;
use super::{Configuration, Origin, check};

/// Settings that are each program's own: where its files and its server are, and in which directory
/// it works. A client that took over the daemon's would work elsewhere than it was told to.
const OWN: [Key; 6] = [
    Key::Home,
    Key::WorkspaceDir,
    Key::SandboxRootDir,
    Key::BackendEndpoint,
    Key::ServerIdleLimit,
    // The daemon's own copy fits the daemon.
    Key::Sidecar,
];

impl Configuration {
    /// Names and values of the settings that this program's environment has set and that count for
    /// its clients, too, as they would stand in the file. No secret is among them.
    pub fn of_environment(&self) -> Vec<(String, String)> {
        let set = Key::ALL.iter().filter(|key| !key.is_secret() && !OWN.contains(key));
        set.filter_map(|key| {
            let found = self.get(*key)?;
            let by_environment = matches!(found.origin, Origin::Environment(_));
            by_environment.then(|| (key.setting().name.to_owned(), found.value.to_string()))
        })
        .collect()
    }
}

/// What a daemon says that its environment has set, for [`Sources::daemon`](super::Sources).
///
/// # Errors
/// `bad_configuration` for a setting or value that this version does not know, or that no daemon
/// sets for its clients: to pass over it may be to run elsewhere than was said.
pub fn from_daemon(pairs: &[(String, String)]) -> Result<Vec<(Key, String)>> {
    let mut settings = Vec::new();
    for (name, text) in pairs {
        let known = Key::named(name).filter(|key| !key.is_secret() && !OWN.contains(key));
        let Some(key) = known else {
            let message = format!("the daemon has set {name:?}, which this stigmer does not know");
            return Err(ToolError::new(ErrorCode::BadConfiguration, message)
                .with_detail("setting", name.as_str())
                .with_hint("use the version that the daemon has, or restart it with this one"));
        };
        check(key, &Origin::Daemon, text)?;
        settings.push((key, text.clone()));
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, Surroundings};

    fn load(variables: &[(&str, &str)], daemon: Vec<(Key, String)>) -> Configuration {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let surroundings = Surroundings { environment: environment.collect(), home: None };
        Configuration::load(&Sources { surroundings, daemon, ..Sources::default() }).unwrap()
    }

    #[test]
    fn what_the_daemons_environment_set_counts_for_a_client_that_set_nothing() {
        let daemon = load(
            &[
                ("STIGMER_EXECUTION_MODE", "sandbox"),
                ("STIGMER_OUTPUT_CAP", "1MiB"),
                ("STIGMER_TIMEOUT", "0"),
                ("VM_CPU_LIMIT", "500m"),
            ],
            Vec::new(),
        );
        let pairs = daemon.of_environment();
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["execution_mode", "timeout", "output_cap", "vm_cpu_limit"]);
        let client = load(&[], from_daemon(&pairs).unwrap());
        for key in [Key::ExecutionMode, Key::OutputCap, Key::Timeout, Key::VmCpuLimit] {
            let (ours, theirs) = (client.get(key).unwrap(), daemon.get(key).unwrap());
            assert_eq!((&ours.value, &ours.origin), (&theirs.value, &Origin::Daemon));
        }
        let client = load(&[("STIGMER_EXECUTION_MODE", "local")], from_daemon(&pairs).unwrap());
        assert_eq!(client.get(Key::ExecutionMode).unwrap().value.to_string(), "local");
    }

    #[test]
    fn secrets_and_what_is_the_daemons_own_stay_with_it() {
        let daemon = load(
            &[
                ("STIGMER_API_KEY", "hunter2"),
                ("DAYTONA_API_KEY", "hunter2"),
                ("REDIS_PASSWORD", "hunter2"),
                ("STIGMER_HOME", "/elsewhere"),
                ("WORKSPACE_DIR", "/elsewhere"),
                ("STIGMER_BACKEND_ENDPOINT", "elsewhere:1"),
            ],
            Vec::new(),
        );
        assert_eq!(daemon.of_environment(), []);
    }

    #[test]
    fn what_is_not_known_or_not_valid_is_refused_and_not_passed_over() {
        for (name, value) in [
            ("a_setting_of_the_future", "1"),
            ("execution_mode", "a_mode_of_the_future"),
            ("home", "/elsewhere"),
            ("api_key", "hunter2"),
            ("", ""),
        ] {
            let error = from_daemon(&[(name.to_owned(), value.to_owned())]).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadConfiguration, "{name}");
            assert!(error.message.contains(name) && error.hint.is_some(), "{error:?}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }
}
