//! What a command's text says about places, without understanding it.
//!
//! Nothing is allowed or forbidden by it: it says what is worth a look. The read-only lane asks about reading
//! only if a command seems to read elsewhere, since that takes some microseconds for each file, and who
//! searches a workspace opens thousands.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Text that is looked at; a longer one is taken for one that says everything.
const LONGEST: usize = 64 << 10;

/// What ends a path in a shell's text, were it not quoted.
fn ends(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"'\"`\\;|&<>(){}[]*?$,:=!#".contains(&byte)
}

/// What a command's text says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// Paths from the root, as far as they are certain: each with whether it goes on in a way that only a
    /// shell knows.
    pub(crate) paths: Vec<(PathBuf, bool)>,
    /// Names a place that only a shell knows: a home directory, a variable, the directory above.
    pub(crate) elsewhere: bool,
    /// Starts a shell that reads its start-up files.
    pub(crate) login: bool,
}

impl Said {
    /// Reads the words of a command, of which one may be a shell's text.
    pub(crate) fn of(words: &[OsString]) -> Self {
        let mut said = Self::default();
        let mut left = LONGEST;
        for word in words {
            match left.checked_sub(word.len()) {
                Some(rest) => left = rest,
                None => {
                    said.elsewhere = true;
                    return said;
                }
            }
            said.read(word.as_bytes());
        }
        let word = |name: &[u8]| words.iter().any(|word| has_word(word.as_bytes(), name));
        let asks = |word: &OsString| login_option(word.as_bytes());
        let shell = [&b"bash"[..], b"sh", b"dash", b"ksh"].into_iter().any(word);
        said.login = word(b"zsh") || shell && words.iter().any(asks);
        said
    }

    fn read(&mut self, text: &[u8]) {
        let mut begins = true;
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            match text[at] {
                b'~' if begins => self.elsewhere = true,
                b'`' => self.elsewhere = true,
                b'$' if rest
                    .get(1)
                    .is_some_and(|next| next.is_ascii_alphabetic() || b"_{(".contains(next)) =>
                {
                    self.elsewhere = true;
                }
                b'.' if begins && is_above(rest) => self.elsewhere = true,
                b'/' if is_above(&rest[1..]) => self.elsewhere = true,
                b'/' if begins => {
                    let length = rest.iter().position(|byte| ends(*byte)).unwrap_or(rest.len());
                    let goes_on = rest.get(length).is_some_and(|byte| b"\\*?$[{".contains(byte));
                    let path = OsString::from_vec(rest[..length].to_vec());
                    self.paths.push((path.into(), goes_on));
                }
                _ => {}
            }
            begins = ends(text[at]);
            at += 1;
        }
    }

    /// Whether the command seems to read what is neither in the workspace nor in places that everybody reads.
    pub(crate) fn reads_elsewhere(&self, workspace: &Path, everybodys: &[&str]) -> bool {
        let known = |path: &Path| {
            path.starts_with(workspace) || everybodys.iter().any(|place| path.starts_with(place))
        };
        self.elsewhere || self.paths.iter().any(|(path, _)| !known(path))
    }
}

/// Whether a text begins with `..` as a part of a path.
fn is_above(text: &[u8]) -> bool {
    text.starts_with(b"..") && text.get(2).is_none_or(|next| *next == b'/' || ends(*next))
}

/// Whether a text has a word, of which it may be the last part of a path.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    text.split(|byte| ends(*byte) || *byte == b'/').any(|part| part == word)
}

/// Whether a text has an option that makes a shell read its start-up files: `-l`, among others, or in words.
fn login_option(text: &[u8]) -> bool {
    text.split(|byte| ends(*byte)).any(|word| match word {
        [b'-', b'-', word @ ..] => word == b"login",
        [b'-', letters @ ..] => {
            letters.iter().all(u8::is_ascii_alphabetic)
                && letters.iter().any(|letter| b"li".contains(letter))
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Said {
        Said::of(&[text.into()])
    }

    #[test]
    fn a_command_that_stays_in_the_workspace_says_so() {
        for text in [
            "ls -la",
            "git log main..dev -- src/",
            "git show HEAD~1",
            "rg -n 'foo$' src | head -5",
            "awk '{print $1, $NF}' a.txt",
            "sed -n '1,20p' a.txt",
            "cat /etc/os-release /usr/share/x /w/a.txt > /dev/null",
            "find . -name '*.rs' -not -path './target/*'",
        ] {
            let reads = said(text).reads_elsewhere("/w".as_ref(), &["/etc", "/usr", "/dev"]);
            assert_eq!(reads, text.contains("$NF"), "{text}");
        }
    }

    #[test]
    fn a_command_that_reads_elsewhere_is_seen() {
        for text in [
            "cat ~/notes.txt",
            "cat \"$HOME/notes.txt\"",
            "cat ${HOME}/x",
            "cat $(cat list)",
            "cat `cat list`",
            "cat ../x",
            "cat a/../../x",
            "cd .. && ls",
            "cat /home/ada/x",
            "cat '/home/ada/x'",
            "grep --file=/home/x a.txt",
            "cat </home/ada/x",
            "cat /w2/x",
        ] {
            assert!(said(text).reads_elsewhere("/w".as_ref(), &["/etc"]), "{text}");
        }
        let long = said(&"a ".repeat(LONGEST));
        assert!(long.reads_elsewhere("/w".as_ref(), &[]));
    }

    #[test]
    fn paths_are_found_as_far_as_they_are_certain() {
        let paths = |text: &str| {
            let paths = said(text).paths.into_iter();
            paths.map(|(path, goes_on)| format!("{} {goes_on}", path.display())).collect::<Vec<_>>()
        };
        assert_eq!(paths("tail -5 /tmp/a.log; cat '/tmp/b'"), ["/tmp/a.log false", "/tmp/b false"]);
        assert_eq!(paths("cat /tmp/*.log"), ["/tmp/ true"]);
        assert_eq!(paths("cat /tmp/x-$ID.log x/y a=/b"), ["/tmp/x- true", "/b false"]);
    }

    #[test]
    fn a_shell_that_reads_its_start_up_files_is_seen() {
        let words: Vec<OsString> = ["bash", "-lc", "ls"].map(OsString::from).into();
        assert!(Said::of(&words).login);
        for text in
            ["bash -lc 'ls'", "/bin/bash --login -c ls", "zsh -c ls", "bash -i -c x", "sh -l x"]
        {
            assert!(said(text).login, "{text}");
        }
        for text in ["ls -l", "bash -c ls", "cat x.sh -l", "git log -l"] {
            assert!(!said(text).login, "{text}");
        }
    }
}
