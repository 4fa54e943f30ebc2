//! What the engine is asked to make: a pure function of options, workspace and engine.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions, PortBinding,
};
use stigmer_core::{ErrorCode, Result, ToolError, WorkspaceId};

use crate::engine::Facts;
use crate::options::{DockerOptions, Network, Owner};
use crate::record::Files;

/// Where our things are in a container.
pub(crate) const SIDECAR: &str = "/.stigmer/sidecar";
pub(crate) const SHARED: &str = "/.stigmer/shared";
/// Where a container waits for its workspace, until it has it.
const POOL: &str = "/.stigmer/pool";
pub(crate) const CA_BUNDLE: &str = "/.stigmer/ca-bundle.pem";

/// The home of commands.
pub(crate) const HOME: &str = "/home/sandbox";

/// What process 1 keeps: it makes files the caller's, ends anybody's processes and becomes the
/// caller. Commands have none of it.
const CAPABILITIES: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"];

/// The proxies that programs look for in upper case or in lower case, each in its own.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// What a container's log may take of the disk: process 1 says little, and only that is there.
pub(crate) const LOG: [(&str, &str); 2] = [("max-size", "1m"), ("max-file", "1")];

/// What is to be made.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) options: &'a DockerOptions,
    pub(crate) facts: &'a Facts,
    /// Which of many: others get other processors.
    pub(crate) number: u64,
    /// The workspace's directory, as text; nothing for a container that waits for one.
    pub(crate) root: Option<&'a str>,
    /// The directory that is shared with the sidecar, on this machine: for good, or while it waits.
    pub(crate) shared: &'a str,
    pub(crate) files: Files,
    /// Whether the engine is asked to limit the disk.
    pub(crate) quota: bool,
    pub(crate) labels: HashMap<String, String>,
    /// Names of the volumes of the workspace and of what is shared, if files are a copy.
    pub(crate) volumes: &'a [String; 2],
}

/// Whom commands run as inside: root of a rootless engine is its user outside.
pub(crate) fn user(owner: Owner, facts: &Facts) -> String {
    if facts.rootless { "0:0".to_owned() } else { format!("{}:{}", owner.uid, owner.gid) }
}

/// What tells a workspace from others in numbers.
pub(crate) fn number(workspace: &WorkspaceId) -> u64 {
    let digits = workspace.as_str().trim_start_matches("ws-");
    u64::from_str_radix(digits, 16).unwrap_or_default()
}

impl Plan<'_> {
    /// The request.
    ///
    /// # Errors
    /// `bad_configuration` if something cannot be said to an engine.
    pub(crate) fn body(&self) -> Result<ContainerCreateBody> {
        let options = self.options;
        let (exposed, bindings) = self.ports();
        let mut labels = self.labels.clone();
        labels.insert(crate::names::FILES.to_owned(), self.files.name().to_owned());
        labels.insert(crate::names::ASKED.to_owned(), options.asked().to_owned());
        Ok(ContainerCreateBody {
            image: Some(options.image.clone()),
            user: Some("0:0".to_owned()),
            entrypoint: Some(self.program()?),
            cmd: Some(Vec::new()),
            env: Some(self.environment()),
            working_dir: Some("/".to_owned()),
            hostname: (options.network != Network::Host).then(|| "sandbox".to_owned()),
            labels: Some(labels),
            stop_signal: Some("SIGTERM".to_owned()),
            // An image's own is about a program that does not run.
            healthcheck: Some(HealthConfig {
                test: Some(vec!["NONE".to_owned()]),
                ..HealthConfig::default()
            }),
            exposed_ports: (!exposed.is_empty()).then_some(exposed),
            host_config: Some(HostConfig {
                port_bindings: (!bindings.is_empty()).then_some(bindings),
                ..self.host()?
            }),
            ..ContainerCreateBody::default()
        })
    }

    fn program(&self) -> Result<Vec<String>> {
        let options = self.options;
        let ttl = options.ttl.map_or(0, |ttl| ttl.as_secs().max(1));
        let mut words = vec![SIDECAR.to_owned(), "init".to_owned()];
        let mut say = |name: &str, value: String| words.extend([name.to_owned(), value]);
        say("--user", user(options.owner, self.facts));
        match self.root {
            Some(root) => say("--root", root.to_owned()),
            None => say("--wait", POOL.to_owned()),
        }
        say("--shared", SHARED.to_owned());
        say("--ttl", ttl.to_string());
        if options.ca_bundle.is_some() {
            say("--ca-bundle", CA_BUNDLE.to_owned());
        }
        for volume in &options.volumes {
            let is_volume = !volume.source.starts_with('/') && !volume.read_only;
            say(if is_volume { "--volume" } else { "--mounted" }, volume.target.clone());
        }
        Ok(words)
    }

    /// What process 1 has, and hands on. A proxy's address may hold a password: arguments are what every
    /// user of this machine can read, and variables are not.
    fn environment(&self) -> Vec<String> {
        let mut all: Vec<(String, &str)> = Vec::new();
        let mut unless_there = |name: String, value| {
            if !all.iter().any(|(there, _)| *there == name) {
                all.push((name, value));
            }
        };
        for (name, value) in self.options.environment.iter().chain(&self.options.proxy) {
            unless_there(name.clone(), value.as_str());
        }
        for (name, value) in self.options.proxy.iter().filter(|(name, _)| is_proxy(name)) {
            unless_there(name.to_ascii_lowercase(), value);
            unless_there(name.to_ascii_uppercase(), value);
        }
        all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn host(&self) -> Result<HostConfig> {
        let options = self.options;
        let (facts, network) = (self.facts, &options.network);
        let memory = bytes("the memory", options.memory)?;
        let reservation = options.memory_reservation;
        let mut security = vec!["no-new-privileges".to_owned()];
        if facts.selinux {
            // Relabelling the user's files would lock others out of them.
            security.push("label=disable".to_owned());
        }
        let quota = options.disk.filter(|_| self.quota);
        Ok(HostConfig {
            auto_remove: Some(true),
            init: Some(false),
            privileged: Some(false),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            security_opt: Some(security),
            userns_mode: facts.user_namespaces.then(|| "host".to_owned()),
            memory: Some(memory),
            memory_swap: Some(memory),
            memory_reservation: reservation
                .map(|reserved| bytes("the memory to reserve", reserved))
                .transpose()?,
            pids_limit: Some(bytes("the number of processes", options.pids)?),
            cpuset_cpus: options.cpus.and_then(|wanted| self.cpus(wanted)),
            runtime: options.runtime.clone(),
            network_mode: Some(match network {
                Network::Bridge => "bridge".to_owned(),
                Network::None => "none".to_owned(),
                Network::Host => "host".to_owned(),
                Network::Named(name) => name.clone(),
            }),
            extra_hosts: options
                .host_gateway
                .then(|| vec!["host.docker.internal:host-gateway".to_owned()]),
            storage_opt: quota.map(|size| HashMap::from([("size".to_owned(), size.to_string())])),
            mounts: Some(self.mounts()?),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(LOG.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            }),
            ..HostConfig::default()
        })
    }

    /// Which processors: as many as are wanted, and other ones for other workspaces.
    fn cpus(&self, wanted: u32) -> Option<String> {
        let all = self.facts.cpus;
        if wanted == 0 || wanted >= all {
            return None;
        }
        let first = u32::try_from(self.number % u64::from(all)).unwrap_or_default();
        let mut chosen: Vec<u32> = (first..first + wanted).map(|cpu| cpu % all).collect();
        chosen.sort_unstable();
        Some(chosen.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let options = self.options;
        let mut mounts: Vec<_> = match self.files {
            Files::Mounted => {
                let ours = [
                    bind(text(&options.sidecar)?, SIDECAR, true),
                    bind(self.shared.to_owned(), self.root.map_or(POOL, |_| SHARED), false),
                ];
                let root = self.root.map(|root| bind(root.to_owned(), root, false));
                ours.into_iter().chain(root).collect()
            }
            Files::Copied => {
                let [workspace, shared] = self.volumes;
                let root = self.root.map(|root| self.volume(workspace, root));
                root.into_iter().chain([self.volume(shared, SHARED)]).collect()
            }
        };
        if let Some(bundle) = &options.ca_bundle {
            mounts.push(bind(text(bundle)?, CA_BUNDLE, true));
        }
        for credentials in &options.credentials {
            let home = options.user_home.as_deref().ok_or_else(|| {
                let message = "credentials are asked for, and the user has no home directory";
                ToolError::new(ErrorCode::BadConfiguration, message)
            })?;
            let name = credentials.directory();
            mounts.push(bind(text(&home.join(name))?, &format!("{HOME}/{name}"), true));
        }
        for volume in &options.volumes {
            let typ =
                if volume.source.starts_with('/') { MountType::BIND } else { MountType::VOLUME };
            mounts.push(Mount {
                typ: Some(typ),
                source: Some(volume.source.clone()),
                target: Some(volume.target.clone()),
                read_only: Some(volume.read_only),
                ..Mount::default()
            });
        }
        Ok(mounts)
    }

    fn volume(&self, name: &str, target: &str) -> Mount {
        Mount {
            typ: Some(MountType::VOLUME),
            source: Some(name.to_owned()),
            target: Some(target.to_owned()),
            volume_options: Some(MountVolumeOptions {
                labels: Some(self.labels.clone()),
                // What an image has at this path is none of the workspace's files.
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        }
    }

    #[allow(clippy::type_complexity, reason = "as the library has it")]
    fn ports(&self) -> (Vec<String>, HashMap<String, Option<Vec<PortBinding>>>) {
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        let mut exposed = Vec::new();
        for port in &self.options.ports {
            let name = format!("{}/tcp", port.container);
            let binding = PortBinding {
                host_ip: Some(port.address.to_string()),
                host_port: Some(port.host.to_string()),
            };
            if !exposed.contains(&name) {
                exposed.push(name.clone());
            }
            bindings.entry(name).or_default().get_or_insert_default().push(binding);
        }
        (exposed, bindings)
    }
}

fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name.to_ascii_lowercase().as_str())
}

pub(crate) fn bind(source: String, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// An engine's numbers have a sign.
fn bytes(what: &str, number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| {
        ToolError::new(ErrorCode::BadConfiguration, format!("{what}: {number} is too much"))
    })
}

/// An engine's paths are text.
pub(crate) fn text(path: &std::path::Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let message =
            format!("{}: the name is no text, and a Docker engine takes no other", path.display());
        ToolError::new(ErrorCode::Unsupported, message)
            .with_hint("choose a directory whose name is UTF-8")
    })
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
