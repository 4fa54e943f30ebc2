//! Whether a daemon does the work, and which.
//!
//! A daemon of ours that runs is used by itself. Without one the engine works in this process, and
//! nothing has to be set up or is left behind. A server that was asked for by name and does not
//! answer is an error: to work without it could be to work in another place.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rustix::process::Resource;
use stigmer_api::client::{Client, ClientOptions, Endpoint, Token};
use stigmer_core::process::{Caller, CallerLimit};
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError};
use stigmer_daemon::{DaemonPlace, Record};
use stigmer_engine::Configuration;
use stigmer_engine::configuration::parse::{Endpoint as Address, Value};
use stigmer_engine::configuration::precedence::Layer;
use stigmer_engine::configuration::variables::Key;

/// How long a port on this machine may take to answer; it answers in microseconds.
const PROBE: Duration = Duration::from_secs(2);

/// How long a daemon may take to start; it takes some milliseconds.
const STARTING: Duration = Duration::from_secs(2);

/// The server to use; nothing if the engine shall work in this process.
///
/// # Errors
/// `unauthenticated` if the server that was asked for is not ours and no key is set for it,
/// `unavailable` if it does not answer, `not_available` if it is on another machine.
pub(crate) fn server(configuration: &Configuration) -> Result<Option<Endpoint>> {
    let place = DaemonPlace::of(configuration)?;
    let ours = find(&place)?;
    let socket = ours.as_ref().map(|record| Endpoint::Unix(record.socket.clone()));
    let Some(asked) = asked_for(configuration) else { return Ok(socket) };
    if ours.is_some_and(|record| is_at(&record, &asked)) {
        return Ok(socket);
    }
    let addresses = loopback(&asked)?;
    match configuration.api_key() {
        // Whoever has a key named a server that is not the daemon of this home.
        Some(key) => {
            let token = Some(Token::new(key.expose())?);
            Ok(Some(Endpoint::Tcp { address: asked.to_string(), token }))
        }
        None if answers(&addresses) => Err(ToolError::new(
            ErrorCode::Unauthenticated,
            format!(
                "{asked}: what listens there is no daemon of yours, and there is no key for it"
            ),
        )
        .with_hint(
            "`stigmer server start` starts yours; STIGMER_API_KEY holds the key of another; \
             `unset STIGMER_BACKEND_ENDPOINT` does without",
        )),
        // The documented local environment names the daemon's place whether one runs or not.
        None => Ok(socket),
    }
}

/// A client of the server.
pub(crate) fn client(endpoint: Endpoint) -> Client {
    let mut options = ClientOptions::for_endpoint(&endpoint);
    options.traceparent = std::env::var("TRACEPARENT").ok();
    Client::connect(endpoint, options)
}

/// What the caller, and not the configuration file, says of where commands run: only that is sent,
/// so that the daemon's own settings come next.
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
    let said = origin.is_some_and(|origin| origin.layer() <= Layer::Environment);
    Ok(said.then_some(mode))
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

/// Our own circumstances, for a command that shall run as if we had started it.
pub(crate) fn caller() -> Caller {
    let environment = std::env::vars_os().map(|(name, value)| (name.into(), value.into()));
    Caller {
        environment: environment.collect(),
        umask: Some(umask()),
        limits: RESOURCES.iter().map(|resource| limit(*resource)).collect(),
    }
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

/// Whether our own daemon is what was asked for.
fn is_at(record: &Record, asked: &Address) -> bool {
    is_loopback(&asked.host) && record.tcp.is_some_and(|address| address.port() == asked.port)
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
