//! Where it listens.

use std::fmt::Display;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use stigmer_api::serve::{Access, Server, SocketFile, Token, bind_unix};
use tokio::net::TcpListener;
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener};

use crate::arguments::{Arguments, Listen};
use crate::stdio::Stdio;

/// More than any token; the file may be anything.
const MAX_TOKEN_FILE_BYTES: u64 = 4 << 10;

/// What keeps the listeners, and where they are.
#[derive(Default)]
pub(crate) struct Listening {
    pub(crate) places: Vec<String>,
    sockets: Vec<SocketFile>,
}

/// Listens everywhere, or nowhere.
pub(crate) fn listen(
    mut server: Server,
    arguments: &Arguments,
    stdio: Option<Stdio>,
) -> Result<(Server, Listening), String> {
    let token = arguments.token_file.as_deref().map(read_token).transpose()?;
    let access = || token.clone().map(Access::new).ok_or("there is no token".to_owned());
    let owner = arguments.owner.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let (mut listening, mut stdio) = (Listening::default(), stdio);
    for one in &arguments.listen {
        match one {
            Listen::Unix(path) => {
                let (listener, socket) = bind_unix(path).map_err(|error| with_hint(&error))?;
                server = server.unix(listener, owner);
                listening.places.push(format!("unix:{}", path.display()));
                listening.sockets.push(socket);
            }
            Listen::Tcp(address) => {
                let fail = |error: io::Error| format!("cannot listen on tcp:{address}: {error}");
                let listener = std::net::TcpListener::bind(address).map_err(fail)?;
                listener.set_nonblocking(true).map_err(fail)?;
                let listener = TcpListener::from_std(listener).map_err(fail)?;
                let address = listener.local_addr().map_err(fail)?;
                server = server.tcp(listener, access()?).map_err(fail)?;
                listening.places.push(format!("tcp:{address}"));
            }
            Listen::Vsock(port) => {
                let listener = VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, *port))
                    .map_err(|error| format!("cannot listen on vsock:{port}: {error}"))?;
                server = server.vsock(listener, access()?);
                listening.places.push(format!("vsock:{port}"));
            }
            Listen::Stdio => {
                server = server.stream(stdio.take().ok_or("stdio is taken")?);
                listening.places.push("stdio".to_owned());
            }
        }
    }
    Ok((server, listening))
}

fn with_hint(error: &stigmer_core::ToolError) -> String {
    match &error.hint {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

fn read_token(path: &Path) -> Result<Token, String> {
    let fail = |error: &dyn Display| format!("cannot use {}: {error}", path.display());
    let about = std::fs::metadata(path).map_err(|error| fail(&error))?;
    if !about.is_file() || about.len() > MAX_TOKEN_FILE_BYTES {
        return Err(fail(&"it is not a file that holds a token"));
    }
    if about.mode() & 0o027 != 0 {
        let mode = about.mode() & 0o7777;
        return Err(fail(&format_args!("other users may read it or change it (mode {mode:04o})")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| fail(&error))?;
    Token::new(&text).map_err(|error| fail(&error))
}
