//! `stigmer server`, with real daemons.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use support::Place;
use support::daemon::{Daemon, lives, piped, until};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// The session of a process, from /proc/<pid>/stat; `getsid` of rustix cannot say that it is one of
/// an outer PID namespace, which is 0.
fn session(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_the_name = &stat[stat.rfind(')').unwrap() + 2..];
    behind_the_name.split(' ').nth(3).unwrap().parse().unwrap()
}

#[test]
fn a_daemon_starts_says_where_it_is_and_stops() {
    let place = Place::new();
    assert_eq!(place.run(&["--json", "server", "status"]).exits(3).json()["running"], false);
    place.run(&["server", "status"]).exits(3).prints("no daemon runs\n");
    let daemon = Daemon::start(&place);
    let pid = daemon.pid.as_raw_nonzero().get();
    assert_eq!(session(pid), pid, "it leads a session of its own");
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert_eq!(cwd, Path::new("/"));

    let info = daemon.get("/v1/server/info").ok();
    assert_eq!((&info["pid"], &info["version"]), (&json!(pid), &json!(env!("CARGO_PKG_VERSION"))));
    let directory = place.daemon();
    assert_eq!(mode(&directory), 0o700);
    for name in ["lock", "daemon.json", "socket", "descriptors", "token", "log"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }

    let status = place.run(&["--json", "server", "status"]).ok().json();
    assert_eq!((&status["running"], &status["pid"]), (&json!(true), &json!(pid)));
    assert_eq!(status["tcp"].as_str(), daemon.address.as_deref());
    let status = place.run(&["server", "status"]).ok().stdout;
    assert!(status.contains(&format!("process {pid}")), "{status}");
    assert!(status.contains(daemon.address.as_deref().unwrap()), "{status}");

    assert_eq!(place.run(&["--json", "server", "stop"]).ok().json()["pid"], pid);
    assert!(!lives(daemon.pid));
    for name in ["daemon.json", "socket", "descriptors"] {
        assert!(!directory.join(name).exists(), "{name}");
    }
    place.run(&["server", "status"]).exits(3);
    place.run(&["server", "stop"]).exits(3).says(&["no daemon runs"]);
}

#[test]
fn on_tcp_the_token_is_asked_for_and_on_the_socket_it_is_not() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let ask = |headers: &str| daemon.ask_tcp("/v1/server/info", headers, &json!({})).status;
    assert_eq!(ask(&daemon.bearer()), 200);
    assert_eq!(ask(""), 401);
    assert_eq!(ask("authorization: Bearer dummy-local-key\r\n"), 401);
    assert_eq!(daemon.ask_tcp("/metrics", "", &json!({})).status, 401);
    assert_eq!(daemon.get("/metrics").status, 200);
    // The next daemon has the same token.
    let bearer = daemon.bearer();
    place.run(&["server", "stop"]).ok();
    assert_eq!(Daemon::start(&place).bearer(), bearer);
}

#[test]
fn a_token_of_the_callers_own_takes_the_files_place() {
    const TOKEN: &str = "a-token-of-my-own-0123456789";
    let place = Place::new();
    let variables = [("STIGMER_API_KEY", TOKEN)];
    let daemon = Daemon::start_with(&place, &variables, &["--listen", "127.0.0.1:0"]);
    assert!(!place.daemon().join("token").exists());
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    assert_eq!(daemon.ask_tcp("/v1/server/info", &bearer, &json!({})).status, 200);
    assert!(!place.daemon_log().contains(TOKEN));
}

#[test]
fn a_token_that_others_can_read_is_not_used() {
    let place = Place::new();
    drop(Daemon::start(&place));
    until("the daemon is gone", || place.run(&["server", "status"]).code == 3);
    let token = place.daemon().join("token");
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
    let start = place.run(&["server", "start", "--listen", "none"]).exits(5);
    assert!(start.stderr.contains("mode 0600"), "{}", start.stderr);
    assert_eq!(place.run(&["server", "status"]).code, 3);
}

#[test]
fn a_second_start_says_who_runs() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let pid = format!("process {}", daemon.pid.as_raw_nonzero());
    let address = daemon.address.clone().unwrap();
    place.run(&["server", "start"]).exits(4).prints("").says(&["runs already", &pid, &address]);
    // In the foreground, too, and whatever socket it would have taken.
    let socket = place.beside("other");
    let words = ["--json", "server", "start", "--foreground", "--socket", socket.to_str().unwrap()];
    let error = place.run(&words).exits(4).json();
    assert_eq!(error["error"]["code"], "exists");
    assert!(daemon.get("/v1/server/info").status == 200 && !socket.exists());
}

#[test]
fn of_many_starts_at_once_one_daemon_comes() {
    let place = Place::new();
    let words = ["--json", "server", "start", "--listen", "none"];
    let starts: Vec<_> = (0..6).map(|_| piped(&place, &words)).collect();
    let ran = starts.into_iter().map(|start| start.wait_with_output().unwrap());
    let codes: Vec<_> = ran.map(|ran| ran.status.code().unwrap()).collect();
    let status = place.run(&["--json", "server", "status"]).ok();
    let daemon = Daemon::of(&place, &status);
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 4).count(), 5, "{codes:?}");
    assert_eq!(daemon.get("/v1/server/info").status, 200);
}

#[test]
fn what_a_killed_daemon_left_is_recognised_and_replaced() {
    let place = Place::new();
    let first = Daemon::start(&place);
    first.crash();
    assert!(first.socket.symlink_metadata().unwrap().file_type().is_socket());
    assert!(place.daemon().join("daemon.json").exists());
    place.run(&["server", "status"]).exits(3);
    place.run(&["server", "stop"]).exits(3);
    let second = Daemon::start(&place);
    assert_ne!(first.pid, second.pid);
    assert_eq!(second.get("/v1/server/info").status, 200);
    // At once means: without asking it.
    second.signal(Signal::STOP);
    place.run(&["server", "stop", "--now"]).ok();
    assert!(!lives(second.pid) && !second.socket.exists());
}

#[test]
fn what_lies_where_a_socket_shall_be_is_not_touched() {
    let place = Place::new();
    std::fs::set_permissions(place.beside("."), PermissionsExt::from_mode(0o700)).unwrap();
    let path = place.beside("s");
    std::fs::write(&path, "mine").unwrap();
    let words = ["server", "start", "--listen", "none", "--socket", path.to_str().unwrap()];
    place.run(&words).exits(4);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    std::fs::remove_file(&path).unwrap();
    // The directory that it is started in is the one that a path is relative to.
    let daemon = Daemon::start_with(&place, &[], &["--listen", "none", "--socket", "../s"]);
    assert_eq!(daemon.address, None);
    assert_eq!(daemon.get("/v1/server/info").status, 200);
    assert!(path.symlink_metadata().unwrap().file_type().is_socket());
    place.run(&["server", "stop"]).ok();
    assert!(!path.exists());
}

#[test]
fn a_taken_port_is_said_and_the_socket_is_served() {
    let place = Place::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let start = place.run(&["server", "start", "--listen", &address]).ok();
    let start = start.says(&["taken", &address, "--listen"]);
    let status = place.run(&["--json", "server", "status"]).ok();
    let daemon = Daemon::of(&place, &status);
    assert!(start.stdout.contains(daemon.socket.to_str().unwrap()), "{}", start.stdout);
    assert!(status.json()["no_tcp"].as_str().unwrap().contains(&address));
    assert_eq!(daemon.get("/v1/server/info").status, 200);
    let status = place.run(&["server", "status"]).ok().stdout;
    assert!(status.contains("taken"), "{status}");
}

#[test]
fn a_home_that_is_too_deep_for_a_socket_is_said() {
    let place = Place::new();
    let home = place.beside(&"d".repeat(100));
    let variables = [("STIGMER_HOME", home.to_str().unwrap())];
    place.run_with(&variables, &["server", "start", "--listen", "none"]).exits(2).says(&[
        "too long",
        "107",
        "STIGMER_HOME",
    ]);
}

#[test]
fn settings_that_cannot_be_had_keep_it_from_starting() {
    let place = Place::new();
    let start = ["server", "start", "--listen", "none"];
    place.run_with(&[("STIGMER_LOG", "loud")], &start).exits(2).says(&["off, error, warn"]);
    place.run_with(&[("STIGMER_EXEC_MODE", "sandbox")], &start).exits(2);
    place.run_with(&[("MODE", "cloud")], &start).exits(2);
    let otel = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
    ];
    place.run_with(&otel, &start).exits(2).says(&["grpc"]);
    place
        .run(&["server", "start", "--listen", "example.com:1"])
        .exits(2)
        .says(&["127.0.0.1:50051"]);
    place.run(&["server", "status"]).exits(3);
}

#[test]
fn a_daemon_that_is_told_to_end_finishes_what_it_is_doing() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let line = "touch began; until test -e go; do sleep 0.01; done; echo done; exit 3";
    let request =
        json!({ "start": { "workspace": daemon.workspace(), "command": { "shell": line } } });
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| daemon.ask("/v1/processes/execute", &request));
        until("the command has begun", || place.work().join("began").exists());
        daemon.signal(Signal::TERM);
        until("the daemon is ending", || place.daemon_log().contains("\"ending\""));
        place.write("go", "");
        let executed = answer.join().unwrap().ok();
        assert_eq!(
            (&executed["exit"]["code"], &executed["stdout"]["head"]),
            (&json!(3), &json!("done\n"))
        );
    });
    daemon.gone();
    assert!(!daemon.socket.exists());
}

#[test]
fn a_signal_from_a_terminal_that_closes_ends_nothing() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::PIPE);
    assert_eq!(daemon.get("/v1/server/info").status, 200);
    // What it starts is not deaf to them.
    let ignored = daemon.start_command("grep SigIgn /proc/self/status > ignored");
    let wait = json!({ "workspace": daemon.workspace(), "id": ignored });
    daemon.ask("/v1/processes/wait", &wait).ok();
    let ignored = place.read("ignored");
    let ignored = u64::from_str_radix(ignored.split_whitespace().nth(1).unwrap(), 16).unwrap();
    for signal in [Signal::HUP, Signal::PIPE] {
        assert_eq!(ignored >> (signal.as_raw() - 1) & 1, 0, "{signal:?} in {ignored:x}");
    }
}

#[test]
fn commands_go_on_when_the_daemon_dies_and_the_next_one_knows_them() {
    let place = Place::new();
    let first = Daemon::start(&place);
    let id =
        first.start_command("echo one; until test -e go; do sleep 0.01; done; echo two; exit 7");
    first.crash();
    let second = Daemon::start(&place);
    let named = json!({ "workspace": second.workspace(), "id": id });
    assert_eq!(second.ask("/v1/processes/get", &named).ok()["state"], "running");
    let list = second.ask("/v1/processes/list", &json!({ "workspace": second.workspace() })).ok();
    assert!(list["processes"].as_array().unwrap().iter().any(|info| info["id"] == id.as_str()));
    place.write("go", "");
    assert_eq!(second.ask("/v1/processes/wait", &named).ok()["code"], 7);
    place.run(&["logs", &id]).ok().prints("one\ntwo\n");
}

#[test]
fn a_daemon_whose_reserve_was_killed_gets_itself_another() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let pid = daemon.pid.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let children: Vec<_> = children
        .split_whitespace()
        .map(|child| Pid::from_raw(child.parse().unwrap()).unwrap())
        .collect();
    assert!(!children.is_empty());
    for child in children {
        kill_process(child, Signal::KILL).unwrap();
        until("the reserve is gone", || !lives(child));
    }
    for _ in 0..10 {
        let id = daemon.start_command("exit 4");
        let named = json!({ "workspace": daemon.workspace(), "id": id });
        assert_eq!(daemon.ask("/v1/processes/wait", &named).ok()["code"], 4);
    }
}

#[test]
fn in_the_foreground_it_logs_to_standard_error_and_ends_with_ctrl_c() {
    let place = Place::new();
    let mut child = piped(&place, &["server", "start", "--foreground", "--listen", "none"]);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let socket = place.daemon().join("socket");
    assert!(line.contains("listens on") && line.contains(socket.to_str().unwrap()), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    let words: Vec<String> = said
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words, ["serving", "ending", "ended"]);
}

#[test]
fn the_log_is_printed_and_followed() {
    let place = Place::new();
    place.run(&["server", "logs"]).ok().prints("");
    let daemon = Daemon::start(&place);
    let read = |id: &str| {
        let headers = format!("x-request-id: {id}\r\n{}", daemon.bearer());
        let request = json!({ "workspace": daemon.workspace(), "path": "missing" });
        assert_eq!(daemon.ask_tcp("/v1/files/read", &headers, &request).status, 404);
        until("the request is logged", || place.daemon_log().contains(id));
    };
    read("the-first");
    let all = place.run(&["server", "logs"]).ok().stdout;
    assert!(all.lines().count() >= 2 && all.contains("serving"), "{all}");
    let last = place.run(&["server", "logs", "-n", "1"]).ok().stdout;
    assert_eq!(last.lines().count(), 1);
    assert!(last.contains("the-first") && last.contains("not_found"), "{last}");
    let mut following = piped(&place, &["server", "logs", "-f", "-n", "0"]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    // Its beginning is the log's end when it looked, so it is asked until it has looked.
    let (tell, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(lines.next()));
    let mut number = 0;
    let line = loop {
        number += 1;
        read(&format!("later-{number}"));
        if let Ok(line) = heard.recv_timeout(std::time::Duration::from_millis(50)) {
            break line.unwrap().unwrap();
        }
        assert!(number < 400, "nothing was followed");
    };
    assert!(line.contains("later-"), "{line}");
    following.kill().unwrap();
    following.wait().unwrap();
}

/// What of a followed output came before the connection broke: what was written, the offset after
/// it, and the exit code.
fn follow(daemon: &Daemon<'_>, id: &str, since: u64) -> (String, u64, Option<i64>) {
    let query = format!("workspace=&id={id}&since={since}&follow=until_exit");
    let request = format!("GET /v1/processes/output?{query} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    let mut answer = Vec::new();
    // The daemon is killed meanwhile, or was before: whatever came is good.
    if let Some(mut stream) = daemon.try_connect()
        && stream.write_all(request.as_bytes()).is_ok()
    {
        let _ = stream.read_to_end(&mut answer);
    }
    let answer = String::from_utf8(answer).unwrap();
    let (mut written, mut next, mut exit) = (String::new(), since, None);
    let whole = answer.rfind("\n\n").map_or("", |end| &answer[..end]);
    for line in whole.lines().filter_map(|line| line.strip_prefix("data:")) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        next = event["next"].as_u64().unwrap_or(next);
        written += event["output"]["bytes"].as_str().unwrap_or_default();
        exit = exit.or(event["exit"]["code"].as_i64());
    }
    (written, next, exit)
}

/// `STIGMER_KILLS` says how often, for a longer trial.
#[test]
fn whoever_follows_over_the_death_of_daemons_loses_and_repeats_nothing() {
    let kills = std::env::var("STIGMER_KILLS").ok().and_then(|kills| kills.parse().ok());
    let kills: u64 = kills.unwrap_or(20);
    let place = Place::new();
    let mut daemon = Daemon::start(&place);
    let line = "i=0; until test -e go; do i=$((i+1)); echo line $i; sleep 0.001; done; exit 5";
    let id = daemon.start_command(line);
    let (mut written, mut next) = (String::new(), 0);
    for kill in 0..kills {
        let (more, offset, exit) = std::thread::scope(|scope| {
            let following = scope.spawn(|| follow(&daemon, &id, next));
            std::thread::sleep(std::time::Duration::from_micros(kill * 7919 % 40_000));
            daemon.crash();
            following.join().unwrap()
        });
        assert_eq!(exit, None, "it ends when it is told to");
        written += &more;
        next = offset;
        daemon = Daemon::start(&place);
        let named = json!({ "workspace": daemon.workspace(), "id": id });
        assert_eq!(daemon.ask("/v1/processes/get", &named).ok()["state"], "running");
    }
    place.write("go", "");
    let (more, _, exit) = follow(&daemon, &id, next);
    written += &more;
    assert_eq!(exit, Some(5));
    let lines = written.lines().count();
    let whole: String = (1..=lines).map(|number| format!("line {number}\n")).collect();
    assert_eq!(written, whole);
    assert!(lines > 20, "{lines}");
}

#[test]
fn what_the_daemon_was_started_with_counts_for_a_client_that_set_nothing() {
    let place = Place::new();
    let set = [
        ("STIGMER_EXECUTION_MODE", "sandbox"),
        ("STIGMER_SANDBOX_ENGINE", "unix:///nonexistent/socket"),
        ("STIGMER_TIMEOUT", "300ms"),
    ];
    let _daemon = Daemon::start_with(&place, &set, &["--listen", "none"]);
    place.run(&["run", "touch made"]).exits(125).says(&["/nonexistent/socket"]);
    assert_ne!(place.run(&["fs", "mkdir", "made"]).says(&["/nonexistent/socket"]).code, 0);
    assert!(!place.work().join("made").exists());
    place.run(&["run", "--mode", "local", "echo here"]).ok().prints("here\n");
    place.run_with(&[("STIGMER_EXECUTION_MODE", "local")], &["run", "echo here"]).ok();
    place.run(&["run", "--mode", "local", "sleep 60"]).exits(124);
    place.run_with(&[("STIGMER_TIMEOUT", "1h")], &["run", "--mode", "local", "sleep 0.5"]).ok();
    let mode = place.run(&["config", "get", "execution_mode", "--json"]).ok().json();
    let examined = place.run(&["doctor", "--json"]).json();
    assert_eq!(examined["mode"], mode["value"], "{examined}");
    assert_eq!((&mode["value"], &mode["origin"]), (&json!("sandbox"), &json!("daemon")));
}

#[test]
fn the_documented_environment_works_for_its_user_and_for_nobody_else() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = format!("localhost:{}", free.port());
    let variables =
        [("STIGMER_BACKEND_ENDPOINT", endpoint.as_str()), ("STIGMER_API_KEY", "dummy-local-key")];
    // Without a daemon, too.
    place.run_with(&variables, &["run", "echo here"]).ok().prints("here\n");
    let daemon = Daemon::start_with(&place, &variables, &[]);
    assert_eq!(daemon.address.as_deref(), Some(free.to_string().as_str()));
    let asked = || {
        let metrics = daemon.get("/metrics").body;
        let line = metrics.lines().find(|line| {
            line.starts_with("stigmer_requests_total") && line.contains("Processes/Start\"")
        });
        line.map(str::to_owned)
    };
    assert_eq!(asked(), None);
    place.run_with(&variables, &["run", "echo here"]).ok().prints("here\n");
    assert!(asked().is_some(), "the daemon has done it");
    // Whoever has another home has another token.
    let stranger = Place::new();
    stranger
        .run_with(&variables, &["run", "echo here"])
        .exits(125)
        .prints("")
        .says(&["no daemon of yours", "STIGMER_API_KEY"]);
    stranger.run_with(&variables, &["ps"]).exits(5);
    let wrong = [variables[0], ("STIGMER_API_KEY", "0123456789abcdef0123456789abcdef")];
    stranger.run_with(&wrong, &["ps"]).exits(5).says(&["token"]);
}

#[test]
fn a_server_that_was_asked_for_and_is_not_there_is_not_done_without() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let variables = [
        ("STIGMER_BACKEND_ENDPOINT", free.as_str()),
        ("STIGMER_API_KEY", "0123456789abcdef0123456789abcdef"),
    ];
    place.run_with(&variables, &["run", "touch made"]).exits(125);
    place.run_with(&variables, &["ps"]).exits(9);
    let far = [("STIGMER_BACKEND_ENDPOINT", "example.com:50051")];
    place.run_with(&far, &["run", "touch made"]).exits(125).says(&["ssh -L"]);
    assert!(!place.work().join("made").exists());
}

#[test]
fn the_file_as_it_is_now_counts_and_not_as_the_daemon_read_it() {
    let place = Place::new();
    let engine = [("STIGMER_SANDBOX_ENGINE", "unix:///nonexistent/socket")];
    let _daemon = Daemon::start_with(&place, &engine, &["--listen", "none"]);
    place.run(&["run", "true"]).ok();
    place.run(&["config", "set", "execution_mode", "sandbox"]).ok();
    place.run(&["run", "touch made"]).exits(125).says(&["/nonexistent/socket"]);
    assert!(!place.work().join("made").exists());
}

#[test]
fn who_changes_the_file_is_told_that_a_daemon_has_read_it() {
    let place = Place::new();
    let words = ["config", "set", "timeout", "5m"];
    let quiet = place.run(&words).ok();
    assert!(!quiet.stderr.contains("daemon"), "{}", quiet.stderr);
    let daemon = Daemon::start_with(&place, &[], &["--listen", "none"]);
    let who = format!("process {}", daemon.pid.as_raw_nonzero());
    let next = "stigmer server stop && stigmer server start";
    place.run(&words).ok().says(&["warning: the daemon", &who, next]);
    let in_json = place.run(&["config", "unset", "timeout", "--json"]).ok().says(&[&who, next]);
    assert_eq!(in_json.json()["key"], "timeout");
    // What was not changed is no reason.
    let refused = place.run(&["config", "set", "timeout", "soon"]).exits(2);
    assert!(!refused.stderr.contains(&who), "{}", refused.stderr);
}

#[test]
fn what_was_to_be_isolated_does_not_run_on_the_host_for_a_crash() {
    let place = Place::new();
    let set = [
        ("STIGMER_EXECUTION_MODE", "sandbox"),
        ("STIGMER_SANDBOX_ENGINE", "unix:///nonexistent/socket"),
    ];
    let daemon = Daemon::start_with(&place, &set, &["--listen", "none"]);
    daemon.crash();
    place.run(&["run", "touch made"]).exits(125).says(&["/nonexistent/socket"]);
    assert!(!place.work().join("made").exists());
    // One that is stopped in order is no longer meant.
    let _daemon = Daemon::start_with(&place, &set, &["--listen", "none"]);
    place.run(&["server", "stop"]).ok();
    place.run(&["run", "true"]).ok();
}

#[test]
fn reading_the_lock_does_not_open_it() {
    let place = Place::new();
    let daemon = Daemon::start_with(&place, &[], &["--listen", "none"]);
    let read = json!({ "workspace": place.daemon(), "path": "lock" });
    assert_eq!(daemon.ask("/v1/files/read", &read).status, 200);
    place.run(&["server", "status"]).ok();
    place.run(&["server", "start"]).exits(4);
    assert_eq!(daemon.get("/v1/server/info").status, 200);
    place.run(&["server", "stop"]).ok();
}

#[test]
fn a_foreground_command_ends_as_it_would_without_the_daemon_that_dies_under_it() {
    let place = Place::new();
    let daemon = Daemon::start_with(&place, &[], &["--listen", "none"]);
    let line = "for i in $(seq 100); do echo $i; sleep 0.01; done; exit 9";
    let run = piped(&place, &["run", line]);
    until("the command runs", || place.run(&["ps", "-q"]).ok().stdout.len() > 5);
    daemon.crash();
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let expected: String = (1..=100).map(|number| format!("{number}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn a_daemon_that_is_stopped_is_said_and_ended() {
    let place = Place::new();
    let daemon = Daemon::start_with(&place, &[], &["--listen", "none"]);
    daemon.signal(Signal::STOP);
    let threads = std::path::PathBuf::from(format!("/proc/{}/task", daemon.pid.as_raw_nonzero()));
    until("all its threads have stopped", || {
        std::fs::read_dir(&threads).unwrap().all(|thread| {
            let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
            stat.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
        })
    });
    place.run(&["server", "status"]).exits(9).says(&["does not answer", "stop --now"]);
    place.run(&["run", "true"]).exits(125).says(&["does not answer", "stop --now"]);
    place.run(&["server", "stop", "--now"]).ok();
}

#[test]
fn a_callers_circumstances_are_its_commands_with_a_daemon_and_without() {
    let place = Place::new();
    let lines = [
        "nice -n 7 $S run nice",
        "(umask 077; $S fs write a$N </dev/null >/dev/null; stat -c %a a$N)",
        "(umask 027; $S fs mkdir b$N; stat -c %a b$N)",
        "(umask 027; $S run 'umask; touch c$0; stat -c %a c$0')",
        "(ulimit -Sn 64; $S run 'ulimit -Sn; ulimit -Hn')",
        "(ulimit -c 0; $S run 'ulimit -c')",
        "taskset -c 0 $S run 'grep Cpus_allowed_list /proc/self/status'",
        "setpriv --no-new-privs $S run 'grep NoNewPrivs /proc/self/status'",
        "(trap '' INT; $S run 'grep SigIgn /proc/self/status')",
        "cd /; $S --workspace \"$W\" run pwd",
    ];
    let all = |number: &str| {
        lines.map(|line| {
            let mut command = std::process::Command::new("bash");
            command.args(["-c", line]).env("N", number).env("W", place.work());
            command.env("S", env!("CARGO_BIN_EXE_stigmer")).env("STIGMER_HOME", place.home());
            let output = command.current_dir(place.work()).output().unwrap();
            // What a failure says, so that it can be understood.
            let said = if output.status.success() { output.stdout } else { output.stderr };
            (line, String::from_utf8(said).unwrap(), output.status.code())
        })
    };
    let without = all("1");
    let _daemon = Daemon::start_with(&place, &[], &["--listen", "none"]);
    assert_eq!(all("2"), without);
    for (line, output, code) in without {
        assert!(code == Some(0) && !output.is_empty(), "{line}: {output}");
    }
}

/// The kernel counts the descriptors that are on their way for the whole user, and compares them
/// with the sender's own limit.
#[test]
fn a_caller_that_may_open_few_files_hands_its_input_over_while_many_are_on_their_way() {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;

    let place = Place::new();
    let _daemon = Daemon::start_with(&place, &[], &["--listen", "none"]);
    let (ours, _never_read) = std::os::unix::net::UnixStream::pair().unwrap();
    for _ in 0..100 {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptor = [ours.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptor)));
        let parts = [std::io::IoSlice::new(b"x")];
        sendmsg(&ours, &parts, &mut control, SendFlags::empty()).unwrap();
    }
    let mut command = std::process::Command::new("bash");
    command.args(["-c", "ulimit -Sn 64; echo mine | $S run 'cat; ulimit -Sn'"]);
    command.env("S", env!("CARGO_BIN_EXE_stigmer")).env("STIGMER_HOME", place.home());
    let output = command.current_dir(place.work()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "mine\n64\n", "{output:?}");
}

#[test]
fn a_query_that_is_no_query_is_refused_with_the_parameters_name() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let answer = daemon.get("/v1/files/read?path=%zz");
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(answer.body.contains("invalid_argument") && answer.body.contains("path"));
}
