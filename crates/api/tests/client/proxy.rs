//! A proxy that cuts connections at chosen bytes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

#[derive(Default)]
struct Plan {
    /// Bytes that may still pass, one way.
    left: Option<(Way, usize)>,
    /// How many may pass after a cut.
    then: Option<Box<dyn FnMut() -> Option<usize> + Send>>,
    cuts: usize,
    connections: usize,
}

/// Stands between a client and a server.
pub(crate) struct Proxy {
    plan: Arc<Mutex<Plan>>,
}

impl Proxy {
    pub(crate) fn start(path: &Path, server: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let plan = Arc::new(Mutex::new(Plan::default()));
        let (server, shared) = (server.to_owned(), Arc::clone(&plan));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                tokio::spawn(pass(client, server.clone(), Arc::clone(&shared)));
            }
        });
        Self { plan }
    }

    /// Cuts the connection once, when this many more bytes have passed.
    pub(crate) fn cut(&self, way: Way, after: usize) {
        self.plan.lock().unwrap().left = Some((way, after));
    }

    /// Cuts one connection after the other, each after so many bytes to the client; until there is
    /// no number.
    pub(crate) fn keep_cutting(&self, mut numbers: impl FnMut() -> Option<usize> + Send + 'static) {
        let mut plan = self.plan.lock().unwrap();
        plan.left = numbers().map(|number| (Way::ToClient, number));
        plan.then = Some(Box::new(numbers));
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> usize {
        self.plan.lock().unwrap().cuts
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.plan.lock().unwrap().connections
    }

    /// Forgets a cut that did not come; returns whether there was one.
    pub(crate) fn forget(&self) -> bool {
        self.plan.lock().unwrap().left.take().is_some()
    }
}

impl Plan {
    /// How many of these bytes pass, and whether the connection is cut after them.
    fn pass(&mut self, way: Way, bytes: usize) -> (usize, bool) {
        match &mut self.left {
            Some((cut, left)) if *cut == way => {
                if bytes < *left {
                    *left -= bytes;
                    return (bytes, false);
                }
                let last = *left;
                self.cuts += 1;
                let next = self.then.as_mut().and_then(|then| then());
                self.left = next.map(|number| (way, number));
                (last, true)
            }
            _ => (bytes, false),
        }
    }
}

async fn pass(mut client: UnixStream, server: PathBuf, plan: Arc<Mutex<Plan>>) {
    let Ok(mut server) = UnixStream::connect(server).await else { return };
    let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let (way, read) = tokio::select! {
            read = client.read(&mut up) => (Way::ToServer, read),
            read = server.read(&mut down) => (Way::ToClient, read),
        };
        let Ok(read @ 1..) = read else { return };
        let (passes, cut) = plan.lock().unwrap().pass(way, read);
        let written = match way {
            Way::ToServer => server.write_all(&up[..passes]).await,
            Way::ToClient => client.write_all(&down[..passes]).await,
        };
        if written.is_err() || cut {
            return;
        }
    }
}
