//! The one workspace, as the server asks for it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use stigmer_api::{EventStream, Provider, RequestContext, ServerInfo, ServerKind};
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{
    ByteString, ErrorCode, ExecutionMode, FilePath, Result, ToolError, ToolExecutor, WorkspaceId,
};
use stigmer_host::HostExecutor;

/// What the sidecar serves.
pub(crate) struct OneWorkspace {
    executor: Arc<HostExecutor>,
    id: WorkspaceId,
    started_ms: u64,
}

impl OneWorkspace {
    pub(crate) fn new(executor: Arc<HostExecutor>) -> Self {
        let id = WorkspaceId::from_number(fnv(&ByteString::from(executor.root())));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Self { executor, id, started_ms }
    }

    fn root(&self) -> FilePath {
        FilePath::from(self.executor.root())
    }

    fn info(&self) -> WorkspaceInfo {
        WorkspaceInfo {
            id: self.id.clone(),
            root: self.root(),
            mode: ExecutionMode::Local,
            capabilities: self.executor.capabilities().clone(),
            opened_ms: self.started_ms,
            server_settings: Vec::new(),
        }
    }

    /// Makes sure that this workspace is meant.
    fn check(&self, name: &str) -> Result<()> {
        if name.is_empty() || name == self.id.as_str() || ByteString::from(name) == self.root() {
            return Ok(());
        }
        Err(self.another(name))
    }

    fn another(&self, name: &str) -> ToolError {
        let message = format!("this sidecar has no workspace {name}, it serves {}", self.root());
        ToolError::new(ErrorCode::UnknownWorkspace, message)
            .with_detail("workspace", name)
            .with_hint("leave the workspace out: there is only one")
    }
}

/// The number in the workspace's id: the same for the same directory (FNV-1a).
fn fnv(path: &ByteString) -> u64 {
    let bytes = path.as_bytes().iter();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What only a daemon has.
fn only_daemon(what: &str) -> ToolError {
    ToolError::new(ErrorCode::Unsupported, format!("a sidecar has no {what}"))
        .with_hint("ask the daemon that looks after this sidecar")
}

#[async_trait]
impl Provider for OneWorkspace {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kind: ServerKind::Sidecar,
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            started_ms: self.started_ms,
            descriptor_socket: None,
        }
    }

    async fn executor(
        &self,
        workspace: &str,
        _context: &RequestContext,
    ) -> Result<Arc<dyn ToolExecutor>> {
        self.check(workspace)?;
        Ok(Arc::clone(&self.executor) as Arc<dyn ToolExecutor>)
    }

    async fn open(
        &self,
        request: OpenWorkspace,
        _context: &RequestContext,
    ) -> Result<WorkspaceInfo> {
        if !request.path.is_empty() && request.path != self.root() {
            return Err(self.another(&request.path.to_string()));
        }
        if let Some((name, _)) = request.settings.first() {
            return Err(only_daemon(&format!("setting {name}: it is in the place already")));
        }
        match request.mode {
            None | Some(ExecutionMode::Local) => Ok(self.info()),
            Some(mode) => Err(only_daemon(&format!("{mode} mode: it is where commands run"))),
        }
    }

    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
        self.check(workspace)?;
        Ok(self.info())
    }

    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        Ok(vec![self.info()])
    }

    async fn forget(&self, _workspace: &str, _context: &RequestContext) -> Result<bool> {
        Err(only_daemon("workspace that it could forget: its one workspace is its own"))
    }

    async fn events(&self, _since: Option<u64>, _follow: bool) -> Result<EventStream> {
        Err(only_daemon("stream of events"))
    }

    fn take_descriptor(&self, _ticket: &str) -> Result<OwnedFd> {
        let reason = "a sidecar takes no descriptors; its clients are elsewhere";
        Err(ToolError::invalid_argument("ticket", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(home: &std::path::Path) -> OneWorkspace {
        let options = stigmer_host::HostOptions::new(home, home.join("state"));
        OneWorkspace::new(Arc::new(HostExecutor::open(options).unwrap()))
    }

    #[tokio::test]
    async fn the_one_workspace_has_three_names_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let one = workspace(home.path());
        let info = one.get("").await.unwrap();
        for name in [info.id.as_str(), &info.root.to_string()] {
            assert_eq!(one.get(name).await.unwrap(), info);
        }
        for name in ["ws-0000000000000000", "/", "x"] {
            let error = one.get(name).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::UnknownWorkspace, "{name}");
        }
        assert_eq!(workspace(home.path()).get("").await.unwrap().id, info.id);
    }

    #[tokio::test]
    async fn what_only_a_daemon_can_do_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let (one, context) = (workspace(home.path()), RequestContext::default());
        let sandbox =
            OpenWorkspace { mode: Some(ExecutionMode::Sandbox), ..OpenWorkspace::default() };
        assert_eq!(one.open(sandbox, &context).await.unwrap_err().code, ErrorCode::Unsupported);
        assert_eq!(one.forget("", &context).await.unwrap_err().code, ErrorCode::Unsupported);
        assert!(one.open(OpenWorkspace::default(), &context).await.is_ok());
        let elsewhere = OpenWorkspace { path: "/elsewhere".into(), ..OpenWorkspace::default() };
        assert!(one.open(elsewhere, &context).await.is_err());
        let settings = vec![("sandbox_image".to_owned(), "debian:12".to_owned())];
        let open = OpenWorkspace { settings, ..OpenWorkspace::default() };
        assert_eq!(one.open(open, &context).await.unwrap_err().code, ErrorCode::Unsupported);
        assert_eq!(one.place_status("").await.unwrap_err().code, ErrorCode::Unsupported);
    }
}
