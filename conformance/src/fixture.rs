//! A workspace for one case, and ways to prepare and inspect it.

use std::any::Any;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stigmer_core::process::{Execute, Executed, StartProcess, Stdin};
use stigmer_core::{ByteString, ToolExecutor};

/// A new, empty workspace and the executor that works in it.
pub struct Fixture {
    /// What is being judged.
    pub executor: Arc<dyn ToolExecutor>,
    /// The workspace's root as the executor's commands see it; absolute, without symbolic links.
    pub root: PathBuf,
    /// The same directory as this process sees it, if it does.
    pub host_view: Option<PathBuf>,
    /// What must live as long as the workspace does.
    pub keep: Box<dyn Any + Send>,
}

impl fmt::Debug for Fixture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Fixture")
            .field("root", &self.root)
            .field("host_view", &self.host_view)
            .finish_non_exhaustive()
    }
}

impl Fixture {
    /// Runs a command line in the workspace, which must succeed, and returns its standard output.
    pub(crate) async fn sh(&self, line: impl Into<ByteString>) -> Vec<u8> {
        self.command(StartProcess::shell(line), b"").await
    }

    /// The same as text, without the last line end.
    pub(crate) async fn text(&self, line: impl Into<ByteString>) -> String {
        let output = String::from_utf8(self.sh(line).await).unwrap();
        output.trim_end_matches('\n').to_owned()
    }

    async fn command(&self, mut start: StartProcess, input: &[u8]) -> Vec<u8> {
        if !input.is_empty() {
            start.stdin = Stdin::Stream;
        }
        let mut request = Execute::new(start);
        request.input = input.into();
        request.capture_bytes = 32 << 20;
        let done = self.executor.execute(request).await.unwrap();
        assert_eq!(done.exit.code, 0, "{done:?}");
        assert!(!done.truncated, "the output is too large for a helper");
        done.stdout.head.into_bytes()
    }

    /// Runs a command line to its end, with every option at its default.
    pub(crate) async fn execute(&self, line: impl Into<ByteString>) -> Executed {
        self.executor.execute(Execute::new(StartProcess::shell(line))).await.unwrap()
    }

    /// Puts a file there, its parents included.
    pub(crate) async fn seed(&self, path: impl Into<ByteString>, content: impl AsRef<[u8]>) {
        let (path, content) = (path.into(), content.as_ref());
        if let Some(view) = &self.host_view {
            let path = view.join(path.as_path());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            return std::fs::write(path, content).unwrap();
        }
        let line = r#"mkdir -p -- "$(dirname -- "$1")" && cat > "$1""#;
        let words = ["sh", "-c", line, "sh"].map(ByteString::from).into_iter().chain([path]);
        self.command(StartProcess::argv(words), content).await;
    }

    /// Makes a directory, its parents included.
    pub(crate) async fn seed_directory(&self, path: &str) {
        if let Some(view) = &self.host_view {
            return std::fs::create_dir_all(view.join(path)).unwrap();
        }
        self.command(StartProcess::argv(["mkdir", "-p", "--", path]), b"").await;
    }

    /// Makes a symbolic link.
    pub(crate) async fn seed_link(&self, target: &str, path: &str) {
        if let Some(view) = &self.host_view {
            return std::os::unix::fs::symlink(target, view.join(path)).unwrap();
        }
        self.command(StartProcess::argv(["ln", "-s", "--", target, path]), b"").await;
    }

    /// Sets permission bits.
    pub(crate) async fn chmod(&self, path: &str, mode: u32) {
        if let Some(view) = &self.host_view {
            let mode = std::fs::Permissions::from_mode(mode);
            return std::fs::set_permissions(view.join(path), mode).unwrap();
        }
        let mode = format!("{mode:o}");
        self.command(StartProcess::argv(["chmod", &mode, "--", path]), b"").await;
    }

    /// A file's bytes, links followed.
    pub(crate) async fn bytes(&self, path: impl Into<ByteString>) -> Vec<u8> {
        let path = path.into();
        if let Some(view) = &self.host_view {
            return std::fs::read(view.join(path.as_path())).unwrap();
        }
        let words = ["cat".into(), "--".into(), path];
        self.command(StartProcess::argv::<ByteString>(words), b"").await
    }

    /// Whether something has this name, be it a link that leads nowhere.
    pub(crate) async fn exists(&self, path: impl Into<ByteString>) -> bool {
        let path = path.into();
        if let Some(view) = &self.host_view {
            return view.join(path.as_path()).symlink_metadata().is_ok();
        }
        let line = r#"[ -e "$1" ] || [ -L "$1" ]"#;
        let words = ["sh", "-c", line, "sh"].map(ByteString::from).into_iter().chain([path]);
        let done = self.executor.execute(Execute::new(StartProcess::argv(words))).await.unwrap();
        done.exit.code == 0
    }

    /// The permission bits of a path.
    pub(crate) async fn mode(&self, path: &str) -> u32 {
        if let Some(view) = &self.host_view {
            return std::fs::metadata(view.join(path)).unwrap().permissions().mode() & 0o7777;
        }
        let output = self.command(StartProcess::argv(["stat", "-c", "%a", "--", path]), b"").await;
        u32::from_str_radix(std::str::from_utf8(&output).unwrap().trim(), 8).unwrap()
    }

    /// Everything in the workspace: name, kind and content of each, in order. For cases where
    /// nothing may have changed.
    pub(crate) async fn snapshot(&self) -> String {
        let line = "find . -printf '%p %y %m %l\\n' | sort; \
                    find . -type f -print0 | sort -z | xargs -0r sha256sum";
        self.text(line).await
    }

    /// A path as the executor's absolute one.
    pub(crate) fn absolute(&self, path: &str) -> ByteString {
        self.root.join(path).into()
    }

    /// Whether commands run as the superuser, who may read and write what permissions forbid.
    pub(crate) async fn is_root(&self) -> bool {
        self.text("id -u").await == "0"
    }

    /// The root as text.
    pub(crate) fn root_text(&self) -> &str {
        let root: &Path = &self.root;
        root.to_str().unwrap()
    }
}
