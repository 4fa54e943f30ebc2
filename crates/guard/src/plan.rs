//! A lane for one command, worked out before anything is forked.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::{fmt, io};

use rustix::fs::{
    Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, accessat, mkdirat, openat, openat2,
};
use stigmer_core::{Denial, Enforced};

use crate::data;
use crate::denials::{Judge, planted};
use crate::entry::{Entry, Inner};
use crate::grants::{grants, is_carved};
use crate::lane::{HostLane, Refusal};
use crate::logs::logs;
use crate::look::{Kind, Look, Machine, Remembered};
use crate::masks::{Mount, fences, layout};
use crate::planted::Before;
use crate::policy::Policy;
use crate::probe::Probe;
use crate::repository::{self, Held, Hold};
use crate::roots::{Right, Root, collect};
use crate::rules;
use crate::scratch::{self, Scratch};
use crate::seccomp::{Options, program};
use crate::settings;
use crate::shown::{Shown, shown};
use crate::startup::{self, Startup, startup};
use crate::variables::{Why, filter};
use crate::view::View;
use crate::words::Said;

/// Places where no workspace is: whoever may write there may do anything.
const NO_WORKSPACES: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr", "/var/run",
];

/// Names in a directory that take about as long to list as those take that are asked for one by one.
const MOST_LISTED: usize = 256;

/// As much of a script as the kernel reads to find its interpreter (`execve(2)`).
const FIRST_LINE: usize = 256;

/// A lane for one command. Lives in the supervisor until nothing of the command is left: it holds the
/// private directory of the read-only lane.
pub struct Plan {
    lane: HostLane,
    enforced: Enforced,
    workspace: PathBuf,
    cwd: PathBuf,
    environment: Vec<(OsString, OsString)>,
    dropped: Vec<(OsString, Why)>,
    tool_roots: Vec<PathBuf>,
    judge: Judge,
    name_reads: bool,
    scratch: Option<Scratch>,
    inner: Option<Layout>,
    terminal: Option<PathBuf>,
}

/// Values of variables are nobody's to print.
impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plan = formatter.debug_struct("Plan");
        plan.field("enforced", &self.enforced).field("workspace", &self.workspace);
        plan.field("tool_roots", &self.tool_roots).finish_non_exhaustive()
    }
}

/// What only the workspace lane has.
#[derive(Debug)]
struct Layout {
    mounts: Vec<Mount>,
    shown: Vec<Shown>,
    homes: Vec<PathBuf>,
    held: Vec<Held>,
    private: Vec<PathBuf>,
    before: Before,
    fences: Vec<PathBuf>,
}

/// Works out a lane for a command.
///
/// # Errors
/// A [`Refusal`] that says why the command does not run in this lane. There is no lesser form of it.
pub fn plan(lane: HostLane, policy: &Policy, probe: &Probe) -> Result<Plan, Refusal> {
    let enforced = probe.level(lane)?;
    let mut look = Remembered::default();
    look.list(Path::new("/"), MOST_LISTED);
    let home = policy.home().and_then(|home| look.real(home)).map(|(home, _)| home);
    let workspace = workspace(policy, home.as_deref(), &look)?;
    // About each place in it, were it not listed.
    home.iter().for_each(|home| look.list(home, usize::MAX));
    look.list(&workspace, MOST_LISTED);
    let look = &look;
    let cwd = match look.real(&workspace.join(&policy.cwd)) {
        Some((cwd, Kind::Directory)) if cwd.starts_with(&workspace) => cwd,
        _ => return Err(unfit(&policy.cwd, "is no directory in the workspace")),
    };
    let policy = Policy { workspace: workspace.clone(), cwd: cwd.clone(), ..policy.clone() };
    let mut roots = collect(&policy, look);
    if is_carved(&workspace, &roots.carved) {
        return Err(unfit(&workspace, "is a place of credentials"));
    }
    let tool_roots = roots.all.iter().filter(|root| root.right == Right::Execute);
    let tool_roots = tool_roots.map(|root| root.path.clone()).collect();
    let directory = |path: PathBuf, right| Root { path, kind: Kind::Directory, right };
    let around = repository::around(&workspace, home.as_deref(), look, small_file);
    let outer = around.clone();
    roots.all.extend(around.into_iter().map(|path| directory(path, Right::Read)));
    let said = Said::of(&policy.command);
    let started = if said.login { startup(&policy, look, short) } else { Startup::default() };
    roots.all.extend(started.readable.iter().cloned());
    // The read-only lane connects to nothing.
    let sockets = match lane {
        HostLane::ReadOnly => Vec::new(),
        HostLane::Workspace => sockets(&policy, look),
    };

    let mut all = roots.all.clone();
    let mut scratch = None;
    let mut inner = None;
    let (mut judge_private, mut fences) = (Vec::new(), Vec::new());
    let (mut held_paths, mut in_place, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    match lane {
        HostLane::ReadOnly => {
            all.push(directory(workspace.clone(), Right::Read));
            all.extend(environments(&workspace, look));
            all.extend(logs(&said.paths, home.as_deref(), look));
            let place = temporary(&policy);
            let (place, _) = look.real(&place).ok_or_else(|| unfit(&place, "is no directory"))?;
            let made = Scratch::make_in(&place);
            let made = made.map_err(|error| Refusal::io("make a private directory", error))?;
            all.push(directory(made.path().to_owned(), Right::Scratch));
            scratch = Some(made);
        }
        HostLane::Workspace => {
            let layout = layout_of(
                &policy,
                &workspace,
                home.as_deref(),
                &roots.all,
                &roots.carved,
                &sockets,
                look,
            )?;
            judge_private.clone_from(&layout.private);
            // Its terminals are others than ours of the same names.
            judge_private.push("/dev/pts".into());
            judge_private.extend(policy.terminal.iter().map(|_| "/dev/console".into()));
            fences.clone_from(&layout.fences);
            let paths = |hold| {
                let held = layout.held.iter().filter(move |held| held.hold == hold);
                held.map(|held| workspace.join(&held.path))
            };
            held_paths = paths(Hold::ReadOnly).collect();
            in_place = paths(Hold::InPlace).chain([workspace.clone()]).collect();
            in_place.extend(held_paths.iter().cloned());
            absent = layout.before.absent().map(|path| workspace.join(path)).collect();
            inner = Some(layout);
        }
    }
    let mut granted = grants(&all, &roots.carved, look)
        .ok_or_else(|| unfit(&workspace, "has too many things beside credentials"))?;
    if lane == HostLane::Workspace {
        // What is a credential in it is covered.
        granted.push(directory(workspace.clone(), Right::Write));
    }
    // Names are no secret, and programs go through everything to where they want.
    granted.push(directory("/".into(), Right::List));
    let terminal = policy.terminal.clone().filter(|path| path.starts_with("/dev/pts"));
    let devices = data::DEVICES.iter().map(PathBuf::from).chain(terminal.clone());
    let devices = devices.collect();
    let replaces = !started.replaced.is_empty();
    let mut carved = roots.carved;
    carved.extend(sockets.into_iter().map(|(path, _)| path));
    let judge = Judge {
        lane,
        grants: granted,
        carved,
        held: held_paths,
        in_place,
        absent,
        workspace: workspace.clone(),
        repositories: outer,
        private: judge_private,
        fences,
        devices,
        replaced: started.replaced,
    };
    for name in &policy.programs {
        executable(name, &policy, &judge)?;
    }
    let everybodys: Vec<&str> =
        data::SYSTEM.iter().chain(data::READ).chain(&["/dev"]).copied().collect();
    let reads_elsewhere = said.reads_elsewhere(&workspace, &everybodys);
    let variables = filter(lane, &policy.environment, &policy.declared);
    let mut environment = variables.kept;
    if let Some(scratch) = &scratch {
        environment.retain(|(name, _)| name != "TMPDIR");
        environment.push(("TMPDIR".into(), scratch.path().into()));
    }
    Ok(Plan {
        lane,
        enforced,
        workspace,
        cwd,
        environment,
        dropped: variables.dropped,
        tool_roots,
        judge,
        name_reads: replaces
            || policy.name_reads && (lane == HostLane::Workspace || reads_elsewhere),
        scratch,
        inner,
        terminal,
    })
}

impl Plan {
    /// Which lane it is.
    pub fn lane(&self) -> HostLane {
        self.lane
    }

    /// What is enforced, for the command's result.
    pub fn enforced(&self) -> &Enforced {
        &self.enforced
    }

    /// The command's variables.
    pub fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// The names of the caller's variables that it does not have.
    pub fn dropped(&self) -> &[(OsString, Why)] {
        &self.dropped
    }

    /// The directories whose programs it may execute, beside the workspace.
    pub fn tool_roots(&self) -> &[PathBuf] {
        &self.tool_roots
    }

    /// Where the command begins, as a real path.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// What a command in the workspace lane has left that others execute or obey, and that could not be
    /// held: settings of agents and editors where there were none, a new repository, instructions for agents
    /// and services that are new or changed. Some calls for each place that is known, when the command has
    /// ended.
    ///
    /// What would lead git elsewhere is taken away, which is said by its error; that of all else is zero.
    /// Of the repositories that were `begun` those are named that are there.
    pub fn planted(&self, begun: &[PathBuf]) -> Vec<Denial> {
        let Some(Layout { before, .. }) = &self.inner else { return Vec::new() };
        let mut all = self.take_away();
        let left = before.changed(&self.workspace);
        let mut left: Vec<_> = left.into_iter().map(|path| self.workspace.join(path)).collect();
        for path in begun {
            if !left.contains(path) && leads_to_another(path, &self.workspace) {
                left.push(path.clone());
            }
        }
        all.extend(left.into_iter().map(|path| planted(path, 0)));
        all
    }

    /// Takes away what would lead git elsewhere: it is to be asked for once more when nothing is left of
    /// the command that could make it.
    pub fn take_away(&self) -> Vec<Denial> {
        let Some(Layout { before, .. }) = &self.inner else { return Vec::new() };
        let taken = before.take_away(&self.workspace).into_iter();
        let error = |gone| if gone { libc::EROFS } else { 0 };
        taken.map(|it| planted(self.workspace.join(it.path), error(it.gone))).collect()
    }

    /// The private directory of the read-only lane.
    pub fn scratch(&self) -> Option<&Path> {
        self.scratch.as_ref().map(Scratch::path)
    }

    /// A way into the lane for one process.
    pub(crate) fn entry(&self) -> Result<Entry, Refusal> {
        let lane = self.lane;
        let version = self.enforced.landlock;
        let made = |error: String| Refusal::io("make Landlock's rules", error);
        let rules = rules::begin(version).map_err(made)?;
        for root in &self.judge.grants {
            rules::allow(&rules, root, version).map_err(made)?;
        }
        for device in &self.judge.devices {
            rules::allow_device(&rules, device, version).map_err(made)?;
        }
        let first_exec =
            scratch::random().map_err(|error| Refusal::io("read random bytes", error))?;
        let options = Options {
            scoped_signals: self.enforced.scoped_signals,
            reads: self.name_reads,
            first_exec,
        };
        let text = |path: &Path| {
            CString::new(path.as_os_str().as_bytes())
                .map_err(|error| Refusal::io("use a path", error))
        };
        let inner = match &self.inner {
            None => None,
            Some(inner) => {
                let Layout { mounts, shown, homes, held, private, .. } = inner;
                let terminal = self.terminal.as_deref();
                let view =
                    View::new(mounts, shown, homes, &self.workspace, held, terminal, &private[0]);
                let mut places: Vec<(CString, u64)> = vec![
                    (c"/".into(), rules::bits(Right::List, version)),
                    (c"/proc".into(), rules::bits(Right::Read, version)),
                    (c"/dev/pts".into(), rules::terminal_bits(version)),
                ];
                for path in private {
                    places.push((text(path)?, rules::bits(Right::Write, version)));
                }
                Some(Inner {
                    view: view.map_err(|error| Refusal::io("prepare the view", error))?,
                    places,
                })
            }
        };
        Ok(Entry {
            rules,
            program: program(lane, options),
            first_exec,
            cwd: text(&self.cwd)?,
            inner,
        })
    }

    pub(crate) fn judge(&self) -> &Judge {
        &self.judge
    }
}

/// Where private directories are made: in memory if there is a place, since a disk takes longer than all
/// else together.
fn temporary(policy: &Policy) -> PathBuf {
    if let Some(chosen) = &policy.temporary {
        return chosen.clone();
    }
    let places = ["$XDG_RUNTIME_DIR", "/dev/shm"].iter().filter_map(|place| policy.place(place));
    let writable = |place: &PathBuf| {
        accessat(CWD, place, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    };
    places.into_iter().find(writable).unwrap_or_else(|| PathBuf::from("/tmp"))
}

pub(crate) fn unfit(path: &Path, reason: &'static str) -> Refusal {
    Refusal::Unfit { path: path.to_owned(), reason }
}

pub(crate) fn workspace(
    policy: &Policy,
    home: Option<&Path>,
    look: &impl Look,
) -> Result<PathBuf, Refusal> {
    let given = &policy.workspace;
    let Some((workspace, Kind::Directory)) = look.real(given) else {
        return Err(unfit(given, "is no directory"));
    };
    if home.is_some_and(|home| home.starts_with(&workspace)) {
        return Err(unfit(&workspace, "holds the home directory"));
    }
    let holds = |place: &&&str| Path::new(place).starts_with(&workspace);
    let reserved = NO_WORKSPACES.iter().find(|place| workspace.starts_with(place));
    if reserved.is_some() || data::SYSTEM.iter().chain(NO_WORKSPACES).find(holds).is_some() {
        return Err(unfit(&workspace, "is a system directory"));
    }
    if data::PRIVATE.iter().find(holds).is_some() {
        return Err(unfit(&workspace, "is everybody's temporary directory"));
    }
    Ok(workspace)
}

/// Where the workspace's virtual environments have their programs. One that is a link out of the
/// workspace is none: its content gives no rights.
fn environments(workspace: &Path, look: &impl Look) -> Vec<Root> {
    let places = data::ENVIRONMENTS.iter().filter_map(|place| look.real(&workspace.join(place)));
    let inside =
        places.filter(|(path, kind)| path.starts_with(workspace) && *kind == Kind::Directory);
    inside.map(|(path, kind)| Root { path, kind, right: Right::Execute }).collect()
}

/// Sockets that somebody listens on: those that the kernel knows of in this network namespace, and those
/// that the caller's variables name: agents of keys, engines, desktops.
fn sockets(policy: &Policy, look: &impl Look) -> Vec<(PathBuf, Kind)> {
    let values =
        policy.environment.iter().chain(&policy.declared).map(|(_, value)| value.as_bytes());
    let named = values.filter_map(|value| {
        let value = value.strip_prefix(b"unix:").unwrap_or(value);
        let value = value.strip_prefix(b"path=").unwrap_or(value);
        let path = value.strip_prefix(b"//").unwrap_or(value);
        (!path.contains(&b':') && !path.contains(&0)).then(|| path.to_vec())
    });
    let known = listed_sockets();
    // What is covered as a whole need not be looked at.
    let covered = |path: &PathBuf| {
        let outer = data::MASKS.iter().chain(data::PRIVATE).any(|place| path.starts_with(place));
        outer && !path.starts_with(&policy.workspace)
    };
    let paths = named.chain(bound(&known)).filter(|path| path.starts_with(b"/"));
    let paths = paths.map(|path| PathBuf::from(OsString::from_vec(path)));
    let real = paths.filter(|path| !covered(path)).filter_map(|path| look.real(&path));
    real.filter(|(path, kind)| *kind == Kind::Other && !path.starts_with("/dev")).collect()
}

/// The kernel's list of sockets; nothing if there is none. Each call begins at the first of them again to find
/// where it was: few calls with much room take less time.
fn listed_sockets() -> Vec<u8> {
    use std::io::Read;
    const ROOM: usize = 32 << 10;
    let mut list = Vec::with_capacity(ROOM);
    let file = std::fs::File::open("/proc/net/unix");
    match file.and_then(|mut file| file.read_to_end(&mut list)) {
        Ok(_) => list,
        Err(_) => Vec::new(),
    }
}

/// The paths in the kernel's list of sockets (`proc_net_unix(5)`): behind seven columns.
fn bound(list: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    list.split(|byte| *byte == b'\n').filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'/')?;
        let columns =
            line[..at].split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count();
        (columns == 7 && line[at - 1] == b' ').then(|| line[at..].to_vec())
    })
}

fn layout_of(
    policy: &Policy,
    workspace: &Path,
    home: Option<&Path>,
    roots: &[Root],
    carved: &BTreeSet<PathBuf>,
    sockets: &[(PathBuf, Kind)],
    look: &impl Look,
) -> Result<Layout, Refusal> {
    let real = |places: &[&str]| -> Vec<PathBuf> {
        let found = places.iter().filter_map(|place| look.real(&policy.place(place)?));
        found.filter(|(_, kind)| *kind == Kind::Directory).map(|(path, _)| path).collect()
    };
    let private = real(data::PRIVATE);
    if private.is_empty() {
        return Err(unfit(Path::new("/tmp"), "is no directory"));
    }
    let mut covers = real(data::MASKS);
    // A home directory that is a system directory cannot be covered; what is secret in it is.
    let system = |cover: &PathBuf| {
        let inner = data::SYSTEM
            .iter()
            .chain(NO_WORKSPACES)
            .any(|place| Path::new(place).starts_with(cover));
        inner && !cover.ends_with("run")
    };
    covers.retain(|cover| !system(cover));
    let carved: Vec<_> = carved.iter().filter_map(|path| look.real(path)).collect();
    let shown = shown(&carved, look);
    let carved: Vec<_> = carved.into_iter().chain(sockets.iter().cloned()).collect();
    let kept = roots.iter().map(|root| (root.path.clone(), root.kind));
    let kept: Vec<_> = kept.filter(|(_, kind)| *kind != Kind::Other).collect();
    let inner: Vec<&Path> = std::iter::once(workspace).chain(home).collect();
    let fences = fences(&private, &inner, workspace);
    let mounts = layout(&covers, &private, &carved, &kept, workspace, &fences);
    let mut found = repository::held(workspace, home, look, &small_file)?;
    if !found.missing.is_empty() {
        for (path, kind) in &found.missing {
            make_beneath(workspace, path, *kind)
                .map_err(|error| Refusal::io("make what git looks for, to hold it", error))?;
        }
        found = repository::held(workspace, home, &Machine, &small_file)?;
    }
    let before = Before::look(workspace, &found.absent, look);
    let homes = home.map(Path::to_owned).into_iter().collect();
    Ok(Layout { mounts, shown, homes, held: found.held, private, fences, before })
}

/// Whether a `.git` is there, and is more than a worktree of the workspace's own repository.
fn leads_to_another(path: &Path, workspace: &Path) -> bool {
    let Ok(status) = path.symlink_metadata() else { return false };
    let own = || {
        let text = small_file(path)?;
        let at = Path::new(OsStr::from_bytes(text.strip_prefix(b"gitdir: ")?.trim_ascii_end()));
        let plain = !at.components().any(|part| part == Component::ParentDir);
        Some(plain && at.starts_with(workspace.join(".git/worktrees")))
    };
    !(status.is_file() && own() == Some(true))
}

/// Reads a file of git's, as much of it as is too long. One that could make the reader wait is none.
fn small_file(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    let mut text = Vec::new();
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.take(settings::LONGEST + 1).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Makes a directory or an empty file in the workspace, without following links that are there.
fn make_beneath(workspace: &Path, path: &Path, kind: Kind) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let (parent, name) = (parent.unwrap_or(Path::new(".")), path.file_name().unwrap_or_default());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, workspace, flags, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let parent = openat2(&root, parent, flags, Mode::empty(), resolve)?;
    let made = match kind {
        Kind::Directory => mkdirat(&parent, name, Mode::from_raw_mode(0o755)),
        _ => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    };
    match made {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

/// Whether the program that a shell would find for a name can be executed.
fn executable(name: &OsStr, policy: &Policy, judge: &Judge) -> Result<(), Refusal> {
    let runs = |path: &Path| {
        let file = std::fs::metadata(path).is_ok_and(|status| status.is_file());
        file && accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    };
    let found = if name.as_bytes().contains(&b'/') {
        Some(policy.cwd.join(name)).filter(|path| runs(path))
    } else {
        policy.search().map(|directory| directory.join(name)).find(|path| runs(path))
    };
    // What is not there fails as it does everywhere.
    let Some(found) = found else { return Ok(()) };
    let refuse = |path: &Path| Refusal::Program { path: path.to_owned(), lane: judge.lane };
    if !judge.may_execute(&found) {
        return Err(refuse(&found));
    }
    match interpreter(&found) {
        Some(interpreter) if !judge.may_execute(&interpreter) => Err(refuse(&found)),
        _ => Ok(()),
    }
}

/// The content of a start-up file, if it is not long.
fn short(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(startup::LONGEST + 1).read_to_end(&mut content).ok()?;
    (content.len() as u64 <= startup::LONGEST).then_some(content)
}

/// The interpreter of a script (`execve(2)`, "Interpreter scripts").
fn interpreter(path: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut line = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(FIRST_LINE as u64).read_to_end(&mut line).ok()?;
    let line = line.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = line.trim_ascii().split(|byte| *byte == b' ' || *byte == b'\t').next()?;
    let word = PathBuf::from(OsStr::from_bytes(word));
    word.is_absolute().then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_the_kernels_list_of_sockets() {
        let list = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 1204 /run/a b.sock\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 1205 @/tmp/.X11\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 1206\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 1207 relative/x\n";
        assert_eq!(bound(list).collect::<Vec<_>>(), [b"/run/a b.sock".to_vec()]);
    }
}
