//! What a lane would be like, for whoever only wants to be told: nothing is made and nothing is forked.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::grants::is_carved;
use crate::lane::{HostLane, Refusal};
use crate::look::{Look as _, Remembered};
use crate::plan::{unfit, workspace};
use crate::policy::Policy;
use crate::probe::Probe;
use crate::roots::{Right, collect};
use crate::variables::{Why, filter};

/// What a lane would be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The directories whose programs it may execute, beside the workspace.
    pub tool_roots: Vec<PathBuf>,
    /// The names of the caller's variables that it would not have.
    pub dropped: Vec<(OsString, Why)>,
    /// Why a command does not run in it, whatever it is. One that does may still be refused: for a program
    /// that cannot be executed in the lane, or what its repository is like.
    pub refusal: Option<Refusal>,
}

/// Says what a lane would be like. The programs of `policy` are not looked for.
pub fn outlook(lane: HostLane, policy: &Policy, probe: &Probe) -> Outlook {
    let look = &Remembered::default();
    let home = policy.home().and_then(|home| look.real(home)).map(|(home, _)| home);
    let (mut refusal, mut tool_roots) = (probe.level(lane).err(), Vec::new());
    match workspace(policy, home.as_deref(), look) {
        Ok(workspace) => {
            let policy = Policy { workspace: workspace.clone(), ..policy.clone() };
            let roots = collect(&policy, look);
            if is_carved(&workspace, &roots.carved) {
                refusal.get_or_insert_with(|| unfit(&workspace, "is a place of credentials"));
            }
            let tools = roots.all.into_iter().filter(|root| root.right == Right::Execute);
            tool_roots.extend(tools.map(|root| root.path));
        }
        Err(error) => drop(refusal.get_or_insert(error)),
    }
    Outlook {
        tool_roots,
        dropped: filter(lane, &policy.environment, &policy.declared).dropped,
        refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_described_without_leaving_anything_behind() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap().join("w");
        std::fs::create_dir_all(root.join(".git")).unwrap();
        let variables = [("PATH", "/usr/bin"), ("LD_PRELOAD", "x"), ("HOME", "/nonexistent")];
        let variables = variables.map(|(name, value)| (name.into(), value.into())).to_vec();
        let policy = Policy::new(&root, variables.clone());
        let able = Probe { landlock: 6, notifications: true, namespaces: None };
        for lane in [HostLane::ReadOnly, HostLane::Workspace] {
            let told = outlook(lane, &policy, &able);
            assert_eq!(told.refusal, None);
            assert!(told.tool_roots.contains(&"/usr".into()), "{told:?}");
            assert_eq!(told.dropped, [("LD_PRELOAD".into(), Why::Steers)]);
            let unable = Probe { landlock: 0, ..able.clone() };
            let told = outlook(lane, &policy, &unable);
            assert!(matches!(told.refusal, Some(Refusal::Unsupported { .. })), "{told:?}");
            let told = outlook(lane, &Policy::new("/etc", variables.clone()), &able);
            assert!(matches!(told.refusal, Some(Refusal::Unfit { .. })), "{told:?}");
        }
        assert_eq!(std::fs::read_dir(root.join(".git")).unwrap().count(), 0);
    }
}
