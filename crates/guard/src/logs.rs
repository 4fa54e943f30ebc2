//! The caller's own files in everybody's directory for temporary files, which commands of the read-only lane
//! may read: agents keep logs and output there.
//!
//! Only what the command's text names is looked at. A file of somebody else's is not read, nor one by whose
//! name it may hold a secret, nor one that has another name elsewhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::data;
use crate::look::{Kind, Look};
use crate::pattern::name_fits;
use crate::roots::{Right, Root};

/// Names that are looked at, and files that are granted; a microsecond and some more each.
const MOST_NAMES: usize = 1024;
const MOST_FILES: usize = 256;

/// How deep the directories go that are granted with what is in them.
const MOST_LEVELS: usize = 3;

/// What of the places that a command names may be read. `paths` are as [`Said`](crate::words::Said) has them.
pub(crate) fn logs(paths: &[(PathBuf, bool)], home: Option<&Path>, look: &impl Look) -> Vec<Root> {
    let mut found = Found { home, look, seen: 0, all: Vec::new() };
    for place in data::SHARED.iter().map(Path::new) {
        let Some((place, Kind::Directory)) = look.real(place) else { continue };
        for (path, goes_on) in paths.iter().filter(|(path, _)| path.starts_with(&place)) {
            match look.real(path) {
                Some((real, kind)) if !goes_on => found.add(&place, &real, kind, MOST_LEVELS),
                Some((real, Kind::Directory)) if path.as_os_str().as_bytes().ends_with(b"/") => {
                    found.beginning(&place, &real, OsStr::new(""));
                }
                // The text goes on where only a shell knows how.
                _ => {
                    let parent = path.parent().and_then(|parent| look.real(parent));
                    if let (Some((parent, Kind::Directory)), Some(name)) =
                        (parent, path.file_name())
                    {
                        found.beginning(&place, &parent, name);
                    }
                }
            }
        }
    }
    found.all
}

struct Found<'a, L> {
    home: Option<&'a Path>,
    look: &'a L,
    seen: usize,
    all: Vec<Root>,
}

impl<L: Look> Found<'_, L> {
    /// Adds a file, or the files of a directory down to a level; of everybody's, those that lie in it.
    fn add(&mut self, place: &Path, path: &Path, kind: Kind, levels: usize) {
        let Ok(inner) = path.strip_prefix(place) else { return };
        // What lies in a home directory is judged by other rules, wherever that is.
        let at_home = self.home.is_some_and(|home| path.starts_with(home));
        let secret = at_home || inner.iter().any(is_secret);
        let taken = self.all.len() >= MOST_FILES || self.all.iter().any(|root| root.path == path);
        if secret || taken || kind == Kind::Directory && levels == 0 {
            return;
        }
        let mut parts = path.ancestors().take_while(|part| *part != place);
        if !parts.all(|part| self.look.is_own(part)) {
            return;
        }
        match kind {
            Kind::File => self.all.push(Root { path: path.to_owned(), kind, right: Right::Read }),
            Kind::Directory if path == place => self.beginning(place, path, OsStr::new("")),
            Kind::Directory => self.beneath(place, path, OsStr::new(""), levels - 1),
            Kind::Link | Kind::Other => {}
        }
    }

    /// Adds the files of a directory whose names begin in a way.
    fn beginning(&mut self, place: &Path, path: &Path, name: &OsStr) {
        self.beneath(place, path, name, 0);
    }

    fn beneath(&mut self, place: &Path, path: &Path, begins: &OsStr, levels: usize) {
        for (name, kind) in self.look.first_names(path, MOST_NAMES.saturating_sub(self.seen)) {
            self.seen += 1;
            if name.as_bytes().starts_with(begins.as_bytes()) {
                self.add(place, &path.join(name), kind, levels);
            }
        }
    }
}

/// Whether something may hold a secret, by its name.
fn is_secret(name: &OsStr) -> bool {
    data::PRIVATE_NAMES.iter().any(|pattern| name_fits(pattern, name.as_bytes()))
        || data::CREDENTIAL_NAMES.iter().any(|known| OsStr::new(known) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::Fake;

    fn read(paths: &[(&str, bool)], fake: Fake) -> Vec<String> {
        let paths: Vec<_> = paths.iter().map(|(path, goes_on)| (path.into(), *goes_on)).collect();
        let roots = logs(&paths, Some("/tmp/home".as_ref()), &fake);
        roots.iter().map(|root| format!("{} {:?}", root.path.display(), root.right)).collect()
    }

    const FILES: &[&str] = &[
        "/tmp/a.log",
        "/tmp/b.log",
        "/tmp/theirs.log",
        "/tmp/krb5cc_1000",
        "/tmp/GITHUB_TOKEN.txt",
        "/tmp/build/out/x.log",
        "/tmp/build/.ssh/id",
        "/tmp/build/server.key",
        "/tmp/theirs/a.log",
        "/tmp/link -> ../h/diary",
        "/tmp/home/diary",
        "/h/diary",
    ];

    fn fake() -> Fake {
        Fake::new(FILES).of_another("/tmp/theirs.log").of_another("/tmp/theirs")
    }

    #[test]
    fn only_the_callers_own_files_that_are_no_secrets_are_read() {
        assert_eq!(read(&[("/tmp/a.log", false)], fake()), ["/tmp/a.log Read"]);
        for path in [
            "/tmp/theirs.log",
            "/tmp/krb5cc_1000",
            "/tmp/GITHUB_TOKEN.txt",
            "/tmp/build/.ssh/id",
            "/tmp/build/server.key",
            "/tmp/theirs/a.log",
            "/tmp/link",
            "/tmp/home/diary",
            "/h/diary",
            "/tmp/../h/diary",
        ] {
            assert_eq!(read(&[(path, false)], fake()), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_name_of_which_only_a_shell_knows_the_end_may_be_any_that_begins_so() {
        assert_eq!(read(&[("/tmp/a", true)], fake()), ["/tmp/a.log Read"]);
        assert_eq!(read(&[("/tmp/build/out/", true)], fake()), ["/tmp/build/out/x.log Read"]);
        assert_eq!(read(&[("/tmp/build/out", true)], fake()), [""; 0]);
    }

    #[test]
    fn a_directory_is_read_with_what_is_in_it_and_everybodys_but_its_own_files() {
        assert_eq!(read(&[("/tmp/build", false)], fake()), ["/tmp/build/out/x.log Read"]);
        let all = ["/tmp/a.log Read", "/tmp/b.log Read"];
        assert_eq!(read(&[("/tmp/", true)], fake()), all);
        assert_eq!(read(&[("/tmp", false)], fake()), all);
        assert_eq!(read(&[("/tmp/missing", false)], fake()), [""; 0]);
    }
}
