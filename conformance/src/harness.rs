//! From cases to tests.

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use stigmer_core::{Capabilities, Capability};

use crate::Fixture;

/// How long one case may take. Only a hang reaches it: no case measures time.
const HANG: Duration = Duration::from_secs(120);

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One thing that every backend must do.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its module and function, without the crate.
    pub name: &'static str,
    /// Without these a backend may leave it out.
    pub needs: &'static [Capability],
    /// Runs it in a fixture of its own; it fails by panicking.
    pub run: fn(Fixture) -> Running,
}

/// Lists the cases of a module: functions from a fixture to a future.
macro_rules! cases {
    ($($(#[needs($($capability:ident),+)])? $case:ident,)+) => {
        pub(crate) fn cases() -> Vec<$crate::Case> {
            vec![$($crate::Case {
                name: concat!(module_path!(), "::", stringify!($case)),
                needs: &[$($(stigmer_core::Capability::$capability,)+)?],
                run: |fixture| Box::pin($case(fixture)),
            },)+]
        }
    };
}
pub(crate) use cases;

/// Every case.
pub fn all() -> Vec<Case> {
    crate::cases::all()
}

/// Runs the suite as a test program: takes the arguments of `cargo test` and returns its exit code.
///
/// `make` makes a new, empty workspace; it is called once for each case, on the case's own runtime,
/// and once to learn what the backend can do.
pub fn run<M, F>(backend: &str, make: M) -> ExitCode
where
    M: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Fixture> + 'static,
{
    run_with(Arguments::from_args(), backend, make)
}

/// The same with twice as many cases at a time as there are processors, unless the arguments say
/// otherwise: for backends whose workspaces are made by waiting for somebody else.
pub fn run_waiting<M, F>(backend: &str, make: M) -> ExitCode
where
    M: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Fixture> + 'static,
{
    let mut arguments = Arguments::from_args();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(2 * processors);
    run_with(arguments, backend, make)
}

fn run_with<M, F>(arguments: Arguments, backend: &str, make: M) -> ExitCode
where
    M: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Fixture> + 'static,
{
    let make = Arc::new(make);
    let capabilities = runtime().unwrap().block_on(make()).executor.capabilities().clone();
    let trials = all().into_iter().map(|case| trial(backend, case, &capabilities, &make)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial<M, F>(backend: &str, case: Case, capabilities: &Capabilities, make: &Arc<M>) -> Trial
where
    M: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Fixture> + 'static,
{
    let short = case.name.trim_start_matches("stigmer_conformance::cases::");
    let name = format!("{backend}::{short}");
    let lacks: Vec<&str> = case
        .needs
        .iter()
        .filter(|capability| !capabilities.has(**capability))
        .map(|capability| capability.name())
        .collect();
    if !lacks.is_empty() {
        skipped(&name, &lacks.join(", "));
        return Trial::test(name, || Ok(())).with_ignored_flag(true).with_kind("lacks capability");
    }
    let make = Arc::clone(make);
    Trial::test(name, move || one(case, make()))
}

#[allow(clippy::print_stderr, reason = "what is left out is said aloud")]
fn skipped(name: &str, lacks: &str) {
    eprintln!("LEFT OUT {name}: the backend lacks {lacks}");
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn one(case: Case, fixture: impl Future<Output = Fixture>) -> Result<(), Failed> {
    runtime()?.block_on(async {
        let whole = async { (case.run)(fixture.await).await };
        match tokio::time::timeout(HANG, whole).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Failed::from(format!("hangs: no end within {} s", HANG.as_secs()))),
        }
    })
}
