//! What containers are made like. Checked by whoever reads the settings; used as it is.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use stigmer_core::{ErrorCode, Result, ToolError};

/// Bytes of memory that a container may use where nothing is said: a build of a large project fits,
/// and a runaway does not take a laptop with it.
pub const DEFAULT_MEMORY: u64 = 4 << 30;

/// Processes and threads of a container where nothing is said.
pub const DEFAULT_PIDS: u64 = 4096;

/// How long a container lives after its last use where nothing is said.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// How the containers of one user and home are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerOptions {
    /// Where what belongs to the containers is kept on this machine; a directory of ours.
    pub state: PathBuf,
    /// The static program that becomes process 1.
    pub sidecar: PathBuf,
    /// Whose files the workspace's are, and whom commands run as.
    pub owner: Owner,
    /// The engine's address (`unix:///path` or `tcp://host:port`), as `DOCKER_HOST` has it;
    /// `None` is the usual socket, rootless or not.
    pub engine: Option<String>,
    /// The image.
    pub image: String,
    /// One that is used where the engine has it and not `image`, and is never pulled.
    pub local_image: Option<String>,
    /// What was asked for, where `image` is used in its stead.
    pub instead_of: Option<String>,
    /// Whether an image that is missing is pulled.
    pub auto_pull: bool,
    /// How long a container lives after its last use; `None` is until it is removed.
    pub ttl: Option<Duration>,
    /// The engine's runtime by name: `runsc`, `kata`; `None` is its default.
    pub runtime: Option<String>,
    /// Which network it has.
    pub network: Network,
    /// Whether `host.docker.internal` names this machine.
    pub host_gateway: bool,
    /// Bytes of memory, swap included.
    pub memory: u64,
    /// Bytes of memory that it is given when memory is short.
    pub memory_reservation: Option<u64>,
    /// Processors; `None` is all. Given as a set, so that programs count no more than they have.
    pub cpus: Option<u32>,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes that it may write outside its volumes; `None` is what the disk has.
    pub disk: Option<u64>,
    /// Further directories.
    pub volumes: Vec<Volume>,
    /// Variables of every command.
    pub environment: Vec<(String, String)>,
    /// Ports that are published.
    pub ports: Vec<Port>,
    /// The user's home directory: where [`Credentials`] are, and Docker's own configuration if
    /// `docker_config` names no other.
    pub user_home: Option<PathBuf>,
    /// The directory of Docker's own configuration (`DOCKER_CONFIG`), for credentials of registries.
    pub docker_config: Option<PathBuf>,
    /// Credentials of the user that commands may read.
    pub credentials: Vec<Credentials>,
    /// A file of certificate authorities that all usual tools shall trust beside, or instead of,
    /// those in the image.
    pub ca_bundle: Option<PathBuf>,
    /// Proxy settings (`http_proxy`, `https_proxy`, `no_proxy` and the like) for every command and
    /// for package managers.
    pub proxy: Vec<(String, String)>,
    /// How many containers wait for a workspace, so that a new one has its own in milliseconds.
    pub pool: u32,
}

impl DockerOptions {
    /// Options that ask for nothing.
    pub fn new(state: PathBuf, sidecar: PathBuf, owner: Owner, image: &str) -> Self {
        Self {
            state,
            sidecar,
            owner,
            engine: None,
            image: image.to_owned(),
            local_image: None,
            instead_of: None,
            auto_pull: true,
            ttl: Some(DEFAULT_TTL),
            runtime: None,
            network: Network::Bridge,
            host_gateway: false,
            memory: DEFAULT_MEMORY,
            memory_reservation: None,
            cpus: None,
            pids: DEFAULT_PIDS,
            disk: None,
            volumes: Vec::new(),
            environment: Vec::new(),
            ports: Vec::new(),
            user_home: None,
            docker_config: None,
            credentials: Vec::new(),
            ca_bundle: None,
            proxy: Vec::new(),
            pool: 0,
        }
    }

    /// The image that was asked for, whichever is used.
    pub(crate) fn asked(&self) -> &str {
        self.instead_of.as_deref().unwrap_or(&self.image)
    }

    /// Refuses options that cannot be had, by themselves or together.
    ///
    /// # Errors
    /// `bad_configuration`, which names the settings.
    pub fn check(&self) -> Result<()> {
        if self.ttl.is_some_and(|ttl| ttl.is_zero()) {
            let message = "sandbox_ttl is 0: a container would be gone before its first command";
            return Err(ToolError::new(ErrorCode::BadConfiguration, message)
                .with_detail("settings", vec!["sandbox_ttl"])
                .with_hint("name a time, such as 1h; a command that runs is use"));
        }
        crate::pool::check(self)
    }
}

/// A user by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Which network a container has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The engine's usual one: out, and to nobody's ports but those published.
    #[default]
    Bridge,
    /// Loopback only.
    None,
    /// This machine's own. No isolation of the network at all.
    Host,
    /// One of this name that exists.
    Named(String),
}

/// A directory or file of this machine, or a volume of the engine's, in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// A path on this machine, or a volume's name.
    pub source: String,
    /// Where it is in the container, absolute.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// A port of the container that this machine listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The address that is listened on.
    pub address: IpAddr,
    /// The port here; 0 is any that is free.
    pub host: u16,
    /// The port in the container (TCP).
    pub container: u16,
}

/// Credentials in the user's home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// `~/.aws`.
    Aws,
    /// `~/.kube`.
    Kube,
}

impl Credentials {
    /// The directory beneath the home.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Self::Aws => ".aws",
            Self::Kube => ".kube",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Options that ask for nothing.
    pub(crate) fn plain() -> DockerOptions {
        let owner = Owner { uid: 1000, gid: 1001 };
        let (state, sidecar) = ("/home/u/.stigmer/state/sandboxes", "/usr/lib/stigmer/sidecar");
        DockerOptions {
            user_home: Some("/home/u".into()),
            ..DockerOptions::new(state.into(), sidecar.into(), owner, "debian:12")
        }
    }

    #[test]
    fn no_container_lives_for_no_time() {
        let refused = DockerOptions { ttl: Some(Duration::ZERO), ..plain() }.check().unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadConfiguration);
        assert!(refused.message.contains("sandbox_ttl"), "{refused:?}");
        plain().check().unwrap();
        DockerOptions { ttl: None, ..plain() }.check().unwrap();
    }
}
