use super::*;

fn surroundings(home: &Path, variables: &[(&str, &str)]) -> Surroundings {
    let pair = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
    Surroundings { environment: variables.iter().map(pair).collect(), home: Some(home.to_owned()) }
}

fn load(home: &Path, variables: &[(&str, &str)]) -> Result<Configuration> {
    let surroundings = surroundings(home, variables);
    Configuration::load(&Sources { surroundings, ..Sources::default() })
}

fn write_file(home: &Path, content: &str) -> PathBuf {
    let path = home.join(".stigmer/config.toml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn nothing_set_is_local_with_the_defaults() {
    let home = tempfile::tempdir().unwrap();
    let configuration = load(home.path(), &[]).unwrap();
    assert_eq!(configuration.target().unwrap(), (ExecutionMode::Local, None));
    assert_eq!(configuration.timeout(), Some(limits::DEFAULT_TIMEOUT));
    assert_eq!(configuration.output_cap(), limits::DEFAULT_OUTPUT_CAP);
    assert_eq!(configuration.client_grace(), limits::DEFAULT_CLIENT_GRACE);
    assert_eq!(configuration.termination_grace(), limits::DEFAULT_TERMINATION_GRACE);
    assert_eq!(configuration.output_retention(), Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(configuration.home().unwrap(), home.path().join(".stigmer"));
    assert!(!home.path().join(".stigmer").exists(), "reading leaves nothing behind");
}

#[test]
fn each_place_overrules_those_below_it() {
    let home = tempfile::tempdir().unwrap();
    let path = write_file(home.path(), "timeout = \"1s\"\n");
    let mut sources =
        Sources { surroundings: surroundings(home.path(), &[]), ..Sources::default() };
    let expect = |sources: &Sources, seconds, origin| {
        let configuration = Configuration::load(sources).unwrap();
        assert_eq!(configuration.timeout(), Some(Duration::from_secs(seconds)));
        assert_eq!(configuration.get(Key::Timeout).unwrap().origin, origin);
    };
    expect(&sources, 1, Origin::File(path, 1));
    sources.daemon.push((Key::Timeout, "2s".to_owned()));
    expect(&sources, 2, Origin::Daemon);
    sources.workspace.push((Key::Timeout, "3s".to_owned()));
    expect(&sources, 3, Origin::Workspace);
    sources.surroundings.environment.push(("STIGMER_TIMEOUT".into(), "4s".into()));
    expect(&sources, 4, Origin::Environment("STIGMER_TIMEOUT"));
    sources.flags.push((Key::Timeout, "--timeout", "5s".to_owned()));
    expect(&sources, 5, Origin::Flag("--timeout"));
}

#[test]
fn an_unknown_value_names_setting_place_value_and_the_valid_ones() {
    let home = tempfile::tempdir().unwrap();
    let error = load(home.path(), &[("STIGMER_EXECUTION_MODE", "sandbx")]).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
    for part in ["execution_mode", "environment variable STIGMER_EXECUTION_MODE", "\"sandbx\""] {
        assert!(error.message.contains(part), "{error}");
    }
    assert_eq!(error.hint.unwrap(), "valid values are local, sandbox, auto");
    let path = write_file(home.path(), "\nmode = \"clod\"\n");
    let error = load(home.path(), &[("MODE", "local")]).unwrap_err();
    assert!(error.message.contains(&format!("{} line 2", path.display())), "{error}");
}

#[test]
fn an_empty_variable_is_an_error_but_for_secrets() {
    let home = tempfile::tempdir().unwrap();
    for setting in SETTINGS {
        let loaded = load(home.path(), &[(setting.variable, "")]);
        if setting.key.is_secret() {
            assert!(loaded.unwrap().get(setting.key).is_none(), "{}", setting.name);
        } else {
            assert!(loaded.unwrap_err().message.contains("it is empty"), "{}", setting.name);
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let mut surroundings = surroundings(Path::new("/nonexistent"), &[]);
    surroundings.environment.push(("MODE".into(), OsString::from_vec(vec![0xff])));
    let error = Configuration::load(&Sources { surroundings, ..Sources::default() }).unwrap_err();
    assert!(error.message.contains("not UTF-8"), "{error}");
}

#[test]
fn the_first_of_two_variables_counts() {
    let home = tempfile::tempdir().unwrap();
    let configuration =
        load(home.path(), &[("STIGMER_TIMEOUT", "1s"), ("STIGMER_TIMEOUT", "2s")]).unwrap();
    assert_eq!(configuration.timeout(), Some(Duration::from_secs(1)));
}

#[test]
fn tool_roots_come_from_the_file_and_the_environment() {
    let home = tempfile::tempdir().unwrap();
    assert!(load(home.path(), &[]).unwrap().tool_roots().is_empty());
    write_file(home.path(), "tool_roots = [\"/opt/a\", \"/opt/b\"]\n");
    let roots = load(home.path(), &[]).unwrap();
    assert_eq!(roots.tool_roots(), [Path::new("/opt/a"), Path::new("/opt/b")]);
    let roots = load(home.path(), &[("STIGMER_TOOL_ROOTS", "/srv/t")]).unwrap();
    assert_eq!(roots.tool_roots(), [Path::new("/srv/t")]);
    assert_eq!(roots.get(Key::ToolRoots).unwrap().value.to_string(), "/srv/t");
    for bad in ["tools", "/a:b", "/"] {
        let error = load(home.path(), &[("STIGMER_TOOL_ROOTS", bad)]).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadConfiguration, "{bad}");
        assert!(error.hint.unwrap().contains("/opt/a:/srv/tools"));
    }
}

#[test]
fn stigmer_home_wins_and_must_be_absolute() {
    let home = tempfile::tempdir().unwrap();
    let configuration = load(home.path(), &[("STIGMER_HOME", "/x/y")]).unwrap();
    assert_eq!(configuration.state_directory().unwrap(), Path::new("/x/y/state"));
    assert!(load(home.path(), &[("STIGMER_HOME", "x")]).is_err());
    let nowhere = Configuration::load(&Sources::default()).unwrap();
    assert_eq!(nowhere.home().unwrap_err().code, ErrorCode::BadConfiguration);
}

#[test]
fn a_contradiction_names_both_settings_their_places_and_the_ways_out() {
    let home = tempfile::tempdir().unwrap();
    write_file(home.path(), "mode = \"cloud\"\n");
    let configuration = load(home.path(), &[("STIGMER_EXECUTION_MODE", "sandbox")]).unwrap();
    let error = configuration.target().unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
    for part in ["execution_mode=sandbox", "STIGMER_EXECUTION_MODE", "mode=cloud", "config.toml"] {
        assert!(error.message.contains(part), "{error}");
    }
    assert!(error.hint.unwrap().contains("MODE=cloud AGENT_MODE=unset"));
}

#[test]
fn set_to_the_default_is_not_unset() {
    let home = tempfile::tempdir().unwrap();
    let variables = [("FIRECRACKER_ENABLED", "true")];
    let target = load(home.path(), &variables).unwrap().target().unwrap().0;
    assert_eq!(target, ExecutionMode::Firecracker);
    let variables = [("FIRECRACKER_ENABLED", "true"), ("STIGMER_EXECUTION_MODE", "local")];
    let target = load(home.path(), &variables).unwrap().target().unwrap().0;
    assert_eq!(target, ExecutionMode::Local);
}

#[test]
fn the_cloud_says_which_key_it_lacks() {
    let home = tempfile::tempdir().unwrap();
    let error = load(home.path(), &[("MODE", "cloud")]).unwrap().target().unwrap_err();
    assert!(error.message.contains("DAYTONA_API_KEY"), "{error}");
}

#[test]
fn the_placeholder_is_no_key_and_no_secret_is_shown() {
    let home = tempfile::tempdir().unwrap();
    let key = |text| load(home.path(), &[("STIGMER_API_KEY", text)]).unwrap();
    assert!(key("dummy-local-key").api_key().is_none());
    let configuration = key("hunter2");
    assert_eq!(configuration.api_key().unwrap().expose(), "hunter2");
    assert!(!format!("{configuration:?}").contains("hunter2"));
    assert_eq!(configuration.get(Key::ApiKey).unwrap().value.to_string(), "(set)");
    let error = load(home.path(), &[("STIGMER_API_KEY", "hunter2\n")]).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn the_flag_names_every_mode_and_overrules_every_setting() {
    let home = tempfile::tempdir().unwrap();
    let with_flag = |text: &str| {
        let surroundings =
            surroundings(home.path(), &[("STIGMER_EXECUTION_MODE", "sandbox"), ("MODE", "cloud")]);
        let flags = vec![(Key::ExecutionMode, "--mode", text.to_owned())];
        Configuration::load(&Sources { flags, surroundings, ..Sources::default() })
    };
    for mode in crate::EXECUTION_MODES {
        let configuration = with_flag(mode.name()).unwrap();
        assert_eq!(configuration.target().unwrap(), (mode, Some(&Origin::Flag("--mode"))));
        let found = configuration.get(Key::ExecutionMode).unwrap();
        assert_eq!(found.value.to_string(), mode.name());
    }
    assert!(with_flag("Local").is_err());
    let elsewhere = load(home.path(), &[("STIGMER_EXECUTION_MODE", "firecracker")]);
    assert!(elsewhere.is_err(), "only the flag names every mode");
}

/// What is refused may be refused for the password in it.
#[test]
fn a_refused_address_is_quoted_without_its_password() {
    let home = tempfile::tempdir().unwrap();
    for setting in SETTINGS {
        for value in ["https://me:hunter2@x.io", "redis://:hunter2@h:1", "me:hunter2@h/x"] {
            let Err(error) = load(home.path(), &[(setting.variable, value)]) else { continue };
            assert!(!format!("{error:?}").contains("hunter2"), "{}: {error:?}", setting.name);
        }
    }
    for variable in ["DAYTONA_API_URL", "REDIS_HOST", "STIGMER_SANDBOX_IMAGE"] {
        let error = load(home.path(), &[(variable, "https://me:hunter2@x.io")]).unwrap_err();
        assert!(error.message.contains("\"https://…@x.io\" is not valid"), "{error}");
    }
}

#[test]
fn a_mistyped_variable_is_found() {
    let surroundings = surroundings(
        Path::new("/x"),
        &[("STIGMER_EXECUTON_MODE", "auto"), ("STIGMER_TIMEOUT", "1"), ("OTHER", "")],
    );
    assert_eq!(
        unknown_variables(&surroundings),
        [("STIGMER_EXECUTON_MODE".to_owned(), Some("STIGMER_EXECUTION_MODE"))]
    );
}

#[test]
fn the_setting_that_names_another_place_is_the_one_that_is_blamed() {
    let home = tempfile::tempdir().unwrap();
    let variables = [("MODE", "local"), ("AGENT_MODE", "firecracker")];
    let configuration = load(home.path(), &variables).unwrap();
    let origin = Origin::Environment("AGENT_MODE");
    assert_eq!(configuration.target().unwrap(), (ExecutionMode::Firecracker, Some(&origin)));
    let configuration = load(home.path(), &[("MODE", "local")]).unwrap();
    let origin = Origin::Environment("MODE");
    assert_eq!(configuration.target().unwrap(), (ExecutionMode::Local, Some(&origin)));
}
