//! The one voice of the command line.
//!
//! Standard output is data, standard error is talk. With `--json` a result is one line of JSON on
//! standard output, and so is an error: `{"error": {"code", "message", "hint", …}}`; the exit code
//! tells them apart. `NO_COLOR` is honoured, and colour never carries meaning alone.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Stdout, Write};
use std::process::ExitCode;

use serde::Serialize;
use stigmer_core::limits::EXIT_STIGMER_FAILED;
use stigmer_core::process::{EndReason, ExitStatus};
use stigmer_core::{ByteString, Lane, ProcessId, Routing, ToolError};

/// Exit code when whoever read standard output went away: as a shell shows death by SIGPIPE.
const EXIT_BROKEN_PIPE: u8 = 141;

/// Exit code when something could not be looked into, as ripgrep has it.
const EXIT_UNREADABLE: u8 = 2;

/// Bytes gathered before they are written: a pipe's capacity.
const BUFFER: usize = 64 << 10;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The operation failed.
    Tool(ToolError),
    /// A command could not be run, or what became of it is not known.
    Run(ToolError),
    /// A command ended by a signal that had come to us.
    Signalled {
        /// The signal.
        signal: i32,
        /// The exit code where the signal does not end us.
        code: u8,
    },
    /// Its result could not be written.
    Stdout(io::Error),
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

impl Failure {
    /// A failure of an operation while a command is run.
    pub(crate) fn of_run(self) -> Self {
        match self {
            Self::Tool(error) => Self::Run(error),
            other => other,
        }
    }
}

/// Where results and remarks go.
pub(crate) struct Output {
    // Not locked: what has standard output for itself writes to it from another thread.
    stdout: BufWriter<Stdout>,
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { stdout: BufWriter::with_capacity(BUFFER, io::stdout()), json }
    }

    /// Whether results are wanted as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Data as it is.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(Failure::Stdout)
    }

    /// One line of data.
    pub(crate) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.stdout, "{line}").map_err(Failure::Stdout)
    }

    /// One result as a line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, value)
            .map_err(|error| Failure::Stdout(error.into()))?;
        self.bytes(b"\n")
    }

    /// Where data goes, for what writes it itself.
    pub(crate) fn as_writer(&mut self) -> &mut impl Write {
        &mut self.stdout
    }

    /// Hands over what was gathered, for a reader who waits.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(Failure::Stdout)
    }

    /// A remark; none with `--json`, whose result says it all.
    pub(crate) fn talk(&mut self, remark: impl Display) {
        if !self.json {
            Output::to_stderr(format_args!("{remark}"));
        }
    }

    /// A warning, with `--json` too.
    pub(crate) fn warn(&mut self, warning: impl Display) {
        Output::to_stderr(format_args!("{}: {warning}", styled("warning", "33")));
    }

    /// Names what could not be read. Returns the exit code if there was any, as ripgrep has it.
    pub(crate) fn unreadable(&mut self, unreadable: &[ByteString]) -> Option<u8> {
        for reason in unreadable {
            self.warn(reason);
        }
        (!unreadable.is_empty()).then_some(EXIT_UNREADABLE)
    }

    /// One line on standard error. Nobody can be told that it cannot be written to.
    pub(crate) fn to_stderr(line: std::fmt::Arguments<'_>) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Says of a command that is lost why, as far as that is known.
    pub(crate) fn lost(&mut self, id: &ProcessId, exit: &ExitStatus) {
        if exit.reason == EndReason::Lost {
            let cause = exit.cause.as_deref();
            let cause = cause.unwrap_or("its supervisor died, so how it ended is not known");
            self.talk(format_args!("stigmer: {id} is lost: {cause}"));
        }
    }

    /// Says of a command in auto mode where it went, if not where its words say: after a first try that
    /// was discarded, or for what is known of this machine.
    pub(crate) fn routed(&mut self, routing: Option<&Routing>) {
        if let Some(note) = routing.and_then(note) {
            // A reason may name what a project called its directories.
            self.talk(format_args!("stigmer: {}", note.replace(char::is_control, " ")));
        }
    }

    /// Says of a command that failed in auto mode's sandbox that it was there.
    pub(crate) fn failed_elsewhere(&mut self, routing: Option<&Routing>, exit: &ExitStatus) {
        if let Some(told) = routing.filter(|_| exit.code != 0).and_then(elsewhere) {
            self.talk(format_args!("stigmer: {}", told.replace(char::is_control, " ")));
        }
    }

    /// Names what a command was refused in its lane, and what to do if it needs that; and what it left
    /// behind.
    pub(crate) fn refused(&mut self, id: &ProcessId, exit: &ExitStatus) {
        let Some(denied) = &exit.denied else { return };
        let (refused, planted) = denied.apart();
        if !planted.is_empty() {
            self.talk(format_args!("stigmer: {id} {planted}"));
            self.talk(format_args!(
                "  {}: git, editors or agents go by it: look at it before they do",
                styled("hint", "36")
            ));
        }
        if !refused.is_empty() {
            self.talk(format_args!("stigmer: {id} was refused {refused}"));
            if refused.is_of_outer_repository() {
                self.talk(format_args!(
                    "  {}: the workspace is only a part or a worktree of that repository: for git to write \
                     there, open the directory that has `.git` in it as the workspace",
                    styled("hint", "36")
                ));
            }
            self.talk(format_args!(
                "  {}: if it needs that, `--mode sandbox` runs it in the sandbox, and `--mode local` on \
                 this machine without confinement",
                styled("hint", "36")
            ));
        }
    }

    /// Names what of a command could not be ended.
    pub(crate) fn survivors(&mut self, exit: &ExitStatus) {
        for survivor in &exit.survivors {
            self.warn(format_args!(
                "process {} ({}) of user {} could not be ended",
                survivor.pid, survivor.name, survivor.uid
            ));
        }
    }

    /// Writes out what is left and says how it ended.
    pub(crate) fn finish(mut self, result: Result<u8, Failure>) -> ExitCode {
        let result = result.and_then(|code| self.flush().map(|()| code));
        match result {
            Ok(code) => ExitCode::from(code),
            Err(Failure::Tool(error)) => {
                let code = error.code.exit_code();
                self.fail(&error, code)
            }
            Err(Failure::Run(error)) => self.fail(&error, EXIT_STIGMER_FAILED),
            Err(Failure::Signalled { signal, code }) => {
                let _ = self.flush();
                die_by(signal);
                ExitCode::from(code)
            }
            Err(Failure::Stdout(error)) if error.kind() == ErrorKind::BrokenPipe => {
                ExitCode::from(EXIT_BROKEN_PIPE)
            }
            Err(Failure::Stdout(error)) => {
                let error = crate::context::io("write", "standard output", &error);
                Output::to_stderr(format_args!("{}: {}", styled("error", "1;31"), error.message));
                exit(error.code.exit_code())
            }
        }
    }

    fn fail(mut self, error: &ToolError, code: i32) -> ExitCode {
        if self.json {
            let written = self.json(&serde_json::json!({ "error": error }));
            if written.and_then(|()| self.flush()).is_err() {
                return ExitCode::from(EXIT_BROKEN_PIPE);
            }
        } else {
            // What was found before the failure is data still.
            let _ = self.flush();
            Output::to_stderr(format_args!("{}: {}", styled("error", "1;31"), error.message));
            if let Some(hint) = &error.hint {
                Output::to_stderr(format_args!("  {}: {hint}", styled("hint", "36")));
            }
        }
        exit(code)
    }
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

/// Ends this process by a signal, so that a shell that called us in a loop knows that its user
/// pressed Ctrl-C and ends the loop.
fn die_by(signal: i32) {
    // SAFETY: both calls take numbers; restoring the default installs no handler.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// A word in colour, where a terminal shows it and nobody forbids it.
fn styled(word: &str, colour: &str) -> String {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if forbidden || !io::stderr().is_terminal() {
        return word.to_owned();
    }
    format!("\x1b[{colour}m{word}\x1b[0m")
}

/// What is to be known of a command's lane beside what its words say.
fn note(routing: &Routing) -> Option<String> {
    let Routing { lane, rule, reason, fell_over, .. } = routing;
    match fell_over {
        Some(refused) => Some(format!(
            "lane {lane}: a first try that could only read was refused {refused}, and was discarded"
        )),
        None => routing.is_by_machine().then(|| format!("lane {lane} ({rule}): {reason}")),
    }
}

/// What explains the failure of a command in the sandbox: it has other programs and files than this machine.
fn elsewhere(routing: &Routing) -> Option<String> {
    let Routing { lane, rule, reason, .. } = routing;
    (*lane == Lane::Sandbox && note(routing).is_none())
        .then(|| {
            format!(
                "it ran in the sandbox ({rule}): {reason}; `--mode local` runs it on this machine, unconfined"
            )
        })
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stigmer_core::{Denial, Denied};

    #[test]
    fn a_lane_is_worth_a_note_if_the_words_of_a_command_do_not_say_it() {
        let routing = |rule: &str| Routing::new(Lane::Sandbox, rule, "pip", "it installs packages");
        assert_eq!(note(&routing("pip install")), None);
        let told = "it ran in the sandbox (pip install): it installs packages; `--mode local` runs it on this \
                    machine, unconfined";
        assert_eq!(elsewhere(&routing("pip install")).as_deref(), Some(told));
        assert_eq!(elsewhere(&routing("auto:affinity")), None, "it is told already");
        let said = "lane sandbox (auto:affinity): it installs packages";
        assert_eq!(note(&routing("auto:affinity")).as_deref(), Some(said));
        let denial =
            Denial { call: "open".into(), path: Some("out".into()), errno: 13, probe: false };
        let fell_over = Some(Denied { denials: vec![denial], omitted: 1 });
        let said = "lane sandbox: a first try that could only read was refused open out and 1 more, and \
                    was discarded";
        assert_eq!(note(&Routing { fell_over, ..routing("ls") }).as_deref(), Some(said));
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
    }
}
