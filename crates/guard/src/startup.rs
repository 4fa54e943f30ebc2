//! The start-up files of shells, for commands that read them (`bash -lc …`).
//!
//! They set up the caller's tools, so they are read like a tool's settings; but many hold a token. One that
//! seems to is not read: the shell gets another in its place, which sets `PATH` to the caller's, since
//! what the system's own start-up files make of that has none of the caller's tools in it.
//!
//! Managers of versions (`eval "$(pyenv init -)"`) write anew which programs they have, and complain if they
//! cannot, some after a minute. A shell gets a file that tells them not to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::data;
use crate::look::{Kind, Look};
use crate::pattern::{name_fits, path_fits};
use crate::policy::Policy;
use crate::roots::{Right, Root};

/// The longest that is looked through; those of most people have a tenth of it.
pub(crate) const LONGEST: u64 = 256 << 10;

/// What becomes of the start-up files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Startup {
    /// Those that may be read.
    pub(crate) readable: Vec<Root>,
    /// Those in whose place a shell gets another, by their real paths, and what is in that.
    pub(crate) replaced: Vec<(PathBuf, Vec<u8>)>,
}

/// Looks through the caller's start-up files. `read` gives the content of one, unless it is longer than
/// [`LONGEST`].
pub(crate) fn startup(
    policy: &Policy,
    look: &impl Look,
    read: impl Fn(&Path) -> Option<Vec<u8>>,
) -> Startup {
    let mut startup = Startup::default();
    for place in data::STARTUP.iter().filter_map(|place| policy.place(place)) {
        let Some((path, kind @ Kind::File)) = look.real(&place) else { continue };
        match read(&path) {
            Some(content) if !holds_secret(&content) => {
                if let Some(quiet) = without_rehash(&content) {
                    startup.replaced.push((path.clone(), quiet));
                }
                startup.readable.push(Root { path, kind, right: Right::Read });
            }
            _ => startup.replaced.push((path, callers_path(policy))),
        }
    }
    startup
}

/// A shell's text in which managers of versions are told to write nothing; `None` if there are none in it.
fn without_rehash(text: &[u8]) -> Option<Vec<u8>> {
    /// Those that know the option.
    const MANAGERS: &[&[u8]] = &[b"pyenv", b"rbenv", b"nodenv", b"goenv"];
    const BEGINS: &[u8] = b" init ";
    const OPTION: &[u8] = b"--no-rehash ";
    let mut quiet = Vec::with_capacity(text.len() + 2 * OPTION.len());
    for at in 0..text.len() {
        quiet.push(text[at]);
        let said = &text[..=at];
        let called = said.strip_suffix(BEGINS);
        if called.is_some_and(|before| MANAGERS.iter().any(|name| before.ends_with(name))) {
            quiet.extend(OPTION);
        }
    }
    (quiet.len() > text.len()).then_some(quiet)
}

/// What a shell reads in place of a start-up file that holds a secret.
fn callers_path(policy: &Policy) -> Vec<u8> {
    let Some(path) = policy.variable("PATH") else { return Vec::new() };
    let mut text = b"export PATH='".to_vec();
    for byte in path.as_bytes() {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            byte => text.push(*byte),
        }
    }
    text.extend(b"'\n");
    text
}

/// Whether a shell's text seems to hold a secret: it sets a variable with the name of one, or has what looks
/// like one in it.
fn holds_secret(text: &[u8]) -> bool {
    let marked = |word: &[u8]| data::SECRET_MARKS.iter().any(|mark| path_fits(mark, word));
    text.split(|byte| byte.is_ascii_whitespace()).any(marked) || sets_secret(text)
}

fn sets_secret(text: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let set = text.iter().enumerate().filter(|(_, byte)| **byte == b'=');
    set.map(|(end, _)| {
        let begin = text[..end].iter().rposition(|byte| !is_name(byte)).map_or(0, |at| at + 1);
        (&text[begin..end], text.get(end + 1))
    })
    // Taking a value away sets none.
    .filter(|(_, value)| value.is_some_and(|first| !first.is_ascii_whitespace() && *first != b';'))
    .any(|(name, _)| data::SECRET.iter().any(|pattern| name_fits(pattern, name)))
}

/// Whether a program is a shell, by the name of its file.
pub(crate) fn is_shell(program: &OsStr) -> bool {
    ["bash", "rbash", "sh", "dash", "zsh", "ksh", "mksh"].iter().any(|shell| program == *shell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::tests::Fake;

    #[test]
    fn a_file_that_holds_a_secret_is_told_from_one_that_does_not() {
        for text in [
            "export GITHUB_TOKEN=abc\n",
            "if true; then\n\tOPENAI_API_KEY='x'\nfi",
            "alias c='curl -H \"Authorization: Bearer abc\" x'",
            "X=sk-ant-abc",
            "export DB=postgres://u:p@host/db",
            "export AWS_PROFILE=work",
            "x; db_password=1",
        ] {
            assert!(holds_secret(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            ". \"$HOME/.cargo/env\"\n",
            "export NVM_DIR=\"$HOME/.nvm\"\n[ -s \"$NVM_DIR/nvm.sh\" ] && \\. \"$NVM_DIR/nvm.sh\"",
            "case $- in *i*) ;; *) return;; esac\nHISTCONTROL=ignoreboth\n",
            "PS1='${debian_chroot:+($debian_chroot)}\\u@\\h:\\w\\$ '",
            "GITHUB_TOKEN= make; unset GITHUB_TOKEN; echo $GITHUB_TOKEN == x",
            "alias gh='git push https://github.com/a/b'",
        ] {
            assert!(!holds_secret(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn files_are_read_or_replaced_where_they_really_lie() {
        let policy = Policy::new(
            "/w",
            vec![("HOME".into(), "/h".into()), ("PATH".into(), "/a'b:/c".into())],
        );
        let look = Fake::new(&[
            "/h/.profile",
            "/h/.bashrc -> dots/bashrc",
            "/h/dots/bashrc",
            "/h/.zshenv/",
        ]);
        let read = |path: &Path| {
            let secret = path.ends_with("bashrc");
            Some(if secret { b"export X_TOKEN=1".to_vec() } else { b"umask 022".to_vec() })
        };
        let found = startup(&policy, &look, read);
        let readable: Vec<_> =
            found.readable.iter().map(|root| root.path.to_str().unwrap()).collect();
        assert_eq!(readable, ["/h/.profile"]);
        let instead = b"export PATH='/a'\\''b:/c'\n".to_vec();
        assert_eq!(found.replaced, [(PathBuf::from("/h/dots/bashrc"), instead)]);
        assert_eq!(startup(&policy, &look, |_| None).readable, []);
    }

    #[test]
    fn managers_of_versions_are_told_to_write_nothing() {
        let quiet = |text: &str| {
            without_rehash(text.as_bytes()).map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(
            quiet("eval \"$(pyenv init - bash)\"\neval \"$(~/.rbenv/bin/rbenv init -)\"")
                .as_deref(),
            Some(
                "eval \"$(pyenv init --no-rehash - bash)\"\neval \"$(~/.rbenv/bin/rbenv init --no-rehash -)\""
            )
        );
        assert_eq!(quiet("eval \"$(pyenv virtualenv-init -)\"; git init -q"), None);
    }
}
