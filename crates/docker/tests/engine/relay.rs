//! A relay between a manager and the engine, which can hang and be cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The engine's socket, where nobody says another.
const ENGINE: &str = "/var/run/docker.sock";

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It arrives.
    Open,
    /// It stays where it is, both ways.
    Hung,
    /// All connections are broken off, and new ones at once.
    Cut,
}

/// An engine's socket that is not the engine's.
pub(crate) struct Relay {
    path: PathBuf,
    passage: Arc<watch::Sender<Passage>>,
    /// After so many pieces of requests it is cut; never if it is 0.
    left: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
    _accepting: JoinSet<()>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let passage = Arc::new(watch::Sender::new(Passage::Open));
        let left = Arc::new(AtomicUsize::new(0));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&passage), Arc::clone(&left)));
        Self { path, passage, left, _directory: directory, _accepting: accepting }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    pub(crate) fn set(&self, passage: Passage) {
        self.left.store(0, Ordering::Relaxed);
        self.passage.send_replace(passage);
    }

    /// Is cut when the engine is sent something for the n-th time from now on.
    pub(crate) fn cut_at(&self, n: usize) {
        self.left.store(n, Ordering::Relaxed);
    }

    pub(crate) fn is_cut(&self) -> bool {
        *self.passage.borrow() == Passage::Cut
    }
}

/// Where the engine is.
fn engine() -> PathBuf {
    let named = std::env::var("DOCKER_HOST").ok();
    let named = named.as_deref().and_then(|name| name.strip_prefix("unix://"));
    Path::new(named.unwrap_or(ENGINE)).to_owned()
}

async fn accept(
    listener: UnixListener,
    passage: Arc<watch::Sender<Passage>>,
    left: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    let mut seen = passage.subscribe();
    loop {
        let is_cut = *seen.borrow_and_update() == Passage::Cut;
        if is_cut {
            connections.abort_all();
        }
        tokio::select! {
            accepted = listener.accept() => {
                let (near, _) = accepted.unwrap();
                if !is_cut {
                    connections.spawn(relay(near, Arc::clone(&passage), Arc::clone(&left)));
                }
            }
            changed = seen.changed() => changed.unwrap(),
        }
    }
}

async fn relay(near: UnixStream, passage: Arc<watch::Sender<Passage>>, left: Arc<AtomicUsize>) {
    let open = async |seen: &mut watch::Receiver<Passage>| {
        drop(seen.wait_for(|passage| *passage == Passage::Open).await.unwrap());
    };
    open(&mut passage.subscribe()).await;
    let far = UnixStream::connect(engine()).await.unwrap();
    let (near, far) = (near.into_split(), far.into_split());
    let pass = async |(mut from, mut to): (OwnedReadHalf, OwnedWriteHalf), counted: bool| {
        let mut seen = passage.subscribe();
        let mut piece = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut piece).await.unwrap_or(0);
            open(&mut seen).await;
            if counted && count > 0 && left.load(Ordering::Relaxed) > 0 {
                // The last one of the count does not arrive.
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    passage.send_replace(Passage::Cut);
                    return;
                }
            }
            if count == 0 || to.write_all(&piece[..count]).await.is_err() {
                let _ = to.shutdown().await;
                return;
            }
        }
    };
    tokio::join!(pass((near.0, far.1), true), pass((far.0, near.1), false));
}
