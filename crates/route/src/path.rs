//! Paths as text: where they lead, and whether they name a secret.

use std::path::{Component, Path, PathBuf};

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

/// Names such as `.ssh`, `.config/gcloud`, `*.pem` or `/etc/shadow`, which is only found at the top.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<Name>);

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
        Self(names.iter().map(name).filter(|name| !name.parts.is_empty()).collect())
    }

    /// Whether a path, or what a pattern of the shell may match, is among them.
    pub(crate) fn hold(&self, path: &str) -> bool {
        let components: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.0.iter().any(|name| {
            let starts = if name.absolute { 1 } else { components.len() };
            (0..starts).any(|start| {
                components.get(start..start + name.parts.len()).is_some_and(|found| {
                    found.iter().zip(&name.parts).all(|(found, wanted)| overlaps(found, wanted))
                })
            })
        })
    }
}

/// Whether a component may be what a name means. The component may be a pattern itself; then it is
/// compared by what it begins and ends with, and `*` alone, which is every second pattern, is taken
/// for what it mostly is.
fn overlaps(found: &str, wanted: &Part) -> bool {
    let is_glob = |character: char| matches!(character, '*' | '?' | '[' | ']');
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
        let names =
            Names::new(&[".ssh", ".config/gcloud", "*.pem", "id_rsa*", "/etc/shadow", ".env"]);
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
