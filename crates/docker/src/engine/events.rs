//! What became of a container that is gone, as far as the engine remembers.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;
use stigmer_core::Result;

use super::Engine;
use super::errors::EngineError;

/// The signal that asks process 1 to end if no command runs, and its number.
pub(crate) const GIVE_WAY: &str = "SIGUSR1";
const GIVE_WAY_NUMBER: &str = "10";

/// Why a container is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its memory was used up, and process 1 was what the kernel chose.
    OutOfMemory,
    /// Somebody killed it.
    Killed,
    /// It ended by itself.
    Ended,
    /// The engine does not remember: it was restarted.
    Forgotten,
}

impl Engine {
    /// Why a container is gone.
    pub(crate) async fn fate(&self, id: &str) -> Result<Fate, EngineError> {
        let client = self.client().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // To the nanosecond: it has just happened. The engine waits for what is still to come.
        let now = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
        let filters = HashMap::from([
            ("container".to_owned(), vec![id.to_owned()]),
            ("type".to_owned(), vec!["container".to_owned()]),
        ]);
        // The engine keeps a few hundred events in memory; all that there are of this one.
        let options = EventsOptionsBuilder::new().since("0").until(&now).filters(&filters).build();
        let asked = self.asked("ask for the container's end", None);
        let events = client.events(Some(options)).collect::<Vec<_>>();
        let events = self.limited(&asked, async { Ok(events.await) }).await?;
        let events = events.into_iter().filter_map(std::result::Result::ok);
        // A signal that asks is no kill.
        let told = events.filter(|event| {
            let signal = event.actor.as_ref().and_then(|actor| actor.attributes.as_ref());
            let signal = signal.and_then(|attributes| attributes.get("signal"));
            signal.is_none_or(|number| number != GIVE_WAY_NUMBER)
        });
        let actions: Vec<String> = told.filter_map(|event| event.action).collect();
        Ok(of(&actions))
    }
}

fn of(actions: &[String]) -> Fate {
    let has = |name: &str| actions.iter().any(|action| action == name);
    if has("oom") && has("die") && !has("kill") {
        Fate::OutOfMemory
    } else if has("kill") {
        Fate::Killed
    } else if has("die") || has("destroy") {
        Fate::Ended
    } else {
        Fate::Forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_is_what_the_events_tell() {
        for (actions, fate) in [
            (&["create", "start", "kill", "die", "destroy"][..], Fate::Killed),
            (&["create", "start", "oom", "die", "destroy"], Fate::OutOfMemory),
            (&["create", "start", "oom", "kill", "die"], Fate::Killed),
            (&["die", "destroy"], Fate::Ended),
            (&["start"], Fate::Forgotten),
            (&[], Fate::Forgotten),
        ] {
            let actions: Vec<String> = actions.iter().map(|one| (*one).to_owned()).collect();
            assert_eq!(of(&actions), fate, "{actions:?}");
        }
    }
}
