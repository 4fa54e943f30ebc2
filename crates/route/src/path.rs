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

/// Whether a path, or what a pattern of the shell may match, is among names such as `.ssh`,
/// `.config/gcloud` or `*.pem`.
pub(crate) fn names_one_of(path: &str, names: &[String]) -> bool {
    let components: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    names.iter().any(|name| {
        let wanted: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
        let starts = if name.starts_with('/') { 1 } else { components.len() };
        !wanted.is_empty()
            && (0..starts).any(|start| {
                components.get(start..start + wanted.len()).is_some_and(|found| {
                    found.iter().zip(&wanted).all(|(found, wanted)| overlaps(found, wanted))
                })
            })
    })
}

/// Whether a component may be what a name with at most one `*` means. The component may be a
/// pattern itself; then it is compared by what it begins and ends with, and `*` alone, which is
/// every second pattern, is taken for what it mostly is.
fn overlaps(found: &str, wanted: &str) -> bool {
    let is_glob = |character: char| matches!(character, '*' | '?' | '[' | ']');
    let (wanted_start, wanted_end) = match wanted.split_once('*') {
        Some((start, end)) => (start, end),
        None if !found.contains(is_glob) => return found == wanted,
        None => (wanted, ""),
    };
    if !found.contains(is_glob) {
        return found.len() >= wanted_start.len() + wanted_end.len()
            && found.starts_with(wanted_start)
            && found.ends_with(wanted_end);
    }
    let start = found.split(is_glob).next().unwrap_or("");
    let end = found.rsplit(is_glob).next().unwrap_or("");
    let meets = |one: &str, other: &str| one.starts_with(other) || other.starts_with(one);
    if start.is_empty() || wanted_start.is_empty() {
        let whole = if wanted_end.is_empty() { wanted_start } else { wanted_end };
        return !end.is_empty() && (whole.ends_with(end) || end.ends_with(whole));
    }
    meets(start, wanted_start)
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
        let names: Vec<_> = [".ssh", ".config/gcloud", "*.pem", "id_rsa*", "/etc/shadow", ".env"]
            .map(str::to_owned)
            .to_vec();
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
            assert!(names_one_of(path, &names), "{path}");
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
            assert!(!names_one_of(path, &names), "{path}");
        }
    }
}
