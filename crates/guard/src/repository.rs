//! What of a workspace's repository must stay as it is, and what of it lies elsewhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::data;
use crate::lane::Refusal;
use crate::look::{Kind, Look};

/// Repositories of submodules that are held one by one. With more, all of them are read-only.
const MOST_MODULES: usize = 16;

/// Directories right beneath the workspace that are looked at for a repository: a call each.
const MOST_LOOKED_AT: usize = 64;

/// Repositories right beneath the workspace that are held: three mounts each.
const MOST_NESTED: usize = 8;
/// What becomes of a part of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It keeps its name and stays writable: what lies in it cannot be moved away.
    InPlace,
    /// Nothing in it can be changed.
    ReadOnly,
}

/// A part of the workspace that is held, and what is made if it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    pub(crate) hold: Hold,
}

/// What of a workspace must stay as it is.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Outer parts first.
    pub(crate) held: Vec<Held>,
    /// Directories that have to be made so that they can be held.
    pub(crate) missing: Vec<PathBuf>,
    /// The directories of the repositories in it.
    pub(crate) repositories: Vec<PathBuf>,
}

/// What is held of a workspace.
pub(crate) fn held(workspace: &Path, look: &impl Look) -> Result<Found, Refusal> {
    let mut all: Vec<Held> = Vec::new();
    let (mut missing, mut repositories) = (Vec::new(), Vec::new());
    let kind = |path: &Path| look.kind(&workspace.join(path));
    let mut hold = |path: PathBuf, hold| -> Result<Option<Kind>, Refusal> {
        let found = kind(&path);
        match found {
            None => {}
            Some(Kind::Link) => {
                return Err(Refusal::Unfit {
                    path: workspace.join(path),
                    reason: "is a symbolic link, which a command could replace",
                });
            }
            Some(_) => all.push(Held { path, hold }),
        }
        Ok(found)
    };
    if hold(".git".into(), Hold::InPlace)? == Some(Kind::Directory) {
        repository(Path::new(".git"), &mut hold, &mut missing)?;
        repositories.push(PathBuf::from(".git"));
        if hold(".git/modules".into(), Hold::InPlace)? == Some(Kind::Directory) {
            repositories.extend(modules(workspace, look, &mut hold, &mut missing)?);
        }
        if let Some(worktrees) = look.names(&workspace.join(".git/worktrees")) {
            for (name, _) in worktrees.into_iter().take(MOST_MODULES) {
                hold(
                    Path::new(".git/worktrees").join(name).join("config.worktree"),
                    Hold::ReadOnly,
                )?;
            }
        }
    }
    for path in data::PROTECTED.iter().filter(|path| !path.starts_with(".git/")) {
        hold(path.into(), Hold::ReadOnly)?;
    }
    // A `.git` that is a file says where the repository is.
    for held in &mut all {
        if held.path == Path::new(".git")
            && look.kind(&workspace.join(".git")) != Some(Kind::Directory)
        {
            held.hold = Hold::ReadOnly;
        }
    }
    for git in nested(workspace, look) {
        let mut hold = |path: PathBuf, hold| {
            let found = look.kind(&workspace.join(&path));
            all.extend(found.map(|_| Held { path, hold }));
            Ok(found)
        };
        hold(git.clone(), Hold::InPlace)?;
        repository(&git, &mut hold, &mut missing)?;
        repositories.push(git);
    }
    Ok(Found { held: all, missing, repositories })
}

/// The directories of repositories right beneath the workspace, as where several are checked out side by
/// side. One with links in these places is left alone: it is not the workspace's own, and would turn the
/// lane off.
fn nested(workspace: &Path, look: &impl Look) -> Vec<PathBuf> {
    let names = look.few_names(workspace).unwrap_or_default();
    let inner = names.into_iter().filter(|(name, kind)| *kind == Kind::Directory && name != ".git");
    let git = inner.take(MOST_LOOKED_AT).map(|(name, _)| Path::new(&name).join(".git"));
    let kind = |path: &Path| look.kind(&workspace.join(path));
    let plain = |git: &PathBuf| {
        kind(git) == Some(Kind::Directory)
            && data::PROTECTED
                .iter()
                .filter_map(|path| path.strip_prefix(".git/"))
                .all(|path| kind(&git.join(path)) != Some(Kind::Link))
    };
    git.filter(plain).take(MOST_NESTED).collect()
}

type Holder<'a> = dyn FnMut(PathBuf, Hold) -> Result<Option<Kind>, Refusal> + 'a;

/// The parts of one repository's directory.
fn repository(
    git: &Path,
    hold: &mut Holder<'_>,
    missing: &mut Vec<PathBuf>,
) -> Result<(), Refusal> {
    for path in data::PROTECTED.iter().filter_map(|path| path.strip_prefix(".git/")) {
        if hold(git.join(path), Hold::ReadOnly)?.is_none() && path == "hooks" {
            // A mount needs something to lie on. Git makes this directory, too.
            missing.push(git.join(path));
        }
    }
    Ok(())
}

/// The repositories of submodules that are held one by one.
fn modules(
    workspace: &Path,
    look: &impl Look,
    hold: &mut Holder<'_>,
    missing: &mut Vec<PathBuf>,
) -> Result<Vec<PathBuf>, Refusal> {
    let base = Path::new(".git/modules");
    let names = look.names(&workspace.join(base)).unwrap_or_default();
    let repositories: Vec<_> = names.iter().filter(|(_, kind)| *kind == Kind::Directory).collect();
    let plain = |name: &OsStr| look.kind(&workspace.join(base).join(name).join("HEAD")).is_some();
    // A name with a slash lies deeper, and is not worth the search.
    if repositories.len() > MOST_MODULES || !repositories.iter().all(|(name, _)| plain(name)) {
        hold(base.to_owned(), Hold::ReadOnly)?;
        return Ok(Vec::new());
    }
    let repositories: Vec<_> = repositories.iter().map(|(name, _)| base.join(name)).collect();
    for git in &repositories {
        hold(git.clone(), Hold::InPlace)?;
        repository(git, hold, missing)?;
    }
    Ok(repositories)
}

/// The repository around a workspace, or the one that it is a worktree of: they are read, and lie
/// outside. Nothing that holds `home` or is a place of everybody's counts.
pub(crate) fn around(
    workspace: &Path,
    home: Option<&Path>,
    look: &impl Look,
    read: impl Fn(&Path) -> Option<Vec<u8>>,
) -> Vec<PathBuf> {
    let common = |path: &Path| {
        let everybodys =
            data::PRIVATE.iter().chain(data::MASKS).any(|place| Path::new(place) == path);
        path.parent().is_none() || everybodys || home.is_some_and(|home| home.starts_with(path))
    };
    let mut found = Vec::new();
    let top = workspace
        .ancestors()
        .take_while(|path| !common(path))
        .find(|path| look.kind(&path.join(".git")).is_some());
    let Some(top) = top else { return found };
    if top != workspace {
        found.push(top.to_owned());
    }
    found.extend(worktree_of(top, look, &read).filter(|path| !common(path)));
    found
}

/// The common directory of the repository that `top` is a worktree of. `.git` is the workspace's
/// content; it is believed only if that repository says the same.
fn worktree_of(
    top: &Path,
    look: &impl Look,
    read: &impl Fn(&Path) -> Option<Vec<u8>>,
) -> Option<PathBuf> {
    let dot_git = top.join(".git");
    (look.kind(&dot_git) == Some(Kind::File)).then_some(())?;
    let line = |bytes: Vec<u8>| PathBuf::from(OsStr::from_bytes(bytes.trim_ascii_end()));
    let text = read(&dot_git)?;
    let own = top.join(line(text.strip_prefix(b"gitdir: ")?.to_vec()));
    let (own, _) = look.real(&own)?;
    let back = line(read(&own.join("gitdir"))?);
    (look.real(&own.join(back))?.0 == dot_git).then_some(())?;
    let shared = own.join(line(read(&own.join("commondir"))?));
    let (shared, kind) = look.real(&shared)?;
    // Git keeps it in `worktrees/<name>` of the shared directory.
    let inside = own.parent()?.parent()? == shared && own.parent()?.file_name()? == "worktrees";
    (kind == Kind::Directory && inside).then_some(shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::Fake;

    fn shown(lines: &[&str]) -> Result<(Vec<String>, Vec<PathBuf>), Refusal> {
        let Found { held, missing, .. } = held(Path::new("/w"), &Fake::new(lines))?;
        let show = |held: &Held| {
            let mark = if held.hold == Hold::ReadOnly { "" } else { " in place" };
            format!("{}{mark}", held.path.display())
        };
        Ok((held.iter().map(show).collect(), missing))
    }

    #[test]
    fn hooks_and_configuration_are_read_only_in_a_git_directory_that_stays() {
        let (held, missing) =
            shown(&["/w/.git/hooks/x", "/w/.git/config", "/w/.git/HEAD", "/w/.vscode/", "/w/src/"])
                .unwrap();
        assert_eq!(held, [".git in place", ".git/hooks", ".git/config", ".vscode"]);
        assert_eq!(missing, [""; 0].map(PathBuf::from));
    }

    #[test]
    fn hooks_that_are_missing_are_made() {
        let (_, missing) = shown(&["/w/.git/config"]).unwrap();
        assert_eq!(missing, [PathBuf::from(".git/hooks")]);
    }

    #[test]
    fn a_git_file_cannot_be_changed() {
        assert_eq!(shown(&["/w/.git"]).unwrap().0, [".git"]);
    }

    #[test]
    fn submodules_are_held_one_by_one_or_all_are_read_only() {
        let (held, _) = shown(&[
            "/w/.git/config",
            "/w/.git/hooks/",
            "/w/.git/modules/m/HEAD",
            "/w/.git/modules/m/config",
            "/w/.git/modules/m/hooks/",
        ])
        .unwrap();
        assert_eq!(
            held[3..],
            [
                ".git/modules in place",
                ".git/modules/m in place",
                ".git/modules/m/hooks",
                ".git/modules/m/config"
            ]
        );
        let (held, _) = shown(&["/w/.git/hooks/", "/w/.git/modules/deep/m/HEAD"]).unwrap();
        assert_eq!(held[2..], [".git/modules in place", ".git/modules"]);
    }

    #[test]
    fn repositories_right_beneath_are_held_unless_they_have_links() {
        let (held, missing) = shown(&[
            "/w/a/.git/config",
            "/w/a/.git/hooks/",
            "/w/b/.git/HEAD",
            "/w/c/d/.git/config",
            "/w/e/.git -> ../a/.git",
            "/w/f/.git/config -> ../../a/.git/config",
            "/w/g/.git",
        ])
        .unwrap();
        assert_eq!(held, ["a/.git in place", "a/.git/hooks", "a/.git/config", "b/.git in place"]);
        assert_eq!(missing, [PathBuf::from("b/.git/hooks")]);
    }

    #[test]
    fn what_a_command_could_replace_turns_the_lane_off() {
        for link in ["/w/.git -> /r", "/w/.git/hooks -> ../h", "/w/.claude -> x"] {
            let lines: &[&str] = if link.starts_with("/w/.git ->") {
                &["/r/", link]
            } else {
                &["/w/.git/HEAD", "/w/h/", "/w/x/", link]
            };
            assert!(shown(lines).unwrap_err().to_string().contains("symbolic link"), "{link}");
        }
    }

    #[test]
    fn a_repository_around_the_workspace_is_read_unless_it_is_everybodys() {
        let around = |workspace: &str, lines: &[&str]| {
            around(Path::new(workspace), Some(Path::new("/home/u")), &Fake::new(lines), |_| None)
        };
        assert_eq!(
            around("/home/u/r/a/b", &["/home/u/r/.git/", "/home/u/r/a/b/"]),
            [PathBuf::from("/home/u/r")]
        );
        assert!(around("/home/u/r", &["/home/u/r/.git/"]).is_empty());
        assert!(around("/home/u/r", &["/home/u/.git/", "/home/u/r/"]).is_empty());
        assert!(around("/tmp/r", &["/tmp/.git/", "/tmp/r/"]).is_empty());
    }

    #[test]
    fn a_worktree_leads_to_its_repository_only_if_that_agrees() {
        let look =
            Fake::new(&["/w/.git", "/m/.git/worktrees/w/gitdir", "/m/.git/worktrees/w/commondir"]);
        let read = |back: &'static str| {
            move |path: &Path| -> Option<Vec<u8>> {
                Some(match path.to_str()? {
                    "/w/.git" => b"gitdir: /m/.git/worktrees/w\n".to_vec(),
                    "/m/.git/worktrees/w/gitdir" => back.as_bytes().to_vec(),
                    _ => b"../..\n".to_vec(),
                })
            }
        };
        assert_eq!(
            around(Path::new("/w"), None, &look, read("/w/.git\n")),
            [PathBuf::from("/m/.git")]
        );
        assert!(around(Path::new("/w"), None, &look, read("/other/.git\n")).is_empty());
    }
}
