//! Which directories may be a sandbox's workspace.
//!
//! Commands in a sandbox may write the workspace. So it must not hold what decides over programs
//! outside: the system, the user's whole home, stigmer's own settings and state.

use std::path::Path;

use stigmer_core::{Result, ToolError};

/// Directories that are no workspace, nor is anything beneath them: programs, devices, the kernel's
/// own files, configuration.
const SYSTEM: [&str; 14] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/sbin",
    "/snap",
    "/sys",
    "/usr",
    "/var/lib/docker",
];

/// Directories that are no workspace themselves: everybody's things lie beneath them.
const SHARED: [&str; 20] = [
    "/",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/run/user",
    "/srv",
    "/tmp",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Refuses a directory, which has no links in it, that may be no sandbox's workspace. `user` is the
/// user's home, `ours` stigmer's.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn check(root: &Path, user: Option<&Path>, ours: Option<&Path>) -> Result<()> {
    let refuse = |why: &str| {
        let reason = format!("{} cannot be a sandbox's workspace: {why}", root.display());
        Err(ToolError::invalid_argument("workspace", reason)
            .with_detail("root", root.to_string_lossy().into_owned())
            .with_hint("work in a directory of its own: `--workspace DIR`"))
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let same = |path: &str| root == Path::new(path) || root == real(Path::new(path));
    if SHARED.iter().any(|path| same(path)) {
        return refuse("others' files lie in it");
    }
    if SYSTEM.iter().any(|path| root.starts_with(path) || root.starts_with(real(Path::new(path)))) {
        return refuse("it belongs to the system");
    }
    if user.is_some_and(|user| real(user).starts_with(root)) {
        return refuse("it holds your home directory");
    }
    if ours.is_some_and(|ours| real(ours).starts_with(root) || root.starts_with(real(ours))) {
        return refuse("stigmer's own settings and state lie there (STIGMER_HOME)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stigmer_core::ErrorCode;

    #[test]
    fn what_decides_over_programs_outside_is_no_workspace() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path().canonicalize().unwrap();
        let (user, ours) = (scratch.join("user"), scratch.join("user/.stigmer"));
        let work = user.join("work");
        for path in [&work, &ours.join("state")] {
            std::fs::create_dir_all(path).unwrap();
        }
        let try_one = |root: &Path| check(root, Some(&user), Some(&ours));
        assert_eq!(try_one(&work), Ok(()));
        for bad in
            ["/", "/etc", "/etc/ssh", "/usr/local/src", "/home", "/tmp", "/proc/1", "/dev/shm"]
        {
            let error = try_one(Path::new(bad)).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{bad}");
            assert!(error.hint.is_some());
        }
        for bad in [&user, &scratch, &ours, &ours.join("state")] {
            assert!(try_one(bad).is_err(), "{}", bad.display());
        }
        // A home that is named by a link is the home all the same.
        let link = scratch.join("link");
        std::os::unix::fs::symlink(&user, &link).unwrap();
        assert!(check(&user, Some(&link), None).is_err());
    }
}
