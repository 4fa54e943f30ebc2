//! Standard input and output, bridged to the server: for an engine that can only execute programs.

use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::{container, say};

/// How long the server may take to be there: the container may have started a moment ago, or the
/// server be starting again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is tried; nothing tells when a socket is listened on.
const TRY_EVERY: Duration = Duration::from_millis(5);

/// Bridges until the server closes the connection.
pub(crate) fn run(shared: &Path) -> ExitCode {
    let path = container::socket(shared);
    match connect(&path).and_then(bridge) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("cannot bridge to {}: {error}", path.display()));
            ExitCode::FAILURE
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let limit = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(path) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
                    && Instant::now() < limit =>
            {
                std::thread::sleep(TRY_EVERY);
            }
            other => return other,
        }
    }
}

/// Copies both ways. The end of standard input closes one half of the connection; the server may
/// still have something to say.
fn bridge(server: UnixStream) -> io::Result<()> {
    let mut to_server = server.try_clone()?;
    std::thread::spawn(move || {
        let _ = io::copy(&mut unbuffered(rustix::stdio::stdin())?, &mut to_server);
        to_server.shutdown(Shutdown::Write)
    });
    let mut from_server = server;
    let mut output = unbuffered(rustix::stdio::stdout())?;
    match io::copy(&mut from_server, &mut output) {
        // Whoever listened is gone, and so is what they asked for.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => other.and_then(|_| output.flush()),
    }
}

/// A standard stream without the buffer that the standard library puts before it.
fn unbuffered(stream: std::os::fd::BorrowedFd<'_>) -> io::Result<std::fs::File> {
    Ok(stream.try_clone_to_owned()?.into())
}
