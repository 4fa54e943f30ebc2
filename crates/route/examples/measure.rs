//! Prints how long decisions take: the median and the 99th percentile over a set of commands.
//!
//! usage: measure FILE              JSON lines with a `command` in each
//!        measure --hostile         texts that are made to cost time; fails if one takes too long
//!        measure --decide < LINES  prints the verdict of each line instead
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

#[path = "../tests/common/hostile.rs"]
mod hostile;

use std::hint::black_box;
use std::io::BufRead;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

/// How often each command is decided.
const ROUNDS: usize = 5;

/// How often one is decided again that seems to take too long: on a busy machine few are undisturbed.
const MORE_ROUNDS: usize = 100;

/// How many of the slowest are named.
const SLOWEST: usize = 8;

/// What a decision about an everyday command may take, at the median.
const MEDIAN: Duration = Duration::from_micros(50);

/// What any decision may take.
const LONGEST: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let facts = Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") };
    let begin = Instant::now();
    let policy = Policy::embedded();
    let loading = begin.elapsed();
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "--decide" {
        each_line(&facts, policy);
        return ExitCode::SUCCESS;
    }
    let commands = match argument.as_str() {
        "--hostile" => hostile::commands(),
        file => labelled(file),
    };
    let mut took = Vec::new();
    // Of each command the best time: the others are the machine's doing.
    let mut best: Vec<_> = commands.iter().map(|command| (Duration::MAX, command)).collect();
    for _ in 0..ROUNDS {
        for (best, (_, command)) in &mut best {
            let begin = Instant::now();
            black_box(decide(black_box(command), &facts, policy));
            took.push(begin.elapsed());
            *best = begin.elapsed().min(*best);
        }
    }
    for (best, (_, command)) in best.iter_mut().filter(|(best, _)| *best > LONGEST / 4) {
        for _ in 0..MORE_ROUNDS {
            let begin = Instant::now();
            black_box(decide(black_box(command), &facts, policy));
            *best = begin.elapsed().min(*best);
        }
    }
    took.sort();
    best.sort_by_key(|(took, _)| *took);
    let median = took[took.len() / 2];
    println!("rules loaded in {loading:?}; {} decisions", took.len());
    println!("median {median:?}, p99 {:?}", took[took.len() * 99 / 100]);
    for (took, (name, _)) in best.iter().rev().take(SLOWEST) {
        println!("slowest {took:?}: {name:.70}");
    }
    let over = best.last().is_some_and(|(took, _)| *took > LONGEST);
    if over || (argument != "--hostile" && median > MEDIAN) {
        println!("over the budget: {MEDIAN:?} at the median, {LONGEST:?} for any");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn labelled(file: &str) -> Vec<(String, Command)> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let command = |line: serde_json::Value| line["command"].as_str().unwrap().to_owned();
    let named =
        |line: String| (line.escape_debug().to_string(), Command::Shell(line.as_str().into()));
    lines.map(command).map(named).collect()
}

fn each_line(facts: &Facts, policy: &Policy) {
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap().replace("\\n", "\n");
        let verdict = decide(&Command::Shell(line.as_str().into()), facts, policy);
        println!(
            "{:<15} {:<20} {:<25} {}\n        {}",
            format!("{:?}", verdict.lane),
            verdict.rule,
            verdict.token,
            verdict.reason,
            line.replace('\n', "\\n")
        );
    }
}
