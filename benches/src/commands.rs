//! Running commands.

use std::path::Path;
use std::process::{Command, Stdio};

use stigmer_core::ToolExecutor;
use stigmer_core::process::{Execute, StartProcess};

use stigmer_host::HostExecutor;

use crate::measure::{Budget, Row, compare, time};
use crate::scratch::Scratch;
use crate::{Bench, Outcome};

pub(crate) fn bare(program: &str, arguments: &[&str]) -> Outcome<()> {
    let mut command = Command::new(program);
    let done = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(format!("{program}: {done}").into()) }
}

/// `true`, wherever the executor runs it.
pub(crate) fn run_true(bench: &Bench, executor: &impl ToolExecutor) -> Outcome<()> {
    let request = Execute::new(StartProcess::argv(["true"]));
    let done = bench.runtime.block_on(executor.execute(request))?;
    if done.exit.code == 0 { Ok(()) } else { Err(format!("{:?}", done.exit).into()) }
}

/// The engine in process, `true`, against a bare fork and exec. Each command has a directory with a
/// record of its own, so where the state lies makes a difference: both are measured.
pub(crate) fn execute(bench: &Bench) -> Outcome<Vec<Row>> {
    let against_bare = |what: &str, executor: &HostExecutor| {
        compare(
            what,
            "fork + exec",
            Budget::ExtraMs(0.5),
            (bench.options.runs, bench.repeat(200)),
            || time(|| run_true(bench, executor)),
            || time(|| bare("true", &[])),
        )
    };
    let mut rows = vec![against_bare("execute `true`, embedded, state on disk", &bench.executor)?];
    if let Ok(memory) = Scratch::beneath(Path::new("/dev/shm")) {
        let root = memory.path().join("workspace");
        std::fs::create_dir(&root)?;
        let executor = bench.executor_in(&root, memory.path())?;
        rows.push(against_bare("execute `true`, embedded, state in memory", &executor)?);
    }
    Ok(rows)
}

/// The CLI as a whole process.
pub(crate) fn run(bench: &Bench) -> Outcome<Vec<Row>> {
    let what = "`stigmer run true`, whole process";
    Ok(vec![run_the_cli(bench, what, &bench.home.path().join("cli"))?])
}

/// The CLI, with this as its home.
pub(crate) fn run_the_cli(bench: &Bench, what: &str, home: &Path) -> Outcome<Row> {
    let mut command = bench.cli(home)?;
    command.args(["run", "true"]).stdout(Stdio::null());
    let mut ours = || {
        let done = command.status()?;
        if done.success() { Ok(()) } else { Err(format!("stigmer run true: {done}").into()) }
    };
    compare(
        what,
        "`sh -c true`",
        Budget::TotalMs(6.0),
        (bench.options.runs, bench.repeat(100)),
        || time(&mut ours),
        || time(|| bare("sh", &["-c", "true"])),
    )
}

/// A thousand commands at once, from one client.
pub(crate) fn thousand(bench: &Bench) -> Outcome<Vec<Row>> {
    Ok(vec![thousand_in(bench, "1,000 × `sleep 1` at once", &bench.executor)?])
}

/// The same, wherever the executor runs them.
pub(crate) fn thousand_in(bench: &Bench, what: &str, executor: &impl ToolExecutor) -> Outcome<Row> {
    let ours = || {
        let all = (0..1000).map(|_| {
            let request = Execute::new(StartProcess::argv(["sleep", "1"]));
            executor.execute(request)
        });
        for done in bench.runtime.block_on(futures_util::future::join_all(all)) {
            let done = done?;
            if done.exit.code != 0 {
                return Err(format!("one was lost: {:?}", done.exit).into());
            }
        }
        Ok(())
    };
    let line = "for i in $(seq 1000); do sleep 1 & done; wait";
    compare(
        what,
        "`bash`, `&` and `wait`",
        Budget::TimesAsLong(1.5),
        (bench.options.runs, 1),
        || time(ours),
        || time(|| bare("bash", &["-c", line])),
    )
}
