//! How much of everything a server takes, each with its reason.

use std::time::Duration;

/// What a server allows its peers. Whatever a peer does, no more is spent on it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections of one listener. A client needs one; a connection costs about 20 KiB, so a
    /// thousand cost no more than the daemon's own memory. One more takes the place of the one that
    /// has been idle longest.
    pub connections: usize,
    /// Connections beyond those while none is idle. They are there so that a health check and a
    /// small read get through while all others work; they may not start anything long.
    pub extra_connections: usize,
    /// How long an extra connection's request waits for its turn: a caller that looks whether the
    /// server lives wants to know within a second.
    pub extra_wait: Duration,
    /// How long a connection may take for its first request head. Any client sends it with its
    /// first packets; ten seconds are enough for a bad line.
    pub head_timeout: Duration,
    /// How long an HTTP/1 connection is kept between requests, and how long a later head may take.
    /// As long as common servers and clients keep theirs.
    pub keep_alive: Duration,
    /// The largest request head. The largest of ours holds a token and a trace: below 2 KiB;
    /// HTTP/1's `GET` carries a request in its query.
    pub head_bytes: usize,
    /// Streams of one HTTP/2 connection: one client runs a thousand commands at once.
    pub streams_per_connection: u32,
    /// Streams that a peer opened and reset before the server saw them, before it is cut off; hyper's
    /// default of 20 is reached by a client that cancels a thousand commands at once.
    pub pending_resets: usize,
    /// What a peer may send on one HTTP/2 stream before the server has read it: enough for a local
    /// socket's full speed.
    pub stream_window: u32,
    /// The same for one connection. It bounds what queued requests hold in memory.
    pub connection_window: u32,
    /// What one response holds ready for a peer that does not read.
    pub send_buffer: usize,
    /// The longest HTTP/2 frame that is taken; fewer and longer ones cost less.
    pub frame_bytes: u32,
    /// How often an HTTP/2 peer is asked whether it lives.
    pub ping_interval: Duration,
    /// How long it may take to answer. A peer that reads nothing at all does not answer.
    pub ping_timeout: Duration,
    /// The largest request body. The largest file that is written in one piece has 64 MiB, which as
    /// base64 in JSON are 86.
    pub body_bytes: u64,
    /// How long a body may make no progress. Clients have it at hand when they ask; those that
    /// stream (an upload, a terminal) may take their time.
    pub body_timeout: Duration,
    /// What the bodies of all requests that have no answer yet may hold in memory together.
    pub buffered_bytes: u64,
    /// The first bytes of each body, which the bound above does not count: a small request gets
    /// through while large ones have used it up.
    pub uncounted_bytes: u64,
    /// What responses that were made and not yet read may hold in memory together.
    pub unread_bytes: u64,
    /// How long the peer that holds most of them may read nothing while they are used up.
    pub unread_patience: Duration,
    /// How long a peer may leave an answer unread. Streams may wait for ever.
    pub write_timeout: Duration,
    /// What a peer must have read in that time to count as one that reads: a kilobyte a second.
    pub write_progress: u64,
    /// Quick requests that run at once. They are work for the processor and the disk: more at once
    /// are not done earlier.
    pub quick: usize,
    /// Quick requests that wait for their turn.
    pub queued: usize,
    /// Of which from one connection.
    pub queued_per_connection: usize,
    /// Of which from extra connections.
    pub queued_extra: usize,
    /// How long a quick request waits for its turn. Its client waits no longer.
    pub queue_timeout: Duration,
    /// Requests that mostly wait: commands and streams. Each costs a few kilobytes.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            extra_connections: 1_024,
            extra_wait: Duration::from_millis(500),
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            head_bytes: 32 << 10,
            streams_per_connection: 1_024,
            pending_resets: 1_024,
            stream_window: 1 << 20,
            connection_window: 2 << 20,
            send_buffer: 256 << 10,
            frame_bytes: 64 << 10,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(20),
            body_bytes: 96 << 20,
            body_timeout: Duration::from_secs(30),
            buffered_bytes: 256 << 20,
            uncounted_bytes: 16 << 10,
            unread_bytes: 256 << 20,
            unread_patience: Duration::from_secs(1),
            write_timeout: Duration::from_secs(30),
            write_progress: 30 << 10,
            quick: 64,
            queued: 4_096,
            queued_per_connection: 1_024,
            queued_extra: 256,
            queue_timeout: Duration::from_secs(30),
            waiting: 4_096,
        }
    }
}

impl Limits {
    /// How often the server looks for peers that are late: often enough for the shortest of its
    /// times, and at most once a second.
    pub(super) fn tick(&self) -> Duration {
        let shortest = self.head_timeout.min(self.write_timeout);
        (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }
}
