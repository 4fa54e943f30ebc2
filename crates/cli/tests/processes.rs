//! Running commands, and looking after them, from the command line.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use support::Place;

/// Long enough for a slow machine; what is tested takes a hundredth of it, and the commands that
/// must not be waited for take much longer.
const SOON: Duration = Duration::from_secs(20);

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

/// Starts a detached command and returns its id.
fn detach(place: &Place, arguments: &[&str]) -> String {
    let ran = place.run(&[&["run", "--detach"], arguments].concat()).ok();
    ran.stdout.trim().to_owned()
}

#[test]
fn the_exit_code_is_the_commands() {
    let place = Place::new();
    for (line, code) in [
        ("true", 0),
        ("exit 7", 7),
        ("kill -9 $$", 137),
        ("kill -INT $$", 130),
        ("no-such-command", 127),
        ("/etc/passwd", 126),
    ] {
        place.run(&["run", line]).exits(code);
    }
    place.run(&["run", "no-such-command", "argument"]).exits(127).says(&["no-such-command"]);
    place.run(&["run", "false", "argument"]).exits(1);
}

#[test]
fn one_argument_is_a_command_line_and_several_are_a_program_and_its_arguments() {
    let place = Place::new();
    place.run(&["run", "echo a $((1 + 1)) | tr a b"]).ok().prints("b 2\n");
    place.run(&["run", "echo", "$HOME;", "*", "--json"]).ok().prints("$HOME; * --json\n");
    place.run(&["run", "--", "printf", "%s-", "a b", "c"]).ok().prints("a b-c-");
    place.run(&["run", ""]).exits(125).says(&["command: is empty"]);
    place.run(&["run"]).exits(2);
}

#[test]
fn a_timeout_keeps_what_was_written_and_leaves_nothing() {
    let place = Place::new();
    let started = Instant::now();
    let ran = place.run(&["run", "--timeout", "1s", "echo a; setsid sleep 4711 & sleep 60"]);
    ran.exits(124).prints("a\n").says(&["timed out after 1s", "--timeout"]);
    assert!(started.elapsed() < SOON);
    assert_eq!(processes_with("4711"), 0);
    // The setting is the default, and a detached command has none.
    let settings = [("STIGMER_TIMEOUT", "300ms")];
    place.run_with(&settings, &["run", "sleep 60"]).exits(124);
    place.run_with(&settings, &["run", "--timeout", "0", "sleep 0.6"]).ok();
    let id = place.run_with(&settings, &["run", "-d", "sleep 0.6; exit 3"]).ok().stdout;
    place.run(&["wait", id.trim()]).exits(3);
}

/// How many processes have this among their arguments.
fn processes_with(mark: &str) -> usize {
    let lines = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())).count()
}

#[test]
fn a_background_child_keeps_nobody_waiting() {
    let place = Place::new();
    let started = Instant::now();
    place.run(&["run", "sleep 300 & echo hi"]).ok().prints("hi\n");
    // A shell that substitutes reads until nobody holds the pipe: neither the supervisor nor the
    // child may. The home is new: nothing of stigmer has run there.
    let fresh = Place::new();
    let mut shell = std::process::Command::new("bash");
    let line = format!(
        "x=$('{}' run 'sleep 300 & echo hi'); echo \"<$x>\"",
        env!("CARGO_BIN_EXE_stigmer")
    );
    let shell =
        shell.args(["-c", &line]).current_dir(fresh.work()).env("STIGMER_HOME", fresh.home());
    assert_eq!(shell.output().unwrap().stdout, b"<hi>\n");
    assert!(started.elapsed() < SOON);
    for place in [place, fresh] {
        let list = place.run(&["ps", "--json"]).ok().json();
        assert_eq!(list[0]["background"], 1, "{list}");
        let id = list[0]["id"].as_str().unwrap();
        place.run(&["kill", id]).ok();
        assert_eq!(place.run(&["ps", "--json"]).ok().json(), serde_json::json!([]));
    }
}

#[test]
fn input_is_the_callers_own() {
    let place = Place::new();
    place.run_fed(b"data\n", &["run", "cat"]).ok().prints("data\n");
    place.run_fed(b"data\n", &["run", "--interactive", "cat"]).ok().prints("data\n");
    place.run(&["run", "python3 -c 'input()'"]).exits(1).says(&["EOFError"]);
    // A command that reads nothing takes nothing from the loop that it is in.
    let stigmer = env!("CARGO_BIN_EXE_stigmer");
    place.write("lines", "a\nb\nc\n");
    let line = format!("while read -r x; do '{stigmer}' run \"echo got $x\"; done < lines");
    let mut shell = std::process::Command::new("bash");
    let shell =
        shell.args(["-c", &line]).current_dir(place.work()).env("STIGMER_HOME", place.home());
    assert_eq!(shell.output().unwrap().stdout, b"got a\ngot b\ngot c\n");
}

#[test]
fn the_caller_lends_environment_directory_and_umask() {
    let place = Place::new();
    std::fs::create_dir(place.work().join("sub")).unwrap();
    let work = place.work().display().to_string();
    place.run(&["run", "pwd"]).ok().prints(&format!("{work}\n"));
    place
        .run(&["run", "--cwd", "sub", "pwd; echo $PWD"])
        .ok()
        .prints(&format!("{work}/sub\n{work}/sub\n"));
    place.run(&["run", "--cwd", "../..", "pwd"]).exits(125).says(&["outside"]);
    place.run(&["run", "--cwd", "none", "pwd"]).exits(125).says(&["none"]);
    place
        .run_with(
            &[("MINE", "1"), ("PYTHONUNBUFFERED", "")],
            &["run", "echo $MINE${PYTHONUNBUFFERED-unset}"],
        )
        .ok()
        .prints("1\n");
    place.run(&["run", "echo $PYTHONUNBUFFERED"]).ok().prints("1\n");
    place
        .run_with(&[("A", "1")], &["run", "-e", "A=2", "--env", "B=x=y", "echo $A $B"])
        .ok()
        .prints("2 x=y\n");
    place.run(&["run", "-e", "novalue", "true"]).exits(125).says(&["NAME=VALUE"]);
    place
        .run_with(&[("WORKSPACE_DIR", "sub")], &["run", "pwd"])
        .ok()
        .prints(&format!("{work}/sub\n"));
    let stigmer = env!("CARGO_BIN_EXE_stigmer");
    let line = format!("umask 027; '{stigmer}' run 'umask; touch made; ulimit -n'; ulimit -n");
    let mut shell = std::process::Command::new("bash");
    let shell =
        shell.args(["-c", &line]).current_dir(place.work()).env("STIGMER_HOME", place.home());
    let printed = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    let [umask, inside, outside] = printed.lines().collect::<Vec<_>>()[..] else {
        panic!("{printed}")
    };
    assert_eq!((umask, inside), ("0027", outside));
    // The environment is never stored.
    let ran = place.run_with(&[("TOKEN", "s3cr3t-v4lue")], &["run", "true"]);
    ran.ok();
    assert_eq!(files_with(&place.home(), b"s3cr3t-v4lue"), Vec::<String>::new());
}

fn files_with(directory: &std::path::Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_with(&entry.path(), needle));
        } else if std::fs::read(entry.path())
            .is_ok_and(|c| c.windows(needle.len()).any(|w| w == needle))
        {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn a_result_in_json_has_everything() {
    let place = Place::new();
    let ran = place.run(&["--json", "run", "echo out; echo err >&2; exit 3"]).exits(3);
    let result = ran.json();
    assert_eq!(result["stdout"]["head"], "out\n");
    assert_eq!(result["stderr"]["head"], "err\n");
    assert_eq!(result["exit"]["code"], 3);
    assert_eq!(result["place"], "host");
    assert!(result["executable"].as_str().unwrap().ends_with("sh"));
    let error = place.run(&["run", "--json", "--cwd", "none", "pwd"]).exits(125).json();
    assert_eq!(error["error"]["code"], "not_found");
    let killed = place.run(&["--json", "run", "printf '\\xff'"]).ok().json();
    assert_eq!(killed["stdout"]["head"]["base64"], "/w==");
}

#[test]
fn a_detached_command_is_listed_followed_waited_for_and_ended() {
    let place = Place::new();
    let id = detach(&place, &["for i in 1 2 3; do echo $i; sleep 0.2; done; echo e >&2; exit 4"]);
    place.run(&["ps", "-q"]).ok().prints(&format!("{id}\n"));
    let logs = place.run(&["logs", "-f", &id]).ok().prints("1\n2\n3\n");
    assert_eq!(logs.stderr, "e\n");
    place.run(&["logs", "--since", "4", &id]).ok().prints("3\n");
    place.run(&["logs", "--since", "99", &id]).exits(2).says(&["past the end of the output at 8"]);
    place.run(&["wait", &id]).exits(4);
    place.run(&["ps", "-q"]).ok().prints("");
    let all = place.run(&["ps", "--all"]).ok();
    assert!(all.stdout.contains("exited 4"), "{}", all.stdout);
    let events: Vec<Value> = place
        .run(&["logs", "--json", &id])
        .ok()
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.last().unwrap()["exit"]["code"], 4);

    let id =
        detach(&place, &["trap 'echo bye; exit 5' INT; echo up; while :; do sleep 0.05; done"]);
    place.run(&["wait", "--timeout", "100ms", &id]).exits(9).says(&["still runs"]);
    until_logged(&place, &id, "up\n");
    place.run(&["kill", "-s", "INT", &id]).ok();
    place.run(&["wait", &id]).exits(5);
    place.run(&["logs", &id]).ok().prints("up\nbye\n");
    place.run(&["kill", "-s", "INT", &id]).exits(4).says(&["has ended"]);
    place.run(&["kill", &id]).ok();
    for arguments in [["logs", "0000000000"], ["wait", "0000000000"], ["kill", "0000000000"]] {
        place.run(&arguments).exits(3).says(&["0000000000", "stigmer ps --all"]);
    }
    place.run(&["kill", "../../etc"]).exits(2).says(&["is not a process id"]);
}

fn until_logged(place: &Place, id: &str, expected: &str) {
    let started = Instant::now();
    while place.run(&["logs", id]).ok().stdout != expected {
        assert!(started.elapsed() < SOON, "{expected:?} was not written");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn attach_gives_input_and_the_exit_code() {
    let place = Place::new();
    let id = detach(&place, &["--interactive", "read a; echo got $a; exit 6"]);
    place.run_fed(b"word\n", &["attach", &id]).exits(6).prints("got word\n");
}

/// 64 MiB in CI, `STIGMER_STREAM_BYTES` in the long run.
fn stream_bytes() -> u64 {
    std::env::var("STIGMER_STREAM_BYTES").map_or(64 << 20, |text| text.parse().unwrap())
}

#[test]
fn a_follower_that_is_killed_and_comes_back_misses_nothing() {
    let place = Place::new();
    let bytes = stream_bytes();
    // Bytes that are no text and no lines, and different wherever they are.
    let line =
        format!("seq 1 999999999999 | head -c {bytes} | tr '0-9\\n' '\\200-\\211\\377'; exit 9");
    let line = line.as_str();
    let id = detach(&place, &["--output-cap", "16GiB", line]);
    let mut joined = 0_u64;
    let mut hash = Sum::start();
    let mut rounds = 0;
    while joined < bytes {
        let since = joined.to_string();
        let mut follower = place
            .command(&["logs", "-f", "--since", &since, &id])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = follower.stdout.take().unwrap();
        // What was read counts, whatever the follower had read on.
        let mut left = if rounds < 5 { bytes / 7 } else { u64::MAX };
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = stdout.read(&mut buffer[..most]).unwrap();
            if count == 0 {
                break;
            }
            hash.add(&buffer[..count]);
            joined += count as u64;
            left -= count as u64;
        }
        follower.kill().unwrap();
        follower.wait().unwrap();
        rounds += 1;
        assert!(rounds < 10, "{joined} of {bytes} bytes after {rounds} followers");
    }
    place.run(&["wait", &id]).exits(9);
    let expected =
        place.run(&["run", "--timeout", "0", &format!("({line}) | sha256sum")]).ok().stdout;
    assert_eq!(hash.finish(), expected);
}

/// `sha256sum`'s opinion.
struct Sum(Child);

impl Sum {
    fn start() -> Self {
        let mut sum = std::process::Command::new("sha256sum");
        Self(sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }
    fn add(&mut self, bytes: &[u8]) {
        self.0.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }
    fn finish(self) -> String {
        String::from_utf8(self.0.wait_with_output().unwrap().stdout).unwrap()
    }
}

#[test]
fn output_that_nobody_reads_waits_and_memory_stays_flat() {
    let place = Place::new();
    for line in ["head -c 100000000 /dev/zero", "seq 1 1000000"] {
        let mut child = place
            .command(&["run", "--output-cap", "1MiB", line])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let mut sum = Sum::start();
        let mut stdout = child.stdout.take().unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut peak = 0;
        loop {
            let count = stdout.read(&mut buffer).unwrap();
            if count == 0 {
                break;
            }
            sum.add(&buffer[..count]);
            peak = peak.max(resident(child.id()));
        }
        assert!(child.wait().unwrap().success());
        let expected = std::process::Command::new("bash")
            .args(["-c", &format!("{line} | sha256sum")])
            .output()
            .unwrap();
        assert_eq!(sum.finish().into_bytes(), expected.stdout, "{line}");
        assert!(peak < 64 << 20, "{peak} bytes resident for {line}");
    }
}

/// Bytes of memory in use, 0 when it is gone.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

#[test]
fn ctrl_c_reaches_the_command_and_ends_us_as_it_ended_it() {
    use std::os::unix::process::ExitStatusExt;
    let place = Place::new();
    let line = "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.05; done";
    let (child, rest) = interrupted(&place, line);
    assert_eq!((child.code(), rest.as_str()), (Some(3), "caught\n"));
    let (child, rest) = interrupted(&place, "echo up; exec sleep 60");
    assert_eq!((child.signal(), rest.as_str()), (Some(2), ""));
}

/// Runs a command, sends us Ctrl-C once it says "up", and returns how we ended and what it said.
fn interrupted(place: &Place, line: &str) -> (std::process::ExitStatus, String) {
    let mut child = place.command(&["run", line]).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert_eq!(first, "up\n");
    signal(&child, Signal::INT);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap(), rest)
}

#[test]
fn who_stops_reading_ends_the_command() {
    let place = Place::new();
    let mut child = place.command(&["run", "yes 4712"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((first.as_str(), status.code()), ("4712\n", Some(141)));
    assert_eq!(processes_with("4712"), 0);
}

#[test]
fn a_killed_client_does_not_take_a_detached_command_with_it() {
    let place = Place::new();
    let settings = [("STIGMER_CLIENT_GRACE", "500ms")];
    let mut foreground = place
        .command(&["run", "echo up; exec sleep 4713"])
        .envs(settings)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(foreground.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let id = detach(&place, &["sleep 1; echo done; exit 8"]);
    foreground.kill().unwrap();
    foreground.wait().unwrap();
    assert_eq!(processes_with("4713"), 1, "it waits for its client to come back");
    place.run(&["wait", &id]).exits(8);
    let started = Instant::now();
    while processes_with("4713") > 0 {
        assert!(started.elapsed() < SOON, "it outlived its client's grace");
        std::thread::sleep(Duration::from_millis(20));
    }
    let all = place.run(&["ps", "--all"]).ok().stdout;
    assert!(all.contains("cancelled"), "{all}");
}

#[test]
fn in_a_terminal_the_command_has_one() {
    let place = Place::new();
    let stigmer = env!("CARGO_BIN_EXE_stigmer");
    // `script` gives us a terminal; the command's must be another one of the same size.
    let inner = format!(
        "stty rows 31 cols 97; '{stigmer}' run 'test -t 0 && test -t 1 && stty size'; echo code $?"
    );
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &inner, "/dev/null"]).current_dir(place.work());
    script.env("STIGMER_HOME", place.home()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    // At its end `script` would type one.
    let typing = script.stdin.take();
    let output = script.wait_with_output().unwrap();
    drop(typing);
    let printed = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(printed.contains("31 97\ncode 0\n"), "{printed:?}");
    // Asked for where there is none; and what is typed is ended by its end.
    place.run(&["run", "--tty", "test -t 1 && echo yes"]).ok().prints("yes\r\n");
    let ran = place.run_fed(b"word\n", &["run", "--tty", "cat; echo over"]).ok();
    assert!(ran.stdout.contains("word") && ran.stdout.contains("over"), "{:?}", ran.stdout);
    place.run(&["run", "-T", "test -t 1"]).exits(1);
}

/// There our group is one of an outer namespace, whose number we see as 0.
#[test]
fn a_command_runs_in_a_pid_namespace_that_its_terminal_is_not_of() {
    const NAMESPACE: &str = "unshare -Upf --mount-proc --map-root-user --kill-child";
    let place = Place::new();
    let possible = format!("{NAMESPACE} true");
    // Some machines give users no namespaces.
    if !std::process::Command::new("sh").args(["-c", &possible]).status().unwrap().success() {
        return;
    }
    let stigmer = env!("CARGO_BIN_EXE_stigmer");
    let in_front = format!("'{stigmer}' run 'test -t 0 && echo \"the\"irs'; echo code $?");
    // A shell with job control has taken the terminal, so that its job's group has a number here;
    // who takes one from behind would be stopped.
    let behind = format!(
        "trap '' TTOU; mkfifo up; bash -mc 'echo > up; sleep 300' & read -r line < up\n\
         '{stigmer}' run 'test -t 0 || echo \"noth\"ing'; echo code $?"
    );
    for (script, expected) in [(in_front, "theirs\ncode 0\n"), (behind, "nothing\ncode 0\n")] {
        place.write("script", script);
        let mut script = std::process::Command::new("script");
        script.args(["-qec", &format!("{NAMESPACE} sh script"), "/dev/null"]);
        script.current_dir(place.work()).env("STIGMER_HOME", place.home());
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let typing = script.stdin.take();
        let output = script.wait_with_output().unwrap();
        drop(typing);
        let printed = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(printed.contains(expected), "{printed:?}");
    }
}

#[test]
fn a_mode_that_is_not_there_runs_nothing() {
    let place = Place::new();
    for mode in ["firecracker", "kubernetes", "cloud"] {
        place
            .run(&["run", "--mode", mode, "touch made"])
            .exits(125)
            .says(&["not available in this build"]);
    }
    place
        .run_with(&[("AGENT_MODE", "firecracker")], &["run", "touch made"])
        .exits(125)
        .says(&["AGENT_MODE", "--mode local"]);
    // A sandbox without an engine is none, and not the host.
    let nowhere = [("STIGMER_SANDBOX_ENGINE", "unix:///nonexistent/socket")];
    place.run_with(&nowhere, &["run", "--mode", "sandbox", "touch made"]).exits(125);
    // So it is in auto mode for what is not for a lane on the host, and a sandbox is all there is.
    place
        .run_with(&nowhere, &["run", "--mode", "auto", "touch made && unknown-to-every-rule"])
        .exits(125)
        .says(&["nothing was run", "--mode local", "stigmer doctor"]);
    assert!(!place.work().join("made").exists());
}

#[test]
fn what_a_lost_command_wrote_is_still_there() {
    let place = Place::new();
    let id = detach(&place, &["echo one; echo two; exec sleep 300"]);
    until_logged(&place, &id, "one\ntwo\n");
    let pid = place.run(&["ps", "--json"]).ok().json()[0]["pid"].as_i64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let supervisor = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap();
    kill_process(Pid::from_raw(supervisor.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    place.run(&["wait", &id]).exits(125);
    place.run(&["logs", &id]).ok().prints("one\ntwo\n");
    place.run(&["logs", "-f", "--since", "4", &id]).ok().prints("two\n");
    let list = place.run(&["ps", "--all", "--json"]).ok().json();
    assert_eq!((&list[0]["state"], &list[0]["output_bytes"]), (&"lost".into(), &8.into()));
}

#[test]
fn what_was_left_behind_writes_on_into_the_log() {
    let place = Place::new();
    let id = detach(&place, &["(sleep 0.5; echo later) & echo now"]);
    place.run(&["wait", &id]).exits(0);
    place.run(&["logs", "-f", &id]).ok().prints("now\nlater\n");
    place.run(&["logs", &id]).ok().prints("now\nlater\n");
    place.run(&["logs", "--since", "4", &id]).ok().prints("later\n");
}

#[test]
fn a_stopped_follower_names_the_offset_that_it_wrote_up_to() {
    let place = Place::new();
    let id = detach(&place, &["seq 1 400000; exec sleep 300"]);
    let mut follower = place
        .command(&["logs", "-f", &id])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It fills the pipe, which nobody reads, and then gets Ctrl-C.
    std::thread::sleep(Duration::from_millis(700));
    signal(&follower, Signal::INT);
    let status = follower.wait().unwrap();
    let mut got = Vec::new();
    follower.stdout.take().unwrap().read_to_end(&mut got).unwrap();
    let mut said = String::new();
    follower.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains(&format!("(--since {})", got.len())), "{said} after {} bytes", got.len());
    place.run(&["kill", "--now", &id]).ok();
}

#[test]
fn a_detached_command_outlives_who_attached_to_it() {
    let place = Place::new();
    let id = detach(&place, &["echo up; exec sleep 300"]);
    for number in [Signal::HUP, Signal::TERM] {
        let mut attached = place.command(&["attach", "--no-input", "--since", "0", &id]);
        let mut attached = attached.stdout(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(attached.stdout.take().unwrap()).read_line(&mut first).unwrap();
        signal(&attached, number);
        assert!(attached.wait().unwrap().success());
        place.run(&["wait", "--timeout", "200ms", &id]).exits(9);
    }
    place.run(&["kill", "--now", &id]).ok();
}

#[test]
fn a_quiet_command_learns_that_nobody_reads() {
    let place = Place::new();
    let line = "echo a; sleep 0.3; echo b; exec sleep 300";
    let started = Instant::now();
    let mut child = place.command(&["run", line]).stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert!(started.elapsed() < SOON);
}

#[test]
fn typed_input_has_an_end_and_a_closed_terminal_can_be_opened_again() {
    let place = Place::new();
    // Neither would end without it: an unfinished line takes two ends of input.
    let ran = place.run_fed(b"abc", &["run", "--tty", "--timeout", "30s", "cat; echo over"]).ok();
    assert!(ran.stdout.contains("over"), "{:?}", ran.stdout);
    let line = "exec 0<&- 1>&- 2>&-; sleep 0.3; exec >/dev/tty 2>&1; echo second";
    place.run(&["run", "--tty", "--timeout", "30s", line]).ok().prints("second\r\n");
}

#[test]
fn standard_output_comes_before_standard_error_when_both_are_there() {
    let place = Place::new();
    // The supervisor is stopped while both are written, so that it finds both.
    let line = "kill -STOP $PPID; echo out; echo err >&2; kill -CONT $PPID";
    let id = detach(&place, &[line]);
    place.run(&["wait", &id]).exits(0);
    let events = place.run(&["logs", "--json", &id]).ok().stdout;
    let first: Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!(first["output"]["stream"], "stdout", "{events}");
}

#[test]
fn a_reader_who_stopped_keeps_no_ended_command_open_past_its_time() {
    let place = Place::new();
    // Fills the log and its pipe without ever waiting, and ends by itself.
    place.write(
        "fill.py",
        "import fcntl, os, time\n\
         fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK)\n\
         begin = time.time()\n\
         while time.time() - begin < 0.5:\n    \
             try: os.write(1, b'x' * 4096)\n    \
             except BlockingIOError: time.sleep(0.01)\n\
         os._exit(3)\n",
    );
    let arguments = ["run", "--output-cap", "64KiB", "--timeout", "2s", "python3 fill.py"];
    let mut client = place.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    let ended = loop {
        let list = place.run(&["ps", "--all", "--json"]).ok().json();
        if list[0]["state"] == "exited" {
            break list[0]["exit"].clone();
        }
        assert!(started.elapsed() < SOON, "{list}");
        std::thread::sleep(Duration::from_millis(50));
    };
    // Its own end is told, not the time that ran out for its reader.
    assert_eq!((&ended["code"], &ended["reason"]), (&3.into(), &"exited".into()), "{ended}");
    client.kill().unwrap();
    client.wait().unwrap();
}
