//! Where a toolchain keeps what is installed for one project: environments that lie in a workspace.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use stigmer_core::process::Command;

const EMBEDDED: &str = include_str!("../rules/environments.toml");

/// Everybody's temporary directory, which is a toolchain of its own here: what a command in the sandbox
/// leaves there is there, and nowhere else.
pub const TEMPORARY: &str = "/tmp";

/// Whether the text of a command names something there that is not the workspace's.
pub(crate) fn names_temporary(command: &Command, root: &Path) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/~".contains(&byte);
    let named = |text: &[u8]| {
        let found = memchr::memmem::find_iter(text, TEMPORARY.as_bytes());
        found.into_iter().any(|at| {
            let ends =
                text.get(at + TEMPORARY.len()).is_none_or(|next| *next == b'/' || !of_name(*next));
            let begins = at == 0 || !of_name(text[at - 1]);
            begins && ends && !text[at..].starts_with(root.as_os_str().as_bytes())
        })
    };
    match command {
        Command::Shell(line) => named(line.as_bytes()),
        Command::Argv(words) => words.iter().any(|word| named(word.as_bytes())),
    }
}

static ENVIRONMENTS: LazyLock<HashMap<String, Vec<Environment>>> =
    LazyLock::new(|| toml::from_str(EMBEDDED).unwrap_or_default());

/// An environment that a toolchain finds in a workspace, and would use there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Where it is, beneath the workspace's root.
    pub path: String,
    /// What is in it if it is one. Without this, its path alone tells.
    #[serde(default)]
    pub holds: Option<String>,
}

/// The environments that a toolchain may have in a workspace, as [`Verdict::toolchains`] names it;
/// none for one that keeps nothing there.
///
/// [`Verdict::toolchains`]: crate::Verdict::toolchains
pub fn environments(toolchain: &str) -> &'static [Environment] {
    ENVIRONMENTS.get(toolchain).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_environment_of_ours_can_be_read_and_lies_beneath_the_workspace() {
        let read: HashMap<String, Vec<Environment>> = toml::from_str(EMBEDDED).unwrap();
        assert_eq!(read, *ENVIRONMENTS);
        assert!(!read.is_empty());
        for environment in read.values().flatten() {
            let names = [Some(&environment.path), environment.holds.as_ref()];
            for name in names.into_iter().flatten() {
                let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
                assert!(name.split('/').all(plain), "{name}");
            }
        }
    }

    #[test]
    fn the_temporary_directory_is_known_by_its_name_wherever_it_is_written() {
        let root = Path::new("/tmp/place/app");
        let names = |text: &str| {
            let all = [Command::Shell(text.into()), Command::Argv(vec!["x".into(), text.into()])];
            let [shell, argv] = all.map(|command| names_temporary(&command, root));
            assert_eq!(shell, argv, "{text}");
            shell
        };
        for text in [
            "/tmp",
            "/tmp/x",
            "x >/tmp/y",
            "-o=/tmp/z",
            "cd /tmp&&ls",
            "'/tmp'",
            "a /tmp/place/app/x /tmp/y",
        ] {
            assert!(names(text), "{text}");
        }
        for text in
            ["", "/tmpx", "/tmp-x", "a/tmp/x", "/var/tmp/x", "~/tmp", "/tmp/place/app/x", "tmp"]
        {
            assert!(!names(text), "{text}");
        }
    }

    #[test]
    fn an_environment_is_found_by_its_toolchain() {
        let python: Vec<_> = environments("python").iter().map(|found| &*found.path).collect();
        assert!(python.contains(&".venv"), "{python:?}");
        let named = environments("python").iter().find(|found| found.path == "env").unwrap();
        assert_eq!(named.holds.as_deref(), Some("pyvenv.cfg"));
        assert_eq!(environments("node")[0].path, "node_modules");
        assert!(environments("cobol").is_empty());
    }
}
