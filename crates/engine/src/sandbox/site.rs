//! Which directories may be a sandbox's workspace.
//!
//! Commands in a sandbox may write the workspace. So it must not hold what decides over programs
//! outside: the system, the user's whole home, stigmer's own settings and state.

use std::path::{Path, PathBuf};

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

/// Where engines listen. Whoever is let to one of these is as good as root, or the user.
const SOCKETS: [&str; 3] =
    ["/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"];

/// The sockets of the engines that this user may have, and of the one that is asked.
pub(crate) fn sockets(engine: Option<&str>, uid: u32) -> Vec<PathBuf> {
    let rootless = ["docker.sock", "podman/podman.sock"]
        .map(|name| PathBuf::from(format!("/run/user/{uid}")).join(name));
    let named = engine.and_then(|address| address.strip_prefix("unix://")).map(PathBuf::from);
    SOCKETS.iter().map(PathBuf::from).chain(rootless).chain(named).collect()
}

/// Whether a path is one of these sockets, or holds one.
pub(crate) fn holds_socket(path: &Path, sockets: &[PathBuf]) -> bool {
    let path = real(path);
    sockets.iter().any(|socket| real(socket).starts_with(&path) || socket.starts_with(&path))
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let rest = |above: &Path| path.strip_prefix(above).map(Path::to_owned).unwrap_or_default();
    let there =
        path.ancestors().find_map(|above| Some(above.canonicalize().ok()?.join(rest(above))));
    there.unwrap_or_else(|| path.to_owned()).components().collect()
}

/// Refuses a directory, which has no links in it, that may be no sandbox's workspace. `user` is the
/// user's home, `ours` stigmer's; `sockets` are those of engines.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn check(
    root: &Path,
    user: Option<&Path>,
    ours: Option<&Path>,
    sockets: &[PathBuf],
) -> Result<()> {
    let refuse = |why: &str| {
        let reason = format!("{} cannot be a sandbox's workspace: {why}", root.display());
        Err(ToolError::invalid_argument("workspace", reason)
            .with_detail("root", root.to_string_lossy().into_owned())
            .with_hint("work in a directory of its own: `--workspace DIR`"))
    };
    let same = |path: &str| root == Path::new(path) || root == real(Path::new(path));
    let of_users = root.parent().is_some_and(|above| above == Path::new("/run/user"));
    if of_users || SHARED.iter().any(|path| same(path)) {
        return refuse("others' files lie in it");
    }
    if SYSTEM.iter().any(|path| root.starts_with(path) || root.starts_with(real(Path::new(path)))) {
        return refuse("it belongs to the system");
    }
    if user.is_some_and(|user| real(user).starts_with(root)) {
        return refuse("it holds your home directory");
    }
    if holds_socket(root, sockets) {
        return refuse("a container engine listens there");
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
        let try_one = |root: &Path| check(root, Some(&user), Some(&ours), &sockets(None, 1000));
        assert_eq!(try_one(&work), Ok(()));
        for bad in [
            "/",
            "/etc",
            "/etc/ssh",
            "/usr/local/src",
            "/home",
            "/tmp",
            "/proc/1",
            "/dev/shm",
            "/run/user/7",
        ] {
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
        assert!(check(&user, Some(&link), None, &[]).is_err());
    }

    #[test]
    fn what_leads_to_an_engine_is_seen_however_it_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let scratch = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(scratch.join("run/inner")).unwrap();
        std::fs::write(scratch.join("run/inner/engine.sock"), "").unwrap();
        std::os::unix::fs::symlink("run", scratch.join("link")).unwrap();
        let engine = format!("unix://{}/link/inner/engine.sock", scratch.display());
        let sockets = sockets(Some(&engine), 1000);
        for name in
            ["", "run", "link", "run/inner/.", "run/inner/engine.sock", "link/inner/engine.sock/."]
        {
            assert!(holds_socket(&scratch.join(name), &sockets), "{name}");
            let root = scratch.join(name);
            assert!(check(&root, None, None, &sockets).is_err() || !root.is_dir(), "{name}");
        }
        for path in ["/run", "/var/run", "/", "/var/run/docker.sock/.", "/run/user/1000"] {
            assert!(holds_socket(Path::new(path), &sockets), "{path}");
        }
        for path in [&scratch.join("other"), &scratch.join("run/other"), Path::new("/srv/data")] {
            assert!(!holds_socket(path, &sockets), "{}", path.display());
        }
    }
}
