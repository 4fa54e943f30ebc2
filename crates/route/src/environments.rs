//! Where a toolchain keeps what is installed for one project: environments that lie in a workspace.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

const EMBEDDED: &str = include_str!("../rules/environments.toml");

static ENVIRONMENTS: LazyLock<HashMap<String, Vec<Environment>>> =
    LazyLock::new(|| toml::from_str(EMBEDDED).unwrap_or_default());

/// An environment that a toolchain finds in a workspace, and would use there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Where it is, beneath the workspace's root.
    pub path: String,
    /// What is in it if it is one. Without this, its path alone tells.
    #[serde(default)]
    pub holds: Option<String>,
}

/// The environments that a toolchain may have in a workspace, as [`Verdict::toolchains`] names it;
/// none for one that keeps nothing there.
///
/// [`Verdict::toolchains`]: crate::Verdict::toolchains
pub fn environments(toolchain: &str) -> &'static [Environment] {
    ENVIRONMENTS.get(toolchain).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_of_ours_can_be_read_and_lies_beneath_the_workspace() {
        let read: HashMap<String, Vec<Environment>> = toml::from_str(EMBEDDED).unwrap();
        assert_eq!(read, *ENVIRONMENTS);
        assert!(!read.is_empty());
        for environment in read.values().flatten() {
            let names = [Some(&environment.path), environment.holds.as_ref()];
            for name in names.into_iter().flatten() {
                let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
                assert!(name.split('/').all(plain), "{name}");
            }
        }
    }

    #[test]
    fn an_environment_is_found_by_its_toolchain() {
        let python: Vec<_> = environments("python").iter().map(|found| &*found.path).collect();
        assert!(python.contains(&".venv"), "{python:?}");
        let named = environments("python").iter().find(|found| found.path == "env").unwrap();
        assert_eq!(named.holds.as_deref(), Some("pyvenv.cfg"));
        assert_eq!(environments("node")[0].path, "node_modules");
        assert!(environments("cobol").is_empty());
    }
}
