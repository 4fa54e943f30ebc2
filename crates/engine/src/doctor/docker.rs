//! Whether a container engine answers.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::{Check, NeededFor, PATIENCE};
use crate::configuration::Surroundings;
use crate::secret::without_secrets;

const NAME: &str = "docker";

/// The reply to a ping is a few hundred bytes.
const MAX_REPLY: u64 = 8 << 10;

pub(super) fn check(surroundings: &Surroundings) -> Check {
    let explicit = surroundings.variable("DOCKER_HOST").and_then(|value| value.to_str());
    let socket = match explicit {
        Some(address) if !address.is_empty() => match address.strip_prefix("unix://") {
            Some(path) => PathBuf::from(path),
            None => {
                return Check::warning(
                    NAME,
                    NeededFor::Sandbox,
                    format!("DOCKER_HOST={} is remote and was not asked", without_secrets(address)),
                    "`docker version` asks it",
                );
            }
        },
        _ => local_socket(surroundings),
    };
    let (sender, receiver) = mpsc::channel();
    let path = socket.clone();
    // In a thread of its own: connecting to a socket whose owner does not accept has no deadline.
    // It ends with the process.
    std::thread::spawn(move || sender.send(ping(&path)));
    let socket = socket.display();
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(version)) => {
            Check::ok(NAME, NeededFor::Sandbox, format!("{socket} answers, API {version}"))
        }
        Ok(Err(error)) => {
            let fix = match error.kind() {
                ErrorKind::NotFound => {
                    "install Docker (https://docs.docker.com/engine/install) and start it: \
                     `systemctl start docker`"
                }
                ErrorKind::PermissionDenied => {
                    "join the docker group and log in anew: `sudo usermod -aG docker \"$USER\"`"
                }
                _ => "start Docker: `systemctl start docker`",
            };
            Check::missing(NAME, NeededFor::Sandbox, format!("{socket}: {error}"), fix)
        }
        Err(_) => Check::missing(
            NAME,
            NeededFor::Sandbox,
            format!("{socket}: no answer in {PATIENCE:?}"),
            "restart Docker: `systemctl restart docker`",
        ),
    }
}

/// The system's socket, or else the one of a rootless engine.
fn local_socket(surroundings: &Surroundings) -> PathBuf {
    let system = PathBuf::from("/var/run/docker.sock");
    if system.exists() {
        return system;
    }
    let rootless = surroundings
        .variable("XDG_RUNTIME_DIR")
        .map(|directory| Path::new(directory).join("docker.sock"))
        .filter(|socket| socket.exists());
    rootless.unwrap_or(system)
}

/// `GET /_ping`; the version of the API that the engine speaks.
fn ping(socket: &Path) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
    let mut reply = Vec::new();
    stream.take(MAX_REPLY).read_to_end(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply);
    let (head, _) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(std::io::Error::other(format!("answers \"{status}\"")));
    }
    let version = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("api-version").then(|| value.trim().to_owned())
    });
    Ok(version.unwrap_or_else(|| "unknown".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;
    use std::os::unix::net::UnixListener;

    fn asked(reply: &'static [u8]) -> Check {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /_ping HTTP/1.1\r\n"));
            stream.write_all(reply).unwrap();
        });
        let address = format!("unix://{}", socket.display());
        let surroundings =
            Surroundings { environment: vec![("DOCKER_HOST".into(), address.into())], home: None };
        let check = check(&surroundings);
        server.join().unwrap();
        check
    }

    #[test]
    fn an_engine_that_answers_is_there() {
        let check = asked(b"HTTP/1.1 200 OK\r\nApi-Version: 1.51\r\nContent-Length: 2\r\n\r\nOK");
        assert_eq!(check.status, Status::Ok);
        assert!(check.found.ends_with("API 1.51"), "{check:?}");
    }

    #[test]
    fn what_answers_otherwise_is_not() {
        for reply in [&b"HTTP/1.1 500 Oops\r\n\r\n"[..], b"", b"SSH-2.0-x\r\n"] {
            assert_eq!(asked(reply).status, Status::Missing);
        }
    }

    #[test]
    fn a_remote_engine_is_not_asked_and_its_password_not_shown() {
        let surroundings = Surroundings {
            environment: vec![("DOCKER_HOST".into(), "tcp://u:hunter2@10.0.0.1:2375".into())],
            home: None,
        };
        let check = check(&surroundings);
        assert_eq!(check.status, Status::Warning);
        assert!(check.found.contains("tcp://…@10.0.0.1:2375"), "{check:?}");
        assert!(!format!("{check:?}").contains("hunter2"), "{check:?}");
    }
}
