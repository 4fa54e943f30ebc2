//! What was refused to a command, for its result.
//!
//! Filters ask about calls that change something, reach somebody or execute. The answer is either
//! always the same error, or that the kernel goes on: nothing here decides what a command may, so that
//! it does not matter when a program changes a path behind our back. What is said about a call
//! on which the kernel went on is what Landlock and the mounts do with such a path.

mod judge;
mod notification;
mod target;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use stigmer_core::Denial;

pub(crate) use judge::Judge;
pub(crate) use notification::LARGEST;

use crate::data;
use crate::family::Leash;
use crate::lane::HostLane;
use crate::pattern::path_fits;
use crate::seccomp::{Answer, Shape, find};
use crate::startup::is_shell;
use notification::{Notification, Reply};
use target::{Target, targets};

/// Denials that are kept one by one; a command that fails in a loop has the same ones over and over.
const MOST_KEPT: usize = 64;

/// New repositories that are named.
const MOST_BEGUN: usize = 16;

/// The supervisor's side of a command's filter.
///
/// Poll it for input ([`AsFd`]); when it is readable, call [`answer`](Self::answer). A command waits in
/// the call that is asked about until then. When it is hung up, nobody is left who could ask: poll it no
/// more. If the descriptor is closed, such calls fail.
#[derive(Debug)]
pub struct Denials {
    lane: HostLane,
    leash: Option<Leash>,
    listener: OwnedFd,
    judge: Judge,
    kept: Vec<Denial>,
    dropped: u64,
    /// Repositories that were begun in the workspace.
    begun: Vec<PathBuf>,
}

impl AsFd for Denials {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Denials {
    pub(crate) fn new(
        lane: HostLane,
        listener: OwnedFd,
        judge: Judge,
        leash: Option<Leash>,
    ) -> Self {
        notification::wake_at_once(&listener);
        let (kept, begun) = (Vec::new(), Vec::new());
        Self { lane, leash, listener, judge, kept, dropped: 0, begun }
    }

    /// To be called when the command has ended: the first process of its namespaces ends when nothing else is
    /// left of it. Until then, what the command left behind goes on; without this it ends when this is dropped.
    pub fn ended(&self) {
        if let Some(leash) = &self.leash {
            leash.let_go();
        }
    }

    /// What was denied so far, each once, the first 64.
    pub fn kept(&self) -> &[Denial] {
        &self.kept
    }

    /// How many other denials there were.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether something was denied that is no everyday probe.
    pub fn any(&self) -> bool {
        self.kept.iter().any(|denial| !denial.probe)
    }

    /// Where in the workspace the command began a repository, as far as that was seen.
    pub fn begun(&self) -> &[PathBuf] {
        &self.begun
    }

    /// Answers one call. Returns what was denied, if anything; probes are returned, too.
    ///
    /// It waits if nothing was asked: poll first. A process that ended while it waited is no error.
    ///
    /// # Errors
    /// What the kernel says of the descriptor: then nobody can ask any more.
    pub fn answer(&mut self) -> io::Result<Option<Denial>> {
        let Some(notification) = Notification::receive(&self.listener)? else { return Ok(None) };
        let pid = notification.pid();
        let call = find(self.lane, notification.number());
        let (reply, mut denied) = match call {
            Some(call) => {
                let targets = targets(&notification, call.shape);
                // What was read may belong to another process by now, which has the number of one that
                // is gone.
                let valid = notification.is_valid(&self.listener);
                match call.answer {
                    Answer::Refuse(error) => {
                        let denied = refused(call.name, call.shape, targets, error);
                        (Reply::Error(error), valid.then_some(denied))
                    }
                    Answer::Observe => {
                        if let Some(Target::Read(path)) = targets.first()
                            && let Some(content) = self.judge.replacement(path)
                            && target::program(pid).is_some_and(|program| is_shell(&program))
                            && self.replace(&notification, call.shape, content).is_ok()
                        {
                            return Ok(None);
                        }
                        let begun = targets.iter().filter_map(|target| match target {
                            Target::Write(path) => self.judge.begins(call.name, path),
                            _ => None,
                        });
                        for path in begun {
                            if self.begun.len() < MOST_BEGUN && !self.begun.contains(&path) {
                                self.begun.push(path);
                            }
                        }
                        let mut judged = targets
                            .into_iter()
                            .filter_map(|target| self.judge.denied(call.name, target));
                        let denied = judged.next().filter(|_| valid);
                        // Landlock does not govern sockets in the file system. Those that are known are
                        // covered; what came after that is refused here, as far as the path can be
                        // believed.
                        // The same goes for what is to stay absent, or as it is: what comes to be all the
                        // same is taken away in the end, and what is held is held by a mount as well.
                        let reply = match &denied {
                            Some(denial) if call.name == "connect" || self.judge.keeps(denial) => {
                                Reply::Error(denial.errno)
                            }
                            _ => Reply::Continue,
                        };
                        (reply, denied)
                    }
                }
            }
            // Nothing is asked that is not in the table.
            None => (Reply::Error(libc::EPERM), None),
        };
        if let Some(denial) = &mut denied {
            // While it waits it is who it was.
            denial.probe =
                is_probe(denial, || target::program(pid)) && !self.judge.is_repositorys(denial);
        }
        notification.reply(&self.listener, reply)?;
        if let Some(denial) = &denied {
            self.keep(denial);
        }
        Ok(denied)
    }

    /// Gives a shell another start-up file than the one that it opens. What it gets is ours, whatever
    /// becomes of the path that it said.
    fn replace(&self, notification: &Notification, shape: Shape, content: &[u8]) -> io::Result<()> {
        use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
        let file = memfd_create(c"start-up", MemfdFlags::CLOEXEC)?;
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        seek(&file, SeekFrom::Start(0))?;
        let closes_on_exec = match shape {
            Shape::Open(_, _, flags) => notification.argument(flags) as i32 & libc::O_CLOEXEC != 0,
            _ => true,
        };
        notification.give(&self.listener, &file, closes_on_exec)
    }

    fn keep(&mut self, denial: &Denial) {
        if self.kept.contains(denial) {
            return;
        }
        // A probe gives way to what is worth a word.
        if self.kept.len() >= MOST_KEPT
            && let Some(index) = self.kept.iter().position(|kept| kept.probe && !denial.probe)
        {
            self.kept.remove(index);
            self.dropped += 1;
        }
        if self.kept.len() < MOST_KEPT {
            self.kept.push(denial.clone());
        } else {
            self.dropped += 1;
        }
    }
}

fn refused(name: &str, shape: Shape, mut targets: Vec<Target>, error: i32) -> Denial {
    let path = match shape {
        Shape::Nothing => None,
        _ if targets.is_empty() => None,
        _ => Some(targets.remove(0).shown()),
    };
    Denial { call: name.to_owned(), path: path.map(Into::into), errno: error, probe: false }
}

/// Whether a denial is of what is tried in passing. `program` says who tried it.
fn is_probe(denial: &Denial, program: impl Fn() -> Option<OsString>) -> bool {
    let Some(path) = &denial.path else { return false };
    let by = |programs: &[&str]| {
        let program = program().unwrap_or_default();
        programs.iter().any(|pattern| path_fits(pattern, program.as_bytes()))
    };
    data::PROBES.iter().any(|(calls, pattern, programs)| {
        calls.contains(&denial.call.as_str())
            && path_fits(pattern, path.as_bytes())
            && (programs.is_empty() || by(programs))
    })
}

/// Something that a command left behind, and the error if it was taken away.
pub(crate) fn planted(path: PathBuf, errno: i32) -> Denial {
    denial(Denial::PLANTED, path, errno)
}

pub(crate) fn denial(call: &str, path: PathBuf, errno: i32) -> Denial {
    Denial { call: call.to_owned(), path: Some(path.into()), errno, probe: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(call: &str, path: &str) -> bool {
        is_probe(&denial(call, path.into(), 13), || None)
    }

    #[test]
    fn what_a_tool_looks_for_in_passing_is_worth_a_word_when_another_does() {
        let calls = |program: &str, call: &str, path: &str| {
            is_probe(&denial(call, path.into(), 13), || Some(program.into()))
        };
        let by = |program: &str, path: &str| calls(program, "read", path);
        assert!(calls("cargo", "mkdir", "/h/.cargo/registry"));
        assert!(!calls("python3", "unlink", "/h/.cargo/registry/src/a"));
        assert!(calls("bash", "open", "/h/.bash_history"));
        assert!(!calls("python3", "open", "/h/.bash_history"));
        assert!(calls("npm", "mkdir", "/h/.npm/_logs") && !calls("npm", "open", "/h/.npmrc"));
        assert!(!calls("sh", "unlink", "/h/.rustup/toolchains/stable/bin/cargo"));
        assert!(by("python3", "/h/.python_history") && !by("cat", "/h/.python_history"));
        assert!(by("node", "/h/.npmrc") && by("cargo", "/h/.cargo/credentials.toml"));
        assert!(by("git-remote-http", "/h/.netrc") && by("python3.13", "/h/.config/pip/pip.conf"));
        assert!(!by("cat", "/h/.npmrc") && !by("cat", "/h/.cargo/credentials.toml"));
        assert!(!by("python3.13", "/h/.netrc") && !probe("read", "/h/.netrc"));
    }

    #[test]
    fn everyday_probes_are_told_from_what_matters() {
        for (call, path) in [
            ("open", "/w/.git/index.lock"),
            ("connect", "/var/run/nscd/socket"),
            ("connect", "/run/nscd/socket"),
            ("mkdir", "/w/src/__pycache__"),
            ("open", "/usr/lib/python3/__pycache__/x.pyc.123"),
            ("open", "/h/.lesshsQ"),
            ("open", "/var/cache/man/cat1/catCaDq0"),
        ] {
            assert!(probe(call, path), "{call} {path}");
        }
        for (call, path) in [
            ("open", "/w/out.txt"),
            ("chmod", "/w/.git/index.lock"),
            ("connect", "/var/run/docker.sock"),
            ("unlink", "/w/a"),
            ("exec", "/w/__pycache__/x"),
            ("open", "/w/index.lock.txt"),
            ("read", "/h/.ssh/id_ed25519"),
            ("mkdir", "/h/.cargo"),
            ("open", "/h/.lesskey"),
            ("read", "/h/.bash_history"),
            ("open", "/var/cache/man"),
        ] {
            assert!(!probe(call, path), "{call} {path}");
        }
    }
}
