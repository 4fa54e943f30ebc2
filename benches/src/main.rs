//! Speed, held against a yardstick.
//!
//! Two programs run interleaved in one process: a figure alone says more of the machine than of the
//! program. Each comparison is made in five runs; of each run the medians of both are taken, and of
//! the five their median. No test depends on what comes out; `--strict` is for people.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the figures are the output")]

mod commands;
mod containers;
mod copies;
mod files;
mod footprint;
mod lanes;
mod measure;
mod python;
mod report;
mod sandbox;
mod scratch;
mod search;
mod served;
mod servers;
mod streaming;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};

use measure::Row;
use scratch::Scratch;

/// A benchmark's outcome; what goes wrong is told in its row.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Measures, and gives lines of the table.
type Benchmark = fn(&Bench) -> Outcome<Vec<Row>>;

/// The variables that name what is measured.
const STIGMER_BIN: &str = "STIGMER_BIN";
const STIGMER_SIDECAR_BIN: &str = "STIGMER_SIDECAR_BIN";

const HELP: &str = "usage: stigmer-bench [options] [part of a name]...
  --stigmer FILE  the release binary of the CLI (or the variable STIGMER_BIN)
  --sidecar FILE  the static binary of the sidecar (or STIGMER_SIDECAR_BIN)
  --tree DIR      what is searched (default: the sources in the cargo registry)
  --runs N        runs of each comparison (default 5)
  --quick         a tenth of the repetitions: to see that it works
  --write FILE    update the table in a Markdown file
  --strict        fail if a budget is missed
Sandbox mode needs a container engine and an image: stigmer-sandbox-basic:local, or what
STIGMER_TEST_IMAGE names. STIGMER_BENCH_PYTHON is a Python with the package stigmer,
for its client. STIGMER_BENCH_COPY_BYTES says how much is copied (default 1 GiB).";

/// What was asked for.
#[derive(Debug)]
struct Options {
    stigmer: Option<PathBuf>,
    sidecar: Option<PathBuf>,
    tree: Option<PathBuf>,
    runs: usize,
    quick: bool,
    write: Option<PathBuf>,
    strict: bool,
    names: Vec<String>,
}

/// What every benchmark has.
struct Bench {
    options: Options,
    executor: HostExecutor,
    runtime: tokio::runtime::Runtime,
    /// A directory for files; the workspace is `workspace` in it.
    home: Scratch,
    launcher: Arc<Launcher>,
}

fn main() -> ExitCode {
    // Supervisors are forked before there are threads.
    let done = Launcher::fork(Reserve::Keep(8)).map_err(Into::into).and_then(|launcher| {
        let options = arguments()?;
        let Some(options) = options else { return Ok(true) };
        all(Bench::new(options, Arc::new(launcher))?)
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("stigmer-bench: {error}");
            ExitCode::from(2)
        }
    }
}

fn all(bench: Bench) -> Outcome<bool> {
    let benchmarks: [(&str, Benchmark); 23] = [
        ("execute", commands::execute),
        ("decision", lanes::decision),
        ("lanes", lanes::lanes),
        ("daemon-execute", served::execute),
        ("sidecar-execute", served::execute_in_sidecar),
        ("python", python::yardstick),
        ("python-client", python::client),
        ("run", commands::run),
        ("daemon-run", served::run),
        ("thousand", commands::thousand),
        ("daemon-thousand", served::thousand),
        ("grep", search::grep),
        ("streaming", streaming::embedded),
        ("daemon-streaming", streaming::through_the_daemon),
        ("pipe", streaming::through_the_cli),
        ("files", files::files),
        ("daemon-files", served::files),
        ("daemon-footprint", footprint::daemon),
        ("sidecar-footprint", footprint::sidecar),
        ("sandbox-warm", sandbox::warm),
        ("sandbox-cold", sandbox::cold),
        ("sandbox-pool", sandbox::pooled),
        ("sandbox-copies", copies::copies),
    ];
    let mut rows = Vec::new();
    for (name, benchmark) in benchmarks {
        let wanted = &bench.options.names;
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        eprintln!("measuring: {name}");
        // What the one before has written is not paid for by this one.
        rustix::fs::sync();
        match benchmark(&bench) {
            Ok(more) => rows.extend(more),
            Err(error) => {
                eprintln!("NOT MEASURED: {name}: {error}");
                rows.push(Row::missing(name, &error.to_string()));
            }
        }
    }
    report::keep_raw(&rows)?;
    let table = report::table(&rows);
    println!("{table}");
    if let Some(path) = &bench.options.write {
        report::write(path, &table)?;
    }
    Ok(!bench.options.strict || rows.iter().all(|row| row.met() != Some(false)))
}

fn arguments() -> Outcome<Option<Options>> {
    let mut options = Options {
        stigmer: std::env::var_os(STIGMER_BIN).map(PathBuf::from),
        sidecar: std::env::var_os(STIGMER_SIDECAR_BIN).map(PathBuf::from),
        tree: None,
        runs: 5,
        quick: false,
        write: None,
        strict: false,
        names: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--stigmer" => options.stigmer = Some(value()?.into()),
            "--sidecar" => options.sidecar = Some(value()?.into()),
            "--tree" => options.tree = Some(value()?.into()),
            "--runs" => options.runs = value()?.parse::<usize>()?.max(1),
            "--quick" => options.quick = true,
            "--write" => options.write = Some(value()?.into()),
            "--strict" => options.strict = true,
            // What cargo passes to every benchmark.
            "--bench" => {}
            "--help" => {
                println!("{HELP}");
                return Ok(None);
            }
            unknown if unknown.starts_with('-') => {
                return Err(format!("unknown option {unknown}\n{HELP}").into());
            }
            name => options.names.push(name.to_owned()),
        }
    }
    Ok(Some(options))
}

impl Bench {
    fn new(options: Options, launcher: Arc<Launcher>) -> Outcome<Self> {
        let home = Scratch::new()?;
        let root = home.path().join("workspace");
        std::fs::create_dir(&root)?;
        let executor = open(&root, home.path(), &launcher)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { options, executor, runtime, home, launcher })
    }

    /// How often something is repeated in one run.
    fn repeat(&self, count: usize) -> usize {
        if self.options.quick { count.div_ceil(10) } else { count }
    }

    /// The CLI, or why it is not measured.
    fn stigmer(&self) -> Outcome<PathBuf> {
        let path = self.options.stigmer.clone().ok_or("no CLI: set STIGMER_BIN")?;
        Ok(path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?)
    }

    /// The CLI with this as its home, in the workspace.
    fn cli(&self, home: &Path) -> Outcome<Command> {
        let mut command = Command::new(self.stigmer()?);
        command.current_dir(self.workspace()).env("STIGMER_HOME", home).stdin(Stdio::null());
        // They are ours, and it would warn of settings that it does not have.
        command.env_remove(STIGMER_BIN).env_remove(STIGMER_SIDECAR_BIN);
        Ok(command)
    }

    /// The sidecar, or why it is not measured.
    fn sidecar(&self) -> Outcome<PathBuf> {
        let path = self.options.sidecar.clone();
        let path = path.ok_or("no sidecar: run scripts/build-sidecar, set STIGMER_SIDECAR_BIN")?;
        Ok(path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?)
    }

    fn workspace(&self) -> PathBuf {
        self.home.path().join("workspace")
    }

    /// An executor in another directory, with its state beneath `home`.
    fn executor_in(&self, root: &Path, home: &Path) -> Outcome<HostExecutor> {
        open(root, home, &self.launcher)
    }
}

fn open(root: &Path, home: &Path, launcher: &Arc<Launcher>) -> Outcome<HostExecutor> {
    // Commands are found where the yardstick finds them.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let processes = ProcessOptions {
        launcher: Some(Arc::clone(launcher)),
        environment: vec![("PATH".into(), path.into())],
        ..ProcessOptions::default()
    };
    let (root, state) = (root.to_owned(), home.join("state"));
    Ok(HostExecutor::open(HostOptions { root, state, resolver: None, processes })?)
}
