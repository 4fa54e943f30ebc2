//! Everybody who takes part in a sandboxed command is killed at random moments: the program that
//! follows it, the daemon, the sidecar's server, the container's process 1, the engine. No command is
//! told wrongly, no byte that had reached the log is lost or repeated, no container is left behind.
//!
//! Without an engine or a sidecar it is skipped with a word; with `CI` set that is a failure. The
//! engine is killed only where `scripts/fault-engine` runs one for that (`STIGMER_FAULT_ENGINE`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../docker/tests/engine/fault_engine.rs"]
mod fault_engine;
mod support;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fault_engine::{DIRECTORY, FaultEngine};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::daemon::until;
use support::{Place, Ran};

const IMAGE: &str = "stigmer-test-busybox:local";

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The program that follows a command which does not need it.
    Follower,
    /// The program that a command runs for.
    Caller,
    Daemon,
    Server,
    Container,
    Engine,
}

const VICTIMS: [Victim; 6] = [
    Victim::Follower,
    Victim::Caller,
    Victim::Daemon,
    Victim::Server,
    Victim::Container,
    Victim::Engine,
];

/// Lines that the command writes, in about half a second.
const LINES: u32 = 400;
const TALK: Duration = Duration::from_millis(600);

/// Writes numbered lines, with rests of so many seconds, and ends with a code that nothing else has.
fn talker(rest: &str) -> String {
    format!(
        "echo run >> runs; i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i + 1)); \
         [ $((i % 10)) != 0 ] || sleep {rest}; done; exit 7"
    )
}

fn lines() -> String {
    (0..LINES).map(|number| format!("line {number}\n")).collect()
}

fn random(below: u128) -> u64 {
    let mut bytes = [0; 8];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    u64::try_from(u128::from(u64::from_le_bytes(bytes)) % below).unwrap()
}

/// How often: ten times, or STIGMER_KILLS.
fn rounds() -> usize {
    std::env::var("STIGMER_KILLS").map_or(10, |text| text.parse().unwrap())
}

/// A workspace, and who takes part.
struct Scene {
    place: Place,
    engine: Option<FaultEngine>,
    sidecar: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.run(&["workspace", "rm"]);
        self.run(&["server", "stop", "--now"]);
    }
}

impl Scene {
    /// Nothing if something is missing, which has been said then.
    fn new() -> Option<Self> {
        let missing = |why: &str| {
            assert!(std::env::var_os("CI").is_none(), "nobody can be killed: {why}");
            #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("SKIPPED: nobody can be killed: {why}");
            }
        };
        let Some(sidecar) = std::env::var_os("STIGMER_SIDECAR").map(PathBuf::from) else {
            missing("STIGMER_SIDECAR names no static sidecar");
            return None;
        };
        let answers = Command::new("docker").arg("version").output();
        if !answers.is_ok_and(|answer| answer.status.success()) {
            missing("no engine answers");
            return None;
        }
        let engine = FaultEngine::find();
        if engine.is_none() {
            missing(&format!("{DIRECTORY} names no engine that may be killed"));
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/test-image");
        let made = Command::new(script).arg("busybox").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(Self { place: Place::new(), engine, sidecar })
    }

    fn address(&self) -> Option<String> {
        self.engine.as_ref().map(FaultEngine::address)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.env("STIGMER_EXECUTION_MODE", "sandbox").env("STIGMER_SANDBOX_IMAGE", IMAGE);
        command.env("STIGMER_SANDBOX_AUTO_PULL", "false").env("STIGMER_SANDBOX_NETWORK", "none");
        command.env("STIGMER_SANDBOX_TTL", "300s").env("STIGMER_CLIENT_GRACE", "100ms");
        command.env("STIGMER_SIDECAR", &self.sidecar);
        if let Some(address) = self.address() {
            command.env("STIGMER_SANDBOX_ENGINE", address);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        support::ran(self.command(arguments).output().unwrap())
    }

    fn docker(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("docker");
        if let Some(address) = self.address() {
            command.args(["--host", &address]);
        }
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn container(&self) -> String {
        let status = self.run(&["workspace", "status", "--json"]).ok().json();
        status["name"].as_str().unwrap().to_owned()
    }

    /// The server in the container: a child of its process 1, which on this machine is this user's.
    fn server(&self) -> Option<Pid> {
        let process_1 = self.docker(&["inspect", "--format", "{{.State.Pid}}", &self.container()]);
        let children = format!("/proc/{process_1}/task/{process_1}/children");
        let children = std::fs::read_to_string(children).unwrap();
        let mut children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        children.find_map(|pid: i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let is_server = words.windows(8).any(|part| part == b"--listen");
            Pid::from_raw(pid).filter(|_| is_server)
        })
    }

    /// Sees to it that one runs.
    fn start_daemon(&self) {
        let started = self.run(&["server", "start", "--listen", "none"]);
        assert!(started.code == 0 || started.stderr.contains("runs already"), "{}", started.stderr);
    }

    fn daemon(&self) -> Pid {
        let status = self.run(&["server", "status", "--json"]).ok().json();
        let pid = status["pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        pid.unwrap_or_else(|| panic!("no daemon: {status}\n{}", self.place.daemon_log()))
    }

    fn kill(&self, victim: Victim, round: usize) {
        let kill = |pid: Pid| {
            let _ = kill_process(pid, Signal::KILL);
        };
        match victim {
            // Whoever started it does that.
            Victim::Follower | Victim::Caller => {}
            Victim::Daemon => kill(self.daemon()),
            // One that was killed just now is on its way.
            Victim::Server => {
                self.server().map(kill);
            }
            Victim::Container => {
                self.docker(&["kill", "--signal=KILL", &self.container()]);
            }
            Victim::Engine => {
                let engine = self.engine.as_ref().unwrap();
                engine.ask("kill");
                let birth = if round.is_multiple_of(2) { "start" } else { "start-live" };
                engine.ask(birth);
            }
        }
    }

    /// What is known of a command.
    fn known(&self, id: &str) -> Value {
        let all = self.run(&["ps", "--all", "--json"]).ok().json();
        let found = all.as_array().unwrap().iter().find(|one| one["id"] == id);
        found.unwrap_or_else(|| panic!("no {id} in {all}")).clone()
    }

    /// The newest command that is not among those known.
    fn newest(&self, known: &[String]) -> Option<String> {
        let all = self.run(&["ps", "--all", "--json"]).ok().json();
        let ids = all.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned());
        let new: Vec<String> = ids.filter(|id| !known.contains(id)).collect();
        assert!(new.len() < 2, "nothing is run twice: {all}");
        new.into_iter().next()
    }
}

#[test]
fn whoever_is_killed_no_command_is_told_wrongly() {
    let Some(scene) = Scene::new() else { return };
    let mut known = Vec::new();
    let mut fates = Vec::new();
    for round in 0..rounds() {
        let mut victim = VICTIMS[round % VICTIMS.len()];
        if victim == Victim::Engine && scene.engine.is_none() {
            victim = Victim::Container;
        }
        // With a daemon, and without.
        let with_daemon = victim == Victim::Daemon || random(2) == 0;
        match with_daemon {
            true => scene.start_daemon(),
            false => drop(scene.run(&["server", "stop", "--now"])),
        }
        scene.run(&["workspace", "create"]).ok();
        let when = format!("round {round}: {victim:?}, daemon {with_daemon}");
        let detached = victim != Victim::Caller;
        // An engine takes seconds to be there again.
        let talker = talker(if victim == Victim::Engine { "0.1" } else { "0.01" });
        let started = detached
            .then(|| scene.run(&["run", "--detach", &talker]).ok().stdout.trim().to_owned());
        let words = match &started {
            Some(id) => vec!["logs", "--follow", id],
            None => vec!["run", &talker],
        };
        let mut command = scene.command(&words);
        let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random(TALK.as_micros())));
        let id = match &started {
            Some(id) => id.clone(),
            None => {
                // It is seen once it has begun.
                let mut found = None;
                until("the command is there", || {
                    found = scene.newest(&known);
                    found.is_some()
                });
                found.unwrap()
            }
        };
        let seen = scene.run(&["logs", &id]).ok().stdout;
        if matches!(victim, Victim::Follower | Victim::Caller) {
            follower.kill().unwrap();
        }
        scene.kill(victim, round);
        let followed = support::ran(follower.wait_with_output().unwrap());
        if with_daemon {
            scene.start_daemon();
        }
        until("the command has ended", || scene.known(&id)["state"] != "running");

        let output = scene.run(&["logs", &id]).ok().stdout;
        let about = || format!("{when}: {} {}", followed.code, followed.stderr);
        assert!(output.starts_with(&seen), "what was seen is there still: {}", about());
        assert!(output.starts_with(&followed.stdout), "nothing else is told: {}", about());
        assert!(lines().starts_with(&output), "nothing is left out or repeated: {}", about());
        let rest = scene.run(&["logs", "--since", &followed.stdout.len().to_string(), &id]);
        assert_eq!(followed.stdout.clone() + &rest.ok().stdout, output, "{}", about());
        let told = scene.known(&id);
        let fate = match told["state"].as_str().unwrap() {
            "lost" => "lost".to_owned(),
            _ => told["exit"]["reason"].as_str().unwrap().to_owned(),
        };
        let may_be: &[&str] = match victim {
            Victim::Follower | Victim::Daemon | Victim::Server => &["exited"],
            Victim::Caller => &["exited", "cancelled"],
            Victim::Container => &["exited", "lost"],
            // It ends what it finds running, gently or not.
            Victim::Engine => &["exited", "lost", "cancelled"],
        };
        assert!(may_be.contains(&fate.as_str()), "{fate}: {} {told}", about());
        if fate == "exited" {
            assert_eq!((told["exit"]["code"].as_i64(), output), (Some(7), lines()), "{}", about());
        }
        if matches!(victim, Victim::Daemon | Victim::Server) {
            assert_eq!(followed.stdout, lines(), "whoever follows has it all: {}", about());
        }
        known.push(id);
        fates.push((victim, fate));
        assert_eq!(scene.newest(&known), None, "{when}");
    }
    let runs = scene.place.read("runs");
    assert_eq!(runs.lines().count(), known.len(), "nothing is run twice: {fates:?}");
    scene.run(&["workspace", "rm"]).ok();
    let all = scene.docker(&["ps", "--all", "--format", "{{.Label \"dev.stigmer.workspace\"}}"]);
    let status = scene.run(&["workspace", "status", "--json"]).ok().json();
    let own = status["workspace"].as_str().unwrap().to_owned();
    assert!(!all.lines().any(|workspace| workspace == own), "{all}");
}
