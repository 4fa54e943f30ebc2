//! Credentials are not read, by whatever program, and the result names each that was tried.

use std::fs;
use std::path::Path;

use stigmer_guard::{HostLane, Policy};

use crate::fixture::Fixture;

const LANE: HostLane = HostLane::Workspace;

/// Programs that read a file, most of which look at it first. `KEY` is the file.
const READERS: &[&str] = &[
    "cat KEY",
    "cp KEY x; cat x",
    "cp -a KEY x; cat x",
    "install -m 600 KEY x; cat x",
    "tar -cf x.tar KEY; cat x.tar",
    "tar -cf x.tar -C $(dirname KEY) $(basename KEY); cat x.tar",
    "[ -r KEY ] && cat KEY",
    "[ -s KEY ] && cat KEY",
    "test -f KEY && head -1 KEY",
    "sort a.txt KEY",
    "diff a.txt KEY",
    "grep -r . $(dirname KEY)",
    "find $(dirname KEY) -type f -exec cat {} +",
    "cd $(dirname KEY) && cat *",
    "ssh-keygen -y -f KEY",
    "openssl rsa -in KEY",
    "gpg --batch --no-tty --homedir $PWD --import KEY",
    "python3 -c 'import shutil; shutil.copy(\"KEY\", \"x\")'; cat x",
    "python3 -c 'import pathlib; p = pathlib.Path(\"KEY\"); p.exists() and print(p.read_text())'",
    "python3 -c 'import tarfile; tarfile.open(\"x.tar\", \"w\").add(\"KEY\")'",
    "node -e 'require(\"fs\").copyFileSync(\"KEY\", \"x\")'; cat x",
];

fn has(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|at| Path::new(at).join(program).exists())
}

/// Everything that reads a key in a lane is stopped, and named by the key's path.
fn stopped(fixture: &Fixture, policy: &Policy, key: &Path) {
    for reader in READERS.iter().filter(|reader| {
        let program = reader.split(' ').next().unwrap();
        !["ssh-keygen", "openssl", "gpg", "node"].contains(&program) || has(program)
    }) {
        let line = reader.replace("KEY", key.to_str().unwrap());
        let done = fixture.with(LANE, policy, &["bash", "-c", &line]);
        assert!(!done.text.contains("PRIVATE"), "{line}: {}", done.text);
        assert!(done.denied(key).contains(&"read"), "{line}: {:?} {}", done.denials, done.text);
        for left in ["x", "x.tar"].map(|name| fixture.project.join(name)) {
            let content = fs::read(&left).unwrap_or_default();
            assert!(!content.windows(7).any(|part| part == b"PRIVATE"), "{line}");
            let _ = fs::remove_file(left);
        }
    }
}

#[test]
fn whatever_reads_a_key_is_stopped_and_named() {
    let fixture = Fixture::new();
    let deeper = fixture.home.join(".gnupg/private-keys-v1.d/key");
    fs::create_dir_all(deeper.parent().unwrap()).unwrap();
    fs::write(&deeper, "PRIVATE").unwrap();
    for key in [
        fixture.home.join(".ssh/id_ed25519"),
        deeper,
        // Its directory is a tool's, and can be read otherwise.
        fixture.home.join(".cargo/credentials.toml"),
    ] {
        stopped(&fixture, &fixture.policy(), &key);
    }
}

#[test]
fn a_key_beneath_the_private_directory_is_named_too() {
    let fixture = Fixture::in_directory(&std::env::temp_dir().to_string_lossy());
    let netrc = fixture.home.join(".netrc");
    fs::write(&netrc, "PRIVATE").unwrap();
    for key in [fixture.home.join(".ssh/id_ed25519"), netrc] {
        // Nothing but their mode keeps them shut there, so that who asks `access(2)` hears it.
        for line in ["cat KEY", "cp KEY x", "tar -cf x.tar KEY", "test -f KEY && head KEY"] {
            let line = line.replace("KEY", key.to_str().unwrap());
            let done = fixture.shell(LANE, &line);
            assert!(!done.text.contains("PRIVATE"), "{line}: {}", done.text);
            assert!(done.denied(&key).contains(&"read"), "{line}: {:?}", done.denials);
        }
    }
}

#[test]
fn a_credential_in_the_workspace_cannot_be_opened() {
    let fixture = Fixture::new();
    let [file, directory] = ["netrc", "kube"].map(|name| fixture.project.join(name));
    fs::create_dir(&directory).unwrap();
    fs::write(&file, "PRIVATE").unwrap();
    fs::write(directory.join("config"), "PRIVATE").unwrap();
    let mut policy = fixture.policy();
    policy.environment.push(("NETRC".into(), file.clone().into()));
    policy.environment.push(("KUBECONFIG".into(), directory.clone().into()));
    for key in [file, directory.join("config")] {
        for line in ["cat KEY", "cp KEY x", "chmod 600 KEY; cat KEY", "mv KEY x; cat x"] {
            let line = line.replace("KEY", key.to_str().unwrap());
            let done = fixture.with(LANE, &policy, &["bash", "-c", &line]);
            assert_ne!(done.code, 0, "{line}: {}", done.text);
            assert!(!done.text.contains("PRIVATE"), "{line}: {}", done.text);
            assert!(!done.denied(&key).is_empty(), "{line}: {:?} {}", done.denials, done.text);
        }
        assert_eq!(fs::read(&key).unwrap(), b"PRIVATE");
    }
}

#[test]
fn of_credentials_names_are_seen_and_nothing_else() {
    let fixture = Fixture::new();
    fs::write(fixture.home.join(".ssh/config"), "PRIVATE".repeat(100)).unwrap();
    let done =
        fixture.shell(LANE, "stat -c '%n %s %a' ~/.ssh/*; touch ~/.ssh/new; rm ~/.ssh/config");
    let shown: Vec<_> = done.text.lines().filter(|line| line.ends_with(" 400")).collect();
    let expected = ["config", "id_ed25519"]
        .map(|name| format!("{} 1 400", fixture.home.join(".ssh").join(name).display()));
    assert_eq!(shown, expected);
    assert!(fixture.home.join(".ssh/config").exists() && !fixture.home.join(".ssh/new").exists());
    assert!(done.denied(&fixture.home.join(".ssh/new")).contains(&"open"));
    assert_eq!(done.denied(&fixture.home.join(".ssh/config")), ["unlink"]);
}
