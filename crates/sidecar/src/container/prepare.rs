//! What a container has to have before there are commands. Only the workspace and the place to serve
//! at are essential, and those are not made here: an image may have nothing at all, and may not be
//! writable.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use crate::arguments::Init;
use crate::broker::{Broker, PROGRAMS, SHIMS, find_program};
use crate::say;

/// Under this name the workspace is known to people and to older set-ups.
const WORKSPACE: &str = "/workspace";

/// Where every program puts its temporary files, and the mode for that.
const TEMPORARY: &str = "/tmp";
const EVERYBODYS: u32 = 0o1777;

/// This program's file, where the container has it.
const SIDECAR: &str = "/proc/self/exe";

/// What tells apt which certificate authorities to trust.
const APT: &str = "/etc/apt/apt.conf.d/99stigmer";

/// What could not be prepared, in words.
#[derive(Default)]
pub(super) struct Trouble(pub(super) Vec<String>);

impl Trouble {
    fn note(&mut self, what: &str, done: io::Result<()>) {
        if let Err(error) = done {
            self.0.push(format!("cannot {what}: {error}"));
        }
    }

    /// Says it.
    pub(super) fn tell(&self) {
        for reason in &self.0 {
            say(&format!("{reason}; it goes on without"));
        }
    }
}

/// Makes the home and the usual directory for temporary files, and has mounts be usable.
pub(super) fn places(wanted: &Init, trouble: &mut Trouble) {
    let home = &wanted.home;
    let what = format!("make the home {} for user {}", home.display(), wanted.uid);
    trouble.note(&what, make_home(home, wanted.uid, wanted.gid));
    trouble.note(&format!("make {TEMPORARY} everybody's"), make_temporary());
    for mounted in &wanted.mounts {
        let what = format!("give user {} what {} needs", wanted.uid, mounted.target.display());
        trouble.note(&what, super::mounts::give(mounted, wanted));
    }
}

/// Makes the link to the workspace.
pub(super) fn workspace(root: &Path, trouble: &mut Trouble) {
    trouble.note(&format!("link {WORKSPACE} to {}", root.display()), link_workspace(root));
}

/// An image may have none, and an engine that mounts something beneath it makes one for root alone.
fn make_temporary() -> io::Result<()> {
    DirBuilder::new().recursive(true).create(TEMPORARY)?;
    if fs::metadata(TEMPORARY)?.mode() & EVERYBODYS == EVERYBODYS {
        return Ok(());
    }
    fs::set_permissions(TEMPORARY, Permissions::from_mode(EVERYBODYS))
}

fn make_home(home: &Path, uid: u32, gid: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(home)?;
    let found = fs::metadata(home)?;
    if (found.uid(), found.gid()) == (uid, gid) {
        return Ok(());
    }
    chown(home, Some(uid), Some(gid))
}

fn link_workspace(root: &Path) -> io::Result<()> {
    let link = Path::new(WORKSPACE);
    if root.starts_with(link) || is_link_to(root) {
        return Ok(());
    }
    // Many images have it, empty, for something to be mounted there.
    if fs::symlink_metadata(link).is_ok_and(|found| found.is_dir()) {
        fs::remove_dir(link)?;
    }
    symlink(root, link)
}

fn is_link_to(root: &Path) -> bool {
    fs::read_link(WORKSPACE).is_ok_and(|leads| leads == root)
}

/// The path to open the workspace by. Whoever opens it by the link knows both names, so that file
/// operations take what commands do; where there is no such link, there is one name.
pub(super) fn named(root: &Path) -> &Path {
    if is_link_to(root) { Path::new(WORKSPACE) } else { root }
}

/// Makes the shims of the package managers that the image has. Without root, or where nothing can be
/// written, package managers do what they can as the caller.
pub(super) fn shims(broker: Option<&Broker>, trouble: &mut Trouble) -> bool {
    if broker.is_none() {
        return false;
    }
    let made = DirBuilder::new().recursive(true).mode(0o755).create(SHIMS).and_then(|()| {
        let program = fs::read_link(SIDECAR)?;
        for name in PROGRAMS {
            let shim = Path::new(SHIMS).join(name);
            match fs::remove_file(&shim) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            if find_program(name.as_ref()).is_some() {
                symlink(&program, shim)?;
            }
        }
        Ok(())
    });
    let is_made = made.is_ok();
    trouble.note("make package managers run as root", made);
    is_made
}

/// Makes apt trust the certificate authorities; it has no variable for that.
pub(super) fn authorities(bundle: &Path, trouble: &mut Trouble) {
    let Some(parent) = Path::new(APT).parent().filter(|parent| parent.is_dir()) else { return };
    let text = match bundle.to_str().filter(|path| !path.contains(['"', '\n', '\\'])) {
        Some(path) => format!("Acquire::https::CaInfo \"{path}\";\n"),
        None => {
            let why = io::Error::other("its path cannot be written in apt's language");
            return trouble.note("make apt trust the certificate authorities", Err(why));
        }
    };
    // What is there is replaced, and no link is followed.
    let written = tempfile_in(parent, &text).and_then(|staged| fs::rename(staged, APT));
    trouble.note("make apt trust the certificate authorities", written);
}

fn tempfile_in(directory: &Path, text: &str) -> io::Result<std::path::PathBuf> {
    use std::io::Write;
    // apt reads no file whose name it does not know the ending of.
    let path = directory.join(".99stigmer.new");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::create_new(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}
