//! The `stigmer` command.
//!
//! Thin: arguments become a request to the engine, and its answer becomes output. Each command is
//! one file beneath [`commands`].

mod arguments;
mod commands;
mod context;
mod output;
mod session;
mod terminal;

use std::process::ExitCode;

use arguments::{Arguments, Command, Globals, WorkspaceCommand};
use context::Context;
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
        Command::InWorkspace(WorkspaceCommand::Run(command)) => {
            // A supervisor is forked before this process has a second thread or a runtime.
            let launcher = Launcher::fork(Reserve::One)
                .map_err(|error| Failure::Run(context::io("fork", "a supervisor", &error)))?;
            in_workspace(globals, Some(launcher), WorkspaceCommand::Run(command), output)
                .map_err(Failure::of_run)
        }
        Command::InWorkspace(command) => in_workspace(globals, None, command, output),
        Command::Config(command) => command.run(globals, output),
        Command::Doctor(command) => command.run(globals, output),
        Command::Server(command) => command.run(globals, output),
        Command::Completions(command) => command.run(output),
        Command::Version(command) => command.run(globals, output),
    }
}

/// Opens the workspace and runs a command in it, on a runtime of this one thread: blocking work
/// has threads of its own, and more would only cost start-up time.
fn in_workspace(
    globals: &Globals,
    launcher: Option<Launcher>,
    command: WorkspaceCommand,
    output: &mut Output,
) -> Result<u8, Failure> {
    let surroundings = context::surroundings();
    // A flag overrules whatever a variable was to say.
    if matches!(command, WorkspaceCommand::Run(_)) && globals.mode.is_none() {
        configuration::refuse_unknown_modes(&surroundings)?;
    }
    for (name, near) in configuration::unknown_variables(&surroundings) {
        match near {
            Some(near) => output.warn(format_args!("{name} has no effect; did you mean {near}?")),
            None => output.warn(format_args!("{name} has no effect: it is no setting")),
        }
    }
    let context = Context::open(globals, launcher)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| context::io("start", "the runtime", &error))?;
    let result = runtime.block_on(async {
        match command {
            WorkspaceCommand::Run(command) => command.run(&context, output).await,
            WorkspaceCommand::Ps(command) => command.run(&context, output).await,
            WorkspaceCommand::Logs(command) => command.run(&context, output).await,
            WorkspaceCommand::Kill(command) => command.run(&context, output).await,
            WorkspaceCommand::Wait(command) => command.run(&context, output).await,
            WorkspaceCommand::Attach(command) => command.run(&context, output).await,
            WorkspaceCommand::Fs(command) => command.run(&context, output).await,
            WorkspaceCommand::Find(command) => command.run(&context, output).await,
            WorkspaceCommand::Grep(command) => command.run(&context, output).await,
        }
    });
    // A thread may be blocked in reading standard input; the process ends without it.
    runtime.shutdown_background();
    result
}
