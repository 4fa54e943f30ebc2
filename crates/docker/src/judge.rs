//! What to do with a container that has a workspace's name: a pure function of what is found.

use crate::engine::{Found, State};
use crate::names::{HOME, Home, OPTIONS, WORKSPACE};

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be, and is taken over.
    Adopt,
    /// It was made otherwise than is asked for now; it may go if no command runs in it.
    Differs,
    /// It never ran, or it has ended; nothing can be lost.
    Remains,
    /// It is somebody else's.
    Foreign,
}

pub(crate) fn judge(found: &Found, home: &Home, workspace: &str, fingerprint: &str) -> Verdict {
    let label = |name: &str| found.labels.get(name).map(String::as_str);
    if label(HOME) != Some(home.as_str()) || label(WORKSPACE) != Some(workspace) {
        return Verdict::Foreign;
    }
    match found.state {
        State::Created | State::Ended => Verdict::Remains,
        State::Running | State::Paused if label(OPTIONS) == Some(fingerprint) => Verdict::Adopt,
        State::Running | State::Paused => Verdict::Differs,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::options::tests::plain;

    #[test]
    fn every_state_and_label_has_its_verdict() {
        let home = Home::new(&plain(), "m");
        let judged = |state, labels: &[(&str, &str)]| {
            let labels: HashMap<String, String> = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let text = String::new;
            let found = Found {
                id: text(),
                name: text(),
                state,
                labels,
                image: text(),
                image_id: text(),
                written: None,
            };
            judge(&found, &home, "ws-1", "f")
        };
        let ours = [(HOME, home.as_str()), (WORKSPACE, "ws-1"), (OPTIONS, "f")];
        let other = [(HOME, home.as_str()), (WORKSPACE, "ws-1"), (OPTIONS, "g")];
        for state in [State::Running, State::Paused] {
            assert_eq!(judged(state, &ours), Verdict::Adopt);
            assert_eq!(judged(state, &other), Verdict::Differs);
            assert_eq!(judged(state, &ours[..2]), Verdict::Differs);
        }
        for state in [State::Created, State::Ended] {
            assert_eq!(judged(state, &ours), Verdict::Remains);
            assert_eq!(judged(state, &other), Verdict::Remains);
        }
        for state in [State::Created, State::Running, State::Paused, State::Ended] {
            assert_eq!(judged(state, &[]), Verdict::Foreign);
            assert_eq!(judged(state, &ours[1..]), Verdict::Foreign);
            let other_workspace = [(HOME, home.as_str()), (WORKSPACE, "ws-2"), (OPTIONS, "f")];
            assert_eq!(judged(state, &other_workspace), Verdict::Foreign);
        }
    }
}
