//! How the command line speaks.

mod support;

use std::process::Stdio;

use support::Place;

#[test]
fn version_needs_nothing() {
    let place = Place::new();
    let version = place.run_with(&[("MODE", "nonsense")], &["version"]).ok();
    assert!(version.stdout.starts_with(&format!("stigmer {} (", env!("CARGO_PKG_VERSION"))));
    let json = place.run(&["version", "--json"]).ok().json();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["capabilities"]["backend"], "local");
    let json = place.run(&["version", "--json", "--mode", "kubernetes"]).ok().json();
    assert!(json["capabilities"].is_null());
    let json = place.run(&["version", "--json", "--mode", "auto"]).ok().json();
    assert_eq!(json["capabilities"]["backend"], "auto");
    // No sandbox is made to be looked at.
    let json = place.run(&["version", "--json", "--mode", "sandbox"]).ok().json();
    assert_eq!(json["capabilities"]["backend"], "docker");
    assert!(place.run(&["--version"]).ok().stdout.starts_with("stigmer "));
}

#[test]
fn errors_are_talk_with_the_hint_on_its_own_line() {
    let place = Place::new();
    place
        .run(&["fs", "ls", "--mode", "cloud"])
        .exits(7)
        .prints("")
        .says(&["error: execution mode cloud: not available in this build\n  hint: nothing was"]);
}

#[test]
fn errors_are_data_with_json() {
    let place = Place::new();
    let ran = place.run(&["fs", "ls", "--json", "--mode", "cloud"]).exits(7);
    assert_eq!(ran.stderr, "");
    let error = &ran.json()["error"];
    assert_eq!(error["code"], "not_available");
    assert_eq!(error["details"]["mode"], "cloud");
    assert!(error["hint"].is_string() && error["retryable"] == false);
    let ran = place.run_with(&[("MODE", "x")], &["--json", "fs", "ls"]).exits(2);
    assert_eq!(ran.json()["error"]["code"], "bad_configuration");
    let ran = place.run(&["--json", "fs", "lss"]).exits(2);
    assert_eq!(ran.json()["error"]["code"], "invalid_argument");
    let ran = place.run(&["--json", "--workspace", "none", "fs", "ls"]).exits(3);
    assert_eq!(ran.json()["error"]["code"], "not_found");
}

#[test]
fn a_wrong_word_is_exit_2_and_help_is_not() {
    let place = Place::new();
    place.run(&["nonsense"]).exits(2).prints("").says(&["nonsense"]);
    place.run(&["fs", "ls", "--mode", "docker"]).exits(2).says(&["local, sandbox, auto"]);
    place.run(&[]).exits(2).says(&["Usage:"]);
    for words in [&["--help"][..], &["fs", "edit", "--help"], &["grep", "-h"]] {
        let help = place.run(words).ok();
        assert!(help.stdout.contains("Examples:\n  stigmer ") || help.stdout.contains("| stigmer"));
        assert!(!help.stdout.contains('\x1b'), "no colour into a pipe");
    }
}

#[test]
fn completions_are_what_the_shells_take() {
    let place = Place::new();
    for (shell, mark) in [
        ("bash", "complete -F _stigmer"),
        ("zsh", "#compdef stigmer"),
        ("fish", "complete -c stigmer"),
    ] {
        let script = place.run(&["completions", shell]).ok().stdout;
        assert!(script.contains(mark), "{shell}");
        // The shell itself says whether it is one, where it is installed.
        let path = place.beside(shell);
        std::fs::write(&path, &script).unwrap();
        let checked = std::process::Command::new(shell).arg("-n").arg(&path).output();
        if let Ok(checked) = checked {
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    place.run(&["completions", "tcsh"]).exits(2).says(&["bash, zsh, fish"]);
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_141() {
    let place = Place::new();
    for words in [&["completions", "zsh"][..], &["config", "list"], &["--json", "config", "list"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(words);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{words:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    }
}

#[test]
fn a_full_disk_is_said() {
    let place = Place::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(&["version"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: standard output"));
}

#[test]
fn the_workspace_is_the_current_directory_or_the_one_that_is_named() {
    let place = Place::new();
    place.write("sub/f", "x");
    place.run(&["fs", "ls", "sub"]).ok().prints("sub/f\n");
    place.run(&["--workspace", "sub", "fs", "ls"]).ok().prints("f\n");
    place.run(&["fs", "ls", "--workspace", "sub/f"]).exits(4).says(&["is not a directory"]);
    place.run(&["fs", "ls", "--workspace", ""]).exits(2);
}

#[test]
fn an_absolute_path_may_begin_with_the_name_that_the_workspace_was_given() {
    let place = Place::new();
    place.write("f", "x");
    let link = place.beside("link");
    std::os::unix::fs::symlink("work", &link).unwrap();
    let link = link.to_str().unwrap();
    let (named, real) = (format!("{link}/f"), place.work().join("f"));
    for path in [named.as_str(), real.to_str().unwrap()] {
        place.run(&["--workspace", link, "fs", "read", path]).ok().prints("x");
        place.run_with(&[("WORKSPACE_DIR", link)], &["fs", "read", path]).ok().prints("x");
        place.run(&["--workspace", "../link", "fs", "stat", real.to_str().unwrap()]).ok();
    }
    place.run(&["fs", "read", &named]).exits(5).says(&["outside the workspace"]);
    // What is shown is where it really is.
    let pwd = place.run(&["--workspace", link, "run", "pwd -P"]).ok().stdout;
    assert_eq!(pwd, format!("{}\n", place.work().display()));
}

#[test]
fn a_variable_without_effect_is_told() {
    let place = Place::new();
    place
        .run_with(&[("STIGMER_EXECUTON_MODE", "sandbox"), ("STIGMER_OTHER", "x")], &["fs", "ls"])
        .ok()
        .says(&[
            "warning: STIGMER_EXECUTON_MODE has no effect; did you mean STIGMER_EXECUTION_MODE?",
            "warning: STIGMER_OTHER has no effect: it is no setting",
        ]);
    let quiet = place.run_with(&[("OTHER", "x")], &["fs", "ls"]).ok();
    assert_eq!(quiet.stderr, "");
}

/// What may have been meant to isolate a command does not run it on the host.
#[test]
fn no_command_runs_under_a_mistyped_mode() {
    let place = Place::new();
    for (variable, meant) in [
        ("STIGMER_EXEC_MODE", "STIGMER_EXECUTION_MODE"),
        ("STIGMER_EXECUTON_MODE", "STIGMER_EXECUTION_MODE"),
        ("STIGMER_AGENT_MODE", "did you mean AGENT_MODE"),
    ] {
        let variables = [(variable, "sandbox")];
        place.run_with(&variables, &["run", "touch made"]).exits(125).says(&[variable, meant]);
        assert!(!place.work().join("made").exists(), "{variable}");
        let json = place.run_with(&variables, &["run", "--json", "true"]).exits(125).json();
        assert_eq!(json["error"]["code"], "bad_configuration");
        // A flag would overrule it anyway.
        place
            .run_with(&variables, &["run", "--mode", "local", "true"])
            .ok()
            .says(&["has no effect"]);
    }
    place.run_with(&[("STIGMER_LANGUAGE_MODEL", "x")], &["run", "true"]).ok();
}
