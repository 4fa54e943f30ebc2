//! What a repository's configuration makes git obey besides itself (git-config(1)).
//!
//! Only that is looked for which names other files or directories: it is what a lane has to hold. Git reads
//! such a file on its own terms, so whatever is read otherwise here, or not at all, is an error.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The longest file of settings that is read, in bytes. Those of people have some kilobytes.
pub(crate) const LONGEST: u64 = 1 << 20;

/// Files in files, as git follows them (`MAX_INCLUDE_DEPTH` of its config.c).
const DEEPEST: usize = 10;

/// Files of settings that one repository has. Some is wrong with more.
const MOST_FILES: usize = 32;

/// A file cannot be read as git reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// How a file is read: `None` if there is none.
pub(crate) type Read<'a> = dyn Fn(&Path) -> Option<Vec<u8>> + 'a;

/// What was found in files of settings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Directories of hooks as they are written, beneath `~` already resolved.
    pub(crate) hooks: Vec<PathBuf>,
    /// Files that are read as if they were part of it.
    pub(crate) included: Vec<PathBuf>,
    /// Whether each worktree has a file of settings, `config.worktree`.
    pub(crate) per_worktree: bool,
    /// Where a submodule is checked out, from its repository.
    pub(crate) work_tree: Option<PathBuf>,
    /// The names of the submodules that were set up.
    pub(crate) submodules: Vec<PathBuf>,
    /// Where submodules are checked out, from `.gitmodules`.
    pub(crate) paths: Vec<PathBuf>,
}

impl Settings {
    /// Reads a file and all that it includes, whatever the conditions: they may come true.
    pub(crate) fn read(
        &mut self,
        file: &Path,
        home: Option<&Path>,
        read: &Read<'_>,
    ) -> Result<(), Unreadable> {
        self.read_at(file, home, read, 0)
    }

    fn read_at(
        &mut self,
        file: &Path,
        home: Option<&Path>,
        read: &Read<'_>,
        depth: usize,
    ) -> Result<(), Unreadable> {
        let Some(text) = read(file) else { return Ok(()) };
        if text.len() as u64 > LONGEST {
            return Err(Unreadable);
        }
        for Setting { section, inner, name, value } in parse(&text)? {
            let path = value.as_deref().and_then(|value| expand(value, home));
            match (section.as_slice(), name.as_slice()) {
                (b"core", b"hookspath") => self.hooks.extend(path),
                (b"core", b"worktree") => self.work_tree = path,
                (b"extensions", b"worktreeconfig") => self.per_worktree |= is_on(value.as_deref()),
                (b"submodule", name) => {
                    if name == b"path" {
                        self.paths.extend(path);
                    }
                    let inner = inner.map(|inner| PathBuf::from(OsStr::from_bytes(&inner)));
                    let new = inner.filter(|inner| self.submodules.last() != Some(inner));
                    self.submodules.extend(new);
                }
                (b"include" | b"includeif", b"path") => {
                    let Some(path) = path else { continue };
                    let path = file.parent().unwrap_or(Path::new("/")).join(path);
                    // The same file twice says nothing new, and one that includes itself never ends.
                    if self.included.contains(&path) {
                        continue;
                    }
                    if depth == DEEPEST || self.included.len() == MOST_FILES {
                        return Err(Unreadable);
                    }
                    self.included.push(path.clone());
                    self.read_at(&path, home, read, depth + 1)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A path as it is written in a setting. Other people's home directories and git's own are not the
/// workspace's.
fn expand(value: &[u8], home: Option<&Path>) -> Option<PathBuf> {
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    match value.strip_prefix(b":(optional)").unwrap_or(value) {
        b"" => None,
        b"~" => home.map(Path::to_owned),
        [b'~', b'/', rest @ ..] => Some(home?.join(path(rest))),
        [b'~', ..] => None,
        [b'%', b'(', b'p', b'r', b'e', b'f', b'i', b'x', b')', b'/', ..] => None,
        value => Some(path(value).to_owned()),
    }
}

/// Whether a switch is on: all but what git takes for off.
fn is_on(value: Option<&[u8]>) -> bool {
    let Some(value) = value else { return true };
    let off: [&[u8]; 5] = [b"", b"false", b"no", b"off", b"0"];
    !off.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// One setting. Sections and names are in small letters.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    section: Vec<u8>,
    inner: Option<Vec<u8>>,
    name: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// The settings of a file in their order (git-config(1), "Syntax").
fn parse(text: &[u8]) -> Result<Vec<Setting>, Unreadable> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut reader = Reader { text, at: 0 };
    let mut all = Vec::new();
    let mut section: Option<(Vec<u8>, Option<Vec<u8>>)> = None;
    while let Some(byte) = reader.next() {
        match byte {
            b'#' | b';' => while !matches!(reader.next(), None | Some(b'\n')) {},
            b'[' => section = Some(reader.section()?),
            byte if byte.is_ascii_whitespace() || byte == 0x0b => {}
            byte if byte.is_ascii_alphabetic() => {
                let (section, inner) = section.clone().ok_or(Unreadable)?;
                let (name, value) = reader.setting(byte)?;
                all.push(Setting { section, inner, name, value });
            }
            _ => return Err(Unreadable),
        }
    }
    Ok(all)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    /// The next byte; both ends of a line are one.
    fn next(&mut self) -> Option<u8> {
        if self.text.get(self.at..self.at + 2) == Some(b"\r\n") {
            self.at += 1;
        }
        let byte = self.text.get(self.at).copied();
        self.at += 1;
        byte
    }

    /// What follows on a `[`.
    fn section(&mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), Unreadable> {
        let mut name = Vec::new();
        loop {
            match self.next().ok_or(Unreadable)? {
                b']' => break,
                b' ' | b'\t' => return Ok((name, Some(self.quoted_section()?))),
                byte if byte.is_ascii_alphanumeric() || b"-.".contains(&byte) => {
                    name.push(byte.to_ascii_lowercase());
                }
                _ => return Err(Unreadable),
            }
        }
        // `[section.inner]` is an old way to write one.
        match name.iter().position(|byte| *byte == b'.') {
            Some(dot) => Ok((name[..dot].to_vec(), Some(name[dot + 1..].to_vec()))),
            None => Ok((name, None)),
        }
    }

    fn quoted_section(&mut self) -> Result<Vec<u8>, Unreadable> {
        let mut byte = self.next();
        while matches!(byte, Some(b' ' | b'\t')) {
            byte = self.next();
        }
        if byte != Some(b'"') {
            return Err(Unreadable);
        }
        let mut inner = Vec::new();
        loop {
            match self.next().ok_or(Unreadable)? {
                b'\n' => return Err(Unreadable),
                b'"' => break,
                b'\\' => inner.push(self.next().filter(|byte| *byte != b'\n').ok_or(Unreadable)?),
                byte => inner.push(byte),
            }
        }
        (self.next() == Some(b']')).then_some(inner).ok_or(Unreadable)
    }

    /// A name that begins with this, and its value if it has one.
    fn setting(&mut self, first: u8) -> Result<(Vec<u8>, Option<Vec<u8>>), Unreadable> {
        let mut name = vec![first.to_ascii_lowercase()];
        let mut byte = self.next();
        while let Some(letter) = byte.filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            name.push(letter.to_ascii_lowercase());
            byte = self.next();
        }
        while matches!(byte, Some(b' ' | b'\t')) {
            byte = self.next();
        }
        match byte {
            None | Some(b'\n') => Ok((name, None)),
            Some(b'=') => Ok((name, Some(self.value()?))),
            Some(_) => Err(Unreadable),
        }
    }

    /// What follows on a `=`.
    fn value(&mut self) -> Result<Vec<u8>, Unreadable> {
        let mut value = Vec::new();
        // Spaces at the end of a value that is not quoted are not part of it.
        let mut end = 0;
        let mut quoted = false;
        loop {
            match self.next() {
                None | Some(b'\n') if quoted => return Err(Unreadable),
                None | Some(b'\n') => break,
                Some(b'#' | b';') if !quoted => {
                    while !matches!(self.next(), None | Some(b'\n')) {}
                    break;
                }
                Some(byte) if !quoted && (byte.is_ascii_whitespace() || byte == 0x0b) => {
                    if !value.is_empty() {
                        value.push(byte);
                    }
                    continue;
                }
                Some(b'\\') => match self.next() {
                    Some(b'\n') => continue,
                    Some(b't') => value.push(b'\t'),
                    Some(b'b') => value.push(0x08),
                    Some(b'n') => value.push(b'\n'),
                    Some(byte @ (b'\\' | b'"')) => value.push(byte),
                    _ => return Err(Unreadable),
                },
                Some(b'"') => quoted = !quoted,
                Some(byte) => value.push(byte),
            }
            end = value.len();
        }
        value.truncate(end);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, Unreadable> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let show = |setting: &Setting| {
            let inner = setting.inner.as_ref().map(|inner| format!(" {}", text_of(inner)));
            let value = setting.value.as_ref().map(|value| format!("={}", text_of(value)));
            format!(
                "{}{}/{}{}",
                text_of(&setting.section),
                inner.unwrap_or_default(),
                text_of(&setting.name),
                value.unwrap_or_default()
            )
        };
        Ok(parse(text.as_bytes())?.iter().map(show).collect())
    }

    #[test]
    fn settings_are_read_as_git_reads_them() {
        for (text, expected) in [
            ("[Core]\n\tHooksPath = a b \n", "core/hookspath=a b"),
            ("[core]hooksPath=a", "core/hookspath=a"),
            ("[core]\r\nhooksPath = a\r\n", "core/hookspath=a"),
            ("[core]\nhooksPath = \"a # b \" # c", "core/hookspath=a # b "),
            ("[core]\nhooksPath = a\\\nb ; c\n", "core/hookspath=ab"),
            ("[core]\nhooksPath = a\" \"b\\t\\\"\\\\\n", "core/hookspath=a b\t\"\\"),
            ("[extensions]\nworktreeConfig\n", "extensions/worktreeconfig"),
            ("[includeIf \"gitdir:~/\\\"x\\\\\"]\npath = y", "includeif gitdir:~/\"x\\/path=y"),
            ("[include.Old] path=y", "include old/path=y"),
            ("# [a]\n; b\n[c]\nd = # e\n", "c/d="),
            ("\u{feff}[c]\nd = e", "c/d=e"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(&[expected.to_owned()][..]), "{text}");
        }
        assert_eq!(shown("[a]\nb = \n[a \"b\"]\n c = 1").unwrap(), ["a/b=", "a b/c=1"]);
    }

    #[test]
    fn what_git_does_not_read_is_an_error() {
        for text in [
            "a = b",
            "[a",
            "[a b]",
            "[a \"b]\n",
            "[a \"b\" ]",
            "[a]\nb = \"c\n",
            "[a]\nb = \\x",
            "[a]\n= b",
            "[a]\nb c = d",
            "[a]\n1 = d",
            "[a_b]\n",
        ] {
            assert_eq!(shown(text), Err(Unreadable), "{text}");
        }
    }

    #[test]
    fn what_is_included_is_read_from_where_it_is_named_and_counts() {
        let read = |path: &Path| -> Option<Vec<u8>> {
            Some(match path.to_str()? {
                "/w/.git/config" => {
                    b"[include]\npath=../x\n[includeIf \"onbranch:y\"]\npath=~/z".to_vec()
                }
                "/w/.git/../x" => {
                    b"[core]\nhooksPath=h\n[include]\npath=x\npath=../.git/../x".to_vec()
                }
                "/h/z" => {
                    b"[extensions]\nworktreeConfig = TRUE\n[submodule \"a/b\"]\nurl=u".to_vec()
                }
                _ => return None,
            })
        };
        let mut settings = Settings::default();
        settings.read("/w/.git/config".as_ref(), Some("/h".as_ref()), &read).unwrap();
        assert_eq!(settings.hooks, [PathBuf::from("h")]);
        assert!(settings.per_worktree);
        assert_eq!(settings.submodules, [PathBuf::from("a/b")]);
        let expected = ["/w/.git/../x", "/w/.git/../../.git/../x", "/h/z"];
        assert_eq!(settings.included, expected.map(PathBuf::from));
    }

    #[test]
    fn files_that_include_others_without_end_are_an_error() {
        let long = |_: &Path| Some(vec![b'\n'; LONGEST as usize + 1]);
        assert_eq!(Settings::default().read("/c".as_ref(), None, &long), Err(Unreadable));
        let deep = |path: &Path| {
            Some(format!("[include]\npath = {}x", path.file_name()?.to_str()?).into_bytes())
        };
        assert_eq!(Settings::default().read("/c".as_ref(), None, &deep), Err(Unreadable));
    }
}
