//! What a command may reach: system directories, tools, settings; and what is carved out of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::data;
use crate::look::{Kind, Look, find};
use crate::policy::Policy;

/// What may be done with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// The names in it may be listed.
    List,
    /// It may be read.
    Read,
    /// It may be read and executed.
    Execute,
    /// Everything, but not executed: the private directory of the read-only lane.
    Scratch,
    /// Everything.
    Write,
}

/// A place that may be reached: a real path, what it is and what may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) right: Right,
}

/// What a command may reach beside its workspace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    /// Real paths, none beneath another that gives as much.
    pub(crate) all: Vec<Root>,
    /// Real paths of credentials that are there, and that the caller may read.
    pub(crate) carved: BTreeSet<PathBuf>,
}

/// Collects what a caller's commands may reach.
pub(crate) fn collect(policy: &Policy, look: &impl Look) -> Roots {
    let home = policy.home().and_then(|home| look.real(home)).map(|(home, _)| home);
    let workspace = &policy.workspace;
    // Most places are not there, and one listing is cheaper than a hundred looks.
    let in_home = home.as_deref().and_then(|home| look.names(home));
    let there = |place: &str| -> Option<PathBuf> {
        if let (Some(inner), Some(names)) = (place.strip_prefix("~/"), &in_home) {
            let first = inner.split('/').next().unwrap_or(inner);
            find(names, first.as_ref())?;
        }
        policy.place(place)
    };
    let mut found = Found { home: home.as_deref(), workspace, look, all: Vec::new() };
    for (places, right) in [
        (data::SYSTEM, Right::Execute),
        (data::READ, Right::Read),
        (data::TOOLS, Right::Execute),
        (data::SETTINGS, Right::Read),
    ] {
        for place in places.iter().filter_map(|place| there(place)) {
            found.add(&place, right);
        }
    }
    for root in &policy.tool_roots {
        found.add(root, Right::Execute);
    }
    for entry in policy.path() {
        found.add_path_entry(&entry);
    }
    let all = without_nested(found.all);
    let mut carved = BTreeSet::new();
    for place in data::CREDENTIALS.iter().filter_map(|place| there(place)) {
        // Most are not there, or not the caller's to read; that takes one call to see.
        if look.may_read(&place)
            && let Some((real, _)) = look.real(&place)
        {
            carved.insert(real);
        }
    }
    let in_home = |path: &Path| home.as_deref().is_some_and(|home| path.starts_with(home));
    for root in all.iter().filter(|root| root.kind == Kind::Directory && in_home(&root.path)) {
        let names = look.names(&root.path).unwrap_or_default();
        let secret = names.into_iter().filter(|(name, _)| {
            name.to_str().is_some_and(|name| data::CREDENTIAL_NAMES.contains(&name))
        });
        carved.extend(secret.filter_map(|(name, _)| Some(look.real(&root.path.join(name))?.0)));
    }
    Roots { all, carved }
}

struct Found<'a, L> {
    home: Option<&'a Path>,
    workspace: &'a Path,
    look: &'a L,
    all: Vec<Root>,
}

impl<L: Look> Found<'_, L> {
    /// Adds a place if it is there and is not more than a tool: neither the root of everything nor
    /// what the home directory lies in.
    fn add(&mut self, place: &Path, right: Right) {
        let Some((path, kind)) = self.look.real(place) else { return };
        if path == Path::new("/") || self.home.is_some_and(|home| home.starts_with(&path)) {
            return;
        }
        // The workspace has its own rights; what its content says gives none.
        if !path.starts_with(self.workspace) {
            self.all.push(Root { path, kind, right });
        }
    }

    /// An entry of PATH: itself, and its installation's parts if it looks like one's `bin`.
    fn add_path_entry(&mut self, entry: &Path) {
        let Some((real, Kind::Directory)) = self.look.real(entry) else { return };
        let known = self
            .all
            .iter()
            .any(|root| root.right == Right::Execute && real.starts_with(&root.path));
        if known || real.starts_with(self.workspace) {
            return;
        }
        self.add(&real, Right::Execute);
        let prefix = match real.file_name() {
            Some(name) if name == "bin" || name == "sbin" => real.parent(),
            _ => None,
        };
        // Beside the home directory's own `bin` lie the caller's things.
        let Some(prefix) = prefix.filter(|prefix| Some(*prefix) != self.home) else { return };
        for part in data::PARTS {
            self.add(&prefix.join(part), Right::Execute);
        }
    }
}

/// Leaves out what lies beneath another place with at least the same right.
fn without_nested(mut all: Vec<Root>) -> Vec<Root> {
    all.sort_by(|a, b| a.path.cmp(&b.path).then(b.right.cmp(&a.right)));
    let mut kept: Vec<Root> = Vec::new();
    for root in all {
        let within = |outer: &Root| root.path.starts_with(&outer.path) && outer.right >= root.right;
        if !kept.iter().any(within) {
            kept.push(root);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::Fake;

    fn policy(variables: &[(&str, &str)]) -> Policy {
        let mut all = vec![("HOME", "/home/u")];
        all.extend(variables);
        Policy::new("/home/u/w", all.iter().map(|(k, v)| (k.into(), v.into())).collect())
    }

    fn collected(policy: &Policy, lines: &[&str]) -> (Vec<String>, Vec<String>) {
        let mut lines = lines.to_vec();
        lines.push("/home/u/w/");
        let roots = collect(policy, &Fake::new(&lines));
        let show = |path: &Path| path.to_str().unwrap().to_owned();
        (
            roots.all.iter().map(|root| format!("{} {:?}", show(&root.path), root.right)).collect(),
            roots.carved.iter().map(|path| show(path)).collect(),
        )
    }

    #[test]
    fn every_kind_of_installation_under_the_home_directory_is_found() {
        for place in [
            ".pyenv",
            ".nvm",
            ".fnm",
            ".volta",
            ".asdf",
            ".local/share/mise",
            ".rustup",
            ".cargo",
            "go",
            ".bun",
            ".deno",
            "miniconda3",
            ".local/share/uv",
            ".local/bin",
        ] {
            let (roots, _) = collected(&policy(&[]), &[&format!("/home/u/{place}/")]);
            assert_eq!(roots, [format!("/home/u/{place} Execute")]);
        }
        let (roots, _) = collected(&policy(&[]), &["/nix/store/", "/usr/bin/", "/bin -> usr/bin"]);
        assert_eq!(roots, ["/nix Execute", "/usr Execute"]);
    }

    #[test]
    fn settings_are_read_and_not_executed() {
        let (roots, _) =
            collected(&policy(&[]), &["/home/u/.gitconfig", "/home/u/.config/git/ignore"]);
        assert_eq!(roots, ["/home/u/.config/git Read", "/home/u/.gitconfig Read"]);
    }

    #[test]
    fn an_entry_of_path_brings_its_installation_and_not_what_lies_around() {
        let fake =
            ["/data/node/bin/node", "/data/node/lib/x", "/data/node/secrets/x", "/data/other"];
        let (roots, _) = collected(&policy(&[("PATH", "/data/node/bin:/missing")]), &fake);
        assert_eq!(roots, ["/data/node/bin Execute", "/data/node/lib Execute"]);
        let home = ["/home/u/bin/x", "/home/u/lib/private", "/home/u/share/private"];
        let (roots, _) = collected(&policy(&[("PATH", "/home/u/bin")]), &home);
        assert_eq!(roots, ["/home/u/bin Execute"]);
    }

    #[test]
    fn an_entry_that_is_a_link_leads_to_what_it_means() {
        let fake = ["/home/u/tools -> ../../data/t/bin", "/data/t/bin/x", "/data/t/lib/y"];
        let (roots, _) = collected(&policy(&[("PATH", "/home/u/tools")]), &fake);
        assert_eq!(roots, ["/data/t/bin Execute", "/data/t/lib Execute"]);
    }

    #[test]
    fn nothing_opens_the_home_directory_the_workspace_or_everything() {
        for value in ["/", "/home", "/home/u", "/home/u/w", "/home/u/w/tools", "."] {
            let mut policy = policy(&[("PATH", value), ("NVM_DIR", value), ("GOPATH", value)]);
            policy.tool_roots = vec![value.into()];
            let (roots, _) = collected(&policy, &["/home/u/w/tools/", "/home/u/secret"]);
            assert_eq!(roots, [""; 0], "{value}");
        }
        let (roots, _) = collected(&policy(&[]), &["/home/u/.cargo -> ..", "/home/u/.pyenv -> ."]);
        assert_eq!(roots, [""; 0]);
    }

    #[test]
    fn a_workspace_in_a_tool_root_leaves_the_rest_of_it_readable() {
        let mut policy = policy(&[]);
        policy.workspace = "/home/u/go/src/p".into();
        let (roots, _) = collected(&policy, &["/home/u/go/src/p/", "/home/u/go/pkg/mod/"]);
        assert_eq!(roots, ["/home/u/go Execute"]);
    }

    #[test]
    fn credentials_are_found_by_name_where_they_really_lie() {
        let (_, carved) = collected(
            &policy(&[("CARGO_HOME", "/data/cargo")]),
            &[
                "/home/u/.ssh -> keys",
                "/home/u/keys/id_ed25519",
                "/data/cargo/credentials.toml",
                "/home/u/.config/git/credentials",
                "/home/u/.npmrc",
                "/home/u/.nvm/.npmrc",
                "/etc/shadow",
            ],
        );
        assert_eq!(
            carved,
            [
                "/data/cargo/credentials.toml",
                "/etc/shadow",
                "/home/u/.config/git/credentials",
                "/home/u/.npmrc",
                "/home/u/.nvm/.npmrc",
                "/home/u/keys",
            ]
        );
    }

    #[test]
    fn what_the_caller_may_not_read_needs_no_carving() {
        let fake = Fake::new(&["/etc/shadow", "/home/u/w/"]).without("/etc/shadow");
        assert!(collect(&policy(&[]), &fake).carved.is_empty());
    }
}
