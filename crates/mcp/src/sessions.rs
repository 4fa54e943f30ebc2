//! Sessions of clients that speak a protocol before 2026-07-28, over HTTP.
//!
//! Such a client calls and cancels in requests of their own, which only a session brings together. A
//! client may lose the connection of a call and come back for its answer. One that does not come back
//! in time is gone, and its session ends, and with it what it has asked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rmcp::transport::streamable_http_server::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use stigmer_core::{ErrorCode, Result, ToolError};

/// The most sessions. A client needs one; each costs a task and some kilobytes. One more takes the
/// place of the one that has not been used for longest.
const MAX_SESSIONS: usize = 256;

/// The sessions, and who uses them.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) manager: Arc<LocalSessionManager>,
    /// How long a client may be away that has left a call behind.
    grace: Duration,
    known: Mutex<HashMap<String, Use>>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    /// Answers that are being read.
    streams: usize,
    /// When it was used last.
    last: Instant,
    /// Requests so far.
    requests: u64,
}

impl Sessions {
    pub(crate) fn new(manager: LocalSessionManager, grace: Duration) -> Arc<Self> {
        Arc::new(Self { manager: Arc::new(manager), grace, known: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Use>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more.
    ///
    /// # Errors
    /// `unavailable` if all are in use.
    pub(crate) async fn make_room(&self) -> Result<()> {
        let there: Vec<String> =
            self.manager.sessions.read().await.keys().map(ToString::to_string).collect();
        let oldest = {
            let mut known = self.known();
            known.retain(|id, one| one.streams > 0 || there.contains(id));
            if there.len() < MAX_SESSIONS {
                return Ok(());
            }
            let idle = known.iter().filter(|(_, one)| one.streams == 0);
            idle.min_by_key(|(_, one)| one.last).map(|(id, _)| id.clone())
        };
        match oldest {
            Some(id) => {
                self.close(&id).await;
                Ok(())
            }
            None => {
                let message = format!("all of {MAX_SESSIONS} sessions are in use");
                Err(ToolError::new(ErrorCode::Unavailable, message))
            }
        }
    }

    /// A request came for a session; the answer is read as long as what is returned lives.
    pub(crate) fn reading(self: &Arc<Self>, id: &str, call: bool) -> Reading {
        let mut known = self.known();
        let now = Instant::now();
        let one = known.entry(id.to_owned()).or_insert(Use { streams: 0, last: now, requests: 0 });
        one.streams += 1;
        one.requests += 1;
        one.last = now;
        Reading { sessions: Arc::clone(self), id: id.to_owned(), call, finished: false }
    }

    async fn close(&self, id: &str) {
        self.known().remove(id);
        let id = id.to_owned().into();
        if let Err(error) = self.manager.close_session(&id).await {
            tracing::debug!(%error, "a session is not closed");
        }
    }

    /// The answer to a call was left unread. Waits whether its client comes back.
    async fn wait_for_client(self: Arc<Self>, id: String) {
        let requests = |known: &HashMap<String, Use>| known.get(&id).map(|one| one.requests);
        let before = requests(&self.known());
        tokio::time::sleep(self.grace).await;
        let gone = {
            let known = self.known();
            let idle = known.get(&id).is_some_and(|one| one.streams == 0);
            idle && requests(&known) == before
        };
        if gone {
            self.close(&id).await;
        }
    }
}

/// Somebody reads an answer.
pub(crate) struct Reading {
    sessions: Arc<Sessions>,
    id: String,
    /// It is the answer to a call, and not what the server says by itself.
    call: bool,
    finished: bool,
}

impl Reading {
    /// It was read to its end.
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(one) = self.sessions.known().get_mut(&self.id) {
            one.streams -= 1;
            one.last = Instant::now();
        }
        if self.call && !self.finished {
            let (sessions, id) = (Arc::clone(&self.sessions), self.id.clone());
            // Outside of a runtime there is no server any more.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(sessions.wait_for_client(id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn with_session() -> (Arc<Sessions>, String) {
        let sessions = Sessions::new(LocalSessionManager::default(), Duration::ZERO);
        let (id, transport) = sessions.manager.create_session().await.unwrap();
        // Its worker never runs: only whether the session is there matters.
        std::mem::forget(transport);
        (sessions, id.to_string())
    }

    async fn there(sessions: &Sessions, id: &str) -> bool {
        sessions.manager.sessions.read().await.contains_key(id)
    }

    #[tokio::test]
    async fn a_session_ends_when_its_client_left_a_call_behind_and_does_not_come_back() {
        let (sessions, id) = with_session().await;
        let call = sessions.reading(&id, true);
        Arc::clone(&sessions).wait_for_client(id.clone()).await;
        assert!(there(&sessions, &id).await, "somebody reads");
        // It is finished, so that nothing else waits for the client.
        call.finish();
        let waiting = Arc::clone(&sessions).wait_for_client(id.clone());
        waiting.await;
        assert!(!there(&sessions, &id).await, "nobody reads");
    }

    #[tokio::test]
    async fn the_session_that_was_not_used_for_longest_makes_room() {
        let (sessions, first) = with_session().await;
        sessions.reading(&first, true).finish();
        let mut readers = Vec::new();
        for _ in 1..MAX_SESSIONS {
            let (id, transport) = sessions.manager.create_session().await.unwrap();
            std::mem::forget(transport);
            readers.push(sessions.reading(&id, false));
        }
        sessions.make_room().await.unwrap();
        assert!(!there(&sessions, &first).await);
        let (id, transport) = sessions.manager.create_session().await.unwrap();
        std::mem::forget(transport);
        readers.push(sessions.reading(&id, false));
        assert_eq!(sessions.make_room().await.unwrap_err().code, ErrorCode::Unavailable);
    }
}
