//! Runs one command in the world and looks at what became of the world.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, WaitOptions};
use stigmer_guard::{Begun, Denials, Plan, Policy, Probe, Start, Waiting, plan};

use crate::PROJECT;
use crate::listeners::Listeners;
use crate::setup::{PRIVATE, RUNTIME};
use crate::snapshot::{SECRET, Snapshot};
use crate::trace;
use crate::trial::{Change, Observation, Trial, Way, What};

/// How long what a command left in the background may go on.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// How often processes without a descriptor to wait on are asked about.
const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Bytes of a file that a command may write: the world is in memory.
const LARGEST_FILE: u64 = 64 << 20;

/// Bytes of output that are kept.
const MOST_OUTPUT: usize = 64 << 10;

const OUTPUT: &str = "/mnt/output";
const TRACE: &str = "/mnt/trace";

/// What is the same for all commands of a world.
pub(crate) struct Runner {
    pub(crate) probe: Probe,
    pub(crate) path: String,
    pub(crate) listeners: Listeners,
    /// The world as the last command left it, if nothing is known to have changed since.
    pub(crate) known: Option<Snapshot>,
}

impl Runner {
    /// What a caller has.
    fn variables(&self) -> Vec<(OsString, OsString)> {
        let variables = [
            ("HOME", crate::HOME),
            ("PATH", self.path.as_str()),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("USER", "ada"),
            ("LOGNAME", "ada"),
            ("SHELL", "/bin/bash"),
            ("PYENV_ROOT", "/home/ada/.pyenv"),
            ("XDG_RUNTIME_DIR", RUNTIME),
        ];
        variables.map(|(name, value)| (name.into(), value.into())).into()
    }

    /// The same, with what a lane must not have.
    fn dangerous(&self) -> Vec<(OsString, OsString)> {
        let more = [
            ("DOCKER_HOST", "unix:///run/docker.sock"),
            ("SSH_AUTH_SOCK", "/home/ada/.agent.sock"),
            ("GIT_EXTERNAL_DIFF", "/home/ada/project/pwn.sh"),
            ("BASH_ENV", "/home/ada/project/pwn.sh"),
            ("LESSOPEN", "|/home/ada/project/pwn.sh %s"),
            ("PAGER", "/home/ada/project/pwn.sh"),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
        ];
        let more = more.map(|(name, value)| (name.into(), value.into()));
        self.variables().into_iter().chain(more).collect()
    }

    /// Runs a command.
    pub(crate) fn observe(&mut self, trial: &Trial) -> Observation {
        let mut policy = Policy::new(PROJECT, self.dangerous());
        // Its making would be a change of the directory that it lies in.
        policy.temporary = Some(PRIVATE.into());
        policy.command = vec![trial.command.clone().into()];
        policy.programs = trial.programs.iter().map(OsString::from).collect();
        let plan = match plan(trial.lane, &policy, &self.probe) {
            Ok(plan) => plan,
            Err(refusal) => {
                return Observation {
                    refused: Some(refusal.to_string()),
                    ..Observation::default()
                };
            }
        };
        let scratch = plan.scratch().map(Path::to_owned);
        self.listeners.reached();
        let before = self.known.take().unwrap_or_else(|| Snapshot::take(None));
        let mut observation = match run(trial, &plan, self.variables()) {
            Ok(observation) => observation,
            Err(error) => {
                Observation { refused: Some(error.to_string()), ..Observation::default() }
            }
        };
        let after = Snapshot::take(Some(&before));
        observation.changes = before.changes(&after);
        observation.changes.extend(self.listeners.reached());
        if observation.output.contains(SECRET) {
            observation.changes.push(Change::new(What::Shown, "a secret, in the output"));
        }
        if trial.way == Way::Traced {
            let text = fs::read(TRACE).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let scratch = scratch.as_deref().and_then(Path::to_str);
            observation.changes.extend(trace::changes(&text, scratch));
        }
        if let Some(scratch) = &scratch {
            let name = scratch.to_string_lossy().into_owned();
            observation.output = observation.output.replace(&name, "$TMPDIR");
            drop(plan);
            if scratch.exists() {
                observation.changes.push(Change::new(What::Left, name));
            }
        }
        if observation.changes.is_empty() {
            self.known = Some(after);
        }
        observation
    }
}

fn run(trial: &Trial, plan: &Plan, own: Vec<(OsString, OsString)>) -> io::Result<Observation> {
    let log = File::create(OUTPUT)?;
    let (child, mut denials) = match trial.way {
        Way::Lane => {
            let arguments = [c"bash".to_owned(), c"-c".to_owned(), text(&trial.command)?];
            let null = File::open("/dev/null")?;
            let start = Start {
                program: c"/bin/bash",
                arguments: &arguments,
                stdio: [null.as_fd(), log.as_fd(), log.as_fd()],
                prepare: &bound,
            };
            let begun = Waiting::make(plan.lane()).and_then(|waiting| plan.begin(waiting, &start));
            let Begun { pid, denials } = begun.map_err(io::Error::other)??;
            (pid, Some(denials))
        }
        _ => (outside(trial, plan, own, log)?, None),
    };
    let (status, ended) = follow(child, denials.as_mut(), Duration::from_secs(trial.seconds))?;
    let status = ExitStatus::from_raw(status);
    let mut output = fs::read(OUTPUT)?;
    output.truncate(MOST_OUTPUT);
    let mut denied = denials.map(|denials| denials.kept().to_vec()).unwrap_or_default();
    // As a supervisor does when nothing is left of a command.
    denied.extend(plan.take_away());
    Ok(Observation {
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        ended,
        output: String::from_utf8_lossy(&output).into_owned(),
        denials: denied,
        ..Observation::default()
    })
}

/// Starts a command that is in no lane.
fn outside(
    trial: &Trial,
    plan: &Plan,
    own: Vec<(OsString, OsString)>,
    log: File,
) -> io::Result<Pid> {
    let mut command = Command::new("bash");
    if trial.way == Way::Traced {
        command = Command::new("strace");
        command.args(["-f", "-qq", "-y", "--seccomp-bpf", "-s", "1024", "-e", "signal=none"]);
        command.args(["-e", trace::CALLS, "-o", TRACE, "bash"]);
    }
    command.args(["-c", &trial.command]);
    command.current_dir(plan.cwd()).env_clear().envs(plan.environment().iter().cloned());
    if trial.way == Way::Local {
        command.env_clear().envs(own);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(bound) };
    Ok(Pid::from_child(&command.spawn()?))
}

/// A session of its own, and limits.
fn bound() -> io::Result<()> {
    rustix::process::setsid()?;
    let most = Rlimit { current: Some(LARGEST_FILE), maximum: Some(LARGEST_FILE) };
    rustix::process::setrlimit(Resource::Fsize, most)?;
    Ok(())
}

/// Answers for a command until nobody is left of it. Says how it ended, and whether it was ended.
fn follow(
    child: Pid,
    mut denials: Option<&mut Denials>,
    longest: Duration,
) -> io::Result<(i32, bool)> {
    let began = Instant::now();
    let mut over: Option<(i32, Instant)> = None;
    let (mut ended, mut asked) = (false, true);
    loop {
        // All processes of the world are this one's children, sooner or later.
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                if pid == child {
                    over = Some((status.as_raw(), Instant::now()));
                    if let Some(denials) = &denials {
                        denials.ended();
                    }
                }
                continue;
            }
            Ok(None) => {}
            Err(rustix::io::Errno::CHILD) => break,
            Err(error) => return Err(error.into()),
        }
        let late = match over {
            Some((_, at)) => at.elapsed() > AFTERWARDS,
            None => began.elapsed() > longest,
        };
        if late {
            ended |= over.is_none();
            // Everybody in the world but this process, which is its first.
            // SAFETY: makes a system call without a pointer.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        match denials.as_mut().filter(|_| asked) {
            Some(denials) => {
                let mut polled = [PollFd::from_borrowed_fd(denials.as_fd(), PollFlags::IN)];
                poll(&mut polled, Some(&STEP))?;
                if polled[0].revents().contains(PollFlags::IN) {
                    denials.answer().map_err(io::Error::other)?;
                } else {
                    asked = !polled[0].revents().contains(PollFlags::HUP);
                }
            }
            None => {
                poll(&mut [], Some(&STEP))?;
            }
        }
    }
    let (status, _) = over.ok_or_else(|| io::Error::other("the command was nobody's child"))?;
    Ok((status, ended))
}

fn text(text: &str) -> io::Result<CString> {
    Ok(CString::new(text)?)
}
