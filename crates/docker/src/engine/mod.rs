//! The engine: control requests, each with a deadline, and its failures told apart.

mod address;
mod containers;
pub(crate) mod errors;
mod events;
mod frames;
mod images;
mod networks;
mod stream;

use std::io;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use stigmer_core::{Result, ToolError};
use tokio::sync::OnceCell;

pub(crate) use address::{Address, SYSTEM_SOCKET};
pub(crate) use containers::{Found, State};
use errors::{Asked, Said};
pub(crate) use errors::{EngineError, Kind};
pub(crate) use events::{Fate, GIVE_WAY};
pub(crate) use stream::Framed;

/// How long an engine may take for anything but pulling: on a busy machine starting a container
/// takes seconds, and one that takes longer hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Bollard's own deadline, in seconds. Ours is shorter and says more.
const NEVER: u64 = 24 * 60 * 60;

/// The oldest API that is spoken: that of Docker 20.10.
const OLDEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };

/// A client of one engine. Nothing is asked until something is needed.
#[derive(Debug)]
pub(crate) struct Engine {
    address: Address,
    name: String,
    client: OnceCell<Docker>,
    deadline: Duration,
}

impl Engine {
    pub(crate) fn new(address: Address, deadline: Duration) -> Self {
        let name = address.to_string();
        Self { address, name, client: OnceCell::new(), deadline }
    }

    /// Its address, as text.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A client that speaks a version that the engine knows, too.
    async fn client(&self) -> Result<&Docker, EngineError> {
        let asked = self.asked("reach the engine", None);
        self.client
            .get_or_try_init(|| async {
                let docker = match &self.address {
                    Address::Unix(path) => Docker::connect_with_unix(
                        &path.to_string_lossy(),
                        NEVER,
                        API_DEFAULT_VERSION,
                    ),
                    Address::Tcp(address) => {
                        Docker::connect_with_http(address, NEVER, API_DEFAULT_VERSION)
                    }
                };
                let docker = docker.map_err(|error| EngineError::of(&said(&error), &asked))?;
                let docker = self.limited(&asked, docker.negotiate_version()).await?;
                let version = docker.client_version();
                if version < OLDEST {
                    let text = format!(
                        "client version 1.41 is too new. Maximum supported API version is {version}"
                    );
                    return Err(EngineError::of(&Said::Status(400, text), &asked));
                }
                Ok(docker)
            })
            .await
    }

    fn asked<'a>(&'a self, what: &'a str, image: Option<&'a str>) -> Asked<'a> {
        Asked { engine: &self.name, what, image }
    }

    /// Waits for an answer, and no longer than the deadline.
    async fn limited<T>(
        &self,
        asked: &Asked<'_>,
        answer: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(EngineError::of(&said(&error), asked)),
            Err(_) => Err(EngineError::of(&Said::Late(self.deadline.as_millis()), asked)),
        }
    }

    /// The failure to use an image that the engine does not have.
    pub(crate) fn missing(&self, image: &str) -> EngineError {
        let said = Said::Status(404, format!("No such image: {image}"));
        EngineError::of(&said, &self.asked("use the image", Some(image)))
    }

    /// What is to be known of the engine before a container is made.
    pub(crate) async fn facts(&self) -> Result<Facts, EngineError> {
        let client = self.client().await?;
        let info = self.limited(&self.asked("ask the engine", None), client.info()).await?;
        Ok(Facts::of(&info))
    }
}

/// What is to be known of an engine before a container is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It runs as an ordinary user, who is root inside.
    pub(crate) rootless: bool,
    /// Users inside are others outside.
    pub(crate) user_namespaces: bool,
    /// SELinux guards files.
    pub(crate) selinux: bool,
    /// Processors.
    pub(crate) cpus: u32,
    /// Whether its storage may be able to limit what a container writes.
    pub(crate) quota: bool,
    /// What it does not do although it is asked for, and does not say when it is asked.
    pub(crate) lacks: Vec<&'static str>,
}

impl Facts {
    fn of(info: &bollard::models::SystemInfo) -> Self {
        let security = info.security_options.as_deref().unwrap_or_default();
        let has = |name: &str| {
            let wanted = format!("name={name}");
            security.iter().any(|option| option.split(',').any(|part| part == wanted))
        };
        let backing = info.driver_status.iter().flatten().any(|pair| {
            matches!(&pair[..], [name, value] if name == "Backing Filesystem" && value == "xfs")
        });
        let quota = match info.driver.as_deref() {
            Some("overlay2") => backing,
            Some("btrfs" | "zfs" | "devicemapper") => true,
            _ => false,
        };
        let lacks = [
            (info.memory_limit, "no limit of memory"),
            (info.pids_limit, "no limit of processes"),
            (info.cpu_set, "no choice of processors"),
            (Some(has("seccomp")), "no seccomp filter"),
        ];
        let lacks = lacks.into_iter().filter(|(able, _)| *able == Some(false));
        Self {
            lacks: lacks.map(|(_, what)| what).collect(),
            rootless: has("rootless"),
            user_namespaces: has("userns"),
            selinux: has("selinux"),
            cpus: info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1),
            quota,
        }
    }
}

/// What an error of the library says that the engine, or the kernel, said.
fn said(error: &bollard::errors::Error) -> Said {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            Said::Status(*status_code, message.clone())
        }
        Error::DockerStreamError { error } => Said::Stream(error.clone()),
        Error::SocketNotFoundError(path) => {
            Said::Io(io::ErrorKind::NotFound, format!("there is no socket {path}"))
        }
        Error::RequestTimeoutError => Said::Late(u128::from(NEVER) * 1000),
        _ => match io_error(error) {
            Some(io) => Said::Io(io.kind(), io.to_string()),
            None if is_broken(error) => {
                Said::Io(io::ErrorKind::ConnectionReset, "it broke the connection off".to_owned())
            }
            None => Said::Garbled(error.to_string()),
        },
    }
}

fn causes<'a>(
    error: &'a bollard::errors::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    // The library's transparent wrappers leave themselves out of the chain.
    let first: &(dyn std::error::Error + 'static) = match error {
        bollard::errors::Error::HyperLegacyError { err } => err,
        bollard::errors::Error::HyperResponseError { err } => err,
        bollard::errors::Error::IOError { err } => err,
        other => other,
    };
    std::iter::successors(Some(first), |error: &&'a (dyn std::error::Error + 'static)| {
        (*error).source()
    })
}

fn io_error(error: &bollard::errors::Error) -> Option<&io::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn is_broken(error: &bollard::errors::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .any(|error| error.is_incomplete_message() || error.is_closed() || error.is_canceled())
}

/// The address of the engine that is meant, and nothing asked of it.
pub(crate) fn address(named: Option<&str>, uid: u32) -> Result<Address, ToolError> {
    match named {
        Some(text) => Address::parse(text),
        None => {
            let rootless = std::path::PathBuf::from(format!("/run/user/{uid}/docker.sock"));
            let system = std::path::PathBuf::from(SYSTEM_SOCKET);
            // The system's, if it is there: what `docker` without a context takes.
            let only_rootless = !system.exists() && rootless.exists();
            Ok(Address::Unix(if only_rootless { rootless } else { system }))
        }
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::SystemInfo;

    use super::*;

    #[test]
    fn facts_are_what_the_engine_says() {
        let options = |all: &[&str]| Some(all.iter().map(|one| (*one).to_owned()).collect());
        let pair = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let info = SystemInfo {
            security_options: options(&[
                "name=seccomp,profile=default",
                "name=rootless",
                "name=selinux",
                "name=userns",
            ]),
            driver: Some("overlay2".to_owned()),
            driver_status: Some(vec![pair("Backing Filesystem", "xfs")]),
            ncpu: Some(8),
            memory_limit: Some(true),
            ..SystemInfo::default()
        };
        let all = Facts {
            rootless: true,
            user_namespaces: true,
            selinux: true,
            cpus: 8,
            quota: true,
            lacks: Vec::new(),
        };
        assert_eq!(Facts::of(&info), all);
        let info = SystemInfo {
            security_options: options(&["name=apparmor,profile=rootless"]),
            memory_limit: Some(false),
            pids_limit: Some(false),
            cpu_set: Some(true),
            driver: Some("overlay2".to_owned()),
            driver_status: Some(vec![pair("Backing Filesystem", "extfs")]),
            ..SystemInfo::default()
        };
        let lacks = vec!["no limit of memory", "no limit of processes", "no seccomp filter"];
        assert_eq!(Facts::of(&info), Facts { cpus: 1, lacks, ..Facts::default() });
    }
}
