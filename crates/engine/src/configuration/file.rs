//! The configuration file, `config.toml` in stigmer's home.
//!
//! One flat table: `execution_mode = "sandbox"`. An unknown key is an error, not a remark: a key
//! mistyped means a setting without effect, and some settings isolate.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};
use toml_edit::Document;

use super::variables::Key;

/// The file's name in stigmer's home.
pub const FILE_NAME: &str = "config.toml";

/// The largest file that is read: the whole table written out is 2 KiB.
const MAX_BYTES: u64 = 1 << 20;

/// How long to wait for others who change the file.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which setting.
    pub key: Key,
    /// The value as text, whatever TOML type it was written in.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
}

/// Reads the file; one that does not exist says nothing.
///
/// # Errors
/// `bad_configuration` for what cannot be parsed, an unknown key, a value that is no string, number
/// or boolean, and a secret in a file that others may read.
pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let Some((text, mode)) = load(path)? else {
        return Ok(Vec::new());
    };
    let entries = parse(&text, path)?;
    if let Some(secret) = entries.iter().find(|entry| entry.key.is_secret())
        && mode & 0o077 != 0
    {
        return Err(bad(format!(
            "{}: {} is a secret, and others may read the file (its mode is {:03o})",
            at(path, secret.line),
            secret.key.setting().name,
            mode & 0o777
        ))
        .with_hint(format!("`chmod 600 {}`", path.display())));
    }
    Ok(entries)
}

/// Sets one key, or takes it out if `text` is `None`, and leaves all else as it is, comments too.
///
/// The caller has checked that the value is valid. The file is replaced in one step and belongs to
/// its owner alone afterwards, who stays the same if this process may give files away; one that is a
/// symbolic link stays one.
///
/// # Errors
/// `bad_configuration` for a file that cannot be parsed, `busy` if somebody keeps it locked, and
/// what the operating system says.
pub fn set(path: &Path, key: Key, text: Option<&str>) -> Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| io("create", directory, &error))?;
    // Two at once would each lose the other's key.
    let _lock = lock(directory, LOCK_PATIENCE)?;

    let old = load(path)?.map(|(text, _)| text).unwrap_or_default();
    parse(&old, path)?;
    let new = edited(&old, path, key, text)?;
    replace(&target(path)?, new.as_bytes())
}

/// Locks a directory until the result is dropped; whoever may read it may lock it, for ever too.
fn lock(directory: &Path, patience: Duration) -> Result<File> {
    /// The time between two tries: a change takes a few milliseconds.
    const PAUSE: Duration = Duration::from_millis(10);
    let file = File::open(directory).map_err(|error| io("lock", directory, &error))?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if start.elapsed() < patience => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let shown = directory.display();
                return Err(ToolError::new(
                    ErrorCode::Busy,
                    format!("{shown}: another process keeps it locked (waited {patience:?})"),
                )
                .with_hint(format!(
                    "nothing was changed; `fuser -v {shown}` may name the process"
                )));
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(io("lock", directory, &error.into())),
        }
    }
}

/// The file's text with one value replaced, added at the end or taken out with its line.
///
/// The text itself is edited, which leaves remarks and line ends alone: a remark above a line that
/// goes may belong to those below it, or to the file.
fn edited(old: &str, path: &Path, key: Key, text: Option<&str>) -> Result<String> {
    let document = Document::parse(old).map_err(|error| syntax(path, old, &error))?;
    let name = key.setting().name;
    let found = document.as_table().get_key_value(name);
    let spans = found.and_then(|(name, item)| Some((name.span()?, item.span()?)));
    let value = text.map(|text| toml_edit::Value::from(text).to_string());
    Ok(match (spans, value) {
        (None, None) => old.to_owned(),
        (Some((_, span)), Some(value)) => {
            format!("{}{value}{}", &old[..span.start], &old[span.end..])
        }
        (Some((name, value)), None) => {
            let start = old[..name.start].rfind('\n').map_or(0, |end| end + 1);
            let end = old[value.end..].find('\n').map_or(old.len(), |end| value.end + end + 1);
            format!("{}{}", &old[..start], &old[end..])
        }
        (None, Some(value)) => {
            let line_end = if old.contains("\r\n") { "\r\n" } else { "\n" };
            let last = if old.is_empty() || old.ends_with('\n') { "" } else { line_end };
            format!("{old}{last}{name} = {value}{line_end}")
        }
    })
}

fn load(path: &Path) -> Result<Option<(String, u32)>> {
    // NONBLOCK: a FIFO in place of the file must not hang every command.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path, &error)),
    };
    let metadata = file.metadata().map_err(|error| io("read", path, &error))?;
    if !metadata.is_file() {
        return Err(bad(format!("{}: is not a regular file", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| io("read", path, &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(bad(format!("{}: is larger than {MAX_BYTES} bytes", path.display())));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| bad(format!("{}: is not UTF-8", path.display())))?;
    Ok(Some((text, metadata.permissions().mode())))
}

fn parse(text: &str, path: &Path) -> Result<Vec<Entry>> {
    let document = Document::parse(text).map_err(|error| syntax(path, text, &error))?;
    let mut entries = Vec::new();
    for (name, item) in document.as_table() {
        let span = document.as_table().key(name).and_then(toml_edit::Key::span);
        let line = line_of(text, span.map_or(0, |span| span.start));
        let Some(key) = Key::named(name) else {
            return Err(unknown(name, &at(path, line)));
        };
        if key == Key::Home {
            return Err(bad(format!("{}: home cannot be set in the file", at(path, line)))
                .with_hint("set the environment variable STIGMER_HOME"));
        }
        let value = match item.as_value() {
            Some(toml_edit::Value::String(value)) => value.value().clone(),
            Some(toml_edit::Value::Integer(value)) => value.value().to_string(),
            Some(toml_edit::Value::Float(value)) => value.value().to_string(),
            Some(toml_edit::Value::Boolean(value)) => value.value().to_string(),
            Some(toml_edit::Value::Array(items)) if key.setting().kind.joined(&[]).is_some() => {
                let item = |item: &toml_edit::Value| match item {
                    toml_edit::Value::String(text) => Some(text.value().clone()),
                    // A port is a number.
                    toml_edit::Value::Integer(number) => Some(number.value().to_string()),
                    _ => None,
                };
                let Some(items) = items.iter().map(item).collect::<Option<Vec<_>>>() else {
                    let what = "has an item that is neither a string nor a number";
                    return Err(bad(format!("{}: {name} {what}", at(path, line)))
                        .with_hint(format!("valid values are {}", key.setting().kind.valid())));
                };
                key.setting().kind.joined(&items).unwrap_or_default()
            }
            _ => {
                return Err(bad(format!(
                    "{}: {name} is neither a string nor a number nor a boolean",
                    at(path, line)
                ))
                .with_hint(format!("valid values are {}", key.setting().kind.valid())));
            }
        };
        entries.push(Entry { key, text: value, line });
    }
    Ok(entries)
}

/// The error for a name that is no setting's; `place` says where it stands, or is empty.
pub fn unknown(name: &str, place: &str) -> ToolError {
    let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
    let near = Key::near(name);
    let hint = if near.is_empty() {
        let names: Vec<&str> = Key::ALL.iter().map(|key| key.setting().name).collect();
        format!("the settings are {}", names.join(", "))
    } else {
        format!("did you mean {}? `stigmer config list` shows all settings", near.join(" or "))
    };
    bad(format!("{place}there is no setting \"{name}\"")).with_hint(hint)
}

/// What a path leads to, also if that is not there yet: who makes the link before the file wants
/// the file where the link says.
fn target(path: &Path) -> Result<PathBuf> {
    /// As many links as Linux follows (`path_resolution(7)`).
    const MOST: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..MOST {
        match std::fs::read_link(&target) {
            Ok(link) => target = target.parent().unwrap_or_else(|| Path::new("/")).join(link),
            // It is there and no link, or it is not there.
            Err(error)
                if [ErrorKind::InvalidInput, ErrorKind::NotFound].contains(&error.kind()) =>
            {
                return Ok(target);
            }
            Err(error) => return Err(io("write", &target, &error)),
        }
    }
    Err(io("write", path, &Errno::LOOP.into()))
}

/// Writes beside the file and renames, so that a reader or a crash sees the old or the new.
fn replace(target: &Path, content: &[u8]) -> Result<()> {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = (|| {
        // The id of a process that died half-way may come again.
        let _ = std::fs::remove_file(&temporary);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        if let Ok(old) = std::fs::metadata(target) {
            // What root sets for a user stays the user's. Who may not give it away owns the new one;
            // the group first, for once given away it is no longer ours to change.
            let _ = fchown(&file, None, Some(old.gid()));
            let _ = fchown(&file, Some(old.uid()), None);
        }
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, target)
    })();
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        io("write", target, &error)
    })
}

fn at(path: &Path, line: usize) -> String {
    format!("{} line {line}", path.display())
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn syntax(path: &Path, text: &str, error: &toml_edit::TomlError) -> ToolError {
    let line = line_of(text, error.span().map_or(0, |span| span.start));
    // Only the parser's own words: its rendering quotes the line, which may hold a secret.
    bad(format!("{}: {}", at(path, line), error.message().replace('\n', "; ")))
        .with_hint("the file is TOML: one `key = \"value\"` on a line")
}

fn bad(message: String) -> ToolError {
    ToolError::new(ErrorCode::BadConfiguration, message)
}

fn io(operation: &str, path: &Path, error: &std::io::Error) -> ToolError {
    ToolError::from_io(operation, &ByteString::from(path), error)
        .with_hint("STIGMER_HOME names another place for stigmer's settings and state")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(content: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("home").join(FILE_NAME);
        if !content.is_empty() {
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
        }
        (directory, path)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn no_file_says_nothing() {
        let (_directory, path) = scratch("");
        assert_eq!(read(&path).unwrap(), []);
    }

    #[test]
    fn every_scalar_is_read_with_its_line() {
        let (_directory, path) = scratch(
            "# remark\nexecution_mode = \"auto\"\n\ntimeout = 90\nsandbox_cleanup = false # why\n\
             vm_cpu_limit = 1.5\n",
        );
        let read = read(&path).unwrap();
        let got: Vec<(&str, &str, usize)> =
            read.iter().map(|entry| (entry.key.setting().name, &*entry.text, entry.line)).collect();
        assert_eq!(
            got,
            [
                ("execution_mode", "auto", 2),
                ("timeout", "90", 4),
                ("sandbox_cleanup", "false", 5),
                ("vm_cpu_limit", "1.5", 6),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (content, message, hint) in [
            (
                "timeout = 1\nexecution_mod = \"x\"\n",
                "line 2: there is no setting",
                "execution_mode",
            ),
            ("qqqqqqqq = 1\n", "there is no setting", "the settings are home, execution_mode"),
            ("\n\ntimeout = [1]\n", "line 3: timeout is neither", "durations"),
            ("[timeout]\nx = 1\n", "timeout is neither", "durations"),
            (
                "[sandbox]\nimage = \"x\"\n",
                "line 1: there is no setting \"sandbox\"",
                "sandbox_image",
            ),
            ("timeout = \n", "line 1: ", "TOML"),
            ("timeout = 1\ntimeout = 2\n", "line 2: ", "TOML"),
            ("home = \"/x\"\n", "home cannot be set", "STIGMER_HOME"),
        ] {
            let (_directory, path) = scratch(content);
            let error = read(&path).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadConfiguration);
            assert!(error.message.contains(message), "{content:?}: {}", error.message);
            let got = error.hint.unwrap();
            assert!(got.contains(hint), "{content:?}: {got}");
        }
    }

    #[test]
    fn a_list_may_be_an_array() {
        let (_directory, path) = scratch(
            "sandbox_ports = [8080, \"9090:90\"]\nsandbox_volumes = [\"/a,b:/c\"]\n\
             sandbox_credentials = \"aws,kube\"\ntool_roots = [\"/a\", \"/b,c\"]\n",
        );
        let texts: Vec<String> = read(&path).unwrap().into_iter().map(|e| e.text).collect();
        assert_eq!(texts, ["8080,9090:90", "/a\\,b:/c", "aws,kube", "/a:/b,c"]);
        std::fs::write(&path, "sandbox_ports = [[1]]\n").unwrap();
        assert!(read(&path).unwrap_err().message.contains("item"));
    }

    #[test]
    fn a_secret_wants_a_private_file_and_is_never_quoted() {
        let (_directory, path) = scratch("daytona_api_key = \"hunter2\"\n");
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.message.contains("640") && !error.message.contains("hunter2"), "{error}");
        assert!(error.hint.unwrap().contains("chmod 600"));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap()[0].text, "hunter2");
        std::fs::write(&path, "daytona_api_key = \"hunter2\n").unwrap();
        assert!(!format!("{:?}", read(&path).unwrap_err()).contains("hunter2"));
    }

    #[test]
    fn setting_keeps_remarks_and_makes_the_file_private() {
        let (_directory, path) =
            scratch("# mine\ntimeout = \"90s\" # slow\n\n# other\nmode = \"local\"\n");
        set(&path, Key::Timeout, Some("5m")).unwrap();
        set(&path, Key::SandboxType, Some("filesystem")).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "# mine\ntimeout = \"5m\" # slow\n\n# other\nmode = \"local\"\nsandbox_type = \"filesystem\"\n"
        );
        assert_eq!(mode(&path), 0o600);
        set(&path, Key::Mode, None).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains("local"));
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn remarks_and_line_ends_stay_whatever_goes() {
        let five = Some("5m");
        for (old, text, new) in [
            (
                "# head\n\n# why\ntimeout = 1 # s\nmode = 'local'\n",
                None,
                "# head\n\n# why\nmode = 'local'\n",
            ),
            ("mode = 'local'\n# why\ntimeout = 1\n# end", None, "mode = 'local'\n# why\n# end"),
            ("mode = 'local'\n  timeout = 1", None, "mode = 'local'\n"),
            ("timeout = \"\"\"\n1\"\"\" # s\n# end\n", None, "# end\n"),
            ("# why\r\ntimeout = 1\r\nmode = 'local'\r\n", None, "# why\r\nmode = 'local'\r\n"),
            ("mode = 'local'\n", None, "mode = 'local'\n"),
            ("# all\n", five, "# all\ntimeout = \"5m\"\n"),
            ("# all", five, "# all\ntimeout = \"5m\"\n"),
            ("# all\r\n", five, "# all\r\ntimeout = \"5m\"\r\n"),
            ("timeout= 1 # s\r\n# end\r\n", five, "timeout= \"5m\" # s\r\n# end\r\n"),
            ("\"timeout\" = '1'\n", five, "\"timeout\" = \"5m\"\n"),
            ("\u{feff}timeout = 1\n", five, "\u{feff}timeout = \"5m\"\n"),
        ] {
            let (_directory, path) = scratch(old);
            set(&path, Key::Timeout, text).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), new, "{old:?}");
            read(&path).unwrap();
        }
    }

    #[test]
    fn setting_makes_the_home_and_keeps_a_link() {
        let (directory, path) = scratch("");
        set(&path, Key::Timeout, Some("5m")).unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let real = directory.path().join("dotfile.toml");
        std::fs::rename(&path, &real).unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        set(&path, Key::Timeout, Some("6m")).unwrap();
        assert!(path.is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "timeout = \"6m\"\n");
    }

    #[test]
    fn a_link_to_what_is_not_there_yet_is_kept() {
        let (directory, path) = scratch("x");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("second", &path).unwrap();
        let real = directory.path().join("dotfile.toml");
        std::os::unix::fs::symlink("../dotfile.toml", path.with_file_name("second")).unwrap();
        set(&path, Key::Timeout, Some("5m")).unwrap();
        assert!(path.is_symlink() && !real.is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "timeout = \"5m\"\n");
        std::fs::remove_file(&real).unwrap();
        std::os::unix::fs::symlink(&path, &real).unwrap();
        assert!(set(&path, Key::Timeout, Some("5m")).is_err(), "a loop");
        assert!(path.is_symlink() && real.is_symlink());
    }

    /// As root for another user; as anybody else there is but oneself.
    #[test]
    fn the_owner_stays() {
        let (_directory, path) = scratch("timeout = 1\n");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4242), Some(4243)).unwrap();
        }
        let owner = || {
            let metadata = std::fs::metadata(&path).unwrap();
            (metadata.uid(), metadata.gid())
        };
        let before = owner();
        set(&path, Key::Timeout, Some("5m")).unwrap();
        assert_eq!(owner(), before);
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn who_keeps_the_lock_makes_nobody_wait_for_ever() {
        let (_directory, path) = scratch("timeout = 1\n");
        let directory = path.parent().unwrap();
        let held = lock(directory, Duration::ZERO).unwrap();
        let error = lock(directory, Duration::from_millis(30)).unwrap_err();
        assert_eq!(error.code, ErrorCode::Busy);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| set(&path, Key::Timeout, Some("5m")));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!waiting.is_finished());
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_broken_file_is_not_overwritten() {
        for content in ["timeout = \n", "nonsense = 1\n"] {
            let (_directory, path) = scratch(content);
            assert!(set(&path, Key::Timeout, Some("5m")).is_err());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn two_at_once_lose_nothing() {
        let (_directory, path) = scratch("");
        let keys = [Key::Timeout, Key::ClientGrace, Key::SandboxTtl, Key::OutputRetention];
        std::thread::scope(|scope| {
            for key in keys {
                let path = &path;
                scope.spawn(move || set(path, key, Some("5m")).unwrap());
            }
        });
        assert_eq!(read(&path).unwrap().len(), keys.len());
    }

    proptest::proptest! {
        // Each case syncs a file to the disk, so they are few.
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        #[test]
        fn whatever_is_set_reads_back(text in "\\PC{0,20}|[\"\\\\\n\t#='\\[\\]]{0,8}", row in 1..Key::ALL.len()) {
            let (_directory, path) = scratch("# remark\ntimeout = '1s' # behind\n");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            set(&path, Key::ALL[row], Some(&text)).unwrap();
            let entries = read(&path).unwrap();
            let found = entries.iter().find(|entry| entry.key == Key::ALL[row]).unwrap();
            proptest::prop_assert_eq!(&found.text, &text);
            let content = std::fs::read_to_string(&path).unwrap();
            proptest::prop_assert!(content.starts_with("# remark\n") && content.contains("# behind"));
        }
    }

    #[test]
    fn a_fifo_does_not_hang() {
        let (_directory, path) = scratch("x");
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(read(&path).unwrap_err().message.contains("not a regular file"));
    }
}
