//! `stigmer config`.

use std::io::Read;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use stigmer_core::{ErrorCode, ToolError};
use stigmer_daemon::DaemonPlace;
use stigmer_engine::configuration::variables::{Key, SETTINGS};
use stigmer_engine::configuration::{self, Origin, file};
use stigmer_engine::{Configuration, Sources};

use crate::arguments::Globals;
use crate::context::{io, sources_with_daemon, surroundings};
use crate::output::{Failure, Output};

/// Shows and changes settings.
#[derive(Debug, Args)]
#[command(after_help = "\
The strongest first: flag, environment variable, workspace, daemon, file, default.

Examples:
  stigmer config list
  stigmer config set execution_mode sandbox")]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the value in force; exit code 1 if there is none
    #[command(after_help = "\
A secret is shown as (set).

Examples:
  stigmer config get execution_mode
  stigmer config get timeout --json")]
    Get {
        /// The setting, as `config list` names it
        key: String,
    },
    /// Write a value to the file, keeping its remarks
    #[command(after_help = "\
The file gets mode 0600.

Examples:
  stigmer config set timeout 5m
  pass show daytona | stigmer config set daytona_api_key -")]
    Set {
        /// The setting, as `config list` names it
        key: String,
        /// The value; `-` reads it from standard input, where `ps` does not show it
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Take a setting out of the file
    #[command(after_help = "\
Examples:
  stigmer config unset timeout")]
    Unset {
        /// The setting, as `config list` names it
        key: String,
    },
    /// Print every setting with its value and where that comes from
    #[command(after_help = "\
Examples:
  stigmer config list
  stigmer config list --json")]
    List,
    /// Print the path of the file
    #[command(after_help = "\
Examples:
  stigmer config path")]
    Path,
}

impl Config {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        match self.command {
            Command::Get { key } => get(named(&key)?, globals, output),
            Command::Set { key, value } => set(named(&key)?, value, output),
            Command::Unset { key } => unset(named(&key)?, output),
            Command::List => list(globals, output),
            Command::Path => path(output),
        }
    }
}

fn named(name: &str) -> Result<Key, ToolError> {
    Key::named(name).or_else(|| Key::of_variable(name)).ok_or_else(|| file::unknown(name, ""))
}

fn load(globals: &Globals) -> Result<Configuration, ToolError> {
    Configuration::load(&sources_with_daemon(globals)?)
}

fn described(key: Key, configuration: &Configuration) -> Value {
    let setting = key.setting();
    let found = configuration.get(key);
    json!({
        "key": setting.name,
        "variable": setting.variable,
        "value": found.map(|found| found.value.to_string()),
        "origin": found.map(|found| found.origin.layer()),
        "place": found.map(|found| found.origin.to_string()),
        "default": setting.default,
        "valid": setting.kind.valid(),
        "doc": setting.doc,
    })
}

fn get(key: Key, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
    let configuration = load(globals)?;
    let found = configuration.get(key);
    if output.is_json() {
        output.json(&described(key, &configuration))?;
    } else if let Some(found) = found {
        output.line(&found.value)?;
    }
    Ok(u8::from(found.is_none()))
}

fn list(globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
    let configuration = load(globals)?;
    if output.is_json() {
        let all: Vec<Value> = Key::ALL.iter().map(|key| described(*key, &configuration)).collect();
        output.json(&all)?;
        return Ok(0);
    }
    let rows: Vec<(&str, String, String)> = SETTINGS
        .iter()
        .map(|setting| match configuration.get(setting.key) {
            Some(found) => (setting.name, found.value.to_string(), found.origin.to_string()),
            None => (setting.name, "-".to_owned(), "unset".to_owned()),
        })
        .collect();
    let names = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let values = rows.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0);
    for (name, value, origin) in rows {
        output.line(format_args!("{name:names$}  {value:values$}  {origin}"))?;
    }
    Ok(0)
}

fn set(key: Key, value: String, output: &mut Output) -> Result<u8, Failure> {
    let setting = key.setting();
    if key == Key::Home {
        let message = "home cannot be set in the file, which lies in it";
        return Err(ToolError::new(ErrorCode::InvalidArgument, message)
            .with_hint("set the environment variable STIGMER_HOME")
            .into());
    }
    let value = if value == "-" { from_stdin()? } else { value };
    configuration::check(key, &Origin::Flag("VALUE"), &value)?;
    let surroundings = surroundings();
    let path = configuration::file_path(&surroundings)?;
    file::set(&path, key, Some(&value))?;
    if surroundings.variable(setting.variable).is_some() {
        output.warn(format_args!("{} in the environment overrules the file", setting.variable));
    }
    done(key, &path, "set", output)
}

fn unset(key: Key, output: &mut Output) -> Result<u8, Failure> {
    let path = configuration::file_path(&surroundings())?;
    // No file has no setting, and needs none made.
    if path.exists() {
        file::set(&path, key, None)?;
    }
    done(key, &path, "unset", output)
}

fn done(key: Key, path: &std::path::Path, what: &str, output: &mut Output) -> Result<u8, Failure> {
    let name = key.setting().name;
    if output.is_json() {
        output.json(&json!({ "key": name, "path": path.to_string_lossy() }))?;
    }
    output.talk(format_args!("{what} {name} in {}", path.display()));
    if let Some(daemon) = daemon() {
        output.warn(format_args!(
            "the daemon ({daemon}) keeps what it read when it started for clients of its API: \
             `stigmer server stop && stigmer server start`"
        ));
    }
    Ok(0)
}

/// Who runs and has read the file before it was changed. That the file is changed does not depend
/// on what else it says, or on whether a daemon can be asked after.
fn daemon() -> Option<String> {
    let sources = Sources { surroundings: surroundings(), ..Sources::default() };
    let place = DaemonPlace::of(&Configuration::load(&sources).ok()?).ok()?;
    Some(stigmer_daemon::find(&place).ok()??.describe())
}

fn from_stdin() -> Result<String, ToolError> {
    /// No value is longer.
    const MAX: u64 = 64 << 10;
    let mut text = String::new();
    std::io::stdin()
        .take(MAX)
        .read_to_string(&mut text)
        .map_err(|error| io("read", "standard input", &error))?;
    // As `$(…)` does: the line end is the tool's that printed it.
    Ok(text.trim_end_matches('\n').to_owned())
}

fn path(output: &mut Output) -> Result<u8, Failure> {
    let path = configuration::file_path(&surroundings())?;
    if output.is_json() {
        output.json(&json!({ "path": path.to_string_lossy(), "exists": path.exists() }))?;
    } else {
        output.line(path.display())?;
    }
    Ok(0)
}
