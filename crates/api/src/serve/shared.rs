//! What all connections of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Limits;
use super::activity::Activity;
use super::admission::Admission;
use super::connection::{Connection, Connections};
use super::record::refused;
use super::{DRAIN_TICK, Drained, LAST_WORDS, UPGRADED_GRACE};

pub(super) struct Shared {
    pub(super) limits: Limits,
    pub(super) router: Router,
    pub(super) activity: Activity,
    pub(super) admission: Arc<Admission>,
    /// Everything that must be gone before the server is.
    pub(super) running: TaskTracker,
    /// Nothing new is taken, and streams end.
    pub(super) draining: CancellationToken,
    /// The time for draining is over.
    pub(super) ended: CancellationToken,
    /// Bytes of request bodies in memory.
    pub(super) buffered: AtomicU64,
    /// Bytes of responses in memory.
    pub(super) unread: AtomicU64,
    pub(super) listeners: Vec<Arc<Connections>>,
    /// The one stream that was given has come to its end.
    pub(super) given_stream_ended: CancellationToken,
    /// Tells of a first connection.
    arrivals: Notify,
    /// Numbers for connections and requests.
    numbers: AtomicU64,
}

impl Shared {
    pub(super) fn new(
        limits: Limits,
        router: Router,
        activity: Activity,
        listeners: Vec<Arc<Connections>>,
    ) -> Self {
        Self {
            admission: Admission::new(limits.clone()),
            limits,
            router,
            activity,
            running: TaskTracker::new(),
            draining: CancellationToken::new(),
            ended: CancellationToken::new(),
            buffered: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            listeners,
            given_stream_ended: CancellationToken::new(),
            arrivals: Notify::new(),
            numbers: AtomicU64::new(0),
        }
    }

    /// A connection has come.
    pub(super) fn arrived(&self) {
        self.arrivals.notify_one();
    }

    /// Waits until there is a connection.
    pub(super) async fn occupied(&self) {
        while self.listeners.iter().all(|connections| connections.is_empty()) {
            self.arrivals.notified().await;
        }
    }

    /// Closes the connections that are late with something.
    pub(super) fn close_late(&self) {
        self.listeners.iter().for_each(|connections| connections.close_late(refused));
    }

    /// Ends what is there: at once what is idle, by the way what is working.
    pub(super) async fn drain(&self, drain: Duration) -> Drained {
        self.draining.cancel();
        let began = Instant::now();
        let gone = |until: Instant| async move {
            // Connections become idle without telling; this is the end of a program's life, so
            // looking for them may cost something.
            while Instant::now() < until {
                if tokio::time::timeout(DRAIN_TICK, self.running.wait()).await.is_ok() {
                    return true;
                }
                self.listeners.iter().for_each(|connections| {
                    connections.close_idle();
                    if began.elapsed() >= UPGRADED_GRACE {
                        connections.close_upgraded();
                    }
                });
            }
            false
        };
        if gone(began + drain).await {
            return Drained { cut: 0 };
        }
        self.ended.cancel();
        let told = gone(Instant::now() + LAST_WORDS).await;
        let cut = if told { 0 } else { self.listeners.iter().map(|all| all.close_all()).sum() };
        self.running.wait().await;
        Drained { cut }
    }

    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes bytes of a request into memory, if there is room.
    pub(super) fn buffer(&self, bytes: u64) -> bool {
        let limit = self.limits.buffered_bytes;
        self.buffered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                now.checked_add(bytes).filter(|sum| *sum <= limit)
            })
            .is_ok()
    }

    /// Bytes of a response are in memory. If that is too much, the peer that holds the most without
    /// reading loses its connection. Says whether there is room.
    pub(super) fn hand_over(&self, connection: &Connection, bytes: u64) -> bool {
        let now = self.unread.fetch_add(bytes, Ordering::Relaxed) + bytes;
        connection.hand_over(bytes);
        if now <= self.limits.unread_bytes {
            return true;
        }
        let worst = self.listeners.iter().filter_map(|all| all.worst_reader());
        if let Some((_, worst)) = worst.max_by_key(|(unread, _)| *unread) {
            refused("unread_answer");
            worst.close();
            return worst.id != connection.id;
        }
        false
    }

    /// Bytes of a response are not in memory any more.
    pub(super) fn read(&self, connection: &Connection, bytes: u64) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
        connection.read(bytes);
    }
}
