//! Settings as the command line shows and obeys them.

mod support;

use std::os::unix::fs::PermissionsExt;

use support::Place;

#[test]
fn each_place_overrules_those_below_it() {
    let place = Place::new();
    let get = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut words = vec!["config", "get", "execution_mode", "--json"];
        words.extend(arguments);
        let json = place.run_with(variables, &words).ok().json();
        format!("{} {}", json["value"].as_str().unwrap(), json["origin"].as_str().unwrap())
    };
    assert_eq!(get(&[], &[]), "local default");
    place.write_config("execution_mode = \"auto\"\n");
    assert_eq!(get(&[], &[]), "auto file");
    let sandbox = [("STIGMER_EXECUTION_MODE", "sandbox")];
    assert_eq!(get(&sandbox, &[]), "sandbox environment");
    assert_eq!(get(&sandbox, &["--mode", "local"]), "local flag");
    for mode in ["auto", "firecracker", "kubernetes", "cloud"] {
        assert_eq!(get(&sandbox, &["--mode", mode]), format!("{mode} flag"));
    }
}

/// What shows settings shows what the flags make of them; what does not takes them in silence.
#[test]
fn no_flag_that_matters_is_dropped() {
    let place = Place::new();
    let cloud = [("MODE", "cloud"), ("WORKSPACE_DIR", "/elsewhere")];
    let flags = ["--mode", "firecracker", "--workspace", "here"];
    let with_flags = |words: &[&str]| {
        let words: Vec<&str> = flags.iter().chain(words).copied().collect();
        place.run_with(&cloud, &words)
    };
    with_flags(&["config", "get", "execution_mode"]).ok().prints("firecracker\n");
    with_flags(&["config", "get", "workspace_dir"]).ok().prints("here\n");
    let list = with_flags(&["config", "list"]).ok().stdout;
    for part in ["flag --mode", "flag --workspace"] {
        assert!(list.contains(part), "{list}");
    }
    // The environment alone is a contradiction.
    let shown = with_flags(&["doctor"]).exits(1).stdout;
    assert!(shown.contains("execution mode firecracker"), "{shown}");
    assert!(shown.ends_with("firecracker mode does not work on this machine\n"), "{shown}");
    for words in [
        &["version"][..],
        &["completions", "bash"],
        &["config", "path"],
        &["config", "set", "timeout", "1m"],
        &["config", "unset", "timeout"],
    ] {
        let plain = place.run(words).ok().stdout;
        with_flags(words).ok().prints(&plain);
    }
}

#[test]
fn list_shows_every_setting_with_its_origin_and_no_secret() {
    let place = Place::new();
    let path = place.write_config("timeout = \"5m\"\n");
    let variables = [("DAYTONA_API_KEY", "hunter2"), ("VM_CPU_COUNT", "2")];
    let shown = place.run_with(&variables, &["config", "list"]).ok().stdout;
    let row = |name: &str| {
        let row = shown.lines().find(|line| line.split_whitespace().next() == Some(name));
        row.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("timeout"), format!("timeout 5m {} line 1", path.display()));
    assert_eq!(row("vm_cpu_count"), "vm_cpu_count 2 environment variable VM_CPU_COUNT");
    assert_eq!(
        row("daytona_api_key"),
        "daytona_api_key (set) environment variable DAYTONA_API_KEY"
    );
    assert_eq!(row("sandbox_ttl"), "sandbox_ttl 1h default");
    assert_eq!(row("mode"), "mode - unset");
    assert_eq!(shown.lines().count(), 53);
    let json = place.run_with(&variables, &["config", "list", "--json"]).ok();
    assert!(!json.stdout.contains("hunter2") && !shown.contains("hunter2"));
    assert_eq!(json.json().as_array().unwrap().len(), 53);
}

#[test]
fn get_of_what_nothing_sets_prints_nothing() {
    let place = Place::new();
    place.run(&["config", "get", "redis_host"]).exits(1).prints("");
    place.run(&["config", "get", "timeout"]).ok().prints("2m\n");
    place.run(&["config", "get", "STIGMER_TIMEOUT"]).ok().prints("2m\n");
    place
        .run(&["config", "get", "timeot"])
        .exits(2)
        .says(&["error: there is no setting \"timeot\"", "\n  hint: did you mean timeout?"]);
}

#[test]
fn set_checks_writes_and_keeps() {
    let place = Place::new();
    let path = place.home().join("config.toml");
    place.run(&["config", "path"]).ok().prints(&format!("{}\n", path.display()));
    place.run(&["config", "set", "timeout", "5m"]).ok().prints("").says(&["set timeout in"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "timeout = \"5m\"\n");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    place.run(&["config", "get", "timeout"]).ok().prints("5m\n");
    place.run(&["config", "set", "timeout", "soon"]).exits(2).says(&["\"soon\"", "90s"]);
    place.run(&["config", "set", "mode", "-x"]).exits(2).says(&["local, cloud"]);
    place.run(&["config", "set", "home", "/x"]).exits(2).says(&["STIGMER_HOME"]);
    place.run_fed(b"hunter2\n", &["config", "set", "daytona_api_key", "-"]).ok();
    place.run(&["config", "get", "daytona_api_key"]).ok().prints("(set)\n");
    assert!(std::fs::read_to_string(&path).unwrap().contains("\"hunter2\""));
    place
        .run_with(&[("STIGMER_TIMEOUT", "1s")], &["config", "set", "timeout", "7m"])
        .ok()
        .says(&["STIGMER_TIMEOUT in the environment overrules"]);
    place.run(&["config", "unset", "timeout"]).ok();
    place.run(&["config", "get", "timeout"]).ok().prints("2m\n");
}

#[test]
fn set_does_not_wait_for_ever() {
    let place = Place::new();
    let path = place.write_config("timeout = 1\n");
    let held = std::fs::File::open(place.home()).unwrap();
    held.lock().unwrap();
    place.run(&["config", "set", "timeout", "5m"]).exits(9).says(&["locked"]);
    assert_eq!(std::fs::read_to_string(path).unwrap(), "timeout = 1\n");
}

#[test]
fn unset_makes_no_file() {
    let place = Place::new();
    place.run(&["config", "unset", "timeout"]).ok();
    assert!(!place.home().exists());
}

#[test]
fn an_unknown_value_lists_the_valid_ones_and_says_where_it_stands() {
    let place = Place::new();
    for (variable, bad, valid) in [
        ("STIGMER_EXECUTION_MODE", "docker", "local, sandbox, auto"),
        ("MODE", "production", "local, cloud"),
        ("AGENT_MODE", "vm", "local, firecracker"),
        ("SANDBOX_TYPE", "docker", "filesystem, daytona"),
        ("FIRECRACKER_ENABLED", "yes", "true, false"),
        ("STIGMER_TIMEOUT", "soon", "90s"),
        ("REDIS_PORT", "0", "1 to 65535"),
        ("MODE", "", "local, cloud"),
    ] {
        place.run_with(&[(variable, bad)], &["fs", "ls"]).exits(2).prints("").says(&[
            &format!("environment variable {variable}"),
            &format!("\"{bad}\""),
            valid,
        ]);
    }
    let path = place.write_config("\nexecution_mod = \"sandbox\"\n");
    place
        .run(&["fs", "ls"])
        .exits(2)
        .says(&[&format!("{} line 2", path.display()), "did you mean execution_mode?"]);
}

/// Whatever asks for isolation: nothing is done on the host in its stead.
#[test]
fn a_mode_that_is_not_available_does_nothing_on_the_host() {
    let place = Place::new();
    let write = ["fs", "write", "made", "--content", "x"];
    let refused = |variables: &[(&str, &str)], flags: &[&str]| {
        let words: Vec<&str> = write.iter().chain(flags).copied().collect();
        let ran = place.run_with(variables, &words);
        assert!(!place.work().join("made").exists(), "{variables:?} {flags:?} wrote on the host");
        ran.exits(7).says(&["not available", "--mode local"])
    };
    for mode in ["firecracker", "kubernetes", "cloud"] {
        refused(&[], &["--mode", mode]).says(&[mode]);
        // Whatever the environment says.
        refused(&[("STIGMER_EXECUTION_MODE", "local")], &["--mode", mode]);
    }
    refused(&[("AGENT_MODE", "firecracker")], &[]).says(&["AGENT_MODE"]);
    refused(&[("SANDBOX_TYPE", "daytona"), ("DAYTONA_API_KEY", "k")], &[]);
    place.write_config("agent_mode = \"firecracker\"\n");
    refused(&[], &[]).says(&["config.toml line 1"]);
    assert!(!place.home().join("state").exists(), "nothing was opened");
}

#[test]
fn a_contradiction_names_both_settings() {
    let place = Place::new();
    let variables = [("STIGMER_EXECUTION_MODE", "sandbox"), ("MODE", "cloud")];
    place.run_with(&variables, &["fs", "ls"]).exits(2).says(&[
        "execution_mode=sandbox",
        "contradicts mode=cloud",
        "sandbox: STIGMER_EXECUTION_MODE=sandbox MODE=unset|local",
    ]);
    place.run_with(&[("MODE", "cloud")], &["fs", "ls"]).exits(2).says(&["needs DAYTONA_API_KEY"]);
}

#[test]
fn doctor_says_how_local_mode_fares() {
    let place = Place::new();
    let json = place.run(&["doctor", "--json"]).ok().json();
    assert_eq!(json["local_mode"], true);
    let names: Vec<&str> =
        json["checks"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    for name in
        ["subreaper", "pidfd", "openat2", "workspace lane", "docker", "kvm", "state directory"]
    {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    place.run_with(&[("MODE", "x")], &["doctor"]).exits(1);
    let nowhere = [("DOCKER_HOST", "unix:///nope.sock")];
    let shown = place.run_with(&nowhere, &["doctor", "--mode", "sandbox"]).exits(1).stdout;
    assert!(shown.contains("unset DOCKER_HOST"), "{shown}");
    assert!(shown.ends_with("sandbox mode does not work on this machine\n"), "{shown}");
    assert!(!place.home().exists(), "doctor changes nothing");
}

#[test]
fn a_state_directory_that_cannot_be_is_said() {
    let place = Place::new();
    std::fs::write(place.home(), "a file").unwrap();
    place.run(&["run", "true"]).exits(125).says(&["STIGMER_HOME"]);
}
