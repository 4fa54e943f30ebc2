//! Making a connection.

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt;
use stigmer_core::{ByteString, ErrorCode, ToolError};
use tokio::net::{TcpStream, UnixStream};
use tokio_vsock::{VsockAddr, VsockStream};

use super::endpoint::{Endpoint, Io, Undialled};
use super::failure::Trouble;

/// How long a TCP connection may be silent before the kernel asks whether the other side is there;
/// HTTP/2's own question comes first, this one is for connections that nobody uses.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Makes a connection to a server.
pub(super) async fn connect(
    endpoint: &Endpoint,
    timeout: Duration,
) -> Result<Box<dyn Io>, Trouble> {
    let connecting = async {
        match endpoint {
            Endpoint::Unix(path) => {
                let stream = unix(path).await?;
                Ok(Box::new(stream) as Box<dyn Io>)
            }
            Endpoint::Tcp { address, .. } => {
                let stream = tcp(address).await.map_err(|error| refused(endpoint, &error))?;
                Ok(Box::new(stream) as Box<dyn Io>)
            }
            Endpoint::Vsock { cid, port, .. } => {
                let stream = VsockStream::connect(VsockAddr::new(*cid, *port))
                    .await
                    .map_err(|error| refused(endpoint, &error))?;
                Ok(Box::new(stream) as Box<dyn Io>)
            }
            Endpoint::Stream(stream) => stream.take().ok_or_else(|| {
                let error = ToolError::new(
                    ErrorCode::Unavailable,
                    "the connection to the server is broken and cannot be made anew",
                );
                Trouble::for_good(error)
            }),
            Endpoint::Dialled(dialer) => dialer.dial().await.map_err(|undialled| match undialled {
                Undialled::Now(error) => Trouble::unseen(error),
                Undialled::ForGood(error) => Trouble::for_good(error),
            }),
        }
    };
    tokio::time::timeout(timeout, connecting).await.unwrap_or_else(|_| {
        let reason = format!("{endpoint}: no connection within {} ms", timeout.as_millis());
        Err(Trouble::unseen(ToolError::new(ErrorCode::Unavailable, reason)))
    })
}

/// Connects to a unix socket and makes sure whose server is behind it.
pub(super) async fn unix(path: &Path) -> Result<UnixStream, Trouble> {
    let endpoint = || Endpoint::Unix(path.to_owned());
    let stream = UnixStream::connect(path).await.map_err(|error| refused(&endpoint(), &error))?;
    let peer = stream.peer_cred().map_err(|error| refused(&endpoint(), &error))?.uid();
    // The server gets our environment and our files' contents: a socket that somebody else put
    // there must not.
    let own = rustix::process::geteuid().as_raw();
    if peer != own && peer != 0 {
        let reason =
            format!("{}: the server runs as user {peer}, not as {own} or root", path.display());
        let error = ToolError::new(ErrorCode::PermissionDenied, reason)
            .with_detail("path", ByteString::from(path))
            .with_detail("uid", peer)
            .with_hint("remove the socket if you do not know whose it is");
        return Err(Trouble::for_good(error));
    }
    Ok(stream)
}

async fn tcp(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Requests are small and somebody waits for each.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, TCP_KEEPALIVE)?;
    Ok(stream)
}

fn refused(endpoint: &Endpoint, error: &io::Error) -> Trouble {
    let message = format!("{endpoint}: cannot connect: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Trouble::for_good(ToolError::new(ErrorCode::PermissionDenied, message))
        }
        io::ErrorKind::InvalidInput => {
            Trouble::for_good(ToolError::new(ErrorCode::InvalidArgument, message))
        }
        _ => Trouble::unseen(
            ToolError::new(ErrorCode::Unavailable, message)
                .with_hint("start a server with `stigmer server start`"),
        ),
    }
}
