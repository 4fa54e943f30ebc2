//! The package managers, and where they are.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::SHIMS;

/// The programs that run as root.
pub(crate) const PROGRAMS: [&str; 7] = ["apt-get", "apt", "dpkg", "apk", "dnf", "yum", "microdnf"];

/// What a package manager needs on its path, whatever the image says: dpkg refuses to run without.
const SYSTEM: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Where package managers, and what they call by name, are looked for: on this process's own path,
/// which is the image's, and where the system has them. What a caller says is not asked.
pub(super) fn system_path() -> OsString {
    path_of(&std::env::var_os("PATH").unwrap_or_default())
}

/// A path and the system's, each directory by its one name without links, and only what nobody but
/// root can change.
fn path_of(path: &OsStr) -> OsString {
    let shims = fs::canonicalize(SHIMS).unwrap_or_else(|_| SHIMS.into());
    let given = path.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes);
    let mut places: Vec<PathBuf> = Vec::new();
    for place in given.chain(SYSTEM.map(OsStr::new)).map(Path::new) {
        let Ok(found) = fs::canonicalize(place) else { continue };
        if place.is_absolute() && found != shims && !places.contains(&found) && is_roots(&found) {
            places.push(found);
        }
    }
    places.iter().map(|place| place.as_os_str()).collect::<Vec<_>>().join(OsStr::new(":"))
}

/// Whether nobody but root can change what a path without links leads to: nobody else may write to it
/// or to any directory above it.
fn is_roots(path: &Path) -> bool {
    path.ancestors().all(|place| {
        place.metadata().is_ok_and(|found| found.uid() == 0 && found.mode() & OTHERS_WRITE == 0)
    })
}

/// The package manager of that name, by its one name without links, if nobody but root can change it.
pub(crate) fn find_program(name: &OsStr) -> Option<PathBuf> {
    find(name, &system_path())
}

fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let mut places = path.as_bytes().split(|byte| *byte == b':');
    places.find_map(|place| {
        let found = fs::canonicalize(Path::new(OsStr::from_bytes(place)).join(name)).ok()?;
        let is_program = found.is_file()
            && is_roots(&found)
            && accessat(CWD, &found, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        is_program.then_some(found)
    })
}

/// Whether the image has any.
pub(super) fn has_any() -> bool {
    let path = system_path();
    PROGRAMS.iter().any(|name| find(name.as_ref(), &path).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_managers_path_is_what_only_root_can_change() {
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let path = format!(
            "{}:/tmp::relative:/nowhere:/usr/bin:{}",
            home.path().display(),
            link.display()
        );
        let all = path_of(path.as_ref());
        let all = all.to_string_lossy();
        // By a link that others may change, its present end is meant.
        assert!(all.starts_with("/usr/bin:/etc:"), "{all}");
        assert!(!all.contains("/tmp") && !all.contains("relative"), "{all}");
        let all: Vec<&str> = all.split(':').collect();
        assert!(all.iter().all(|place| fs::canonicalize(place).unwrap() == Path::new(place)));
        assert!(all.iter().enumerate().all(|(n, place)| !all[..n].contains(place)), "{all:?}");
    }

    #[test]
    fn what_lies_in_a_directory_that_others_may_change_is_not_roots() {
        assert!(is_roots(Path::new("/usr/bin")));
        assert!(!is_roots(Path::new("/tmp")), "everybody may write there");
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().join("inside");
        fs::create_dir(&inside).unwrap();
        assert!(!is_roots(&inside));
        // A file of root's by a name in somebody else's directory.
        std::os::unix::fs::symlink("/usr/bin/env", home.path().join("dpkg")).unwrap();
        assert_eq!(
            find("dpkg".as_ref(), home.path().as_os_str()),
            fs::canonicalize("/usr/bin/env").ok()
        );
        fs::copy("/usr/bin/env", home.path().join("apt")).unwrap();
        assert_eq!(find("apt".as_ref(), home.path().as_os_str()), None);
    }

    #[test]
    fn a_program_is_a_file_that_can_be_executed() {
        assert!(find("sh".as_ref(), "/nowhere:/usr/bin".as_ref()).is_some());
        assert!(find("no-such-program".as_ref(), "/usr/bin".as_ref()).is_none());
        assert!(find("bin".as_ref(), "/usr".as_ref()).is_none(), "a directory");
    }
}
