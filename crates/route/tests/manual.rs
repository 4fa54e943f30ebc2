//! What `docs/auto-mode.md` says of commands and rules is so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

const MANUAL: &str = include_str!("../../../docs/auto-mode.md");

fn lane(line: &str, policy: &Policy) -> Lane {
    let facts = Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") };
    decide(&Command::Shell(line.into()), &facts, policy).lane
}

/// What is between backquotes in a cell that has nothing else but commas.
fn commands(cell: &str) -> Vec<String> {
    let mut parts = cell.split('`');
    let mut commands = Vec::new();
    while let (Some(between), command) = (parts.next(), parts.next()) {
        if !matches!(between.trim(), "" | ",") {
            return Vec::new();
        }
        commands.extend(command.map(|command| command.replace("\\|", "|")));
    }
    commands
}

#[test]
fn every_command_of_the_table_goes_where_the_table_says() {
    let mut seen = 0;
    for row in MANUAL.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split(" | ").collect();
        let expected = match cells[1].trim() {
            "read-only" => Lane::HostReadOnly,
            "workspace" => Lane::HostWorkspace,
            "sandbox" => Lane::Sandbox,
            _ => continue,
        };
        for command in commands(cells[0].trim_start_matches('|')) {
            if !command.contains('…') {
                assert_eq!(lane(&command, Policy::embedded()), expected, "{command}");
                seen += 1;
            }
        }
    }
    assert!(seen > 12, "{seen}");
}

#[test]
fn the_rules_that_it_shows_do_what_it_says() {
    let text = MANUAL.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let policy = Policy::embedded().with_user(text).unwrap();
    for (line, expected) in [
        ("checkdocs -v --json README.md", Lane::HostReadOnly),
        ("checkdocs -o out.txt README.md", Lane::HostWorkspace),
        ("checkdocs README.md > out.txt", Lane::HostWorkspace),
        ("checkdocs --other", Lane::Sandbox),
        ("our-build --anything x", Lane::HostWorkspace),
        ("ourpkg list x", Lane::HostReadOnly),
        ("ourpkg add x", Lane::Sandbox),
        ("ourpkg other", Lane::Sandbox),
        ("cat .our-token", Lane::Sandbox),
        ("echo x > deploy/prod.yml", Lane::Sandbox),
    ] {
        assert_eq!(lane(line, &policy), expected, "{line}");
    }
}
