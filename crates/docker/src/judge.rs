//! What to do with a container that has a workspace's name: a pure function of what is found.

use stigmer_core::WorkspaceId;

use crate::engine::{Found, State};
use crate::names::{DIRECTORY, HOME, Home, OPTIONS};
use crate::root::Directory;

/// What to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be, and is taken over.
    Adopt,
    /// It was made otherwise than is asked for now; it may go if no command runs in it.
    Differs,
    /// It has another directory mounted than the workspace has now; it may go likewise.
    Elsewhere,
    /// It has another image than is asked for, which its labels alone do not tell; it may go likewise.
    OtherImage,
    /// It never ran, or it has ended; nothing can be lost.
    Remains,
    /// It is somebody else's.
    Foreign,
}

pub(crate) fn judge(
    found: &Found,
    home: &Home,
    workspace: &WorkspaceId,
    fingerprint: &str,
    directory: Option<Directory>,
) -> Verdict {
    let label = |name: &str| found.labels.get(name).map(String::as_str);
    if label(HOME) != Some(home.as_str()) || home.workspace(found).as_ref() != Some(workspace) {
        return Verdict::Foreign;
    }
    match found.state {
        State::Created | State::Ended => Verdict::Remains,
        State::Running | State::Paused if label(OPTIONS) == Some(fingerprint) => {
            let now = directory.map(|directory| directory.to_string());
            match (label(DIRECTORY), now) {
                (Some(mounted), Some(now)) if mounted != now => Verdict::Elsewhere,
                _ => Verdict::Adopt,
            }
        }
        State::Running | State::Paused => Verdict::Differs,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::names::{KIND, POOL, WORKSPACE};
    use crate::options::tests::plain;

    #[test]
    fn every_state_and_label_has_its_verdict() {
        let home = Home::new(&plain(), "m");
        let workspace = WorkspaceId::from_number(1);
        let now = Directory::at(std::path::Path::new("/")).ok();
        let here = now.unwrap().to_string();
        let named = |state, name: &str, labels: &[(&str, &str)]| {
            let labels: HashMap<String, String> = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let text = String::new;
            let found = Found {
                id: text(),
                name: name.to_owned(),
                state,
                labels,
                image: text(),
                image_id: text(),
                written: None,
            };
            judge(&found, &home, &workspace, "f", now)
        };
        let judged = |state, labels: &[(&str, &str)]| named(state, "any", labels);
        let id = workspace.as_str();
        let ours = [(HOME, home.as_str()), (WORKSPACE, id), (OPTIONS, "f")];
        let other = [(HOME, home.as_str()), (WORKSPACE, id), (OPTIONS, "g")];
        for state in [State::Running, State::Paused] {
            assert_eq!(judged(state, &ours), Verdict::Adopt);
            assert_eq!(judged(state, &other), Verdict::Differs);
            assert_eq!(judged(state, &ours[..2]), Verdict::Differs);
            let with = |directory| [ours[0], ours[1], ours[2], (DIRECTORY, directory)];
            assert_eq!(judged(state, &with(&here)), Verdict::Adopt);
            assert_eq!(judged(state, &with("1:0")), Verdict::Elsewhere);
        }
        for state in [State::Created, State::Ended] {
            assert_eq!(judged(state, &ours), Verdict::Remains);
            assert_eq!(judged(state, &other), Verdict::Remains);
        }
        for state in [State::Created, State::Running, State::Paused, State::Ended] {
            assert_eq!(judged(state, &[]), Verdict::Foreign);
            assert_eq!(judged(state, &ours[1..]), Verdict::Foreign);
            let other_workspace =
                [(HOME, home.as_str()), (WORKSPACE, "ws-0000000000000002"), (OPTIONS, "f")];
            assert_eq!(judged(state, &other_workspace), Verdict::Foreign);
        }
        // One from the pool is whose name it has, whatever else it says.
        let pool = [(HOME, home.as_str()), (KIND, POOL), (OPTIONS, "f"), (WORKSPACE, id)];
        let given = home.container(&workspace);
        assert_eq!(named(State::Running, &given, &pool), Verdict::Adopt);
        assert_eq!(named(State::Running, &given, &pool[..2]), Verdict::Differs);
        assert_eq!(named(State::Ended, &given, &pool), Verdict::Remains);
        for name in [home.waiting("0"), home.container(&WorkspaceId::from_number(2)), home.keeper()]
        {
            assert_eq!(named(State::Running, &name, &pool), Verdict::Foreign);
        }
        assert_eq!(named(State::Running, &given, &pool[1..]), Verdict::Foreign);
    }
}
