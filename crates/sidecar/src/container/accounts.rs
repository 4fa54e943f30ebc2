//! The caller's name in the container: many programs fail for a user who has none.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What the caller is called, unless the image has that name for somebody else.
const NAMES: [&str; 2] = ["sandbox", "stigmer"];

/// Longer than the list of users of any image.
const MAX_LIST_BYTES: u64 = 1 << 20;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Who commands run as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: &'a Path,
}

/// Gives the caller and their group a name if they have none. Returns the caller's, and what went
/// wrong with the lists: they are a convenience.
pub(super) fn enter(caller: Caller<'_>) -> (String, Vec<String>) {
    let mut trouble = Vec::new();
    let mut change = |path: &str, line: &dyn Fn(&str) -> (String, Option<String>)| {
        let list = match read(path) {
            Ok(list) => list,
            Err(error) => {
                trouble.push(format!("cannot read {path}: {error}"));
                return line("").0;
            }
        };
        let (name, missing) = line(&list);
        if let Some(mut missing) = missing {
            if !list.is_empty() && !list.ends_with('\n') {
                missing.insert(0, '\n');
            }
            if let Err(error) = append(path, missing.as_bytes()) {
                trouble.push(format!("cannot add the user to {path}: {error}"));
            }
        }
        name
    };
    change(GROUP, &|list| group_line(list, caller));
    let name = change(PASSWD, &|list| user_line(list, caller));
    (name, trouble)
}

/// The caller's name, and the lines for it if there are none (`passwd(5)`).
fn user_line(list: &str, caller: Caller<'_>) -> (String, Option<String>) {
    let Caller { uid, gid, home } = caller;
    if let Some(name) = name_of(list, uid) {
        return (name.to_owned(), None);
    }
    let name = free_name(list);
    let home = if is_field(home) { home.display().to_string() } else { "/".to_owned() };
    let mut lines = String::new();
    // An image without a list has no root either.
    if list.is_empty() && uid != 0 {
        lines.push_str("root:x:0:0:root:/root:/bin/sh\n");
    }
    let name = if uid == 0 { "root".to_owned() } else { name };
    lines.push_str(&format!("{name}:x:{uid}:{gid}::{home}:/bin/sh\n"));
    (name, Some(lines))
}

/// The same for the caller's group (`group(5)`).
fn group_line(list: &str, caller: Caller<'_>) -> (String, Option<String>) {
    let gid = caller.gid;
    if let Some(name) = name_of(list, gid) {
        return (name.to_owned(), None);
    }
    let mut lines = String::new();
    if list.is_empty() && gid != 0 {
        lines.push_str("root:x:0:\n");
    }
    let name = if gid == 0 { "root".to_owned() } else { free_name(list) };
    lines.push_str(&format!("{name}:x:{gid}:\n"));
    (name, Some(lines))
}

/// The name with a number; both lists have it in the third field.
fn name_of(list: &str, number: u32) -> Option<&str> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    })
}

fn free_name(list: &str) -> String {
    let taken = |name: &str| list.lines().any(|line| line.split(':').next() == Some(name));
    let free = NAMES.into_iter().find(|name| !taken(name));
    free.unwrap_or(NAMES[0]).to_owned()
}

/// Whether a path can stand in a list whose fields are told apart by colons.
fn is_field(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    std::str::from_utf8(bytes).is_ok() && !bytes.iter().any(|b| matches!(b, b':' | b'\n'))
}

/// A list, as far as it is text; empty if there is none. No link is followed: it would be the
/// image's word on where root writes.
fn read(path: &str) -> io::Result<String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file: File = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LIST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn append(path: &str, lines: &[u8]) -> io::Result<()> {
    if let Some(parent) = Path::new(path).parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o644);
    options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(path)?.write_all(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "root:x:0:0::/root:/bin/bash\nnode:x:1000:1000::/home/node:/bin/bash\n";

    fn caller(uid: u32, gid: u32, home: &str) -> Caller<'_> {
        Caller { uid, gid, home: Path::new(home) }
    }

    #[test]
    fn who_has_a_name_keeps_it() {
        assert_eq!(user_line(LIST, caller(1000, 7, "/h")), ("node".to_owned(), None));
        assert_eq!(user_line(LIST, caller(0, 0, "/h")), ("root".to_owned(), None));
    }

    #[test]
    fn who_has_none_gets_one_that_is_free() {
        let (name, line) = user_line(LIST, caller(7, 8, "/h"));
        assert_eq!(
            (name.as_str(), line.as_deref()),
            ("sandbox", Some("sandbox:x:7:8::/h:/bin/sh\n"))
        );
        let taken = format!("{LIST}sandbox:x:5:5::/:/bin/sh\n");
        assert_eq!(user_line(&taken, caller(7, 8, "/h")).0, "stigmer");
        assert_eq!(group_line("", caller(7, 8, "/h")).1.unwrap(), "root:x:0:\nsandbox:x:8:\n");
    }

    #[test]
    fn an_image_without_a_list_gets_root_too() {
        let lines = user_line("", caller(7, 8, "/h")).1.unwrap();
        assert!(lines.starts_with("root:x:0:0:") && lines.lines().count() == 2, "{lines}");
        let lines = user_line("", caller(0, 0, "/h")).1.unwrap();
        assert_eq!(lines, "root:x:0:0::/h:/bin/sh\n");
    }

    #[test]
    fn nothing_can_be_smuggled_into_a_line() {
        let line = user_line(LIST, caller(7, 8, "/h\nevil:x:0:0::/:/bin/sh")).1.unwrap();
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(user_line("::\n:x:7:\nx\n", caller(7, 8, "/h")).0, "sandbox");
    }
}
