//! The connections of one listener: which are idle, which work, which one makes room for another.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

use super::admission::Permit;
use super::{Limits, Peer};

/// Set in [`Connection::requests`] when no request is taken any more.
const CLOSED: u64 = 1 << 63;

/// How long a connection must have nothing to do to be idle: its last answer has left by then, and
/// the first request of a new one has come.
const SETTLED: Duration = Duration::from_millis(100);

/// One connection, as those know it that share it: its stream, its requests, the listener.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: Peer,
    /// Beyond the usual number of connections.
    pub(super) extra: bool,
    born: Instant,
    /// Requests in flight, and whether more are taken.
    requests: AtomicU64,
    /// When the last request ended, milliseconds since `born`.
    idle_since: AtomicU64,
    /// A whole request head has come.
    asked: AtomicBool,
    /// One that was let in.
    trusted: AtomicBool,
    pub(super) http1: AtomicBool,
    /// Requests in flight that stream.
    streams: AtomicU64,
    /// Ends the connection at once.
    pub(super) closed: CancellationToken,
    pub(super) readers: AtomicWaker,
    pub(super) writers: AtomicWaker,
    /// Bytes of its responses that are in memory, waiting to be read.
    unread: AtomicU64,
    /// Bytes that the socket took.
    written: AtomicU64,
    /// Since when the socket takes nothing: milliseconds since `born`, plus one; 0 if it does.
    blocked_since: AtomicU64,
    /// Answers that are made and not yet read, by number, with the time.
    answers: Mutex<BTreeMap<u64, u64>>,
    /// When progress was last looked at, and what was written then.
    progress: Mutex<(u64, u64)>,
    /// The right to wait, of a connection that has left HTTP.
    upgraded: Mutex<Option<Permit>>,
}

impl Connection {
    fn new(id: u64, peer: Peer, extra: bool) -> Self {
        Self {
            id,
            peer,
            extra,
            born: Instant::now(),
            requests: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            trusted: AtomicBool::new(false),
            http1: AtomicBool::new(false),
            streams: AtomicU64::new(0),
            closed: CancellationToken::new(),
            readers: AtomicWaker::new(),
            writers: AtomicWaker::new(),
            unread: AtomicU64::new(0),
            written: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            answers: Mutex::default(),
            progress: Mutex::default(),
            upgraded: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the connection at once, whatever it does.
    pub(super) fn close(&self) {
        self.requests.fetch_or(CLOSED, Ordering::AcqRel);
        self.closed.cancel();
        self.readers.wake();
        self.writers.wake();
    }

    /// Takes a request; `false` if the connection is being closed.
    pub(super) fn begin(&self) -> bool {
        self.asked.store(true, Ordering::Relaxed);
        self.requests
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now & CLOSED == 0).then_some(now + 1)
            })
            .is_ok()
    }

    /// This peer is one of ours. Said before its request begins, so that the request keeps it.
    pub(super) fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.requests.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn stream_begins(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stream_ends(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    fn idle(&self) -> bool {
        self.requests.load(Ordering::Acquire) & !CLOSED == 0
    }

    /// For how long it has been idle.
    fn idle_for(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Whether it may make room for another, which is told by the requests that it has then. What
    /// a stranger may ask is answered at once: one that is at it for longer only takes the place.
    fn evictable(&self, need: bool) -> Option<u64> {
        let requests = self.requests.load(Ordering::Acquire);
        let settled = self.idle_for() >= SETTLED;
        let may = match requests {
            0 => settled || need && !self.asked.load(Ordering::Relaxed),
            _ => requests & CLOSED == 0 && !self.is_trusted() && (settled || need),
        };
        may.then_some(requests)
    }

    /// Closes the connection if it may make room; a request that comes at the same time wins.
    fn close_if_evictable(&self, need: bool) -> bool {
        let Some(now) = self.evictable(need) else { return false };
        let closed =
            self.requests.compare_exchange(now, now | CLOSED, Ordering::AcqRel, Ordering::Acquire);
        if closed.is_ok() {
            self.close();
        }
        closed.is_ok()
    }

    /// Closes the connection if it is idle; a request that comes at the same time wins.
    fn close_if_idle(&self) -> bool {
        let idle = self.requests.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire);
        if idle.is_ok() {
            self.close();
        }
        idle.is_ok()
    }

    /// The connection has left HTTP; its permit and its place last as long as it does.
    pub(super) fn upgrade(&self, permit: Permit) {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.streams.fetch_add(1, Ordering::Relaxed);
        *lock(&self.upgraded) = Some(permit);
    }

    /// Bytes of a response wait to be read.
    pub(super) fn hand_over(&self, bytes: u64) {
        self.unread.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of a response are read, or will not be.
    pub(super) fn read(&self, bytes: u64) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The socket took bytes.
    pub(super) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
        self.blocked_since.store(0, Ordering::Relaxed);
    }

    /// The socket took nothing.
    pub(super) fn block(&self) {
        let now = self.now() + 1;
        let _ = self.blocked_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn is_blocked(&self) -> bool {
        self.blocked_since.load(Ordering::Relaxed) != 0
    }

    pub(super) fn answer_begins(&self, number: u64) {
        lock(&self.answers).insert(number, self.now());
    }

    pub(super) fn answer_ends(&self, number: u64) {
        lock(&self.answers).remove(&number);
    }

    /// Whether its first request is overdue.
    fn late(&self, limits: &Limits) -> bool {
        let patience = if self.extra {
            limits.head_timeout.min(limits.extra_wait * 2)
        } else {
            limits.head_timeout
        };
        !self.asked.load(Ordering::Relaxed) && self.born.elapsed() > patience
    }

    /// Whether it leaves an answer unread.
    fn stalled(&self, limits: &Limits) -> bool {
        let now = self.now();
        let patience = u64::try_from(limits.write_timeout.as_millis()).unwrap_or(u64::MAX);
        let mut progress = lock(&self.progress);
        let (at, written) = *progress;
        if now.saturating_sub(at) < patience {
            return false;
        }
        let total = self.written.load(Ordering::Relaxed);
        *progress = (now, total);
        if total - written >= limits.write_progress {
            return false;
        }
        let answer = lock(&self.answers).values().next().is_some_and(|since| *since <= at);
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        let blocked =
            blocked != 0 && blocked - 1 <= at && self.streams.load(Ordering::Relaxed) == 0;
        answer || blocked
    }

    /// For how long the socket has taken nothing, or an answer waits to be taken.
    fn waits_for_reader(&self) -> u64 {
        let now = self.now();
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        let blocked = if blocked == 0 { 0 } else { now.saturating_sub(blocked - 1) };
        let answer =
            lock(&self.answers).values().next().map_or(0, |since| now.saturating_sub(*since));
        blocked.max(answer)
    }
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    all: Mutex<HashMap<u64, Arc<Connection>>>,
}

/// What became of a new connection.
#[derive(Debug)]
pub(super) enum Admitted {
    /// It has its place.
    Yes(Arc<Connection>),
    /// It has the place of one that was idle, or a stranger's.
    InsteadOfIdle(Arc<Connection>),
    /// There is none.
    Full,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, all: Mutex::default() }
    }

    /// Finds a place for a new connection.
    pub(super) fn admit(&self, id: u64, peer: Peer) -> Admitted {
        let mut all = lock(&self.all);
        let normal = all.values().filter(|connection| !connection.extra).count();
        let add = |all: &mut HashMap<_, _>, extra| {
            let connection = Arc::new(Connection::new(id, peer, extra));
            all.insert(id, Arc::clone(&connection));
            connection
        };
        if normal < self.limits.connections {
            return Admitted::Yes(add(&mut all, false));
        }
        if let Some(extra) = evict(&mut all, false) {
            return Admitted::InsteadOfIdle(add(&mut all, extra));
        }
        if all.len() < self.limits.connections + self.limits.extra_connections {
            return Admitted::Yes(add(&mut all, true));
        }
        match evict(&mut all, true) {
            Some(extra) => Admitted::InsteadOfIdle(add(&mut all, extra)),
            None => Admitted::Full,
        }
    }

    /// Closes the connection that has been idle longest, to get its descriptor back.
    pub(super) fn make_room(&self) -> bool {
        evict(&mut lock(&self.all), true).is_some()
    }

    /// The connection is gone.
    pub(super) fn remove(&self, id: u64) {
        lock(&self.all).remove(&id);
    }

    fn every(&self, mut what: impl FnMut(&Connection)) {
        // Closing wakes others, so it is done without the lock.
        let all: Vec<_> = lock(&self.all).values().cloned().collect();
        all.iter().for_each(|connection| what(connection));
    }

    /// Closes those that are late with their first request, or leave an answer unread.
    pub(super) fn close_late(&self, mut refused: impl FnMut(&'static str)) {
        self.every(|connection| {
            if connection.late(&self.limits) {
                refused("slow_head");
                connection.close();
            } else if connection.stalled(&self.limits) {
                refused("unread_answer");
                connection.close();
            }
        });
    }

    /// Closes those that have nothing to do and nothing left to write.
    pub(super) fn close_idle(&self) {
        self.every(|connection| {
            if !connection.is_blocked() && connection.idle_for() >= SETTLED {
                connection.close_if_idle();
            }
        });
    }

    /// Closes those that have left HTTP.
    pub(super) fn close_upgraded(&self) {
        self.every(|connection| {
            if lock(&connection.upgraded).is_some() {
                connection.close();
            }
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.all).is_empty()
    }

    /// Closes all; returns how many had a request.
    pub(super) fn close_all(&self) -> usize {
        let mut working = 0;
        self.every(|connection| {
            working += usize::from(!connection.idle());
            connection.close();
        });
        working
    }

    /// The connection that holds the most unread bytes and has not read for a while.
    pub(super) fn worst_reader(&self) -> Option<(u64, Arc<Connection>)> {
        let patience = u64::try_from(self.limits.unread_patience.as_millis()).unwrap_or(u64::MAX);
        let all = lock(&self.all);
        all.values()
            .map(|connection| (connection.unread.load(Ordering::Relaxed), connection))
            .filter(|(unread, connection)| *unread > 0 && connection.waits_for_reader() >= patience)
            .max_by_key(|(unread, _)| *unread)
            .map(|(unread, connection)| (unread, Arc::clone(connection)))
    }
}

/// Closes the connection that has been idle longest, strangers first even if they ask something,
/// those that still read their last answer at the end; says whether it was an extra one, nothing if
/// there is none. If need be one that has come just now is taken, too: one that said nothing yet, or
/// a stranger.
fn evict(all: &mut HashMap<u64, Arc<Connection>>, need: bool) -> Option<bool> {
    loop {
        let oldest = all
            .values()
            .filter(|connection| connection.evictable(need).is_some())
            .min_by_key(|connection| {
                let idle_since = connection.idle_since.load(Ordering::Relaxed);
                let since = connection.born + Duration::from_millis(idle_since);
                (connection.is_trusted(), connection.is_blocked(), since)
            })
            .cloned()?;
        if oldest.close_if_evictable(need) {
            all.remove(&oldest.id);
            return Some(oldest.extra);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Transport;

    fn connections(connections: usize, extra_connections: usize) -> Connections {
        Connections::new(Limits { connections, extra_connections, ..Limits::default() })
    }

    fn peer() -> Peer {
        Peer { transport: Transport::Tcp, uid: None }
    }

    /// As if it had come, and had last ended a request, a while before.
    fn settle(connection: &mut Arc<Connection>, all: &Connections) {
        let mut map = lock(&all.all);
        map.remove(&connection.id);
        let one = Arc::get_mut(connection).unwrap();
        one.born -= Duration::from_secs(1);
        map.insert(connection.id, Arc::clone(connection));
    }

    fn admitted(admitted: Admitted) -> Arc<Connection> {
        match admitted {
            Admitted::Yes(connection) | Admitted::InsteadOfIdle(connection) => connection,
            Admitted::Full => panic!("no place"),
        }
    }

    #[test]
    fn the_one_that_is_idle_longest_makes_room_and_strangers_go_first() {
        let all = connections(3, 0);
        let mut known = admitted(all.admit(0, peer()));
        assert!(known.begin());
        known.trust();
        known.end();
        settle(&mut known, &all);
        let mut stranger = admitted(all.admit(1, peer()));
        settle(&mut stranger, &all);
        let busy = admitted(all.admit(2, peer()));
        busy.trust();
        assert!(busy.begin());
        assert!(matches!(all.admit(3, peer()), Admitted::InsteadOfIdle(_)));
        assert!(stranger.closed.is_cancelled() && !stranger.begin());
        assert!(!known.closed.is_cancelled() && !busy.closed.is_cancelled());
    }

    #[test]
    fn when_all_work_a_few_more_get_in_and_then_none() {
        let all = connections(1, 1);
        let first = admitted(all.admit(0, peer()));
        first.trust();
        assert!(first.begin() && !first.extra);
        let extra = admitted(all.admit(1, peer()));
        extra.trust();
        assert!(extra.extra && extra.begin());
        assert!(matches!(all.admit(2, peer()), Admitted::Full));
        extra.end();
        assert!(matches!(all.admit(2, peer()), Admitted::Full), "its answer may not have left yet");
        let mut extra = extra;
        settle(&mut extra, &all);
        let next = admitted(all.admit(3, peer()));
        assert!(next.extra, "it has the extra one's place");
        assert!(extra.closed.is_cancelled() && !first.closed.is_cancelled());
        let newest = admitted(all.admit(4, peer()));
        assert!(newest.extra && next.closed.is_cancelled(), "one that says nothing is idle");
    }

    #[test]
    fn a_strangers_request_does_not_keep_its_place() {
        let all = connections(2, 0);
        let known = admitted(all.admit(0, peer()));
        known.trust();
        assert!(known.begin());
        let stranger = admitted(all.admit(1, peer()));
        assert!(stranger.begin());
        let next = admitted(all.admit(2, peer()));
        assert!(stranger.closed.is_cancelled() && !stranger.begin());
        assert!(!known.closed.is_cancelled());
        next.trust();
        assert!(next.begin());
        assert!(matches!(all.admit(3, peer()), Admitted::Full), "both are known and work");
    }

    #[test]
    fn a_request_that_comes_first_keeps_its_connection() {
        let all = connections(1, 0);
        let connection = admitted(all.admit(0, peer()));
        assert!(connection.begin());
        assert!(!connection.close_if_idle());
        connection.end();
        assert!(connection.close_if_idle() && !connection.begin());
    }
}
