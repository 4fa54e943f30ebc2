//! Tools that lie in the home directory, as pyenv, nvm and rustup put them there: in the workspace lane
//! they print what they print without auto mode.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use stigmer_guard::HostLane;
use stigmer_oracle::{Trial, Way, beyond, run_all};

/// The world's program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stigmer-oracle");

/// Seconds: a compiler takes a few on a busy machine.
const LONGEST: u64 = 120;

/// Programs that the world has, if the machine has them; in CI it must.
const TOOLS: &[&str] = &["node", "npm", "cargo", "pytest", "make", "cc", "strace"];

/// A command, and what it has to print among other things.
const COMMANDS: &[(&str, &str, &str)] = &[
    ("python", "python -c 'import sys;print(sys.executable)'", "/home/ada/.pyenv/versions/3."),
    (
        "python",
        "python3 -c 'import sys;print(sys.prefix, sys.path)'",
        "/home/ada/.pyenv/versions/3.",
    ),
    (
        "python",
        "python -c 'import json, ssl, sqlite3, subprocess as s; print(s.check_output([\"id\", \"-u\"]))'",
        "b'",
    ),
    ("python", "python app.py one two", "app ['one', 'two']"),
    (
        "python",
        "python -m venv --without-pip .venv && .venv/bin/python -c 'import sys;print(sys.prefix)'",
        "project/.venv",
    ),
    ("pytest", "pytest -q tests", "2 passed"),
    ("pytest", "python -m pytest -q -p no:cacheprovider", "2 passed"),
    (
        "node",
        "node -e 'console.log(process.execPath, process.version)'",
        "/home/ada/.nvm/versions/node/v",
    ),
    ("npm", "npm test", "node tests pass"),
    ("npm", "npm --version", "."),
    ("cargo", "rustc --version", "rustc 1."),
    ("cargo", "cargo test --offline", "test two_is_two ... ok"),
    ("cargo", "cargo run --offline", "app 2"),
    ("make", "make && cat out | head -2", "line 1 foo"),
    ("make", "make -s test", "tests pass"),
    ("cc", "cc main.c -o c && ./c", "c\n"),
    ("git", "git add -A && git commit -m 'A change' && git log -1 --format=%an:%s", "Ada:A change"),
    ("git", "git stash list; git switch -q -c new && git branch --show-current", "new"),
    ("sh", "./script.sh a b; sh run.sh", "script a b"),
    ("sh", "mktemp -d >/dev/null && echo $HOME $USER $(id -un) && pwd", "/home/ada"),
];

fn trials(commands: impl Iterator<Item = String>, way: Way) -> Vec<Trial> {
    let lane = HostLane::Workspace;
    commands
        .map(|command| Trial { command, lane, way, programs: Vec::new(), seconds: LONGEST })
        .collect()
}

#[test]
fn tools_under_the_home_directory_print_what_they_print_without_auto_mode() {
    let asked = TOOLS.iter().map(|tool| format!("command -v {tool}"));
    let found = run_all(Path::new(PROGRAM), &trials(asked, Way::Local));
    let missing: Vec<&str> = TOOLS
        .iter()
        .zip(&found)
        .filter(|(_, seen)| seen.code != 0)
        .map(|(tool, _)| *tool)
        .collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "missing: {missing:?}");
    let table: Vec<_> = COMMANDS.iter().filter(|(tool, ..)| !missing.contains(tool)).collect();
    let commands = || table.iter().map(|(_, command, _)| (*command).to_owned());
    let mut all = trials(commands(), Way::Local);
    all.extend(trials(commands(), Way::Lane));
    let seen = run_all(Path::new(PROGRAM), &all);
    let (local, lane) = seen.split_at(table.len());
    let mut wrong = Vec::new();
    for ((_, command, expected), (local, lane)) in table.iter().zip(local.iter().zip(lane)) {
        let same = (local.code, steady(&local.output)) == (lane.code, steady(&lane.output));
        if !same || lane.code != 0 || !lane.output.contains(expected) || lane.refused.is_some() {
            wrong.push(format!(
                "{command}\n  in the lane {} {:?}: {}\n  without {}: {}\n  denied: {:?}",
                lane.code, lane.refused, lane.output, local.code, local.output, lane.denials
            ));
        }
        let beyond = lane.changes.iter().filter(|change| beyond(HostLane::Workspace, change));
        wrong.extend(beyond.map(|change| format!("{command}\n  {change}")));
        let denied = lane.real_denials();
        if !denied.is_empty() {
            wrong.push(format!("{command}\n  denied: {denied:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An output without times and names of commits.
fn steady(output: &str) -> String {
    let words =
        output.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
    let number = |word: &str| {
        let word = word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let commit = word.len() >= 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let time = word.trim_end_matches(['s', 'm']);
        commit || (time != word && time.parse::<f64>().is_ok())
    };
    words.map(|word| if number(word) { "#" } else { word }).collect()
}
