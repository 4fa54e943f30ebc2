//! Facts speak of the repository that a command starts in, and of no other.

use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

fn lane(line: &str, cwd: &str, runs_programs: bool) -> Lane {
    let facts = Facts {
        cwd: cwd.into(),
        home: Some("/home/ada".into()),
        repository_runs_programs: runs_programs,
        ..Facts::at("/home/ada/project")
    };
    decide(&Command::Shell(line.into()), &facts, Policy::embedded()).lane
}

#[test]
fn git_reads_in_the_directory_that_the_facts_speak_of() {
    for line in [
        "git status",
        "git -C . log",
        "cd . && git diff",
        "cd x; cd ../ ; ls",
        "git -C /home/ada/project/app show",
        "cd /home/ada/project/app && git log",
    ] {
        assert_eq!(lane(line, "/home/ada/project/app", false), Lane::HostReadOnly, "{line}");
    }
    assert_eq!(lane("git status", "/home/ada/project/app", true), Lane::HostWorkspace);
}

#[test]
fn git_in_another_directory_runs_what_that_repository_names() {
    for line in [
        "git -C .. status",
        "git -C /home/ada/project status",
        "git -C vendor/lib log",
        "git -C \"$d\" log",
        "cd .. && git status",
        "cd .. ; git diff",
        "cd /home/ada/project && git log -3",
        "cd vendor/lib && git show",
        "(cd .. && git rev-parse HEAD)",
        "echo $(cd .. && git rev-parse HEAD)",
        "cd $d; git status",
        "pushed=1; cd -; git status",
        "git -C . -C .. status",
        "git -C.. status",
        "cd .. || true; git status",
        "find . -name .git -execdir git status \\;",
    ] {
        assert_ne!(lane(line, "/home/ada/project/app", false), Lane::HostReadOnly, "{line}");
    }
    assert_eq!(lane("git -C sub status", "/home/ada/project", false), Lane::HostWorkspace);
}
