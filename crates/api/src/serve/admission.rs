//! Whose turn it is. Quick requests run a few at a time; the connections that have some waiting
//! take turns, so that one that asks ten thousand times does not keep the others waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stigmer_core::{ErrorCode, Result, ToolError};
use tokio::sync::oneshot;

use super::Limits;
use super::operations::Class;

/// Who waits for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// Its connection.
    pub(super) connection: u64,
    /// The connection is beyond the usual number.
    pub(super) extra: bool,
}

/// What counts the requests that run and wait.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    lines: Mutex<Lines>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Lines {
    running: usize,
    queued: usize,
    queued_extra: usize,
    next_ticket: u64,
    /// Who waits, by connection.
    by_connection: HashMap<u64, VecDeque<Ticket>>,
    /// Connections that have somebody waiting, in the order of their turns.
    turns: VecDeque<u64>,
}

#[derive(Debug)]
struct Ticket {
    number: u64,
    extra: bool,
    call: oneshot::Sender<Permit>,
}

/// The right to run. Dropping it is the next one's turn.
#[derive(Debug)]
pub(super) struct Permit {
    class: Class,
    from: Option<Arc<Admission>>,
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, lines: Mutex::default(), waiting: AtomicUsize::new(0) })
    }

    /// Waits for the turn.
    ///
    /// # Errors
    /// `unavailable` if too many wait already, or the turn did not come in time.
    pub(super) async fn admit(self: &Arc<Self>, class: Class, asker: Asker) -> Result<Permit> {
        match class {
            Class::Free => Ok(self.permit(class)),
            Class::Waiting => self.admit_waiting(asker),
            Class::Quick => self.admit_quick(asker).await,
        }
    }

    fn admit_waiting(self: &Arc<Self>, asker: Asker) -> Result<Permit> {
        if asker.extra {
            return Err(busy("connections", self.limits.connections));
        }
        let limit = self.limits.waiting;
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < limit).then_some(now + 1)
            })
            .map_err(|_| busy("commands and streams", limit))?;
        Ok(self.permit(Class::Waiting))
    }

    async fn admit_quick(self: &Arc<Self>, asker: Asker) -> Result<Permit> {
        let (number, mut called) = {
            let mut lines = self.lock();
            if lines.running < self.limits.quick {
                lines.running += 1;
                return Ok(self.permit(Class::Quick));
            }
            self.queue(&mut lines, asker)?
        };
        // Whoever does not wait any longer leaves the line, however that comes.
        let _place = Place { admission: self, asker, number };
        let wait = if asker.extra { self.limits.extra_wait } else { self.limits.queue_timeout };
        match tokio::time::timeout(wait, &mut called).await {
            Ok(Ok(permit)) => Ok(permit),
            // It had to make room for a connection that asks less.
            Ok(Err(_)) => Err(busy("waiting requests", self.limits.queued)),
            Err(_) => Err(waited(wait)),
        }
    }

    fn queue(&self, lines: &mut Lines, asker: Asker) -> Result<(u64, oneshot::Receiver<Permit>)> {
        let limits = &self.limits;
        if lines.queued >= limits.queued && !lines.make_room(asker.connection) {
            return Err(busy("waiting requests", limits.queued));
        }
        if asker.extra && lines.queued_extra >= limits.queued_extra {
            return Err(busy("connections", limits.connections));
        }
        let number = lines.next_ticket;
        let line = lines.by_connection.entry(asker.connection).or_default();
        if line.len() >= limits.queued_per_connection {
            return Err(busy("waiting requests of one connection", limits.queued_per_connection));
        }
        let (call, called) = oneshot::channel();
        let first = line.is_empty();
        line.push_back(Ticket { number, extra: asker.extra, call });
        if first {
            lines.turns.push_back(asker.connection);
        }
        lines.next_ticket += 1;
        lines.queued += 1;
        lines.queued_extra += usize::from(asker.extra);
        Ok((number, called))
    }

    fn permit(self: &Arc<Self>, class: Class) -> Permit {
        metrics::gauge!("stigmer_requests_in_flight", "class" => class.name()).increment(1);
        Permit { class, from: Some(Arc::clone(self)) }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A quick request is done: the next one takes its place.
    fn release(self: &Arc<Self>) {
        loop {
            let ticket = {
                let mut lines = self.lock();
                match lines.next() {
                    Some(ticket) => ticket,
                    None => {
                        lines.running -= 1;
                        return;
                    }
                }
            };
            match ticket.call.send(self.permit(Class::Quick)) {
                Ok(()) => return,
                // It left just now. Its permit must not be released a second time.
                Err(mut permit) => permit.forget(),
            }
        }
    }
}

impl Lines {
    /// The first in the line of the connection whose turn it is.
    fn next(&mut self) -> Option<Ticket> {
        let connection = self.turns.pop_front()?;
        let line = self.by_connection.get_mut(&connection)?;
        let ticket = line.pop_front()?;
        if line.is_empty() {
            self.by_connection.remove(&connection);
        } else {
            self.turns.push_back(connection);
        }
        self.left(&ticket);
        Some(ticket)
    }

    /// Sends away the last in the longest line if that is longer than the asker's would be: who asks
    /// ten thousand times fills the room with their own requests only.
    fn make_room(&mut self, asker: u64) -> bool {
        let own = self.by_connection.get(&asker).map_or(0, VecDeque::len);
        let longest = self.by_connection.iter().max_by_key(|(_, line)| line.len());
        let Some(connection) = longest.filter(|(_, line)| line.len() > own + 1).map(|(id, _)| *id)
        else {
            return false;
        };
        let Some(ticket) = self.by_connection.get_mut(&connection).and_then(VecDeque::pop_back)
        else {
            return false;
        };
        self.left(&ticket);
        true
    }

    fn left(&mut self, ticket: &Ticket) {
        self.queued -= 1;
        self.queued_extra -= usize::from(ticket.extra);
    }
}

/// A place in a line, as long as it is waited for.
struct Place<'a> {
    admission: &'a Admission,
    asker: Asker,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lines = self.admission.lock();
        let connection = self.asker.connection;
        let Some(line) = lines.by_connection.get_mut(&connection) else { return };
        let Some(at) = line.iter().position(|ticket| ticket.number == self.number) else { return };
        let Some(ticket) = line.remove(at) else { return };
        if line.is_empty() {
            lines.by_connection.remove(&connection);
            lines.turns.retain(|turn| *turn != connection);
        }
        lines.left(&ticket);
    }
}

impl Permit {
    fn forget(&mut self) {
        self.from = None;
        metrics::gauge!("stigmer_requests_in_flight", "class" => self.class.name()).decrement(1);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(admission) = self.from.take() else { return };
        metrics::gauge!("stigmer_requests_in_flight", "class" => self.class.name()).decrement(1);
        match self.class {
            Class::Free => {}
            Class::Quick => admission.release(),
            Class::Waiting => {
                admission.waiting.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }
}

fn busy(what: &str, limit: usize) -> ToolError {
    ToolError::new(
        ErrorCode::Unavailable,
        format!("the server has its most {what}, {limit}; nothing was done"),
    )
    .with_detail("limit", limit)
    .with_hint("ask again in a moment, or ask for less at once")
}

fn waited(wait: Duration) -> ToolError {
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    ToolError::new(
        ErrorCode::Unavailable,
        format!("the request's turn did not come within {milliseconds} ms; nothing was done"),
    )
    .with_detail("waited_ms", milliseconds)
    .with_hint("ask again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(connection: u64) -> Asker {
        Asker { connection, extra: false }
    }

    fn admission(limits: Limits) -> Arc<Admission> {
        Admission::new(limits)
    }

    /// Lets every task run until it waits.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn connections_take_turns_however_much_one_of_them_asks() {
        let admission = admission(Limits { quick: 1, ..Limits::default() });
        let held = admission.admit(Class::Quick, asker(0)).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for connection in [1, 1, 1, 1, 2] {
            let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let permit = admission.admit(Class::Quick, asker(connection)).await.unwrap();
                order.lock().unwrap().push(connection);
                drop(permit);
            }));
            settle().await;
        }
        drop(held);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [1, 2, 1, 1, 1]);
        assert_eq!(admission.lock().running, 0);
    }

    #[tokio::test]
    async fn one_that_does_not_wait_any_longer_leaves_nothing_behind() {
        let admission = admission(Limits { quick: 1, ..Limits::default() });
        let held = admission.admit(Class::Quick, asker(0)).await.unwrap();
        for connection in 0..3 {
            let other = Arc::clone(&admission);
            let task =
                tokio::spawn(async move { other.admit(Class::Quick, asker(connection)).await });
            settle().await;
            assert_eq!(admission.lock().queued, 1);
            task.abort();
            assert!(task.await.is_err());
            let lines = admission.lock();
            assert!(lines.queued == 0 && lines.turns.is_empty() && lines.by_connection.is_empty());
        }
        drop(held);
        assert_eq!(admission.lock().running, 0);
        drop(admission.admit(Class::Quick, asker(9)).await.unwrap());
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_said_and_may_be_tried_again() {
        let (queue_timeout, extra_wait) = (Duration::from_millis(20), Duration::from_millis(10));
        let limits = Limits { quick: 1, queue_timeout, extra_wait, ..Limits::default() };
        let admission = admission(limits);
        let _held = admission.admit(Class::Quick, asker(0)).await.unwrap();
        let error = admission.admit(Class::Quick, asker(0)).await.unwrap_err();
        assert!(error.code == ErrorCode::Unavailable && error.retryable);
        assert_eq!(error.details["waited_ms"], 20);
        let extra = Asker { connection: 1, extra: true };
        let error = admission.admit(Class::Quick, extra).await.unwrap_err();
        assert_eq!(error.details["waited_ms"], 10);
    }

    #[tokio::test]
    async fn every_line_has_an_end() {
        let limits = Limits {
            quick: 0,
            queued: 3,
            queued_per_connection: 2,
            queued_extra: 1,
            waiting: 1,
            ..Limits::default()
        };
        let admission = admission(limits);
        let mut tasks = Vec::new();
        let wait = |asker: Asker| {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.admit(Class::Quick, asker).await })
        };
        for _ in 0..2 {
            tasks.push(wait(asker(1)));
        }
        settle().await;
        let error = admission.admit(Class::Quick, asker(1)).await.unwrap_err();
        assert!(error.message.contains("of one connection"));
        let extra = Asker { connection: 2, extra: true };
        tasks.push(wait(extra));
        settle().await;
        // The last in the longest line makes room for a connection that has none waiting yet.
        let third = wait(asker(3));
        let sent_away = tasks.remove(1).await.unwrap().unwrap_err();
        assert!(sent_away.message.contains("most waiting requests, 3"));
        settle().await;
        let error = admission.admit(Class::Quick, asker(4)).await.unwrap_err();
        assert!(error.message.contains("most waiting requests, 3"));
        tasks.push(third);

        let one = admission.admit(Class::Waiting, asker(1)).await.unwrap();
        assert_eq!(
            admission.admit(Class::Waiting, asker(2)).await.unwrap_err().code,
            ErrorCode::Unavailable
        );
        drop(one);
        assert!(admission.admit(Class::Waiting, extra).await.is_err(), "an extra one may not wait");
        assert!(admission.admit(Class::Waiting, asker(2)).await.is_ok());
        assert!(admission.admit(Class::Free, extra).await.is_ok());
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
