//! Commands whose lane is known: from transcripts of agents, from observed effects, and from
//! published ways around lists such as this one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde::Deserialize;
use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

#[derive(Deserialize)]
struct Labelled {
    command: String,
    lane: String,
}

/// How many of the commands that only read may be sent elsewhere: one in ten.
const LEAST_KEPT_PERCENT: usize = 90;

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

#[test]
fn no_command_that_changes_anything_is_called_read_only() {
    assert_eq!(wrong("not_ro", |lane| lane != Lane::HostReadOnly), Vec::<String>::new());
}

#[test]
fn what_reaches_further_than_the_workspace_goes_to_the_sandbox() {
    assert_eq!(wrong("sandbox", |lane| lane == Lane::Sandbox), Vec::<String>::new());
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
    assert!(kept >= LEAST_KEPT_PERCENT, "{kept} %: {lost:#?}");
}

#[test]
fn every_label_is_one_of_the_four() {
    let known = ["ro", "not_ro", "workspace", "sandbox"];
    let labelled = labelled();
    assert!(labelled.len() >= 1_000, "{}", labelled.len());
    assert!(labelled.iter().all(|labelled| known.contains(&labelled.lane.as_str())));
}
