//! The sidecar: the host's operations in one workspace, served.
//!
//! It runs inside a container or machine, often as its process 1, and brings all that it needs: no
//! shell, no user database, no name service. It writes to its state directory and the workspace
//! only.

mod arguments;
mod broker;
mod connect;
mod container;
mod idle;
mod init;
mod listeners;
mod pool;
mod stdio;
mod workspace;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use stigmer_api::serve::{Drained, Limits, Server};
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use arguments::{Arguments, Wish};
use idle::{Use, is_unused};
use stdio::TakenStdio;
use workspace::OneWorkspace;

/// Supervisors that wait for a command: an agent starts a few at once, and each that waits costs
/// memory.
const RESERVE: Reserve = Reserve::Keep(4);

/// The argument with which the sidecar executes itself as its new reserve, when the one that it has
/// forked is gone.
const SERVE_AS_RESERVE: &str = "serve-as-reserve";

/// This program, whatever its file is called by now.
const ITSELF: &str = "/proc/self/exe";

/// How long what is being done may take when it is told to end. Whoever tells it (a container
/// engine) kills it after ten seconds; commands that are ended need two of them.
const DRAIN: Duration = Duration::from_secs(5);

/// Threads for file operations: more do not make a disk faster, and each has a stack.
const FILE_THREADS: usize = 32;

/// Heaps of the allocator. It has one for each thread otherwise, and none gives back what it has.
const HEAPS: i32 = 2;

/// When memory runs out commands are what ends, and not who looks after them: each counts as if it had
/// half of the memory more than it has.
const OOM_SCORE: u16 = 500;

/// Exit code for arguments that are wrong.
const BAD_ARGUMENTS: u8 = 2;

/// Exit code of a server that nobody has used for as long as it was told to wait.
const IDLE: u8 = 10;

/// What a root must have beside the program, and why.
const NEEDED: &[(&str, &str)] = &[
    ("/proc/self/fd", "mount /proc; commands are found and ended through it"),
    ("/dev/null", "commands that are given nothing to read, read it"),
];

fn main() -> ExitCode {
    if let Some(name) = broker::called_as() {
        return broker::run_shim(name);
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == SERVE_AS_RESERVE) {
        Launcher::serve_as_reserve(RESERVE);
    }
    let wish = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(wish) => wish,
        Err(reason) => {
            say(&format!("{reason}; --help lists the arguments"));
            return ExitCode::from(BAD_ARGUMENTS);
        }
    };
    let shown = match wish {
        Wish::Serve(arguments) => return serve(&arguments),
        Wish::Init(wanted) => return container::run(wanted),
        Wish::Keep(wanted) => return pool::keep(&wanted),
        Wish::Connect(shared) => return connect::run(&shared),
        Wish::Help => arguments::HELP.to_owned(),
        Wish::Version => concat!("stigmer-sidecar ", env!("CARGO_PKG_VERSION"), "\n").to_owned(),
    };
    match std::io::stdout().write_all(shown.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Standard error is the only place where it speaks; if nobody listens, that is that.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("stigmer-sidecar: {text}\n").as_bytes());
}

fn serve(arguments: &Arguments) -> ExitCode {
    match try_serve(arguments) {
        Ok(Served { drained, idle }) => {
            if drained.cut > 0 {
                let cut = drained.cut;
                say(&format!("cut {cut} connections off that had not ended in time"));
            }
            if idle { ExitCode::from(IDLE) } else { ExitCode::SUCCESS }
        }
        Err(reason) => {
            say(&reason);
            ExitCode::FAILURE
        }
    }
}

/// How it ended.
struct Served {
    drained: Drained,
    /// Nobody used it.
    idle: bool,
}

fn try_serve(arguments: &Arguments) -> Result<Served, String> {
    for (needed, why) in NEEDED {
        if !Path::new(needed).exists() {
            return Err(format!("there is no {needed}: {why}"));
        }
    }
    let stdio = arguments
        .listen
        .contains(&arguments::Listen::Stdio)
        .then(TakenStdio::take)
        .transpose()
        .map_err(|error| format!("cannot take standard input and output: {error}"))?;
    // SAFETY: `mallopt` takes two numbers; there is one thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS) };
    // Supervisors are forked before there are threads.
    let launcher = Launcher::fork(RESERVE)
        .map_err(|error| format!("cannot fork the supervisors of commands: {error}"))?
        .with_program(ITSELF, [SERVE_AS_RESERVE]);
    let mut processes = ProcessOptions {
        launcher: Some(Arc::new(launcher)),
        oom_score: arguments.end_commands.then_some(OOM_SCORE),
        ..ProcessOptions::default()
    };
    if arguments.own_environment {
        let own = std::env::vars_os().map(|(name, value)| (name.into(), value.into()));
        processes.environment = own.collect();
    }
    let options = HostOptions { processes, ..HostOptions::new(&arguments.root, &arguments.state) };
    let executor = HostExecutor::open(options).map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(FILE_THREADS)
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let served = runtime.block_on(run(arguments, stdio, Arc::new(executor)));
    // A file operation that hangs must not keep the program.
    runtime.shutdown_background();
    served
}

async fn run(
    arguments: &Arguments,
    stdio: Option<TakenStdio>,
    executor: Arc<HostExecutor>,
) -> Result<Served, String> {
    let unusable = |error: std::io::Error| format!("cannot start: {error}");
    // Process 1 gets no signal that it has no handler for.
    let mut terminate = signal(SignalKind::terminate()).map_err(unusable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unusable)?;
    // To make room for another, if no command runs.
    let mut give_way = signal(SignalKind::user_defined1()).map_err(unusable)?;
    if init::is_init() {
        tokio::spawn(init::reap(init::children().map_err(unusable)?));
    }
    let stdio = stdio
        .map(TakenStdio::into_stream)
        .transpose()
        .map_err(|error| format!("cannot listen on stdio: {error}"))?;

    let provider = Arc::new(OneWorkspace::new(Arc::clone(&executor)));
    let used = Use::default();
    let mut router = stigmer_api::server::routes(provider).into_axum_router();
    if arguments.ttl.is_some() {
        router = used.count(router);
    }
    let server = Server::new(router, Limits::default());
    let (server, listening) = listeners::listen(server, arguments, stdio)?;
    for place in &listening.places {
        say(&format!("listening on {place}"));
    }

    let shutdown = CancellationToken::new();
    let serving = server.run(shutdown.clone(), DRAIN);
    let commands = Arc::clone(&executor);
    let ends_commands = arguments.end_commands || init::is_init();
    let ttl = arguments.ttl;
    let ending = tokio::spawn(async move {
        let idle = async {
            match ttl {
                Some(ttl) => used.idle_for(ttl, &commands).await,
                None => std::future::pending().await,
            }
        };
        let unused = async {
            while give_way.recv().await.is_some() {
                if is_unused(&commands).await {
                    break;
                }
            }
        };
        let told = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            () = idle => false,
            () = unused => false,
        };
        shutdown.cancel();
        if told && ends_commands {
            // Whoever waits for a command learns that it has ended.
            let _ = init::end_all(&commands).await;
        }
        told
    });
    let drained = serving.await;
    // One that ends with its stream was not told to, and not idle either.
    let idle = ending.is_finished() && matches!(ending.await, Ok(false));
    if idle {
        // A command may have been started by a request that came at the last moment.
        let idle = is_unused(&executor).await;
        drop(listening);
        return Ok(Served { drained, idle });
    }
    if ends_commands {
        // The kernel kills without grace whatever process 1 leaves behind.
        let _ = init::end_all(&executor).await;
    }
    drop(listening);
    Ok(Served { drained, idle })
}
