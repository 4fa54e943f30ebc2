//! Knows whether a container is there still, and if not, why.

use std::fmt;
use std::sync::{Arc, OnceLock};

use stigmer_core::{ErrorCode, ToolError};

use crate::engine::{Engine, Fate, State};

/// Watches over one container. The engine is asked only when something failed.
pub(crate) struct Warden {
    engine: Arc<Engine>,
    container: String,
    name: String,
    memory: u64,
    gone: OnceLock<ToolError>,
}

impl Warden {
    pub(crate) fn new(engine: Arc<Engine>, container: &str, name: &str, memory: u64) -> Self {
        let (container, name) = (container.to_owned(), name.to_owned());
        Self { engine, container, name, memory, gone: OnceLock::new() }
    }

    pub(crate) fn container(&self) -> &str {
        &self.container
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is known to be gone. Nobody is asked.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get().is_some()
    }

    /// Why the container cannot be used; nothing if it is running, or nobody knows.
    pub(crate) async fn why_gone(&self) -> Option<ToolError> {
        if let Some(gone) = self.gone.get() {
            return Some(gone.clone());
        }
        let state = match self.engine.container(&self.container).await {
            Ok(Some(found)) => found.state,
            Ok(None) => State::Ended,
            Err(failed) => return Some(failed.into()),
        };
        match state {
            State::Running | State::Created => None,
            State::Paused => Some(paused(&self.name)),
            State::Ended => {
                let fate = self.engine.fate(&self.container).await.unwrap_or(Fate::Forgotten);
                Some(self.gone.get_or_init(|| gone(&self.name, fate, self.memory)).clone())
            }
        }
    }
}

impl fmt::Debug for Warden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Warden").field(&self.name).finish()
    }
}

pub(crate) fn paused(name: &str) -> ToolError {
    ToolError::new(ErrorCode::Unavailable, format!("the container {name} is paused"))
        .with_detail("container", name)
        .with_detail("cause", "container_paused")
        .with_hint("`stigmer workspace start` lets it go on")
}

/// The detail `cause` of a container that is gone.
pub(crate) const GONE: &str = "container_gone";

fn gone(name: &str, fate: Fate, memory: u64) -> ToolError {
    let what = match fate {
        Fate::OutOfMemory => {
            format!("was ended by the kernel, because its {memory} bytes of memory were used up")
        }
        Fate::Killed => "was killed or removed by somebody else".to_owned(),
        Fate::Ended => "has ended".to_owned(),
        Fate::Forgotten => {
            "is gone, and the engine does not remember why: it was restarted, or it is long ago"
                .to_owned()
        }
    };
    let fate = match fate {
        Fate::OutOfMemory => "out_of_memory",
        Fate::Killed => "killed",
        Fate::Ended => "ended",
        Fate::Forgotten => "unknown",
    };
    ToolError::new(ErrorCode::Unavailable, format!("the container {name} {what}"))
        .with_detail("container", name)
        .with_detail("cause", GONE)
        .with_detail("fate", fate)
        .with_hint("nothing is run again by itself; the next command makes a new container")
}

/// Tells of a request that failed because the container is gone; what is known of the request stays.
pub(crate) fn because(error: ToolError, gone: &ToolError) -> ToolError {
    if error.details.get("cause") == gone.details.get("cause") {
        return error;
    }
    let mut told = match error.message.contains(&gone.message) {
        true => error.clone(),
        false => {
            let message = format!("{}: {}", error.message, gone.message);
            ToolError { message, ..error.clone() }
        }
    };
    for (key, value) in &gone.details {
        told.details.insert(key.clone(), value.clone());
    }
    match (&error.hint, &gone.hint) {
        (Some(first), Some(second)) => told.with_hint(format!("{first}; {second}")),
        (None, Some(hint)) => told.with_hint(hint.clone()),
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_request_stays() {
        let unknown = ToolError::new(ErrorCode::CompletionUnknown, "write was sent")
            .with_hint("look before you repeat it");
        let gone = gone("stigmer-x", Fate::Killed, 1);
        let told = because(unknown, &gone);
        assert_eq!(told.code, ErrorCode::CompletionUnknown);
        assert!(!told.retryable);
        assert!(told.message.starts_with("write was sent: the container stigmer-x was killed"));
        assert_eq!(told.details["cause"], GONE);
        assert!(told.hint.clone().unwrap().contains("look before"));
        assert_eq!(because(told.clone(), &gone), told, "it is said once");
    }

    #[test]
    fn every_fate_is_told_apart() {
        let all = [Fate::OutOfMemory, Fate::Killed, Fate::Ended, Fate::Forgotten];
        let mut messages: Vec<String> =
            all.into_iter().map(|fate| gone("c", fate, 4096).message).collect();
        assert!(messages[0].contains("4096 bytes"));
        messages.dedup();
        assert_eq!(messages.len(), all.len());
    }
}
