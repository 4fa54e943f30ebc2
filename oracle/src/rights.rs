//! What a command may do in its lane.

use std::path::Path;

use stigmer_guard::HostLane;

use crate::PROJECT;
use crate::trial::{Change, What};

/// What may not be changed although the workspace may: what other programs execute or obey.
const PROTECTED: &[&str] = &[
    ".git/hooks",
    ".git/config",
    ".git/config.worktree",
    ".git/commondir",
    ".claude",
    ".vscode",
    "evil1/.git/hooks",
    "evil1/.git/config",
    "evil1/.git/config.worktree",
    "evil1/.git/commondir",
    "evil1/.git/worktrees/linked/commondir",
    "evil1/.git/worktrees/linked/gitdir",
    "evil1/.git/worktrees/linked/config.worktree",
    "evil1/.git/modules/deep/m/config",
    "evil1/.git/modules/deep/m/commondir",
    "evil1/.githooks",
    "evil1/included",
    "evil1/not-included",
    "evil1/deep/m/.git",
];

/// Whether an effect is more than a lane gives the right to.
pub fn beyond(lane: HostLane, change: &Change) -> bool {
    match change.what {
        What::Made | What::Removed | What::Changed | What::Wrote => match lane {
            HostLane::ReadOnly => true,
            HostLane::Workspace => {
                let Ok(inner) = Path::new(&change.to).strip_prefix(PROJECT) else { return true };
                let held = PROTECTED.iter().any(|held| inner.starts_with(held));
                // `.git` changes with what is made in it; gone, it could be replaced.
                held || (change.what == What::Removed
                    && [Path::new(""), Path::new(".git")].contains(&inner))
            }
        },
        What::Executed => lane == HostLane::ReadOnly,
        What::Read | What::Shown | What::Reached | What::Left | What::Connected | What::Asked => {
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_lane_has_the_workspace_but_for_what_is_held() {
        let may = |what, to: &str| !beyond(HostLane::Workspace, &Change::new(what, to));
        for (what, to) in [
            (What::Made, "/home/ada/project/out"),
            (What::Changed, "/home/ada/project"),
            (What::Changed, "/home/ada/project/.git"),
            (What::Changed, "/home/ada/project/.git/index"),
            (What::Executed, "/home/ada/project/run"),
        ] {
            assert!(may(what, to), "{what:?} {to}");
            let read_only = beyond(HostLane::ReadOnly, &Change::new(what, to));
            assert!(read_only, "the other lane has no right to change or execute {to}");
        }
        for (what, to) in [
            (What::Made, "/home/ada/out"),
            (What::Changed, "/home/ada/project2/file"),
            (What::Changed, "/home/ada/project/.git/config"),
            (What::Made, "/home/ada/project/.git/hooks/pre-commit"),
            (What::Removed, "/home/ada/project/.git"),
            (What::Read, "/home/ada/.ssh/id_ed25519"),
            (What::Reached, "127.0.0.1:80"),
        ] {
            assert!(!may(what, to), "{what:?} {to}");
        }
    }
}
