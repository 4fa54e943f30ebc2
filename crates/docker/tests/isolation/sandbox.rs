//! A sandbox with the tools that these tests need.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use stigmer_core::{ToolExecutor, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions};

use crate::support::*;

/// An image with Python and a package manager: the one that is named, or the usual one of the suites.
fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| {
        if let Ok(image) = std::env::var("STIGMER_TEST_IMAGE") {
            return image;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/test-image");
        let made = Command::new(script).arg("base").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().to_owned()
    })
}

/// A workspace in a container; the container goes with it, also when a test fails.
pub(crate) struct Sandbox {
    pub(crate) home: Home,
    pub(crate) manager: DockerManager,
    pub(crate) executor: Arc<dyn ToolExecutor>,
}

impl Sandbox {
    /// Nothing without an engine, which has been said then.
    pub(crate) async fn new() -> Option<Self> {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut DockerOptions)) -> Option<Self> {
        if !engine() {
            return None;
        }
        let home = Home::new();
        let mut options = home.options();
        options.image = image().to_owned();
        change(&mut options);
        let manager = DockerManager::new(options).unwrap();
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        Some(Self { home, manager, executor })
    }

    /// One whose container waited for it.
    pub(crate) async fn pooled() -> Option<Self> {
        if !engine() {
            return None;
        }
        let home = Home::new();
        let options = DockerOptions { pool: 1, image: image().to_owned(), ..home.options() };
        let manager = DockerManager::new(options).unwrap();
        assert_eq!(manager.refill().await.unwrap(), 1);
        let told = Told::default();
        let executor = manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
        assert!(told.text().contains("from the pool"), "{}", told.text());
        assert!(!told.text().contains("Note"), "{}", told.text());
        Some(Self { home, manager, executor })
    }

    /// The container that mounts for those of this home.
    pub(crate) fn keeper(&self) -> String {
        let home = self.label();
        docker(&["ps", "--quiet", "--filter", "label=dev.stigmer.kind=keeper", "--filter", &home])
    }

    /// The label of all containers of this home.
    fn label(&self) -> String {
        let format = "label=dev.stigmer.home={{index .Config.Labels \"dev.stigmer.home\"}}";
        let name = format!("name={}", self.home.site.workspace);
        docker(&["inspect", "--format", format, &docker(&["ps", "--quiet", "--filter", &name])])
    }

    pub(crate) fn image(&self) -> &'static str {
        image()
    }

    /// What a command that must succeed writes.
    pub(crate) async fn text(&self, line: &str) -> String {
        text(&*self.executor, line).await
    }

    /// The same of a Python program.
    pub(crate) async fn python(&self, program: &str) -> String {
        std::fs::write(self.home.root().join("program.py"), program).unwrap();
        self.text("python3 program.py").await
    }

    /// What root of the container gets for an answer, and whether it succeeded: what a hostile
    /// package manager could do.
    pub(crate) async fn as_root(&self, line: &str) -> (bool, String) {
        let name = self.home.name().await;
        let mut command = Command::new("docker");
        let done = command.args(["exec", "--user=0:0", &name, "sh", "-c", line]).output().unwrap();
        let mut said = String::from_utf8_lossy(&done.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&done.stderr));
        (done.status.success(), said.trim_end().to_owned())
    }

    /// The directory that is shared with the container, on this machine.
    pub(crate) fn shared(&self) -> std::path::PathBuf {
        self.home.state().join(self.home.site.workspace.as_str()).join("shared")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let ps = |filter: &str| {
            let words = ["ps", "--all", "--quiet", "--filter", filter];
            Command::new("docker").args(words).output().map(|found| found.stdout)
        };
        let Ok(own) = ps(&format!("name={}", self.home.site.workspace)) else { return };
        // What waits and who keeps it go with it.
        let own = String::from_utf8_lossy(&own).trim().to_owned();
        let format = "label=dev.stigmer.home={{index .Config.Labels \"dev.stigmer.home\"}}";
        let label = Command::new("docker").args(["inspect", "--format", format, &own]).output();
        let Ok(label) = label else { return };
        let label = String::from_utf8_lossy(&label.stdout).trim().to_owned();
        if label.is_empty() {
            return;
        }
        let Ok(found) = ps(&label) else { return };
        for id in String::from_utf8_lossy(&found).split_whitespace() {
            let _ = Command::new("docker").args(["rm", "--force", id]).output();
        }
    }
}

/// The value of a line `name: value`, as in `/proc/self/status`.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
}

/// The bits of the capabilities that process 1 keeps: CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID,
/// SETUID (`capabilities(7)`).
pub(crate) const SIX: u64 = 1 | 1 << 1 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 7;

/// A set of capabilities.
pub(crate) fn capabilities(text: &str, name: &str) -> u64 {
    u64::from_str_radix(field(text, name), 16).unwrap()
}
