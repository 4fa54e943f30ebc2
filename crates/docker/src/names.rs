//! What containers are called and labelled, so that whoever made them finds them again, and nobody
//! else's are touched.

use std::collections::HashMap;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use stigmer_core::{ByteString, WorkspaceId};

use crate::engine::Found;
use crate::options::{DockerOptions, Network};

/// The labels.
pub(crate) const HOME: &str = "dev.stigmer.home";
pub(crate) const WORKSPACE: &str = "dev.stigmer.workspace";
pub(crate) const ROOT: &str = "dev.stigmer.root";
pub(crate) const OPTIONS: &str = "dev.stigmer.options";
pub(crate) const VERSION: &str = "dev.stigmer.version";
pub(crate) const CREATED: &str = "dev.stigmer.created";
pub(crate) const FILES: &str = "dev.stigmer.files";
/// Which directory was mounted as the root.
pub(crate) const DIRECTORY: &str = "dev.stigmer.directory";
/// Which image was asked for, where another one may stand in for it.
pub(crate) const ASKED: &str = "dev.stigmer.asked";
pub(crate) const KIND: &str = "dev.stigmer.kind";

/// The kinds of containers that were not made for a workspace: one that waits for it or was given to
/// one since, and the one that mounts for those.
pub(crate) const POOL: &str = "pool";
pub(crate) const KEEPER: &str = "keeper";

/// Digits of a home in a container's name.
const DIGITS: usize = 8;

/// What tells one user's home on one machine from all others that an engine may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Home(String);

impl Home {
    pub(crate) fn new(options: &DockerOptions, machine: &str) -> Self {
        let state = ByteString::from(options.state.as_path());
        let owner = options.owner.uid;
        Self(hash(&json!([machine, owner, state]).to_string()))
    }

    /// The label's value.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The label as filters have it.
    pub(crate) fn filter(&self) -> String {
        format!("{HOME}={}", self.0)
    }

    /// The name of a workspace's container.
    pub(crate) fn container(&self, workspace: &WorkspaceId) -> String {
        format!("stigmer-{}-{workspace}", &self.0[..DIGITS])
    }

    /// The name of a container that waits for a workspace.
    pub(crate) fn waiting(&self, id: &str) -> String {
        format!("stigmer-{}-{POOL}-{id}", &self.0[..DIGITS])
    }

    /// The name of the keeper.
    pub(crate) fn keeper(&self) -> String {
        format!("stigmer-{}-{KEEPER}", &self.0[..DIGITS])
    }

    /// Whether a container of this home has a kind.
    pub(crate) fn is_kind(&self, found: &Found, kind: &str) -> bool {
        let label = |name: &str| found.labels.get(name).map(String::as_str);
        label(HOME) == Some(self.as_str()) && label(KIND) == Some(kind)
    }

    /// Whose a container of this home is. Labels stay as they were made: one from the pool says it by
    /// its name, which it was given with the workspace.
    pub(crate) fn workspace(&self, found: &Found) -> Option<WorkspaceId> {
        if !self.is_kind(found, POOL) {
            return found.labels.get(WORKSPACE).and_then(|id| id.parse().ok());
        }
        let prefix = format!("stigmer-{}-", &self.0[..DIGITS]);
        found.name.strip_prefix(&prefix)?.parse().ok()
    }
}

/// What a container of the pool is made like; in place of the root stands what is no path.
pub(crate) fn pool_fingerprint(options: &DockerOptions) -> String {
    fingerprint(options, &ByteString::from(POOL))
}

/// The volumes of a workspace whose files are a copy: its own, and what the sidecar keeps.
pub(crate) fn volumes(container: &str) -> [String; 2] {
    [container.to_owned(), format!("{container}-shared")]
}

/// What the container of a workspace is made like, in one word: another word is another container. The
/// image is not in it, because one image may have several names.
pub(crate) fn fingerprint(options: &DockerOptions, root: &ByteString) -> String {
    let network = match &options.network {
        Network::Bridge => "bridge",
        Network::None => "none",
        Network::Host => "host",
        Network::Named(name) => name,
    };
    let named = matches!(options.network, Network::Named(_));
    let volumes: Vec<_> =
        options.volumes.iter().map(|one| (&one.source, &one.target, one.read_only)).collect();
    let ports: Vec<_> = options
        .ports
        .iter()
        .map(|one| (one.address.to_string(), one.host, one.container))
        .collect();
    let credentials: Vec<_> = options.credentials.iter().map(|one| one.directory()).collect();
    let whole = json!([
        env!("CARGO_PKG_VERSION"),
        root,
        [options.owner.uid, options.owner.gid],
        options.ttl.map(|ttl| ttl.as_secs()),
        options.runtime,
        [network, if named { "named" } else { "" }],
        options.host_gateway,
        [options.memory, options.memory_reservation.unwrap_or(0), options.pids],
        options.cpus,
        options.disk,
        volumes,
        options.environment,
        ports,
        credentials,
        options.ca_bundle.as_deref().map(ByteString::from),
        options.proxy,
    ]);
    hash(&whole.to_string())
}

/// The labels of a workspace's container.
pub(crate) fn labels(
    home: &Home,
    workspace: &WorkspaceId,
    root: &ByteString,
    fingerprint: &str,
) -> HashMap<String, String> {
    let root = root.to_string_lossy();
    [
        (HOME, home.as_str()),
        (WORKSPACE, workspace.as_str()),
        (ROOT, &root),
        (OPTIONS, fingerprint),
        (VERSION, env!("CARGO_PKG_VERSION")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// The labels of a container that was not made for a workspace.
pub(crate) fn labels_of_kind(
    home: &Home,
    kind: &str,
    fingerprint: &str,
) -> HashMap<String, String> {
    [
        (HOME, home.as_str()),
        (KIND, kind),
        (OPTIONS, fingerprint),
        (VERSION, env!("CARGO_PKG_VERSION")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text)[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::plain;

    #[test]
    fn every_option_that_makes_another_container_makes_another_fingerprint() {
        type Change = fn(&mut DockerOptions);
        let changes: &[Change] = &[
            |options| options.owner.gid = 7,
            |options| options.ttl = None,
            |options| options.runtime = Some("runsc".to_owned()),
            |options| options.network = Network::None,
            |options| options.network = Network::Named("none".to_owned()),
            |options| options.host_gateway = true,
            |options| options.memory = 1 << 30,
            |options| options.memory_reservation = Some(1 << 20),
            |options| options.cpus = Some(1),
            |options| options.pids = 10,
            |options| options.disk = Some(1),
            |options| {
                options.volumes.push(crate::Volume {
                    source: "v".into(),
                    target: "/v".into(),
                    read_only: true,
                })
            },
            |options| options.environment.push(("A".into(), "b".into())),
            |options| {
                options.ports.push(crate::Port {
                    address: [127, 0, 0, 1].into(),
                    host: 0,
                    container: 80,
                })
            },
            |options| options.credentials.push(crate::Credentials::Aws),
            |options| options.ca_bundle = Some("/ca".into()),
            |options| options.proxy.push(("http_proxy".into(), "http://p".into())),
        ];
        let root = ByteString::from("/srv");
        let mut seen = vec![fingerprint(&plain(), &root), fingerprint(&plain(), &"/other".into())];
        for change in changes {
            let mut options = plain();
            change(&mut options);
            seen.push(fingerprint(&options, &root));
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }

    #[test]
    fn what_only_concerns_us_or_is_a_name_makes_no_other_fingerprint() {
        let root = ByteString::from("/srv");
        let mut options = DockerOptions { image: "other name".to_owned(), ..plain() };
        (options.auto_pull, options.pool) = (!options.auto_pull, 7);
        assert_eq!(fingerprint(&options, &root), fingerprint(&plain(), &root));
    }

    #[test]
    fn homes_of_other_users_machines_and_places_are_others() {
        let home = Home::new(&plain(), "m");
        let mut other = plain();
        other.owner.uid += 1;
        let mut elsewhere = plain();
        elsewhere.state = "/elsewhere".into();
        for different in
            [Home::new(&other, "m"), Home::new(&elsewhere, "m"), Home::new(&plain(), "n")]
        {
            assert_ne!(different, home);
        }
        let name = home.container(&WorkspaceId::from_number(1));
        assert!(name.starts_with("stigmer-") && name.ends_with("-ws-0000000000000001"), "{name}");
    }
}
