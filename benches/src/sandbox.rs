//! Sandbox mode, against what one does without it: `docker run`, `docker exec`, `docker cp`.

use stigmer_core::manager::Progress;
use stigmer_core::process::{Execute, StartProcess};
use stigmer_core::{ToolExecutor, WorkspaceManager as _};

use crate::containers::{Plain, Sandbox};
use crate::measure::{Budget, Row, compare, median, time};
use crate::{Bench, Outcome};

/// How many commands run in one turn, of which the median counts: what `docker exec` leaves the engine
/// to do goes on behind it, and would be measured as ours.
const TURN: usize = 20;

/// What a first command writes.
const WORDS: [&str; 2] = ["echo", "ready"];

fn run(bench: &Bench, executor: &dyn ToolExecutor, words: &[&str]) -> Outcome<()> {
    let request = Execute::new(StartProcess::argv(words.iter().copied()));
    let done = bench.runtime.block_on(executor.execute(request))?;
    if done.exit.code == 0 { Ok(()) } else { Err(format!("{:?}", done.exit).into()) }
}

/// A command in a container that is there.
pub(crate) fn warm(bench: &Bench) -> Outcome<Vec<Row>> {
    let sandbox = Sandbox::new(bench)?;
    let plain = Plain::run(&sandbox.image)?;
    bench.in_container(&sandbox, |site, executor| {
        let counts = (bench.options.runs, bench.repeat(50));
        let ours = || {
            let times: Outcome<Vec<f64>> =
                (0..TURN).map(|_| time(|| run(bench, executor, &["true"]))).collect();
            Ok(median(times?))
        };
        let theirs = || time(|| plain.exec(&["true"]));
        let what = "execute `true`, sandbox";
        let total = compare(what, "`docker exec`", Budget::TotalMs(2.0), counts, ours, theirs)?;
        // The same times against the other promise.
        let faster = Row { budget: Budget::TimesAsFast(30.0), ..total.clone() };
        let mut command = sandbox.cli(bench, site.root.as_path())?;
        command.args(["run", "true"]);
        let mut cli = || {
            let done = command.status()?;
            if done.success() { Ok(()) } else { Err(format!("stigmer run true: {done}").into()) }
        };
        let what = "`stigmer run --mode sandbox true`, whole process";
        let whole = compare(
            what,
            "`docker exec`",
            Budget::None,
            (bench.options.runs, bench.repeat(20)),
            || time(&mut cli),
            || time(|| plain.exec(&["true"])),
        );
        let mut remove = sandbox.cli(bench, site.root.as_path())?;
        remove.args(["workspace", "rm"]).status()?;
        Ok(vec![total, faster, whole?])
    })
}

/// From nothing to the first output.
pub(crate) fn cold(bench: &Bench) -> Outcome<Vec<Row>> {
    let sandbox = Sandbox::new(bench)?;
    let counts = (bench.options.runs, bench.repeat(10));
    let theirs = || {
        let mut plain = None;
        let took = time(|| {
            let made = plain.insert(Plain::run(&sandbox.image)?);
            made.exec(&WORDS)
        });
        drop(plain);
        took
    };
    let budget = Budget::TimesAsLong(1.3);
    let yardstick = "`docker run -d` and `docker exec`";
    let embedded = || {
        let site = sandbox.site()?;
        let took = time(|| {
            let manager = sandbox.fresh(bench)?;
            let executor = bench.runtime.block_on(manager.open(&site, &|_| ()))?;
            run(bench, executor.as_ref(), &WORDS)
        });
        sandbox.remove(bench, &site)?;
        took
    };
    let what = "from no container to the first output, embedded";
    let embedded = compare(what, yardstick, budget, counts, embedded, theirs)?;
    let whole = || {
        let site = sandbox.site()?;
        let root = site.root.as_path();
        let took = time(|| {
            let done = sandbox.cli(bench, root)?.arg("run").args(WORDS).status()?;
            if done.success() { Ok(()) } else { Err(format!("stigmer run: {done}").into()) }
        });
        sandbox.cli(bench, root)?.args(["workspace", "rm"]).status()?;
        took
    };
    let what = "from no container to the first output, `stigmer run`";
    Ok(vec![embedded, compare(what, yardstick, budget, counts, whole, theirs)?])
}

/// A container that waits, for a workspace that has none: until it has answered.
pub(crate) fn pooled(bench: &Bench) -> Outcome<Vec<Row>> {
    let sandbox = Sandbox::new(bench)?;
    let manager = sandbox.pooled(bench, 1)?;
    let counts = (bench.options.runs, bench.repeat(10));
    let ours = || {
        bench.runtime.block_on(manager.refill())?;
        let site = sandbox.site()?;
        let claimed = std::sync::atomic::AtomicBool::new(false);
        let listener = |progress| {
            if matches!(&progress, Progress::Step(step) if step.contains("from the pool")) {
                claimed.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let took = time(|| Ok(bench.runtime.block_on(manager.open(&site, &listener)).map(drop)?));
        sandbox.remove(bench, &site)?;
        if !claimed.into_inner() {
            return Err("no container came from the pool".into());
        }
        took
    };
    let theirs = || {
        let mut plain = None;
        let took = time(|| {
            plain = Some(Plain::run(&sandbox.image)?);
            Ok(())
        });
        drop(plain);
        took
    };
    let what = "a new workspace's container, from the pool";
    let row = compare(what, "`docker run -d`", Budget::TotalMs(20.0), counts, ours, theirs);
    bench.runtime.block_on(sandbox.fresh(bench)?.reap(&|_| false))?;
    Ok(vec![row?])
}
