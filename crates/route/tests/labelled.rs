//! Commands whose lane is known: from transcripts of agents, from observed effects, and from
//! published ways around lists such as this one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one tells its shares"
)]

use serde::Deserialize;
use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

#[derive(Deserialize)]
struct Labelled {
    command: String,
    lane: String,
}

/// How many of the commands that only read have to be kept in the read-only lane.
const LEAST_KEPT_PERCENT: usize = 95;

fn labelled() -> Vec<Labelled> {
    let text = include_str!("labelled.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lane(command: &str) -> Lane {
    let facts = Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") };
    decide(&Command::Shell(command.into()), &facts, Policy::embedded()).lane
}

fn wrong(label: &str, right: impl Fn(Lane) -> bool) -> Vec<String> {
    let commands = labelled().into_iter().filter(|labelled| labelled.lane == label);
    let lanes = commands.map(|labelled| (lane(&labelled.command), labelled.command));
    lanes.filter(|(lane, _)| !right(*lane)).map(|(lane, c)| format!("{lane:?}: {c}")).collect()
}

/// All that would have a right that they are not to have: a command in a lane that allows more than
/// its label does.
fn beyond() -> Vec<String> {
    let mut beyond = wrong("not_ro", |lane| lane != Lane::HostReadOnly);
    beyond.extend(wrong("workspace", |lane| lane != Lane::HostReadOnly));
    beyond.extend(wrong("sandbox", |lane| lane == Lane::Sandbox));
    beyond
}

#[test]
fn no_command_is_in_a_lane_that_allows_more_than_it_should() {
    let beyond = beyond();
    println!("in a lane that allows too much: {} of {}", beyond.len(), labelled().len());
    assert_eq!(beyond, Vec::<String>::new());
}

#[test]
fn work_in_the_workspace_stays_on_the_host() {
    assert_eq!(wrong("workspace", |lane| lane == Lane::HostWorkspace), Vec::<String>::new());
}

#[test]
fn nearly_all_that_only_reads_is_kept_in_the_read_only_lane() {
    let all = labelled().iter().filter(|labelled| labelled.lane == "ro").count();
    let lost = wrong("ro", |lane| lane == Lane::HostReadOnly);
    let kept = (all - lost.len()) * 100 / all;
    println!("read-only commands kept in the read-only lane: {kept} % of {all}");
    assert!(kept >= LEAST_KEPT_PERCENT, "{kept} %: {lost:#?}");
}

#[test]
fn every_label_is_one_of_the_four() {
    let known = ["ro", "not_ro", "workspace", "sandbox"];
    let labelled = labelled();
    assert!(labelled.len() >= 2_000, "{}", labelled.len());
    assert!(labelled.iter().all(|labelled| known.contains(&labelled.lane.as_str())));
}
