//! What the measurements of sandbox mode need: an engine with an image, and workspaces whose
//! containers are gone in the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use stigmer_core::manager::Site;
use stigmer_core::{ToolExecutor, WorkspaceId, WorkspaceManager};
use stigmer_docker::{DockerManager, DockerOptions, Owner};

use crate::commands::bare;
use crate::copies::BYTES;
use crate::scratch::Scratch;
use crate::{Bench, Outcome};

/// The variable that names another image than the usual one.
pub(crate) const IMAGE: &str = "STIGMER_TEST_IMAGE";
const USUAL_IMAGE: &str = "stigmer-sandbox-basic:local";

/// A home with a workspace, and what makes its containers.
pub(crate) struct Sandbox {
    home: Scratch,
    pub(crate) image: String,
    pub(crate) manager: DockerManager,
}

/// Runs the engine's own client; gives the first line of what it says.
pub(crate) fn docker(arguments: &[&str]) -> Outcome<String> {
    let done = Command::new("docker").args(arguments).stdin(Stdio::null()).output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(format!("docker {}: {}", arguments.join(" "), said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&done.stdout).lines().next().unwrap_or_default().to_owned())
}

impl Sandbox {
    /// One without a container.
    pub(crate) fn new(bench: &Bench) -> Outcome<Self> {
        let image = std::env::var(IMAGE).unwrap_or_else(|_| USUAL_IMAGE.to_owned());
        docker(&["version", "--format", "{{.Server.Version}}"])
            .map_err(|error| format!("no engine: {error}"))?;
        docker(&["image", "inspect", "--format", "{{.Id}}", &image])
            .map_err(|_| format!("no image {image}: make sandbox-build-basic, or set {IMAGE}"))?;
        let home = Scratch::beneath(bench.home.path())?;
        let options = options(bench.sidecar()?, home.path(), &image, 0);
        let manager = DockerManager::new(options)?;
        Ok(Self { home, image, manager })
    }

    /// A workspace that there was not before.
    pub(crate) fn site(&self) -> Outcome<Site> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = self.home.path().join(format!("workspace-{number}"));
        std::fs::create_dir(&root)?;
        let workspace = WorkspaceId::from_number((u64::from(std::process::id()) << 32) | number);
        Ok(Site { workspace, root: root.into() })
    }

    /// The operations in a workspace's container, which is made if there is none.
    pub(crate) fn open(
        &self,
        bench: &Bench,
        site: &Site,
    ) -> Outcome<std::sync::Arc<dyn ToolExecutor>> {
        Ok(bench.runtime.block_on(self.manager.open(site, &|_| ()))?)
    }

    /// A manager that has not asked the engine anything.
    pub(crate) fn fresh(&self, bench: &Bench) -> Outcome<DockerManager> {
        self.pooled(bench, 0)
    }

    /// A manager for whose workspaces so many containers wait.
    pub(crate) fn pooled(&self, bench: &Bench, count: u32) -> Outcome<DockerManager> {
        let options = options(bench.sidecar()?, self.home.path(), &self.image, count);
        Ok(DockerManager::new(options)?)
    }

    pub(crate) fn remove(&self, bench: &Bench, site: &Site) -> Outcome<()> {
        Ok(bench.runtime.block_on(self.manager.remove(site))?)
    }

    /// The CLI in sandbox mode, in a workspace.
    pub(crate) fn cli(&self, bench: &Bench, root: &Path) -> Outcome<Command> {
        let mut command = bench.cli(&self.home.path().join("cli"))?;
        command.current_dir(root).env("STIGMER_EXECUTION_MODE", "sandbox");
        command.env("STIGMER_SANDBOX_IMAGE", &self.image).env_remove(IMAGE).env_remove(BYTES);
        command.env("STIGMER_SIDECAR", bench.sidecar()?);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }
}

impl Bench {
    /// Measures with a workspace whose container goes, whatever comes of it.
    pub(crate) fn in_container<T>(
        &self,
        sandbox: &Sandbox,
        measure: impl FnOnce(&Site, &dyn ToolExecutor) -> Outcome<T>,
    ) -> Outcome<T> {
        let site = sandbox.site()?;
        let measured =
            sandbox.open(self, &site).and_then(|executor| measure(&site, executor.as_ref()));
        sandbox.remove(self, &site)?;
        measured
    }
}

/// A container of the engine's own making, which goes with this.
pub(crate) struct Plain(pub(crate) String);

impl Plain {
    /// One that waits, as those have it who go on with `docker exec`.
    pub(crate) fn run(image: &str) -> Outcome<Self> {
        Ok(Self(docker(&["run", "--detach", "--rm", "--init", image, "sleep", "86400"])?))
    }

    pub(crate) fn exec(&self, words: &[&str]) -> Outcome<()> {
        bare("docker", &[&["exec", &self.0], words].concat())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // Its name is told by nobody else, so what remains here would remain for ever.
        if let Err(error) = docker(&["rm", "--force", &self.0]) {
            eprintln!("{error}");
        }
    }
}

/// As in a home that says nothing of it.
fn options(sidecar: PathBuf, home: &Path, image: &str, pool: u32) -> DockerOptions {
    DockerOptions {
        engine: std::env::var("DOCKER_HOST").ok(),
        auto_pull: false,
        pool,
        ..DockerOptions::new(home.join("sandboxes"), sidecar, owner(home), image)
    }
}

/// Whoever owns a directory that was just made is who runs this.
fn owner(home: &Path) -> Owner {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(home)
        .map_or(Owner { uid: 0, gid: 0 }, |made| Owner { uid: made.uid(), gid: made.gid() })
}
