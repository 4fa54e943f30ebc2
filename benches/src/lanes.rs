//! Auto mode: what deciding costs, and what the lanes on the host do.

use std::time::Duration;

use stigmer_core::process::{Command, Execute, StartProcess};
use stigmer_core::{Lane, Routing};
use stigmer_host::{Confined, Confinement};
use stigmer_route::{Facts, Policy, decide};

use crate::commands::{bare, run_true};
use crate::measure::{Budget, Row, compare, time};
use crate::{Bench, Outcome};

/// Commands as agents write them: short, piped, compound.
const LINES: [&str; 6] = [
    "ls -la",
    "git status --short && git diff --stat HEAD~1",
    "grep -rn 'fn main' --include=*.rs src | head -20",
    "cd crates/core && cargo test --lib -- --nocapture 2>&1 | tail -40",
    "find . -name '*.py' -not -path './.venv/*' | xargs wc -l | sort -n",
    "python3 - <<'EOF'\nimport json\nprint(json.load(open('package.json'))['version'])\nEOF",
];

/// Between two commands: nobody thinks faster. Supervisors make ready for the next one meanwhile, whatever
/// lane that will be in.
const PAUSE: Duration = Duration::from_millis(20);

/// Decisions in a row: one takes less than a clock tells well.
const TIMES: usize = 20;

/// Where a command belongs, against what the shell takes to read it.
pub(crate) fn decision(bench: &Bench) -> Outcome<Vec<Row>> {
    let (facts, policy) = (Facts::at(bench.workspace()), Policy::embedded());
    let commands = LINES.map(|line| Command::Shell(line.into()));
    let count = (TIMES * commands.len()) as f64;
    let ours = || {
        let all = time(|| {
            for command in commands.iter().cycle().take(TIMES * commands.len()) {
                std::hint::black_box(decide(std::hint::black_box(command), &facts, policy));
            }
            Ok(())
        })?;
        Ok(all / count)
    };
    let mut next = (0..LINES.len()).cycle();
    let theirs = || {
        let line = LINES[next.next().unwrap_or_default()];
        time(|| bare("bash", &["-n", "-c", line]))
    };
    let (runs, budget) = ((bench.options.runs, bench.repeat(60)), Budget::TotalMs(0.05));
    Ok(vec![compare("auto mode's decision", "`bash -n`", budget, runs, ours, theirs)?])
}

/// `true` in each lane, against the same without one.
pub(crate) fn lanes(bench: &Bench) -> Outcome<Vec<Row>> {
    let lanes = [
        ("`true` in the read-only lane", Lane::HostReadOnly, 0.5),
        ("`true` in the workspace lane", Lane::HostWorkspace, 1.2),
    ];
    let row = |(what, lane, most)| {
        let confinement = Confinement {
            programs: vec!["true".into()],
            tool_roots: Vec::new(),
            may_fall_over: lane == Lane::HostReadOnly,
            routing: Routing::new(lane, "bench", "true", "it is measured"),
        };
        let confined = || {
            let request = Execute::new(StartProcess::argv(["true"]));
            let done = bench.executor.execute_confined(request, &confinement);
            match bench.runtime.block_on(done)? {
                Confined::Ran(done) if done.exit.code == 0 => Ok(()),
                other => Err(format!("{other:?}").into()),
            }
        };
        let runs = (bench.options.runs, bench.repeat(200));
        let ours = || {
            std::thread::sleep(PAUSE);
            time(confined)
        };
        let bare = || {
            std::thread::sleep(PAUSE);
            time(|| run_true(bench, &bench.executor))
        };
        compare(what, "without a lane", Budget::ExtraMs(most), runs, ours, bare)
    };
    lanes.into_iter().map(row).collect()
}
