//! What is counted of decisions, and written down of those that proved wrong.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use stigmer_core::{FilePath, Lane, ProcessId, Routing};

use super::messages::kinds;

/// Pairs of a lane and a rule that are counted by themselves: a user may have rules without end.
const MOST_COUNTED: usize = 512;

/// What all other rules are counted as.
const OTHER: &str = "other";

/// Bytes of the log of fall-overs: some ten thousand, and as many in the one before.
const MOST_BYTES: u64 = 2 << 20;

/// Bytes of a rule's name in the log; ours have a few dozen.
const LONGEST_RULE: usize = 256;

/// How many commands a rule has sent to a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCount {
    /// The lane.
    pub lane: Lane,
    /// The rule, or `other` for all beyond a bound.
    pub rule: String,
    /// Commands that ran there.
    pub commands: u64,
    /// Those of them whose first try in the read-only lane was discarded.
    pub fallen_over: u64,
}

/// The counts since this program was started.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<BTreeMap<(String, String), RouteCount>>);

impl Tally {
    pub(crate) fn count(&self, routing: &Routing) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = routing.lane.to_string();
        let mut key = (lane, routing.rule.clone());
        if all.len() >= MOST_COUNTED && !all.contains_key(&key) {
            key.1 = OTHER.to_owned();
        }
        let rule = key.1.clone();
        let new = || RouteCount { lane: routing.lane, rule, commands: 0, fallen_over: 0 };
        let count = all.entry(key).or_insert_with(new);
        count.commands += 1;
        count.fallen_over += u64::from(routing.fell_over.is_some());
    }

    pub(crate) fn all(&self) -> Vec<RouteCount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// One line of the log. No command line and no content is in it.
#[derive(Serialize)]
struct Line<'a> {
    at_ms: u64,
    workspace: &'a FilePath,
    process: &'a ProcessId,
    rule: &'a str,
    refused: Vec<String>,
}

/// The log of fall-overs: one line of JSON each.
#[derive(Clone, Debug)]
pub(crate) struct FallOvers {
    path: PathBuf,
}

impl FallOvers {
    pub(crate) fn new(state: &Path) -> Self {
        Self { path: state.join("fall-overs.jsonl") }
    }

    /// Writes down a command whose first try was discarded. What was done is done: a log that cannot be
    /// written fails no command.
    pub(crate) fn note(&self, workspace: &FilePath, process: &ProcessId, routing: &Routing) {
        let Some(denied) = &routing.fell_over else { return };
        let end = routing.rule.floor_char_boundary(LONGEST_RULE);
        let line = Line {
            at_ms: crate::workspaces::now_ms(),
            workspace,
            process,
            rule: &routing.rule[..end],
            refused: kinds(denied),
        };
        if let Ok(mut bytes) = serde_json::to_vec(&line) {
            bytes.push(b'\n');
            let _ = self.append(&bytes);
        }
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
        file.write_all(line)?;
        let (ours, there) = (file.metadata()?, fs::metadata(&self.path)?);
        // Another program may have put it aside meanwhile.
        if ours.len() >= MOST_BYTES && ours.ino() == there.ino() {
            fs::rename(&self.path, self.path.with_extension("jsonl.old"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use stigmer_core::{Denial, Denied};

    use super::*;

    fn routing(rule: &str, fell_over: bool) -> Routing {
        let denial = Denial {
            call: "mkdir".to_owned(),
            path: Some("/secret".into()),
            errno: 13,
            probe: false,
        };
        let denied = Denied { denials: vec![denial], omitted: 0 };
        let routing = Routing::new(Lane::Sandbox, rule, "hidden", "hidden");
        Routing { fell_over: fell_over.then_some(denied), ..routing }
    }

    #[test]
    fn commands_are_counted_by_lane_and_rule_up_to_a_bound() {
        let tally = Tally::default();
        for rule in ["ls", "cat", "ls"] {
            tally.count(&Routing::new(Lane::HostReadOnly, rule, "", ""));
        }
        tally.count(&routing("ls", true));
        let told: Vec<_> =
            tally.all().into_iter().map(|count| (count.rule, count.commands)).collect();
        assert_eq!(told, [("cat".into(), 1), ("ls".into(), 2), ("ls".into(), 1)]);
        assert_eq!(tally.all()[2].fallen_over, 1);
        for number in 0..2 * MOST_COUNTED {
            tally.count(&routing(&format!("r{number}"), false));
        }
        let all = tally.all();
        assert_eq!(all.len(), MOST_COUNTED + 1);
        assert_eq!(
            all.iter().map(|count| count.commands).sum::<u64>(),
            4 + 2 * MOST_COUNTED as u64
        );
        assert!(all.iter().any(|count| count.rule == OTHER && count.commands > 1));
    }

    #[test]
    fn the_log_says_which_rule_and_what_was_refused_and_stays_small() {
        let state = tempfile::tempdir().unwrap();
        let log = FallOvers::new(state.path());
        let id = ProcessId::from_random(1);
        log.note(&"/w".into(), &id, &routing("ls", false));
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "it did not fall over");
        log.note(&"/w".into(), &id, &routing("ls", true));
        let text = std::fs::read_to_string(&log.path).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["refused"], serde_json::json!(["mkdir"]));
        assert_eq!((&line["rule"], &line["process"]), (&"ls".into(), &id.as_str().into()));
        assert!(!text.contains("hidden") && !text.contains("secret"), "{text}");
        let long = "é".repeat(4 * LONGEST_RULE);
        for _ in 0..3 * MOST_BYTES / 200 {
            log.note(&"/w".into(), &id, &routing(&long, true));
        }
        let sizes = [log.path.clone(), log.path.with_extension("jsonl.old")]
            .map(|path| std::fs::metadata(path).map_or(0, |found| found.len()));
        assert!(sizes.iter().all(|size| *size < MOST_BYTES + 4096), "{sizes:?}");
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 2);
    }
}
