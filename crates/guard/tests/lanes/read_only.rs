//! The read-only lane: what belongs there works, and what changes anything does not.

use std::fs;

use stigmer_guard::{HostLane, Probe, Refusal, plan};

use crate::fixture::Fixture;

const LANE: HostLane = HostLane::ReadOnly;

#[test]
fn what_reads_works_and_is_not_denied_anything() {
    let fixture = Fixture::new();
    for (line, expected) in [
        ("ls", "a.txt\n"),
        ("cat a.txt", "one\ntwo\n"),
        ("ls -la >/dev/null && id -u >/dev/null && stat -c %s a.txt", "8\n"),
        ("git status --short --branch", "## main\n"),
        ("git log --format=%s", "first\n"),
        ("git diff HEAD --stat", ""),
        ("grep -rn two .  --include=*.txt", "./a.txt:2:two\n"),
        ("python3 -c 'print(1 + 1)'", "2\n"),
        ("find . -name a.txt | wc -l", "1\n"),
        ("sort -r a.txt | head -1", "two\n"),
        ("cat <<X\nhere\nX\n", "here\n"),
        ("echo hidden > /dev/null; echo $((1+2))", "3\n"),
        ("sleep 5 & kill $!; wait $!; echo $?", "143\n"),
    ] {
        let done = fixture.shell(LANE, line);
        assert_eq!((done.text.as_str(), done.code), (expected, 0), "{line} {:?}", done.denials);
        assert_eq!(done.calls(), [""; 0], "{line}");
    }
}

#[test]
fn a_private_directory_is_writable_and_gone_afterwards() {
    let fixture = Fixture::new();
    let plan = plan(LANE, &fixture.policy(), &Probe::take()).unwrap();
    let scratch = plan.scratch().unwrap().to_owned();
    let line = "echo x > $TMPDIR/f && mkdir $TMPDIR/d && mv $TMPDIR/f $TMPDIR/d && cat $TMPDIR/d/f; \
                cp /bin/true $TMPDIR/true 2>/dev/null; $TMPDIR/true";
    let done = crate::fixture::run(&plan, &["bash", "-c", line], &fixture.base).unwrap();
    assert!(done.text.starts_with("x\n"), "{}", done.text);
    assert_eq!(done.code, 126, "nothing in it is executed: {}", done.text);
    assert!(scratch.join("d/f").exists());
    drop(plan);
    assert!(!scratch.exists());
}

#[test]
fn what_changes_files_is_refused_and_named() {
    let fixture = Fixture::new();
    let [a, b] = ["a.txt", "b.txt"].map(|name| fixture.project.join(name));
    let before = fs::metadata(&a).unwrap();
    for (line, call, path) in [
        ("touch b.txt", "open", &b),
        ("ls | tee b.txt", "open", &b),
        ("echo x >> a.txt", "open", &a),
        (": > a.txt", "open", &a),
        ("rm -f a.txt", "unlink", &a),
        ("mv a.txt b.txt", "rename", &a),
        ("mkdir b.txt", "mkdir", &b),
        ("ln -s x b.txt", "symlink", &b),
        ("ln a.txt b.txt", "link", &a),
        ("mkfifo b.txt", "mknod", &b),
        ("chmod 777 a.txt", "chmod", &a),
        ("chown $(id -u) a.txt", "chown", &a),
        ("touch -c -d 2000-01-01 a.txt", "utime", &a),
        ("truncate -s 0 a.txt", "open", &a),
        ("python3 -c 'import os; os.utime(\"a.txt\", (1, 1))'", "utime", &a),
        ("python3 -c 'import os; os.truncate(\"a.txt\", 0)'", "truncate", &a),
        ("python3 -c 'import os; os.setxattr(\"a.txt\", \"user.x\", b\"x\")'", "setxattr", &a),
        ("python3 -c 'import os; os.fchmod(os.open(\"a.txt\", 0), 0o777)'", "chmod", &a),
        (
            "python3 -c 'import os; os.open(\".\", os.O_TMPFILE | os.O_RDWR)'",
            "open",
            &fixture.project,
        ),
    ] {
        let done = fixture.shell(LANE, line);
        assert!(done.denied(path).contains(&call), "{line}: {:?} {}", done.denials, done.text);
        assert_eq!(fs::read(&a).unwrap(), b"one\ntwo\n", "{line}");
        assert!(!b.exists() && !b.is_symlink(), "{line}");
        let after = fs::metadata(&a).unwrap();
        assert_eq!(before.permissions(), after.permissions(), "{line}");
        assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "{line}");
    }
}

#[test]
fn attributes_of_a_file_cannot_be_changed_through_a_descriptor() {
    let fixture = Fixture::new();
    // FS_IOC_SETFLAGS with FS_NODUMP_FL.
    let text = "import fcntl, os, struct\nfd = os.open('a.txt', 0)\n\
                try: fcntl.ioctl(fd, 0x40086602, struct.pack('l', 0x40))\n\
                except PermissionError as e: print('refused')";
    let done = fixture.python(LANE, text);
    assert_eq!(done.text, "refused\n");
    assert_eq!(done.denied(&fixture.project.join("a.txt")), ["ioctl"]);
}

#[test]
fn everyday_probes_are_no_denials() {
    let fixture = Fixture::new();
    let variables = fixture.variables.clone();
    fs::create_dir(fixture.project.join("m")).unwrap();
    fs::write(fixture.project.join("m/__init__.py"), "x = 1\n").unwrap();
    // The file's times are newer than the index's: git would write what it learnt.
    let touch = fs::File::options().write(true).open(fixture.project.join("a.txt")).unwrap();
    touch.set_modified(std::time::SystemTime::now()).unwrap();
    let mut policy = fixture.policy();
    policy.environment = variables;
    let done = fixture.with(
        LANE,
        &policy,
        &["bash", "-c", "unset GIT_OPTIONAL_LOCKS PYTHONDONTWRITEBYTECODE; git status -s; python3 -c 'import m'; id -un >/dev/null; getent passwd nobody-here"],
    );
    assert_eq!(done.calls(), [""; 0], "{:?}", done.denials);
    let probed = |end: &str| {
        done.denials.iter().any(|denial| denial.path.as_ref().unwrap().to_string().contains(end))
    };
    assert!(probed("index.lock") && probed("__pycache__"), "{:?}", done.denials);
}

#[test]
fn nobody_is_reached() {
    let fixture = Fixture::new();
    let socket = fixture.project.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (text, call) in [
        ("s = socket.socket(); s.connect(('127.0.0.1', 9))", "socket"),
        ("socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'x', 'socket')", "socket"),
        ("socket.socket(socket.AF_UNIX).connect('socket')", "connect"),
        ("socket.socket(socket.AF_UNIX).connect('\\0abstract')", "connect"),
        ("socket.socket(socket.AF_UNIX).bind('\\0abstract')", "bind"),
        ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "socket"),
    ] {
        let done = fixture.python(LANE, &format!("import socket\n{text}"));
        assert_eq!((done.code, done.calls()), (1, vec![call]), "{text}: {}", done.text);
    }
    let pair = "import socket\na, b = socket.socketpair()\na.send(b'x')\nprint(b.recv(1))";
    assert_eq!(fixture.python(LANE, pair).text, "b'x'\n");
    let done = fixture.python(
        LANE,
        "import socket\nsocket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    );
    assert_eq!(done.denied("/var/run/docker.sock".as_ref()), ["connect"]);
}

#[test]
fn a_program_of_the_workspace_is_not_executed_and_the_attempt_is_named() {
    let fixture = Fixture::new();
    let script = fixture.project.join("run");
    fs::write(&script, "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let done = fixture.shell(LANE, "./run");
    assert!(!done.text.contains("ran\n"), "{}", done.text);
    assert_eq!((done.code, done.denied(&script)), (126, vec!["exec"]));
    let mut policy = fixture.policy();
    policy.programs = vec!["./run".into()];
    let refusal = plan(LANE, &policy, &Probe::take()).unwrap_err();
    assert_eq!(refusal, Refusal::Program { path: fixture.project.join("./run"), lane: LANE });
}

#[test]
fn a_first_match_of_path_that_cannot_run_refuses_the_lane_with_its_path() {
    let fixture = Fixture::new();
    let shims = fixture.home.join("shims");
    let elsewhere = fixture.outside.join("python3");
    fs::create_dir(&shims).unwrap();
    fs::copy("/bin/true", &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, shims.join("python3")).unwrap();
    let mut policy = fixture.policy();
    let path = format!("{}:/usr/bin:/bin", shims.display());
    policy.environment.push(("PATH".into(), path.into()));
    policy.programs = vec!["ls".into(), "python3".into()];
    let refusal = plan(LANE, &policy, &Probe::take()).unwrap_err();
    assert_eq!(refusal, Refusal::Program { path: shims.join("python3"), lane: LANE });
    policy.tool_roots = vec![fixture.outside.clone()];
    plan(LANE, &policy, &Probe::take()).unwrap();
}

#[test]
fn programs_that_do_without_what_they_are_refused_are_denied_nothing() {
    let fixture = Fixture::new();
    for line in ["java -version", "ss -tln", "mkdir -p . src/..", "docker --version"] {
        let program = line.split(' ').next().unwrap();
        let there =
            ["/usr/bin", "/bin"].iter().any(|at| fs::exists(format!("{at}/{program}")).unwrap());
        if !there {
            continue;
        }
        fs::create_dir_all(fixture.project.join("src")).unwrap();
        let done = fixture.shell(LANE, line);
        assert_eq!((done.code, done.calls()), (0, vec![]), "{line}: {:?}", done.denials);
        assert!(!done.text.contains("denied"), "{line}: {}", done.text);
    }
}

#[test]
fn names_are_listed_everywhere_and_content_is_not_read() {
    let fixture = Fixture::new();
    for (line, expected) in [
        ("ls ~", "diary\nproject\n"),
        ("ls -la ~ ~/.ssh /tmp >/dev/null; ls ~/.ssh", "id_ed25519\n"),
        ("stat -c %s ~/diary", "7\n"),
        ("find ~ -maxdepth 1 -name d*", "HOME/diary\n"),
        ("du -s --apparent-size -B1 ~/diary | cut -f1", "7\n"),
        ("ls .. | head -1", "diary\n"),
        ("[ -r ~/diary ] && echo there", "there\n"),
    ] {
        let done = fixture.shell(LANE, line);
        let text = done.text.replace(fixture.home.to_str().unwrap(), "HOME");
        assert_eq!((text.as_str(), done.code), (expected, 0), "{line}");
        assert_eq!(done.calls(), [""; 0], "{line} {:?}", done.denials);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let fixture = Fixture::new();
    let key = fixture.home.join(".ssh/id_ed25519");
    let diary = fixture.home.join("diary");
    for (line, path) in [
        ("head ~/diary", &diary),
        ("head \"$HOME/diary\"", &diary),
        ("cat ../diary", &diary),
        ("grep -r . ~ 2>/dev/null", &diary),
        ("cat ~/.ssh/*", &key),
        ("cd ~/.ssh && wc *", &key),
        ("sort a.txt ~/.ssh/id_ed25519", &key),
    ] {
        let done = fixture.shell(LANE, line);
        assert_ne!(done.code, 0, "{line}");
        assert!(!done.text.contains("PRIVATE"), "{line}: {}", done.text);
        assert_eq!(done.denied(path), ["read"], "{line}: {:?} {}", done.denials, done.text);
    }
}

/// A name in `/tmp` itself.
fn in_tmp(name: &str) -> std::path::PathBuf {
    std::path::Path::new("/tmp").join(format!("stigmer-guard-{}-{name}", std::process::id()))
}

#[test]
fn the_callers_own_files_in_tmp_are_read_if_the_command_names_them() {
    let fixture = Fixture::new();
    let [log, token, link, directory] = ["out.log", "token", "link", "d"].map(in_tmp);
    fs::write(&log, "log\n").unwrap();
    fs::write(&token, "PRIVATE").unwrap();
    std::os::unix::fs::symlink(fixture.home.join("diary"), &link).unwrap();
    fs::create_dir_all(directory.join("sub")).unwrap();
    fs::write(directory.join("sub/x.log"), "sub\n").unwrap();
    fs::write(directory.join("id_rsa"), "PRIVATE").unwrap();
    let read = |line: &str, path: &std::path::Path| {
        fixture.shell(LANE, &line.replace("PATH", path.to_str().unwrap()))
    };
    for (line, path, expected) in [
        ("cat PATH", &log, "log\n"),
        ("tail -1 'PATH'", &log, "log\n"),
        ("cat PATH*", &log, "log\n"),
        ("f=PATH; grep log \"$f\"", &log, "log\n"),
        ("cd PATH/sub && cat x.log", &directory, "sub\n"),
        ("cat PATH/sub/*.log", &directory, "sub\n"),
        ("grep -rhs . PATH", &directory, "sub\n"),
    ] {
        let done = read(line, path);
        assert!(done.text.contains(expected), "{line}: {} {:?}", done.text, done.denials);
        assert!(!done.text.contains("PRIVATE"), "{line}: {}", done.text);
    }
    for path in [&token, &link, &directory.join("id_rsa")] {
        let done = read("cat PATH", path);
        assert!(!done.text.contains("PRIVATE"), "{}", done.text);
        assert_eq!(done.denied(path), ["read"], "{} {:?}", path.display(), done.denials);
    }
    // Nothing is written there.
    let done = read("echo x >> PATH", &log);
    assert_eq!((done.denied(&log), fs::read(&log).unwrap()), (vec!["open"], b"log\n".to_vec()));
    for path in [&log, &token, &link] {
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir_all(&directory).unwrap();
}
