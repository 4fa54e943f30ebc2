//! What the kernel does with a path, as far as that can be foreseen.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::denial;
use super::target::{Reach, Target};
use crate::grants::is_carved;
use crate::lane::HostLane;
use crate::look::{Kind, Look, Machine};
use crate::roots::{Right, Root};
use stigmer_core::Denial;

/// Calls that make something.
const MAKING: &[&str] = &["open", "mkdir", "mknod", "link", "symlink", "rename"];

/// What a lane lets a command do with which paths. All paths are real paths.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    pub(crate) lane: HostLane,
    pub(crate) grants: Vec<Root>,
    pub(crate) carved: BTreeSet<PathBuf>,
    /// Parts of what may be written that are read-only.
    pub(crate) held: Vec<PathBuf>,
    /// Parts of it that keep their names.
    pub(crate) in_place: Vec<PathBuf>,
    /// What is not there and must not come to be.
    pub(crate) absent: Vec<PathBuf>,
    pub(crate) workspace: PathBuf,
    /// The repository that the workspace is a part or a worktree of, outside of it.
    pub(crate) repositories: Vec<PathBuf>,
    /// What has other content for the command than for us.
    pub(crate) private: Vec<PathBuf>,
    /// Parts of that which are covered and cannot be written.
    pub(crate) fences: Vec<PathBuf>,
    pub(crate) devices: Vec<PathBuf>,
    /// Start-up files in whose place a shell gets another, and what is in that.
    pub(crate) replaced: Vec<(PathBuf, Vec<u8>)>,
}

impl Judge {
    /// What is denied about a target; `None` if the kernel lets it pass, or fails it for a reason that
    /// has nothing to do with the lane.
    pub(crate) fn denied(&self, call: &str, target: Target) -> Option<Denial> {
        let read_only = self.lane == HostLane::ReadOnly;
        match target {
            Target::Write(path) => {
                let real = self.outside(&followed(call, &path), true)?;
                if MAKING.contains(&call) && self.is_absent(&real) {
                    return Some(denial(call, path, libc::EROFS));
                }
                // It is there, which the kernel says before all else.
                if ["mkdir", "mknod", "symlink"].contains(&call) && Machine.kind(&real).is_some() {
                    return None;
                }
                // A mount lies on it. `mv` and `rmdir` do not follow a link at the end, so neither do we.
                if ["rename", "unlink"].contains(&call) && self.in_place.contains(&path) {
                    let kept =
                        call == "unlink" && Machine.names(&path).is_some_and(|it| !it.is_empty());
                    // A directory with something in it would not be removed anywhere.
                    return (!kept).then(|| denial(call, path, libc::EBUSY));
                }
                let allowed = self.is_device(&path, &real) || self.may_write(&real);
                let error = if read_only { libc::EACCES } else { libc::EROFS };
                (!allowed).then(|| denial(call, path, error))
            }
            Target::Read(path) => {
                let real = self.outside(&path, false)?;
                // Any directory may be listed.
                let listed = || Machine.kind(&real) == Some(Kind::Directory);
                let allowed =
                    self.is_device(&path, &real) || self.may(&real, Right::Read) || listed();
                (!allowed).then(|| denial("read", path, libc::EACCES))
            }
            Target::Execute(path) => {
                let real = self.outside(&path, false)?;
                let kind = Machine.kind(&real);
                let allowed = kind != Some(Kind::File) || self.may(&real, Right::Execute);
                (!allowed).then(|| denial(call, path, libc::EACCES))
            }
            Target::Socket(path) => {
                let real = self.outside(&path, false)?;
                // Its own sockets lie where it may write.
                (!self.may_write(&real)).then(|| denial(call, path, libc::EACCES))
            }
            Target::Abstract(name) => {
                let ours = known_abstract(&name);
                ours.then(|| denial(call, Target::Abstract(name).shown(), libc::ECONNREFUSED))
            }
            Target::Network(_, Reach::Loopback) => None,
            Target::Network(address, Reach::Outside) => {
                Some(denial(call, address.into(), libc::ENETUNREACH))
            }
        }
    }

    /// What a shell that reads a file gets in its place.
    pub(crate) fn replacement(&self, path: &Path) -> Option<&[u8]> {
        if self.replaced.is_empty() {
            return None;
        }
        let real = self.outside(path, false)?;
        let found = self.replaced.iter().find(|(path, _)| *path == real);
        found.map(|(_, content)| content.as_slice())
    }

    /// Whether something was denied because it is to stay absent, or as it is: a mount that holds a file falls
    /// off when somebody outside replaces the file, as `git config` does.
    pub(crate) fn keeps(&self, denial: &Denial) -> bool {
        let path = denial.path.as_ref().map(|path| Path::new(OsStr::from_bytes(path.as_bytes())));
        let real = path.and_then(|path| self.outside(&followed(&denial.call, path), true));
        let making = MAKING.contains(&denial.call.as_str());
        let writes = denial.call != "read" && self.lane == HostLane::Workspace;
        real.is_some_and(|real| {
            making && self.is_absent(&real)
                || writes && self.held.iter().any(|held| real.starts_with(held))
        })
    }

    fn is_absent(&self, real: &Path) -> bool {
        self.absent.iter().any(|path| real.starts_with(path))
    }

    /// The `.git` in the workspace that a call would make where there is none.
    pub(crate) fn begins(&self, call: &str, path: &Path) -> Option<PathBuf> {
        let git = path.file_name() == Some(OsStr::new(".git")) && MAKING.contains(&call);
        if !git || self.lane != HostLane::Workspace || Machine.kind(path).is_some() {
            return None;
        }
        let real = self.outside(path, true)?;
        real.starts_with(&self.workspace).then_some(real)
    }

    /// Whether it is about the repository that the workspace is only a part or a worktree of: what fails
    /// there is what git was called for.
    pub(crate) fn is_repositorys(&self, denial: &Denial) -> bool {
        let Some(path) = &denial.path else { return false };
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        let outer = self.repositories.iter().any(|outer| path.starts_with(outer));
        self.lane == HostLane::Workspace && outer && !path.starts_with(&self.workspace)
    }

    /// A device by its name, or by where that leads (`/dev/ptmx`).
    fn is_device(&self, path: &Path, real: &Path) -> bool {
        self.devices.iter().any(|device| device == path || device == real)
    }

    /// Where a path leads, if that is the same for the command and for us, and is there. What would be
    /// made need not be there, but what it would be made in.
    fn outside(&self, path: &Path, made: bool) -> Option<PathBuf> {
        let beneath = |all: &[PathBuf], path: &Path| all.iter().any(|one| path.starts_with(one));
        let own = |path: &Path| beneath(&self.private, path) && !beneath(&self.fences, path);
        let seen = |path: &Path| !own(path) || self.within_grant(path);
        if !seen(path) || path.starts_with("/proc") && self.lane == HostLane::Workspace && !made {
            return None;
        }
        let real = match Machine.real(path) {
            Some((real, _)) => real,
            None if made => {
                let (parent, kind) = Machine.real(path.parent()?)?;
                if kind != Kind::Directory {
                    return None;
                }
                parent.join(path.file_name()?)
            }
            None => return None,
        };
        seen(&real).then_some(real)
    }

    fn within_grant(&self, path: &Path) -> bool {
        self.grants.iter().any(|grant| grant.right > Right::List && path.starts_with(&grant.path))
    }

    /// Whether a program may be executed that is there.
    pub(crate) fn may_execute(&self, path: &Path) -> bool {
        self.outside(path, false).is_some_and(|real| self.may(&real, Right::Execute))
    }

    fn may(&self, path: &Path, right: Right) -> bool {
        let granted = |grant: &Root| grant.right >= right && path.starts_with(&grant.path);
        let listed = |grant: &Root| grant.right == Right::List && path == grant.path;
        let all = &self.grants;
        let scratch = |grant: &Root| grant.right == Right::Scratch && right == Right::Execute;
        all.iter().any(|grant| granted(grant) && !scratch(grant)) && !is_carved(path, &self.carved)
            || right == Right::Read && all.iter().any(listed)
    }

    fn may_write(&self, path: &Path) -> bool {
        let held = self.held.iter().any(|held| path.starts_with(held));
        let granted = |grant: &Root| grant.right >= Right::Scratch && path.starts_with(&grant.path);
        !held && self.grants.iter().any(granted) && !is_carved(path, &self.carved)
    }
}

/// Where what a call makes comes to be: who opens a link to nothing makes what it leads to.
fn followed(call: &str, path: &Path) -> PathBuf {
    /// As the kernel does (`path_resolution(7)`).
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..if call == "open" { MOST } else { 0 } {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    path
}

/// Whether this network namespace has an abstract socket of a name (`unix(7)`, `/proc/net/unix`).
fn known_abstract(name: &[u8]) -> bool {
    let Ok(list) = std::fs::read("/proc/net/unix") else { return false };
    let mut wanted = b"@".to_vec();
    // The kernel shows other zero bytes as `@`, too.
    wanted.extend(name.iter().map(|byte| if *byte == 0 { b'@' } else { *byte }));
    list.split(|byte| *byte == b'\n')
        .any(|line| line.split(|byte| *byte == b' ').next_back() == Some(&wanted[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lane: HostLane, root: &Path) -> Judge {
        let grant =
            |path: &str, right| Root { path: root.join(path), kind: Kind::Directory, right };
        Judge {
            lane,
            grants: vec![
                grant("w", if lane == HostLane::ReadOnly { Right::Read } else { Right::Write }),
                grant("t", Right::Execute),
                grant("s", Right::Scratch),
            ],
            carved: BTreeSet::from([root.join("t/key")]),
            held: vec![root.join("w/.git/hooks")],
            in_place: vec![root.join("w/.git")],
            absent: vec![root.join("w/.git/commondir")],
            workspace: root.join("w"),
            repositories: vec![root.join("o")],
            fences: Vec::new(),
            private: Vec::new(),
            devices: vec!["/dev/null".into()],
            replaced: Vec::new(),
        }
    }

    fn fixture() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = directory.path().canonicalize().unwrap();
        for path in ["w/.git/hooks", "t", "s", "o"] {
            std::fs::create_dir_all(root.join(path)).unwrap();
        }
        for path in ["w/f", "t/key", "t/x", "o/f", "s/x"] {
            std::fs::write(root.join(path), "x").unwrap();
        }
        std::os::unix::fs::symlink(root.join("o/f"), root.join("w/link")).unwrap();
        (directory, root)
    }

    #[test]
    fn what_is_to_stay_absent_is_refused_by_any_name_and_nothing_else_about_it() {
        let (_keep, root) = fixture();
        std::os::unix::fs::symlink(".git/commondir", root.join("w/to")).unwrap();
        std::os::unix::fs::symlink(".git", root.join("w/g")).unwrap();
        let judge = judge(HostLane::Workspace, &root);
        for (call, path, refused) in [
            ("open", "w/.git/commondir", true),
            ("open", "w/to", true),
            ("open", "w/g/commondir", true),
            ("rename", "w/.git/commondir", true),
            ("rename", "w/to", false),
            ("symlink", "w/g/commondir", true),
            ("mkdir", "w/.git/commondir", true),
            ("unlink", "w/.git/commondir", false),
            ("open", "w/.git/commondirs", false),
        ] {
            let denied = judge.denied(call, Target::Write(root.join(path)));
            assert_eq!(denied.is_some(), refused, "{call} {path}");
            assert!(denied.is_none_or(|denied| judge.keeps(&denied)), "{call} {path}");
        }
        let refused = |path| judge.denied("open", Target::Write(root.join(path))).unwrap();
        assert!(judge.keeps(&refused("w/.git/hooks/x")), "what is held is refused, too");
        assert!(!judge.keeps(&refused("o/f")), "what the kernel alone refuses");
    }

    #[test]
    fn a_directory_that_nobody_could_remove_was_not_refused() {
        let (_keep, root) = fixture();
        let judge = judge(HostLane::Workspace, &root);
        let denied = |call| judge.denied(call, Target::Write(root.join("w/.git")));
        assert_eq!(denied("unlink"), None);
        assert_eq!(denied("rename").map(|denied| denied.errno), Some(libc::EBUSY));
        std::fs::remove_dir(root.join("w/.git/hooks")).unwrap();
        assert_eq!(denied("unlink").map(|denied| denied.errno), Some(libc::EBUSY));
    }

    #[test]
    fn what_fails_in_the_repository_around_is_no_probe() {
        let (_keep, root) = fixture();
        let about = |path: &str| denial("open", root.join(path), libc::EROFS);
        let workspace = judge(HostLane::Workspace, &root);
        assert!(workspace.is_repositorys(&about("o/.git/index.lock")));
        assert!(!workspace.is_repositorys(&about("w/.git/index.lock")));
        assert!(!workspace.is_repositorys(&about("t/.git/index.lock")));
        let read_only = judge(HostLane::ReadOnly, &root);
        assert!(!read_only.is_repositorys(&about("o/.git/index.lock")));
    }

    #[test]
    fn each_path_is_judged_as_the_kernel_does() {
        let (_keep, root) = fixture();
        let judged = |lane, target: fn(PathBuf) -> Target, path: &str| {
            judge(lane, &root).denied("x", target(root.join(path))).map(|denial| denial.errno)
        };
        let (read_only, workspace) = (HostLane::ReadOnly, HostLane::Workspace);
        for (lane, target, path, expected) in [
            (read_only, Target::Write as fn(PathBuf) -> Target, "w/f", Some(libc::EACCES)),
            (read_only, Target::Write, "s/new", None),
            (workspace, Target::Write, "w/f", None),
            (workspace, Target::Write, "w/new", None),
            (workspace, Target::Write, "w/missing/new", None),
            (workspace, Target::Write, "w/.git/hooks/x", Some(libc::EROFS)),
            (workspace, Target::Write, "o/new", Some(libc::EROFS)),
            (workspace, Target::Write, "w/link", Some(libc::EROFS)),
            (workspace, Target::Write, "t/x", Some(libc::EROFS)),
            (workspace, Target::Read, "t/x", None),
            (workspace, Target::Read, "t/key", Some(libc::EACCES)),
            (workspace, Target::Read, "o/f", Some(libc::EACCES)),
            (workspace, Target::Read, "o/missing", None),
            (read_only, Target::Execute, "t/x", None),
            (read_only, Target::Execute, "w/f", Some(libc::EACCES)),
            (read_only, Target::Execute, "s/x", Some(libc::EACCES)),
            (workspace, Target::Execute, "w/f", None),
            (workspace, Target::Execute, "w/missing", None),
        ] {
            assert_eq!(judged(lane, target, path), expected, "{lane} {path}");
        }
        let made = |path: &str| {
            let target = Target::Write(root.join(path));
            judge(workspace, &root).denied("mkdir", target).map(|denial| denial.errno)
        };
        assert_eq!((made("o"), made("o/new")), (None, Some(libc::EROFS)), "what is there is there");
        let device = judge(read_only, &root).denied("open", Target::Write("/dev/null".into()));
        assert_eq!(device, None);
    }
}
