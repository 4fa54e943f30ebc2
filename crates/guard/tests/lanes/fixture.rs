//! A home directory with a workspace in it, and a supervisor for one command.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use stigmer_core::Denial;
use stigmer_guard::{Begun, HostLane, Plan, Policy, Probe, Refusal, Start, Waiting, plan};

/// Longer than any of these commands takes.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// `home/` with `.ssh/id_ed25519` and `project/`, a repository; `outside/` beside it.
pub(crate) struct Fixture {
    _directory: tempfile::TempDir,
    pub(crate) base: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) project: PathBuf,
    pub(crate) outside: PathBuf,
    pub(crate) variables: Vec<(OsString, OsString)>,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) denials: Vec<Denial>,
    pub(crate) begun: Vec<PathBuf>,
}

impl Done {
    /// The kinds of calls that were denied about a path, probes left out.
    pub(crate) fn denied(&self, path: &Path) -> Vec<&str> {
        let about = |denial: &&Denial| {
            !denial.probe
                && denial
                    .path
                    .as_ref()
                    .is_some_and(|at| at.as_bytes() == path.as_os_str().as_bytes())
        };
        self.denials.iter().filter(about).map(|denial| denial.call.as_str()).collect()
    }

    /// The kinds of calls that were denied, probes left out.
    pub(crate) fn calls(&self) -> Vec<&str> {
        let real = self.denials.iter().filter(|denial| !denial.probe);
        real.map(|denial| denial.call.as_str()).collect()
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::in_directory("/var/tmp")
    }

    pub(crate) fn in_directory(parent: &str) -> Self {
        let directory = tempfile::tempdir_in(parent).unwrap();
        let base = directory.path().canonicalize().unwrap();
        let [home, outside] = ["home", "outside"].map(|name| base.join(name));
        let project = home.join("project");
        for path in [&outside, &project, &home.join(".ssh"), &home.join(".cargo/bin")] {
            fs::create_dir_all(path).unwrap();
        }
        let write = |path: &Path, text: &str| fs::write(path, text).unwrap();
        write(&home.join(".ssh/id_ed25519"), "PRIVATE");
        write(&home.join(".cargo/credentials.toml"), "PRIVATE");
        write(&home.join(".cargo/config.toml"), "[net]\n");
        write(&home.join(".gitconfig"), "[user]\n\tname = A\n\temail = a@example.org\n");
        write(&home.join("diary"), "PRIVATE");
        write(&outside.join("file"), "outside\n");
        write(&project.join("a.txt"), "one\ntwo\n");
        let mut variables: Vec<(OsString, OsString)> = Vec::new();
        for (name, value) in [
            ("HOME", home.to_str().unwrap()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
        ] {
            variables.push((name.into(), value.into()));
        }
        let fixture = Self { _directory: directory, base, home, project, outside, variables };
        fixture.git(&["init", "-q", "-b", "main"]);
        fixture.git(&["add", "."]);
        fixture.git(&["commit", "-q", "-m", "first"]);
        fixture
    }

    /// Runs git outside of any lane.
    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(&self.project).env_clear();
        let status = git.envs(self.variables.iter().cloned()).status().unwrap();
        assert!(status.success(), "git {arguments:?}");
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::new(&self.project, self.variables.clone())
    }

    pub(crate) fn shell(&self, lane: HostLane, line: &str) -> Done {
        self.with(lane, &self.policy(), &["bash", "-c", line])
    }

    pub(crate) fn python(&self, lane: HostLane, text: &str) -> Done {
        self.with(lane, &self.policy(), &["python3", "-c", text])
    }

    pub(crate) fn with(&self, lane: HostLane, policy: &Policy, words: &[&str]) -> Done {
        let command = words.iter().map(OsString::from).collect();
        let policy = Policy { command, ..policy.clone() };
        let plan = plan(lane, &policy, &Probe::for_lane(lane)).unwrap();
        run(&plan, words, &self.base).unwrap()
    }
}

/// An error is that of the exec, or why the lane was not entered.
pub(crate) fn run(
    plan: &Plan,
    words: &[&str],
    log: &Path,
) -> Result<Done, (io::Error, Option<Refusal>)> {
    let waiting = Waiting::make(plan.lane())
        .map_err(|refusal| (io::Error::other("waiting"), Some(refusal)))?;
    run_in(plan, waiting, words, log)
}

pub(crate) fn run_in(
    plan: &Plan,
    waiting: Waiting,
    words: &[&str],
    log: &Path,
) -> Result<Done, (io::Error, Option<Refusal>)> {
    let text = |text: &[u8]| CString::new(text).unwrap();
    let program =
        ["/usr/local/bin", "/usr/bin", "/bin"].map(|place| Path::new(place).join(words[0]));
    let program = program.iter().find(|path| path.exists()).cloned().unwrap_or(words[0].into());
    let program = text(program.as_os_str().as_bytes());
    let arguments: Vec<_> = words.iter().map(|word| text(word.as_bytes())).collect();
    let log = tempfile::NamedTempFile::new_in(log).unwrap();
    // One offset for both.
    let both = log.reopen().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let stdio = [null.as_fd(), both.as_fd(), both.as_fd()];
    let start = Start { program: &program, arguments: &arguments, stdio, prepare: &|| Ok(()) };
    let begun = match plan.begin(waiting, &start) {
        Ok(begun) => begun.map_err(|error| (error, None))?,
        Err(refusal) => return Err((io::Error::other("not entered"), Some(refusal))),
    };
    let Begun { pid, mut denials } = begun;
    let ended = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let mut anybody = true;
    loop {
        let mut polled = [
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(denials.as_fd(), PollFlags::IN),
        ];
        let count = if anybody { 2 } else { 1 };
        if poll(&mut polled[..count], Some(&PATIENCE)).unwrap() == 0 {
            kill_process(pid, Signal::KILL).unwrap();
            panic!("{words:?} takes for ever: {}", fs::read_to_string(log.path()).unwrap());
        }
        let [over, asked] = polled.map(|polled| polled.revents());
        if asked.contains(PollFlags::IN) {
            denials.answer().unwrap();
        } else if !over.is_empty() {
            break;
        } else if asked.contains(PollFlags::HUP) {
            anybody = false;
        }
    }
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    denials.ended();
    let status = ExitStatus::from_raw(status.as_raw());
    let kept = denials.kept().to_vec();
    let begun = denials.begun().to_vec();
    // What was left behind goes on, and goes on asking.
    std::thread::spawn(move || {
        loop {
            let mut polled = [PollFd::from_borrowed_fd(denials.as_fd(), PollFlags::IN)];
            poll(&mut polled, None).unwrap();
            if !polled[0].revents().contains(PollFlags::IN) {
                return;
            }
            denials.answer().unwrap();
        }
    });
    Ok(Done {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
        text: String::from_utf8_lossy(&fs::read(log.path()).unwrap()).into_owned(),
        denials: kept,
        begun,
    })
}
