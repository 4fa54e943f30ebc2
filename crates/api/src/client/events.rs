//! What a server is, and what happens in it.

use stigmer_core::event::{Event, EventKind};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::Client;
use super::methods::{EVENTS, INFO, Method};
use super::resume::{Resumable, resuming};
use crate::provider::{EventStream, ServerInfo};
use crate::{convert, wire};

impl Client {
    /// What the server is.
    ///
    /// # Errors
    /// `unavailable`, `unauthenticated`, `permission_denied`.
    pub async fn info(&self) -> Result<ServerInfo> {
        let info: ServerInfo = convert::reply(self.call(INFO)?.send(&wire::InfoRequest {}).await?)?;
        self.heard_version(&info.version);
        Ok(info)
    }

    /// What happens from an offset on (`None`: from now), for ever if `follow`. When the connection
    /// breaks the stream goes on where it was, once it is known where that is: one that began at
    /// now and has had no event fails instead (`unavailable`).
    ///
    /// # Errors
    /// `invalid_argument` (an offset past the end), `unsupported` by a sidecar, `unavailable`.
    pub async fn events(&self, since: Option<u64>, follow: bool) -> Result<EventStream> {
        resuming(self, Events { since, follow, opened: false }).await
    }
}

/// How far a stream of events has come.
struct Events {
    since: Option<u64>,
    follow: bool,
    opened: bool,
}

impl Resumable for Events {
    type Request = wire::EventsRequest;
    type Message = wire::Event;
    type Item = Event;

    const METHOD: Method<Self::Request, Self::Message> = EVENTS;

    fn request(&mut self) -> Option<wire::EventsRequest> {
        let begins_somewhere = self.since.is_some() || !self.opened;
        self.opened = true;
        begins_somewhere
            .then_some(wire::EventsRequest { since: self.since, no_follow: !self.follow })
    }

    fn arrived(&mut self, message: wire::Event) -> Result<Option<Event>> {
        let event: Event = convert::reply(message)?;
        let lost = event.kind == EventKind::EventsLost;
        // One that says that others are gone may stand where the reader stands.
        let goes_on =
            self.since.is_none_or(|since| event.next > since || lost && event.next == since);
        if !goes_on {
            let since = self.since.unwrap_or_default();
            let reason = format!("the server's events go from {since} back to {}", event.next);
            return Err(ToolError::new(ErrorCode::Io, reason));
        }
        self.since = Some(event.next);
        Ok(Some(event))
    }

    fn may_end(&self) -> bool {
        !self.follow
    }

    fn is_over(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(next: u64, lost: bool) -> wire::Event {
        let kind = if lost {
            wire::event::Event::EventsLost(wire::EventsLost {})
        } else {
            let changed = wire::FilesChanged { operation: "write_file".to_owned(), path: None };
            wire::event::Event::FilesChanged(changed)
        };
        wire::Event { next, event: Some(kind), ..wire::Event::default() }
    }

    #[test]
    fn events_go_forward_only() {
        let mut events = Events { since: Some(10), follow: true, opened: true };
        assert!(events.arrived(event(11, false)).is_ok());
        assert!(events.arrived(event(11, true)).is_ok());
        assert_eq!(events.arrived(event(11, false)).unwrap_err().code, ErrorCode::Io);
        assert_eq!(events.arrived(event(3, true)).unwrap_err().code, ErrorCode::Io);
        assert_eq!(events.request().unwrap().since, Some(11));
    }

    #[test]
    fn a_stream_from_now_is_resumed_only_when_it_is_known_where() {
        let mut events = Events { since: None, follow: true, opened: false };
        assert_eq!(events.request().unwrap().since, None);
        assert_eq!(events.request(), None);
        events.arrived(event(7, false)).unwrap();
        assert_eq!(events.request().unwrap().since, Some(7));
    }
}
