//! The container that mounts workspaces in those that wait.

use std::io;
use std::time::Instant;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::entry::{Pool, made_like};
use super::talk;
use crate::create::{LOG, SIDECAR, bind, text};
use crate::engine::Facts;
use crate::make::{LOOK, START, ended};
use crate::manager::DockerManager;
use crate::names::{HOME, KEEPER, OPTIONS, labels_of_kind};

/// Where its socket is in it.
const DIRECTORY: &str = "/.stigmer/keeper";

/// What it may do beyond what every program may: enter mounts, and mount.
const CAPABILITIES: [&str; 2] = ["SYS_ADMIN", "SYS_CHROOT"];

/// Bytes of memory that it may use: it uses two, and a child for each claim shares them.
const MEMORY: i64 = 64 << 20;

/// Processes: itself, and eight claims at once.
const PIDS: i64 = 32;

/// What the engine is asked to make. Nothing of this machine is in it but its program and the directory
/// of its socket, and it has no network.
fn body(manager: &DockerManager, facts: &Facts, pool: &Pool) -> Result<ContainerCreateBody> {
    let options = &manager.options;
    let ttl = options.ttl.map_or(0, |ttl| ttl.as_secs().max(1)).to_string();
    let owner = options.owner.uid.to_string();
    let socket = format!("{DIRECTORY}/{}", talk::SOCKET);
    let words = [SIDECAR, "keep", "--socket", &socket, "--owner", &owner, "--ttl", &ttl];
    // A profile that keeps containers from mounting would keep it from it.
    let mut security = vec!["no-new-privileges".to_owned(), "apparmor=unconfined".to_owned()];
    if facts.selinux {
        security.push("label=disable".to_owned());
    }
    Ok(ContainerCreateBody {
        image: Some(options.image.clone()),
        user: Some("0:0".to_owned()),
        entrypoint: Some(words.map(str::to_owned).to_vec()),
        cmd: Some(Vec::new()),
        working_dir: Some("/".to_owned()),
        hostname: Some(KEEPER.to_owned()),
        labels: Some(labels_of_kind(&manager.home, KEEPER, &made_like(options))),
        stop_signal: Some("SIGTERM".to_owned()),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            auto_remove: Some(true),
            init: Some(false),
            privileged: Some(false),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
            security_opt: Some(security),
            userns_mode: facts.user_namespaces.then(|| "host".to_owned()),
            memory: Some(MEMORY),
            memory_swap: Some(MEMORY),
            pids_limit: Some(PIDS),
            network_mode: Some("none".to_owned()),
            mounts: Some(vec![
                bind(text(&options.sidecar)?, SIDECAR, true),
                bind(text(&pool.keeper())?, DIRECTORY, false),
            ]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(LOG.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    })
}

impl DockerManager {
    /// Makes sure that there is a keeper, and that it stays. Whoever calls this has the pool's lock.
    pub(super) async fn ensure_keeper(&self, pool: &Pool, facts: &Facts) -> Result<()> {
        let name = self.home.keeper();
        if let Some(found) = self.engine.container(&name).await? {
            if found.labels.get(HOME).map(String::as_str) != Some(self.home.as_str())
                || !self.home.is_kind(&found, KEEPER)
            {
                let message =
                    format!("the container {name} was made by somebody else and is not touched");
                return Err(ToolError::new(ErrorCode::Busy, message)
                    .with_detail("container", name.as_str()));
            }
            let as_wanted = found.labels.get(OPTIONS) == Some(&made_like(&self.options));
            if as_wanted && asked(pool).await.is_ok() {
                return Ok(());
            }
            self.engine.remove(&found.id).await?;
        }
        let (id, _) =
            self.engine.create(&name, &self.options.image, body(self, facts, pool)?).await?;
        let started = async {
            let mut said = self.engine.attach(&id).await?;
            self.engine.start(&id).await?;
            let began = Instant::now();
            while let Err(error) = asked(pool).await {
                if began.elapsed() > START {
                    return Err(ToolError::new(
                        ErrorCode::DeadlineExceeded,
                        format!("the container {name} does not answer: {error}"),
                    ));
                }
                if let Ok(heard) = tokio::time::timeout(LOOK, said.hear()).await
                    && !heard.unwrap_or(false)
                {
                    return Err(ended(&name, &said.stderr()));
                }
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let started = started.await;
        if started.is_err() {
            let _ = self.engine.remove(&id).await;
        }
        started
    }
}

/// Asks the keeper to stay for another time to live.
async fn asked(pool: &Pool) -> io::Result<()> {
    let keeper = talk::keeper(&pool.keeper()).await?;
    let asking = tokio::task::spawn_blocking(move || talk::stay(keeper));
    asking.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::plain;

    #[test]
    fn it_has_two_rights_and_nothing_of_this_machine() {
        let manager = DockerManager::new(plain()).unwrap();
        let pool = Pool::new(&manager.options);
        let body = body(&manager, &Facts::default(), &pool).unwrap();
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.cap_add.unwrap(), ["SYS_ADMIN", "SYS_CHROOT"]);
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!((host.readonly_rootfs, host.auto_remove), (Some(true), Some(true)));
        let mounts = host.mounts.unwrap();
        let sources: Vec<_> = mounts.iter().filter_map(|mount| mount.source.as_deref()).collect();
        let state = "/home/u/.stigmer/state/sandboxes/pool/keeper";
        assert_eq!(sources, ["/usr/lib/stigmer/sidecar", state]);
        assert_eq!(mounts[0].read_only, Some(true));
    }
}
