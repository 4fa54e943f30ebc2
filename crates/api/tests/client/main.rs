//! The client against a real server over the host's executor, through a proxy that cuts the
//! connection at chosen bytes: nothing is lost, repeated or done twice, and what is not known is
//! said.
//!
//! Supervisors are forked before a program has threads, so this suite has a `main` of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod changes;
mod lanes;
mod once;
mod proxy;
mod resumed;
mod server;
mod transport;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use stigmer_api::client::{Client, ClientOptions, Endpoint, RemoteExecutor};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};

use proxy::Proxy;
use server::Server;

fn main() {
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    let mut trials = Vec::new();
    trials.extend(resumed::trials(&launcher));
    trials.extend(once::trials(&launcher));
    trials.extend(changes::trials(&launcher));
    trials.extend(transport::trials());
    trials.extend(lanes::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A workspace, its server, and a client behind a proxy.
struct Place {
    home: tempfile::TempDir,
    server: Server,
    proxy: Proxy,
    client: Client,
    remote: RemoteExecutor,
}

/// Quick tries: the tests count them, and wait for none.
fn quick(endpoint: &Endpoint) -> ClientOptions {
    let mut options = ClientOptions::for_endpoint(endpoint);
    options.backoff.base = Duration::from_millis(2);
    options.backoff.longest = Duration::from_millis(10);
    options
}

impl Place {
    async fn new(launcher: &Arc<Launcher>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("workspace");
        std::fs::create_dir(&root).unwrap();
        let processes =
            ProcessOptions { launcher: Some(Arc::clone(launcher)), ..ProcessOptions::default() };
        let options =
            HostOptions { processes, ..HostOptions::new(root, home.path().join("state")) };
        let executor = HostExecutor::open(options).unwrap();
        let server = Server::start(&home.path().join("server"), Arc::new(executor));
        let proxy = Proxy::start(&home.path().join("proxy"), &home.path().join("server"));
        let endpoint = Endpoint::Unix(home.path().join("proxy"));
        let client = Client::connect(endpoint.clone(), quick(&endpoint));
        let remote = RemoteExecutor::open(client.clone(), OpenWorkspace::default()).await.unwrap();
        Self { home, server, proxy, client, remote }
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("workspace")
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap_or_default()
    }
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(limit, test).await }).expect("a test hangs");
}

/// One test, run by a runtime of its own with a workspace of its own.
fn trial<F>(
    launcher: &Arc<Launcher>,
    name: &str,
    test: impl FnOnce(Place) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = ()>,
{
    let launcher = Arc::clone(launcher);
    Trial::test(name, move || {
        block_on(async { test(Place::new(&launcher).await).await });
        Ok(())
    })
}

/// One test that needs no workspace.
fn plain<F>(name: &str, test: impl FnOnce(tempfile::TempDir) -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        block_on(test(tempfile::tempdir().unwrap()));
        Ok(())
    })
}

/// A client of a socket that nobody may be behind.
fn client_of(path: &Path) -> Client {
    let endpoint = Endpoint::Unix(path.to_owned());
    Client::connect(endpoint.clone(), quick(&endpoint))
}
