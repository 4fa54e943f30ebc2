//! Every labelled command that is for a lane on the host, run there and watched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the report is what the test is for")]

use std::path::Path;
use std::sync::LazyLock;

use stigmer_core::Lane;
use stigmer_guard::HostLane;
use stigmer_oracle::{Judged, LEAST_KEPT, Observation, Report, Trial, Way, labelled, run_all};

/// The world's program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stigmer-oracle");

/// Seconds. No harmless command takes a tenth of it; some others wait, or go on, for ever.
const LONGEST: u64 = 2;

/// Seconds for a command of the workspace lane where nothing holds it: only looked at for the report.
const BRIEFLY: u64 = 1;

/// One of so many commands of the workspace lane is run where nothing holds it, which says what the lane
/// stopped, and decides nothing. `STIGMER_ORACLE_EVERY` says otherwise.
const EVERY: usize = 40;

/// One of so many commands of the workspace lane is run in it: many are builds, which take their time, and
/// what the lane stops does not depend on them. `STIGMER_ORACLE_EVERY=1` runs all.
const IN_LANE: usize = 3;

/// One of so many commands of the read-only lane is run, in it and where nothing holds it, in the time that
/// there is. `STIGMER_ORACLE_EVERY=1` runs all.
const READING: usize = 2;

/// As few commands in the read-only lane would prove little.
const LEAST_RUN: usize = 300;

/// How often what printed something else is run again each way: what is never the same is told.
const TRIES: usize = 4;

/// What prints something else in the lane, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("docker --version", "its settings hold credentials and are not read, and it says so"),
    ("lsof -i :3000", "the descriptors of processes outside of the lane are not seen"),
    (
        "netstat -tlnp 2>/dev/null | head",
        "the descriptors of processes outside of the lane are not seen",
    ),
    ("ss -tlnp", "the descriptors of processes outside of the lane are not seen"),
    ("ps -ef | head", "a process is shown before or after it has become another program"),
    ("pstree | head", "both programs are shown, or the first alone: whichever was sooner"),
];

/// What would do more if nothing held it, or is denied something, and belongs in the read-only lane all
/// the same.
const HELD: &[(&str, &str)] = &[
    ("docker --version", "reads its settings, which hold credentials, and does without"),
    ("lsof -i :3000", "asks for names of hosts, and does without"),
];

/// Without what is known and harmless.
fn unknown(all: Vec<String>) -> Vec<String> {
    let known =
        |line: &String| HELD.iter().any(|(command, _)| line.starts_with(&format!("{command:?}: ")));
    all.into_iter().filter(|line| !known(line)).collect()
}

static ALL: LazyLock<Vec<Judged>> = LazyLock::new(|| {
    let every = std::env::var("STIGMER_ORACLE_EVERY").map(|every| every.parse().unwrap());
    let every: usize = every.unwrap_or(EVERY);
    let mut trials = Vec::new();
    let mut all = Vec::new();
    for (index, labelled) in labelled().into_iter().enumerate() {
        let verdict = labelled.verdict();
        if let Some(lane) = HostLane::of(verdict.lane) {
            let mut run = |way, seconds| {
                let (command, programs) = (labelled.command.clone(), verdict.programs.clone());
                trials.push((index, Trial { command, lane, way, programs, seconds }));
            };
            match lane {
                HostLane::ReadOnly => {
                    if index % every.min(READING) == 0 {
                        run(Way::Lane, LONGEST);
                        run(Way::Traced, LONGEST);
                    }
                }
                HostLane::Workspace => {
                    if index % every.min(IN_LANE) == 0 {
                        run(Way::Lane, LONGEST);
                    }
                    if index % every == 0 {
                        run(Way::Traced, BRIEFLY);
                    }
                }
            }
        }
        let (confined, bare) = (None, None);
        all.push(Judged { labelled, lane: verdict.lane, rule: verdict.rule, confined, bare });
    }
    let (indices, trials): (Vec<usize>, Vec<Trial>) = trials.into_iter().unzip();
    let seen = run_all(Path::new(PROGRAM), &trials);
    for ((index, trial), seen) in indices.into_iter().zip(&trials).zip(seen) {
        match trial.way {
            Way::Lane => all[index].confined = Some(seen),
            _ => all[index].bare = Some(seen),
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("auto-mode-effects.txt");
    std::fs::write(path, Report::of(&all).to_string()).unwrap();
    println!("{}", Report::of(&all));
    all
});

#[test]
fn no_command_has_an_effect_beyond_the_right_of_its_lane() {
    assert_eq!(Report::of(&ALL).escaped(), Vec::<String>::new());
}

#[test]
fn what_is_judged_read_only_changes_nothing_where_nothing_holds_it() {
    assert_eq!(unknown(Report::of(&ALL).misjudged_read_only()), Vec::<String>::new());
}

#[test]
fn every_command_is_in_a_lane_that_its_label_allows() {
    assert_eq!(Report::of(&ALL).mislabelled(), Vec::<String>::new());
}

#[test]
fn harmless_commands_stay_in_the_read_only_lane() {
    let report = Report::of(&ALL);
    assert!(report.kept() >= LEAST_KEPT, "{} %: {:#?}", report.kept(), report.lost());
    let run = ALL.iter().filter(|judged| judged.lane == Lane::HostReadOnly).count();
    assert!(run >= LEAST_RUN, "{run} commands were run in the read-only lane");
}

/// A denial would make a command that failed for another reason fall over to the sandbox.
#[test]
fn harmless_commands_are_neither_refused_nor_denied_anything() {
    assert_eq!(unknown(Report::of(&ALL).denied()), Vec::<String>::new());
}

#[test]
fn harmless_commands_print_in_the_lane_what_they_print_without() {
    let harmless = ALL.iter().filter(|judged| judged.lane == Lane::HostReadOnly);
    let mut differ = Vec::new();
    for judged in harmless {
        let (Some(confined), Some(bare)) = (&judged.confined, &judged.bare) else { continue };
        let same = (confined.code, &confined.output) == (bare.code, &bare.output);
        let excepted = OTHERWISE.iter().any(|(command, _)| *command == judged.labelled.command);
        if !same && !confined.ended && !bare.ended && !excepted {
            differ.push(judged);
        }
    }
    // Clocks, processes and memory are other ones each time, and threads find things in another order.
    let trial = |judged: &&Judged, way| Trial {
        command: judged.labelled.command.clone(),
        lane: HostLane::ReadOnly,
        way,
        programs: judged.labelled.verdict().programs,
        seconds: LONGEST,
    };
    let tries = [Way::Bare, Way::Lane].map(|way| [way; TRIES]).concat();
    let again: Vec<_> =
        differ.iter().flat_map(|judged| tries.iter().map(move |way| trial(judged, *way))).collect();
    let again = run_all(Path::new(PROGRAM), &again);
    let mut wrong = Vec::new();
    for (judged, again) in differ.iter().zip(again.chunks(tries.len())) {
        let (bare, confined) = again.split_at(TRIES);
        let alike = |a: &Observation, b: &Observation| {
            (a.code, steady(&a.output)) == (b.code, steady(&b.output))
        };
        if !confined.iter().any(|one| bare.iter().any(|other| alike(one, other))) {
            let command = &judged.labelled.command;
            wrong.push(format!(
                "{command:?}\n  in the lane {}: {}\n  without {}: {}",
                confined[0].code, confined[0].output, bare[0].code, bare[0].output
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The letters of an output without what is another each time: numbers, and the blanks that align
/// them, the state of a process, and the order of what several threads find, or of what several programs
/// write to standard error at once, who do not even wait for each other's ends of lines.
fn steady(output: &str) -> Vec<char> {
    let mut letters = Vec::new();
    for line in output.lines() {
        let mut steady = String::new();
        for letter in line.chars() {
            let letter = if letter.is_ascii_digit() { '0' } else { letter };
            let again = steady.ends_with(letter) && (letter == '0' || letter == ' ');
            if !again {
                steady.push(letter);
            }
        }
        for (state, any) in [
            (" Ss ", " S "),
            (" R ", " S "),
            (" D ", " S "),
            ("0.0", "0"),
            ("0M", "0K"),
            ("0G", "0K"),
        ] {
            steady = steady.replace(state, any);
        }
        // Processes come and go while they are listed.
        if !steady.contains("bash -c ps ") {
            letters.extend(steady.chars());
        }
    }
    letters.sort_unstable();
    letters
}
