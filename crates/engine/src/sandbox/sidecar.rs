//! Where the program is that runs in every sandbox.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use stigmer_core::{ErrorCode, Result, ToolError};

/// Its name.
const NAME: &str = "stigmer-sidecar";

/// The marks of an ELF file of 64 bits whose bytes are in this machine's order (`elf(5)`).
const MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";

/// A program header that names a loader (`PT_INTERP`).
const INTERPRETER: u32 = 3;

/// The most program headers that are looked at; a linker makes about ten.
const MAX_HEADERS: u16 = 64;

/// The program: the one that a setting names, else the one that came with this program.
///
/// # Errors
/// `not_available` if there is none; `bad_configuration` if the one that was named cannot be used.
pub(crate) fn find(named: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = named {
        return match check(path) {
            Ok(()) => Ok(path.to_owned()),
            Err(why) => {
                let message = format!("sidecar: {}: {why}", path.display());
                Err(ToolError::new(ErrorCode::BadConfiguration, message).with_hint(BUILD))
            }
        };
    }
    let program = std::env::current_exe()
        .map_err(|error| ToolError::from_io("find", &"this program".into(), &error))?;
    let candidates = candidates(&program);
    let mut wrong = String::new();
    for path in &candidates {
        match check(path) {
            Ok(()) => return Ok(path.clone()),
            Err(_) if !path.exists() => {}
            Err(why) => wrong = format!("; {}: {why}", path.display()),
        }
    }
    let places: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
    let message = format!("there is no {NAME} for sandboxes{wrong}");
    Err(ToolError::new(ErrorCode::NotAvailable, message)
        .with_detail("looked_at", places)
        .with_hint(BUILD))
}

/// Where it is looked for. Nothing is checked.
pub(crate) fn candidates(program: &Path) -> Vec<PathBuf> {
    let Some(directory) = program.parent() else { return Vec::new() };
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // Installed beside it, installed in its library, and in the tree that both were built in: there
    // the program lies in `<profile>/`, its tests in `<profile>/deps/`, and with a target named in
    // `<triple>/<profile>/`.
    let mut all = vec![directory.join(NAME)];
    if let Some(parent) = directory.parent() {
        all.push(parent.join("lib/stigmer").join(NAME));
    }
    for above in directory.ancestors().skip(1).take(3) {
        all.push(above.join(&machine).join("sidecar").join(NAME));
    }
    all
}

const BUILD: &str =
    "`scripts/build-sidecar` in stigmer's source builds it; STIGMER_SIDECAR names it";

/// Whether it can run in any container: without one of the container's libraries.
fn check(path: &Path) -> std::result::Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let file = File::options().read(true).custom_flags_nonblocking().open(path).map_err(said)?;
    let found = file.metadata().map_err(said)?;
    if !found.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if found.mode() & 0o111 == 0 {
        return Err("it is not executable".to_owned());
    }
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).map_err(|_| "it is no program".to_owned())?;
    if !head.starts_with(MAGIC) {
        return Err("it is no program for this machine".to_owned());
    }
    let bytes = |at: usize, length: usize| {
        head[at..at + length].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let (offset, size, count) = (bytes(32, 8), bytes(54, 2), bytes(56, 2));
    for index in 0..count.min(u64::from(MAX_HEADERS)) {
        let mut kind = [0; 4];
        let at = offset.checked_add(index * size).ok_or("it is no program")?;
        file.read_exact_at(&mut kind, at).map_err(|_| "it is cut short".to_owned())?;
        if u32::from_le_bytes(kind) == INTERPRETER {
            return Err("it is not static: it needs libraries that a container may lack".to_owned());
        }
    }
    Ok(())
}

/// A FIFO in its place must not make us wait.
trait NonBlocking {
    fn custom_flags_nonblocking(&mut self) -> &mut Self;
}

impl NonBlocking for std::fs::OpenOptions {
    fn custom_flags_nonblocking(&mut self) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, libc::O_NONBLOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_loader_is_refused() {
        // The test program itself is linked to the C library.
        let program = std::env::current_exe().unwrap();
        assert!(check(&program).unwrap_err().contains("not static"));
        let error = find(Some(&program)).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadConfiguration);
        assert!(error.hint.unwrap().contains("build-sidecar"));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("x");
        assert!(check(&path).is_err());
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(check(&path).unwrap_err().contains("not executable"));
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        assert!(check(&path).is_err());
        assert!(check(scratch.path()).unwrap_err().contains("regular"));
        // The head of a static program: no header is a loader's.
        let mut head = [0_u8; 64 + 56];
        head[..MAGIC.len()].copy_from_slice(MAGIC);
        (head[32], head[54], head[56], head[64]) = (64, 56, 1, 1);
        std::fs::write(&path, head).unwrap();
        assert_eq!(check(&path), Ok(()));
        head[64] = 3;
        std::fs::write(&path, head).unwrap();
        assert!(check(&path).unwrap_err().contains("static"));
    }

    #[test]
    fn it_is_looked_for_where_it_is_installed_and_built() {
        let all = candidates(Path::new("/x/target/debug/deps/stigmer"));
        let machine = std::env::consts::ARCH;
        let built = format!("/x/target/{machine}-unknown-linux-gnu/sidecar/stigmer-sidecar");
        assert!(all.contains(&PathBuf::from(built)), "{all:?}");
        let all = candidates(Path::new("/usr/local/bin/stigmer"));
        assert_eq!(all[0], Path::new("/usr/local/bin/stigmer-sidecar"));
        assert_eq!(all[1], Path::new("/usr/local/lib/stigmer/stigmer-sidecar"));
    }
}
