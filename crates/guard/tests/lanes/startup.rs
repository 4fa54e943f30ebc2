//! Shells that read their start-up files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use stigmer_guard::HostLane;

use crate::fixture::Fixture;

const LANES: [HostLane; 2] = [HostLane::ReadOnly, HostLane::Workspace];

/// A home directory as installers of tools leave it, with a tool that start-up files put on `PATH`.
fn home() -> Fixture {
    let fixture = Fixture::new();
    let write = |name: &str, text: &str| {
        let path = fixture.home.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(".cargo/env", "export PATH=\"$HOME/.cargo/bin:$PATH\"\n");
    write(".nvm/nvm.sh", "export NVM_BIN=there\n");
    write(".cargo/bin/tool", "#!/bin/sh\necho tool\n");
    let tool = fixture.home.join(".cargo/bin/tool");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).unwrap();
    write(
        ".profile",
        "if [ -n \"$BASH_VERSION\" ] && [ -f ~/.bashrc ]; then . ~/.bashrc; fi\n. \"$HOME/.cargo/env\"\n",
    );
    write(".bashrc", "[ -s ~/.nvm/nvm.sh ] && . ~/.nvm/nvm.sh\n");
    fixture
}

#[test]
fn a_login_shell_finds_the_callers_tools_and_complains_of_nothing() {
    let fixture = home();
    for lane in LANES {
        for line in [
            "bash -lc 'tool; echo $NVM_BIN'",
            "bash -l -c 'tool; echo $NVM_BIN'",
            "bash --login -c 'tool; echo $NVM_BIN'",
        ] {
            let done = fixture.shell(lane, line);
            assert_eq!(done.text, "tool\nthere\n", "{lane} {line} {:?}", done.denials);
            assert_eq!(done.calls(), [""; 0], "{lane} {line}");
        }
        let words = ["bash", "-lc", "tool; cat a.txt | head -1"];
        let done = fixture.with(lane, &fixture.policy(), &words);
        assert_eq!((done.text.as_str(), done.code), ("tool\none\n", 0), "{lane}");
        let done = fixture.shell(lane, "sh -lc 'tool'");
        assert_eq!(done.text, "tool\n", "{lane} {:?}", done.denials);
    }
}

#[test]
fn a_start_up_file_that_holds_a_secret_is_replaced_without_a_word() {
    let fixture = home();
    let bashrc = fixture.home.join(".bashrc");
    fs::write(&bashrc, "export X_API_KEY=PRIVATE\necho from bashrc\n").unwrap();
    let mut policy = fixture.policy();
    let path = format!("/usr/local/bin:/usr/bin:/bin:{}", fixture.outside.join("it's").display());
    policy.environment.push(("PATH".into(), path.clone().into()));
    for lane in LANES {
        let words = ["bash", "-lc", "tool; echo \"$PATH $X_API_KEY\"; env | grep -c PRIVATE"];
        let done = fixture.with(lane, &policy, &words);
        let cargo = fixture.home.join(".cargo/bin");
        let expected = format!("tool\n{}:{path} \n0\n", cargo.display());
        assert_eq!(done.text, expected, "{lane} {:?}", done.denials);
        assert_eq!(done.calls(), [""; 0], "{lane}");
        // Who is no shell is refused, and it is named.
        let done = fixture.with(lane, &policy, &["bash", "-lc", "cat ~/.bashrc; cp ~/.bashrc x"]);
        assert!(!done.text.contains("PRIVATE") && !done.text.contains("export"), "{}", done.text);
        assert_eq!(done.denied(&bashrc), ["read"], "{lane} {:?}", done.denials);
        // Nor does a shell show it, however it reads.
        let done = fixture.with(
            lane,
            &policy,
            &["bash", "-lc", "echo \"$(< ~/.bashrc)\"; read x < ~/.bashrc; echo $x"],
        );
        assert!(!done.text.contains("PRIVATE"), "{}", done.text);
    }
}

#[test]
fn a_manager_of_versions_is_told_to_write_nothing() {
    let fixture = home();
    let pyenv = fixture.home.join(".pyenv/bin/pyenv");
    fs::create_dir_all(pyenv.parent().unwrap()).unwrap();
    fs::write(&pyenv, "#!/bin/sh\nshift\necho \"export SAID='$*'\"\n").unwrap();
    fs::set_permissions(&pyenv, fs::Permissions::from_mode(0o755)).unwrap();
    let text = "export PATH=~/.pyenv/bin:$PATH\neval \"$(pyenv init - bash)\"\n";
    fs::write(fixture.home.join(".bashrc"), text).unwrap();
    for lane in LANES {
        let done = fixture.shell(lane, "bash -lc 'echo $SAID'; cat ~/.bashrc");
        assert_eq!(done.text, format!("--no-rehash - bash\n{text}"), "{lane} {:?}", done.denials);
        assert_eq!(done.calls(), [""; 0], "{lane}");
    }
}

#[test]
fn a_profile_that_holds_a_secret_leaves_the_callers_path() {
    let fixture = home();
    fs::write(fixture.home.join(".profile"), "export A_TOKEN=PRIVATE\n").unwrap();
    let mut policy = fixture.policy();
    let path = format!("{}:/usr/bin:/bin", fixture.home.join(".cargo/bin").display());
    policy.environment.push(("PATH".into(), path.clone().into()));
    for lane in LANES {
        let done =
            fixture.with(lane, &policy, &["bash", "-lc", "tool; echo $PATH; echo [$A_TOKEN]"]);
        assert_eq!(done.text, format!("tool\n{path}\n[]\n"), "{lane} {:?}", done.denials);
        assert_eq!(done.calls(), [""; 0], "{lane}");
    }
}
