//! What holds for every command.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde::Deserialize;
use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, Verdict, decide};

#[derive(Clone, Debug, Deserialize)]
struct Labelled {
    command: String,
    lane: String,
}

fn facts() -> Facts {
    Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") }
}

fn verdict(line: &str, policy: &Policy) -> Verdict {
    decide(&Command::Shell(line.into()), &facts(), policy)
}

fn lane(line: &str) -> Lane {
    verdict(line, Policy::embedded()).lane
}

fn strictness(lane: Lane) -> u8 {
    match lane {
        Lane::HostReadOnly => 0,
        Lane::HostWorkspace => 1,
        Lane::Sandbox => 2,
    }
}

fn labelled() -> Vec<Labelled> {
    let text = include_str!("labelled.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Any of the labelled commands.
fn command() -> impl Strategy<Value = String> {
    let commands: Vec<_> = labelled().into_iter().map(|labelled| labelled.command).collect();
    prop::sample::select(commands)
}

/// Commands of plain words that may not be read-only.
fn plain_refused() -> Vec<Vec<String>> {
    let plain = |command: &str| {
        command.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -/_.:".contains(&byte))
            && !command.starts_with(|first: char| "\\.".contains(first))
    };
    let mut refused: Vec<Vec<String>> = labelled()
        .iter()
        .filter(|labelled| labelled.lane != "ro" && plain(&labelled.command))
        .map(|labelled| labelled.command.split_whitespace().map(str::to_owned).collect())
        .collect();
    let keywords = ["time", "coproc", "enable", "exit"];
    refused.retain(|words: &Vec<String>| !keywords.contains(&words[0].as_str()));
    refused
}

/// The same word in another spelling, as `bash` reads it.
fn respell(word: &str, how: u8) -> String {
    let middle = word.len() / 2;
    match how % 8 {
        0 => word.to_owned(),
        1 => format!("'{word}'"),
        2 => format!("\"{word}\""),
        3 => word.chars().map(|character| format!("\\{character}")).collect(),
        4 => format!("{}''{}", &word[..middle], &word[middle..]),
        5 => {
            format!("$'{}'", word.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>())
        }
        6 => format!("{}\\\n{}", &word[..middle], &word[middle..]),
        _ => format!("{}\"{}\"", &word[..middle], &word[middle..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_a_verdict(line in "\\PC{0,60}|[ -~\\n]{0,60}") {
        let verdict = verdict(&line, Policy::embedded());
        prop_assert!(!verdict.reason.is_empty() && !verdict.rule.is_empty());
    }

    #[test]
    fn pieces_of_commands_in_any_order_have_a_verdict(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "ls", " ", "\n", "'", "\"", "$(", ")", "`", "${", "}", "<<X", "X", ";", "&&", "|", "[[", "]]",
                "((", "))", "\\", "a", "-o", "find . -exec", "{}", "+", "x=", "for i in", "do", "done", ">", "case",
            ]),
            0..25,
        ),
    ) {
        verdict(&parts.concat(), Policy::embedded());
    }

    #[test]
    fn a_respelt_command_stays_refused(
        words in prop::sample::select(plain_refused()),
        how in prop::collection::vec(any::<u8>(), 12),
        prefix in prop::sample::select(vec!["", "command ", "env ", "nice ", "time ", "! ", "ls; ", " "]),
        blank in prop::sample::select(vec![" ", "  ", "\t", " \\\n "]),
    ) {
        let spelt: Vec<_> = words.iter().zip(how.iter().cycle()).map(|(w, how)| respell(w, *how)).collect();
        let line = format!("{prefix}{}", spelt.join(blank));
        prop_assert_ne!(lane(&line), Lane::HostReadOnly, "{:?}", line);
    }

    #[test]
    fn a_plain_command_and_its_words_have_the_same_lane(words in prop::sample::select(plain_refused())) {
        let builtins = ["cd", "export", "declare", "unset", "set", "read", "source", "eval", "shopt", "local", "kill"];
        prop_assume!(!builtins.contains(&words[0].as_str()));
        let argv = Command::Argv(words.iter().map(|word| word.as_str().into()).collect());
        let of_words = decide(&argv, &facts(), Policy::embedded()).lane;
        prop_assert_eq!(of_words, lane(&words.join(" ")), "{:?}", words);
    }

    #[test]
    fn another_part_never_loosens(
        one in command(),
        other in command(),
        joint in prop::sample::select(vec![" ; ", " && ", " || ", " | ", "\n"]),
    ) {
        let both = format!("{one}{joint}{other}");
        // A comment or a here-document of the first would swallow the joint.
        prop_assume!(!one.contains(['#', '\n', '\\']) && !one.trim_end().ends_with(['&', '|']));
        prop_assert!(strictness(lane(&both)) >= strictness(lane(&one)), "{}", both);
        // After the first the directory and variables may be others, and known ones.
        prop_assume!(!one.contains("cd ") && !one.contains('=') && !one.contains('&') && !one.contains(". ")
            && !one.contains("source") && !one.starts_with("for ") && !one.contains("((") && !one.contains("printf"));
        // What is known of a variable may be known no more when the first part may have failed, and
        // in a pipe `cd` moves nobody else.
        prop_assume!(!other.contains('=') && !other.contains("cd "));
        let alone = lane(&other);
        prop_assert!(strictness(lane(&both)) >= strictness(alone), "{}", both);
    }

    #[test]
    fn a_project_only_tightens(
        line in command(),
        tool in prop::sample::select(vec!["ls", "cat", "git", "git log", "find", "rm", "curl", "pip", "sh", "x", "python"]),
        lane in prop::sample::select(vec!["read-only", "workspace", "sandbox"]),
        body in prop::sample::select(vec![
            "", "any = true", "flags = 'abc'", "args = 'text*'", "args = 'refuse*'", "subcommands = true",
            "any = true\nargs = 'text*'", "harmless = true", "posix = true\nargs = 'command'",
        ]),
    ) {
        let text = format!("['{tool}']\nlane = '{lane}'\n{body}\n[lists]\ncredentials = ['README.md']");
        let project = Policy::embedded().with_project(&text).unwrap();
        let before = strictness(verdict(&line, Policy::embedded()).lane);
        let after = strictness(verdict(&line, &project).lane);
        prop_assert!(after >= before, "{line}\n{text}");
    }
}

#[test]
fn a_shell_in_between_loosens_nothing() {
    for labelled in labelled() {
        if labelled.command.contains('\'') {
            continue;
        }
        let inner = format!("sh -c '{}'", labelled.command);
        assert!(strictness(lane(&inner)) >= strictness(lane(&labelled.command)), "{inner}");
    }
}

#[test]
fn a_user_extends_and_replaces() {
    let policy =
        Policy::embedded().with_user("[frobnicate]\nflags = 'x'\n[ls]\nlane = 'sandbox'").unwrap();
    assert_eq!(verdict("frobnicate -x", &policy).lane, Lane::HostReadOnly);
    assert_eq!(verdict("frobnicate -y", &policy).lane, Lane::Sandbox);
    assert_eq!(verdict("ls", &policy).lane, Lane::Sandbox);
    assert_eq!(lane("frobnicate -x"), Lane::Sandbox, "ours stay as they are");
}

/// The grammar's scanner read beyond a table for such letters, and crashed.
#[test]
fn letters_of_all_scripts_are_parts_of_words() {
    for line in ["ls {\u{10fffd}", "ls {1\u{10fffd}..2}", "ls {1..\u{10fffd}}", "{\u{f1234}"] {
        verdict(line, Policy::embedded());
    }
    for line in ["cat größe.txt", "ls 'числа' {ä,ö}", "grep -n π Δ.md"] {
        assert_eq!(lane(line), Lane::HostReadOnly, "{line}");
    }
    assert_eq!(lane("cat größe > ä"), Lane::HostWorkspace);
    for line in ["ü=1 ls", "größe.txt", "echo $(größe)"] {
        assert_eq!(lane(line), Lane::Sandbox, "{line}");
    }
}
