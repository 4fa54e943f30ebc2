//! Output in bulk.

use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::StreamExt;
use stigmer_core::ToolExecutor;
use stigmer_core::process::{Follow, OutputEvent, ReadOutput, StartProcess};

use crate::measure::{Budget, Row, compare, time};
use crate::servers::Daemon;
use crate::{Bench, Outcome, STIGMER_BIN, STIGMER_SIDECAR_BIN};

/// Half the speed of a pipe with a copy kept, which is what the log is.
const BUDGET: Budget = Budget::TimesAsFast(0.5);

fn bytes(bench: &Bench) -> u64 {
    if bench.options.quick { 100 << 20 } else { 1 << 30 }
}

fn shell(bench: &Bench, line: &str) -> Outcome<()> {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(bench.home.path().join("workspace"));
    command.env("STIGMER_HOME", bench.home.path().join("cli"));
    command.env_remove(STIGMER_BIN).env_remove(STIGMER_SIDECAR_BIN);
    let done = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(format!("{line}: {done}").into()) }
}

/// Through the engine in process, to a client that throws it away.
pub(crate) fn embedded(bench: &Bench) -> Outcome<Vec<Row>> {
    let bytes = bytes(bench);
    let kept = bench.home.path().join("state/processes");
    let mut rows = Vec::new();
    for (name, cap) in [("the default cap", None), ("everything kept", Some(2 << 30))] {
        rows.push(compare(
            &format!("{} MiB of output, {name}", bytes >> 20),
            "`prog \\| tee log \\| cat`",
            BUDGET,
            (bench.options.runs, 1),
            || time(|| follow(bench, &bench.executor, &kept, (bytes, cap))),
            || time(|| shell(bench, &tee(bytes))),
        )?);
        // Not to fill the disk: the log of each run is kept otherwise.
        std::fs::remove_dir_all(&kept)?;
    }
    Ok(rows)
}

/// Through the daemon's socket, to a client that throws it away.
pub(crate) fn through_the_daemon(bench: &Bench) -> Outcome<Vec<Row>> {
    let bytes = bytes(bench);
    let daemon = Daemon::start(bench)?;
    let executor = daemon.open(bench, daemon.unix())?;
    let kept = daemon.processes();
    Ok(vec![compare(
        &format!("{} MiB of output, daemon, unix socket", bytes >> 20),
        "`prog \\| tee log \\| cat`",
        BUDGET,
        (bench.options.runs, 1),
        || time(|| follow(bench, &executor, &kept, (bytes, None))),
        || time(|| shell(bench, &tee(bytes))),
    )?])
}

/// The yardstick.
fn tee(bytes: u64) -> String {
    format!("head -c {bytes} /dev/zero | tee log | cat > /dev/null; rm log")
}

/// Follows a command that writes so many bytes, of which so many are kept in the directory.
fn follow(
    bench: &Bench,
    executor: &impl ToolExecutor,
    kept: &Path,
    (bytes, cap): (u64, Option<u64>),
) -> Outcome<()> {
    bench.runtime.block_on(async {
        let mut start = StartProcess::shell(format!("head -c {bytes} /dev/zero"));
        start.output_cap = cap;
        let id = executor.start_process(start).await?.id;
        let request = ReadOutput { since: 0, follow: Follow::UntilExit, hold: true };
        let mut stream = executor.process_output(&id, request).await?;
        let mut seen = 0;
        while let Some(event) = stream.next().await {
            match event? {
                OutputEvent::Output { bytes, .. } => seen += bytes.len() as u64,
                OutputEvent::Gap { length, .. } => return Err(format!("{length} lost").into()),
                OutputEvent::Exit(_) => {}
            }
        }
        std::fs::remove_dir_all(kept.join(id.as_str()))?;
        if seen == bytes { Ok(()) } else { Err(format!("{seen} of {bytes} bytes").into()) }
    })
}

/// Through the CLI and a pipe.
pub(crate) fn through_the_cli(bench: &Bench) -> Outcome<Vec<Row>> {
    let stigmer = bench.stigmer()?;
    let (stigmer, bytes) = (stigmer.display(), bytes(bench));
    let ours = format!(
        "'{stigmer}' run 'head -c {bytes} /dev/zero' | cat > /dev/null; \
         rm -rf \"$STIGMER_HOME/state/processes\""
    );
    Ok(vec![compare(
        &format!("`stigmer run prog \\| cat`, {} MiB", bytes >> 20),
        "`prog \\| tee log \\| cat`",
        BUDGET,
        (bench.options.runs, 1),
        || time(|| shell(bench, &ours)),
        || time(|| shell(bench, &tee(bytes))),
    )?])
}
