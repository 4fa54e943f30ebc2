//! Prints how long decisions take: the median and the 99th percentile over a set of commands.
//!
//! usage: measure FILE              JSON lines with a `command` in each
//!        measure --decide < LINES  prints the verdict of each line instead
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

use std::hint::black_box;
use std::io::BufRead;
use std::time::{Duration, Instant};

use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

/// How often each command is decided.
const ROUNDS: usize = 20;

/// How many of the slowest are named.
const SLOWEST: usize = 5;

fn main() {
    let facts = Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") };
    let begin = Instant::now();
    let policy = Policy::embedded();
    let loading = begin.elapsed();
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "--decide" {
        for line in std::io::stdin().lock().lines() {
            let line = line.unwrap().replace("\\n", "\n");
            let verdict = decide(&Command::Shell(line.as_str().into()), &facts, policy);
            println!(
                "{:<15} {:<20} {:<25} {}\n        {}",
                format!("{:?}", verdict.lane),
                verdict.rule,
                verdict.token,
                verdict.reason,
                line.replace('\n', "\\n")
            );
        }
        return;
    }
    let text = std::fs::read_to_string(argument).unwrap();
    let commands: Vec<Command> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| Command::Shell(line["command"].as_str().unwrap().into()))
        .collect();
    let mut took = Vec::new();
    // Of each command the best time: the others are the machine's doing.
    let mut best: Vec<_> = commands.iter().map(|command| (Duration::MAX, command)).collect();
    for _ in 0..ROUNDS {
        for (best, command) in &mut best {
            let begin = Instant::now();
            black_box(decide(black_box(command), &facts, policy));
            took.push(begin.elapsed());
            *best = begin.elapsed().min(*best);
        }
    }
    took.sort();
    best.sort_by_key(|(took, _)| *took);
    println!("rules loaded in {loading:?}; {} decisions", took.len());
    println!("median {:?}, p99 {:?}", took[took.len() / 2], took[took.len() * 99 / 100]);
    for (took, command) in best.iter().rev().take(SLOWEST) {
        println!("slowest {took:?}: {:.60}", command.display().escape_debug().to_string());
    }
}
