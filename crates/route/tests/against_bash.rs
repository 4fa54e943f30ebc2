//! Words are read as bash itself reads them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use stigmer_route::static_words;

/// How many lines are made. All are given to one bash.
const LINES: usize = 3_000;

/// Prints the words of each line, each followed by a zero, and an end of line after the last.
fn words_of_bash(lines: &[String]) -> Vec<Vec<String>> {
    let mut script = String::from("set -f\n");
    for line in lines {
        script.push_str(&format!("printf '%s\\0' {line}\nprintf '\\1\\0'\n"));
    }
    let mut bash = Command::new("bash")
        .args(["--norc", "--noprofile", "-s"])
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(script.as_bytes()));
    let output = bash.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let mut words = vec![Vec::new()];
    for word in String::from_utf8(output.stdout).unwrap().split_terminator('\0') {
        match word {
            "\u{1}" => words.push(Vec::new()),
            _ => words.last_mut().unwrap().push(word.to_owned()),
        }
    }
    words.pop();
    words
}

#[test]
fn static_words_are_those_of_bash() {
    let piece = prop::sample::select(vec![
        "a",
        "b c",
        " ",
        "  ",
        "\t",
        "'x y'",
        "\"x y\"",
        "\\ ",
        "\\'",
        "\\\"",
        "'\"'",
        "\"'\"",
        "''",
        "\"\"",
        "$'a\\nb'",
        "$'\\x41\\101\\''",
        "\\\\",
        "a\\b",
        "\"\\a\\\\\\\"\"",
        "{a,b}",
        "{a,}",
        "{a}",
        "{}",
        "x{1,2}y",
        "#",
        "a#",
        "=",
        "x=y",
        "-",
        "--o=v",
        "\\\n",
        "é",
        "$",
        "\"$\"",
        "~x",
        "!",
        "^",
        "%",
        "+",
        "@",
        ":",
        "/",
        "[",
        "]",
        "{",
        "}",
        ",",
    ]);
    let line = prop::collection::vec(piece, 1..9).prop_map(|pieces| pieces.concat());
    let mut runner = TestRunner::default();
    let mut lines = Vec::new();
    while lines.len() < LINES {
        let line = line.new_tree(&mut runner).unwrap().current();
        // What we do not call static is not compared: it is never called harmless either.
        if line.ends_with('\n') {
            continue;
        }
        if let Some(words) = static_words(&format!("echo {line}")) {
            lines.push((line, words[1..].to_vec()));
        }
    }
    let texts: Vec<_> = lines.iter().map(|(line, _)| line.clone()).collect();
    let bash = words_of_bash(&texts);
    for ((line, ours), theirs) in lines.iter().zip(&bash) {
        // `printf` without an argument prints an empty one.
        let theirs: &[String] = if ours.is_empty() && *theirs == [""] { &[] } else { theirs };
        assert_eq!(ours, theirs, "{line:?}");
    }
    assert_eq!(bash.len(), lines.len(), "bash has read each line by itself");
}
