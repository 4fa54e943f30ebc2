//! What is seen of credentials that are covered: the names of their files.
//!
//! A program that looks at a file before it opens it would find none and give up, and nothing could be
//! named. So covers have files by the same names, which can be looked at and not be opened.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::look::{Kind, Look};

/// Directories that are listed; each takes some microseconds, and most people have fewer.
const MOST_LISTED: usize = 24;

/// Files of one directory that are shown, and of all; about a microsecond each.
const MOST_FILES: usize = 32;
const MOST_OF_ALL: usize = 128;

/// How deep a file may lie in a place of credentials (`~/.gnupg/private-keys-v1.d/KEY` is the second).
const MOST_LEVELS: usize = 2;

/// A directory of a cover, with the files in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) directory: PathBuf,
    pub(crate) files: Vec<OsString>,
}

/// What is shown of credentials, given by their real paths: first what lies right in each of them.
pub(crate) fn shown(carved: &[(PathBuf, Kind)], look: &impl Look) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut waiting = VecDeque::new();
    for (path, kind) in carved {
        match (kind, path.parent(), path.file_name()) {
            (Kind::Directory, ..) => waiting.push_back((path.clone(), 1)),
            // It has a cover of its own, unless what it lies in is covered.
            (Kind::File, Some(parent), Some(name)) => {
                all.push(Shown { directory: parent.to_owned(), files: vec![name.to_owned()] });
            }
            _ => {}
        }
    }
    let (mut listed, mut files) = (0, 0);
    while let Some((directory, level)) = waiting.pop_front() {
        if listed == MOST_LISTED || files >= MOST_OF_ALL {
            break;
        }
        listed += 1;
        let mut one = Shown { directory, files: Vec::new() };
        for (name, kind) in look.first_names(&one.directory, MOST_FILES) {
            match kind {
                Kind::Directory if level < MOST_LEVELS => {
                    waiting.push_back((one.directory.join(name), level + 1));
                }
                // Where a link leads is nobody's to know here.
                Kind::File | Kind::Link => one.files.push(name),
                Kind::Directory | Kind::Other => {}
            }
        }
        files += one.files.len();
        all.push(one);
    }
    all
}

/// The mount of a list that a path lies in: the innermost.
pub(crate) fn innermost<'a>(
    path: &Path,
    places: impl Iterator<Item = (usize, &'a Path)>,
) -> Option<usize> {
    let over = places.filter(|(_, at)| path.starts_with(at));
    over.max_by_key(|(_, at)| at.components().count()).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::Fake;

    fn listed(carved: &[(&str, Kind)], lines: &[&str]) -> Vec<String> {
        let carved: Vec<_> = carved.iter().map(|(path, kind)| (path.into(), *kind)).collect();
        let show = |one: &Shown| {
            let names: Vec<_> = one.files.iter().map(|name| name.to_string_lossy()).collect();
            format!("{}: {}", one.directory.display(), names.join(" "))
        };
        shown(&carved, &Fake::new(lines)).iter().map(show).collect()
    }

    #[test]
    fn files_are_shown_down_to_the_second_level_and_those_that_lie_higher_come_first() {
        let directory = Kind::Directory;
        assert_eq!(
            listed(
                &[("/h/.gnupg", directory), ("/h/.ssh", directory), ("/h/.netrc", Kind::File)],
                &["/h/.gnupg/keys/k", "/h/.gnupg/keys/deep/er", "/h/.gnupg/ring", "/h/.ssh/l -> x"],
            ),
            ["/h: .netrc", "/h/.gnupg: ring", "/h/.ssh: l", "/h/.gnupg/keys: k"]
        );
    }

    #[test]
    fn no_more_is_listed_than_is_quickly_made() {
        let lines: Vec<String> = (0..40)
            .flat_map(|one| (0..40).map(move |two| format!("/h/.kube/d{one}/f{two:02}")))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let carved = [("/h/.kube".into(), Kind::Directory)];
        let all = shown(&carved, &Fake::new(&lines));
        assert!(all.len() <= MOST_LISTED);
        let files: Vec<usize> = all.iter().map(|one| one.files.len()).collect();
        assert!(files.iter().all(|count| *count <= MOST_FILES), "{files:?}");
        assert_eq!(files.iter().sum::<usize>(), MOST_OF_ALL, "{files:?}");
    }
}
