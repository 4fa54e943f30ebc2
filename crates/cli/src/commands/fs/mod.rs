//! `stigmer fs`.

pub(super) mod archive;
mod download;
mod edit;
mod ls;
mod mkdir;
mod mv;
mod read;
mod rm;
mod stat;
mod upload;
mod watch;
mod write;

pub(super) use upload::stream_of;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use stigmer_core::{ExecutionMode, ToolError, limits};

use crate::context::{Context, io};
use crate::output::{Failure, Output};

/// Reads, writes, edits and moves files.
#[derive(Debug, Args)]
#[command(after_help = "\
Paths are relative to the workspace, or absolute beneath it; nothing outside it is reached.

Examples:
  stigmer fs ls
  stigmer fs read README.md
  stigmer fs --workspace /srv/project ls src")]
pub(crate) struct Fs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a file, or some of its lines
    Read(read::Read),
    /// Replace or create a file
    Write(write::Write),
    /// Replace text in a file
    Edit(edit::Edit),
    /// List a directory
    Ls(ls::Ls),
    /// Describe a path
    Stat(stat::Stat),
    /// Delete a path
    Rm(rm::Rm),
    /// Move or rename a path
    Mv(mv::Mv),
    /// Make a directory
    Mkdir(mkdir::Mkdir),
    /// Put a file or a tree into the workspace
    Upload(upload::Upload),
    /// Take a file or a tree out of the workspace
    Download(download::Download),
    /// Print changes as they happen
    Watch(watch::Watch),
}

impl Fs {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        match self.command {
            Command::Read(command) => command.run(context, output).await,
            Command::Write(command) => command.run(context, output).await,
            Command::Edit(command) => command.run(context, output).await,
            Command::Ls(command) => command.run(context, output).await,
            Command::Stat(command) => command.run(context, output).await,
            Command::Rm(command) => command.run(context, output).await,
            Command::Mv(command) => command.run(context, output).await,
            Command::Mkdir(command) => command.run(context, output).await,
            Command::Upload(command) => command.run(context, output).await,
            Command::Download(command) => command.run(context, output).await,
            Command::Watch(command) => command.run(context, output).await,
        }
    }
}

/// Standard input to its end, as far as `write_file` would take it; what is larger is cut one byte
/// later, and refused there with the limit named.
fn stdin() -> Result<Vec<u8>, ToolError> {
    let mut content = Vec::new();
    std::io::stdin()
        .take(limits::MAX_WRITE_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|error| io("read", "standard input", &error))?;
    Ok(content)
}

/// `1 file`, `2 files`.
fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// Refuses to copy a tree into itself: what is written would be read again, without end. Only where
/// the workspace is a directory of this machine.
fn refuse_nested(context: &Context, source: (&str, &Path), target: &Path) -> Result<(), ToolError> {
    let here =
        matches!(context.mode, ExecutionMode::Local | ExecutionMode::Auto | ExecutionMode::Sandbox);
    let Ok(from) = source.1.canonicalize() else { return Ok(()) };
    if here && real(target).starts_with(&from) {
        let reason = format!("{} holds the target {}", source.1.display(), target.display());
        return Err(ToolError::invalid_argument(source.0, reason)
            .with_hint("choose a target beside it: the copy would be copied again"));
    }
    Ok(())
}

/// A path without links as far as it exists.
fn real(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            return real.join(rest);
        }
        if above == Path::new(".")
            && let Ok(real) = above.canonicalize()
        {
            return real.join(path);
        }
    }
    path.to_owned()
}
