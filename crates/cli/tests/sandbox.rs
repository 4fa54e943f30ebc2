//! Sandbox mode from the command line, with a container engine of this machine.
//!
//! Without an engine, an image or a sidecar these tests are skipped with a word; with `CI` set that
//! is a failure.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::json;
use support::daemon::until;
use support::mcp::Agent;
use support::{Place, Ran};

/// The image that the tests run in: the one that `stigmer image build` makes, else a small one.
const IMAGES: [&str; 2] = ["stigmer-sandbox-basic:local", "stigmer-sandbox-base:bookworm"];

/// What the tests need of this machine: an image and the sidecar.
fn needs() -> Option<&'static (String, PathBuf)> {
    static FOUND: OnceLock<Result<(String, PathBuf), String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let listed = Command::new("docker")
            .args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"])
            .output()
            .map_err(|error| format!("docker: {error}"))?;
        if !listed.status.success() {
            return Err(String::from_utf8_lossy(&listed.stderr).into_owned());
        }
        let named = std::env::var("STIGMER_TEST_SANDBOX_IMAGE").ok();
        let wanted = named.into_iter().chain(IMAGES.map(str::to_owned));
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let here = |image: &String| listed.lines().any(|line| line == image);
        let image = wanted.into_iter().find(here).ok_or("no sandbox image is here")?;
        let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let program = PathBuf::from(env!("CARGO_BIN_EXE_stigmer"));
        let built = program
            .ancestors()
            .skip(1)
            .map(|above| above.join(&machine).join("sidecar/stigmer-sidecar"));
        let sidecar = built.into_iter().find(|path| path.is_file());
        let sidecar = std::env::var_os("STIGMER_SIDECAR").map(PathBuf::from).or(sidecar);
        Ok((image, sidecar.ok_or("no sidecar is built: scripts/build-sidecar")?))
    });
    match found {
        Ok(found) => Some(found),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "sandboxes cannot be tested: {why}");
            #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
            {
                eprintln!("SKIPPED: sandboxes cannot be tested: {why}");
            }
            None
        }
    }
}

/// A scratch place in whose workspace commands are sandboxed; its container goes with it.
struct Sandbox {
    place: Place,
    variables: Vec<(&'static str, String)>,
}

impl Sandbox {
    fn new() -> Option<Self> {
        let (image, sidecar) = needs()?;
        let variables = vec![
            ("STIGMER_EXECUTION_MODE", "sandbox".to_owned()),
            ("STIGMER_SANDBOX_IMAGE", image.clone()),
            ("STIGMER_SANDBOX_AUTO_PULL", "false".to_owned()),
            ("STIGMER_SANDBOX_TTL", "120s".to_owned()),
            ("STIGMER_SIDECAR", sidecar.display().to_string()),
        ];
        Some(Self { place: Place::new(), variables })
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.place.run_with(&self.pairs(), arguments)
    }

    fn with(&self, more: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let all: Vec<_> = self.pairs().into_iter().chain(more.iter().copied()).collect();
        self.place.run_with(&all, arguments)
    }

    fn containers(&self) -> Vec<String> {
        let id = self.run(&["workspace", "status", "--json"]).json()["name"].clone();
        let Some(name) = id.as_str() else { return Vec::new() };
        let filter = format!("name={name}");
        let listed =
            Command::new("docker").args(["ps", "-aq", "--filter", &filter]).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.run(&["workspace", "rm"]);
    }
}

#[test]
fn a_command_runs_in_the_container_as_the_caller_and_ends_as_on_the_host() {
    let Some(sandbox) = Sandbox::new() else { return };
    let pwd = format!("{}\n", sandbox.place.work().display());
    sandbox.run(&["run", "pwd; test -e /.stigmer/sidecar"]).ok().prints(&pwd);
    sandbox.run(&["run", "echo out; echo err >&2; exit 7"]).exits(7).prints("out\n").says(&["err"]);
    sandbox.run(&["run", "--timeout", "300ms", "echo part; sleep 60"]).exits(124).prints("part\n");
    sandbox.run(&["run", "kill -9 $$"]).exits(137);
    sandbox.run(&["run", "no-such-program"]).exits(127);
    let executed = sandbox.run(&["run", "--json", "echo here"]).ok().json();
    assert_eq!(executed["place"], "container");
    // Files are the caller's, both ways.
    sandbox.run(&["run", "echo made > made"]).ok();
    assert_eq!(sandbox.place.read("made"), "made\n");
    let owner = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(sandbox.place.work().join("made")).unwrap(),
    );
    assert_eq!(owner, rustix::process::geteuid().as_raw());
    sandbox.run(&["fs", "read", "made"]).ok().prints("made\n");
    assert_eq!(sandbox.containers().len(), 1, "one container for all of it");
}

#[test]
fn a_command_that_runs_out_of_memory_is_told_its_limit() {
    let Some(sandbox) = Sandbox::new() else { return };
    let hog = ["run", r"x=$(head -c 300M /dev/zero | tr '\0' x)"];
    let memory = [("STIGMER_SANDBOX_MEMORY", "64MiB")];
    sandbox.with(&memory, &hog).exits(137).says(&["out of memory: the limit is 64.0 MiB"]);
}

#[test]
fn only_declared_variables_get_in() {
    let Some(sandbox) = Sandbox::new() else { return };
    let more = [("SECRET_OF_CALLER", "hunter2"), ("STIGMER_SANDBOX_ENVIRONMENT", "DECLARED=1\\,2")];
    let words = ["run", "-e", "GIVEN=3", "echo $SECRET_OF_CALLER.$DECLARED.$GIVEN"];
    sandbox.with(&more, &words).ok().prints(".1,2.3\n");
}

#[test]
fn commands_in_sandboxes_are_found_from_everywhere_and_outlive_their_container() {
    let Some(sandbox) = Sandbox::new() else { return };
    let id = sandbox.run(&["run", "--detach", "echo one; exec sleep 300"]).ok().stdout;
    let id = id.trim();
    let elsewhere = |arguments: &[&str]| {
        // In local mode, in another directory.
        // With other settings, which are no matter of commands that run.
        let more = [("STIGMER_EXECUTION_MODE", "local"), ("STIGMER_SANDBOX_PIDS", "2048")];
        let words: Vec<&str> = ["--workspace", "/"].iter().chain(arguments).copied().collect();
        sandbox.with(&more, &words)
    };
    let listed = elsewhere(&["ps", "--json"]).ok().json();
    assert_eq!(
        (listed[0]["id"].as_str(), listed[0]["state"].as_str()),
        (Some(id), Some("running"))
    );
    while elsewhere(&["logs", id]).ok().stdout != "one\n" {}
    // Somebody else removes the container.
    for container in sandbox.containers() {
        let removed = Command::new("docker").args(["rm", "-f", &container]).output().unwrap();
        assert!(removed.status.success(), "{removed:?}");
    }
    elsewhere(&["logs", id]).ok().prints("one\n");
    let all = elsewhere(&["ps", "--all", "--json"]).ok().json();
    assert_eq!(all[0]["id"].as_str(), Some(id));
    assert_eq!(all[0]["state"], "lost", "{all}");
    // Whoever learns it only now is told why, too.
    let why = "killed or removed by somebody else";
    assert!(all[0]["exit"]["cause"].as_str().unwrap().contains(why), "{all}");
    elsewhere(&["wait", id]).exits(125).says(&["is lost", why]);
    elsewhere(&["attach", "--no-input", id]).exits(125).prints("one\n").says(&["is lost", why]);
    let exit = elsewhere(&["wait", "--json", id]).exits(125).json();
    assert!(exit["cause"].as_str().unwrap().contains(why), "{exit}");
    // The next command has a container again.
    sandbox.run(&["run", "echo again"]).ok().prints("again\n");
}

#[test]
fn input_is_streamed_and_kill_ends_what_runs() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mut command = sandbox.place.command(&["run", "wc -c"]);
    command.envs(sandbox.pairs()).stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &[b'x'; 100_000]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "100000");
    let id = sandbox.run(&["run", "--detach", "sleep 300"]).ok().stdout;
    let other = [("STIGMER_SANDBOX_PIDS", "2048")];
    sandbox.with(&other, &["kill", id.trim()]).ok();
    assert_eq!(sandbox.with(&other, &["ps", "--json"]).ok().json(), serde_json::json!([]));
    assert_ne!(sandbox.run(&["wait", id.trim()]).code, 0);
    // What a command left behind keeps its container, and is listed with it.
    sandbox.run(&["run", "setsid sleep 300 >/dev/null 2>&1 &"]).ok();
    sandbox.with(&other, &["run", "true"]).exits(125).says(&["and 1 command runs in"]);
    let listed = sandbox.with(&other, &["ps", "--json"]).ok().json();
    assert_eq!((&listed[0]["state"], &listed[0]["background"]), (&"exited".into(), &1.into()));
    sandbox.with(&other, &["kill", listed[0]["id"].as_str().unwrap()]).ok();
    sandbox.with(&other, &["run", "true"]).ok();
}

#[test]
fn a_command_is_followed_to_its_end_when_the_daemon_goes() {
    let Some(sandbox) = Sandbox::new() else { return };
    let script = "read line; echo $line; while ! test -e go; do sleep 0.05; done; read line; \
                  echo $line; exit 9";
    for how in [&["server", "stop"][..], &["server", "stop", "--now"]] {
        sandbox.run(&["server", "start", "--listen", "none"]).ok();
        let mut command = sandbox.place.command(&["run", "-i", script]);
        command.envs(sandbox.pairs()).stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, b"one\n").unwrap();
        while sandbox.run(&["ps", "--json"]).json()[0]["output_bytes"] != 4 {}
        sandbox.run(how).ok();
        let gone = std::time::Instant::now();
        std::io::Write::write_all(&mut stdin, b"two\n").unwrap();
        sandbox.place.write("go", "");
        let ran = support::ran(child.wait_with_output().unwrap());
        ran.exits(9).prints("one\ntwo\n");
        // Nobody waited for another daemon, or for the command to be given up.
        assert!(gone.elapsed() < std::time::Duration::from_secs(30));
        std::fs::remove_file(sandbox.place.work().join("go")).unwrap();
    }
}

#[test]
fn whoever_waits_is_told_what_became_of_the_container() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mut command = sandbox.place.command(&["run", "--json", "echo here; exec sleep 300"]);
    command.envs(sandbox.pairs()).stdout(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    while sandbox.run(&["ps", "--json"]).json()[0]["output_bytes"] != 5 {}
    for container in sandbox.containers() {
        Command::new("docker").args(["rm", "-f", &container]).output().unwrap();
    }
    let executed = support::ran(child.wait_with_output().unwrap()).exits(125).json();
    assert_eq!(executed["exit"]["reason"], "lost", "{executed}");
    assert_eq!(executed["exit"]["output_bytes"], 5, "{executed}");
    let cause = executed["exit"]["cause"].as_str().unwrap();
    assert!(cause.contains("killed or removed by somebody else"), "{cause}");
}

#[test]
fn a_sandbox_is_stopped_started_and_removed() {
    let Some(sandbox) = Sandbox::new() else { return };
    let created = sandbox.run(&["workspace", "create", "--json"]).ok().json();
    assert_eq!(created["state"], "ready");
    sandbox.run(&["run", "touch /tmp/kept"]).ok();
    assert_eq!(sandbox.run(&["workspace", "stop", "--json"]).ok().json()["state"], "stopped");
    assert_eq!(sandbox.run(&["workspace", "start", "--json"]).ok().json()["state"], "ready");
    sandbox.run(&["run", "test -e /tmp/kept"]).ok();
    let all = sandbox.run(&["workspace", "list", "--json"]).ok().json();
    assert_eq!(all[0]["workspace"], created["workspace"]);
    sandbox.run(&["run", "echo made > made"]).ok();
    sandbox
        .run(&["workspace", "rm", created["workspace"].as_str().unwrap()])
        .ok()
        .says(&["output of its commands", "stays as it is"]);
    assert_eq!(sandbox.run(&["workspace", "list", "--json"]).ok().json(), serde_json::json!([]));
    let all = sandbox.run(&["workspace", "list", "--all", "--json"]).ok().json();
    assert_eq!((all.as_array().unwrap().len(), &all[0]["state"]), (1, &"gone".into()));
    let again = sandbox.run(&["workspace", "rm"]).ok();
    assert!(again.stdout.contains("nothing to remove"), "{}", again.stdout);
    assert_eq!(again.stderr, "");
    assert_eq!(sandbox.place.read("made"), "made\n", "its files are not touched");
    let left = sandbox.run(&["ps", "--all", "--json"]).ok().json();
    assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
    assert_eq!(sandbox.run(&["workspace", "status", "--json"]).ok().json()["state"], "gone");
}

#[test]
fn without_an_engine_or_an_image_nothing_runs_and_the_reason_is_told() {
    let Some(sandbox) = Sandbox::new() else { return };
    let nowhere = [("STIGMER_SANDBOX_ENGINE", "unix:///nonexistent/socket")];
    sandbox.with(&nowhere, &["run", "touch made"]).exits(125).says(&["/nonexistent/socket"]);
    let missing = ["run", "--sandbox-image", "stigmer-test/none:1", "touch made"];
    sandbox.run(&missing).exits(125).says(&["stigmer-test/none:1"]);
    // What could not be had is not kept.
    sandbox.run(&["run", "true"]).ok();
    assert!(!sandbox.place.work().join("made").exists());
    sandbox.run(&["run", "--mode", "local", "--sandbox-image", "x", "true"]).exits(125);
    sandbox
        .run(&["--workspace", "/etc", "run", "true"])
        .exits(125)
        .says(&["belongs to the system"]);
}

#[test]
fn a_new_workspace_takes_a_container_that_waits_and_others_are_made_behind_it() {
    let Some(sandbox) = Sandbox::new() else { return };
    let pool = sandbox.place.home().join("state/sandboxes/pool");
    // The containers that wait, by what is on disk of them.
    let waiting = || -> Vec<String> {
        let entries = std::fs::read_dir(&pool).into_iter().flatten().flatten();
        let offered = entries.filter(|entry| entry.file_name().len() == 16);
        let read = offered.filter_map(|entry| std::fs::read(entry.path().join("entry.json")).ok());
        let parsed = read.filter_map(|text| serde_json::from_slice(&text).ok());
        let id = |entry: serde_json::Value| entry["container"].as_str().map(str::to_owned);
        parsed.filter_map(id).collect()
    };
    let filled = || {
        let began = std::time::Instant::now();
        while waiting().is_empty() {
            assert!(began.elapsed() < std::time::Duration::from_secs(60), "nothing waits");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        waiting()
    };
    let one = [("STIGMER_SANDBOX_POOL", "1")];
    sandbox.with(&one, &["run", "echo cold"]).ok().prints("cold\n");
    let waited = filled();
    let other = sandbox.place.beside("other").display().to_string();
    std::fs::create_dir(&other).unwrap();
    let run = ["--workspace", &other, "run", "echo $$; test -e /.stigmer/sidecar"];
    sandbox.with(&one, &run).ok();
    let all = sandbox.run(&["workspace", "list", "--json"]).ok().json();
    assert_eq!(all.as_array().unwrap().len(), 2, "{all}");
    let status = ["workspace", "status", &other, "--json"];
    let name = sandbox.run(&status).ok().json()["name"].as_str().unwrap().to_owned();
    let inspect = Command::new("docker").args(["inspect", "--format", "{{.Id}}", &name]).output();
    assert_eq!([String::from_utf8_lossy(&inspect.unwrap().stdout).trim()], *waited);
    assert_ne!(filled(), waited);
    // Without a pool what waits is cleared away.
    sandbox.run(&["workspace", "rm"]).ok();
    sandbox.run(&["run", "true"]).ok();
    sandbox.run(&["workspace", "rm", &other]).ok();
    assert!(!pool.exists());
    let fixed = [("STIGMER_SANDBOX_POOL", "1"), ("STIGMER_SANDBOX_PORTS", "8080:80")];
    let says = ["sandbox_pool", "sandbox_ports"];
    sandbox.with(&fixed, &["run", "true"]).exits(125).says(&says);
}

#[test]
fn an_agent_works_in_the_container_and_reaches_no_other_workspace() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mut agent = Agent::start_with(&sandbox.place, &sandbox.pairs());
    let ran = agent.call("run", json!({ "command": "pwd; echo made >file" }));
    assert_eq!(ran["place"], "container", "{ran}");
    assert_eq!(ran["stdout"], format!("{}\n", sandbox.place.work().display()));
    assert_eq!(agent.call("read", json!({ "path": "file" }))["content"], "made\n");
    // Opened by somebody else, where nothing isolates.
    let other = sandbox.place.beside("other").to_str().unwrap().to_owned();
    std::fs::create_dir(&other).unwrap();
    let mut free = Agent::start(&sandbox.place, &["--mode", "local"]);
    let opened = free.call("workspace_open", json!({ "path": other }));
    for name in [&opened["id"], &other.clone().into(), &"/".into()] {
        let run = json!({ "command": "true", "workspace": name });
        assert_eq!(agent.fail("run", run)["code"], "permission_denied", "{name}");
    }
    let open = json!({ "path": other });
    assert_eq!(agent.fail("workspace_open", open)["code"], "permission_denied");
    let list = agent.call("workspaces", json!({}));
    assert_eq!(list["workspaces"].as_array().unwrap().len(), 1, "{list}");

    let params = json!({ "name": "run", "arguments": { "command": "echo $$ >begun; sleep 1000" } });
    let id = agent.request("tools/call", params);
    until("the command runs", || sandbox.place.work().join("begun").exists());
    agent.tell("notifications/cancelled", json!({ "requestId": id }));
    until("it is ended", || agent.call("process_list", json!({}))["processes"] == json!([]));
}
