//! The package managers, and where they are.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::SHIMS;

/// The programs that run as root.
pub(crate) const PROGRAMS: [&str; 7] = ["apt-get", "apt", "dpkg", "apk", "dnf", "yum", "microdnf"];

/// What a package manager needs on its path, whatever its caller has: dpkg refuses to run without.
const SYSTEM: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// A path without the shims and without what others than root may write, and with all of the
/// system's: what root calls by name is not the caller's.
pub(super) fn system_path(path: &OsStr, home: &OsStr) -> OsString {
    let home = Path::new(home);
    let is_callers = |place: &Path| home.parent().is_some() && place.starts_with(home);
    let mut places: Vec<&Path> = path
        .as_bytes()
        .split(|byte| *byte == b':')
        .map(|place| Path::new(OsStr::from_bytes(place)))
        .filter(|place| place.is_absolute() && *place != Path::new(SHIMS) && !is_callers(place))
        .filter(|place| is_roots(place))
        .collect();
    for place in SYSTEM.map(Path::new) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.into_iter().map(Path::as_os_str).collect::<Vec<_>>().join(OsStr::new(":"))
}

/// Whether nobody but root may change what is there.
fn is_roots(place: &Path) -> bool {
    place.metadata().is_ok_and(|found| found.uid() == 0 && found.mode() & OTHERS_WRITE == 0)
}

/// The first program of that name on a path, shims apart.
pub(crate) fn find_program(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let places = system_path(path, OsStr::new("/"));
    let mut places = places.as_bytes().split(|byte| *byte == b':');
    places.find_map(|place| {
        let candidate = Path::new(OsStr::from_bytes(place)).join(name);
        let is_program = candidate.is_file()
            && accessat(CWD, &candidate, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
        is_program.then_some(candidate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_managers_path_is_the_systems() {
        let path = "/.stigmer/bin:/home/x/.local/bin:/etc:/tmp::relative:/nowhere:/usr/bin";
        let all = system_path(path.as_ref(), "/home/x".as_ref());
        let all = all.to_string_lossy();
        assert!(all.starts_with("/etc:/usr/bin:/usr/local/sbin:"), "{all}");
        assert_eq!(all.split(':').count(), 7, "{all}");
        // A home that is the root directory holds everything.
        let all = system_path("/etc".as_ref(), "/".as_ref());
        assert!(all.to_string_lossy().starts_with("/etc:"));
    }

    #[test]
    fn a_program_is_a_file_that_can_be_executed() {
        assert!(find_program("sh".as_ref(), "".as_ref()).is_some());
        assert!(find_program("no-such-program".as_ref(), "/usr/bin".as_ref()).is_none());
        assert!(find_program("bin".as_ref(), "/usr".as_ref()).is_none(), "a directory");
    }
}
