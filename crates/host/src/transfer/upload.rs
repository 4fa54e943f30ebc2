//! Taking a tar archive or one file into the workspace.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use stigmer_core::file::FileKind;
use stigmer_core::limits::MAX_ARCHIVE_ENTRIES;
use stigmer_core::transfer::{TransferFormat, Upload, UploadSummary};
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError};
use tar::{Archive, Entry, EntryType};

use super::incoming::{Incoming, State, read_with};
use crate::Root;
use crate::files::{Staged, WriteLocks, check_writable, io_failed, temporary_name};
use crate::root::{Spot, kind_of};

/// The most that the headers of one entry may take: long names, extended attributes and the map of
/// a sparse file. The archive's reader holds them in memory, whatever size they claim.
const HEADER_BYTES: usize = 8 << 20;

const CHUNK: usize = 128 << 10;

/// Takes a stream into the workspace.
pub(crate) async fn upload(
    root: Arc<Root>,
    locks: Arc<WriteLocks>,
    request: Upload,
    content: ByteStream,
) -> Result<UploadSummary> {
    let relative = root.relative(&request.path)?;
    read_with(content, move |incoming| {
        let target = Target { root: &root, locks: &locks };
        match request.format {
            TransferFormat::Tar => Unpacking::new(target, relative, incoming.state()).run(incoming),
            TransferFormat::File => target.one_file(&relative, request.mode, incoming),
        }
    })
    .await
}

#[derive(Clone, Copy)]
struct Target<'a> {
    root: &'a Root,
    locks: &'a WriteLocks,
}

impl Target<'_> {
    fn one_file(
        self,
        relative: &Path,
        mode: Option<u32>,
        mut incoming: Incoming,
    ) -> Result<UploadSummary> {
        let state = incoming.state();
        let fail = |errno| self.root.io_error("write", relative, errno);
        let spot = self.root.final_spot(relative, true)?;
        let spot = spot.ok_or_else(|| ToolError::is_directory(&relative.into()))?;
        let kept = |spot: &Spot| match rustix::fs::statat(
            &spot.directory,
            &spot.name,
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => {
                crate::root::regular(relative, &stat)?;
                check_writable(self.root, relative, spot)?;
                Ok(Some(stat))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(fail(errno)),
        };
        let before = kept(&spot)?;
        let mode = mode.unwrap_or(0o666) & 0o777;
        let mode = before.map_or(mode, |stat| stat.st_mode & 0o700);
        let mut staged = Staged::new(&spot, mode).map_err(fail)?;
        let bytes = copy(&mut incoming, staged.file(), false).map_err(|error| match error {
            Copy::Read(error) => state.failure.take().unwrap_or_else(|| {
                ToolError::new(ErrorCode::Io, format!("the upload broke off: {error}"))
            }),
            Copy::Write(error) => io_failed(self.root, "write", relative, &error),
        })?;
        let _lock = self.locks.lock(relative, &spot)?;
        if let Some(stat) = kept(&spot)? {
            // A file that may not be read can still be replaced.
            let old = self.root.open_at(relative, &spot).ok().flatten();
            let old = old.filter(|(_, now)| (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino));
            staged.take_over(&stat, old.as_ref().map(|(file, _)| file)).map_err(fail)?;
        }
        staged.put().map_err(fail)?;
        Ok(UploadSummary { files: 1, bytes, ..UploadSummary::default() })
    }
}

enum Copy {
    Read(std::io::Error),
    Write(std::io::Error),
}

/// Copies to the end of `from`; with `holes` runs of zeros are not written but skipped.
fn copy(from: &mut impl Read, to: &mut std::fs::File, holes: bool) -> Result<u64, Copy> {
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Copy::Read(error)),
        };
        let chunk = &buffer[..count];
        bytes += count as u64;
        if holes && chunk.iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Start(bytes)).map_err(Copy::Write)?;
        } else {
            to.write_all(chunk).map_err(Copy::Write)?;
        }
    }
    if holes {
        to.set_len(bytes).map_err(Copy::Write)?;
    }
    Ok(bytes)
}

struct Unpacking<'a> {
    target: Target<'a>,
    base: PathBuf,
    state: Rc<State>,
    summary: UploadSummary,
    /// Directories whose mode and time are set at the end: until then they must be writable, and
    /// what is put into them changes their time.
    directories: Vec<(PathBuf, u32, Timespec)>,
    /// Links made, which are looked at again at the end: what they pass through may have come later.
    links: Vec<PathBuf>,
}

impl<'a> Unpacking<'a> {
    fn new(target: Target<'a>, base: PathBuf, state: Rc<State>) -> Self {
        let (summary, directories, links) = (UploadSummary::default(), Vec::new(), Vec::new());
        Self { target, base, state, summary, directories, links }
    }

    fn run(mut self, incoming: Incoming) -> Result<UploadSummary> {
        let unpacked = self.unpack(incoming);
        // Also of what a broken archive has left.
        self.check_links()?;
        unpacked.map(|()| self.summary)
    }

    fn unpack(&mut self, incoming: Incoming) -> Result<()> {
        self.target.root.make_directories(&self.base)?;
        let mut archive = Archive::new(incoming);
        let mut entries = archive.entries().map_err(|error| self.broken(None, &error))?;
        let mut last: Option<PathBuf> = None;
        let mut count = 0;
        loop {
            self.state.allowance.set(Some(HEADER_BYTES));
            let entry = entries.next();
            self.state.allowance.set(None);
            let Some(entry) = entry else { break };
            let mut entry = entry.map_err(|error| self.broken(last.as_deref(), &error))?;
            count += 1;
            if count > MAX_ARCHIVE_ENTRIES {
                let reason = format!("has more than {MAX_ARCHIVE_ENTRIES} entries");
                return Err(
                    ToolError::invalid_argument("archive", reason).with_hint("upload it in parts")
                );
            }
            let name = crate::root::owned(entry.path_bytes().into_owned());
            self.entry(&mut entry, &name)?;
            // Whatever an entry of a kind without content carries must not count as a header.
            std::io::copy(&mut entry, &mut std::io::sink())
                .map_err(|error| self.broken(Some(&name), &error))?;
            last = Some(name);
        }
        if self.state.ended.get() {
            return Err(truncated(last.as_deref()));
        }
        for (path, mode, time) in std::mem::take(&mut self.directories).into_iter().rev() {
            self.finish_directory(&path, mode, time)?;
        }
        // What pads the archive after its end mark; the sender must be able to get rid of it.
        let mut rest = archive.into_inner();
        std::io::copy(&mut rest, &mut std::io::sink())
            .map_err(|error| self.broken(last.as_deref(), &error))?;
        Ok(())
    }

    /// Removes the links that lead out now that all is in its place.
    fn check_links(&mut self) -> Result<()> {
        let root = self.target.root;
        let mut checked = Ok(());
        for path in std::mem::take(&mut self.links) {
            // What is gone, or cannot be reached any more, leads nowhere.
            let Ok(Some(spot)) = root.spot(&path, false) else { continue };
            let Ok(target) = rustix::fs::readlinkat(&spot.directory, &spot.name, Vec::new()) else {
                continue;
            };
            let target = crate::root::owned(target.into_bytes());
            if root.link_leads_out(path.parent().unwrap_or(Path::new("")), &target) {
                rustix::fs::unlinkat(&spot.directory, &spot.name, AtFlags::empty())
                    .map_err(|errno| root.io_error("remove the link", &path, errno))?;
                checked = checked.and(Err(self.link_outside(&path, &target)));
            }
        }
        checked
    }

    fn link_outside(&self, path: &Path, target: &Path) -> ToolError {
        let link = format!("{} (a link to {})", path.display(), target.display());
        let error = self.target.root.outside(Path::new(&link));
        error.with_detail("path", stigmer_core::ByteString::from(path))
    }

    fn entry(&mut self, entry: &mut Entry<'_, Incoming>, name: &Path) -> Result<()> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        if let Some(extensions) = entry.pax_extensions().ok().flatten() {
            for extension in extensions.flatten() {
                if extension.key_bytes().starts_with(b"GNU.sparse.") {
                    return Err(sparse(name));
                }
            }
        }
        let path = self.beneath(name)?;
        match kind {
            EntryType::Directory => self.directory(entry, &path),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                // Old archives mark a directory by the end of its name only.
                if entry.path_bytes().ends_with(b"/") {
                    return self.directory(entry, &path);
                }
                self.file(entry, &path, kind == EntryType::GNUSparse)
            }
            EntryType::Symlink => self.symlink(entry, &path),
            EntryType::Link => self.hard_link(entry, &path),
            kind => {
                let what = match kind {
                    EntryType::Char | EntryType::Block => "a device",
                    EntryType::Fifo => "a FIFO",
                    _ => "of an unknown kind",
                };
                let reason = format!("its entry {} is {what}", path.display());
                Err(ToolError::invalid_argument("archive", reason)
                    .with_hint("upload files, directories and links only"))
            }
        }
    }

    /// An entry's name as a path in the workspace.
    fn beneath(&self, name: &Path) -> Result<PathBuf> {
        let plain = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        if !name.components().all(plain) {
            return Err(self.target.root.outside(name));
        }
        let path = self.base.join(name);
        self.target.root.relative(&path.into())
    }

    fn directory(&mut self, entry: &Entry<'_, Incoming>, path: &Path) -> Result<()> {
        self.target.root.make_directories(path)?;
        self.summary.directories += 1;
        // The directory that receives the archive was there first and stays as it is.
        if path != self.base {
            self.directories.push((path.to_owned(), mode_of(entry)?, time_of(entry)));
        }
        Ok(())
    }

    fn finish_directory(&self, path: &Path, mode: u32, time: Timespec) -> Result<()> {
        let directory = match self.target.root.open_directory(path) {
            Ok(directory) => directory,
            // A later entry, or somebody else, put something else there.
            Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let done = rustix::fs::futimens(&directory, &modified(time))
            .and_then(|()| rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode)));
        match done {
            // Somebody else's directory that was there before.
            Ok(()) | Err(Errno::PERM) => Ok(()),
            Err(errno) => Err(self.target.root.io_error("set the mode of", path, errno)),
        }
    }

    fn file(&mut self, entry: &mut Entry<'_, Incoming>, path: &Path, sparse: bool) -> Result<()> {
        let root = self.target.root;
        let fail = |errno| root.io_error("write", path, errno);
        let spot = self.spot(path)?;
        let (mode, time) = (mode_of(entry)?, time_of(entry));
        let mut staged = Staged::new(&spot, 0o600).map_err(fail)?;
        let size = entry.size();
        let bytes = copy(entry, staged.file(), sparse).map_err(|error| match error {
            Copy::Read(error) => self.broken(Some(path), &error),
            Copy::Write(error) => io_failed(root, "write", path, &error),
        })?;
        if bytes != size {
            return Err(truncated(Some(path)));
        }
        staged.set_mode(mode).map_err(fail)?;
        rustix::fs::futimens(staged.file(), &modified(time)).map_err(fail)?;
        let _lock = self.target.locks.lock(path, &spot)?;
        staged.put().map_err(fail)?;
        self.summary.files += 1;
        self.summary.bytes += bytes;
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry<'_, Incoming>, path: &Path) -> Result<()> {
        let root = self.target.root;
        let target = link_target(entry, path)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let spot = self.spot(path)?;
        if root.link_leads_out(parent, &target) {
            return Err(self.link_outside(path, &target));
        }
        let temporary = temporary_name();
        rustix::fs::symlinkat(&target, &spot.directory, &temporary)
            .map_err(|errno| root.io_error("make the link", path, errno))?;
        self.rename(&spot, &temporary, path)?;
        self.links.push(path.to_owned());
        self.summary.symlinks += 1;
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry<'_, Incoming>, path: &Path) -> Result<()> {
        let root = self.target.root;
        let original = self.beneath(&link_target(entry, path)?)?;
        let whole = || ToolError::is_directory(&original.as_path().into());
        let source = root.spot(&original, false)?.ok_or_else(whole)?;
        let fail = |errno| root.io_error("link to", &original, errno);
        let stat = rustix::fs::statat(&source.directory, &source.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fail)?;
        let spot = self.spot(path)?;
        match kind_of(&stat) {
            FileKind::File => {}
            FileKind::Symlink => {
                // It is another link where it is now: its text begins in another directory.
                let target = rustix::fs::readlinkat(&source.directory, &source.name, Vec::new());
                let target = crate::root::owned(target.map_err(fail)?.into_bytes());
                if root.link_leads_out(path.parent().unwrap_or(Path::new("")), &target) {
                    return Err(self.link_outside(path, &target));
                }
                self.links.push(path.to_owned());
            }
            kind => return Err(ToolError::not_a_file(&original.into(), kind.name())),
        }
        let temporary = temporary_name();
        let (from, to) = (&source.directory, &spot.directory);
        rustix::fs::linkat(from, &source.name, to, &temporary, AtFlags::empty()).map_err(fail)?;
        self.rename(&spot, &temporary, path)?;
        self.summary.files += 1;
        Ok(())
    }

    fn spot(&self, path: &Path) -> Result<Spot> {
        let spot = self.target.root.spot(path, true)?;
        spot.ok_or_else(|| ToolError::is_directory(&path.into()))
    }

    fn rename(&self, spot: &Spot, temporary: &std::ffi::OsStr, path: &Path) -> Result<()> {
        let Spot { directory, name } = spot;
        let renamed = rustix::fs::renameat(directory, temporary, directory, name);
        // After success it is gone, but for two names of one file, where renaming does nothing.
        let _ = rustix::fs::unlinkat(directory, temporary, AtFlags::empty());
        renamed.map_err(|errno| self.target.root.io_error("write", path, errno))
    }

    /// What reading the archive failed with: the stream's own failure, or a fault of the archive.
    fn broken(&self, entry: Option<&Path>, error: &std::io::Error) -> ToolError {
        if let Some(failure) = self.state.failure.take() {
            return failure;
        }
        if self.state.ended.get() {
            return truncated(entry);
        }
        let place = entry.map(|entry| format!(" at or after {}", entry.display()));
        let reason = format!("is broken{}: {error}", place.unwrap_or_default());
        ToolError::invalid_argument("archive", reason)
    }
}

fn truncated(last: Option<&Path>) -> ToolError {
    let place = match last {
        Some(path) => format!("it ends at or after {}", path.display()),
        None => "it ends before its first entry".to_owned(),
    };
    ToolError::invalid_argument("archive", format!("is truncated: {place}, without an end mark"))
        .with_hint("send the whole archive; what arrived whole was kept")
}

/// The newer form of a sparse file: its content, and in some versions its name, are not what they
/// seem to who does not know it, and the archive's reader does not.
fn sparse(name: &Path) -> ToolError {
    let reason = format!("its entry {} is a sparse file in the PAX format", name.display());
    ToolError::invalid_argument("archive", reason)
        .with_hint("make the archive with `tar --format=gnu`, or without `--sparse` (-S)")
}

fn link_target(entry: &Entry<'_, Incoming>, path: &Path) -> Result<PathBuf> {
    let target = entry.link_name_bytes().filter(|target| !target.is_empty());
    target.map(|target| crate::root::owned(target.into_owned())).ok_or_else(|| {
        let reason = format!("its link {} leads nowhere", path.display());
        ToolError::invalid_argument("archive", reason)
    })
}

/// Permission bits. Not setuid, setgid and sticky: an archive must not bring privileges.
fn mode_of(entry: &Entry<'_, Incoming>) -> Result<u32> {
    let mode = entry.header().mode();
    mode.map(|mode| mode & 0o777).map_err(|error| ToolError::invalid_argument("archive", error))
}

fn time_of(entry: &Entry<'_, Incoming>) -> Timespec {
    let seconds = entry.header().mtime().unwrap_or_default();
    Timespec { tv_sec: i64::try_from(seconds).unwrap_or_default(), tv_nsec: 0 }
}

fn modified(time: Timespec) -> Timestamps {
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: time }
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
