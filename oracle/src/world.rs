//! A test's side of worlds.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use crate::snapshot::SECRET;
use crate::trial::{Observation, Trial};

/// Names a Rust toolchain that the user of the tests may read.
pub(crate) const RUST: &str = "STIGMER_ORACLE_RUST";

/// A process that runs trials, in namespaces of its own.
pub struct World {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl World {
    /// Makes one. `program` is this package's.
    pub fn make(program: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-current-user", "--keep-caps", "--mount", "--mount-proc"]);
        command.args(["--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--"]);
        if std::env::var_os(RUST).is_none()
            && let Ok(said) = Command::new("rustc").args(["--print", "sysroot"]).output()
        {
            command.env(RUST, String::from_utf8_lossy(&said.stdout).trim());
        }
        // A supervisor has variables that are nobody's in a lane.
        command.env("STIGMER_ORACLE_KEY", SECRET);
        command.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("unshare (package util-linux)");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Runs a command. Says whether the world may be used for another one.
    pub fn run(&mut self, trial: &Trial) -> (Observation, bool) {
        let mut line = serde_json::to_vec(trial).unwrap();
        line.push(b'\n');
        let input = self.input.as_mut().unwrap();
        let mut answer = String::new();
        // If it is gone it said why, on the test's own output.
        let sent = input.write_all(&line);
        self.output.read_line(&mut answer).unwrap();
        assert!(sent.is_ok() && !answer.is_empty(), "the world ended before {:?}", trial.command);
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// Runs trials in as many worlds as there are processors, and gives the observations in the order of the
/// trials.
pub fn run_all(program: &Path, trials: &[Trial]) -> Vec<Observation> {
    let next = Mutex::new(trials.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let worlds = std::thread::available_parallelism().map_or(2, usize::from).min(trials.len());
    std::thread::scope(|scope| {
        for _ in 0..worlds {
            scope.spawn(|| {
                let mut world = None;
                loop {
                    let Some((index, trial)) = next.lock().unwrap().next() else { break };
                    let mut used = world.take().unwrap_or_else(|| World::make(program));
                    let (observation, whole) = used.run(trial);
                    world = whole.then_some(used);
                    done.lock().unwrap().push((index, observation));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, observation)| observation).collect()
}
