//! Paths as text.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// A path relative to the root, `..` taken back by text; `None` if it leads out. `names` are the
/// absolute paths that name the root.
pub(super) fn relative<'a>(
    path: &Path,
    names: impl IntoIterator<Item = Option<&'a Path>>,
) -> Option<PathBuf> {
    if !path.is_absolute() {
        return normal(path);
    }
    let clean = normal(path.strip_prefix("/").ok()?)?;
    names
        .into_iter()
        .flatten()
        .find_map(|root| clean.strip_prefix(root.strip_prefix("/").ok()?).ok())
        .map(Path::to_owned)
}

/// The components of a link's absolute text that follow a name of the root, untouched; `None` if
/// the text does not begin with one. `..` is left in: it must be followed, not taken back by text.
pub(super) fn beneath<'a>(
    target: &'a Path,
    names: impl IntoIterator<Item = Option<&'a Path>>,
) -> Option<&'a Path> {
    names.into_iter().flatten().find_map(|root| target.strip_prefix(root).ok())
}

fn normal(path: &Path) -> Option<PathBuf> {
    let mut clean: Vec<&OsStr> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop()?;
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(clean.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(path: &str) -> Option<PathBuf> {
        relative(Path::new(path), [Some(Path::new("/w/s")), Some(Path::new("/alias"))])
    }

    #[test]
    fn a_path_is_taken_relative_to_the_root() {
        let is = |path, want: Option<&str>| assert_eq!(of(path), want.map(PathBuf::from), "{path}");
        is("", Some(""));
        is(".", Some(""));
        is("a//b/./c/", Some("a/b/c"));
        is("a/../b", Some("b"));
        is("..", None);
        is("a/../../b", None);
        is("/w/s", Some(""));
        is("/w/s/a", Some("a"));
        is("//w/./s//a", Some("a"));
        is("/w/s/../s/a", Some("a"));
        is("/w/x/../s/a", Some("a"));
        is("/w/s2/a", None);
        is("/w/s/../x", None);
        is("/w", None);
        is("/", None);
        is("/../w/s/a", None);
        is("/alias/a", Some("a"));
        is("a\nb", Some("a\nb"));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_plain(path in "[./ab]{0,24}") {
            if let Some(clean) = of(&path) {
                prop_assert!(clean.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
