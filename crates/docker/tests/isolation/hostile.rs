//! What a hostile command can do with the directory that is shared with its sidecar, where it may
//! write as the sidecar does: nothing beyond its own container.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use stigmer_core::manager::PlaceState;
use stigmer_core::{ErrorCode, ToolError, WorkspaceManager as _};
use stigmer_docker::DockerManager;

use crate::sandbox::Sandbox;
use crate::support::*;

/// How long it may take until whoever does not answer is refused: nine seconds, on a busy machine more.
const REFUSED: Duration = Duration::from_secs(20);

/// Another manager's look at the sandbox: it has no connection yet.
async fn opened(sandbox: &Sandbox) -> Result<(), ToolError> {
    let mut options = sandbox.home.options();
    options.image = sandbox.manager.status(&sandbox.home.site).await.unwrap().image.unwrap();
    let manager = DockerManager::new(options).unwrap();
    let began = Instant::now();
    let opened = manager.open(&sandbox.home.site, &quiet).await.map(drop);
    assert!(began.elapsed() < REFUSED, "it takes no longer than it may: {:?}", began.elapsed());
    opened
}

/// A new container does away with whatever was planted.
async fn recovers(sandbox: &Sandbox) {
    let status = sandbox.manager.recover(&sandbox.home.site, &quiet).await.unwrap();
    assert_eq!(status.state, PlaceState::Ready);
    let executor = sandbox.manager.open(&sandbox.home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo well").await, "well");
}

#[tokio::test]
async fn what_is_planted_in_the_sockets_place_is_not_followed() {
    let Some(sandbox) = Sandbox::new().await else { return };
    // A server of this user's on this machine, to which a command would lead us.
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    for plant in [
        format!("ln -s '{}' socket", path.display()),
        "mkfifo socket".to_owned(),
        "truncate -s 1T socket".to_owned(),
        "mkdir -p socket/inside".to_owned(),
    ] {
        let line = format!("cd /.stigmer/shared && rm -rf socket && {plant}");
        let _ = run(&*sandbox.manager.open(&sandbox.home.site, &quiet).await.unwrap(), &line).await;
        let error = opened(&sandbox).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied, "{plant}: {error:?}");
        assert!(listener.accept().is_err(), "nobody came: {plant}");
        recovers(&sandbox).await;
    }
    assert!(path.exists());
}

/// Takes the sidecar's place, and says what it is told to.
const IMPOSTOR: &str = "
import os, socket, sys
os.chdir('/.stigmer/shared')
os.unlink('socket')
server = socket.socket(socket.AF_UNIX)
server.bind('socket')
server.listen(64)
print('listening', flush=True)
kept = []
while True:
    connection = server.accept()[0]
    kept.append(connection)
    if sys.argv[1] == 'floods' and os.fork() == 0:
        try:
            while True:
                connection.sendall(bytes([0, 0x40, 0, 4, 0, 0, 0, 0, 0]) + bytes(0x4000))
        except OSError:
            os._exit(0)
";

#[tokio::test]
async fn an_impostor_in_the_sidecars_place_is_not_waited_for() {
    let Some(sandbox) = Sandbox::new().await else { return };
    std::fs::write(sandbox.home.root().join("impostor.py"), IMPOSTOR).unwrap();
    for kind in ["silent", "floods"] {
        let executor = sandbox.manager.open(&sandbox.home.site, &quiet).await.unwrap();
        let line = format!(
            "python3 impostor.py {kind} > said 2>&1 & while ! grep -q listening said; do sleep 0.05; done"
        );
        let mut start = stigmer_core::process::StartProcess::shell(line);
        start.lifetime = stigmer_core::process::Lifetime::Detached;
        let started = executor.start_process(start).await.unwrap();
        let began = Instant::now();
        while !said(sandbox.home.root()) {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop((executor, started));
        let error = opened(&sandbox).await.unwrap_err();
        assert!(!error.message.is_empty(), "{kind}");
        recovers(&sandbox).await;
        std::fs::remove_file(sandbox.home.root().join("said")).unwrap();
    }
}

fn said(root: &Path) -> bool {
    std::fs::read_to_string(root.join("said")).is_ok_and(|text| text.contains("listening"))
}

#[tokio::test]
async fn nothing_in_the_shared_state_leads_out_or_holds_up() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir(elsewhere.path().join("deep")).unwrap();
    let kept = elsewhere.path().join("deep/kept");
    std::fs::write(&kept, "kept").unwrap();
    let plant = format!(
        "cd /.stigmer/shared/state/processes && for id in *; do for file in $id/*; do
         case $file in *exit*|*start*|*.json) rm -f $file; mkfifo $file;; esac; done; done
         ln -s '{0}' 01J00000000000000000000000; ln -s '{0}' link; mkfifo fifo; truncate -s 1T huge
         mkdir -p locked/inside && chmod 0 locked
         mkdir 01J00000000000000000000001; cd 01J00000000000000000000001
         for f in start.json exit.json spec.json log-0 control; do ln -s '{0}/deep/kept' $f; done; echo planted",
        elsewhere.path().display()
    );
    let id = run(&*sandbox.executor, "echo output").await.id;
    assert_eq!(sandbox.text(&plant).await, "planted");
    let mut options = sandbox.home.options();
    options.image = sandbox.manager.status(&sandbox.home.site).await.unwrap().image.unwrap();
    let manager = DockerManager::new(options).unwrap();
    let executor = manager.open(&sandbox.home.site, &quiet).await.unwrap();
    let listed = tokio::time::timeout(PATIENCE, executor.list_processes()).await.unwrap();
    let listed = format!("{listed:?}");
    assert!(!listed.contains("kept"), "{listed}");
    let _ = tokio::time::timeout(PATIENCE, executor.process(&id)).await.unwrap();
    assert_eq!(text(&*executor, "echo well").await, "well");
    drop(executor);
    tokio::time::timeout(PATIENCE, manager.remove(&sandbox.home.site)).await.unwrap().unwrap();
    assert!(!sandbox.shared().exists());
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "kept", "what was linked to stays");
}

#[tokio::test]
async fn the_directory_and_what_we_know_of_the_container_are_out_of_reach() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let before = std::fs::read(sandbox.home.record()).unwrap();
    let tries = "cd /.stigmer/shared; ls -A ..; cat ../sandbox.json; touch ../sandbox.json ../lock; \
                 mv /.stigmer/shared /tmp/away; rmdir /.stigmer/shared; ln -sfn /tmp /.stigmer/shared";
    run(&*sandbox.executor, tries).await;
    assert_eq!(std::fs::read(sandbox.home.record()).unwrap(), before);
    let found = std::fs::symlink_metadata(sandbox.shared()).unwrap();
    assert!(found.is_dir());
    assert!(!sandbox.text("ls -A /.stigmer").await.contains("sandbox.json"));
}

/// Says what a client says first, and how long the answer is.
const GREET: &str = "
import socket
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
try:
    s.connect('/.stigmer/shared/socket')
    s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    print('answered' if s.recv(1) else 'refused')
except PermissionError:
    print('kept out')
except (BrokenPipeError, ConnectionResetError):
    print('refused')
";

#[tokio::test]
async fn the_sidecar_serves_nobody_else() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let name = sandbox.home.name().await;
    let greet = |user: &str| docker(&["exec", "--user", user, &name, "python3", "-c", GREET]);
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(greet(&uid.to_string()), "answered");
    let other = (uid + 1).to_string();
    assert_eq!(greet(&other), "kept out", "by the directory's mode");
    let open = "chmod 755 /.stigmer/shared && chmod 777 /.stigmer/shared/socket";
    assert!(sandbox.as_root(open).await.0);
    assert_eq!(greet(&other), "refused", "by the kernel's word on who is there");
}
