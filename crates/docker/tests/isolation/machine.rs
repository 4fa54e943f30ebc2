//! What a command sees of this machine.

use std::process::{Command, Stdio};

use stigmer_docker::Credentials;

use crate::sandbox::Sandbox;
use crate::support::*;

#[tokio::test]
async fn only_the_workspace_can_be_written_on_this_machine() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let format = "{{range .Mounts}}{{.Destination}} {{.RW}}\n{{end}}";
    let mounts = docker(&["inspect", "--format", format, &sandbox.home.name().await]);
    let mut mounts: Vec<&str> = mounts.lines().filter(|line| !line.is_empty()).collect();
    mounts.sort_unstable();
    let workspace = format!("{} true", sandbox.home.site.root);
    let mut wanted = vec!["/.stigmer/shared true", "/.stigmer/sidecar false", &workspace];
    wanted.sort_unstable();
    assert_eq!(mounts, wanted, "the workspace, what is kept of its commands, and the program");
    let tries = "touch ../beside /.stigmer/beside; printf x >> /.stigmer/sidecar; \
                 rm -f /.stigmer/sidecar; ls -A ..";
    assert_eq!(sandbox.text(tries).await, "work space");
    assert!(!sandbox.home.root().parent().unwrap().join("beside").exists());
    let tries =
        "printf x >> /.stigmer/sidecar || rm -f /.stigmer/sidecar || chmod 777 /.stigmer/sidecar";
    let (done, said) = sandbox.as_root(tries).await;
    assert!(!done, "{said}");
}

#[tokio::test]
async fn files_of_this_machine_are_not_there() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("stigmer-outside-secret");
    std::fs::write(&secret, "secret").unwrap();
    // Every way up, and the whole tree by root, who is not kept by modes.
    assert_eq!(sandbox.text(&format!("cat '{}' || echo none", secret.display())).await, "none");
    let find = "find / -xdev -name 'stigmer-outside-*' 2>/dev/null; \
                find / -name docker.sock 2>/dev/null; find / -name containerd.sock 2>/dev/null";
    assert_eq!(sandbox.as_root(find).await.1, "");
    let home = std::env::var("HOME").unwrap();
    let hosts = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let seen = sandbox.text("cat /etc/machine-id 2>/dev/null; true").await;
    assert!(hosts.trim().is_empty() || seen.trim() != hosts.trim());
    let seen = sandbox.text(&format!("ls -A '{home}' /root /home 2>/dev/null; true")).await;
    if let Ok(entries) = std::fs::read_dir(&home) {
        for entry in entries.flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            // What every user has may be the image's.
            if !name.starts_with(".bash") && name != ".profile" && name.len() > 3 {
                assert!(!seen.lines().any(|line| line == name), "{name} of {home}");
            }
        }
    }
    assert_eq!(sandbox.text("ls /root >/dev/null 2>&1 && echo seen; true").await, "");
}

#[tokio::test]
async fn processes_of_this_machine_are_not_there() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let mut marked = Command::new("sleep").arg("7651234").stdout(Stdio::null()).spawn().unwrap();
    let find = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null";
    let all = sandbox.text(find).await;
    let (_, all_of_root) = sandbox.as_root(find).await;
    marked.kill().unwrap();
    marked.wait().unwrap();
    for all in [all, all_of_root] {
        assert!(all.contains("stigmer-sidecar") || all.contains("/.stigmer/sidecar"), "{all}");
        assert!(!all.contains("7651234"), "{all}");
    }
    for kind in ["pid", "mnt", "net", "ipc", "uts"] {
        let ours = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let theirs = sandbox.text(&format!("readlink /proc/self/ns/{kind}")).await;
        assert_ne!(ours.to_str(), Some(&*theirs), "{kind}");
    }
}

#[tokio::test]
async fn the_callers_environment_does_not_get_in() {
    let declared = vec![("DECLARED".to_owned(), "yes".to_owned())];
    let Some(sandbox) = Sandbox::with(|options| options.environment = declared).await else {
        return;
    };
    // This test's own, which its runner has filled.
    let ours: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    assert!(ours.iter().any(|name| name == "STIGMER_SIDECAR"));
    let theirs = sandbox.text("env").await;
    let theirs: Vec<&str> =
        theirs.lines().filter_map(|line| line.split_once('=')).map(|pair| pair.0).collect();
    assert!(theirs.contains(&"DECLARED"));
    // Those that every environment has, or that the container has of its own.
    let own = ["PATH", "HOME", "USER", "LOGNAME", "PWD", "OLDPWD", "SHLVL", "_", "SHELL", "LANG"];
    let own = |name: &str| own.contains(&name) || name.starts_with("LC_");
    let image = sandbox.as_root("env").await.1;
    for name in ours.iter().filter(|name| !own(name)) {
        let of_the_image = image.lines().any(|line| line.starts_with(&format!("{name}=")));
        let of_ours =
            name.starts_with("PYTHON") || name.starts_with("PIP_") || name.starts_with("NPM_");
        assert!(of_the_image || of_ours || !theirs.contains(&name.as_str()), "{name}");
    }
    let all = sandbox.as_root("cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'").await.1;
    assert!(!all.contains("STIGMER_SIDECAR="), "of no process");
}

#[tokio::test]
async fn credentials_are_there_only_if_asked_for_and_read_only() {
    let user = tempfile::tempdir().unwrap();
    for name in [".aws", ".kube"] {
        std::fs::create_dir(user.path().join(name)).unwrap();
        std::fs::write(user.path().join(name).join("config"), "key").unwrap();
    }
    let place = user.path().to_owned();
    let unasked = {
        let place = place.clone();
        Sandbox::with(move |options| options.user_home = Some(place)).await
    };
    let Some(unasked) = unasked else { return };
    assert_eq!(unasked.text("ls -d ~/.aws ~/.kube 2>/dev/null; true").await, "");
    let asked = Sandbox::with(move |options| {
        options.user_home = Some(place);
        options.credentials = vec![Credentials::Aws];
    });
    let asked = asked.await.unwrap();
    assert_eq!(asked.text("cat ~/.aws/config; ls -d ~/.kube 2>/dev/null; true").await, "key");
    let tries = "touch ~/.aws/x || printf x >> ~/.aws/config || rm ~/.aws/config";
    assert_ne!(run(&*asked.executor, tries).await.exit.code, 0);
    let (done, said) = asked.as_root("touch /home/sandbox/.aws/x").await;
    assert!(!done && said.contains("Read-only"), "{said}");
}
