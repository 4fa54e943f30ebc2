//! Where a server is.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use http::HeaderValue;
use stigmer_core::{Result, ToolError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::resilience::{Backoff, BreakerOptions};

/// The most connections of one client.
const CONNECTIONS: usize = 64;

/// Something that bytes go through in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Reaches a server in a way of its own, as often as a connection is needed.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Makes a connection. Nothing may have been sent through it.
    ///
    /// # Errors
    /// Why there is none, and whether another try may help.
    async fn dial(&self) -> Result<Box<dyn Io>, Undialled>;
}

/// Why a dialer has no connection.
#[derive(Clone, Debug)]
pub enum Undialled {
    /// There may be one soon.
    Now(ToolError),
    /// There will never be one again.
    ForGood(ToolError),
}

/// A server that is reached in a way of its own.
#[derive(Clone)]
pub struct Dialer {
    name: String,
    connections: usize,
    dial: Arc<dyn Dial>,
}

impl Dialer {
    /// `name` is what errors call the server, `connections` how many there are at most: more
    /// requests share them.
    pub fn new(name: impl Into<String>, connections: usize, dial: impl Dial + 'static) -> Self {
        Self { name: name.into(), connections: connections.max(1), dial: Arc::new(dial) }
    }

    pub(super) async fn dial(&self) -> Result<Box<dyn Io>, Undialled> {
        self.dial.dial().await
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Dialer").field(&self.name).finish()
    }
}

/// What shows a server on TCP or vsock who asks. It is never printed.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// A token as the server wrote it into its file; white space around it does not belong to it.
    ///
    /// # Errors
    /// `invalid_argument` if it is empty or has characters that cannot be sent.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ToolError::invalid_argument("token", "is empty"));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
            .map_err(|_| ToolError::invalid_argument("token", "has control characters"))?;
        // Keeps it out of HTTP/2's tables of repeated headers, and out of debug output.
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// A connection that is there already: it can be used once and not be made anew.
#[derive(Clone)]
pub struct GivenStream(Arc<Mutex<Option<Box<dyn Io>>>>);

impl GivenStream {
    pub(super) fn take(&self) -> Option<Box<dyn Io>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for GivenStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("GivenStream")
    }
}

/// Where a server is, and how it is reached.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// A unix socket. Its server must run as our user or as root.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Host and port, for example `localhost:50051`.
        address: String,
        /// What shows the server who asks.
        token: Option<Token>,
    },
    /// A port of a virtual machine, or of its host.
    Vsock {
        /// The machine's context id.
        cid: u32,
        /// The port.
        port: u32,
        /// What shows the server who asks.
        token: Option<Token>,
    },
    /// A connection that is there already, for example the standard input and output of a program.
    Stream(GivenStream),
    /// Whatever its dialer reaches, who vouches for the server, too.
    Dialled(Dialer),
}

impl Endpoint {
    /// A connection that is there already. When it breaks it cannot be made anew.
    pub fn stream(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self::Stream(GivenStream(Arc::new(Mutex::new(Some(Box::new(io))))))
    }

    /// What HTTP calls the server: a TCP server compares it with the names that it knows.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Tcp { address, .. } => address,
            _ => "localhost",
        }
    }

    pub(super) fn token(&self) -> Option<&Token> {
        match self {
            Self::Tcp { token, .. } | Self::Vsock { token, .. } => token.as_ref(),
            Self::Unix(_) | Self::Stream(_) | Self::Dialled(_) => None,
        }
    }

    /// How many connections there may be; more requests share them.
    pub(super) fn most_connections(&self) -> usize {
        match self {
            Self::Stream(_) => 1,
            Self::Dialled(dialer) => dialer.connections,
            Self::Unix(_) | Self::Tcp { .. } | Self::Vsock { .. } => CONNECTIONS,
        }
    }

    /// Whether the server may say how auto mode treated a command: a daemon does, and it is reached at
    /// its socket or over TCP. In all other ways one reaches what is in a place, which could claim a
    /// lane of the host.
    pub(super) fn may_tell_of_lanes(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Tcp { .. } => true,
            Self::Vsock { .. } | Self::Stream(_) | Self::Dialled(_) => false,
        }
    }

    /// How long to wait between tries: a server on this machine is back soon.
    pub(super) fn backoff(&self) -> Backoff {
        match self {
            Self::Unix(_) | Self::Stream(_) | Self::Dialled(_) => Backoff::LOCAL,
            Self::Tcp { .. } | Self::Vsock { .. } => Backoff::REMOTE,
        }
    }

    /// When to stop asking.
    pub(super) fn breaker(&self) -> BreakerOptions {
        match self {
            Self::Unix(_) | Self::Stream(_) | Self::Dialled(_) => BreakerOptions::LOCAL,
            Self::Tcp { .. } | Self::Vsock { .. } => BreakerOptions::REMOTE,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp { address, .. } => write!(formatter, "tcp:{address}"),
            Self::Vsock { cid, port, .. } => write!(formatter, "vsock:{cid}:{port}"),
            Self::Stream(_) => formatter.write_str("stream"),
            Self::Dialled(dialer) => formatter.write_str(&dialer.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::new("verysecret\n").unwrap();
        assert_eq!(token.header().to_str().unwrap(), "Bearer verysecret");
        let endpoint = Endpoint::Tcp { address: "localhost:50051".to_owned(), token: Some(token) };
        for text in [format!("{endpoint:?}"), format!("{endpoint:#?}"), endpoint.to_string()] {
            assert!(!text.contains("verysecret"), "{text}");
        }
    }

    #[test]
    fn a_token_that_cannot_be_sent_is_refused_and_not_told() {
        for bad in ["", " \n", "very\nsecret", "very\0secret"] {
            let error = Token::new(bad).unwrap_err();
            assert!(!error.message.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_given_stream_is_given_once() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let Endpoint::Stream(stream) = Endpoint::stream(ours) else { panic!("no stream") };
        assert!(stream.clone().take().is_some());
        assert!(stream.take().is_none());
    }
}
