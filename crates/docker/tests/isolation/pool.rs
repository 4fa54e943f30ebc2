//! A container that waited for its workspace, and what gave it that.

use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::sandbox::{Sandbox, capabilities, field};
use crate::support::docker;

/// Mounts as they matter: where, how, of what kind, and whether others' appear there.
fn mounts(sandbox: &Sandbox, text: &str) -> Vec<String> {
    let home = sandbox.home.root().to_string_lossy().replace(' ', "\\040");
    let line = |line: &str| {
        let (mount, kind) = line.split_once(" - ").unwrap();
        let fields: Vec<&str> = mount.split(' ').collect();
        let others: String = fields[6..].join(" ").replace(|c: char| c.is_ascii_digit(), "");
        let kind = kind.split(' ').next().unwrap();
        format!("{} {} {others} {kind}", fields[4], fields[5]).replace(&home, "WORKSPACE")
    };
    let mut all: Vec<String> = text.lines().map(line).collect();
    all.sort();
    all
}

#[tokio::test]
async fn one_from_the_pool_is_as_one_that_was_made_for_its_workspace() {
    let Some(made) = Sandbox::new().await else { return };
    let waited = Sandbox::pooled().await.unwrap();
    let mut seen = Vec::new();
    for sandbox in [&made, &waited] {
        let mountinfo = sandbox.text("cat /proc/self/mountinfo").await;
        let status = sandbox.text("cat /proc/self/status").await;
        let rights = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let rights = rights.map(|set| capabilities(&status, set));
        assert_eq!(rights[..3], [0; 3]);
        let modes = ["Uid", "Gid", "Groups", "NoNewPrivs", "Seccomp"];
        let modes = modes.map(|name| field(&status, name).to_owned());
        assert_eq!(modes[3..], ["1", "2"]);
        let home = sandbox.home.root().display().to_string();
        let files = "cd /; ls -lan --time-style=+ / /.stigmer /.stigmer/run /home /home/sandbox; \
            env | sort | grep -v ^_; cat /etc/passwd /etc/group";
        let files = sandbox.text(files).await.replace(&home, "WORKSPACE");
        // Sizes of directories depend on what was in them once, and the kernel counts processes as
        // directories.
        let files: Vec<String> = files
            .lines()
            .filter(|line| !line.starts_with("total") && !line.ends_with(" proc"))
            .map(|line| {
                line.split_whitespace().filter(|w| *w != "4096").collect::<Vec<_>>().join(" ")
            })
            .collect();
        seen.push((mounts(sandbox, &mountinfo), rights, modes, files));
    }
    assert_eq!(seen[0].0, seen[1].0, "no mount more, and none otherwise");
    assert_eq!(seen[0], seen[1]);
    // The workspace is this one, and no other is there.
    std::fs::write(waited.home.root().join("mine"), "").unwrap();
    let line = format!(
        "ls '{}' /workspace; ls -d '{}'",
        waited.home.root().display(),
        made.home.root().display()
    );
    assert_eq!(waited.text(&format!("({line}) 2>/dev/null | grep -c mine; true")).await, "2");
    let theirs = format!("ls -d '{}' 2>/dev/null; true", made.home.root().display());
    assert_eq!(waited.text(&theirs).await, "");
}

#[tokio::test]
async fn what_gives_workspaces_is_out_of_reach() {
    let Some(sandbox) = Sandbox::pooled().await else { return };
    // Of the sockets in the container none is the pool's, for root of it neither.
    let sockets = "find / -xdev -type s 2>/dev/null; find /.stigmer -type s 2>/dev/null";
    let (_, found) = sandbox.as_root(sockets).await;
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, ["/.stigmer/run/broker", "/.stigmer/shared/socket"]);
    let pool = sandbox.home.state().join("pool");
    let (_, said) = sandbox.as_root(&format!("ls -d '{}' /.stigmer/pool/*", pool.display())).await;
    assert!(!said.lines().any(|line| line.starts_with('/')), "{said}");
    let tries = "mount --bind / /mnt; umount /workspace; umount /.stigmer/shared; umount \"$PWD\"; \
        nsenter --mount=/proc/1/ns/mnt true && echo entered";
    for said in
        [sandbox.text(&format!("({tries}) 2>&1; true")).await, sandbox.as_root(tries).await.1]
    {
        assert!(!said.contains("entered"), "{said}");
    }
    assert_eq!(sandbox.text("pwd").await, sandbox.home.root().to_str().unwrap());

    // The keeper: nothing of this machine's is in it, and nobody is near it.
    let keeper = sandbox.keeper();
    let look = |format: &str| docker(&["inspect", "--format", format, &keeper]);
    assert_eq!(
        look("{{.HostConfig.CapAdd}} {{.HostConfig.CapDrop}}"),
        "[SYS_ADMIN SYS_CHROOT] [ALL]"
    );
    assert_eq!(look("{{.HostConfig.NetworkMode}} {{.HostConfig.ReadonlyRootfs}}"), "none true");
    assert_eq!(look("{{.HostConfig.Privileged}} {{.HostConfig.PidMode}}"), "false");
    let sources = look("{{range .Mounts}}{{.Source}} {{.RW}}\n{{end}}");
    let mut sources: Vec<&str> = sources.lines().collect();
    sources.sort_unstable();
    let sidecar = format!("{} false", std::env::var("STIGMER_SIDECAR").unwrap());
    let socket = format!("{} true", pool.join("keeper").display());
    let mut wanted = [sidecar.as_str(), &socket];
    wanted.sort_unstable();
    assert_eq!(sources, wanted);
    // Who could get at its socket is asked for by the kernel.
    let mode = std::fs::metadata(&pool).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let ask = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/k/socket')
try: s.send(b's'); print(len(s.recv(5)))
except OSError: print(0)";
    let volume = format!("{}:/k", pool.join("keeper").display());
    let owner = rustix::process::geteuid().as_raw();
    for (user, answered) in [(owner, "5"), (owner + 1, "0"), (0, "0")] {
        let user = format!("--user={user}:{user}");
        let words = ["run", "--rm", "--network=none", &user, "--volume", &volume];
        let image = sandbox.image().to_owned();
        let words = [&words[..], &["--entrypoint=python3", &image, "-c", ask]].concat();
        assert_eq!(docker(&words), answered, "{user}");
    }
}

#[tokio::test]
async fn it_mounts_in_containers_of_ours_only() {
    let Some(sandbox) = Sandbox::pooled().await else { return };
    // Its own user asks it to mount on this machine, with descriptors as a claim has them.
    let (root, target) = (sandbox.home.root(), sandbox.home.root().join("target"));
    std::fs::create_dir(&target).unwrap();
    let open = |path: &Path, flags| rustix::fs::open(path, flags, Mode::empty()).unwrap();
    let mounts = open(Path::new("/proc/self/ns/mnt"), OFlags::RDONLY);
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let (root, target) = (open(root, directory), open(&target, directory));
    let all = [&mounts, &root, &root, &mounts, &target, &target].map(|one| one.as_fd());
    let socket = sandbox.home.state().join("pool/keeper/socket");
    let mut keeper = UnixStream::connect(socket).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(6))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&all)));
    sendmsg(&keeper, &[IoSlice::new(b"m")], &mut control, SendFlags::empty()).unwrap();
    let mut answer = [0; 5];
    keeper.read_exact(&mut answer).unwrap();
    // The step in which it makes sure of the container.
    assert_eq!(answer[0], 5, "{answer:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/target "), "{mounts}");
}
