//! Which mounts make the workspace lane's view, as a list in the order in which they are made.
//!
//! Everything is read-only already. What is left is to cover what must not be seen, to put private
//! directories in place, and to bring back what lies beneath a cover and must be seen.

use std::path::{Path, PathBuf};

use crate::look::Kind;

/// What lies at a path of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An empty directory, or an empty file.
    Cover(Kind),
    /// A directory of the command's own, writable.
    Private,
    /// What was there before, read-only.
    Kept(Kind),
    /// The workspace, writable.
    Workspace,
}

/// One mount of the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    pub(crate) what: What,
    /// The cover or private directory that it lies in, where its place has to be made first.
    pub(crate) within: Option<usize>,
}

/// Lays out the mounts. All paths are real paths.
///
/// `covers` and `carved` are hidden, `carved` even beneath what is kept. `kept` and the workspace are
/// seen, even beneath a cover.
///
/// In a private directory everything can be written and nothing of it stays. What is there and leads to the
/// workspace or to the home directory must not be taken for that: it is covered, too, as it would be
/// elsewhere.
pub(crate) fn layout(
    covers: &[PathBuf],
    private: &[PathBuf],
    carved: &[(PathBuf, Kind)],
    kept: &[(PathBuf, Kind)],
    workspace: &Path,
    fences: &[PathBuf],
) -> Vec<Mount> {
    // A path once; the first kind counts.
    let mut wanted: Vec<(PathBuf, What)> = vec![(workspace.to_owned(), What::Workspace)];
    let all = private.iter().map(|path| (path.clone(), What::Private));
    let all = all.chain(carved.iter().map(|(path, kind)| (path.clone(), What::Cover(*kind))));
    let covers = covers.iter().chain(fences);
    let all = all.chain(covers.map(|path| (path.clone(), What::Cover(Kind::Directory))));
    for (path, what) in all.chain(kept.iter().map(|(path, kind)| (path.clone(), What::Kept(*kind))))
    {
        if !wanted.iter().any(|(other, _)| *other == path) {
            wanted.push((path, what));
        }
    }
    wanted.sort_by_key(|(path, _)| path.components().count());
    let mut mounts: Vec<Mount> = Vec::new();
    for (at, what) in wanted {
        let over = (0..mounts.len()).rev().filter(|index| at.starts_with(&mounts[*index].at));
        let over = over.max_by_key(|index| mounts[*index].at.components().count());
        let hidden =
            over.filter(|index| matches!(mounts[*index].what, What::Cover(_) | What::Private));
        let needed = match what {
            What::Workspace | What::Private => true,
            What::Cover(_) => hidden.is_none() || fences.contains(&at),
            What::Kept(_) => hidden.is_some(),
        };
        // Nothing can lie in a credential, whatever asks for it.
        let in_carved = carved.iter().any(|(path, _)| at.starts_with(path) && at != *path);
        if needed && !(in_carved && matches!(what, What::Kept(_))) {
            mounts.push(Mount { at, what, within: hidden });
        }
    }
    mounts
}

/// The covers that private directories need for the workspace and the home directory to be reached
/// through them.
pub(crate) fn fences(private: &[PathBuf], inner: &[&Path], workspace: &Path) -> Vec<PathBuf> {
    let mut fences = Vec::new();
    for private in private {
        for path in inner {
            let first = path.strip_prefix(private).ok().and_then(|path| path.components().next());
            let Some(first) = first.map(|first| private.join(first)) else { continue };
            if first != workspace && !fences.contains(&first) {
                fences.push(first);
            }
        }
    }
    fences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(
        covers: &[&str],
        private: &[&str],
        carved: &[&str],
        kept: &[&str],
        workspace: &str,
    ) -> Vec<String> {
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect::<Vec<_>>();
        let kinds =
            |all: &[&str]| all.iter().map(|path| (path.into(), Kind::File)).collect::<Vec<_>>();
        let mounts = layout(
            &paths(covers),
            &paths(private),
            &kinds(carved),
            &kinds(kept),
            Path::new(workspace),
            &fences(&paths(private), &[Path::new(workspace)], Path::new(workspace)),
        );
        let show = |mount: &Mount| {
            let what = match mount.what {
                What::Cover(_) => "cover",
                What::Private => "private",
                What::Kept(_) => "kept",
                What::Workspace => "workspace",
            };
            let within = mount.within.map(|index| format!(" in {}", mounts[index].at.display()));
            format!("{} {what}{}", mount.at.display(), within.unwrap_or_default())
        };
        mounts.iter().map(show).collect()
    }

    #[test]
    fn tools_and_the_workspace_come_back_through_the_covered_home() {
        assert_eq!(
            laid(
                &["/home", "/home/u", "/run"],
                &["/tmp"],
                &[],
                &["/usr", "/home/u/.cargo"],
                "/home/u/w"
            ),
            [
                "/tmp private",
                "/home cover",
                "/run cover",
                "/home/u/w workspace in /home",
                "/home/u/.cargo kept in /home",
            ]
        );
    }

    #[test]
    fn a_credential_beneath_what_is_kept_is_covered_and_one_that_is_hidden_already_is_not() {
        assert_eq!(
            laid(
                &["/home"],
                &[],
                &["/home/u/.cargo/credentials", "/home/u/.ssh", "/etc/shadow"],
                &["/home/u/.cargo", "/home/u/.ssh/tools", "/etc"],
                "/w"
            ),
            [
                "/w workspace",
                "/home cover",
                "/etc/shadow cover",
                "/home/u/.cargo kept in /home",
                "/home/u/.cargo/credentials cover",
            ]
        );
    }

    #[test]
    fn a_workspace_in_a_private_directory_is_put_there() {
        assert_eq!(
            laid(&["/tmp/home"], &["/tmp"], &[], &["/tmp/home/.nvm"], "/tmp/home/w"),
            [
                "/tmp private",
                "/tmp/home cover in /tmp",
                "/tmp/home/w workspace in /tmp/home",
                "/tmp/home/.nvm kept in /tmp/home",
            ]
        );
        assert_eq!(
            laid(&[], &["/tmp"], &[], &[], "/tmp/w"),
            ["/tmp private", "/tmp/w workspace in /tmp"]
        );
    }

    #[test]
    fn a_workspace_that_holds_a_credential_does_not_show_it() {
        assert_eq!(
            laid(&["/home"], &[], &["/home/u/.config/gcloud"], &[], "/home/u/.config"),
            ["/home cover", "/home/u/.config workspace in /home", "/home/u/.config/gcloud cover"]
        );
    }
}
