//! The server over standard input and output, for one client that has started it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::io::stdio_pipes;
use stigmer_core::{ErrorCode, Result, ToolError};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::Server;

/// How long it may take, beyond the time that a command has between TERM and KILL, to end what is being
/// done when the client is gone: as long as the protocol's library waits for answers, and as a supervisor
/// for processes that respawn.
const ENDING: Duration = Duration::from_secs(5);

/// Serves until the client closes our standard input, or until `ending`. Commands that somebody waits
/// for are ended then; those in the background go on.
///
/// # Errors
/// `io` if what comes is no Model Context Protocol.
pub async fn serve(server: Server, ending: impl Future<Output = ()>) -> Result<()> {
    let (input, output) = stdio_pipes();
    let (gone, over) = (server.gone.clone(), CancellationToken::new());
    let transport = (Watched { input, gone: gone.clone() }, output);
    let (running, grace) = (server.running.clone(), server.commands.termination_grace);
    let serving = async {
        let service = match server.serve_with_ct(transport, over.clone()).await {
            Ok(service) => service,
            Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => {
                return Ok(());
            }
            Err(error) => {
                let message = format!("the client does not begin as the protocol says: {error}");
                return Err(ToolError::new(ErrorCode::Io, message));
            }
        };
        service.waiting().await.map(drop).map_err(|error| {
            ToolError::new(ErrorCode::Io, format!("the server broke off: {error}"))
        })
    };
    let mut serving = std::pin::pin!(serving);
    let done = tokio::select! {
        result = &mut serving => Some(result),
        () = gone.cancelled() => None,
        () = ending => {
            gone.cancel();
            over.cancel();
            None
        }
    };
    gone.cancel();
    let result = match done {
        Some(result) => result,
        // One that leaves our output unread, and keeps it open, is not waited for.
        None => tokio::time::timeout(ENDING + grace, serving).await.unwrap_or(Ok(())),
    };
    running.close();
    // What is not gone by then its supervisors end, because nobody follows it any more.
    let _ = tokio::time::timeout(ENDING + grace, running.wait()).await;
    result
}

/// Standard input. Its end is that of the client, which shall not be noticed only when all that it has
/// asked for is done.
struct Watched<R> {
    input: R,
    gone: CancellationToken,
}

impl<R: AsyncRead + Unpin> AsyncRead for Watched<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.input).poll_read(context, buffer);
        let ended = match &read {
            Poll::Ready(Ok(())) => buffer.filled().len() == before && buffer.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            self.gone.cancel();
        }
        read
    }
}
