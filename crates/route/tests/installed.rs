//! Programs that would be fetched, and those that the workspace has.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, Verdict, decide};

fn verdict(line: &str) -> Verdict {
    let installed = ["jest", "tsc", "eslint", "playwright", "their-own"].map(str::to_owned).into();
    let facts =
        Facts { home: Some("/home/ada".into()), installed, ..Facts::at("/home/ada/project") };
    decide(&Command::Shell(line.into()), &facts, Policy::embedded())
}

#[test]
fn a_program_that_the_workspace_has_runs_in_the_workspace_lane() {
    for line in [
        "npx jest",
        "npx tsc --noEmit -p . 2>&1 | head -30",
        "npx --no-install eslint . --ext .ts",
        "npx -y their-own x --flag",
        "cd web && npx jest -t 'adds'",
        "git ls-files '*.ts' | xargs npx eslint",
        "timeout 60 npx playwright test",
        "CI=true npx jest --ci",
    ] {
        let verdict = verdict(line);
        assert_eq!(verdict.lane, Lane::HostWorkspace, "{line}: {verdict:?}");
        assert_eq!(verdict.toolchains, ["node"], "{line}");
    }
}

#[test]
fn a_program_that_would_be_fetched_is_for_the_sandbox() {
    for line in [
        "npx cowsay hi",
        "npx",
        "npx jest@29",
        "npx -p typescript tsc",
        "npx --package=x jest",
        "npx -c 'jest'",
        "npx ./evil",
        "npx github:a/b",
        "npx $x",
        "npx *",
        "npx playwright install",
        "npx their-own https://example.org/x",
        "npx their-own ~/.ssh/id_rsa",
        "npx jest && npx cowsay",
        "npx --registry=x jest",
    ] {
        let verdict = verdict(line);
        assert_eq!(verdict.lane, Lane::Sandbox, "{line}: {verdict:?}");
    }
}
