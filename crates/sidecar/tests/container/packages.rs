//! Package managers as root, for callers who are not.

use std::path::PathBuf;
use std::time::Duration;

use stigmer_api::client::RemoteExecutor;
use stigmer_core::ToolExecutor;
use stigmer_core::process::{EndReason, SignalRequest, TerminalSize};

use super::support::*;

/// Makes a package whose installation runs a script in the workspace.
async fn package(executor: &RemoteExecutor, name: &str, script: &str) {
    let control = format!(
        "Package: {name}\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody <n@example.org>\\nDescription: x\\n"
    );
    let make = format!(
        "mkdir -p /tmp/{name}/DEBIAN && cd /tmp/{name} && printf '{control}' > DEBIAN/control && \
         cat > DEBIAN/postinst && chmod 755 DEBIAN/postinst && dpkg-deb --build . /tmp/{name}.deb"
    );
    line(executor, &format!("({make}) <<'END'\n#!/bin/sh\ncd /workspace/ || exit\n{script}\nEND"))
        .await;
}

#[tokio::test]
async fn what_root_leaves_in_the_workspace_becomes_the_callers() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    let script = "id -u > by-root; pwd -P >> by-root; echo $HOME >> by-root
mkdir -p d/e && chmod 700 d && touch d/e/f && ln d/e/f d/g && ln -s /etc/shadow d/link && mkfifo d/pipe
touch kept && touch -d '2001-01-01' old";
    package(&executor, "leaves", script).await;
    line(&executor, "dpkg -i /tmp/leaves.deb").await;
    let root = container.root.display();
    let by_root = std::fs::read_to_string(container.root.join("by-root")).unwrap();
    assert_eq!(by_root, format!("0\n{root}\n/root\n"));
    assert_eq!(not_mine(&container.root, container.uid), Vec::<PathBuf>::new());
    assert_eq!(line(&executor, "stat -c %U /etc/shadow").await, "root");
    std::fs::remove_dir_all(container.root.join("d")).unwrap();
}

#[tokio::test]
async fn codes_signals_and_terminals_are_the_programs() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    assert_eq!(run(&executor, shell("dpkg --compare-versions 1 gt 2")).await.exit.code, 1);
    assert_eq!(run(&executor, argv(&["dpkg", "--no-such-option"])).await.exit.code, 2);
    package(&executor, "kills", "kill -9 $PPID").await;
    assert_eq!(run(&executor, shell("dpkg -i /tmp/kills.deb")).await.exit.code, 137);
    // One that the image does not have.
    let absent = run(&executor, shell("ln -s /.stigmer/sidecar /tmp/dnf && /tmp/dnf update")).await;
    assert_eq!(absent.exit.code, 127);
    let why = absent.stderr.head;
    assert!(String::from_utf8_lossy(why.as_bytes()).contains("no such package manager"), "{why}");
    assert_eq!(run(&executor, shell("command -v dnf")).await.exit.code, 1);
    let mut terminal = shell("dpkg --version | head -1; dpkg --print-architecture");
    terminal.terminal = Some(TerminalSize { rows: 24, columns: 80 });
    assert_eq!(run(&executor, terminal).await.exit.code, 0);
    let piped = line(&executor, "echo hello | (cd /; dpkg --version > /dev/null; cat)").await;
    assert_eq!(piped, "hello");
}

#[tokio::test]
async fn nothing_of_a_package_manager_outlives_its_caller() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    let script = "trap '' TERM; setsid sleep 7777 & touch stubborn-$1; touch begun; sleep 7777";
    package(&executor, "stays", script).await;
    let sleeps = || {
        let top = docker(&["top", &container.name, "-eo", "pid,args"].map(str::to_owned));
        top.lines().filter(|line| line.contains("sleep 7777")).count()
    };
    let begun = container.root.join("begun");
    for (request, reason) in
        [(SignalRequest::Cancel, EndReason::Cancelled), (SignalRequest::Kill, EndReason::Cancelled)]
    {
        let mut install = shell("dpkg -i /tmp/stays.deb");
        install.termination_grace = Duration::from_millis(300);
        let started = executor.start_process(detached(install)).await.unwrap();
        until("it is being installed", || begun.exists() && sleeps() > 0).await;
        let exit = executor.signal(&started.id, request).await.unwrap().unwrap();
        assert_eq!((exit.reason, exit.survivors), (reason, Vec::new()));
        until("all of it is gone", || sleeps() == 0).await;
        until("what it made is the caller's", || {
            not_mine(&container.root, container.uid).is_empty()
        })
        .await;
        std::fs::remove_file(&begun).unwrap();
    }
    // Root can end who looks after it, and gains no time by that.
    for signal in ["KILL", "STOP"] {
        let name = format!("turns-{}", signal.to_lowercase());
        let script = format!(
            "cp /bin/sh kept; chmod 6755 kept; setsid sleep 7777 &
for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" != stigmer-broker ] || kill -{signal} ${{p#/proc/}}; done
touch kept; sleep 7777"
        );
        package(&executor, &name, &script).await;
        let done = run(&executor, shell(&format!("dpkg -i /tmp/{name}.deb"))).await;
        assert_eq!(done.exit.code, 126, "{signal}: {:?}", done.stderr.head);
        until("all of it is gone", || sleeps() == 0).await;
        until("what it made is the caller's", || {
            not_mine(&container.root, container.uid).is_empty()
        })
        .await;
        let kept = std::fs::metadata(container.root.join("kept")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&kept) & 0o6000, 0, "{signal}");
        std::fs::remove_file(container.root.join("kept")).unwrap();
    }
    // What it leaves in the background when it ends by itself goes, too.
    package(&executor, "daemon", "setsid sleep 7777 > /dev/null 2>&1 < /dev/null &").await;
    line(&executor, "dpkg -i /tmp/daemon.deb").await;
    assert_eq!(sleeps(), 0);
}

#[tokio::test]
async fn signals_are_passed_on() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    package(
        &executor,
        "listens",
        "trap 'touch told; exit 3' INT; touch begun; while :; do sleep 0.1; done",
    )
    .await;
    let started =
        executor.start_process(detached(argv(&["dpkg", "-i", "/tmp/listens.deb"]))).await.unwrap();
    until("it is being installed", || container.root.join("begun").exists()).await;
    executor.signal(&started.id, SignalRequest::Send(2)).await.unwrap();
    let exit = executor.wait(&started.id).await.unwrap();
    assert!(container.root.join("told").exists(), "{exit:?}");
    assert_ne!(exit.code, 0);
}

/// Clients that know what is wanted of them and say something else.
const HOSTILE: &str = r#"
import socket, struct, os, array
def connect():
    s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect("/.stigmer/run/broker"); return s
def request(words, fds, environment=b""):
    body = struct.pack("<I", len(words)) + b"".join(w + b"\0" for w in words) + environment
    message = struct.pack("<I", len(body)) + body
    s = connect()
    s.sendmsg([message[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    s.sendall(message[1:])
    return s
def answer(s):
    try: return s.recv(1)
    except ConnectionResetError: return b""
null = os.open("/dev/null", os.O_RDWR); here = os.open(".", os.O_RDONLY)
four = [null, null, null, here]
assert answer(request([b"sh", b"-c", b"touch evil"], four)) == b"\x7e", "not on the list"
assert answer(request([b"/bin/sh"], four)) == b"\x7e", "a path"
assert answer(request([b"../bin/dpkg"], four)) == b"\x7e", "a path to one"
assert answer(request([b"dpkg", b"--version"], four, b"PATH=/tmp/roots\0")) == b"\0", "the system's"
assert answer(request([b"dpkg", b"--version"], [])) == b"", "no descriptors"
assert answer(request([b"dpkg", b"--version"], four * 20)) == b"\0", "too many: the first four count"
assert answer(request([b"dpkg", b"--version"], [null, null, null, null])) == b"\x7e", "no directory"
s = connect(); s.sendall(b"\xff" * 64); assert answer(s) == b"", "too long"
for _ in range(10): connect().close()
silent = [connect() for _ in range(8)]
full = os.pipe(); os.set_blocking(full[1], False)
try:
    while True: os.write(full[1], b"x" * 4096)
except BlockingIOError: pass
os.set_blocking(full[1], True)
assert answer(request([b"yum"], [null, null, full[1], here])) == b"\x7f", "nobody reads why"
"#;

#[tokio::test]
async fn nobody_gets_more_than_a_package_manager() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    std::fs::write(container.root.join("hostile.py"), HOSTILE).unwrap();
    // What is root's by itself, and not what it lies in.
    let planted = "mkdir /tmp/roots; printf '#!/bin/sh\\ntouch evil' > /tmp/roots/dpkg; chmod 755 /tmp/roots/dpkg";
    docker(&["exec", "--user=0:0", &container.name, "sh", "-c", planted].map(str::to_owned));
    line(&executor, "python3 hostile.py").await;
    assert!(!container.root.join("evil").exists());
    // All others are served as before, several at once.
    let at_once = "for n in 1 2 3 4 5 6 7 8 9 10; do dpkg --version > out-$n & done; wait; cat out-* | grep -c \"Debian 'dpkg'\"";
    assert_eq!(line(&executor, at_once).await, "10");
}
