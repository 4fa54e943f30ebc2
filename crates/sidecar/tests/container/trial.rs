//! An agent's first day: packages of every kind are installed, and what is left is its user's.

use std::process::Command;

use super::support::*;

/// Where this machine keeps its certificate authorities: the network may have one of its own.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

#[tokio::test]
async fn packages_can_be_installed_and_every_file_is_the_callers() {
    if !engine() {
        return;
    }
    let reached = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "20", "--output", "/dev/null"])
        .arg("https://pypi.org/simple/requests/")
        .status();
    if !reached.is_ok_and(|status| status.success()) {
        return left_out("the trial", "package registries cannot be reached");
    }
    let mut wanted = Wanted::new(BASE);
    if std::path::Path::new(AUTHORITIES).exists() {
        wanted = wanted.engine(format!("--volume={AUTHORITIES}:/.stigmer/authorities:ro"));
        wanted = wanted.init("--ca-bundle=/.stigmer/authorities");
    }
    let container = wanted.start();
    let executor = container.executor().await;
    for step in [
        "apt-get update && apt-get install -y jq && jq --version",
        "pip install requests && python3 -c 'import requests; print(requests.__version__)'",
        "npm install -g typescript && tsc --version",
        "npm init -y && npm install is-number && pip install --target vendored six",
        "git init -q . && git add -A && git -c user.name=a -c user.email=a@example.org commit -q -m first && git log --oneline",
    ] {
        let mut request = shell(step);
        request.timeout = Some(std::time::Duration::from_secs(300));
        let done = run(&executor, request).await;
        assert_eq!(done.exit.code, 0, "{step}: {:?} {:?}", done.stdout, done.stderr);
    }
    assert_eq!(not_mine(&container.root, container.uid), Vec::<std::path::PathBuf>::new());
    let entries: Vec<_> = std::fs::read_dir(&container.root).unwrap().flatten().collect();
    assert!(entries.len() >= 4, "{entries:?}");
    for entry in entries {
        let path = entry.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
