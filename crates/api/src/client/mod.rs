//! The client: reaches a server, repeats what may be repeated, and says what is not known.
//!
//! Each request is either answered, or known not to have been seen, or its fate is unknown. Only the
//! second kind is repeated without asking; of the third kind only what changes nothing, what is the
//! same done twice, and what carries an id under which the server does it once.

mod call;
mod channel;
mod codec;
mod connect;
mod descriptor;
mod endpoint;
mod events;
mod executor;
mod failure;
mod methods;
mod patience;
mod resume;
mod workspaces;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Uri;
use stigmer_core::limits::DEFAULT_CLIENT_GRACE;

use crate::resilience::{Backoff, BreakerOptions, BreakerState, Circuit};
use channel::Channel;

pub use endpoint::{Dial, Dialer, Endpoint, GivenStream, Io, Token, Undialled};
pub use executor::RemoteExecutor;

/// This client's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long making a connection may take: more is a server that is not there.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take that neither waits for a command nor moves a stream: a search
/// through a large tree takes seconds, so this is for servers that hang.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// How long a broken stream is tried to be resumed: as long as a foreground command waits for its
/// client, and longer than a daemon needs to be started again.
pub const RESUME_FOR: Duration = DEFAULT_CLIENT_GRACE;

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a request may take that neither waits for a command nor moves a stream.
    pub deadline: Duration,
    /// How often, and how long after each other, a request is tried.
    pub backoff: Backoff,
    /// When to stop asking.
    pub breaker: BreakerOptions,
    /// How long a broken stream, or the wait for a command, is tried to be resumed.
    pub resume_for: Duration,
    /// The trace that all requests belong to that name no other: a W3C `traceparent`.
    pub traceparent: Option<String>,
}

impl ClientOptions {
    /// What suits an endpoint.
    pub fn for_endpoint(endpoint: &Endpoint) -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            deadline: DEADLINE,
            backoff: endpoint.backoff(),
            breaker: endpoint.breaker(),
            resume_for: RESUME_FOR,
            traceparent: None,
        }
    }
}

/// A client of one server. Clones share its connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    options: ClientOptions,
    channel: Channel,
    /// What HTTP calls the server.
    origin: Uri,
    circuit: Circuit,
    /// The server's version, once it has said it.
    server: Mutex<Option<String>>,
}

impl Client {
    /// A client of the server at an endpoint. It connects with the first request, and anew whenever
    /// the connection is broken; requests are made in a tokio runtime.
    pub fn connect(endpoint: Endpoint, options: ClientOptions) -> Self {
        let channel = Channel::new(endpoint.clone(), options.connect_timeout);
        let circuit = Circuit::new(endpoint.to_string(), options.breaker);
        let server = Mutex::default();
        // An address that is no name for HTTP is none to connect to either, and that is said then.
        let origin = format!("http://{}", endpoint.authority())
            .parse()
            .unwrap_or_else(|_| Uri::from_static("http://localhost"));
        let shared = Shared { endpoint, options, channel, origin, circuit, server };
        Self { shared: Arc::new(shared) }
    }

    /// Where the server is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Whether requests pass, or are refused because the server has not answered lately.
    pub fn breaker(&self) -> BreakerState {
        self.shared.circuit.state()
    }

    /// The server's version, if it has been heard.
    pub fn server_version(&self) -> Option<String> {
        self.shared.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn heard_version(&self, version: &str) {
        let mut server = self.shared.server.lock().unwrap_or_else(PoisonError::into_inner);
        if server.as_deref() != Some(version) {
            *server = Some(version.to_owned());
        }
    }

    fn options(&self) -> &ClientOptions {
        &self.shared.options
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("endpoint", &self.shared.endpoint).finish()
    }
}
