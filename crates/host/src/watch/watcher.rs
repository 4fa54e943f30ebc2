//! The watches, and what becomes of the kernel's events.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;
use stigmer_core::file::FileKind;
use stigmer_core::transfer::{Change, ChangeKind};
use stigmer_core::{Capability, ErrorCode, Result, ToolError};
use tokio::sync::mpsc::Sender;

use super::ignored::Rules;
use crate::Root;
use crate::root::{Links, kind_of, open_child_directory, proc_path, proc_works};

const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    // What goes on in a file that was removed concerns nobody.
    .union(WatchFlags::EXCL_UNLINK);

/// How often the root is looked after when nothing happens.
const LOOK_AFTER_ROOT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Watches on a set of trees.
#[derive(Debug)]
pub(super) struct Watcher {
    root: Arc<Root>,
    inotify: OwnedFd,
    /// The trees asked for.
    trees: Vec<PathBuf>,
    /// The directory that each watch is on.
    watched: HashMap<i32, PathBuf>,
    rules: Option<Rules>,
    /// The change reported last: a program that writes a file in a thousand pieces is one change.
    last: Option<Change>,
    /// The rename of a temporary file of ours that is under way.
    staged: Option<u32>,
}

/// An event, copied out of the kernel's buffer.
struct Event {
    watch: i32,
    flags: ReadFlags,
    cookie: u32,
    name: Option<PathBuf>,
}

/// Nobody reads the changes any more.
struct Gone;

impl Watcher {
    /// Sets the watches on trees beneath the root.
    pub(super) fn start(root: Arc<Root>, trees: Vec<PathBuf>, ignore_rules: bool) -> Result<Self> {
        if !proc_works() {
            return Err(ToolError::unsupported(Capability::Watch, "local")
                .with_hint("mount /proc: watches are set through it"));
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC).map_err(|errno| match errno {
            Errno::MFILE => exhausted("fs.inotify.max_user_instances"),
            errno => root.io_error("watch", Path::new(""), errno),
        })?;
        let rules = ignore_rules.then(Rules::default);
        let watched = HashMap::new();
        let mut watcher = Self { root, inotify, trees, watched, rules, last: None, staged: None };
        for tree in watcher.trees.clone() {
            watcher.watch_tree(&tree, Links::Follow, &mut Vec::new())?;
        }
        Ok(watcher)
    }

    /// Reports changes until `stopped` is hung up or nobody reads them.
    pub(super) fn run(&mut self, sender: &Sender<Result<Change>>, stopped: &OwnedFd) {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        loop {
            let mut ready =
                [PollFd::new(&self.inotify, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            match poll(&mut ready, Some(&LOOK_AFTER_ROOT)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            // Asked before the events are read: those that led to it are among them.
            let gone = self.gone();
            while self.has_events() {
                self.last = None;
                for event in self.read(&mut buffer) {
                    match self.event(&event, sender) {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            // The stream ends with the error: from here on changes would be missing.
                            let _ = sender.blocking_send(Err(error));
                            return;
                        }
                        Err(Gone) => return,
                    }
                }
                if gone.is_none() {
                    break;
                }
            }
            if let Some(gone) = gone {
                let _ = sender.blocking_send(Err(gone));
                return;
            }
        }
    }

    fn has_events(&self) -> bool {
        let mut ready = [PollFd::new(&self.inotify, PollFlags::IN)];
        poll(&mut ready, Some(&Timespec::default())).is_ok()
            && ready[0].revents().contains(PollFlags::IN)
    }

    /// Why there is nothing to watch any more, if so.
    fn gone(&self) -> Option<ToolError> {
        if self.watched.is_empty() {
            let tree = self.trees.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
            return Some(unwatched(ToolError::not_found(&tree.into())));
        }
        // Of a directory that is held open, as the root is, no event says that it was removed.
        let place = std::fs::read_link(proc_path(&self.root.base())).ok()?;
        let removed = place.as_os_str().as_bytes().ends_with(b" (deleted)")
            && std::fs::symlink_metadata(&place).is_err();
        removed.then(|| unwatched(ToolError::not_found(&self.root.path().into())))
    }

    fn read(&self, buffer: &mut [MaybeUninit<u8>]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut reader = Reader::new(&self.inotify, buffer);
        loop {
            match reader.next() {
                Ok(event) => events.push(Event {
                    watch: event.wd(),
                    flags: event.events(),
                    cookie: event.cookie(),
                    name: event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).into()),
                }),
                Err(_) => return events,
            }
            if reader.is_buffer_empty() {
                return events;
            }
        }
    }

    fn event(
        &mut self,
        event: &Event,
        sender: &Sender<Result<Change>>,
    ) -> Result<Result<()>, Gone> {
        let is = |flags| event.flags.intersects(flags);
        if is(ReadFlags::QUEUE_OVERFLOW) {
            // Watches for new directories are missing too.
            self.clear();
            let done = self.watch_all();
            self.report(sender, PathBuf::new(), ChangeKind::Rescan)?;
            return Ok(done);
        }
        let Some(directory) = self.watched.get(&event.watch).cloned() else { return Ok(Ok(())) };
        if is(ReadFlags::IGNORED) {
            self.watched.remove(&event.watch);
            return Ok(Ok(()));
        }
        let Some(name) = &event.name else {
            // A directory below a watched one is told of by the watch above it.
            let alone = self.trees.contains(&directory) && !directory.as_os_str().is_empty();
            if alone && is(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
                self.unwatch(&directory);
                self.report(sender, directory, ChangeKind::Removed)?;
            }
            return Ok(Ok(()));
        };
        let is_directory = is(ReadFlags::ISDIR);
        let path = directory.join(name);
        if is_temporary(name) {
            self.staged = is(ReadFlags::MOVED_FROM).then_some(event.cookie);
            return Ok(Ok(()));
        }
        let mut done = Ok(());
        if let Some(rules) = &mut self.rules
            && Rules::concern(&path)
        {
            rules.forget();
            done = self.watch_all();
        }
        if self.left_out(&path, is_directory) {
            return Ok(done);
        }
        if is(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            if is_directory {
                self.unwatch(&path);
            }
            self.report(sender, path, ChangeKind::Removed)?;
        } else if is(ReadFlags::MOVED_TO) && self.staged.take() == Some(event.cookie) {
            // Our own way of replacing a file: what was there is there, with new content.
            self.report(sender, path, ChangeKind::Modified)?;
        } else if is(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
            // Watched before it is told of: whoever hears of it may change it at once.
            let mut found = Vec::new();
            if is_directory {
                done = self.watch_tree(&path, Links::KeepLast, &mut found).and(done);
            }
            for path in std::iter::once(path).chain(found) {
                self.report(sender, path, ChangeKind::Created)?;
            }
        } else if is(ReadFlags::MODIFY | ReadFlags::ATTRIB) && !self.is_nameless(&path) {
            self.report(sender, path, ChangeKind::Modified)?;
        }
        Ok(done)
    }

    /// A file without a name (`O_TMPFILE`) that is written shows up as `#` and its inode's number.
    fn is_nameless(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().as_bytes();
        name.strip_prefix(b"#").is_some_and(|rest| rest.iter().all(u8::is_ascii_digit))
            && self.root.stat(path).is_err()
    }

    fn report(
        &mut self,
        sender: &Sender<Result<Change>>,
        path: PathBuf,
        kind: ChangeKind,
    ) -> Result<(), Gone> {
        let change = Change { path: path.into(), kind };
        if self.last.as_ref() == Some(&change) {
            return Ok(());
        }
        self.last = Some(change.clone());
        sender.blocking_send(Ok(change)).map_err(|_| Gone)
    }

    fn left_out(&mut self, path: &Path, is_directory: bool) -> bool {
        let Self { rules, root, .. } = self;
        rules.as_mut().is_some_and(|rules| rules.leave_out(root, path, is_directory))
    }

    /// Sets the watches that are missing.
    fn watch_all(&mut self) -> Result<()> {
        for tree in self.trees.clone() {
            match self.watch_tree(&tree, Links::Follow, &mut Vec::new()) {
                Err(error) if error.code == ErrorCode::OutOfResources => return Err(error),
                // A tree that is gone was told of as removed.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Watches a directory and all beneath it; `found` becomes what is there. Each directory is
    /// watched before it is read, so nothing falls between.
    fn watch_tree(&mut self, top: &Path, links: Links, found: &mut Vec<PathBuf>) -> Result<()> {
        let mut pending = vec![top.to_owned()];
        let mut links = links;
        while let Some(path) = pending.pop() {
            match self.watch_one(&path, links) {
                Ok(entries) => {
                    for (name, is_directory) in entries {
                        let path = path.join(name);
                        if self.left_out(&path, is_directory) {
                            continue;
                        }
                        found.push(path.clone());
                        if is_directory {
                            pending.push(path);
                        }
                    }
                }
                Err(error) if error.code == ErrorCode::OutOfResources => return Err(error),
                // Below the top what is gone already, or may not be read, is passed over.
                Err(error) if links == Links::Follow => return Err(error),
                Err(_) => {}
            }
            links = Links::KeepLast;
        }
        Ok(())
    }

    fn watch_one(&mut self, path: &Path, links: Links) -> Result<Vec<(PathBuf, bool)>> {
        let fail = |errno| self.root.io_error("watch", path, errno);
        let object = self.root.resolve(path, links)?;
        if kind_of(&self.root.fstat(path, &object)?) != FileKind::Directory {
            return Err(ToolError::not_a_directory(&path.into()));
        }
        let watch = inotify::add_watch(&self.inotify, proc_path(&object), EVENTS);
        let watch = watch.map_err(|errno| match errno {
            Errno::NOSPC => exhausted("fs.inotify.max_user_watches"),
            errno => fail(errno),
        })?;
        self.watched.insert(watch, path.to_owned());
        let directory = open_child_directory(object.as_fd(), OsStr::new(".")).map_err(fail)?;
        let mut entries = Vec::new();
        for entry in Dir::new(directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." || is_temporary(Path::new(name)) {
                continue;
            }
            // Where the file system does not say, it is tried: what is none is passed over.
            let kind = entry.file_type();
            let is_directory = matches!(kind, FileType::Directory | FileType::Unknown);
            entries.push((PathBuf::from(name), is_directory));
        }
        Ok(entries)
    }

    /// Lets go of a directory and all beneath it, before it turns up elsewhere or outside.
    fn unwatch(&mut self, top: &Path) {
        let inotify = &self.inotify;
        self.watched.retain(|watch, path| {
            let goes = path.starts_with(top);
            if goes {
                // It fails for a directory that is gone, whose watch went with it.
                let _ = inotify::remove_watch(inotify, *watch);
            }
            !goes
        });
    }

    fn clear(&mut self) {
        self.unwatch(Path::new(""));
        if let Some(rules) = &mut self.rules {
            rules.forget();
        }
    }
}

/// A temporary name of ours; see [`crate::files::temporary_name`].
fn is_temporary(name: &Path) -> bool {
    let name = name.as_os_str().as_bytes();
    name.len() == 29 && name.starts_with(b".stigmer-") && name.ends_with(b".tmp")
}

fn unwatched(error: ToolError) -> ToolError {
    error.with_hint("what was watched is gone; watch again when it is back")
}

fn exhausted(setting: &str) -> ToolError {
    let message = format!("cannot watch: the kernel's limit {setting} is reached");
    ToolError::new(ErrorCode::OutOfResources, message)
        .with_detail("setting", setting)
        .with_hint(format!("raise it (`sysctl {setting}=524288`), or watch fewer directories"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_temporary_files_are_known() {
        assert!(is_temporary(Path::new(&crate::files::temporary_name())));
        assert!(!is_temporary(Path::new(".stigmer-notes-of-mine-01.txt")));
    }
}
