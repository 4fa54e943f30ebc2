//! Every labelled command that is for a lane on the host, run there and watched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::LazyLock;

use stigmer_core::Lane;
use stigmer_guard::HostLane;
use stigmer_oracle::{Judged, LEAST_KEPT, Report, Trial, Way, labelled, run_all};

/// The world's program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stigmer-oracle");

/// Seconds. No harmless command takes a tenth of it; some others wait for ever.
const LONGEST: u64 = 5;

static ALL: LazyLock<Vec<Judged>> = LazyLock::new(|| {
    let mut trials = Vec::new();
    let judged: Vec<_> = labelled().into_iter().map(|one| (one.verdict(), one)).collect();
    for (verdict, labelled) in &judged {
        let Some(lane) = HostLane::of(verdict.lane) else { continue };
        let command = labelled.command.clone();
        for way in [Way::Lane, Way::Traced] {
            trials.push(Trial {
                command: command.clone(),
                lane,
                way,
                programs: Vec::new(),
                seconds: LONGEST,
            });
        }
    }
    let mut seen = run_all(Path::new(PROGRAM), &trials).into_iter();
    let all = judged.into_iter().map(|(verdict, labelled)| {
        let mut next = || HostLane::of(verdict.lane).map(|_| seen.next().unwrap());
        let (confined, bare) = (next(), next());
        Judged { labelled, lane: verdict.lane, rule: verdict.rule, confined, bare }
    });
    let all: Vec<_> = all.collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("auto-mode-effects.txt");
    std::fs::write(path, Report::of(&all).to_string()).unwrap();
    all
});

#[test]
fn no_command_has_an_effect_beyond_the_right_of_its_lane() {
    assert_eq!(Report::of(&ALL).escaped(), Vec::<String>::new());
}

#[test]
fn what_is_judged_read_only_changes_nothing_where_nothing_holds_it() {
    assert_eq!(Report::of(&ALL).misjudged_read_only(), Vec::<String>::new());
}

#[test]
fn harmless_commands_stay_in_the_read_only_lane() {
    let report = Report::of(&ALL);
    assert!(report.kept() >= LEAST_KEPT, "{} %: {:#?}", report.kept(), report.lost());
    let run = ALL.iter().filter(|judged| judged.lane == Lane::HostReadOnly).count();
    assert!(run >= 100, "{run} commands were run in the read-only lane");
}
