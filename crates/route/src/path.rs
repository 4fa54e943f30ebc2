//! Paths as text: where they lead, and whether they name a secret.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// No path is longer (PATH_MAX of Linux), and a longer pattern is made to cost time.
pub(crate) const MOST_PATH: usize = 4096;

/// The path without `.` and `..`, by text alone. Symbolic links are the kernel's concern: it
/// enforces the lane.
pub(crate) fn resolve(cwd: &Path, path: &str) -> PathBuf {
    let mut resolved = if path.starts_with('/') { PathBuf::from("/") } else { cwd.to_owned() };
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// A component that is longer is no file's name (NAME_MAX of Linux), and a longer pattern is made to
/// cost time.
const MOST_COMPONENT: usize = 255;

/// Names such as `.ssh`, `.config/gcloud`, `*.pem` or `/etc/shadow`, which is only found at the top.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Names of one component without a star, which are most: each word of a command is looked up.
    plain: HashSet<String>,
    /// The others.
    composed: Vec<Name>,
    /// All of them, for patterns.
    all: Vec<Name>,
    /// What their first components begin with, and end with where they begin with a star.
    first: Bytes,
    last: Bytes,
    /// The least that they have.
    shortest: usize,
}

/// A set of bytes.
#[derive(Clone, Debug)]
struct Bytes([bool; 256]);

impl Default for Bytes {
    fn default() -> Self {
        Self([false; 256])
    }
}

#[derive(Clone, Debug)]
struct Name {
    absolute: bool,
    parts: Vec<Part>,
}

/// A component with at most one `*`.
#[derive(Clone, Debug)]
struct Part {
    start: String,
    end: String,
    star: bool,
}

impl Names {
    pub(crate) fn new<T: AsRef<str>>(names: &[T]) -> Self {
        let part = |text: &str| match text.split_once('*') {
            Some((start, end)) => Part { start: start.to_owned(), end: end.to_owned(), star: true },
            None => Part { start: text.to_owned(), end: String::new(), star: false },
        };
        let name = |name: &T| Name {
            absolute: name.as_ref().starts_with('/'),
            parts: name.as_ref().split('/').filter(|text| !text.is_empty()).map(part).collect(),
        };
        let all: Vec<_> = names.iter().map(name).filter(|name| !name.parts.is_empty()).collect();
        let plain = |name: &Name| match &name.parts[..] {
            [Part { start, star: false, .. }] if !name.absolute => Some(start.clone()),
            _ => None,
        };
        let mut first = Bytes::default();
        let mut last = Bytes::default();
        for part in all.iter().filter_map(|name| name.parts.first()) {
            match (part.start.bytes().next(), part.end.bytes().next_back()) {
                (Some(byte), _) => first.0[usize::from(byte)] = true,
                (None, Some(byte)) => last.0[usize::from(byte)] = true,
                // A star alone is any name.
                (None, None) => first.0 = [true; 256],
            }
        }
        let length = |name: &Name| name.parts.first().map_or(0, |p| p.start.len() + p.end.len());
        Self {
            shortest: all.iter().map(length).min().unwrap_or(0),
            first,
            last,
            plain: all.iter().filter_map(plain).collect(),
            composed: all.iter().filter(|name| plain(name).is_none()).cloned().collect(),
            all,
        }
    }

    /// Whether a path, or what a pattern of the shell may match, is among them.
    pub(crate) fn hold(&self, path: &str) -> bool {
        let (is_pattern, may_hold) = self.glance(path);
        if path.len() > MOST_PATH {
            return is_pattern;
        }
        if !is_pattern && !may_hold {
            return false;
        }
        if is_pattern && path.split('/').any(|part| part.len() > MOST_COMPONENT) {
            return true;
        }
        let components: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        if components.iter().any(|part| self.plain.contains(*part)) {
            return true;
        }
        let names = if is_pattern { &self.all } else { &self.composed };
        names.iter().any(|name| {
            let starts = if name.absolute { 1 } else { components.len() };
            (0..starts).any(|start| {
                components.get(start..start + name.parts.len()).is_some_and(|found| {
                    found.iter().zip(&name.parts).all(|(found, wanted)| overlaps(found, wanted))
                })
            })
        })
    }

    /// Whether a path is a pattern, and whether any of its components may be the first of a name:
    /// all that is asked of most words.
    fn glance(&self, path: &str) -> (bool, bool) {
        let (mut is_pattern, mut may_hold) = (false, false);
        let (mut length, mut first, mut last) = (0, b'/', b'/');
        for byte in path.bytes().chain([b'/']) {
            if byte == b'/' {
                may_hold |= length >= self.shortest
                    && (self.first.0[usize::from(first)] || self.last.0[usize::from(last)]);
                length = 0;
                continue;
            }
            is_pattern |= is_glob(char::from(byte));
            first = if length == 0 { byte } else { first };
            last = byte;
            length += 1;
        }
        (is_pattern, may_hold)
    }
}

/// Whether it belongs to a pattern of the shell.
fn is_glob(character: char) -> bool {
    matches!(character, '*' | '?' | '[' | ']')
}

/// Files whose names end so hold data and settings, and of a hundred one a secret.
const EVERYDAY: &[&str] = &["*.json", "*.yml", "*.yaml"];

/// Whether a component may be what a name means. The component may be a pattern itself; then it is
/// compared by what it begins and ends with, and `*` alone, which is every second pattern, is taken
/// for what it mostly is, as `*.json` is.
fn overlaps(found: &str, wanted: &Part) -> bool {
    let (start, end) = (wanted.start.as_str(), wanted.end.as_str());
    if !found.contains(is_glob) {
        return if wanted.star {
            found.len() >= start.len() + end.len()
                && found.starts_with(start)
                && found.ends_with(end)
        } else {
            found == start
        };
    }
    if !wanted.star && EVERYDAY.contains(&found) {
        return false;
    }
    let found_start = found.split(is_glob).next().unwrap_or("");
    let found_end = found.rsplit(is_glob).next().unwrap_or("");
    if found_start.is_empty() || start.is_empty() {
        let whole = if end.is_empty() { start } else { end };
        return !found_end.is_empty() && (whole.ends_with(found_end) || found_end.ends_with(whole));
    }
    found_start.starts_with(start) || start.starts_with(found_start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_resolved_by_text() {
        let at = |path| resolve(Path::new("/w/a"), path).to_string_lossy().into_owned();
        assert_eq!(at("b/./c"), "/w/a/b/c");
        assert_eq!(at("../../../x"), "/x");
        assert_eq!(at("/x//y/../z"), "/x/z");
        assert_eq!(at(""), "/w/a");
    }

    #[test]
    fn secrets_are_known_by_name_and_through_patterns() {
        let names = Names::new(&[
            ".ssh",
            ".config/gcloud",
            "*.pem",
            "id_rsa*",
            "/etc/shadow",
            ".env",
            "secrets.json",
        ]);
        for path in [
            "/home/a/.ssh/x",
            ".ssh",
            "a/.config/gcloud/b",
            "k.pem",
            "id_rsa.bak",
            "/etc/shadow",
            "/home/a/.s*/id",
            ".??h",
            "*.pem",
            "id_*",
            "/etc/sh*",
            ".*",
            ".[e]nv",
            "*_rsa",
            "s*.json",
            "*s.json",
        ] {
            assert!(names.hold(path), "{path}");
        }
        for path in [
            "/home/a/ssh",
            "x*",
            ".config/x",
            "pem",
            "*",
            "src/*.rs",
            "x/etc/shadow",
            ".envrc",
            "*.json",
        ] {
            assert!(!names.hold(path), "{path}");
        }
    }
}
