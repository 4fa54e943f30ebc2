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

#[tokio::test]
async fn no_setuid_file_of_roots_stays_in_the_workspace() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(sandbox) = Sandbox::new().await else { return };
    let hook = "apt-get -o APT::Update::Pre-Invoke::='cd /workspace/; cp /bin/sh one; chmod 6755 one; mkdir d; \
                cp one d/two; chmod 4755 d/two; ln d/two d/three; mkdir s; chmod 6777 s; false' \
                -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null update";
    run(&*sandbox.executor, hook).await;
    for name in ["one", "d/two", "d/three"] {
        let path: PathBuf = sandbox.home.root().join(name);
        let found = std::fs::metadata(&path).unwrap();
        assert_eq!(found.uid(), rustix::process::geteuid().as_raw(), "{name}");
        assert_eq!(found.mode() & 0o6000, 0, "{name}");
    }
}
