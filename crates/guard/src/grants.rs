//! From places to Landlock's rules, which can add and never subtract.
//!
//! Where a credential lies beneath a place, its siblings are granted instead of the place, on each
//! level down to it. The place itself may still be listed: a name is no secret, and tools list where
//! they are installed. What appears in such a directory later is not granted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::look::{Kind, Look};
use crate::roots::{Right, Root};

/// The deepest that a credential may lie beneath a place; each level costs a listing.
const MOST_LEVELS: usize = 16;

/// The most rules for what lies beside credentials; a kernel object each.
const MOST_SIBLINGS: usize = 4096;

/// The grants of places of which some is carved out. `None` if they are too many.
pub(crate) fn grants(
    roots: &[Root],
    carved: &BTreeSet<PathBuf>,
    look: &impl Look,
) -> Option<Vec<Root>> {
    let mut all = Vec::new();
    for root in roots {
        grant(root.clone(), carved, look, 0, &mut all)?;
    }
    Some(all)
}

/// Whether a path is a credential or lies in one.
pub(crate) fn is_carved(path: &Path, carved: &BTreeSet<PathBuf>) -> bool {
    path.ancestors().any(|part| carved.contains(part))
}

/// Whether a credential lies beneath a path.
pub(crate) fn holds_carved(path: &Path, carved: &BTreeSet<PathBuf>) -> bool {
    // The first that is not before `path` itself is beneath it, or none is.
    let mut after =
        carved.range::<Path, _>((std::ops::Bound::Excluded(path), std::ops::Bound::Unbounded));
    // Paths are ordered by their parts, so that what lies beneath one follows it at once.
    after.next().is_some_and(|next| next.starts_with(path))
}

fn grant(
    root: Root,
    carved: &BTreeSet<PathBuf>,
    look: &impl Look,
    depth: usize,
    all: &mut Vec<Root>,
) -> Option<()> {
    if is_carved(&root.path, carved) {
        return Some(());
    }
    if root.kind != Kind::Directory || !holds_carved(&root.path, carved) {
        all.push(root);
        return Some(());
    }
    // Too deep, or not listable: nothing beneath is granted, which is the safe side.
    let names = (depth < MOST_LEVELS).then(|| look.names(&root.path)).flatten().unwrap_or_default();
    all.push(Root { path: root.path.clone(), kind: Kind::Directory, right: Right::List });
    for (name, kind) in names {
        // A link grants nothing: where it leads has rules of its own.
        if kind != Kind::Link {
            let child = Root { path: root.path.join(name), kind, right: root.right };
            grant(child, carved, look, depth + 1, all)?;
        }
    }
    (all.len() <= MOST_SIBLINGS).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::look::tests::Fake;

    fn granted(root: &str, carved: &[&str], lines: &[&str]) -> Vec<String> {
        let look = Fake::new(lines);
        let carved = carved.iter().map(PathBuf::from).collect();
        let root = Root { path: root.into(), kind: Kind::Directory, right: Right::Execute };
        let all = grants(&[root], &carved, &look).unwrap();
        all.iter().map(|grant| format!("{} {:?}", grant.path.display(), grant.right)).collect()
    }

    #[test]
    fn a_place_without_credentials_is_granted_whole() {
        assert_eq!(granted("/h/.cargo", &["/h/.ssh"], &["/h/.cargo/bin/x"]), ["/h/.cargo Execute"]);
        // A name that only begins the same is another.
        assert_eq!(granted("/h/.c", &["/h/.cargo/x"], &["/h/.c/x"]), ["/h/.c Execute"]);
    }

    #[test]
    fn siblings_of_a_credential_are_granted_and_the_place_is_only_listed() {
        let all = granted(
            "/h/.cargo",
            &["/h/.cargo/credentials.toml"],
            &["/h/.cargo/bin/x", "/h/.cargo/config.toml", "/h/.cargo/credentials.toml"],
        );
        assert_eq!(
            all,
            ["/h/.cargo List", "/h/.cargo/bin Execute", "/h/.cargo/config.toml Execute"]
        );
    }

    #[test]
    fn a_credential_two_levels_down_splits_both_levels() {
        let all = granted("/r", &["/r/a/k"], &["/r/a/b", "/r/a/k", "/r/c/d", "/r/l -> a/k"]);
        assert_eq!(all, ["/r List", "/r/a List", "/r/a/b Execute", "/r/c Execute"]);
    }

    #[test]
    fn a_place_that_is_a_credential_or_lies_in_one_grants_nothing() {
        assert_eq!(granted("/h/.ssh", &["/h/.ssh"], &["/h/.ssh/id"]), [""; 0]);
        assert_eq!(granted("/h/.ssh/tools", &["/h/.ssh"], &["/h/.ssh/tools/x"]), [""; 0]);
    }

    proptest! {
        /// Whatever is there: no grant covers a credential, and all else that was granted stays.
        #[test]
        fn no_grant_covers_a_credential_and_nothing_else_is_lost(
            files in proptest::collection::btree_set("/r(/[ab.]{1,2}){1,4}", 1..12),
            pick in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            // A file beneath a file is a directory.
            let lines: Vec<String> = files.iter().cloned().collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str)
                .filter(|path| !path.split('/').any(|part| part == "." || part == ".."))
                .filter(|path| !files.iter().any(|other| other.starts_with(&format!("{path}/"))))
                .collect();
            prop_assume!(!lines.is_empty());
            let carved: BTreeSet<PathBuf> =
                pick.iter().map(|index| PathBuf::from(index.get(&lines))).collect();
            let look = Fake::new(&lines);
            let root = Root { path: "/r".into(), kind: Kind::Directory, right: Right::Read };
            let all = grants(&[root], &carved, &look).unwrap();
            let covers = |path: &Path| all.iter().any(|grant| {
                grant.right != Right::List && path.starts_with(&grant.path)
            });
            for line in lines {
                prop_assert_eq!(covers(Path::new(line)), !is_carved(Path::new(line), &carved));
            }
        }
    }
}
