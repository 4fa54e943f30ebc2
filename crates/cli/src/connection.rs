//! Whether a daemon does the work, and which.
//!
//! A daemon of ours that runs is used by itself. Without one the engine works in this process, and
//! nothing has to be set up or is left behind. A server that was asked for by name and does not
//! answer is an error: to work without it could be to work in another place.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};
use stigmer_api::client::{Client, ClientOptions, Endpoint, Token};
use stigmer_core::process::{Caller, CallerLimit};
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError};
use stigmer_daemon::{DaemonPlace, Record};
use stigmer_engine::configuration::parse::{Endpoint as Address, Value};
use stigmer_engine::configuration::precedence::Layer;
use stigmer_engine::{Configuration, configuration};

use stigmer_engine::configuration::variables::Key;

use crate::listeners;

/// How long a port on this machine may take to answer; it answers in microseconds.
const PROBE: Duration = Duration::from_secs(2);

/// How long a daemon may take to start; it takes some milliseconds.
const STARTING: Duration = Duration::from_secs(2);

/// A server to use.
pub(crate) struct Server {
    /// Where it is.
    pub(crate) endpoint: Endpoint,
    /// Its process, if it is the daemon of this home.
    pub(crate) pid: Option<u32>,
}

/// What was found of a daemon.
#[derive(Default)]
pub(crate) struct Found {
    /// The server to use; nothing if the engine shall work in this process.
    pub(crate) server: Option<Server>,
    /// What the environment had set that the daemon of this home was started with. One that died
    /// without a word is still meant: what was to be isolated does not run on the host for a crash.
    pub(crate) settings: Vec<(Key, String)>,
}

/// Looks for a server.
///
/// # Errors
/// `unauthenticated` if the server that was asked for is not ours and no key is set for it,
/// `unavailable` if it does not answer, `not_available` if it is on another machine.
pub(crate) fn look(configuration: &Configuration) -> Result<Found> {
    let place = DaemonPlace::of(configuration)?;
    let ours = find(&place)?;
    let dead = if ours.is_none() { stigmer_daemon::left_behind(&place) } else { None };
    let settings = ours.as_ref().or(dead.as_ref()).map(|record| record.settings.as_slice());
    let settings = configuration::daemon::from_daemon(settings.unwrap_or_default())?;
    let asked = asked_for(configuration);
    if let Some(record) = ours.filter(|record| asked.as_ref().is_none_or(|at| is_at(record, at))) {
        let server = Server { endpoint: Endpoint::Unix(record.socket), pid: Some(record.pid) };
        return Ok(Found { server: Some(server), settings });
    }
    let Some(asked) = asked else { return Ok(Found { server: None, settings }) };
    let addresses = loopback(&asked)?;
    let stranger = |what: &str| {
        ToolError::new(ErrorCode::Unauthenticated, format!("{asked}: {what}")).with_hint(
            "`stigmer server start` starts yours; STIGMER_API_KEY holds the key of another; \
             `unset STIGMER_BACKEND_ENDPOINT` does without",
        )
    };
    match configuration.api_key() {
        Some(_) if listeners::another_users(asked.port) => {
            Err(stranger("another user listens there, to whom your key is not shown"))
        }
        // Whoever has a key named a server that is not the daemon of this home.
        Some(key) => {
            let token = Some(Token::new(key.expose())?);
            let endpoint = Endpoint::Tcp { address: asked.to_string(), token };
            let server = Some(Server { endpoint, pid: None });
            Ok(Found { server, settings: Vec::new() })
        }
        None if answers(&addresses) => {
            Err(stranger("what listens there is no daemon of yours, and there is no key for it"))
        }
        // The documented local environment names the daemon's place whether one runs or not.
        None => Ok(Found { server: None, settings }),
    }
}

/// A client of the server.
pub(crate) fn client(endpoint: Endpoint) -> Client {
    let mut options = ClientOptions::for_endpoint(&endpoint);
    options.traceparent = std::env::var("TRACEPARENT").ok();
    Client::connect(endpoint, options)
}

/// How long a daemon may take to open a workspace: it takes a millisecond. One that is stopped takes
/// for ever.
const OPENING: Duration = Duration::from_secs(5);

/// The answer of a server that is expected at once.
///
/// # Errors
/// Its own, and `unavailable` if there is none in time.
pub(crate) async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(OPENING, answer).await.unwrap_or_else(|_| {
        let message = format!("the server does not answer within {} s", OPENING.as_secs());
        Err(ToolError::new(ErrorCode::Unavailable, message).with_hint(
            "`stigmer server logs` may say why; `stigmer server stop --now` ends a daemon of yours",
        ))
    })
}

/// Where commands shall run, if anything says so: `configuration` has what the daemon was started
/// with among its layers, and the file as it is now, which the daemon has read when it started.
///
/// # Errors
/// `bad_configuration` for settings that contradict each other.
pub(crate) fn mode_to_send(
    flag: Option<ExecutionMode>,
    configuration: &Configuration,
) -> Result<Option<ExecutionMode>> {
    if flag.is_some() {
        return Ok(flag);
    }
    let (mode, origin) = configuration.target()?;
    Ok(origin.is_some().then_some(mode))
}

/// Names the setting of ours that asked for what a server does not have.
pub(crate) fn blame(
    mut error: ToolError,
    flag: Option<ExecutionMode>,
    configuration: &Configuration,
) -> ToolError {
    if error.code == ErrorCode::NotAvailable
        && flag.is_none()
        && let (Ok((_, Some(origin))), Some(hint)) = (configuration.target(), &error.hint)
    {
        error.hint = Some(format!("{origin} asks for it; {hint}"));
    }
    error
}

/// Our own circumstances, for a command that shall run as if we had started it. What this process
/// starts itself has umask and limits of its own accord; ours were raised meanwhile.
pub(crate) fn caller(is_remote: bool) -> Caller {
    let environment = std::env::vars_os().map(|(name, value)| (name.into(), value.into()));
    if !is_remote {
        return Caller::with_environment(environment.collect());
    }
    Caller {
        environment: environment.collect(),
        umask: Some(umask()),
        limits: RESOURCES.iter().map(|resource| limit(*resource)).collect(),
    }
}

/// Lets this process hand over a descriptor however few it may open: the kernel refuses it when the
/// user has more of them on their way than that (`unix(7)`, `ETOOMANYREFS`). Changes what
/// [`caller`] would say.
pub(crate) fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, raised);
}

/// The address of a server that somebody asked for.
fn asked_for(configuration: &Configuration) -> Option<Address> {
    let found = configuration.get(Key::BackendEndpoint)?;
    match &found.value {
        Value::HostPort(address) if found.origin.layer() != Layer::Default => Some(address.clone()),
        _ => None,
    }
}

/// The daemon of this home, if one runs. One that is just starting is waited for.
fn find(place: &DaemonPlace) -> Result<Option<Record>> {
    let until = Instant::now() + STARTING;
    loop {
        let Some(running) = stigmer_daemon::find(place)? else { return Ok(None) };
        if let Some(record) = running.record {
            return Ok(Some(record));
        }
        if Instant::now() > until {
            let message = format!("the daemon, {}, does not serve yet", running.describe());
            return Err(ToolError::new(ErrorCode::Unavailable, message)
                .with_hint("`stigmer server stop --now` ends it"));
        }
        std::thread::sleep(STARTING / 100);
    }
}

/// Whether our own daemon is what was asked for: it listens there, or could not because somebody
/// else does, who is not meant.
fn is_at(record: &Record, asked: &Address) -> bool {
    let there = |address: SocketAddr| address.port() == asked.port;
    is_loopback(&asked.host) && (record.tcp.is_some_and(there) || record.no_tcp.is_some())
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The addresses of a server on this machine.
fn loopback(asked: &Address) -> Result<Vec<SocketAddr>> {
    if !is_loopback(&asked.host) {
        let message = format!("{asked}: is on another machine, and there is no encryption");
        return Err(ToolError::new(ErrorCode::NotAvailable, message)
            .with_hint("`ssh -L 50051:localhost:50051` brings its port here"));
    }
    let found = (asked.host.as_str(), asked.port).to_socket_addrs().map_err(|error| {
        ToolError::new(ErrorCode::Unavailable, format!("{asked}: cannot be looked up: {error}"))
    })?;
    Ok(found.collect())
}

/// Whether anybody listens there. Nothing is sent.
fn answers(addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(|address| match TcpStream::connect_timeout(address, PROBE) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::ConnectionRefused,
    })
}

/// The limits that a command has from its caller (`getrlimit(2)`), by the kernel's numbers.
const RESOURCES: [(Resource, u32); 14] = [
    (Resource::Cpu, libc::RLIMIT_CPU),
    (Resource::Fsize, libc::RLIMIT_FSIZE),
    (Resource::Data, libc::RLIMIT_DATA),
    (Resource::Stack, libc::RLIMIT_STACK),
    (Resource::Core, libc::RLIMIT_CORE),
    (Resource::Nproc, libc::RLIMIT_NPROC),
    (Resource::Nofile, libc::RLIMIT_NOFILE),
    (Resource::Memlock, libc::RLIMIT_MEMLOCK),
    (Resource::As, libc::RLIMIT_AS),
    (Resource::Sigpending, libc::RLIMIT_SIGPENDING),
    (Resource::Msgqueue, libc::RLIMIT_MSGQUEUE),
    (Resource::Nice, libc::RLIMIT_NICE),
    (Resource::Rtprio, libc::RLIMIT_RTPRIO),
    (Resource::Rttime, libc::RLIMIT_RTTIME),
];

fn limit((resource, number): (Resource, u32)) -> CallerLimit {
    let limit = rustix::process::getrlimit(resource);
    CallerLimit { resource: number, soft: limit.current, hard: limit.maximum }
}

/// Our file mode creation mask, which can only be read by setting it.
fn umask() -> u32 {
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
}
