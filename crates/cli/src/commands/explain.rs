//! `stigmer explain`.

use std::ffi::OsString;
use std::io::{BufRead, Read as _};

use clap::Args;
use serde::Serialize;
use stigmer_core::process::Command;
use stigmer_core::{ByteString, ExecutionMode, FilePath, Result, ToolError};
use stigmer_engine::{Configuration, Explanation, Router, Verdict, Workspace};

use crate::arguments::{Globals, bytes};
use crate::context;
use crate::output::{Failure, Output};

/// Bytes of a line of standard input. No command may be so long (`MAX_ARG_STRLEN`, 128 KiB).
const LONGEST_LINE: u64 = 1 << 20;

/// Says where auto mode would run a command, and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is run. One argument is a command line for the shell; several are a program and its arguments.
A lane is `host, read-only`, `host, workspace` or `sandbox`; what no rule knows is for the sandbox. `off`
says why a lane cannot be had on this machine, `tools` where programs may be executed beside the system's
and the workspace's, `drops` which of your variables the command would not have.

Rules of your own are in rules.toml in stigmer's home; a project's, in .stigmer/rules.toml, can only
send more to the sandbox.

Examples:
  stigmer explain 'git status && ls | head'
  stigmer explain --json 'pip install requests'
  stigmer explain git log --oneline
  stigmer explain --lines --json < commands.txt")]
pub(crate) struct Explain {
    /// The directory in which it would start [default: the workspace]
    #[arg(long, value_name = "DIR", value_parser = bytes(), value_hint = clap::ValueHint::DirPath)]
    cwd: Option<ByteString>,
    /// Read command lines from standard input, one a line
    #[arg(long)]
    lines: bool,
    /// One command line for the shell, or a program and its arguments
    #[arg(
        required_unless_present = "lines",
        conflicts_with = "lines",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
}

/// A verdict with what the command would find in its lane, and in a batch what it is of.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a ByteString>,
    #[serde(flatten)]
    verdict: Verdict,
    tool_roots: Vec<ByteString>,
    dropped_variables: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lane_off: Option<String>,
}

impl<'a> Explained<'a> {
    fn new(command: Option<&'a ByteString>, explanation: Explanation) -> Self {
        let Explanation { verdict, tool_roots, dropped_variables, lane_off } = explanation;
        let tool_roots = tool_roots.into_iter().map(ByteString::from).collect();
        Self { command, verdict, tool_roots, dropped_variables, lane_off }
    }
}

impl Explain {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        if let Some(mode) = globals.mode.filter(|mode| *mode != ExecutionMode::Auto) {
            let reason = format!("is {mode}, and lanes are of auto mode");
            return Err(ToolError::invalid_argument("--mode", reason)
                .with_hint("leave it out")
                .into());
        }
        if let Some(word) =
            self.command.first().filter(|word| word.as_encoded_bytes().starts_with(b"-"))
        {
            let reason = "is no option of this command, and no command begins with it";
            let error = ToolError::invalid_argument(&word.to_string_lossy(), reason);
            return Err(error.with_hint("`stigmer explain --help` lists the options").into());
        }
        if globals.sandbox_image.is_some() {
            let reason = "does not change the lane of a command";
            let error = ToolError::invalid_argument("--sandbox-image", reason);
            return Err(error.with_hint("leave it out").into());
        }
        let router = self.router(globals)?;
        let environment = context::surroundings().environment;
        if self.lines {
            each_line(std::io::stdin().lock(), |line| {
                let command = Command::Shell(line.clone());
                let explanation = router.explain(&command, &environment);
                say(&Explained::new(Some(line), explanation), output)
            })?;
            return Ok(0);
        }
        let words: Vec<ByteString> = self.command.into_iter().map(ByteString::from).collect();
        let command = match <[ByteString; 1]>::try_from(words) {
            Ok([line]) => Command::Shell(line),
            Err(words) => Command::Argv(words),
        };
        say(&Explained::new(None, router.explain(&command, &environment)), output)?;
        Ok(0)
    }

    fn router(&self, globals: &Globals) -> Result<Router> {
        let configuration = Configuration::load(&context::sources(globals))?;
        let current = std::env::current_dir()
            .map_err(|error| context::io("open", "the current directory", &error))?;
        let named = globals.workspace.as_deref().or(configuration.workspace_directory());
        let workspace = Workspace::choose(named, &current)?;
        let cwd = match &self.cwd {
            None => workspace.root().to_owned(),
            Some(path) => {
                let path = workspace.root().join(FilePath::from(path.clone()).as_path());
                path.canonicalize()
                    .map_err(|error| context::io("open", &path.display().to_string(), &error))?
            }
        };
        if !cwd.starts_with(workspace.root()) {
            let reason = format!("{} is not in the workspace", cwd.display());
            return Err(ToolError::invalid_argument("--cwd", reason));
        }
        Router::read(&configuration, workspace.root(), &cwd)
    }
}

fn say(explained: &Explained<'_>, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(explained);
    }
    let Verdict { lane, rule, token, reason, .. } = &explained.verdict;
    match explained.command {
        // A line a command, for people and for `cut`.
        Some(_) => output.line(format_args!("{lane}\t{rule}\t{token}\t{reason}")),
        None => {
            output.line(format_args!("lane    {lane}"))?;
            output.line(format_args!("rule    {rule}"))?;
            output.line(format_args!("token   {token}"))?;
            output.line(format_args!("reason  {reason}"))?;
            if let Some(why) = &explained.lane_off {
                output.line(format_args!("off     {why}; it goes to the sandbox"))?;
            }
            for root in &explained.tool_roots {
                output.line(format_args!("tools   {root}"))?;
            }
            for name in &explained.dropped_variables {
                output.line(format_args!("drops   {name}"))?;
            }
            Ok(())
        }
    }
}

/// Hands over each line, without its end.
fn each_line(
    mut input: impl BufRead,
    mut each: impl FnMut(&ByteString) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut input).take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
        read.map_err(|error| context::io("read", "standard input", &error))?;
        if line.is_empty() {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() as u64 > LONGEST_LINE {
            let reason = format!("line {number} has more than {LONGEST_LINE} bytes");
            return Err(ToolError::invalid_argument("--lines", reason).into());
        }
        each(&ByteString::from(line.as_slice()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Result<Vec<String>, Failure> {
        let mut all = Vec::new();
        each_line(text, |line| {
            all.push(line.to_string());
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn a_line_is_what_is_before_its_end() {
        assert_eq!(lines(b"a\n\nb c").unwrap(), ["a", "", "b c"]);
        assert!(lines(b"").unwrap().is_empty());
        assert!(lines(&vec![b'a'; 1 << 20]).is_ok());
        assert!(lines(&vec![b'a'; (1 << 20) + 1]).is_err());
    }
}
