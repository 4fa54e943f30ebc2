//! What stigmer is told to do, from every place that tells it.
//!
//! Nothing here reads the process's environment or guesses a home directory: the front-end hands
//! both over as [`Surroundings`], so that the daemon can answer for another process's environment
//! and tests need none. An environment variable that is set but empty is an error, except for a
//! secret, where it counts as unset: that is how deployments write "no password".

pub mod combinations;
pub mod daemon;
pub mod file;
pub mod parse;
mod places;
pub mod precedence;
pub mod variables;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError, limits};

pub(crate) use places::{kept_note, merged};

use combinations::{COMBINATIONS, Choices, DECIDING, Undecidable};
use parse::{Endpoint, Value};
use precedence::{Layer, Layers};
use variables::{Key, SETTINGS};

use crate::execution_mode_named;
use crate::secret::{Secret, without_secrets};

/// What the front-end knows of the process that asks.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

impl Surroundings {
    /// The value of a variable.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.environment.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.as_os_str())
    }
}

/// All places that settings come from, but for the file, which is found through them.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Flags: the setting, the flag's name with its dashes, the value.
    pub flags: Vec<(Key, &'static str, String)>,
    /// The caller's process.
    pub surroundings: Surroundings,
    /// The workspace's settings.
    pub workspace: Vec<(Key, String)>,
    /// What the daemon was started with.
    pub daemon: Vec<(Key, String)>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This flag.
    Flag(&'static str),
    /// This environment variable.
    Environment(&'static str),
    /// The workspace.
    Workspace,
    /// The daemon.
    Daemon,
    /// This line of this file.
    File(PathBuf, usize),
    /// The table of settings.
    Default,
}

impl Origin {
    /// The kind of place.
    pub fn layer(&self) -> Layer {
        match self {
            Self::Flag(_) => Layer::Flag,
            Self::Environment(_) => Layer::Environment,
            Self::Workspace => Layer::Workspace,
            Self::Daemon => Layer::Daemon,
            Self::File(..) => Layer::File,
            Self::Default => Layer::Default,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
            Self::Workspace => formatter.write_str("workspace"),
            Self::Daemon => formatter.write_str("daemon"),
            Self::File(path, line) => write!(formatter, "{} line {line}", path.display()),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// A value that is in force, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

/// What is known of the caller beside settings, for containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    /// The user's home directory.
    pub(crate) user_home: Option<PathBuf>,
    /// `DOCKER_HOST`.
    pub(crate) docker_host: Option<String>,
    /// `DOCKER_CONFIG`: the directory of Docker's own configuration.
    pub(crate) docker_config: Option<PathBuf>,
    /// The proxy variables. They may have passwords in them.
    pub(crate) proxy: Vec<(String, Secret)>,
}

impl Around {
    fn of(surroundings: &Surroundings) -> Self {
        let text = |name: &str| surroundings.variable(name).and_then(OsStr::to_str);
        let mut proxy = Vec::new();
        for (name, value) in &surroundings.environment {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            let known = crate::sandbox::PROXY_VARIABLES.contains(&&*name.to_ascii_lowercase());
            if known && !value.is_empty() && !proxy.iter().any(|(other, _)| other == name) {
                proxy.push((name.to_owned(), Secret::new(value)));
            }
        }
        Self {
            user_home: surroundings.home.clone(),
            docker_config: text("DOCKER_CONFIG").filter(|text| !text.is_empty()).map(PathBuf::from),
            docker_host: text("DOCKER_HOST").filter(|text| !text.is_empty()).map(str::to_owned),
            proxy,
        }
    }
}

/// All settings, read, checked and put in order.
#[derive(Clone, Debug)]
pub struct Configuration {
    home: Option<PathBuf>,
    around: Around,
    values: Vec<Option<Resolved>>,
}

impl Configuration {
    /// Reads and checks everything that is set, also what a stronger place overrules.
    ///
    /// # Errors
    /// `bad_configuration`, naming the setting, the place, the value and the valid values.
    pub fn load(sources: &Sources) -> Result<Self> {
        let home = home(&sources.surroundings)?;
        let path = home.as_ref().map(|home| home.join(file::FILE_NAME));
        let mut said: Vec<(Key, Origin, String)> = Vec::new();
        for (key, flag, text) in &sources.flags {
            said.push((*key, Origin::Flag(flag), text.clone()));
        }
        said.extend(from_environment(&sources.surroundings)?);
        let layers = [(&sources.workspace, Origin::Workspace), (&sources.daemon, Origin::Daemon)];
        for (values, origin) in layers {
            said.extend(values.iter().map(|(key, text)| (*key, origin.clone(), text.clone())));
        }
        if let Some(path) = &path {
            for entry in file::read(path)? {
                said.push((entry.key, Origin::File(path.clone(), entry.line), entry.text));
            }
        }

        let mut layers: Vec<Layers<Resolved>> =
            SETTINGS.iter().map(|_| Layers::default()).collect();
        for (key, origin, text) in said {
            if text.is_empty() && key.is_secret() {
                continue;
            }
            let value = match (key, &origin, execution_mode_named(&text)) {
                // The flag names every mode, the setting only those that no other setting selects.
                (Key::ExecutionMode, Origin::Flag(_), Some(mode)) => Value::Choice(mode.name()),
                _ => check(key, &origin, &text)?,
            };
            layers[key as usize].set(origin.layer(), Resolved { value, origin });
        }
        for setting in SETTINGS {
            let origin = Origin::Default;
            let value = match (setting.key, setting.default) {
                (Key::Home, _) => match &home {
                    Some(home) => Value::Path(home.clone()),
                    None => continue,
                },
                (_, Some(text)) => check(setting.key, &origin, text)?,
                (_, None) => continue,
            };
            layers[setting.key as usize].set(Layer::Default, Resolved { value, origin });
        }
        let values = layers.into_iter().map(|layers| layers.choose().map(|(_, value)| value));
        let around = Around::of(&sources.surroundings);
        Ok(Self { home, around, values: values.collect() })
    }

    /// What is known of the caller beside settings.
    pub(crate) fn around(&self) -> &Around {
        &self.around
    }

    /// What is in force for a setting, if anything is.
    pub fn get(&self, key: Key) -> Option<&Resolved> {
        self.values.get(key as usize).and_then(Option::as_ref)
    }

    fn value(&self, key: Key) -> Option<&Value> {
        self.get(key).map(|resolved| &resolved.value)
    }

    /// The directory of configuration and state.
    ///
    /// # Errors
    /// `bad_configuration` if there is neither `STIGMER_HOME` nor a home directory.
    pub fn home(&self) -> Result<&Path> {
        self.home.as_deref().ok_or_else(no_home)
    }

    /// Where processes, their output and locks are kept.
    ///
    /// # Errors
    /// As [`Configuration::home`].
    pub fn state_directory(&self) -> Result<PathBuf> {
        Ok(self.home()?.join("state"))
    }

    /// The directory to work in, if a setting names one.
    pub fn workspace_directory(&self) -> Option<&Path> {
        match self.value(Key::WorkspaceDir) {
            Some(Value::Path(path)) => Some(path),
            _ => None,
        }
    }

    /// Further directories of tools for auto mode's lanes on the host.
    pub fn tool_roots(&self) -> &[PathBuf] {
        match self.value(Key::ToolRoots) {
            Some(Value::Paths(paths)) => paths,
            _ => &[],
        }
    }

    /// How long a command may run; `None` is without end.
    pub fn timeout(&self) -> Option<Duration> {
        match self.value(Key::Timeout) {
            Some(Value::Duration(time)) => *time,
            _ => Some(limits::DEFAULT_TIMEOUT),
        }
    }

    /// How much of one command's output is kept.
    pub fn output_cap(&self) -> u64 {
        match self.value(Key::OutputCap) {
            Some(Value::Size(bytes)) => *bytes,
            _ => limits::DEFAULT_OUTPUT_CAP,
        }
    }

    /// How long a finished command is kept; `None` is for ever.
    pub fn output_retention(&self) -> Option<Duration> {
        match self.value(Key::OutputRetention) {
            Some(Value::Duration(time)) => *time,
            _ => None,
        }
    }

    /// How long a foreground command waits for a client that vanished.
    pub fn client_grace(&self) -> Duration {
        match self.value(Key::ClientGrace) {
            Some(Value::Duration(Some(time))) => *time,
            _ => limits::DEFAULT_CLIENT_GRACE,
        }
    }

    /// The time between TERM and KILL.
    pub fn termination_grace(&self) -> Duration {
        match self.value(Key::TerminationGrace) {
            Some(Value::Duration(Some(time))) => *time,
            _ => limits::DEFAULT_TERMINATION_GRACE,
        }
    }

    /// What the daemon logs, as levels for the parts of the program.
    pub fn log_levels(&self) -> &str {
        match self.value(Key::Log) {
            Some(Value::Text(levels)) => levels,
            _ => "info",
        }
    }

    /// How long the daemon goes on when nobody uses it; `None` is for ever.
    pub fn server_idle_limit(&self) -> Option<Duration> {
        match self.value(Key::ServerIdleLimit) {
            Some(Value::Duration(limit)) => *limit,
            _ => None,
        }
    }

    /// The daemon's address.
    pub fn backend_endpoint(&self) -> Option<&Endpoint> {
        match self.value(Key::BackendEndpoint) {
            Some(Value::HostPort(endpoint)) => Some(endpoint),
            _ => None,
        }
    }

    /// The daemon's token. The placeholder of the documented local environment is none.
    pub fn api_key(&self) -> Option<&Secret> {
        match self.value(Key::ApiKey) {
            Some(Value::Secret(secret)) if secret.expose() != PLACEHOLDER_KEY => Some(secret),
            _ => None,
        }
    }

    /// Where commands run, and the setting that says so (`None`: nothing says, it is the default).
    ///
    /// # Errors
    /// `bad_configuration` for settings that contradict each other, naming both.
    pub fn target(&self) -> Result<(ExecutionMode, Option<&Origin>)> {
        if let Some(found) = self.get(Key::ExecutionMode)
            && let (Value::Choice(word), Origin::Flag(_)) = (&found.value, &found.origin)
            && let Some(mode) = execution_mode_named(word)
        {
            return Ok((mode, Some(&found.origin)));
        }
        let set = |key: Key| self.get(key).filter(|found| found.origin != Origin::Default);
        let values = DECIDING.map(|key| match &set(key)?.value {
            Value::Choice(word) => Some(*word),
            Value::Boolean(yes) => Some(if *yes { "true" } else { "false" }),
            _ => None,
        });
        let present = Key::ALL.iter().copied().filter(|key| set(*key).is_some()).collect();
        let mode = combinations::decide(&Choices { values, present });
        let mode = mode.map_err(|error| self.undecidable(&error))?;
        // `MODE=local AGENT_MODE=firecracker` is not to be blamed on `MODE`: what names another place
        // than this machine comes first.
        let here = ["local", "filesystem", "false"];
        let says = |index: &usize| values[*index].is_some_and(|value| !here.contains(&value));
        let said = (0..DECIDING.len()).find(says);
        let said = said.or_else(|| values.iter().position(Option::is_some));
        let origin = said.and_then(|index| set(DECIDING[index])).map(|found| &found.origin);
        Ok((mode, origin))
    }

    fn undecidable(&self, error: &Undecidable) -> ToolError {
        let shown = |key: Key| match self.get(key) {
            Some(found) => format!("{}={} ({})", key.setting().name, found.value, found.origin),
            None => key.setting().name.to_owned(),
        };
        match error {
            Undecidable::Contradiction(first, second) => {
                let rows: Vec<String> =
                    COMBINATIONS.iter().map(combinations::Combination::describe).collect();
                bad(format!("{} contradicts {}", shown(*first), shown(*second)))
                    .with_detail("settings", vec![first.setting().name, second.setting().name])
                    .with_detail("valid", rows.clone())
                    .with_hint(format!(
                        "unset one of the two; valid combinations are:\n    {}",
                        rows.join("\n    ")
                    ))
            }
            Undecidable::Missing(mode, key) => {
                let setting = key.setting();
                bad(format!("execution mode {mode} needs {}", setting.variable))
                    .with_detail("setting", setting.name)
                    .with_hint(format!(
                        "set {} in the environment, or `stigmer config set {} …`",
                        setting.variable, setting.name
                    ))
            }
        }
    }
}

/// What the documented local environment puts in `STIGMER_API_KEY`: it means that there is none.
const PLACEHOLDER_KEY: &str = "dummy-local-key";

/// The directory of configuration and state.
///
/// # Errors
/// `bad_configuration` for a `STIGMER_HOME` that is no absolute path.
pub fn home(surroundings: &Surroundings) -> Result<Option<PathBuf>> {
    match surroundings.variable(Key::Home.setting().variable) {
        Some(text) => {
            let origin = Origin::Environment(Key::Home.setting().variable);
            match check(Key::Home, &origin, &text_of(Key::Home, &origin, text)?)? {
                Value::Path(path) => Ok(Some(path)),
                _ => Ok(None),
            }
        }
        None => Ok(surroundings.home.as_ref().map(|home| home.join(".stigmer"))),
    }
}

/// The path of the configuration file.
///
/// # Errors
/// `bad_configuration` if no home is known.
pub fn file_path(surroundings: &Surroundings) -> Result<PathBuf> {
    Ok(home(surroundings)?.ok_or_else(no_home)?.join(file::FILE_NAME))
}

/// Checks a value as if it came from `origin`.
///
/// # Errors
/// `bad_configuration`, naming the setting, the place, the value and the valid values.
pub fn check(key: Key, origin: &Origin, text: &str) -> Result<Value> {
    let setting = key.setting();
    setting.kind.parse(text).map_err(|error| {
        let shown = if key.is_secret() {
            "its value".to_owned()
        } else {
            format!("\"{}\"", without_secrets(text))
        };
        bad(format!("{} ({origin}): {shown} is not valid: {error}", setting.name))
            .with_detail("setting", setting.name)
            .with_detail("origin", origin.to_string())
            .with_detail("valid", setting.kind.valid())
            .with_hint(format!("valid values are {}", setting.kind.valid()))
    })
}

/// Variables whose names begin as stigmer's do and that are no setting, each with what may have
/// been meant: `STIGMER_EXECUTON_MODE=sandbox` would otherwise run on the host in silence.
pub fn unknown_variables(surroundings: &Surroundings) -> Vec<(String, Option<&'static str>)> {
    let names = surroundings.environment.iter().map(|(name, _)| name.to_string_lossy());
    let ours =
        names.filter(|name| name.starts_with("STIGMER_") && Key::of_variable(name).is_none());
    ours.map(|name| (name.to_string(), Key::near_variable(&name))).collect()
}

/// Refuses variables that are no setting and seem to say where commands run: to pass over one may
/// be to run on the host what was to be isolated.
///
/// # Errors
/// `bad_configuration`, naming the variable and what may have been meant.
pub fn refuse_unknown_modes(surroundings: &Surroundings) -> Result<()> {
    let unknown = unknown_variables(surroundings);
    let Some((name, near)) = unknown.into_iter().find(|(name, _)| variables::says_mode(name))
    else {
        return Ok(());
    };
    let near = near.unwrap_or(Key::ExecutionMode.setting().variable);
    Err(bad(format!("{name} is no setting, and may be meant to say where commands run"))
        .with_detail("variable", name.as_str())
        .with_hint(format!("did you mean {near}? Otherwise `unset {name}`, or say `--mode`")))
}

fn from_environment(surroundings: &Surroundings) -> Result<Vec<(Key, Origin, String)>> {
    let mut found: Vec<(Key, Origin, String)> = Vec::new();
    for (name, value) in &surroundings.environment {
        let Some(key) = name.to_str().and_then(Key::of_variable) else { continue };
        // As getenv(3) does: the first of two counts.
        if found.iter().any(|(other, ..)| *other == key) {
            continue;
        }
        let origin = Origin::Environment(key.setting().variable);
        let text = text_of(key, &origin, value)?;
        found.push((key, origin, text));
    }
    Ok(found)
}

fn text_of(key: Key, origin: &Origin, value: &OsStr) -> Result<String> {
    value.to_str().map(str::to_owned).ok_or_else(|| {
        let setting = key.setting();
        bad(format!("{} ({origin}): its value is not UTF-8", setting.name))
            .with_hint(format!("valid values are {}", setting.kind.valid()))
    })
}

fn no_home() -> ToolError {
    bad("no home directory is known, so there is no place for stigmer's files".to_owned())
        .with_hint("set HOME, or STIGMER_HOME to a directory of your own")
}

fn bad(message: String) -> ToolError {
    ToolError::new(ErrorCode::BadConfiguration, message)
}

#[cfg(test)]
mod tests;
