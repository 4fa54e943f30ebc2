//! The workspace lane: a developer's everyday programs do what they do without it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use stigmer_guard::{HostLane, Probe, Waiting, plan};

use crate::fixture::Fixture;

const LANE: HostLane = HostLane::Workspace;

#[test]
fn files_of_the_workspace_are_made_and_are_the_callers() {
    let fixture = Fixture::new();
    let done = fixture.shell(
        LANE,
        "echo new > b.txt && chmod 600 b.txt && mkdir d && mv b.txt d/ && ln a.txt c.txt && id -u",
    );
    let own = fs::metadata(&fixture.project).unwrap().uid();
    assert_eq!((done.text, done.code), (format!("{own}\n"), 0), "{:?}", done.denials);
    let made = fs::metadata(fixture.project.join("d/b.txt")).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o777, made.len()), (own, 0o600, 4));
}

#[test]
fn git_commits_and_make_makes() {
    let fixture = Fixture::new();
    fs::write(fixture.project.join("Makefile"), "out: a.txt\n\tcp a.txt out\n").unwrap();
    let done = fixture.shell(
        LANE,
        "make -s && git add -A && git commit -q -m second && git log --format=%s && git status -s",
    );
    assert_eq!((done.text.as_str(), done.code), ("second\nfirst\n", 0), "{:?}", done.denials);
    assert_eq!(done.calls(), [""; 0], "{:?}", done.denials);
    assert!(fixture.project.join("out").exists());
}

#[test]
fn a_server_on_localhost_answers_its_own_process() {
    let fixture = Fixture::new();
    let text = "
import http.server, threading, urllib.request, socket
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'hello')
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)
threading.Thread(target=s.serve_forever, daemon=True).start()
print(urllib.request.urlopen('http://127.0.0.1:%d/' % s.server_port).read())
u = socket.socket(socket.AF_UNIX); u.bind('sock'); u.listen()
c = socket.socket(socket.AF_UNIX); c.connect('sock'); print('unix')
six = socket.socket(socket.AF_INET6); six.bind(('::1', 0)); print('six')
";
    let done = fixture.python(LANE, text);
    assert_eq!(done.text, "b'hello'\nunix\nsix\n");
    assert_eq!(done.calls(), [""; 0], "{:?}", done.denials);
}

#[test]
fn pools_of_processes_shared_memory_and_terminals_work() {
    let fixture = Fixture::new();
    let text = "
import multiprocessing as m, os, tempfile
from multiprocessing import shared_memory
def f(x): return x * x
if __name__ == '__main__':
    with m.Pool(2) as p: print(p.map(f, [1, 2, 3]))
    s = shared_memory.SharedMemory(create=True, size=10); s.close(); s.unlink()
    with tempfile.NamedTemporaryFile() as t: print(t.name.startswith('/tmp/'))
    a, b = os.openpty(); os.write(b, b'x'); print(os.read(a, 1)); print(os.ttyname(b))
";
    fs::write(fixture.project.join("pool.py"), text).unwrap();
    let done = fixture.shell(LANE, "python3 pool.py");
    assert_eq!(done.text, "[1, 4, 9]\nTrue\nb'x'\n/dev/pts/0\n", "{:?}", done.denials);
    assert_eq!(done.calls(), [""; 0], "{:?}", done.denials);
}

#[test]
fn the_view_has_the_workspace_and_tools_and_nobody_elses_processes() {
    let fixture = Fixture::new();
    fs::write(fixture.home.join(".cargo/bin/tool"), "#!/bin/sh\necho tool\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(fixture.home.join(".cargo/bin/tool"), mode).unwrap();
    let line = "pwd; ~/.cargo/bin/tool; cat ~/.cargo/config.toml; cat ~/.cargo/credentials.toml; ls ~/.ssh; \
                ls -A ~; ls /tmp; [ $(echo /proc/[0-9]* | wc -w) -lt 9 ] && echo few; ls /run | wc -l";
    let done = fixture.shell(LANE, line);
    let expected = format!(
        "{}\ntool\n[net]\nid_ed25519\n.cargo\n.gitconfig\n.ssh\ndiary\nproject\nfew\n0\n",
        fixture.project.display()
    );
    let text: Vec<&str> = done.text.lines().filter(|line| !line.contains("denied")).collect();
    assert_eq!(text.join("\n") + "\n", expected, "{:?}", done.denials);
    assert!(!done.text.contains("PRIVATE"));
}

#[test]
fn a_workspace_beneath_the_private_directory_is_seen_there() {
    let fixture = Fixture::in_directory(&std::env::temp_dir().to_string_lossy());
    let done = fixture
        .shell(LANE, "echo x > /tmp/mine; echo y > y; cat ~/.gitconfig | head -1; git status -s");
    assert_eq!((done.text.as_str(), done.code), ("[user]\n?? y\n", 0), "{:?}", done.denials);
    assert!(fixture.project.join("y").exists());
}

#[test]
fn exit_codes_signals_and_background_processes_are_as_without_a_lane() {
    let fixture = Fixture::new();
    assert_eq!(fixture.shell(LANE, "exit 7").code, 7);
    assert_eq!(fixture.shell(LANE, "kill -TERM $$").code, 143);
    assert_eq!(fixture.shell(LANE, "kill -9 $$").code, 137);
    let done = fixture.shell(LANE, "(sleep 1; echo late > late) & echo now");
    assert_eq!((done.text.as_str(), done.code), ("now\n", 0));
    let late = fixture.project.join("late");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !late.exists() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(late.exists(), "what was left in the background goes on");
}

#[test]
fn namespaces_that_were_made_ahead_are_as_those_that_were_not() {
    let fixture = Fixture::new();
    let text = "
import os, socket
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()
socket.create_connection(s.getsockname()); print('connected', os.getuid(), len(os.listdir('/sys/class/net')) > 0)
print(open('/proc/net/dev').read().count(':'), os.getpid() < 5)
open('made', 'w')
try: open(os.environ['HOME'] + '/made', 'w')
except OSError: print('read-only')
";
    let said = fixture.python(LANE, text).text;
    let namespace = |name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let before = ["user", "net", "ipc", "mnt", "pid"].map(namespace);
    let plan = plan(LANE, &fixture.policy(), &Probe::for_lane(LANE)).unwrap();
    let words = ["python3", "-c", text];
    let waiting = Waiting::make(LANE).unwrap();
    let done = crate::fixture::run_in(&plan, waiting, &words, &fixture.base).unwrap();
    assert_eq!((done.text.as_str(), done.code), (said.as_str(), 0), "{:?}", done.denials);
    assert!(done.denied(&fixture.home.join("made")).contains(&"open"), "{:?}", done.denials);
    let own = fs::metadata(&fixture.project).unwrap().uid();
    assert_eq!(fs::metadata(fixture.project.join("made")).unwrap().uid(), own);
    // Who made them is not in them.
    assert_eq!(["user", "net", "ipc", "mnt", "pid"].map(namespace), before);
}

#[test]
fn an_environment_of_the_workspace_runs() {
    let fixture = Fixture::new();
    let line = "python3 -m venv --without-pip .venv && .venv/bin/python -c 'import sys; print(sys.prefix)'";
    let done = fixture.shell(LANE, line);
    assert_eq!(done.text, format!("{}/.venv\n", fixture.project.display()), "{:?}", done.denials);
    let line = ".venv/bin/python -c 'import sys; print(sys.prefix)'";
    let done = fixture.shell(HostLane::ReadOnly, line);
    assert_eq!(done.text, format!("{}/.venv\n", fixture.project.display()), "{:?}", done.denials);
}
