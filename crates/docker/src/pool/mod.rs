//! Containers that wait for a workspace.
//!
//! Each is a container like any other, but that its process 1 waits and nothing of a workspace's is
//! mounted in it. `<state>/pool` has a directory for each; whoever moves that directory into a
//! workspace's place has the container, for that workspace and for good. What breaks off in between is
//! found by that directory, and its container is removed.

mod claim;
mod entry;
mod keeper;
mod refill;
mod talk;

use std::path::Path;

use stigmer_core::{ErrorCode, Result, ToolError};

use crate::create::{CA_BUNDLE, HOME};
use crate::make::Made;
use crate::options::DockerOptions;

/// What came of looking for a container that waits.
pub(crate) enum Claim {
    Made(Made),
    /// There is none for this workspace: one is made.
    None,
}

/// Containers that may wait at most: each takes memory of this machine, and of what the engine can have
/// (networks give a thousand addresses).
const MOST: u32 = 100;

/// Runtimes whose containers have a kernel of their own: nothing of this machine's can be mounted in
/// them later.
const OWN_KERNEL: [&str; 3] = ["runsc", "gvisor", "kata"];

/// Refuses what a pool cannot be had with.
///
/// # Errors
/// `bad_configuration`, which names both settings.
pub(crate) fn check(options: &DockerOptions) -> Result<()> {
    if options.pool == 0 {
        return Ok(());
    }
    let refuse = |message: String, other: &str, hint: &str| {
        Err(ToolError::new(ErrorCode::BadConfiguration, message)
            .with_detail("settings", vec!["sandbox_pool", other])
            .with_hint(hint.to_owned()))
    };
    if options.pool > MOST {
        let message = format!("sandbox_pool is {}, and at most {MOST} can wait", options.pool);
        return refuse(message, "sandbox_pool", "let fewer wait");
    }
    if let Some(port) = options.ports.iter().find(|port| port.host != 0) {
        let message = format!(
            "sandbox_ports publishes port {}, which the containers of sandbox_pool cannot all have",
            port.host
        );
        let hint = "publish it at any port that is free (`sandbox_ports` without a port of this machine), or set sandbox_pool to 0";
        return refuse(message, "sandbox_ports", hint);
    }
    if let Some(runtime) = options.runtime.as_deref()
        && OWN_KERNEL.iter().any(|own| runtime.contains(own))
    {
        let message = format!(
            "containers of sandbox_runtime {runtime} have a kernel of their own, so those of sandbox_pool could get no workspace"
        );
        return refuse(message, "sandbox_runtime", "set sandbox_pool to 0");
    }
    Ok(())
}

/// Whether a workspace can be mounted after all else: what a container has anyway may neither lie in it
/// nor hold it, because an engine would have mounted it in another order.
fn fits(options: &DockerOptions, root: &Path) -> bool {
    let home = Path::new(HOME);
    let mut others = vec![Path::new(CA_BUNDLE).to_owned()];
    others.extend(options.credentials.iter().map(|one| home.join(one.directory())));
    others.extend(options.volumes.iter().map(|one| one.target.clone().into()));
    let ours = Path::new(CA_BUNDLE).parent().unwrap_or(home);
    others.push(ours.to_owned());
    !others.iter().any(|other| other.starts_with(root) || root.starts_with(other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::plain;
    use crate::{Credentials, Port, Volume};

    #[test]
    fn what_cannot_be_had_with_a_pool_is_refused_and_both_settings_named() {
        let port = |host| Port { address: [127, 0, 0, 1].into(), host, container: 80 };
        let refused = |change: &dyn Fn(&mut DockerOptions)| {
            let mut options = plain();
            change(&mut options);
            assert_eq!(check(&options), Ok(()), "without a pool");
            options.pool = 1;
            check(&options).map_err(|error| {
                assert_eq!(error.code, ErrorCode::BadConfiguration);
                error.details["settings"].to_string()
            })
        };
        assert_eq!(refused(&|_| ()), Ok(()));
        assert_eq!(refused(&|options| options.ports = vec![port(0)]), Ok(()));
        assert_eq!(refused(&|options| options.runtime = Some("runc".into())), Ok(()));
        let ports = refused(&|options| options.ports = vec![port(0), port(8080)]);
        assert_eq!(ports.unwrap_err(), r#"["sandbox_pool","sandbox_ports"]"#);
        for runtime in ["runsc", "kata-qemu", "io.containerd.kata.v2"] {
            let refused = refused(&|options| options.runtime = Some(runtime.into()));
            assert_eq!(refused.unwrap_err(), r#"["sandbox_pool","sandbox_runtime"]"#);
        }
        assert!(check(&DockerOptions { pool: MOST + 1, ..plain() }).is_err());
    }

    #[test]
    fn a_workspace_that_holds_another_mount_is_not_mounted_later() {
        let mut options = plain();
        let volume =
            |target: &str| Volume { source: "v".into(), target: target.into(), read_only: false };
        options.volumes = vec![volume("/srv/cache"), volume("/data")];
        options.credentials = vec![Credentials::Aws];
        for bad in ["/srv", "/srv/cache", "/data/mine", "/home/sandbox", "/.stigmer/x", "/.stigmer"]
        {
            assert!(!fits(&options, Path::new(bad)), "{bad}");
        }
        for good in ["/srv/other", "/home/u/work", "/database", "/home/sandbox/work"] {
            assert!(fits(&options, Path::new(good)), "{good}");
        }
    }
}
