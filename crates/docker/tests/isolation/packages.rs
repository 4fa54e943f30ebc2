//! Package managers: the only thing that runs as root, and with what.

use std::path::PathBuf;

use crate::sandbox::{SIX, Sandbox, capabilities, field};
use crate::support::*;

/// Asks process 1 for any program, as a shim would.
const ASK: &str = "
import array, os, socket, struct, sys
broker = socket.socket(socket.AF_UNIX)
broker.connect('/.stigmer/run/broker')
words = sys.argv[1:]
body = struct.pack('<I', len(words)) + b''.join(word.encode() + b'\\0' for word in words)
body += b'PATH=' + os.environ['PATH'].encode() + b'\\0'
message = struct.pack('<I', len(body)) + body
here = os.open('.', os.O_RDONLY)
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0, 1, 2, here]))]
broker.sendmsg([message[:1]], rights)
broker.sendall(message[1:])
code = broker.recv(1)
print('code', code[0] if code else 'none', flush=True)
";

#[tokio::test]
async fn process_1_runs_package_managers_and_nothing_else() {
    let Some(sandbox) = Sandbox::new().await else { return };
    std::fs::write(sandbox.home.root().join("ask.py"), ASK).unwrap();
    let ask = async |words: &str| {
        let done = run(&*sandbox.executor, &format!("python3 ask.py {words}")).await;
        done.stdout.head.to_string_lossy().trim().to_owned()
    };
    assert!(ask("dpkg --version").await.ends_with("code 0"));
    for other in ["sh -c id", "/bin/sh -c id", "id", "../bin/dpkg", "./dpkg", "'' x", "python3"] {
        assert_eq!(ask(other).await, "code 126", "{other}");
    }
    // One of that name which is not the system's.
    let planted = "mkdir -p /tmp/planted && printf '#!/bin/sh\\nid -u\\n' > /tmp/planted/dpkg && \
                   chmod 755 /tmp/planted/dpkg && PATH=/tmp/planted:$PATH python3 ask.py dpkg --version";
    let done = run(&*sandbox.executor, planted).await;
    let said = done.stdout.head.to_string_lossy().into_owned();
    assert!(said.contains("Debian") && said.ends_with("code 0\n"), "{said}");
}

#[tokio::test]
async fn a_package_manager_is_root_with_six_capabilities() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let hook = "apt-get -o APT::Update::Pre-Invoke::='cat /proc/self/status > /workspace/status; false' \
                -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null update";
    run(&*sandbox.executor, hook).await;
    let status = std::fs::read_to_string(sandbox.home.root().join("status")).unwrap();
    assert!(field(&status, "Uid").starts_with("0\t"), "{status}");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(capabilities(&status, set), SIX, "{set}");
    }
    assert_eq!(field(&status, "NoNewPrivs"), "1");
    assert_eq!(field(&status, "Seccomp"), "2");
}

/// Leaves what is root's, or a user's whom only the container has, in all places, and ends badly.
const LEAVE: &str = "cd /workspace/; cp /bin/sh one; chmod 6755 one; mkdir d; cp one d/two; chmod 4755 d/two; \
    ln d/two d/three; mkdir s; chmod 6777 s; cp one four; chown 1:1 four; chmod 6755 four; \
    cp one five; chown $(stat -c %u .):42 five; chmod 2755 five; mkdir other; cp one other/six; \
    chown -R 1:1 other; chmod 4755 other/six; chmod 700 other; \
    python3 deep.py 530; chmod 6755 deep; false";

/// Goes down, makes a file like `one` there, and on the way back one in every directory.
const DEEP: &str = "
import os, sys
def leave(name):
    with open(name, 'w'):
        pass
    os.chmod(name, 0o6755)
for _ in range(int(sys.argv[1])):
    os.mkdir('deep')
    os.chdir('deep')
for _ in range(int(sys.argv[1])):
    leave('a'); leave('z')
    os.chdir('..')
";

#[tokio::test]
async fn no_setuid_file_of_roots_stays_in_the_workspace() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(sandbox) = Sandbox::new().await else { return };
    let root = sandbox.home.root();
    std::fs::write(root.join("deep.py"), DEEP).unwrap();
    let apt = |hook: &str| {
        format!(
            "apt-get -o APT::Update::Pre-Invoke::='{hook}' -o Dir::Etc::sourcelist=/dev/null \
             -o Dir::Etc::sourceparts=/dev/null update"
        )
    };
    run(&*sandbox.executor, &apt(LEAVE)).await;
    let own = rustix::process::geteuid().as_raw();
    // The user can look at all of it, and take it away.
    let find = format!("find . ! -uid {own}; find . -type f -perm /6000; find . -name z | wc -l");
    assert_eq!(sandbox.text(&find).await, "530");
    for name in ["one", "d/two", "d/three", "four", "five", "other/six"] {
        let path: PathBuf = root.join(name);
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o6000), (own, 0), "{name}");
    }
    std::fs::remove_dir_all(root.join("other")).unwrap();
    // Who looks after the package manager is ended by it.
    let ends = "cd /workspace/; cp /bin/sh last; chmod 4755 last; for p in /proc/[0-9]*; do \
                test $(cat $p/comm) != stigmer-broker || kill -9 ${p#/proc/}; done; sleep 7777";
    let done = run(&*sandbox.executor, &apt(ends)).await;
    assert_eq!(done.exit.code, 126);
    let began = std::time::Instant::now();
    let given = || {
        let found = std::fs::metadata(root.join("last")).unwrap();
        (found.uid(), found.mode() & 0o6000) == (own, 0)
    };
    while !given() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
