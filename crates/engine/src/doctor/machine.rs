//! What is installed, and how the machine is set up.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::process::{Resource, getrlimit};

use super::{Check, NeededFor, Tried, try_program};
use crate::configuration::{self, Surroundings};

/// Watches of files below which a large checkout cannot be watched; the default of desktop
/// distributions since 2021 is 65,536 or more.
const FEW_WATCHES: u64 = 65_536;

/// Open files below which many commands at once fail: each takes about ten in the daemon.
const FEW_FILES: u64 = 1024;

pub(super) fn checks(surroundings: &Surroundings) -> Vec<Check> {
    vec![shell(surroundings), git(), kvm(), watches(), open_files()]
}

/// The file systems that are not on this machine, by their magic numbers (`statfs(2)`), and FUSE,
/// which may be.
const NETWORK: [(i64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x6573_5546, "FUSE"),
];

/// The state directory: it, or the nearest of its parents that exists, must be writable, and on a
/// file system whose locks and renames can be relied on.
pub(super) fn state(surroundings: &Surroundings) -> Vec<Check> {
    let name = "state directory";
    let home = match configuration::home(surroundings) {
        Ok(Some(home)) => home,
        Ok(None) => {
            let fix = "`export STIGMER_HOME=/some/directory`";
            return vec![Check::missing(name, NeededFor::Local, "no home directory", fix)];
        }
        // The settings' own check reports it.
        Err(_) => return Vec::new(),
    };
    let existing = home.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let fix = format!("`mkdir -p {0} && chmod u+rwx {0}`, or set STIGMER_HOME", home.display());
    if !existing.is_dir() {
        let found = format!("{} is not a directory", existing.display());
        return vec![Check::missing(name, NeededFor::Local, found, fix)];
    }
    if let Err(error) = rustix::fs::access(existing, Access::WRITE_OK | Access::EXEC_OK) {
        let found = format!("{}: {error}", existing.display());
        return vec![Check::missing(name, NeededFor::Local, found, fix)];
    }
    let kind = rustix::fs::statfs(existing).ok().and_then(|found| {
        // The type is a signed word on some machines and these numbers fill 32 bits.
        #[allow(clippy::useless_conversion, reason = "the word's type differs between machines")]
        let number = i64::from(found.f_type) & 0xffff_ffff;
        NETWORK.iter().find(|(magic, _)| *magic == number).map(|(_, name)| *name)
    });
    vec![match kind {
        Some(kind) => Check::warning(
            name,
            NeededFor::Local,
            format!("{} is on {kind}", home.display()),
            "locks there may not hold: `export STIGMER_HOME=/some/local/directory`",
        ),
        None => Check::ok(name, NeededFor::Local, home.display().to_string()),
    }]
}

/// The first executable file of this name on the caller's `PATH`.
fn on_path(surroundings: &Surroundings, program: &str) -> Option<PathBuf> {
    let path = surroundings.variable("PATH")?;
    std::env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file() && rustix::fs::access(file, Access::EXEC_OK).is_ok())
}

fn shell(surroundings: &Surroundings) -> Check {
    let name = "shell";
    let install = "install bash: `apt-get install bash`";
    if let Some(bash) = on_path(surroundings, "bash") {
        return Check::ok(name, NeededFor::Local, bash.display().to_string());
    }
    let sh = Path::new("/bin/sh");
    match on_path(surroundings, "sh").or_else(|| sh.is_file().then(|| sh.to_owned())) {
        Some(sh) => Check::warning(
            name,
            NeededFor::Local,
            format!("no bash on PATH; commands run with {}", sh.display()),
            install,
        ),
        None => Check::missing(name, NeededFor::Local, "neither bash nor sh on PATH", install),
    }
}

fn git() -> Check {
    let name = "git";
    let fix = "`apt-get install git`";
    match try_program("git", &["--version"]) {
        Tried::Worked(said) => {
            let version = said.strip_prefix("git version ").unwrap_or(&said);
            Check::ok(name, NeededFor::Convenience, version)
        }
        Tried::Failed(said) => Check::warning(name, NeededFor::Convenience, said, fix),
        Tried::NotThere => Check::warning(name, NeededFor::Convenience, "not on PATH", fix),
    }
}

fn kvm() -> Check {
    let name = "kvm";
    match OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Check::ok(name, NeededFor::Firecracker, "/dev/kvm opens"),
        Err(error) => {
            let fix = match error.kind() {
                ErrorKind::PermissionDenied => {
                    "join the kvm group and log in anew: `sudo usermod -aG kvm \"$USER\"`"
                }
                _ => {
                    "switch virtualisation on in the firmware, or nested virtualisation for this \
                     machine, then `modprobe kvm_intel` or `modprobe kvm_amd`"
                }
            };
            Check::missing(name, NeededFor::Firecracker, format!("/dev/kvm: {error}"), fix)
        }
    }
}

fn watches() -> Check {
    let name = "inotify";
    let read = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok();
    match read.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(most) if most >= FEW_WATCHES => {
            Check::ok(name, NeededFor::Convenience, format!("{most} watches"))
        }
        Some(most) => Check::warning(
            name,
            NeededFor::Convenience,
            format!("{most} watches are few for a large tree"),
            "`sysctl -w fs.inotify.max_user_watches=524288`",
        ),
        None => Check::warning(
            name,
            NeededFor::Convenience,
            "its limits cannot be read",
            "`fs watch` needs inotify: `ls /proc/sys/fs/inotify`",
        ),
    }
}

fn open_files() -> Check {
    let name = "open files";
    let limit = getrlimit(Resource::Nofile);
    match limit.current {
        Some(most) if most < FEW_FILES => Check::warning(
            name,
            NeededFor::Convenience,
            format!("at most {most}"),
            "`ulimit -n 4096`",
        ),
        Some(most) => Check::ok(name, NeededFor::Convenience, format!("at most {most}")),
        None => Check::ok(name, NeededFor::Convenience, "without limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    fn with_home(home: &Path) -> Surroundings {
        Surroundings { environment: vec![("STIGMER_HOME".into(), home.into())], home: None }
    }

    #[test]
    fn a_state_directory_that_cannot_be_made_is_a_lack() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("f");
        fs::write(&file, "").unwrap();
        let status = |home: &Path| state(&with_home(home))[0].status;
        assert_eq!(status(&file.join("home")), Status::Missing);
        assert_eq!(status(&scratch.path().join("a/b/c")), Status::Ok);
        assert_eq!(state(&Surroundings::default())[0].status, Status::Missing);
    }

    #[test]
    fn the_shell_is_looked_for_on_the_callers_path() {
        let surroundings = |path: &str| Surroundings {
            environment: vec![("PATH".into(), path.into())],
            home: None,
        };
        assert_eq!(shell(&surroundings("/nonexistent:/bin:/usr/bin")).status, Status::Ok);
        assert_eq!(shell(&surroundings("/nonexistent")).status, Status::Warning);
    }
}
