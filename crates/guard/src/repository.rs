//! What of a workspace's repositories must stay as it is, and what of them lies elsewhere.
//!
//! What git obeys is more than `.git/config` and `.git/hooks`: files that lead to other directories
//! (gitrepository-layout(5)), and what the configuration names. All of it is found from files that are held
//! themselves, so that no command can hide from the next one what belongs to it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::data;
use crate::lane::Refusal;
use crate::look::{Kind, Look};
use crate::settings::{Read, Settings};

/// Repositories of submodules that are held one by one. With more, all of them are read-only.
const MOST_MODULES: usize = 16;

/// Submodules in submodules; what lies deeper is read-only.
const DEEPEST: usize = 3;

/// Directories right beneath the workspace that are looked at for a repository: a call each.
const MOST_LOOKED_AT: usize = 64;

/// Repositories right beneath the workspace that are held: some mounts each.
const MOST_NESTED: usize = 8;

/// Parts that are held: a mount each, some ten microseconds.
const MOST_HELD: usize = 512;

/// What becomes of a part of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// Nothing in it can be changed.
    ReadOnly,
    /// It keeps its name and stays writable: what lies in it cannot be moved away.
    InPlace,
}

/// A part of the workspace that is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Held {
    /// Relative to the workspace.
    pub(crate) path: PathBuf,
    pub(crate) hold: Hold,
}

/// What of a workspace must stay as it is. Paths are relative to it.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Outer parts first.
    pub(crate) held: Vec<Held>,
    /// Directories and files that have to be made, empty, so that they can be held. Outer ones first.
    pub(crate) missing: Vec<(PathBuf, Kind)>,
    /// What is not there and must not come to be, and cannot be made either: git would go by it.
    pub(crate) absent: Vec<PathBuf>,
}

/// What is held of a workspace.
pub(crate) fn held(
    workspace: &Path,
    home: Option<&Path>,
    look: &impl Look,
    read: &Read<'_>,
) -> Result<Found, Refusal> {
    let (own, seen, found) = (Vec::new(), Vec::new(), Found::default());
    let mut search = Search { workspace, home, look, read, own, seen, found };
    search.personal()?;
    match search.hold(Path::new(".git"), Hold::InPlace)? {
        Some(Kind::Directory) => search.repository(Path::new(".git"), Some(workspace), 0)?,
        // It says where the repository is.
        Some(_) => search.git_file(Path::new(".git"), 0)?,
        None if search.is_bare(Path::new("")) => search.repository(Path::new(""), None, 0)?,
        None => {}
    }
    search.outer()?;
    for path in data::PROTECTED.iter().filter(|path| !path.starts_with(".git/")) {
        search.hold(Path::new(path), Hold::ReadOnly)?;
    }
    search.nested()?;
    let found = search.found.in_order();
    if found.held.len() > MOST_HELD {
        let reason = "has more repositories than can be held";
        return Err(Refusal::Unfit { path: workspace.to_owned(), reason });
    }
    Ok(found)
}

impl Found {
    /// Each part once, as strictly as it is to be held, and nothing that lies in what is read-only.
    fn in_order(mut self) -> Self {
        self.held.sort_unstable();
        self.held.dedup_by(|next, kept| next.path == kept.path);
        let mut strict: Vec<PathBuf> = Vec::new();
        for held in self.held.iter().filter(|held| held.hold == Hold::ReadOnly) {
            if strict.last().is_none_or(|outer| !held.path.starts_with(outer)) {
                strict.push(held.path.clone());
            }
        }
        let within = |path: &Path| {
            strict.iter().any(|outer| path != outer.as_path() && path.starts_with(outer))
        };
        self.held.retain(|held| !within(&held.path));
        self.missing.retain(|(path, _)| !within(path));
        self.missing.dedup();
        self.absent.retain(|path| !within(path));
        self
    }
}

/// A path without `.` and `..`, as it leads where no part is a link.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The path in a file of one line.
fn line(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes.trim_ascii_end()))
}

struct Search<'a, L> {
    workspace: &'a Path,
    home: Option<&'a Path>,
    look: &'a L,
    read: &'a Read<'a>,
    /// Directories of hooks that the caller has for all repositories.
    own: Vec<PathBuf>,
    /// Repositories that were looked at.
    seen: Vec<PathBuf>,
    found: Found,
}

impl<L: Look> Search<'_, L> {
    fn kind(&self, path: &Path) -> Option<Kind> {
        self.look.kind(&self.workspace.join(path))
    }

    fn directories(&self, path: &Path) -> Vec<PathBuf> {
        let names = self.look.names(&self.workspace.join(path)).unwrap_or_default();
        let inner = names.into_iter().filter(|(_, kind)| *kind == Kind::Directory);
        inner.map(|(name, _)| path.join(name)).collect()
    }

    /// Holds a part of the workspace, and all that leads to it: who renames a directory moves what is held
    /// in it. Returns what it is.
    fn hold(&mut self, path: &Path, hold: Hold) -> Result<Option<Kind>, Refusal> {
        let Some(kind) = self.kind(path) else { return Ok(None) };
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.retain(|path| !path.as_os_str().is_empty());
        for outer in above {
            if !self.found.held.iter().any(|held| held.path == outer) {
                self.solid(outer, self.kind(outer))?;
                self.found.held.push(Held { path: outer.to_owned(), hold: Hold::InPlace });
            }
        }
        self.solid(path, Some(kind))?;
        self.found.held.push(Held { path: path.to_owned(), hold });
        Ok(Some(kind))
    }

    fn solid(&self, path: &Path, kind: Option<Kind>) -> Result<(), Refusal> {
        if kind == Some(Kind::Link) {
            return Err(self.unfit(path, "is a symbolic link, which a command could replace"));
        }
        Ok(())
    }

    fn unfit(&self, path: &Path, reason: &'static str) -> Refusal {
        Refusal::Unfit { path: self.workspace.join(path), reason }
    }

    /// Where a path leads in the workspace, if it does.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let inner = |path: &Path| path.strip_prefix(self.workspace).map(Path::to_owned).ok();
        // It may be named by another way that leads there.
        inner(&plain(path)).or_else(|| inner(&self.look.real(path)?.0))
    }

    fn settings(&self, files: &[PathBuf]) -> Result<Settings, Refusal> {
        let mut settings = Settings::default();
        for file in files {
            settings.read(file, self.home, self.read).map_err(|_| Refusal::Unfit {
                path: file.clone(),
                reason: "is no configuration of git's that can be read",
            })?;
        }
        Ok(settings)
    }

    /// The caller's own settings, which hold for all repositories.
    fn personal(&mut self) -> Result<(), Refusal> {
        let Some(home) = self.home else { return Ok(()) };
        let settings =
            self.settings(&[".config/git/config", ".gitconfig"].map(|name| home.join(name)))?;
        self.own.clone_from(&settings.hooks);
        self.included(&settings)
    }

    /// Holds the files that settings include.
    fn included(&mut self, settings: &Settings) -> Result<(), Refusal> {
        for file in &settings.included {
            if let Some(path) = self.inside(file) {
                self.keep(&path, Kind::File)?;
            }
        }
        Ok(())
    }

    /// Holds the directories of hooks, which are named from where git works.
    fn hooks(&mut self, settings: &Settings, work: &Path) -> Result<(), Refusal> {
        let named = settings.hooks.iter().chain(&self.own).map(|hooks| work.join(hooks));
        for hooks in named.collect::<Vec<_>>() {
            if let Some(path) = self.inside(&hooks) {
                self.keep(&path, Kind::Directory)?;
            }
        }
        Ok(())
    }

    /// Holds what settings name. What is missing is made, but for a file: an empty one would show.
    fn keep(&mut self, path: &Path, kind: Kind) -> Result<(), Refusal> {
        if path.as_os_str().is_empty() || path == Path::new(".git") {
            return Err(self.unfit(path, "has git's hooks among other files, and cannot be held"));
        }
        let mut parts: Vec<&Path> = path.ancestors().collect();
        parts.retain(|path| !path.as_os_str().is_empty());
        for part in parts.into_iter().rev() {
            match self.kind(part) {
                Some(Kind::Directory) if part != path => {
                    self.hold(part, Hold::InPlace)?;
                }
                Some(_) => return self.hold(part, Hold::ReadOnly).map(drop),
                None if part == path && kind == Kind::File => {
                    self.found.absent.push(part.to_owned());
                }
                None => self.found.missing.push((part.to_owned(), Kind::Directory)),
            }
        }
        Ok(())
    }

    /// The parts of one repository's directory, and what belongs to it elsewhere.
    fn repository(&mut self, git: &Path, work: Option<&Path>, depth: usize) -> Result<(), Refusal> {
        if self.seen.iter().any(|seen| seen == git) {
            return Ok(());
        }
        self.seen.push(git.to_owned());
        if !git.as_os_str().is_empty() {
            self.hold(git, Hold::InPlace)?;
        }
        let at = self.workspace.join(git);
        let settings = self.settings(&["config", "config.worktree"].map(|name| at.join(name)))?;
        for name in data::PROTECTED.iter().filter_map(|path| path.strip_prefix(".git/")) {
            let path = git.join(name);
            if self.hold(&path, Hold::ReadOnly)?.is_none() {
                match name {
                    // Git makes this directory, too.
                    "hooks" => self.found.missing.push((path, Kind::Directory)),
                    "config.worktree" if settings.per_worktree => {
                        self.found.missing.push((path, Kind::File));
                    }
                    _ => self.found.absent.push(path),
                }
            }
        }
        let own = settings.work_tree.as_ref().map(|path| plain(&at.join(path)));
        let work = own.as_deref().or(work);
        self.included(&settings)?;
        self.hooks(&settings, work.unwrap_or(&at))?;
        if let Some(path) = own.as_ref().and_then(|own| self.inside(&own.join(".git"))) {
            self.git_file(&path, depth)?;
        }
        self.worktrees(git, &settings)?;
        self.submodules(git, work, &settings, depth)
    }

    /// What a repository has of its other worktrees.
    fn worktrees(&mut self, git: &Path, settings: &Settings) -> Result<(), Refusal> {
        for own in self.directories(&git.join("worktrees")) {
            for name in ["commondir", "gitdir", "config.worktree"] {
                let path = own.join(name);
                if self.hold(&path, Hold::ReadOnly)?.is_none() {
                    match name {
                        "config.worktree" if settings.per_worktree => {
                            self.found.missing.push((path, Kind::File));
                        }
                        _ => self.found.absent.push(path),
                    }
                }
            }
            let at = self.workspace.join(&own);
            let more = self.settings(&[at.join("config.worktree")])?;
            self.included(&more)?;
            let Some(text) = (self.read)(&at.join("gitdir")) else { continue };
            let Some(git_file) = self.inside(&at.join(line(&text))) else { continue };
            if self.kind(&git_file) == Some(Kind::File) {
                self.hold(&git_file, Hold::ReadOnly)?;
                let work = self.workspace.join(&git_file);
                let work = work.parent().unwrap_or(self.workspace);
                self.hooks(settings, work)?;
                self.hooks(&more, work)?;
            }
        }
        Ok(())
    }

    /// The repositories of submodules, and the files that lead to them.
    fn submodules(
        &mut self,
        git: &Path,
        work: Option<&Path>,
        settings: &Settings,
        depth: usize,
    ) -> Result<(), Refusal> {
        let base = git.join("modules");
        if self.kind(&base).is_some() {
            self.hold(&base, Hold::InPlace)?;
            let named = settings.submodules.iter().map(|name| plain(&base.join(name)));
            let named = named.filter(|path| path.starts_with(&base));
            let is_repository = |path: &PathBuf| self.kind(&path.join("HEAD")).is_some();
            let named: Vec<_> = named.filter(is_repository).collect();
            let mut all = self.directories(&base);
            // A name with a slash lies deeper, and is not worth the search if nothing names it.
            let known = |path: &PathBuf| {
                is_repository(path) || named.iter().any(|inner| inner.starts_with(path))
            };
            if all.len().max(named.len()) > MOST_MODULES
                || !all.iter().all(known)
                || depth == DEEPEST
            {
                self.hold(&base, Hold::ReadOnly)?;
            }
            all.extend(named);
            for module in all.into_iter().filter(|_| depth < DEEPEST) {
                if self.kind(&module.join("HEAD")).is_some() {
                    self.repository(&module, None, depth + 1)?;
                }
            }
        }
        // Those that have their repository in themselves. The file may be changed by commands, so it is
        // not relied upon.
        let Some(work) = work.filter(|_| depth < DEEPEST) else { return Ok(()) };
        let mut listed = Settings::default();
        let read = listed.read(&work.join(".gitmodules"), None, self.read);
        for path in read.map(|()| listed.paths).unwrap_or_default() {
            if let Some(path) = self.inside(&work.join(path).join(".git")) {
                self.git_file(&path, depth + 1)?;
            }
        }
        Ok(())
    }

    /// A `.git` in a directory: a file says where the repository is.
    fn git_file(&mut self, path: &Path, depth: usize) -> Result<(), Refusal> {
        let at = self.workspace.join(path);
        let work = at.parent().unwrap_or(self.workspace);
        match self.kind(path) {
            Some(Kind::Directory) => return self.repository(path, Some(work), depth),
            Some(Kind::File) => self.hold(path, Hold::ReadOnly)?,
            _ => return Ok(()),
        };
        let Some(text) = (self.read)(&at) else { return Ok(()) };
        let Some(own) = text.strip_prefix(b"gitdir: ") else { return Ok(()) };
        let Some(own) = self.inside(&work.join(line(own))) else { return Ok(()) };
        // A worktree's is held with the repository that it belongs to.
        let whole =
            self.kind(&own) == Some(Kind::Directory) && self.kind(&own.join("commondir")).is_none();
        if whole && depth < DEEPEST {
            self.repository(&own, Some(work), depth + 1)?;
        }
        Ok(())
    }

    /// What of the workspace is named by a repository that it is a part or a worktree of.
    fn outer(&mut self) -> Result<(), Refusal> {
        let mut above = self.workspace.ancestors();
        let Some(top) = above.find(|path| self.look.kind(&path.join(".git")).is_some()) else {
            return Ok(());
        };
        let entry = top.join(".git");
        let own = match self.look.kind(&entry) {
            Some(Kind::File) => {
                let text = (self.read)(&entry).unwrap_or_default();
                let Some(own) = text.strip_prefix(b"gitdir: ") else { return Ok(()) };
                plain(&top.join(line(own)))
            }
            _ if top == self.workspace => return Ok(()),
            _ => entry,
        };
        let common = (self.read)(&own.join("commondir"));
        let common = common.map_or_else(|| own.clone(), |text| own.join(line(&text)));
        let settings = self.settings(&[common.join("config"), own.join("config.worktree")])?;
        self.included(&settings)?;
        self.hooks(&settings, top)
    }

    fn is_bare(&self, place: &Path) -> bool {
        let directory = |name| self.kind(&place.join(name)) == Some(Kind::Directory);
        self.kind(&place.join("HEAD")).is_some() && directory("objects") && directory("refs")
    }

    /// The repositories right beneath the workspace, as where several are checked out side by side. One
    /// with links in these places is left alone: it is not the workspace's own, and would turn the lane
    /// off.
    fn nested(&mut self) -> Result<(), Refusal> {
        let names = self.look.few_names(self.workspace).unwrap_or_default();
        let inner =
            names.into_iter().filter(|(name, kind)| *kind == Kind::Directory && name != ".git");
        let mut held = 0;
        for (name, _) in inner.take(MOST_LOOKED_AT) {
            let place = PathBuf::from(name);
            let git = place.join(".git");
            let bare = place.extension().is_some_and(|end| end == "git") && self.is_bare(&place);
            let repository = match self.kind(&git) {
                Some(Kind::File) => {
                    self.git_file(&git, 0)?;
                    continue;
                }
                Some(Kind::Directory) => git,
                _ if bare => place.clone(),
                _ => continue,
            };
            let mut places = data::PROTECTED.iter().filter_map(|path| path.strip_prefix(".git/"));
            if held < MOST_NESTED
                && places.all(|path| self.kind(&repository.join(path)) != Some(Kind::Link))
            {
                held += 1;
                let work = self.workspace.join(place);
                self.repository(&repository, (!bare).then_some(&work), 0)?;
            }
        }
        Ok(())
    }
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
    let text = read(&dot_git)?;
    let own = top.join(line(text.strip_prefix(b"gitdir: ")?));
    let (own, _) = look.real(&own)?;
    let back = line(&read(&own.join("gitdir"))?);
    (look.real(&own.join(back))?.0 == dot_git).then_some(())?;
    let shared = own.join(line(&read(&own.join("commondir"))?));
    let (shared, kind) = look.real(&shared)?;
    // Git keeps it in `worktrees/<name>` of the shared directory.
    let inside = own.parent()?.parent()? == shared && own.parent()?.file_name()? == "worktrees";
    (kind == Kind::Directory && inside).then_some(shared)
}

#[cfg(test)]
#[path = "repository_tests.rs"]
mod tests;
