//! Being the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use stigmer_api::Provider;
use stigmer_api::serve::{Access, Limits, Server, SocketFile, Token, bind_unix};
use stigmer_core::{ErrorCode, Result, ToolError};
use stigmer_engine::{Configuration, Engine, Launcher, ProcessScope, Surroundings};
use stigmer_mcp::{CommandSettings, Scope, Served};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::descriptors::Descriptors;
use crate::idle::{Work, idle_for};
use crate::listen::{self, Listen};
use crate::lock::Lock;
use crate::logging::{self, LogFile};
use crate::metrics::{self, Metrics};
use crate::place::{DaemonPlace, check_socket_path};
use crate::provider::DaemonProvider;
use crate::record::{Record, find};
use crate::telemetry::Traces;
use crate::token::token_or_new;

/// Threads that serve. They wait most of the time; what blocks has threads of its own.
const WORKERS: usize = 2;

/// How long the kernel may take to clear away behind a daemon that was killed, or a daemon to say
/// who it is.
const CLEARING: Duration = Duration::from_secs(2);

/// How often it is looked for sandboxes that nobody needs: they end by themselves when they were not
/// used for long, so this is for what is left over.
const REAPING: Duration = Duration::from_secs(600);

/// How long a daemon that was told to end waits for what it is doing.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// How a daemon is started.
#[derive(Debug)]
pub struct Options {
    /// The settings.
    pub configuration: Configuration,
    /// What the settings were read from.
    pub surroundings: Surroundings,
    /// Its directory.
    pub place: DaemonPlace,
    /// Where commands get their supervisors from; forked before there were threads.
    pub launcher: Launcher,
    /// The TCP address.
    pub listen: Listen,
    /// The unix socket, from `/`, if it is not the one in the daemon's directory.
    pub socket: Option<PathBuf>,
    /// It ends itself when nobody has used it for so long; `None` is never.
    pub idle_limit: Option<Duration>,
    /// Somebody looks on: log to standard error, too. Else standard error goes to the log.
    pub foreground: bool,
}

/// Serves until a signal says that it is enough: TERM or INT, or both again for at once; or until
/// nobody has used it for as long as it may be idle. `ready` is told when everything listens.
///
/// # Errors
/// `exists` if a daemon runs in this place, `bad_configuration` for settings that cannot be had, and
/// whatever keeps it from serving its socket. A TCP port that cannot be had keeps it from nothing:
/// the record says why.
pub fn run(options: Options, ready: impl FnOnce(&Record) -> Result<()>) -> Result<()> {
    let Options {
        configuration,
        surroundings,
        place,
        launcher,
        listen,
        socket,
        idle_limit,
        foreground,
    } = options;
    let socket = socket.unwrap_or_else(|| place.socket());
    check_socket_path(&socket)?;
    check_socket_path(&place.descriptors())?;
    // The settings contradict each other: that is told now, and not to the first client.
    configuration.target()?;
    place.make()?;
    let lock = take_lock(&place)?;
    // The directories of others must not be kept in use by us.
    std::env::set_current_dir("/")
        .map_err(|error| ToolError::from_io("change to", &"/".into(), &error))?;
    // What a dead daemon said of itself. Its sockets are replaced where they are bound.
    let _ = std::fs::remove_file(place.record());
    let token = Token::new(token_or_new(&configuration, &place)?.expose())?;
    let log = LogFile::open(&place.log(), !foreground)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("stigmer-serve")
        .enable_all()
        .build()
        .map_err(|error| io("start", "the runtime", &error))?;
    let traces = {
        let _entered = runtime.enter();
        Traces::from_environment(&surroundings)?
    };
    let levels = configuration.log_levels().to_owned();
    logging::install(&levels, log, foreground, traces.as_ref().map(Traces::layer))?;
    let daemon = Daemon {
        engine: Engine::new(configuration, Some(launcher), ProcessScope::Workspace),
        place: place.clone(),
        token,
        listen,
        socket,
        idle_limit,
        traces: traces.clone(),
    };
    let result = runtime.block_on(daemon.serve(ready));
    if let Some(traces) = traces {
        traces.finish();
    }
    // What is blocked in the kernel is not waited for.
    runtime.shutdown_background();
    // The sockets are gone with the listeners, if they were ours.
    let _ = std::fs::remove_file(place.record());
    drop(lock);
    result
}

/// Takes the lock. One who was just killed holds it until the kernel has cleared away behind it.
fn take_lock(place: &DaemonPlace) -> Result<Lock> {
    let began = Instant::now();
    loop {
        if let Some(lock) = Lock::take(&place.lock())? {
            return Ok(lock);
        }
        match find(place)? {
            Some(running) if began.elapsed() > CLEARING => return Err(running.refuse_second()),
            // The sockets of one who was killed may be there for a moment, too.
            Some(running) if running.record.is_some() && began.elapsed() > CLEARING / 10 => {
                return Err(running.refuse_second());
            }
            _ => std::thread::sleep(CLEARING / 100),
        }
    }
}

struct Daemon {
    engine: Engine,
    place: DaemonPlace,
    token: Token,
    listen: Listen,
    socket: PathBuf,
    idle_limit: Option<Duration>,
    traces: Option<Traces>,
}

/// The two sockets, and their files.
struct Sockets {
    api: UnixListener,
    descriptors: UnixListener,
    _files: [SocketFile; 2],
}

impl Daemon {
    async fn serve(self, ready: impl FnOnce(&Record) -> Result<()>) -> Result<()> {
        let metrics = Metrics::install()?;
        let mut signals = Signals::listen()?;
        let sockets = self.sockets()?;
        let (tcp, no_tcp) = self.tcp()?;
        let record = Record {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: now_ms(),
            socket: self.socket.clone(),
            descriptors: self.place.descriptors(),
            tcp: tcp.as_ref().and_then(|listener| listener.local_addr().ok()),
            no_tcp,
            settings: self.engine.settings_of_environment(),
        };
        let descriptors = Descriptors::default();
        let provider =
            Arc::new(DaemonProvider::new(self.engine, descriptors.clone(), record.clone()));
        if let Some(traces) = self.traces {
            tokio::spawn(traces.follow(provider.events(None, true).await?));
        }
        tokio::spawn(descriptors.serve(sockets.descriptors));
        tokio::spawn(metrics.clone().keep_up());
        tokio::spawn(reap(Arc::clone(provider.engine())));
        tokio::spawn(keep_pool(Arc::clone(provider.engine()), provider.work().clone()));

        let uid = rustix::process::geteuid().as_raw();
        let (draining, at_once) = (CancellationToken::new(), CancellationToken::new());
        let mcp = mcp(&provider, draining.clone())?;
        let router = router(Arc::clone(&provider), metrics).merge(mcp);
        let mut server = Server::new(router, Limits::default()).unix(sockets.api, uid);
        if let Some(listener) = tcp {
            server = server
                .tcp(listener, Access::new(self.token))
                .map_err(|error| io("listen on", "TCP", &error))?;
        }
        let activity = server.activity();
        record.write(&self.place)?;
        ready(&record)?;
        tracing::info!(
            pid = record.pid,
            version = record.version,
            socket = %record.socket.display(),
            tcp = record.tcp.map(|address| address.to_string()),
            no_tcp = record.no_tcp,
            "serving"
        );

        let (drain, abandon) = (draining.clone(), at_once.clone());
        let idle_limit = self.idle_limit;
        let ending = tokio::spawn(async move {
            let unused = async {
                match idle_limit {
                    Some(limit) => idle_for(limit, &activity, &provider).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                signal = signals.ending() => tracing::info!(signal, "ending"),
                () = unused => tracing::info!("ending: nobody has used it"),
            }
            drain.cancel();
            signals.ending().await;
            abandon.cancel();
        });
        tokio::select! {
            drained = server.run(draining, DRAIN) => {
                tracing::info!(cut = drained.cut, "ended");
            }
            () = at_once.cancelled() => tracing::info!("ended at once"),
        }
        ending.abort();
        Ok(())
    }

    fn sockets(&self) -> Result<Sockets> {
        let (api, first) = bind_unix(&self.socket)?;
        let (descriptors, second) = bind_unix(&self.place.descriptors())?;
        Ok(Sockets { api, descriptors, _files: [first, second] })
    }

    /// The TCP listener, or why there is none.
    fn tcp(&self) -> Result<(Option<TcpListener>, Option<String>)> {
        let Listen::At(address) = self.listen else { return Ok((None, None)) };
        if self.listen.is_open() {
            tracing::warn!(%address, "others than programs on this machine may connect; nothing is encrypted");
        }
        match listen::tcp(address) {
            Ok(listener) => {
                let listener = TcpListener::from_std(listener)
                    .map_err(|error| io("listen on", "TCP", &error))?;
                Ok((Some(listener), None))
            }
            Err(reason) => {
                tracing::warn!(reason, "not on TCP");
                Ok((None, Some(reason)))
            }
        }
    }
}

/// Clears away, now and rarely, what was left by programs that died and workspaces that were
/// forgotten. Where no sandbox was ever used, no container engine is asked.
async fn reap(engine: Arc<Engine>) {
    loop {
        if engine.has_sandboxes() {
            match engine.reap().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "removed sandboxes that nobody needs"),
                Err(error) => tracing::warn!(code = %error.code, "sandboxes are not cleared away"),
            }
        }
        tokio::time::sleep(REAPING).await;
    }
}

/// Has as many sandboxes wait as shall, from the start and whenever one was made for a workspace.
/// Those that waited in vain for their time to live are not made again before that.
async fn keep_pool(engine: Arc<Engine>, work: Work) {
    let filling = work.begin();
    let mut filled = match engine.has_pool() {
        true => engine.fill_pool().await,
        false => Ok(0),
    };
    drop(filling);
    loop {
        match filled {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "made sandboxes that wait for workspaces"),
            Err(error) => tracing::warn!(code = %error.code, "no sandboxes wait for workspaces"),
        }
        filled = engine.refill_pool().await;
    }
}

/// Everything that is served: the contract, and the metrics beside it.
fn router(provider: Arc<DaemonProvider>, metrics: Metrics) -> Router {
    let counted = Arc::clone(&provider);
    stigmer_api::http::router(stigmer_api::server::routes(provider)).route(
        "/metrics",
        get(move || async move {
            let routed = counted.engine().route_counts();
            let text = metrics.render(&*counted, &routed).await;
            ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
        }),
    )
}

/// The Model Context Protocol. Its commands have the daemon's own environment: what calls over HTTP
/// has none here.
fn mcp(provider: &Arc<DaemonProvider>, draining: CancellationToken) -> Result<Router> {
    let engine = provider.engine();
    let configuration = engine.configuration();
    let commands = CommandSettings {
        timeout: configuration.timeout(),
        termination_grace: configuration.termination_grace(),
        caller: None,
    };
    let scope = Scope { mode: engine.mode(None)?, workspace: None };
    let workspaces = Arc::new(Served(Arc::clone(provider)));
    let server = stigmer_mcp::Server::new(workspaces, commands, scope);
    Ok(stigmer_mcp::http::router(server, configuration.client_grace(), draining))
}

/// The signals that mean something to a daemon.
struct Signals {
    term: Signal,
    int: Signal,
    /// A terminal that is closed is no reason to end. It is taken and not ignored, because what is
    /// ignored would be ignored by the programs that are started, too.
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let on = |kind| signal(kind).map_err(|error| io("listen to", "signals", &error));
        Ok(Self {
            term: on(SignalKind::terminate())?,
            int: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that means the end; returns its name.
    async fn ending(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "TERM",
                _ = self.int.recv() => return "INT",
                _ = self.hangup.recv() => {}
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn io(operation: &str, what: &str, error: &std::io::Error) -> ToolError {
    ToolError::new(ErrorCode::Io, format!("cannot {operation} {what}: {error}"))
}
