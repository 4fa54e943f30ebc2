//! The token that a client on TCP shows.
//!
//! It is a setting, or else thirty-two random bytes in a file that only its owner reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use stigmer_core::{ErrorCode, Result, ToolError};
use stigmer_engine::{Configuration, Secret};

use crate::place::DaemonPlace;
use crate::record::{shown, write_private};

/// Random bytes in a token: as many as a key of AES-256, which nobody guesses.
const TOKEN_BYTES: usize = 32;

/// The daemon's token for a client: the setting `api_key`, or else the file. `None` if there is
/// neither, which is so until the first daemon was started.
///
/// # Errors
/// `permission_denied` for a file that others may read or that is somebody else's; `io` for one that
/// holds no token.
pub fn token(configuration: &Configuration, place: &DaemonPlace) -> Result<Option<Secret>> {
    match configuration.api_key() {
        Some(key) => Ok(Some(key.clone())),
        None => read(&place.token()),
    }
}

/// The daemon's token for itself: it makes the file if there is neither.
pub(crate) fn token_or_new(configuration: &Configuration, place: &DaemonPlace) -> Result<Secret> {
    if let Some(token) = token(configuration, place)? {
        return Ok(token);
    }
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        ToolError::new(ErrorCode::Io, format!("the machine gives no random bytes: {error}"))
    })?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(&place.token(), format!("{text}\n").as_bytes())
        .map_err(|error| ToolError::from_io("write", &shown(&place.token()), &error))?;
    Ok(Secret::new(text))
}

fn read(path: &Path) -> Result<Option<Secret>> {
    let failed = |error: &io::Error| ToolError::from_io("read", &shown(path), error);
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file: File = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    let found = file.metadata().map_err(|error| failed(&error))?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_file() || !ours || found.mode() & 0o077 != 0 {
        let message = format!(
            "{}: the token must be a file of yours with mode 0600, or others could use it",
            path.display()
        );
        return Err(ToolError::new(ErrorCode::PermissionDenied, message)
            .with_hint("remove it and restart the daemon, which makes a new one"));
    }
    let mut text = String::new();
    // A token and a line end; whatever is longer is none.
    let most = 2 * TOKEN_BYTES as u64 + 2;
    let read = file.take(most).read_to_string(&mut text);
    let token = text.strip_suffix('\n').unwrap_or(&text);
    let hexadecimal = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    if read.is_err() || token.len() != 2 * TOKEN_BYTES || !hexadecimal {
        let message = format!("{}: is no token: 64 hexadecimal digits", path.display());
        return Err(ToolError::new(ErrorCode::Io, message)
            .with_hint("remove it and restart the daemon, which makes a new one"));
    }
    Ok(Some(Secret::new(token)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use stigmer_engine::{Sources, Surroundings};

    fn configuration(home: &Path, key: Option<&str>) -> Configuration {
        let key = key.map(|key| ("STIGMER_API_KEY".into(), key.into()));
        let surroundings =
            Surroundings { environment: key.into_iter().collect(), home: Some(home.to_owned()) };
        Configuration::load(&Sources { surroundings, ..Sources::default() }).unwrap()
    }

    #[test]
    fn the_token_is_made_once_and_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let configuration = configuration(scratch.path(), None);
        let place = DaemonPlace::of(&configuration).unwrap();
        place.make().unwrap();
        assert_eq!(token(&configuration, &place).unwrap(), None);
        let made = token_or_new(&configuration, &place).unwrap();
        assert_eq!(made.expose().len(), 64);
        assert_eq!(token_or_new(&configuration, &place).unwrap(), made);
        assert_eq!(token(&configuration, &place).unwrap(), Some(made));
        let mode = std::fs::metadata(place.token()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn the_setting_comes_first_and_the_placeholder_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let set = configuration(scratch.path(), Some("mine"));
        let place = DaemonPlace::of(&set).unwrap();
        place.make().unwrap();
        assert_eq!(token_or_new(&set, &place).unwrap().expose(), "mine");
        assert!(!place.token().exists());
        let placeholder = configuration(scratch.path(), Some("dummy-local-key"));
        let made = token_or_new(&placeholder, &place).unwrap();
        assert_eq!(made.expose().len(), 64);
    }

    #[test]
    fn a_token_that_others_may_read_or_that_is_none_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("token");
        let good = "0".repeat(64);
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        };
        for mode in [0o640, 0o604, 0o620] {
            write(&good, mode);
            let error = read(&path).unwrap_err();
            assert_eq!(error.code, ErrorCode::PermissionDenied, "{mode:o}");
            assert!(!error.message.contains(&good));
        }
        for text in ["", "\n", &good[1..], &format!("{good}0"), &format!("{good}\n\n"), "é"] {
            write(text, 0o600);
            assert_eq!(read(&path).unwrap_err().code, ErrorCode::Io, "{text:?}");
        }
        write(&format!("{good}\n"), 0o600);
        assert!(read(&path).unwrap().is_some());
        std::fs::rename(&path, scratch.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", &path).unwrap();
        assert!(read(&path).is_err(), "a link is not followed");
    }
}
