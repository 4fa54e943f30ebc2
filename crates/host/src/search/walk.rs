//! Proposing names: ripgrep's walker with ripgrep's settings.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};
use stigmer_core::{ErrorCode, FilePath, Result, ToolError, limits};

use super::ignore_files::unfit_ignore_file;
use crate::Root;

/// What to leave out of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// What ripgrep leaves out: hidden files, and what ignore files name.
    Ripgrep,
    /// Nothing.
    None,
}

impl Rules {
    pub(super) fn new(ignore_rules: bool) -> Self {
        if ignore_rules { Self::Ripgrep } else { Self::None }
    }
}

/// Directories to walk, relative to the root.
#[derive(Debug)]
pub(super) struct Walk<'r> {
    root: &'r Root,
    rules: Rules,
    /// The root's path with a `/` at its end.
    prefix: Vec<u8>,
    unfit: Unfit,
}

/// Directories that were left out because an ignore file in them must not be read.
type Unfit = Arc<Mutex<Vec<(PathBuf, ToolError)>>>;

impl<'r> Walk<'r> {
    pub(super) fn new(root: &'r Root, rules: Rules) -> Self {
        let mut prefix = root.path().as_os_str().as_bytes().to_vec();
        if prefix.last() != Some(&b'/') {
            prefix.push(b'/');
        }
        Self { root, rules, prefix, unfit: Unfit::default() }
    }

    /// A builder for `directories`, which must have been opened once beneath the root.
    ///
    /// # Errors
    /// `not_a_file`, `too_large` for an ignore file of a directory or of one above it.
    pub(super) fn builder(&self, directories: &BTreeSet<PathBuf>) -> Result<WalkBuilder> {
        let paths = directories.iter().map(|directory| self.absolute(directory));
        let mut builder = WalkBuilder::from_iter(paths);
        // Links are never followed, so a walk cannot be led out of the root by one that stays.
        builder.standard_filters(false).follow_links(false);
        if self.rules == Rules::None {
            return Ok(builder);
        }
        // ripgrep's defaults (`crates/core/flags/hiargs.rs`, `walk_builder`). It matches global
        // excludes against the directory that it was started in, which for us is the root.
        builder
            .hidden(true)
            .parents(true)
            .ignore(true)
            .git_global(true)
            .git_ignore(true)
            .git_exclude(true)
            .require_git(true)
            .current_dir(self.root.path())
            .add_custom_ignore_filename(".rgignore");
        for directory in directories {
            // As the walker does, which looks above the root too, and even with `parents(false)`.
            // What cannot be found it cannot read either.
            let Ok(directory) = self.absolute(directory).canonicalize() else { continue };
            for above in directory.ancestors() {
                self.check_ignore_files(above)?;
            }
        }
        // The walker opens ignore files with a plain `open(2)`: a FIFO would hang it for ever and
        // `/dev/zero` would eat all memory. It reads them before it shows us the directory, so
        // they are looked at here, which is the last moment before.
        let (prefix, unfit) = (self.prefix.clone(), Arc::clone(&self.unfit));
        let root = self.root.path().to_owned();
        builder.filter_entry(move |entry| {
            if !entry.file_type().is_some_and(|kind| kind.is_dir()) {
                return true;
            }
            let found = unfit_ignore_file(entry.path(), Some(&root));
            let Some((name, error)) = found else { return true };
            let Some(directory) = strip(&prefix, entry.path()) else { return false };
            let mut unfit = unfit.lock().unwrap_or_else(PoisonError::into_inner);
            unfit.push((directory.to_owned(), error.at(&directory.join(name), &root)));
            false
        });
        Ok(builder)
    }

    /// A proposed path relative to the root.
    pub(super) fn relative<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        strip(&self.prefix, path)
    }

    /// Directories that were left out though no rule says so, in order, with the reason.
    pub(super) fn unfit(&self) -> Vec<(PathBuf, ToolError)> {
        let mut unfit =
            std::mem::take(&mut *self.unfit.lock().unwrap_or_else(PoisonError::into_inner));
        unfit.sort_by(|(left, _), (right, _)| left.as_os_str().cmp(right.as_os_str()));
        unfit
    }

    fn absolute(&self, directory: &Path) -> PathBuf {
        if directory.as_os_str().is_empty() {
            self.root.path().to_owned()
        } else {
            self.root.path().join(directory)
        }
    }

    /// Checks a directory by its absolute path; one above the root need not keep to the root, for
    /// the tree's maker has no say in it.
    fn check_ignore_files(&self, directory: &Path) -> Result<()> {
        let root = self.root.path();
        let relative = self.relative(directory);
        match unfit_ignore_file(directory, relative.map(|_| root)) {
            Some((name, error)) => Err(error.at(&relative.unwrap_or(directory).join(name), root)),
            None => Ok(()),
        }
    }
}

fn strip<'p>(prefix: &[u8], path: &'p Path) -> Option<&'p Path> {
    let path = path.as_os_str().as_bytes();
    match path.strip_prefix(prefix) {
        Some(relative) => Some(Path::new(OsStr::from_bytes(relative))),
        None if path == prefix.strip_suffix(b"/")? => Some(Path::new("")),
        None => None,
    }
}

/// The directories that a request names, relative to the root; without any, the root itself.
///
/// One that lies in another is kept: a link or an ignore rule may keep the other's walk from it.
///
/// # Errors
/// `not_found`, `not_a_directory`, `outside_workspace`, `permission_denied`.
pub(super) fn directories(root: &Root, paths: &[FilePath]) -> Result<BTreeSet<PathBuf>> {
    let mut directories = BTreeSet::new();
    for path in paths {
        let relative = root.relative(path)?;
        root.open_directory(&relative)?;
        directories.insert(relative);
    }
    if paths.is_empty() {
        directories.insert(PathBuf::new());
    }
    Ok(directories)
}

/// ripgrep's `--glob include --glob !exclude`, matched from the root.
///
/// # Errors
/// `bad_glob`.
pub(super) fn overrides(root: &Root, include: &[String], exclude: &[String]) -> Result<Override> {
    let mut builder = OverrideBuilder::new(root.path());
    // The excludes come last, because the last glob that matches decides.
    for glob in include {
        // These two would make it an exclude, or a comment.
        let escaped = match glob.as_bytes().first() {
            Some(b'!' | b'#') => format!("\\{glob}"),
            _ => glob.clone(),
        };
        check_glob(glob)?;
        builder.add(&escaped).map_err(|error| bad_glob(glob, &error))?;
    }
    for glob in exclude {
        check_glob(glob)?;
        builder.add(&format!("!{glob}")).map_err(|error| bad_glob(glob, &error))?;
    }
    builder.build().map_err(|error| ToolError::new(ErrorCode::BadGlob, error.to_string()))
}

/// # Errors
/// `bad_glob` for an empty glob, `invalid_argument` for one that is too long.
pub(super) fn check_glob(glob: &str) -> Result<()> {
    if glob.trim().is_empty() {
        return Err(bad_glob(glob, &"it is empty").with_hint("`**` names every file"));
    }
    check_length("glob", glob.len())
}

/// # Errors
/// `invalid_argument`.
pub(super) fn check_length(argument: &str, length: usize) -> Result<()> {
    if length <= limits::MAX_PATTERN_BYTES {
        return Ok(());
    }
    let reason = format!("{length} bytes are more than the limit of {}", limits::MAX_PATTERN_BYTES);
    Err(ToolError::invalid_argument(argument, reason)
        .with_detail("size", length)
        .with_detail("limit", limits::MAX_PATTERN_BYTES)
        .with_hint("search for less at once"))
}

/// `bad_glob`, with the reason.
pub(super) fn bad_glob(glob: &str, reason: &dyn std::fmt::Display) -> ToolError {
    ToolError::new(ErrorCode::BadGlob, format!("the glob `{glob}` cannot be used: {reason}"))
        .with_detail("glob", glob)
        .with_hint("write `\\[` or `[[]` for a bracket that stands for itself")
}
