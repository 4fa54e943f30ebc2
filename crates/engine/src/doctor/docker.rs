//! Whether a container engine answers.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use serde_json::Value;

use super::{Check, NeededFor, PATIENCE, Status};
use crate::configuration::variables::Key;
use crate::configuration::{Configuration, Origin, Surroundings};
use crate::sandbox::{LOCAL_IMAGE, find_sidecar};
use crate::secret::without_secrets;

const NAME: &str = "docker";

/// The reply to a ping is a few hundred bytes.
const MAX_REPLY: u64 = 8 << 10;

/// What an engine says of itself is some KiB, with its labels and registries.
const MAX_ANSWER: u64 = 1 << 20;

/// The engine, what it can do, the image, and what runs in containers.
pub(super) fn checks(
    surroundings: &Surroundings,
    configuration: Option<&Configuration>,
) -> Vec<Check> {
    let setting = |key: Key| configuration.and_then(|all| Some(all.get(key)?.value.to_string()));
    let origin = |key: Key| configuration.and_then(|all| Some(all.get(key)?.origin.clone()));
    let named = setting(Key::SandboxEngine).zip(origin(Key::SandboxEngine));
    let (first, socket) = reachable(surroundings, named);
    let mut checks = vec![first];
    if let Some(socket) = socket {
        checks.extend(abilities(&socket));
        // Whoever names an image has that one or none.
        let local = origin(Key::SandboxImage).filter(|origin| *origin == Origin::Default);
        let local = local.map(|_| LOCAL_IMAGE);
        checks.extend(setting(Key::SandboxImage).map(|name| image(&socket, &name, local)));
    }
    let sidecar = setting(Key::Sidecar).map(PathBuf::from);
    checks.push(match find_sidecar(sidecar.as_deref()) {
        Ok(path) => Check::ok("sidecar", NeededFor::Sandbox, path.display().to_string()),
        Err(error) => Check::missing(
            "sidecar",
            NeededFor::Sandbox,
            error.message,
            error.hint.unwrap_or_else(|| "`scripts/build-sidecar` builds it".to_owned()),
        ),
    });
    checks
}

/// What the engine says of itself that decides over how well a sandbox is shut.
fn abilities(socket: &Path) -> Option<Check> {
    let socket = socket.to_owned();
    let info: Value = serde_json::from_str(&in_time(move || get(&socket, "/info"))?.1).ok()?;
    let text = |name: &str| info[name].as_str().unwrap_or("?").to_owned();
    let rootless = info["SecurityOptions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one.as_str() == Some("name=rootless")));
    let backing = info["DriverStatus"].as_array().and_then(|all| {
        let found = all.iter().find(|pair| pair[0] == "Backing Filesystem")?;
        found[1].as_str().map(str::to_owned)
    });
    // Engines bound what a container writes with these only (`docker run --storage-opt size`).
    let quota = matches!(text("Driver").as_str(), "btrfs" | "zfs" | "windowsfilter")
        || backing.as_deref() == Some("xfs");
    let found = format!(
        "version {}, storage {}{}, cgroup v{} by {}{}",
        text("ServerVersion"),
        text("Driver"),
        backing.map(|name| format!(" on {name}")).unwrap_or_default(),
        info["CgroupVersion"].as_str().unwrap_or("1"),
        text("CgroupDriver"),
        if rootless { ", rootless" } else { "" }
    );
    let name = "docker limits";
    let lacks: Vec<&str> =
        [("MemoryLimit", "memory"), ("PidsLimit", "processes"), ("CPUSet", "processors")]
            .into_iter()
            .filter_map(|(key, what)| (info[key] == Value::Bool(false)).then_some(what))
            .collect();
    Some(if !lacks.is_empty() {
        let found = format!("{found}; no limit of {}", lacks.join(", "));
        Check::warning(
            name,
            NeededFor::Sandbox,
            found,
            "delegate the controllers to the engine: https://rootlesscontaine.rs/getting-started/common/cgroup2",
        )
    } else if !quota {
        let found = format!("{found}; sandbox_disk is watched, not enforced");
        Check::warning(
            name,
            NeededFor::Sandbox,
            found,
            "keep the engine's data on xfs with project quotas (`pquota`), if that matters",
        )
    } else {
        Check::ok(name, NeededFor::Sandbox, found)
    })
}

/// Whether the image is there, or the one that is used where it is not.
fn image(socket: &Path, image: &str, local: Option<&str>) -> Check {
    let name = "sandbox image";
    match (asked_for(socket, image), local) {
        (Some(true), _) => Check::ok(name, NeededFor::Sandbox, image),
        (Some(false), Some(local)) if asked_for(socket, local) == Some(true) => {
            let found = format!("{local}, as {image} is not here");
            Check::ok(name, NeededFor::Sandbox, found)
        }
        (Some(false), _) => Check::warning(
            name,
            NeededFor::Sandbox,
            format!("{image} is not here"),
            "`stigmer image pull` gets it, as the first command would; `stigmer image build` makes one",
        ),
        (None, _) => Check::warning(
            name,
            NeededFor::Sandbox,
            format!("{image}: the engine does not say whether it is here"),
            "`docker image ls` asks it",
        ),
    }
}

/// Whether the engine has an image, if it says so.
fn asked_for(socket: &Path, image: &str) -> Option<bool> {
    let (socket, path) = (socket.to_owned(), format!("/images/{image}/json"));
    match in_time(move || get(&socket, &path))?.0 {
        200 => Some(true),
        404 => Some(false),
        _ => None,
    }
}

/// What comes of a question, if it comes in time. A thread that is left over ends with the process.
fn in_time<T: Send + 'static>(
    ask: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(ask()));
    receiver.recv_timeout(PATIENCE).ok()?.ok()
}

/// The status and body of an answer.
fn get(socket: &Path, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // To the older version a server answers in one piece and closes.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
    let mut reply = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("is no answer"))?;
    Ok((status, body.to_owned()))
}

/// Whether the engine answers, and its socket then. `named` is what the settings say, and where.
fn reachable(
    surroundings: &Surroundings,
    named: Option<(String, Origin)>,
) -> (Check, Option<PathBuf>) {
    let variable = surroundings.variable("DOCKER_HOST").and_then(|value| value.to_str());
    let variable = variable.filter(|address| !address.is_empty());
    let explicit = match named {
        Some((address, origin)) => Some((
            address,
            format!("sandbox_engine ({origin}) names it: start that engine, or name another"),
        )),
        None => variable.map(|address| {
            let fix = "DOCKER_HOST names it: start that engine, or `unset DOCKER_HOST`";
            (address.to_owned(), fix.to_owned())
        }),
    };
    let (socket, blamed) = match explicit {
        Some((address, blamed)) => match address.strip_prefix("unix://") {
            Some(path) => (PathBuf::from(path), Some(blamed)),
            None => {
                let check = Check::warning(
                    NAME,
                    NeededFor::Sandbox,
                    format!("{} is remote and was not asked", without_secrets(&address)),
                    "`docker version` asks it",
                );
                return (check, None);
            }
        },
        None => (local_socket(surroundings), None),
    };
    let (sender, receiver) = mpsc::channel();
    let path = socket.clone();
    // In a thread of its own: connecting to a socket whose owner does not accept has no deadline.
    // It ends with the process.
    std::thread::spawn(move || sender.send(ping(&path)));
    let asked = socket.clone();
    let socket = socket.display();
    let check = match receiver.recv_timeout(PATIENCE) {
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
            let fix = match blamed.filter(|_| error.kind() != ErrorKind::PermissionDenied) {
                Some(blamed) => blamed,
                None => fix.to_owned(),
            };
            Check::missing(NAME, NeededFor::Sandbox, format!("{socket}: {error}"), fix)
        }
        Err(_) => Check::missing(
            NAME,
            NeededFor::Sandbox,
            format!("{socket}: no answer in {PATIENCE:?}"),
            "restart Docker: `systemctl restart docker`",
        ),
    };
    let answers = check.status == Status::Ok;
    (check, answers.then_some(asked))
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
        let (check, socket) = reachable(&surroundings, None);
        assert_eq!(socket.is_some(), check.status == Status::Ok);
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
    fn the_image_that_is_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 256];
                let length = stream.read(&mut request).unwrap();
                let here = request[..length].starts_with(b"GET /images/local/");
                let status = if here { "200 OK" } else { "404 Not Found" };
                write!(stream, "HTTP/1.0 {status}\r\n\r\n{{}}").unwrap();
            }
        });
        let used = image(&socket, "far", Some("local"));
        assert_eq!(used.status, Status::Ok, "{used:?}");
        assert!(used.found.starts_with("local"), "{used:?}");
        assert_eq!(image(&socket, "local", None).found, "local");
        // Whoever named it does not get another.
        assert_eq!(image(&socket, "far", None).status, Status::Warning);
        assert_eq!(image(&socket, "far", Some("near")).status, Status::Warning);
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
        let (check, _) = reachable(&surroundings, None);
        assert_eq!(check.status, Status::Warning);
        assert!(check.found.contains("tcp://…@10.0.0.1:2375"), "{check:?}");
        assert!(!format!("{check:?}").contains("hunter2"), "{check:?}");
    }
}
