//! Auto mode from the command line: what is said of a command's lane, and of what it was refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::Value;
use support::Place;

/// The lanes that this machine has, as `stigmer doctor` judges them, and no engine for sandboxes.
fn place_with(lane: &str) -> Option<Place> {
    let place = Place::new();
    place.write_config(
        "execution_mode = \"auto\"\nsandbox_engine = \"unix:///nonexistent/socket\"\n",
    );
    let examined = place.run(&["doctor", "--json"]).json();
    let check = |name: &str| {
        let checks = examined["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["status"] == "ok"
    };
    if check(lane) {
        return Some(place);
    }
    skipped(lane);
    None
}

#[allow(clippy::print_stderr, reason = "what is left out is said aloud")]
fn skipped(lane: &str) {
    eprintln!("LEFT OUT: this machine has no {lane}");
}

#[test]
fn a_result_says_which_lane_it_was_and_a_quiet_one_says_nothing_to_people() {
    let Some(place) = place_with("read-only lane") else { return };
    place.write("file", "text\n");
    let ran = place.run(&["run", "cat file"]).ok().prints("text\n");
    assert_eq!(ran.stderr, "");
    let json = place.run(&["run", "--json", "cat file"]).ok().json();
    let routing = &json["routing"];
    assert_eq!((&routing["lane"], &routing["rule"]), (&"host_read_only".into(), &"cat".into()));
    assert!(json.get("denied").is_none() && json["exit"].get("denied").is_none(), "{json}");
    let listed = place.run(&["ps", "--all", "--json"]).ok().json();
    assert_eq!(listed[0]["routing"]["lane"], "host_read_only", "{listed}");
    let table = place.run(&["ps", "--all"]).ok().stdout;
    assert!(table.contains("LANE") && table.contains("read-only"), "{table}");
}

/// `rg` without a path searches its input, if that may hold something.
#[test]
fn a_command_without_input_has_none_and_no_pipe_that_ends() {
    let Some(place) = place_with("workspace lane") else { return };
    place.write("input.sh", "stat -L -c %F /proc/self/fd/0\n");
    let line = "sh input.sh";
    place.run(&["run", line]).ok().prints("character special file\n");
    place.run_fed(b"text", &["run", line]).ok().prints("fifo\n");
}

#[test]
fn what_a_command_was_refused_is_named_with_the_ways_out() {
    let Some(place) = place_with("workspace lane") else { return };
    // Not in /tmp, of which a lane has one of its own.
    let name = format!(".stigmer-outside-{}", std::process::id());
    let outside = std::env::home_dir().unwrap().join(name);
    let line = format!("print(open({:?}, 'w'))", outside.to_str().unwrap());
    place.write("script.py", line);
    let ran = place.run(&["run", "python3 script.py"]).exits(1);
    assert!(!outside.exists());
    let said = &ran.stderr;
    assert!(said.contains("was refused open ") && said.contains("outside"), "{said}");
    assert!(said.contains("--mode sandbox") && said.contains("--mode local"), "{said}");
    let ran = place.run(&["run", "--json", "python3 script.py"]).exits(1);
    assert_eq!(ran.stderr, "");
    let json = ran.json();
    let denials = json["exit"]["denied"]["denials"].as_array().unwrap();
    let paths = denials.iter().filter_map(|denial| denial["path"].as_str());
    assert!(paths.into_iter().any(|path| path == outside.to_str().unwrap()), "{json}");
    let id = json["id"].as_str().unwrap();
    let waited: Value = place.run(&["wait", "--json", id]).exits(1).json();
    assert_eq!(waited["denied"], json["exit"]["denied"]);
    place.run(&["wait", id]).exits(1).says(&["was refused open "]);
}

#[test]
fn what_is_not_for_a_lane_is_refused_where_there_is_no_sandbox() {
    let Some(place) = place_with("workspace lane") else { return };
    let ran = place.run(&["run", "pip install requests"]).exits(125);
    for part in ["pip install", "nothing was run", "--mode local", "stigmer doctor"] {
        assert!(ran.stderr.contains(part), "{}", ran.stderr);
    }
    let local = place.run(&["run", "--json", "--mode", "local", "pwd"]).ok().json();
    assert!(local.get("routing").is_none(), "{local}");
}
