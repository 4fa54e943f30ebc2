//! Every option that a tool has, or that the rules say it has, tried where the rules let it read.
//!
//! The rules describe tools from their manuals. Whether a tool of this machine does no more than they say
//! is seen by running it where nothing holds it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use stigmer_core::Lane;
use stigmer_guard::HostLane;
use stigmer_oracle::{Change, Labelled, Trial, Way, What, beyond, run_all};

/// The world's program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stigmer-oracle");

/// The families of rules whose tools may be in the read-only lane.
const RULES: &[&str] = &[
    include_str!("../../crates/route/rules/text.toml"),
    include_str!("../../crates/route/rules/files.toml"),
    include_str!("../../crates/route/rules/system.toml"),
    include_str!("../../crates/route/rules/git.toml"),
    include_str!("../../crates/route/rules/shell.toml"),
    include_str!("../../crates/route/rules/build.toml"),
    include_str!("../../crates/route/rules/languages.toml"),
];

/// What may follow an option: a name that is not there, and a program of the workspace.
const VALUES: &[&str] = &["PWNED", "./pwn.sh"];

/// What a tool may be asked about.
const ABOUT: &[&str] = &["", " a.txt", " a.tar"];

/// Where the names of hosts are asked for.
const NAME_SERVER: &str = "htons(53)";

/// Commands that are followed together. An effect of one of them is then looked for one by one.
const TOGETHER: usize = 60;

/// Fewer commands in all would mean that rules or manuals are not understood here.
const LEAST: usize = 20_000;

/// One of so many is tried: all take a quarter of an hour. `STIGMER_ORACLE_EVERY` says otherwise, and
/// `STIGMER_ORACLE_FROM` which is the first.
const EVERY: usize = 163;

/// The tools of the rules, and the options that they are said to have.
fn tools() -> Vec<(String, BTreeSet<String>)> {
    let mut tools = Vec::new();
    for text in RULES {
        let rules: toml::Table = text.parse().unwrap();
        for (names, rule) in &rules {
            let mut options = BTreeSet::new();
            let said = |key: &str| rule.get(key).and_then(toml::Value::as_str).unwrap_or_default();
            options.extend(said("flags").chars().map(|flag| format!("-{flag}")));
            options.extend(said("long").split_whitespace().map(|name| format!("--{name}")));
            let entries = rule.get("options").and_then(toml::Value::as_array);
            for entry in entries.into_iter().flatten().filter_map(toml::Value::as_str) {
                let words = entry.split_whitespace().take_while(|word| word.starts_with('-'));
                options.extend(words.map(|word| {
                    let end = word.find(['=', '[']).unwrap_or(word.len());
                    word[..end].to_owned()
                }));
            }
            for name in names.split(", ").filter(|name| !name.starts_with('%')) {
                tools.push((name.to_owned(), options.clone()));
            }
        }
    }
    tools
}

/// The options that a help text names.
fn options_of(help: &str) -> BTreeSet<String> {
    let words =
        help.split(|letter: char| letter.is_whitespace() || "[],|()='\"<>:;".contains(letter));
    let option = |word: &&str| {
        let name = word.trim_start_matches('-');
        word.starts_with('-')
            && !name.is_empty()
            && word.len() < 40
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    words.filter(option).map(ToOwned::to_owned).collect()
}

/// The ways to write an option, with and without a value.
fn spellings(option: &str) -> Vec<String> {
    let mut all = vec![option.to_owned()];
    for value in VALUES {
        all.push(format!("{option} {value}"));
        if option.starts_with("--") {
            all.push(format!("{option}={value}"));
            // Half of a name may do.
            all.push(format!(
                "{}={value}",
                &option[..option.len().div_ceil(2).max(4).min(option.len())]
            ));
        } else {
            all.push(format!("{option}{value}"));
        }
    }
    all
}

fn is_read_only(command: &str) -> bool {
    let labelled = Labelled { command: command.to_owned(), lane: "ro".to_owned() };
    labelled.verdict().lane == Lane::HostReadOnly
}

fn trial(command: String, way: Way, seconds: u64) -> Trial {
    Trial { command, lane: HostLane::ReadOnly, way, programs: Vec::new(), seconds }
}

/// One command of several: none waits for long, and none ends the others.
fn among(command: &str) -> String {
    format!("timeout 1 bash -c '{}' </dev/null >/dev/null 2>&1", command.replace('\'', r"'\''"))
}

/// Whether it is known what a tool does beside reading.
fn is_known(command: &str, change: &Change) -> bool {
    // `lsof` asks for the names of the hosts that it shows, which the lane refuses and it does without.
    let asks = change.what == What::Connected && change.to.contains(NAME_SERVER);
    command.contains("bash -c 'lsof ") && asks
        // `top` makes a directory for its settings, which the lane refuses.
        || command.contains("bash -c 'top ") && change.to.starts_with("/home/ada/.config")
}

#[test]
fn no_option_of_a_tool_that_reads_does_more_than_the_rules_say() {
    let mut tools = tools();
    let first = |name: &str| name.split(' ').next().unwrap_or_default().to_owned();
    let programs: Vec<String> =
        tools.iter().map(|(name, _)| first(name)).collect::<BTreeSet<_>>().into_iter().collect();
    let asked = programs.iter().map(|name| trial(format!("type -P {name}"), Way::Local, 20));
    let found = run_all(Path::new(PROGRAM), &asked.collect::<Vec<_>>());
    let there: BTreeSet<&String> = programs
        .iter()
        .zip(&found)
        .filter(|(_, seen)| seen.code == 0)
        .map(|(name, _)| name)
        .collect();
    tools.retain(|(name, _)| there.contains(&first(name)));

    // Help is asked only where that is no more than reading, too.
    let help: Vec<String> =
        tools
            .iter()
            .map(|(name, _)| {
                if name.starts_with("git ") {
                    format!("{name} -h")
                } else {
                    format!("{name} --help")
                }
            })
            .collect();
    let asked = help.iter().map(|command| {
        let command =
            if is_read_only(command) { format!("{command} 2>&1") } else { "true".to_owned() };
        trial(command, Way::Local, 5)
    });
    let said = run_all(Path::new(PROGRAM), &asked.collect::<Vec<_>>());
    let mut commands = BTreeSet::new();
    for ((name, options), said) in tools.iter_mut().zip(&said) {
        options.extend(options_of(&said.output));
        for option in options.iter().chain([&String::new()]) {
            for spelt in spellings(option) {
                for about in ABOUT {
                    let command = format!("{name} {spelt}{about}");
                    if is_read_only(&command) {
                        commands.insert(command);
                    }
                }
            }
        }
    }
    let commands: Vec<String> = commands.into_iter().collect();
    // A part of them, another for each tool.
    let every: usize =
        std::env::var("STIGMER_ORACLE_EVERY").map_or(EVERY, |every| every.parse().unwrap());
    let from: usize = std::env::var("STIGMER_ORACLE_FROM").map_or(0, |from| from.parse().unwrap());
    let commands: Vec<String> = commands.into_iter().skip(from).step_by(every).collect();
    assert!(commands.len() >= LEAST / every, "{} commands", commands.len());
    let groups: Vec<&[String]> = commands.chunks(TOGETHER).collect();
    let together = groups.iter().map(|group| {
        let lines: Vec<String> = group.iter().map(|command| among(command)).collect();
        trial(lines.join("\n"), Way::Traced, 100)
    });
    let seen = run_all(Path::new(PROGRAM), &together.collect::<Vec<_>>());
    let suspects: Vec<Trial> = groups
        .iter()
        .zip(&seen)
        .filter(|(_, seen)| seen.ended || !seen.changes.is_empty())
        .flat_map(|(group, _)| group.iter().map(|command| trial(among(command), Way::Traced, 20)))
        .collect();
    let alone = run_all(Path::new(PROGRAM), &suspects);
    let mut wrong = Vec::new();
    for (trial, seen) in suspects.iter().zip(&alone) {
        let more: Vec<String> = seen
            .changes
            .iter()
            .filter(|change| {
                beyond(HostLane::ReadOnly, change) && !is_known(&trial.command, change)
            })
            .map(ToString::to_string)
            .collect();
        if !more.is_empty() {
            wrong.push(format!("{}: {}", trial.command, more.join("; ")));
        }
    }
    let text = format!("{} commands\n{}\n", commands.len(), wrong.join("\n"));
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("auto-mode-options.txt"), text)
        .unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {} commands:\n{}",
        wrong.len(),
        commands.len(),
        wrong.join("\n")
    );
}
