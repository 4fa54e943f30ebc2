//! What a command costs in Python.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::commands::run_true;
use crate::measure::{Budget, Row, compare, time};
use crate::servers::Daemon;
use crate::{Bench, Outcome};

/// The variable that names a Python that has the package `stigmer`.
const STIGMER_BENCH_PYTHON: &str = "STIGMER_BENCH_PYTHON";

/// Does what a line names, and says how many seconds that took. One program does both, so that both
/// are slowed by the same.
const BARE: &str = "
import subprocess, sys, time
def theirs():
    subprocess.run(['true'])
def serve(ours):
    for line in sys.stdin:
        work = ours if line == 'ours\\n' else theirs
        begin = time.perf_counter()
        work()
        print(time.perf_counter() - begin, flush=True)
";

/// With the client.
const CLIENT: &str = "
import stigmer
workspace = stigmer.Client(autostart=False).workspace(sys.argv[1], mode='local')
def ours():
    assert workspace.execute(['true']).exit_code == 0
serve(ours)
";

/// A Python that does what it is told.
struct Python {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Python {
    fn start(program: &Path, code: &str, home: &Path, root: &Path) -> Outcome<Self> {
        let mut child = Command::new(program)
            .args(["-c", code])
            .arg(root)
            .env("STIGMER_HOME", home)
            .env_remove("STIGMER_BACKEND_ENDPOINT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("yardstick missing: {}: {error}", program.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("python has no pipe")?;
        Ok(Self { child, input, output: BufReader::new(output) })
    }

    /// Milliseconds that it took.
    fn time(&mut self, what: &str) -> Outcome<f64> {
        writeln!(self.input.as_mut().ok_or("python has no pipe")?, "{what}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().parse::<f64>()? * 1000.0)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// A command without Python against what most agents use.
pub(crate) fn yardstick(bench: &Bench) -> Outcome<Vec<Row>> {
    let (home, root) = (bench.home.path(), bench.workspace());
    let code = format!("{BARE}\nserve(theirs)");
    let mut python = Python::start(Path::new("python3"), &code, home, &root)?;
    let row = compare(
        "execute `true`, embedded",
        "Python `subprocess.run`",
        Budget::None,
        (bench.options.runs, bench.repeat(100)),
        || time(|| run_true(bench, &bench.executor)),
        || python.time("theirs"),
    );
    Ok(vec![row?])
}

/// The client without `async`, through the daemon.
pub(crate) fn client(bench: &Bench) -> Outcome<Vec<Row>> {
    let program = std::env::var_os(STIGMER_BENCH_PYTHON)
        .map(PathBuf::from)
        .ok_or("no Python with the package: set STIGMER_BENCH_PYTHON")?;
    // A link to the environment's Python stays one: it says where the packages are.
    let program = std::path::absolute(program)?;
    let daemon = Daemon::start(bench)?;
    let code = format!("{BARE}\n{CLIENT}");
    let python = Python::start(&program, &code, daemon.home(), &bench.workspace())?;
    let python = std::cell::RefCell::new(python);
    let row = compare(
        "`workspace.execute([\"true\"])`, Python client",
        "Python `subprocess.run`",
        Budget::TotalMs(3.0),
        (bench.options.runs, bench.repeat(200)),
        || python.borrow_mut().time("ours"),
        || python.borrow_mut().time("theirs"),
    );
    Ok(vec![row?])
}
