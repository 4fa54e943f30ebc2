//! From settings to what containers are made like.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stigmer_core::{ErrorCode, Result, ToolError};
use stigmer_docker::{DEFAULT_MEMORY, DEFAULT_PIDS, DockerOptions, Network, Owner, Volume};

use super::site;
use crate::configuration::parse::{Value, containers};
use crate::configuration::variables::Key;
use crate::configuration::{Configuration, Origin, check};

/// Variables that programs read their proxy from, in either case.
pub(crate) const PROXY_VARIABLES: [&str; 5] =
    ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// What `stigmer image build` calls its image.
pub const LOCAL_IMAGE: &str = "stigmer-sandbox-basic:local";

/// What containers are made like.
///
/// # Errors
/// `bad_configuration` for settings that cannot be had together, and a `DOCKER_HOST` that is no
/// engine's address.
pub(crate) fn docker_options(
    settings: &Configuration,
    sidecar: PathBuf,
    owner: Owner,
) -> Result<DockerOptions> {
    let memory = size(settings, Key::SandboxMemory).unwrap_or(DEFAULT_MEMORY);
    let memory_reservation = size(settings, Key::SandboxMemoryReservation);
    if memory_reservation.is_some_and(|reserved| reserved > memory) {
        let message = "sandbox_memory_reservation is more than sandbox_memory";
        return Err(ToolError::new(ErrorCode::BadConfiguration, message)
            .with_detail("settings", vec!["sandbox_memory_reservation", "sandbox_memory"])
            .with_hint("reserve at most what may be used"));
    }
    let network = match text(settings, Key::SandboxNetwork) {
        Some(name) => containers::network(name).map_err(|error| wrong(&error))?,
        None => Network::Bridge,
    };
    let ports = items(settings, Key::SandboxPorts, containers::port)?;
    if !ports.is_empty() && matches!(network, Network::None | Network::Host) {
        let message = "sandbox_ports publishes ports, which sandbox_network has none to publish of";
        return Err(ToolError::new(ErrorCode::BadConfiguration, message)
            .with_detail("settings", vec!["sandbox_ports", "sandbox_network"])
            .with_hint("ports are published of bridge and of networks with a name"));
    }
    let environment = match settings.get(Key::SandboxEnvironment).map(|found| &found.value) {
        Some(Value::Secret(secret)) => {
            let all = containers::split(secret.expose()).map_err(|error| wrong(&error))?;
            let all = all.iter().map(|item| containers::assignment(item));
            all.collect::<std::result::Result<_, _>>().map_err(|error| wrong(&error))?
        }
        _ => Vec::new(),
    };
    let volumes = items(settings, Key::SandboxVolumes, containers::volume)?;
    let engine = engine(settings)?;
    let sockets = site::sockets(engine.as_deref(), owner.uid);
    let leads_there = |volume: &&Volume| {
        volume.source.starts_with('/') && site::holds_socket(Path::new(&volume.source), &sockets)
    };
    if let Some(volume) = volumes.iter().find(leads_there) {
        let message = format!(
            "sandbox_volumes: {} is or holds the socket of a container engine, which would give \
             the container power over its own isolation",
            volume.source
        );
        return Err(ToolError::new(ErrorCode::BadConfiguration, message)
            .with_detail("setting", "sandbox_volumes")
            .with_hint("mount the directories that are needed, one by one"));
    }
    let cleanup = boolean(settings, Key::SandboxCleanup, true);
    let options = DockerOptions {
        state: settings.state_directory()?.join(super::DIRECTORY),
        sidecar,
        owner,
        engine,
        user_home: settings.around().user_home.clone(),
        docker_config: settings.around().docker_config.clone(),
        image: text(settings, Key::SandboxImage).unwrap_or_default().to_owned(),
        // Whoever names an image has that one or none.
        local_image: settings
            .get(Key::SandboxImage)
            .filter(|found| found.origin == Origin::Default)
            .map(|_| LOCAL_IMAGE.to_owned()),
        instead_of: None,
        auto_pull: boolean(settings, Key::SandboxAutoPull, true),
        ttl: ttl(settings).filter(|_| cleanup),
        runtime: text(settings, Key::SandboxRuntime).map(str::to_owned),
        network,
        host_gateway: boolean(settings, Key::SandboxHostGateway, false),
        memory,
        memory_reservation,
        cpus: count(settings, Key::SandboxCpus),
        pids: count(settings, Key::SandboxPids).map_or(DEFAULT_PIDS, u64::from),
        disk: size(settings, Key::SandboxDisk),
        volumes,
        environment,
        ports,
        credentials: items(settings, Key::SandboxCredentials, containers::credentials)?,
        ca_bundle: match settings.get(Key::SandboxCaBundle).map(|found| &found.value) {
            Some(Value::Path(path)) => Some(path.clone()),
            _ => None,
        },
        proxy: proxy(settings),
        pool: count(settings, Key::SandboxPool).unwrap_or(0),
    };
    options.check()?;
    Ok(options)
}

/// The engine's address: the setting, else what other programs are told.
pub(crate) fn engine(settings: &Configuration) -> Result<Option<String>> {
    if let Some(address) = text(settings, Key::SandboxEngine) {
        return Ok(Some(address.to_owned()));
    }
    let Some(address) = &settings.around().docker_host else { return Ok(None) };
    check(Key::SandboxEngine, &Origin::Environment("DOCKER_HOST"), address)?;
    Ok(Some(address.clone()))
}

fn ttl(settings: &Configuration) -> Option<Duration> {
    match settings.get(Key::SandboxTtl).map(|found| &found.value) {
        Some(Value::Duration(time)) => *time,
        _ => None,
    }
}

fn proxy(settings: &Configuration) -> Vec<(String, String)> {
    match text(settings, Key::SandboxProxy) {
        None | Some("none") => Vec::new(),
        Some("environment") => {
            let all = settings.around().proxy.iter();
            all.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect()
        }
        // Both cases: curl reads http_proxy in lower case only, some programs upper case only.
        Some(address) => ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"]
            .map(|name| (name.to_owned(), address.to_owned()))
            .to_vec(),
    }
}

fn text(settings: &Configuration, key: Key) -> Option<&str> {
    match &settings.get(key)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn size(settings: &Configuration, key: Key) -> Option<u64> {
    match settings.get(key)?.value {
        Value::Size(bytes) => Some(bytes),
        _ => None,
    }
}

fn count(settings: &Configuration, key: Key) -> Option<u32> {
    match settings.get(key)?.value {
        Value::Count(number) => u32::try_from(number).ok(),
        _ => None,
    }
}

fn boolean(settings: &Configuration, key: Key, default: bool) -> bool {
    match settings.get(key).map(|found| &found.value) {
        Some(Value::Boolean(yes)) => *yes,
        _ => default,
    }
}

fn items<T>(
    settings: &Configuration,
    key: Key,
    item: impl Fn(&str) -> std::result::Result<T, crate::configuration::parse::Unacceptable>,
) -> Result<Vec<T>> {
    match settings.get(key).map(|found| &found.value) {
        Some(Value::List(items)) => {
            let all = items.iter().map(|text| item(text)).collect::<std::result::Result<_, _>>();
            all.map_err(|error| wrong(&error))
        }
        _ => Ok(Vec::new()),
    }
}

/// What was checked when it was read; never so in practice.
fn wrong(error: &crate::configuration::parse::Unacceptable) -> ToolError {
    ToolError::new(ErrorCode::BadConfiguration, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, Surroundings};
    use stigmer_docker::Credentials;

    const OWNER: Owner = Owner { uid: 1000, gid: 1000 };

    fn options(variables: &[(&str, &str)]) -> Result<DockerOptions> {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let home = Some(PathBuf::from("/home/u"));
        let surroundings = Surroundings { environment: environment.collect(), home };
        let sources = Sources { surroundings, ..Sources::default() };
        docker_options(&Configuration::load(&sources)?, "/sidecar".into(), OWNER)
    }

    #[test]
    fn nothing_set_is_the_narrowest_that_works() {
        let options = options(&[("http_proxy", "http://p:1"), ("HOME", "/x")]).unwrap();
        let state = "/home/u/.stigmer/state/sandboxes".into();
        let image = "ghcr.io/stigmer/agent-sandbox-basic:latest";
        let expected = DockerOptions {
            user_home: Some("/home/u".into()),
            local_image: Some(LOCAL_IMAGE.to_owned()),
            ..DockerOptions::new(state, "/sidecar".into(), OWNER, image)
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn every_setting_arrives() {
        let got = options(&[
            ("STIGMER_SANDBOX_IMAGE", "debian:12"),
            ("STIGMER_SANDBOX_AUTO_PULL", "false"),
            ("STIGMER_SANDBOX_CLEANUP", "false"),
            ("STIGMER_SANDBOX_NETWORK", "team"),
            ("STIGMER_SANDBOX_MEMORY", "1GiB"),
            ("STIGMER_SANDBOX_MEMORY_RESERVATION", "512MiB"),
            ("STIGMER_SANDBOX_CPUS", "2"),
            ("STIGMER_SANDBOX_PIDS", "100"),
            ("STIGMER_SANDBOX_DISK", "1GiB"),
            ("STIGMER_SANDBOX_VOLUMES", "/a:/b:ro,cache:/c"),
            ("STIGMER_SANDBOX_ENVIRONMENT", "A=1\\,2,B="),
            ("STIGMER_SANDBOX_PORTS", "80"),
            ("STIGMER_SANDBOX_HOST_GATEWAY", "true"),
            ("STIGMER_SANDBOX_CREDENTIALS", "kube,aws"),
            ("STIGMER_SANDBOX_CA_BUNDLE", "/ca.pem"),
            ("STIGMER_SANDBOX_PROXY", "environment"),
            ("STIGMER_SANDBOX_RUNTIME", "crun"),
            ("STIGMER_SANDBOX_POOL", "3"),
            ("STIGMER_SANDBOX_ENGINE", "unix:///e"),
            ("DOCKER_HOST", "ssh://elsewhere"),
            ("HTTPS_PROXY", "http://user:word@p:1"),
            ("no_proxy", "localhost"),
        ])
        .unwrap();
        assert_eq!((got.image.as_str(), got.auto_pull, got.ttl), ("debian:12", false, None));
        assert_eq!(got.local_image, None);
        assert_eq!(got.network, Network::Named("team".to_owned()));
        assert_eq!((got.memory, got.memory_reservation), (1 << 30, Some(512 << 20)));
        assert_eq!((got.cpus, got.pids, got.disk), (Some(2), 100, Some(1 << 30)));
        assert_eq!(got.volumes.len(), 2);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(got.environment, [pair("A", "1,2"), pair("B", "")]);
        assert_eq!((got.ports.len(), got.host_gateway), (1, true));
        assert_eq!(got.credentials, [Credentials::Kube, Credentials::Aws]);
        assert_eq!(got.ca_bundle, Some("/ca.pem".into()));
        let proxy = [pair("HTTPS_PROXY", "http://user:word@p:1"), pair("no_proxy", "localhost")];
        assert_eq!(got.proxy, proxy);
        assert_eq!((got.runtime.as_deref(), got.pool), (Some("crun"), 3));
        assert_eq!(got.engine.as_deref(), Some("unix:///e"));
    }

    #[test]
    fn an_engines_socket_does_not_get_in_with_what_holds_it() {
        for volumes in
            ["/run:/x", "/var/run/docker.sock/.:/x:ro", "/run/user/1000:/x", "/:/host:ro"]
        {
            let error = options(&[("STIGMER_SANDBOX_VOLUMES", volumes)]).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadConfiguration, "{volumes}");
        }
        let elsewhere =
            [("DOCKER_HOST", "unix:///srv/e/sock"), ("STIGMER_SANDBOX_VOLUMES", "/srv/e:/x")];
        assert!(options(&elsewhere).is_err());
        assert!(options(&elsewhere[1..]).is_ok());
    }

    #[test]
    fn the_engine_is_the_one_that_other_programs_use() {
        let got = options(&[("DOCKER_HOST", "tcp://127.0.0.1:2375")]).unwrap();
        assert_eq!(got.engine.as_deref(), Some("tcp://127.0.0.1:2375"));
        let error = options(&[("DOCKER_HOST", "ssh://host")]).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadConfiguration);
        assert!(error.message.contains("DOCKER_HOST"), "{error}");
        assert_eq!(options(&[("DOCKER_HOST", "")]).unwrap().engine, None);
    }

    #[test]
    fn what_cannot_be_had_together_is_refused() {
        for variables in [
            [("STIGMER_SANDBOX_MEMORY", "1GiB"), ("STIGMER_SANDBOX_MEMORY_RESERVATION", "2GiB")],
            [("STIGMER_SANDBOX_NETWORK", "none"), ("STIGMER_SANDBOX_PORTS", "80")],
            [("STIGMER_SANDBOX_NETWORK", "host"), ("STIGMER_SANDBOX_PORTS", "80")],
            [("STIGMER_SANDBOX_POOL", "1"), ("STIGMER_SANDBOX_PORTS", "8080:80")],
            [("STIGMER_SANDBOX_POOL", "1"), ("STIGMER_SANDBOX_RUNTIME", "runsc")],
        ] {
            assert_eq!(options(&variables).unwrap_err().code, ErrorCode::BadConfiguration);
        }
    }
}
