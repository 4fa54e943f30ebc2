//! What the servers cost while they do nothing: time to start, memory, disk.

use std::path::Path;

use stigmer_core::ToolExecutor;
use stigmer_core::file::ReadFile;

use crate::commands::{bare, run_true};
use crate::measure::{Budget, Row, compare, time};
use crate::servers::{Daemon, Sidecar, client};
use crate::{Bench, Outcome};

/// The most that an idle daemon may have in memory.
const DAEMON_MEMORY: f64 = 30e6;

/// The most that an idle sidecar may have in memory: it is in every container.
const SIDECAR_MEMORY: f64 = 8e6;

/// The most that a sidecar may have on disk.
const SIDECAR_SIZE: f64 = 6e6;

/// Requests of each kind after which memory is looked at once more.
const REQUESTS: usize = 100;

/// How much memory a process has in use, in bytes.
fn resident(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    });
    Ok(kilobytes.ok_or("the kernel does not say how much memory it has")? * 1024.0)
}

/// Commands and reads, one after the other.
fn use_it(bench: &Bench, executor: &impl ToolExecutor) -> Outcome<()> {
    for _ in 0..REQUESTS {
        run_true(bench, executor)?;
        let request = ReadFile { path: "small.txt".into(), ..ReadFile::default() };
        bench.runtime.block_on(executor.read_file(request))?;
    }
    Ok(())
}

fn small_file(bench: &Bench) -> Outcome<()> {
    Ok(std::fs::write(bench.workspace().join("small.txt"), "a line\n".repeat(600))?)
}

/// The daemon's start, until it has answered, and its memory.
pub(crate) fn daemon(bench: &Bench) -> Outcome<Vec<Row>> {
    let info = |daemon: &Daemon| -> Outcome<()> {
        bench.runtime.block_on(client(daemon.unix()).info())?;
        Ok(())
    };
    let mut rows = vec![compare(
        "`stigmer server start`, until it has answered",
        "`sh -c true`",
        Budget::TotalMs(100.0),
        (bench.options.runs, bench.repeat(10)),
        || {
            // Its end is not counted.
            let mut daemon = None;
            time(|| info(daemon.insert(Daemon::start(bench)?)))
        },
        || time(|| bare("sh", &["-c", "true"])),
    )?];
    small_file(bench)?;
    let (mut fresh, mut used) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.runs {
        let daemon = Daemon::start(bench)?;
        info(&daemon)?;
        fresh.push(resident(daemon.pid)?);
        use_it(bench, &daemon.open(bench, daemon.unix())?)?;
        used.push(resident(daemon.pid)?);
    }
    rows.push(Row::bytes("daemon, resident, idle", DAEMON_MEMORY, fresh));
    let what = format!("daemon, resident, after {REQUESTS} commands and reads");
    rows.push(Row::bytes(&what, DAEMON_MEMORY, used));
    Ok(rows)
}

/// The sidecar's size, and its memory.
pub(crate) fn sidecar(bench: &Bench) -> Outcome<Vec<Row>> {
    let program = bench.sidecar()?;
    small_file(bench)?;
    let (mut fresh, mut used) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.runs {
        let sidecar = Sidecar::unix(bench)?;
        let executor = sidecar.open(bench)?;
        fresh.push(resident(sidecar.pid())?);
        use_it(bench, &executor)?;
        used.push(resident(sidecar.pid())?);
    }
    let what = format!("sidecar, resident, after {REQUESTS} commands and reads");
    Ok(vec![
        Row::bytes("sidecar, on disk", SIDECAR_SIZE, vec![size(&program)?]),
        Row::bytes("sidecar, resident, idle", SIDECAR_MEMORY, fresh),
        Row::bytes(&what, SIDECAR_MEMORY, used),
    ])
}

#[allow(clippy::cast_precision_loss, reason = "a program has less than a petabyte")]
fn size(program: &Path) -> Outcome<f64> {
    Ok(std::fs::metadata(program)?.len() as f64)
}
