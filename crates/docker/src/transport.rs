//! Reaching the sidecar in a container.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stigmer_api::client::{
    Client, ClientOptions, Dial, Dialer, Endpoint, Io, RemoteExecutor, Undialled,
};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, Result, ToolError};

use crate::create::{SHARED, SIDECAR};
use crate::engine::Engine;
use crate::record::Way;
use crate::shared::Place;
use crate::warden::Warden;

/// Connections over a unix socket: as many as a client makes at most.
const SOCKETS: usize = 64;

/// Connections through the engine: each is a process in the container and costs a tenth of a
/// second, and each carries many requests.
const EXECS: usize = 4;

/// How long a sidecar that is there may take to answer. It answers in a millisecond; a machine that
/// is very busy must not count as gone, and a container that is paused must be noticed.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);

/// The same where it is reached through the engine, which starts a program first.
const ANSWER_THROUGH_ENGINE: Duration = Duration::from_secs(30);

/// How long is waited for one that should be warm. If it takes longer, it is looked into.
const WARM: Duration = Duration::from_secs(2);
const WARM_THROUGH_ENGINE: Duration = Duration::from_secs(10);

/// How long the program that passes bytes on looks for the socket before it ends (five seconds), and
/// more.
const BRIDGED: Duration = Duration::from_secs(7);

/// The detail `cause` of a sidecar that nobody can reach any more.
const NO_SOCKET: &str = "socket_gone";

/// Whether nobody can reach the sidecar any more.
pub(crate) fn has_no_socket(error: &ToolError) -> bool {
    error.details.get("cause") == Some(&NO_SOCKET.into())
}

/// What is needed to reach a container's sidecar.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) engine: Arc<Engine>,
    pub(crate) place: Place,
    pub(crate) user: String,
    pub(crate) warden: Arc<Warden>,
}

impl Reach {
    /// The operations in the container, once they have answered.
    ///
    /// # Errors
    /// `unavailable` if nobody is there, `deadline_exceeded` if nothing is answered.
    pub(crate) async fn open(&self, way: Way) -> Result<RemoteExecutor> {
        self.open_within(way, [ANSWER, ANSWER_THROUGH_ENGINE]).await
    }

    /// The same of one that should be warm, so that not much time is lost if it is not.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn open_warm(&self, way: Way) -> Result<RemoteExecutor> {
        self.open_within(way, [WARM, WARM_THROUGH_ENGINE]).await
    }

    async fn open_within(
        &self,
        way: Way,
        [by_socket, through_engine]: [Duration; 2],
    ) -> Result<RemoteExecutor> {
        let name = self.warden.name();
        let (dialer, patience) = match way {
            Way::Socket => (Dialer::new(name, SOCKETS, Socket(self.clone())), by_socket),
            Way::Exec => (Dialer::new(name, EXECS, Exec(self.clone())), through_engine),
        };
        let endpoint = Endpoint::Dialled(dialer);
        let options =
            ClientOptions { connect_timeout: patience, ..ClientOptions::for_endpoint(&endpoint) };
        let client = Client::connect(endpoint, options);
        let opening = RemoteExecutor::open(client, OpenWorkspace::default());
        tokio::time::timeout(patience, opening).await.unwrap_or_else(|_| {
            let message = format!(
                "the sidecar in container {name} does not answer within {} ms",
                patience.as_millis()
            );
            Err(ToolError::new(ErrorCode::DeadlineExceeded, message))
        })
    }

    /// The operations in a container whose socket is not where it should be: either it cannot be seen
    /// from here, or it is gone, which is told as soon as it is known.
    ///
    /// # Errors
    /// `unavailable` with the cause [`NO_SOCKET`], and as above.
    pub(crate) async fn open_without_socket(&self) -> Result<RemoteExecutor> {
        tokio::select! {
            opened = self.open(Way::Exec) => opened,
            Err(error) = self.has_socket() => Err(error),
        }
    }

    /// Without a socket the program that passes bytes on ends by itself.
    async fn has_socket(&self) -> Result<()> {
        let program = [SIDECAR, "connect", "--shared", SHARED];
        let mut said = self.engine.exec(self.warden.container(), &self.user, &program).await?;
        let ends = async { while said.hear().await.unwrap_or(false) {} };
        if tokio::time::timeout(BRIDGED, ends).await.is_err() {
            return Ok(());
        }
        let name = self.warden.name();
        let message = format!(
            "the sidecar in container {name} has lost its socket: somebody removed it, or the directory that it was in"
        );
        Err(ToolError::new(ErrorCode::Unavailable, message)
            .with_detail("container", name)
            .with_detail("cause", NO_SOCKET)
            .with_hint("`stigmer workspace recover` ends its commands and makes a new container"))
    }

    /// Tells one that may be back from one that is gone for good.
    async fn refused(&self, error: ToolError) -> Undialled {
        match self.warden.why_gone().await {
            Some(gone) => Undialled::ForGood(gone),
            None if error.code == ErrorCode::PermissionDenied => Undialled::ForGood(error),
            None => Undialled::Now(error),
        }
    }
}

/// Over the unix socket in the shared directory.
struct Socket(Reach);

#[async_trait]
impl Dial for Socket {
    async fn dial(&self) -> Result<Box<dyn Io>, Undialled> {
        match self.0.place.connect().await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(self.0.refused(error).await),
        }
    }
}

/// Over a program in the container, through the engine.
struct Exec(Reach);

#[async_trait]
impl Dial for Exec {
    async fn dial(&self) -> Result<Box<dyn Io>, Undialled> {
        let Reach { engine, user, warden, .. } = &self.0;
        let program = [SIDECAR, "connect", "--shared", SHARED];
        match engine.exec(warden.container(), user, &program).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(failed) => Err(self.0.refused(failed.into()).await),
        }
    }
}
