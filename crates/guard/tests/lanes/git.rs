//! The workspace lane: git outside of it runs nothing that a command in it wrote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stigmer_core::Denial;
use stigmer_guard::{HostLane, Policy, Probe, plan};

use crate::fixture::{Done, Fixture, run};

const LANE: HostLane = HostLane::Workspace;

/// A configuration that has git run something: it makes `ran` in the home directory.
const EVIL: &str = "[core]\\n\\trepositoryformatversion = 0\\n\\tbare = false\\n\\tfsmonitor = \\\"touch ~/ran; false\\\"\\n";

/// Makes a directory that passes for a repository's, with that configuration.
fn payload(at: &str) -> String {
    format!(
        "import os, shutil\nos.makedirs('{at}')\n\
         for d in ('objects', 'refs', 'hooks'): shutil.copytree('.git/' + d, '{at}/' + d)\n\
         shutil.copy('.git/HEAD', '{at}')\nopen('{at}/config', 'w').write(\"{EVIL}\")\n"
    )
}

struct Outcome {
    done: Done,
    planted: Vec<Denial>,
}

impl Outcome {
    /// Whether something was named, as a call or as planted.
    fn names(&self, path: &Path) -> bool {
        let about = |denial: &&Denial| {
            !denial.probe && denial.path.as_ref().is_some_and(|at| at.as_path() == path)
        };
        self.done.denials.iter().chain(&self.planted).find(about).is_some()
    }
}

impl Fixture {
    fn lane(&self, policy: &Policy, text: &str) -> Outcome {
        let plan = plan(LANE, policy, &Probe::for_lane(LANE)).unwrap();
        let done = run(&plan, &["python3", "-c", text], &self.base).unwrap();
        let planted = plan.planted(&done.begun);
        Outcome { done, planted }
    }

    /// Runs a script in the lane, and git outside of it in some directory afterwards: nothing may run, and
    /// `path` has to be named.
    fn stopped(&self, text: &str, at: &Path, path: &Path) {
        let outcome = self.lane(&self.policy(), text);
        for arguments in [&["status", "--short"][..], &["commit", "-q", "--allow-empty", "-m", "x"]]
        {
            let mut git = Command::new("git");
            git.args(arguments).current_dir(at).env_clear().envs(self.variables.iter().cloned());
            git.output().unwrap();
        }
        assert!(!self.home.join("ran").exists(), "{text}: {}", outcome.done.text);
        assert!(outcome.names(path), "{text}: {:?} {}", outcome.done.denials, outcome.done.text);
    }

    fn in_project(&self, line: &str) {
        let mut shell = Command::new("bash");
        shell.args(["-ec", line]).current_dir(&self.project).env_clear();
        let done = shell.envs(self.variables.iter().cloned()).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A submodule `deep/sub`, with its repository where git keeps it.
    fn with_submodule(&self) {
        self.in_project(
            "git init -q ../other && git -C ../other commit -q --allow-empty -m x && \
             git -c protocol.file.allow=always submodule --quiet add ../other deep/sub && \
             git commit -qam sub",
        );
    }
}

#[test]
fn git_is_not_led_to_another_configuration() {
    let fixture = Fixture::new();
    let commondir = fixture.project.join(".git/commondir");
    let make = payload(".git/x");
    for plant in [
        "open('.git/commondir', 'w').write('x\\n')",
        "open('c', 'w').write('x\\n'); os.rename('c', '.git/commondir')",
        "open('c', 'w').write('x\\n'); os.link('c', '.git/commondir')",
        "open('c', 'w').write('x\\n'); os.symlink('../c', '.git/commondir')",
        "os.symlink('.git/commondir', 'l'); open('l', 'w').write('x\\n')",
        "os.chdir('.git'); open('commondir', 'w').write('x\\n')",
    ] {
        fixture.stopped(
            &format!("{make}{plant}"),
            &fixture.project,
            &commondir_of(plant, &fixture),
        );
        assert!(fs::symlink_metadata(&commondir).is_err(), "{plant}");
        fixture.in_project("rm -rf .git/x c l");
    }
}

/// What is named is the path that was given.
fn commondir_of(plant: &str, fixture: &Fixture) -> PathBuf {
    let given = if plant.contains("'l'") { "l" } else { ".git/commondir" };
    fixture.project.join(given)
}

/// The supervisor looks at a path, and then the kernel does: who changes it meanwhile gets through.
#[test]
fn what_comes_to_be_all_the_same_is_taken_away_and_named() {
    let fixture = Fixture::new();
    let plan = plan(LANE, &fixture.policy(), &Probe::for_lane(LANE)).unwrap();
    let commondir = fixture.project.join(".git/commondir");
    fs::write(&commondir, "x\n").unwrap();
    let planted = plan.planted(&[]);
    let shown: Vec<_> = planted.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("planted {} (taken away)", commondir.display())]);
    assert_eq!(planted[0].errno, libc::EROFS);
    assert!(!commondir.exists());
    assert!(fixture.project.join(".git/commondir.stigmer-removed").exists());
    assert_eq!(plan.planted(&[]), []);
}

#[test]
fn settings_of_a_worktree_cannot_be_written() {
    let fixture = Fixture::new();
    let path = fixture.project.join(".git/config.worktree");
    let write = format!("open('.git/config.worktree', 'w').write(\"{EVIL}\")");
    // Git does not look at it, and it is not there.
    fixture.stopped(&write, &fixture.project, &path);
    assert!(!path.exists());
    fixture.in_project("git config extensions.worktreeConfig true");
    fixture.stopped(&write, &fixture.project, &path);
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[test]
fn hooks_in_the_workspace_cannot_be_written() {
    for (configure, hooks) in [
        ("mkdir .githooks && git config core.hooksPath .githooks", ".githooks"),
        ("git config core.hooksPath .githooks", ".githooks"),
        (
            "mkdir -p tools/git/hooks && git config core.hooksPath \"$PWD/tools/git/hooks\"",
            "tools/git/hooks",
        ),
        ("git config core.hooksPath tools/hooks", "tools/hooks"),
        ("mkdir .husky && git config core.hooksPath .husky/_", ".husky/_"),
        ("git config --global core.hooksPath .githooks", ".githooks"),
    ] {
        let fixture = Fixture::new();
        fixture.in_project(configure);
        let hook = format!("{hooks}/post-commit");
        let text = format!(
            "import os\ntry: os.makedirs('{hooks}', exist_ok=True)\nexcept OSError as e: print(e)\n\
             open('{hook}', 'w').write('#!/bin/sh\\ntouch ~/ran\\n')\nos.chmod('{hook}', 0o755)"
        );
        let named = if configure.contains("husky") { hooks } else { &hook };
        fixture.stopped(&text, &fixture.project, &fixture.project.join(named));
        // Nor can it be replaced as a whole.
        let first = hooks.split('/').next().unwrap();
        let text = format!("import os\nos.rename('{first}', 'away')");
        fixture.stopped(&text, &fixture.project, &fixture.project.join(first));
    }
}

#[test]
fn files_that_the_configuration_includes_cannot_be_written() {
    for (configure, path) in [
        ("echo '[user]' > gitconfig && git config include.path ../gitconfig", "gitconfig"),
        ("git config include.path ../gitconfig", "gitconfig"),
        (
            "mkdir conf && echo '[user]' > conf/x && git config includeIf.onbranch:main.path ../conf/x",
            "conf/x",
        ),
        ("git config includeIf.onbranch:main.path ../conf/x", "conf/x"),
    ] {
        let fixture = Fixture::new();
        fixture.in_project(configure);
        let text = format!(
            "import os\nos.makedirs('conf', exist_ok=True)\nopen('{path}', 'w').write(\"{EVIL}\")"
        );
        fixture.stopped(&text, &fixture.project, &fixture.project.join(path));
    }
}

#[test]
fn what_leads_to_a_submodule_cannot_be_changed() {
    let pay = "import shutil\nshutil.copytree('.git/modules/deep/sub', 'pay')\n";
    let write = format!("open('pay/config', 'w').write(\"{EVIL}\\tworktree = ../deep/sub\\n\")\n");
    for (plant, named) in [
        ("import os\nos.remove('deep/sub/.git')", "deep/sub/.git"),
        ("open('deep/sub/.git', 'w').write('gitdir: ../../pay\\n')", "deep/sub/.git"),
        ("import os\nos.rename('pay', 'deep/sub/.git')", "deep/sub/.git"),
        ("import os\nos.rename('deep/sub', 'away')", "deep/sub"),
        ("import os\nos.rename('deep', 'away')", "deep"),
        (
            "open('.git/modules/deep/sub/commondir', 'w').write('x')",
            ".git/modules/deep/sub/commondir",
        ),
        ("open('.git/modules/deep/sub/config', 'a').write('x')", ".git/modules/deep/sub/config"),
    ] {
        let fixture = Fixture::new();
        fixture.with_submodule();
        let path = fixture.project.join(named);
        fixture.stopped(&format!("{pay}{write}{plant}"), &fixture.project, &path);
    }
}

#[test]
fn what_a_repository_has_of_other_worktrees_cannot_be_changed() {
    let fixture = Fixture::new();
    fixture.in_project("git worktree add -q ../linked && git worktree add -q in/side");
    let linked = fixture.home.join("linked");
    let own = ".git/worktrees/linked";
    for (plant, named) in [
        (
            format!("open('{own}/commondir', 'w').write('../../../pay\\n')"),
            format!("{own}/commondir"),
        ),
        (format!("open('{own}/gitdir', 'w').write('x')"), format!("{own}/gitdir")),
        (format!("os.rename('{own}', 'away')"), own.to_owned()),
        ("os.rename('.git/worktrees', 'away')".to_owned(), ".git/worktrees".to_owned()),
        (
            format!("open('{own}/config.worktree', 'w').write('x')"),
            format!("{own}/config.worktree"),
        ),
        ("os.remove('in/side/.git')".to_owned(), "in/side/.git".to_owned()),
        ("os.rename('in', 'away')".to_owned(), "in".to_owned()),
    ] {
        let path = fixture.project.join(named);
        fixture.stopped(&format!("{}{plant}", payload("pay")), &linked, &path);
        fixture.in_project("rm -rf pay");
    }
}

#[test]
fn a_repository_without_a_tree_is_held() {
    let fixture = Fixture::new();
    fixture.in_project("git init -q --bare x.git");
    for (write, path) in [
        ("open('x.git/config', 'a').write('x')", "x.git/config"),
        ("open('x.git/hooks/post-update', 'a').write('x')", "x.git/hooks/post-update"),
        ("open('x.git/commondir', 'a').write('x')", "x.git/commondir"),
    ] {
        fixture.stopped(write, &fixture.project, &fixture.project.join(path));
        // The same as the workspace.
        let policy = Policy::new(fixture.project.join("x.git"), fixture.variables.clone());
        let outcome = fixture.lane(&policy, &write.replace("x.git/", ""));
        assert!(outcome.names(&fixture.project.join(path)), "{:?}", outcome.done.denials);
    }
}

#[test]
fn a_worktree_or_a_part_of_a_repository_hears_why_git_cannot_write_there() {
    let fixture = Fixture::new();
    fixture
        .in_project("git worktree add -q ../linked && mkdir part && touch part/new ../linked/new");
    for (place, lock) in [
        (fixture.home.join("linked"), ".git/worktrees/linked/index.lock"),
        (fixture.project.join("part"), ".git/index.lock"),
    ] {
        let policy = Policy::new(place, fixture.variables.clone());
        let done = fixture.with(LANE, &policy, &["git", "add", "new"]);
        assert_ne!(done.code, 0);
        assert_eq!(done.denied(&fixture.project.join(lock)), ["open"], "{:?}", done.denials);
    }
}

#[test]
fn a_new_repository_in_the_workspace_is_named_unless_it_is_gone_or_a_worktree() {
    let fixture = Fixture::new();
    let outcome = fixture.lane(
        &fixture.policy(),
        "import subprocess\nsubprocess.run('mkdir -p a/b && git init -q a/b/c && git init -q gone && \
         rm -rf gone && git worktree add -q w', shell=True)",
    );
    assert_eq!(outcome.done.denied(&fixture.project), [""; 0]);
    let shown: Vec<_> = outcome.planted.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!("planted {}", fixture.project.join("a/b/c/.git").display())]);
}

#[test]
fn ordinary_work_with_git_goes_on() {
    let fixture = Fixture::new();
    fixture.with_submodule();
    fixture.in_project(
        "mkdir .githooks && git config core.hooksPath .githooks && \
         printf '#!/bin/sh\\ntouch hooked\\n' > .githooks/post-commit && \
         echo '[alias]' > .gitconfig && git config include.path ../.gitconfig && \
         git config extensions.worktreeConfig true",
    );
    fs::set_permissions(
        fixture.project.join(".githooks/post-commit"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let line = "set -e; git status --short; echo 1 > f; git add f; git commit -qm one; test -e hooked; rm hooked; \
        git checkout -q -b side; echo 2 > g; git add g; git commit -qm two; git checkout -q main; \
        echo 3 > h; git add h; git commit -qm three; git merge -q -m merged side; \
        git checkout -q -b base HEAD~1; echo 4 > i; git add i; git commit -qm four; git rebase -q main; \
        git branch topic; git tag t; echo 5 >> f; git stash -q; git stash pop -q; \
        git restore f; git mv h k; git commit -qam moved; git worktree add -q w -b wb; \
        (cd w; echo x > y; git add y; git commit -qm y); git worktree remove --force w; \
        git -C deep/sub commit -q --allow-empty -m inner; \
        git commit -qam bump; git gc -q; git fsck; git log --oneline | wc -l; echo fine";
    let done = fixture.shell(LANE, line);
    assert!(done.text.ends_with("fine\n"), "{} {:?}", done.text, done.denials);
    assert!(done.calls().is_empty(), "{:?}", done.denials);
}

/// Git replaces its configuration by another file, and with the file goes the mount that lay on it.
#[test]
fn what_is_held_stays_so_when_somebody_outside_replaces_it() {
    let fixture = Fixture::new();
    let (ready, go) = (fixture.project.join("ready"), fixture.project.join("go"));
    let script = "import os, time\nopen('ready', 'w').close()\nbegun = time.time()\n\
        while not os.path.exists('go') and time.time() - begun < 20: time.sleep(0.01)\n\
        for path in ('.git/config', './sub/../.git/config'):\n\
        \x20   try: open(path, 'a').write('[core]\\n'); print('WROTE')\n\
        \x20   except OSError as error: print(error)\n";
    fs::create_dir_all(fixture.project.join("sub")).unwrap();
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = std::time::Instant::now();
            while !ready.exists() && begun.elapsed().as_secs() < 20 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let mut git = Command::new("git");
            git.args(["config", "user.name", "somebody"]).current_dir(&fixture.project).env_clear();
            assert!(git.envs(fixture.variables.iter().cloned()).status().unwrap().success());
            fs::write(&go, "").unwrap();
        });
        fixture.lane(&fixture.policy(), script)
    });
    assert!(!done.done.text.contains("WROTE"), "{}", done.done.text);
    assert!(done.names(&fixture.project.join(".git/config")), "{:?}", done.done.denials);
}
