//! The repository's labelled commands.

use serde::Deserialize;
use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, Verdict, decide};

use crate::{HOME, PROJECT};

/// A command whose lane is known.
#[derive(Clone, Debug, Deserialize)]
pub struct Labelled {
    /// As bash reads it.
    pub command: String,
    /// `ro`, `not_ro`, `workspace` or `sandbox`.
    pub lane: String,
}

impl Labelled {
    /// Where auto mode sends it, in a world.
    pub fn verdict(&self) -> Verdict {
        let facts = Facts { home: Some(HOME.into()), ..Facts::at(PROJECT) };
        decide(&Command::Shell(self.command.as_str().into()), &facts, Policy::embedded())
    }

    /// Whether a verdict is one that the label allows.
    pub fn allows(&self, lane: Lane) -> bool {
        match self.lane.as_str() {
            // To do less than one may is no mistake that harms, and is counted elsewhere.
            "ro" => true,
            "not_ro" => lane != Lane::HostReadOnly,
            "workspace" => lane != Lane::HostReadOnly,
            _ => lane == Lane::Sandbox,
        }
    }
}

/// All of them.
pub fn labelled() -> Vec<Labelled> {
    let text = include_str!("../../crates/route/tests/labelled.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
