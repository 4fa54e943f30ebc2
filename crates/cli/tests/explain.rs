//! `stigmer explain`: where auto mode would run a command.

mod support;

use serde_json::Value;
use support::Place;

#[test]
fn a_verdict_has_a_lane_a_rule_the_deciding_part_and_a_reason() {
    let place = Place::new();
    let explained = place.run(&["explain", "ls -la | tee out.txt"]).ok();
    assert!(explained.stdout.starts_with("lane    host, workspace\nrule    tee\n"));
    let json = place.run(&["explain", "--json", "pip install requests"]).ok().json();
    assert_eq!((&json["lane"], &json["rule"]), (&"sandbox".into(), &"pip install".into()));
    assert!(json["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(json["token"], "install");
    assert!(json.get("command").is_none());
}

#[test]
fn one_argument_is_a_line_and_several_are_a_program_and_its_arguments() {
    let place = Place::new();
    let lane = |words: &[&str]| {
        let words = [&["explain", "--json"], words].concat();
        place.run(&words).ok().json()["lane"].as_str().map(str::to_owned)
    };
    assert_eq!(lane(&["echo hello; rm -rf /"]).as_deref(), Some("sandbox"));
    assert_eq!(lane(&["echo", "hello; rm -rf /"]).as_deref(), Some("host_read_only"));
    assert_eq!(lane(&["git", "log", "--oneline"]).as_deref(), Some("host_read_only"));
}

#[test]
fn a_batch_says_of_each_line_what_it_is_of() {
    let place = Place::new();
    let input = b"pwd\n\nmake test\nwhat is \xff\n";
    let ran = place.run_fed(input, &["explain", "--lines", "--json"]).ok();
    let all: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lanes: Vec<_> = all.iter().map(|one| one["lane"].as_str().unwrap()).collect();
    assert_eq!(lanes[0], "host_read_only");
    assert_eq!(lanes[2..], ["host_workspace", "sandbox"]);
    assert_eq!(all[2]["command"], "make test");
    let ran = place.run_fed(b"pwd\nmake\n", &["explain", "--lines"]).ok();
    assert_eq!(ran.stdout.lines().count(), 2);
    assert!(ran.stdout.starts_with("host, read-only\tpwd\t"));
}

#[test]
fn what_cannot_be_explained_is_said() {
    let place = Place::new();
    place.run(&["explain"]).exits(2);
    place.run(&["explain", "--lines", "ls"]).exits(2);
    place.run(&["--mode", "local", "explain", "ls"]).exits(2).says(&["--mode", "auto mode"]);
    place.run(&["--mode", "auto", "explain", "ls"]).ok();
    place.run(&["--sandbox-image", "x", "explain", "ls"]).exits(2).says(&["--sandbox-image"]);
    place.run(&["explain", "--bogus", "ls"]).exits(2).says(&["--bogus", "no option"]);
    place.run(&["explain", "--cwd", "/", "ls"]).exits(2).says(&["is not in the workspace"]);
    std::fs::create_dir(place.work().join(".stigmer")).unwrap();
    place.write(".stigmer/rules.toml", "[lists]\ndevices = ['/dev/sda']\n");
    place.run(&["explain", "ls"]).exits(2).says(&[".stigmer/rules.toml", "only tighten"]);
}

#[test]
fn a_command_starts_where_it_is_said_to() {
    let place = Place::new();
    std::fs::create_dir(place.work().join("deep")).unwrap();
    let lane = |words: &[&str]| place.run(words).ok().json()["lane"].clone();
    let line = "touch ../file";
    assert_eq!(lane(&["explain", "--json", "--cwd", "deep", line]), "host_workspace");
    assert_eq!(lane(&["explain", "--json", line]), "sandbox");
}

#[test]
fn a_lane_is_explained_with_its_tools_and_the_variables_that_it_leaves_out() {
    let place = Place::new();
    let tools = place.beside("tools");
    std::fs::create_dir(&tools).unwrap();
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let set = |words: &[&str]| {
        let mut command = place.command(words);
        command.env("PATH", &path).env("GIT_DIR", "/elsewhere").env("LD_PRELOAD", "");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&set(&["explain", "--json", "make"])).unwrap();
    let lists = |name: &str| json[name].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
    let tools = tools.canonicalize().unwrap();
    assert!(lists("tool_roots").any(|root| root == tools.to_str().unwrap()), "{json}");
    assert!(lists("dropped_variables").any(|name| name == "GIT_DIR"), "{json}");
    // What is missing is said by stigmer doctor; here both forms must say the same.
    let long = set(&["explain", "make"]);
    assert!(long.contains("\ndrops   GIT_DIR\n"), "{long}");
    assert!(long.contains(&format!("\ntools   {}\n", tools.display())), "{long}");
    assert_eq!(long.contains("\noff     "), json.get("lane_off").is_some(), "{long}");
    let sandbox: Value = serde_json::from_str(&set(&["explain", "--json", "sudo ls"])).unwrap();
    assert_eq!(sandbox["tool_roots"], Value::Array(Vec::new()));
    assert_eq!(sandbox["dropped_variables"], Value::Array(Vec::new()));
}
