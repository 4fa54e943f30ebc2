//! Standard input and output as one connection.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use tokio::io::{AsyncRead, AsyncWrite, Join, join};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// Standard input and output, as one stream.
pub(crate) type Stdio = Join<Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>>;

/// Standard input and output before there is a runtime.
pub(crate) struct TakenStdio {
    input: OwnedFd,
    output: OwnedFd,
}

impl TakenStdio {
    /// Takes them away from whoever else might use them: what is printed by mistake goes to standard
    /// error, and nothing is read.
    pub(crate) fn take() -> io::Result<Self> {
        let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let input = copy(rustix::stdio::stdin())?;
        let output = copy(rustix::stdio::stdout())?;
        // A minimal root may have no /dev/null; a pipe that nobody writes to is as empty.
        let (empty, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::stdio::dup2_stdin(&empty)?;
        rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
        Ok(Self { input, output })
    }

    /// Makes a stream of them; needs a runtime.
    pub(crate) fn into_stream(self) -> io::Result<Stdio> {
        let input: Box<dyn AsyncRead + Send + Unpin> = match kind(&self.input)? {
            FileType::Fifo => Box::new(pipe::Receiver::from_owned_fd(self.input)?),
            FileType::Socket => Box::new(socket(self.input)?),
            _ => return Err(neither("input")),
        };
        let output: Box<dyn AsyncWrite + Send + Unpin> = match kind(&self.output)? {
            FileType::Fifo => Box::new(pipe::Sender::from_owned_fd(self.output)?),
            FileType::Socket => Box::new(socket(self.output)?),
            _ => return Err(neither("output")),
        };
        Ok(join(input, output))
    }
}

fn kind(fd: &OwnedFd) -> io::Result<FileType> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode))
}

fn socket(fd: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn neither(which: &str) -> io::Error {
    let reason = format!("standard {which} is neither a pipe nor a socket, so nobody is there");
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}
