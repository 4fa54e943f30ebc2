//! The process of a world.

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use stigmer_guard::Probe;

use crate::PROJECT;
use crate::listeners::Listeners;
use crate::run::Runner;
use crate::setup::{copy_project, give_up_capabilities, make};
use crate::trial::{Observation, Trial};

/// Makes the world, then reads trials from standard input, and writes an observation for each, as lines
/// of JSON. Ends when the input does, or when a command left marks outside of the workspace: a world is
/// not mended, another one is made.
///
/// Refuses to run anywhere but as the first process of a namespace: it ends all processes that it sees.
pub fn serve() -> ExitCode {
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "the world: {error}");
            ExitCode::FAILURE
        }
    }
}

fn served() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::Error::other("it is made by the tests, in namespaces of its own"));
    }
    let path = make()?;
    let listeners = Listeners::open();
    give_up_capabilities()?;
    let mut runner = Runner { probe: Probe::take(), path, listeners, known: None };
    for line in io::stdin().lock().lines() {
        let trial: Trial = serde_json::from_str(&line?)?;
        let observation = runner.observe(&trial);
        let whole = mend(&observation)?;
        if !whole || !observation.changes.is_empty() {
            runner.known = None;
        }
        let mut answer = serde_json::to_vec(&(observation, whole))?;
        answer.push(b'\n');
        io::stdout().write_all(&answer)?;
        io::stdout().flush()?;
        if !whole {
            break;
        }
    }
    Ok(())
}

/// Makes the workspace anew if anything in it changed. Says whether the world is as it was made.
fn mend(observation: &Observation) -> io::Result<bool> {
    use crate::trial::What::{Changed, Left, Made, Read, Removed};
    let mut project = false;
    for change in &observation.changes {
        match change.what {
            Made | Removed | Changed if Path::new(&change.to).starts_with(PROJECT) => {
                project = true
            }
            Made | Removed | Changed | Left | Read => return Ok(false),
            _ => {}
        }
    }
    if project {
        // What lies in it may be unwritable.
        let _ = Command::new("chmod").args(["-R", "u+rwX", PROJECT]).output();
        fs::remove_dir_all(PROJECT)?;
        copy_project()?;
    }
    Ok(true)
}
