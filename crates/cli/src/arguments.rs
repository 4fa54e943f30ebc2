//! What can be said on the command line.
//!
//! Parsing touches nothing: no file is looked at and no setting read, so that a wrong word is told
//! at once and a right one costs nothing.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{
    OsStringValueParser, PossibleValuesParser, RangedU64ValueParser, StringValueParser,
    TypedValueParser,
};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use stigmer_core::limits::MIN_OUTPUT_CAP;
use stigmer_core::{ByteString, ErrorCode, ExecutionMode, ToolError};
use stigmer_engine::configuration::parse::{Kind, Value};
use stigmer_engine::{EXECUTION_MODES, execution_mode_named};

use crate::commands::{
    attach, completions, config, doctor, explain, find, fs, grep, image, kill, logs, mcp, ps, run,
    server, skill, version, wait, workspace,
};
use crate::output::{Failure, Output};

/// Hands for AI agents: run commands, edit files and search code under supervision.
#[derive(Debug, Parser)]
#[command(name = "stigmer", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "\
Examples:
  stigmer run 'make test'
  stigmer fs read src/main.rs --lines 1:40
  stigmer grep -S 'fn main' -g '*.rs'
  stigmer doctor

Every command has examples of its own in its --help.
Exit codes: 2 wrong request, 3 not there, 4 conflict, 5 not allowed, 6 too large, 7 not available,
8 out of something, 9 busy, 10 fault.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command has.
#[derive(Clone, Debug, Args)]
pub(crate) struct Globals {
    /// Print results, and errors, as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The directory to work in; paths are relative to it [default: WORKSPACE_DIR, else the current
    /// directory]
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) workspace: Option<PathBuf>,
    /// Where commands run; overrules STIGMER_EXECUTION_MODE and the configuration
    #[arg(long, global = true, value_parser = mode())]
    pub(crate) mode: Option<ExecutionMode>,
    /// Image of the sandbox; overrules STIGMER_SANDBOX_IMAGE and the configuration
    #[arg(long, global = true, value_name = "IMAGE", value_parser = image())]
    pub(crate) sandbox_image: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    InWorkspace(WorkspaceCommand),
    /// Show and change settings
    Config(config::Config),
    /// Check what this machine has of what stigmer needs
    Doctor(doctor::Doctor),
    /// Start, stop and look at the daemon
    Server(server::Server),
    /// Serve the Model Context Protocol to the agent that starts it
    Mcp(mcp::Mcp),
    /// Make, look at and remove sandboxes
    Workspace(workspace::Workspace),
    /// Build, pull and list images of sandboxes
    Image(image::Image),
    /// Say where auto mode would run a command, and why
    Explain(explain::Explain),
    /// Print shell completions
    Completions(completions::Completions),
    /// Print the version
    Version(version::Version),
}

/// The commands that need a workspace.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkspaceCommand {
    /// Run a command under supervision
    Run(Box<run::Run>),
    /// List commands
    Ps(ps::Ps),
    /// Print a command's output
    Logs(logs::Logs),
    /// End commands and everything that they started
    Kill(kill::Kill),
    /// Wait until a command has ended
    Wait(wait::Wait),
    /// Join a command that runs
    Attach(attach::Attach),
    /// Read, write, edit and move files
    Fs(fs::Fs),
    /// Find files by name
    Find(find::Find),
    /// Find lines by content, as ripgrep does
    Grep(grep::Grep),
    /// Add, list and remove skills
    Skill(skill::Skill),
}

/// Reads the command line. What ends there (help, version, a wrong word) is printed.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    Arguments::try_parse().map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        let words = std::env::args_os().skip(1).take_while(|word| word != "--");
        if !asked && words.into_iter().any(|word| word == "--json") {
            let message = error.to_string();
            let message = message.strip_prefix("error: ").unwrap_or(&message).trim_end().to_owned();
            let error = ToolError::new(ErrorCode::InvalidArgument, message);
            return Output::new(true).finish(Err(Failure::Tool(error)));
        }
        // clap colours only for a terminal and honours NO_COLOR.
        match error.print().and_then(|()| std::io::stdout().flush()) {
            Ok(()) if asked => ExitCode::SUCCESS,
            Ok(()) => ExitCode::from(2),
            Err(error) => Output::new(false).finish(Err(Failure::Stdout(error))),
        }
    })
}

/// An execution mode by its name.
fn mode() -> impl TypedValueParser<Value = ExecutionMode> {
    PossibleValuesParser::new(EXECUTION_MODES.map(ExecutionMode::name))
        .try_map(|name| execution_mode_named(&name).ok_or("there is no such mode"))
}

/// A reference to an image.
fn image() -> impl TypedValueParser<Value = String> {
    setting(Kind::Image, |value| match value {
        Value::Text(image) => Some(image),
        _ => None,
    })
}

/// Text that may not be text: paths and patterns.
pub(crate) fn bytes() -> impl TypedValueParser<Value = ByteString> {
    OsStringValueParser::new().map(|text: OsString| ByteString::from(text))
}

/// A limit that lets something through: with none at all, "nothing found" would be no answer.
pub(crate) fn at_least_one() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<usize>::new().range(1..)
}

/// A time, `None` for no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeLimit(pub(crate) Option<Duration>);

/// A number of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteCount(pub(crate) u64);

/// Times as the settings write them.
pub(crate) fn time_limit() -> impl TypedValueParser<Value = TimeLimit> {
    setting(Kind::DurationOrNone, |value| match value {
        Value::Duration(limit) => Some(TimeLimit(limit)),
        _ => None,
    })
}

/// Sizes as the settings write them.
pub(crate) fn byte_count() -> impl TypedValueParser<Value = ByteCount> {
    setting(Kind::Size { least: MIN_OUTPUT_CAP }, |value| match value {
        Value::Size(bytes) => Some(ByteCount(bytes)),
        _ => None,
    })
}

fn setting<T: Clone + Send + Sync + 'static>(
    kind: Kind,
    pick: fn(Value) -> Option<T>,
) -> impl TypedValueParser<Value = T> {
    StringValueParser::new().try_map(move |text| {
        let wrong =
            |reason: &dyn std::fmt::Display| format!("{reason}; valid values are {}", kind.valid());
        let value = kind.parse(&text).map_err(|error| wrong(&error))?;
        pick(value).ok_or_else(|| wrong(&"it is of another kind"))
    })
}

/// Signals by their POSIX names, with or without `SIG`; the numbers are Linux's (`signal(7)`).
const SIGNALS: [(&str, i32); 28] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("SYS", libc::SIGSYS),
];

/// A signal by its name or number.
pub(crate) fn signal_number(text: &str) -> Result<i32, String> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let numbered = text.parse().ok().filter(|number| (1..=libc::SIGRTMAX()).contains(number));
    named.or(numbered).ok_or_else(|| {
        let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
        format!(
            "there is no such signal; valid are 1 to {} and {}",
            libc::SIGRTMAX(),
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["int", "SIGINT", "INT", "2"] {
            assert_eq!(signal_number(text), Ok(2));
        }
        for text in ["", "0", "-9", "SIG", "65", "FOO"] {
            assert!(signal_number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn clap_finds_no_fault() {
        Arguments::command().debug_assert();
    }

    fn walk(command: &clap::Command, visit: &mut dyn FnMut(&clap::Command)) {
        visit(command);
        // What is hidden is no command for people.
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            walk(sub, visit);
        }
    }

    /// Splits as a shell does, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut quoted = false;
        for letter in line.chars() {
            match letter {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => words.extend(word.take()),
                '|' | '>' | '<' if !quoted => break,
                letter => word.get_or_insert_default().push(letter),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_has_examples_and_every_example_is_understood() {
        let mut examples = 0;
        walk(&Arguments::command(), &mut |command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:\n  "), "{} has no examples", command.get_name());
            for line in help.lines().filter(|line| line.starts_with("  ")) {
                let Some(start) = line.find("stigmer ") else {
                    panic!("{}: {line}", command.get_name());
                };
                let example = words(&line[start..]);
                if let Err(error) = Arguments::try_parse_from(&example) {
                    panic!("{example:?}: {error}");
                }
                examples += 1;
            }
        });
        assert!(examples > 30, "{examples}");
    }

    #[test]
    fn every_argument_is_explained() {
        walk(&Arguments::command(), &mut |command| {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{} {}", command.get_name(), argument.get_id());
                assert!(!help.ends_with('.'), "{} {}", command.get_name(), argument.get_id());
            }
        });
    }
}
