//! Telling a client how a command goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::Peer;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::clip;

/// The least time between two notifications: a person sees no more, and what comes meanwhile is told
/// together.
const PACE: Duration = Duration::from_millis(100);

/// How often it is told that a quiet command still runs. Clients that give up on a call after a time
/// without news (the TypeScript SDK after 60 s) do not give up on this one.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The most output that one notification shows: its end. The result has the rest.
const MAX_SHOWN_BYTES: usize = 2 << 10;

/// Tells one client of one call. It costs the command nothing: a client that does not listen misses
/// news, and holds up nobody.
pub(crate) struct Progress {
    news: Arc<News>,
    teller: JoinHandle<()>,
}

#[derive(Default)]
struct News {
    output: Mutex<Output>,
    some: Notify,
}

#[derive(Default)]
struct Output {
    tail: Vec<u8>,
    bytes: u64,
}

impl Progress {
    pub(crate) fn new(peer: Peer<RoleServer>, token: ProgressToken) -> Self {
        let news = Arc::new(News::default());
        let teller = tokio::spawn(tell(peer, token, Arc::clone(&news)));
        Self { news, teller }
    }

    /// The command has written.
    pub(crate) fn wrote(&self, bytes: &[u8]) {
        let mut output = self.news.output.lock().unwrap_or_else(PoisonError::into_inner);
        output.bytes += bytes.len() as u64;
        output.tail.extend_from_slice(bytes);
        let surplus = output.tail.len().saturating_sub(MAX_SHOWN_BYTES);
        output.tail.drain(..surplus);
        drop(output);
        self.news.some.notify_one();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.teller.abort();
    }
}

/// Progress is the time in seconds: it always grows, as the protocol wants, and nobody knows how much
/// a command will write.
async fn tell(peer: Peer<RoleServer>, token: ProgressToken, news: Arc<News>) {
    let began = Instant::now();
    loop {
        // Whichever it is, the time has come.
        let _ = tokio::time::timeout(HEARTBEAT, news.some.notified()).await;
        let (tail, bytes) = {
            let mut output = news.output.lock().unwrap_or_else(PoisonError::into_inner);
            let rest = clip::unfinished(&output.tail);
            let at = output.tail.len() - rest;
            let kept = output.tail.split_off(at);
            (std::mem::replace(&mut output.tail, kept), output.bytes)
        };
        let seconds = began.elapsed().as_secs_f64();
        let message = match tail.is_empty() {
            true => format!("running for {seconds:.0} s, {bytes} bytes of output"),
            false => String::from_utf8_lossy(&tail).into_owned(),
        };
        let news = ProgressNotificationParam::new(token.clone(), seconds).with_message(message);
        if peer.notify_progress(news).await.is_err() {
            return;
        }
        tokio::time::sleep(PACE).await;
    }
}
