//! `stigmer workspace`.

mod create;
mod list;
mod recover;
pub(crate) mod refill;
mod rm;
mod start;
mod status;
mod stop;

use std::path::Path;

use clap::{Args, Subcommand};
use stigmer_core::Result;
use stigmer_core::manager::{PlaceState, PlaceStatus};
use stigmer_core::workspace::Preparation;

use crate::arguments::Globals;
use crate::context::runtime;
use crate::output::{Failure, Output};
use crate::places::{Access, Places};
use crate::progress::{Shown, Telling};

/// Makes, looks at and removes sandboxes.
#[derive(Debug, Args)]
#[command(after_help = "\
A sandbox is a container for the commands of one directory. `stigmer run --mode sandbox` makes it by
itself; it goes when it was not used for long (setting sandbox_ttl).

Examples:
  stigmer workspace create
  stigmer workspace list
  stigmer workspace rm")]
pub(crate) struct Workspace {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the sandbox of a directory
    Create(create::Create),
    /// List sandboxes
    List(list::List),
    /// Say how far a sandbox is
    Status(status::Status),
    /// End a sandbox's commands and keep it
    Stop(stop::Stop),
    /// Start a sandbox that was stopped
    Start(start::Start),
    /// End a sandbox's commands and remove it
    Rm(rm::Rm),
    /// Remove a sandbox that failed and make another
    Recover(recover::Recover),
    #[command(hide = true)]
    Refill(refill::Refill),
}

impl Workspace {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        match self.command {
            Command::Create(command) => command.run(globals, output),
            Command::List(command) => command.run(globals, output),
            Command::Status(command) => command.run(globals, output),
            Command::Stop(command) => command.run(globals, output),
            Command::Start(command) => command.run(globals, output),
            Command::Rm(command) => command.run(globals, output),
            Command::Recover(command) => command.run(globals, output),
            Command::Refill(command) => command.run(globals),
        }
    }
}

/// Makes a sandbox ready and shows what is known of it then.
fn prepare(
    directory: Option<&Path>,
    preparation: Preparation,
    globals: &Globals,
    output: &mut Output,
) -> Result<u8, Failure> {
    let access = Access::open(globals)?;
    let workspace = access.directory(directory, globals)?;
    let shown = Shown::new(if globals.json { Telling::Nothing } else { Telling::All });
    let status = runtime()?.block_on(async {
        let prepared = access.prepare(&workspace, preparation, &|event| shown.show(&event)).await;
        if let Places::Here(engine) = &access.places {
            refill::in_background(engine, &workspace, globals);
        }
        prepared?;
        let name = access.name(workspace.root().to_str(), globals)?;
        access.status(&name).await
    })?;
    show(&status, output)
}

/// Does something to a workspace's place.
fn on_place<T>(
    named: Option<&str>,
    globals: &Globals,
    work: impl AsyncFnOnce(&Access, String) -> Result<T>,
) -> Result<T> {
    let access = Access::open(globals)?;
    let name = access.name(named, globals)?;
    runtime()?.block_on(work(&access, name))
}

/// Shows what is known of a place. Exit code 1 if it failed.
fn show(status: &PlaceStatus, output: &mut Output) -> Result<u8, Failure> {
    let code = u8::from(status.state == PlaceState::Failed);
    if output.is_json() {
        output.json(status)?;
        return Ok(code);
    }
    output.line(format_args!("{}  {}  {}", status.workspace, status.state.name(), status.root))?;
    if let Some(name) = &status.name {
        output.line(format_args!("  container  {name}"))?;
    }
    if let Some(image) = &status.image {
        output.line(format_args!("  image      {image}"))?;
    }
    if !status.affinity.is_empty() {
        output.line(format_args!("  affinity   {}", status.affinity.join(", ")))?;
    }
    for note in &status.notes {
        output.line(format_args!("  note       {note}"))?;
    }
    if let Some(reason) = &status.reason {
        output.line(format_args!("  reason     {}", reason.message))?;
        if let Some(hint) = &reason.hint {
            output.line(format_args!("  hint       {hint}"))?;
        }
    }
    Ok(code)
}
