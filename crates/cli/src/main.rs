//! The `stigmer` command.
//!
//! Thin: arguments become a request to the engine, and its answer becomes output. Each command is
//! one file beneath [`commands`].

mod arguments;
mod circumstances;
mod commands;
mod connection;
mod context;
mod listeners;
mod outliving;
mod output;
mod places;
mod progress;
mod session;
mod terminal;

use std::process::ExitCode;

use arguments::{Arguments, Command, Globals, WorkspaceCommand};
use context::{Context, Needs, Settings};
use output::{Failure, Output};
use stigmer_engine::{Launcher, Reserve, configuration};

fn main() -> ExitCode {
    commands::server::serve_if_reserve();
    let Arguments { globals, command } = match arguments::parse() {
        Ok(arguments) => arguments,
        Err(exit) => return exit,
    };
    let mut output = Output::new(globals.json);
    let result = run(&globals, command, &mut output);
    output.finish(result)
}

/// The exit code of the command, or why it failed.
fn run(globals: &Globals, command: Command, output: &mut Output) -> Result<u8, Failure> {
    match command {
        Command::InWorkspace(command @ WorkspaceCommand::Run(_)) => {
            in_workspace(globals, command, output).map_err(Failure::of_run)
        }
        Command::InWorkspace(command) => in_workspace(globals, command, output),
        Command::Config(command) => command.run(globals, output),
        Command::Doctor(command) => command.run(globals, output),
        Command::Server(command) => command.run(globals, output),
        Command::Mcp(command) => command.run(globals, output),
        Command::Workspace(command) => command.run(globals, output),
        Command::Image(command) => command.run(globals, output),
        Command::Explain(command) => command.run(globals, output),
        Command::Completions(command) => command.run(output),
        Command::Version(command) => command.run(globals, output),
    }
}

/// Opens the workspace and runs a command in it.
fn in_workspace(
    globals: &Globals,
    command: WorkspaceCommand,
    output: &mut Output,
) -> Result<u8, Failure> {
    let surroundings = context::surroundings();
    // A flag overrules whatever a variable was to say.
    let runs = matches!(command, WorkspaceCommand::Run(_));
    if runs && globals.mode.is_none() {
        configuration::refuse_unknown_modes(&surroundings)?;
    }
    context::warn_of_variables(&surroundings, output);
    let settings = Settings::read(globals, surroundings)?;
    let launcher = match &settings.server {
        // A supervisor is forked before this process has a second thread or a runtime.
        None if runs => Some(
            Launcher::fork(Reserve::One)
                .map_err(|error| context::io("fork", "a supervisor", &error))?,
        ),
        _ => None,
    };
    let runtime = context::runtime()?;
    let result = runtime.block_on(async {
        let needs = match command {
            WorkspaceCommand::Ps(_)
            | WorkspaceCommand::Logs(_)
            | WorkspaceCommand::Kill(_)
            | WorkspaceCommand::Wait(_)
            | WorkspaceCommand::Attach(_) => Needs::Processes,
            _ => Needs::Workspace,
        };
        let context = Context::open(globals, settings, launcher, needs).await?;
        let result = match command {
            WorkspaceCommand::Run(command) => command.run(&context, output).await,
            WorkspaceCommand::Ps(command) => command.run(&context, output).await,
            WorkspaceCommand::Logs(command) => command.run(&context, output).await,
            WorkspaceCommand::Kill(command) => command.run(&context, output).await,
            WorkspaceCommand::Wait(command) => command.run(&context, output).await,
            WorkspaceCommand::Attach(command) => command.run(&context, output).await,
            WorkspaceCommand::Fs(command) => command.run(&context, output).await,
            WorkspaceCommand::Find(command) => command.run(&context, output).await,
            WorkspaceCommand::Grep(command) => command.run(&context, output).await,
            WorkspaceCommand::Skill(command) => command.run(&context, output).await,
        };
        context.clear_away(globals).await;
        result
    });
    // A thread may be blocked in reading standard input; the process ends without it.
    runtime.shutdown_background();
    result
}
