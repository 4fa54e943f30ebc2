//! The workspace lane: what lies outside stays as it is, and the result names what was tried.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitOptions, waitpid};
use stigmer_core::Denial;
use stigmer_guard::{Begun, HostLane, Probe, Refusal, Start, Waiting, plan};

use crate::fixture::Fixture;

const LANE: HostLane = HostLane::Workspace;

#[test]
fn what_lies_outside_cannot_be_changed_and_the_attempt_is_named() {
    let fixture = Fixture::new();
    let [file, new, gitconfig] = [
        fixture.outside.join("file"),
        fixture.outside.join("new"),
        fixture.home.join(".gitconfig"),
    ];
    let before = fs::metadata(&file).unwrap();
    for (line, call, path) in [
        (format!("touch {}", new.display()), "open", &new),
        (format!("echo x >> {}", file.display()), "open", &file),
        (format!("ln -s {} l; echo x >> l", file.display()), "open", &fixture.project.join("l")),
        (format!("chmod 777 {}", file.display()), "chmod", &file),
        (
            format!("python3 -c 'import os; os.chmod(\"{}\", 511)'", gitconfig.display()),
            "chmod",
            &gitconfig,
        ),
        (format!("touch -c -d 2000-01-01 {}", gitconfig.display()), "utime", &gitconfig),
        (format!("rm -f {}", gitconfig.display()), "unlink", &gitconfig),
        (format!("mv {} x", gitconfig.display()), "rename", &gitconfig),
        (format!("mkdir {}", new.display()), "mkdir", &new),
        (format!("ln {} x", gitconfig.display()), "link", &gitconfig),
    ] {
        let done = fixture.shell(LANE, &line);
        assert_ne!(done.code, 0, "{line}");
        assert!(done.denied(path).contains(&call), "{line}: {:?} {}", done.denials, done.text);
        assert_eq!(fs::read(&file).unwrap(), b"outside\n", "{line}");
        assert_eq!(before.permissions(), fs::metadata(&file).unwrap().permissions());
        assert!(!new.exists() && gitconfig.exists(), "{line}");
    }
}

#[test]
fn hooks_configuration_and_agents_settings_cannot_be_changed_by_any_way() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.project.join(".claude")).unwrap();
    fs::write(fixture.project.join(".claude/settings.json"), "{}").unwrap();
    fs::create_dir(fixture.project.join(".vscode")).unwrap();
    let read = |path: &str| fs::read(fixture.project.join(path)).unwrap();
    let config = read(".git/config");
    let hooks: Vec<_> = fs::read_dir(fixture.project.join(".git/hooks")).unwrap().collect();
    for line in [
        "echo x > .git/hooks/pre-commit",
        "echo x >> .git/config",
        "git config core.fsmonitor evil",
        "rm .git/config",
        "mv .git/config c",
        "mv .git g",
        "mv .git/hooks h",
        "rm -rf .git/hooks",
        "ln .git/config c && echo x >> c",
        "cp .git/config c; mv -f c .git/config",
        "ln -s $PWD/.git x; echo x > x/hooks/pre-commit",
        "echo x >> /proc/self/root$PWD/.git/config",
        "echo x >> /proc/self/cwd/.git/config",
        "echo x >> /proc/1/root$PWD/.git/config",
        "exec 3<.git/config; echo x >> /proc/self/fd/3",
        "exec 3<.git/config; echo x >> /dev/fd/3",
        "chmod 777 .git/config",
        "mount --bind . /tmp",
        "umount .git/config",
        "umount -l .git/hooks",
        "python3 -c 'import os; os.rename(\".git\", \"g\")'",
        "python3 -c 'import os; fd = os.open(\".git\", 0); os.rename(\"config\", \"c\", src_dir_fd=fd, dst_dir_fd=fd)'",
        "echo x > .claude/settings.json",
        "mv .claude c; mkdir .claude; echo x > .claude/settings.json",
        "echo x > .vscode/tasks.json",
        "mv ../project ../other",
    ] {
        let done = fixture.shell(LANE, line);
        assert_ne!(done.code, 0, "{line}: {}", done.text);
        assert!(!done.calls().is_empty(), "{line} is not named: {}", done.text);
        assert_eq!(read(".git/config"), config, "{line}");
        assert_eq!(read(".claude/settings.json"), b"{}", "{line}");
        let now: Vec<_> = fs::read_dir(fixture.project.join(".git/hooks")).unwrap().collect();
        assert_eq!(now.len(), hooks.len(), "{line}");
        assert_eq!(fs::read_dir(fixture.project.join(".vscode")).unwrap().count(), 0, "{line}");
    }
}

#[test]
fn missing_hooks_cannot_be_made_either() {
    let fixture = Fixture::new();
    fs::remove_dir_all(fixture.project.join(".git/hooks")).unwrap();
    let done = fixture.shell(LANE, "mkdir -p .git/hooks; echo x > .git/hooks/pre-commit");
    assert_ne!(done.code, 0);
    assert!(!fixture.project.join(".git/hooks/pre-commit").exists());
}

#[test]
fn a_repository_right_beneath_is_held_too() {
    let fixture = Fixture::new();
    let inner = fixture.project.join("inner");
    fs::create_dir_all(inner.join(".git/hooks")).unwrap();
    fs::write(inner.join(".git/config"), "[core]\n").unwrap();
    for line in [
        "echo x > inner/.git/hooks/pre-commit",
        "echo x >> inner/.git/config",
        "mv inner/.git inner/g",
        "rm -rf inner/.git/hooks",
    ] {
        let done = fixture.shell(LANE, line);
        assert_ne!(done.code, 0, "{line}");
        assert!(!done.calls().is_empty(), "{line} is not named");
        assert_eq!(fs::read(inner.join(".git/config")).unwrap(), b"[core]\n");
        assert_eq!(fs::read_dir(inner.join(".git/hooks")).unwrap().count(), 0, "{line}");
    }
    let done = fixture.shell(LANE, "echo x > inner/.git/HEAD && echo y > inner/file");
    assert_eq!(done.code, 0, "{}", done.text);
}

#[test]
fn what_a_command_plants_for_others_to_obey_is_told() {
    let fixture = Fixture::new();
    fs::write(fixture.project.join("AGENTS.md"), "be kind\n").unwrap();
    let plan = plan(LANE, &fixture.policy(), &Probe::for_lane(LANE)).unwrap();
    let line = "mkdir .vscode && echo x > .vscode/tasks.json; echo x > .mcp.json; echo 'be evil' >> AGENTS.md; echo x > harmless";
    crate::fixture::run(&plan, &["bash", "-c", line], &fixture.base).unwrap();
    let planted = plan.planted(&[]);
    let expected = [".vscode", ".mcp.json", "AGENTS.md"].map(|name| fixture.project.join(name));
    let path = |denial: &Denial| denial.path.as_ref().map(|path| path.as_path().to_owned());
    assert_eq!(planted.iter().filter_map(path).collect::<Vec<_>>(), expected);
    assert!(planted.iter().all(|planted| (planted.call.as_str(), planted.errno) == ("planted", 0)));
}

#[test]
fn a_socket_that_is_gone_when_the_lane_is_entered_is_no_obstacle() {
    let fixture = Fixture::new();
    let path = fixture.project.join("gone.sock");
    let _listening = UnixListener::bind(&path).unwrap();
    let plan = plan(LANE, &fixture.policy(), &Probe::for_lane(LANE)).unwrap();
    fs::remove_file(&path).unwrap();
    let done = crate::fixture::run(&plan, &["echo", "here"], &fixture.base).unwrap();
    assert_eq!(done.text, "here\n");
}

#[test]
fn a_lane_that_cannot_be_entered_is_off_and_nothing_runs() {
    let fixture = Fixture::new();
    let plan = plan(LANE, &fixture.policy(), &Probe::for_lane(LANE)).unwrap();
    // Another workspace by the same name.
    fs::rename(&fixture.project, fixture.home.join("moved")).unwrap();
    fs::create_dir(&fixture.project).unwrap();
    let line = ["bash", "-c", "echo x > made"];
    let (_, refusal) = crate::fixture::run(&plan, &line, &fixture.base).unwrap_err();
    let refusal = refusal.unwrap();
    assert!(matches!(refusal, Refusal::NotEntered { lane: LANE, .. }), "{refusal}");
    assert!(refusal.to_string().contains("workspace lane is off"), "{refusal}");
    assert!(!fixture.project.join("made").exists());
}

#[test]
fn a_git_directory_that_could_be_replaced_turns_the_lane_off() {
    let fixture = Fixture::new();
    fs::rename(fixture.project.join(".git"), fixture.project.join("g")).unwrap();
    std::os::unix::fs::symlink("g", fixture.project.join(".git")).unwrap();
    let refusal = plan(LANE, &fixture.policy(), &Probe::take()).unwrap_err();
    assert!(matches!(refusal, Refusal::Unfit { .. }), "{refusal}");
}

#[test]
fn secrets_are_not_read_and_the_attempt_is_named() {
    let fixture = Fixture::new();
    std::os::unix::fs::symlink(fixture.home.join(".ssh/id_ed25519"), fixture.project.join("key"))
        .unwrap();
    for lane in [HostLane::ReadOnly, LANE] {
        for path in [
            fixture.home.join(".ssh/id_ed25519"),
            fixture.home.join("diary"),
            fixture.project.join("key"),
            fixture.home.join(".cargo/../.ssh/id_ed25519"),
            fixture.outside.join("file"),
        ] {
            let done = fixture.shell(lane, &format!("cat {}", path.display()));
            assert_ne!(done.code, 0, "{lane} {}", path.display());
            assert!(!done.text.contains("PRIVATE") && !done.text.contains("outside\n"));
            if lane == LANE {
                assert_eq!(done.calls(), ["read"], "{} {:?}", path.display(), done.denials);
            }
        }
        let done = fixture.shell(lane, "cat ~/.cargo/credentials.toml; cat ~/.cargo/config.toml");
        assert!(!done.text.contains("PRIVATE") && done.text.contains("[net]"), "{}", done.text);
        let done = fixture.shell(lane, "cat /etc/shadow");
        assert!(done.code != 0 || done.text.is_empty(), "{}", done.text);
        // What other processes were started with.
        let done = fixture.shell(lane, &format!("cat /proc/{}/environ", std::process::id()));
        assert_ne!(done.code, 0, "{lane}");
    }
}

#[test]
fn nobody_on_the_machine_is_reached() {
    let fixture = Fixture::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let port = server.local_addr().unwrap().port();
    let name = format!("stigmer-guard-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let hidden = UnixListener::bind_addr(&address).unwrap();
    hidden.set_nonblocking(true).unwrap();
    let in_home = fixture.home.join("engine.sock");
    let listening = UnixListener::bind(&in_home).unwrap();
    listening.set_nonblocking(true).unwrap();
    let connect = |text: &str| fixture.python(LANE, &format!("import socket\n{text}"));

    let done = connect(&format!("socket.create_connection(('127.0.0.1', {port}), 2)"));
    assert!(done.text.contains("ConnectionRefusedError"), "{}", done.text);
    let done = connect("socket.create_connection(('192.0.2.1', 80), 2)");
    assert!(done.text.contains("unreachable"), "{}", done.text);
    assert_eq!(done.denied("192.0.2.1:80".as_ref()), ["connect"]);
    let done =
        connect("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))");
    assert_eq!((done.code, done.calls()), (1, vec!["connect"]), "{}", done.text);
    let done = connect(&format!("socket.socket(socket.AF_UNIX).connect('\\0{name}')"));
    assert!(done.text.contains("ConnectionRefusedError"), "{}", done.text);
    assert_eq!(done.denied(format!("@{name}").as_ref()), ["connect"]);
    for path in [in_home.to_str().unwrap(), "/var/run/docker.sock", "/run/docker.sock"] {
        let done = connect(&format!("socket.socket(socket.AF_UNIX).connect('{path}')"));
        assert_eq!(done.code, 1, "{path} {}", done.text);
        if fs::exists(path).unwrap() {
            assert_eq!(done.denied(path.as_ref()), ["connect"], "{path}");
        }
    }
    assert!(server.accept().is_err() && hidden.accept().is_err() && listening.accept().is_err());
}

#[test]
fn a_socket_that_a_variable_names_is_hidden_wherever_it_lies() {
    let fixture = Fixture::new();
    let path = fixture.home.join(".cargo/engine.sock");
    let listening = UnixListener::bind(&path).unwrap();
    listening.set_nonblocking(true).unwrap();
    let mut policy = fixture.policy();
    policy.environment.push(("SOME_HOST".into(), format!("unix://{}", path.display()).into()));
    let text =
        format!("import socket\nsocket.socket(socket.AF_UNIX).connect('{}')", path.display());
    let done = fixture.with(LANE, &policy, &["python3", "-c", &text]);
    assert_ne!(done.code, 0, "{}", done.text);
    assert!(listening.accept().is_err());
}

#[test]
fn what_is_left_behind_ends_when_nobody_holds_the_first_process_any_more() {
    let fixture = Fixture::new();
    let plan = plan(LANE, &fixture.policy(), &Probe::take()).unwrap();
    let (mut read, write) = std::io::pipe().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let start = Start {
        program: c"/bin/sleep",
        arguments: &[c"sleep".into(), c"1000".into()],
        stdio: [null.as_fd(), write.as_fd(), null.as_fd()],
        prepare: &|| Ok(()),
    };
    let Begun { pid, mut denials } =
        plan.begin(Waiting::make(LANE).unwrap(), &start).unwrap().unwrap();
    drop(write);
    // Until the program is there, which opens some files.
    let quiet = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
    while poll(&mut [PollFd::new(&denials, PollFlags::IN)], Some(&quiet)).unwrap() > 0 {
        denials.answer().unwrap();
    }
    drop(denials);
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.terminating_signal(), Some(Signal::KILL.as_raw()));
    // The end of the pipe comes when nobody has it any more.
    read.read_to_end(&mut Vec::new()).unwrap();
}
