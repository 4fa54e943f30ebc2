//! Skills in one workspace.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stigmer_core::file::{
    DeleteFile, FileKind, ListDirectory, Listing, MovePath, ReadFile, WriteFile,
};
use stigmer_core::limits::MAX_LIST_ENTRIES;
use stigmer_core::skill::{AddedSkill, Skill, SkillChange};
use stigmer_core::transfer::{Download, TransferFormat, Upload};
use stigmer_core::{ByteStream, ErrorCode, FilePath, Result, ToolError, ToolExecutor};
use tokio::sync::Semaphore;

use crate::frontmatter::check_name;
use crate::limits::{ADDED_AT_ONCE, KEPT, MAX_SKILLS, TRIES};
use crate::package::{Package, SKILL_FILE};
use crate::place::{self, Named};
use crate::record::Record;
use crate::{archive, pack};

/// How long an archive may be on its way, while others wait for their turn: 36 MB need no more on a
/// line of 3 Mbit/s.
const ARRIVAL: Duration = Duration::from_secs(120);

/// The skills of one workspace.
#[derive(Clone)]
pub struct Skills {
    executor: Arc<dyn ToolExecutor>,
    root: FilePath,
}

impl fmt::Debug for Skills {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Skills").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Skills {
    /// The skills of the workspace that an executor works in; `root` is its directory as its
    /// commands see it.
    pub fn new(executor: Arc<dyn ToolExecutor>, root: FilePath) -> Self {
        Self { executor, root }
    }

    /// Adds a skill from a tar archive, which may be compressed with gzip. It has `SKILL.md` at its
    /// top, or in its only directory. Another version of the skill is replaced.
    ///
    /// Nothing is written before the whole archive was looked at. What was begun is finished, even
    /// if nobody waits for it any more.
    ///
    /// # Errors
    /// `outside_workspace` for an entry that leads out of the skill, `too_large` for one that passes
    /// a limit, `invalid_argument` for whatever else is no skill, `deadline_exceeded` if it does not
    /// arrive in time, and what writing files says.
    pub async fn add(&self, content: ByteStream) -> Result<AddedSkill> {
        static ADDING: Semaphore = Semaphore::const_new(ADDED_AT_ONCE);
        let broken = |error: &dyn fmt::Display| {
            ToolError::new(ErrorCode::Io, format!("adding a skill broke off: {error}"))
        };
        let turn = ADDING.acquire().await.map_err(|error| broken(&error))?;
        let bytes = tokio::time::timeout(ARRIVAL, archive::gather(content)).await;
        let bytes = bytes.unwrap_or_else(|_| Err(late()))?;
        // The turn is over when the work is, also if nobody waits for it any more.
        let read = move || {
            let package = archive::decompressed(bytes).and_then(|bytes| Package::read(&bytes));
            (package, turn)
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (package, turn) = read.map_err(|error| broken(&error))?;
        let package = package?;
        let store = self.clone();
        let added = tokio::spawn(async move {
            let added = store.install(&package).await;
            drop(turn);
            added
        });
        added.await.map_err(|error| broken(&error))?
    }

    /// The skills, sorted by name.
    ///
    /// # Errors
    /// What reading files says. A skill whose files are damaged is listed with its problem.
    pub async fn list(&self) -> Result<Vec<Skill>> {
        let mut skills = Vec::new();
        for (name, record) in self.records().await? {
            let Some(record) = record else {
                let problem = Some("its record is damaged; add it again, or remove it".to_owned());
                skills.push(Skill { name, problem, ..Skill::default() });
                continue;
            };
            let there = self.is_there(&record).await?;
            let mut skill = record.skill(&self.root);
            if !there {
                skill.problem = Some("its content is gone; add it again, or remove it".to_owned());
            }
            skills.push(skill);
        }
        skills.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(skills)
    }

    /// Removes a skill with all its versions; returns whether there was one.
    ///
    /// # Errors
    /// `invalid_argument` for what is no name, and what deleting files says.
    pub async fn remove(&self, name: &str) -> Result<bool> {
        check_name(name)?;
        // A command can have put a directory in its place.
        let record = DeleteFile { path: place::record(name), recursive: true };
        // The record first: from here on it is not listed.
        let mut there = !self.executor.delete_file(record).await?.was_already_deleted;
        for entry in self.entries(2).await?.entries {
            let path = entry.path.as_path();
            let of = path.parent().and_then(|parent| parent.file_name()?.to_str());
            let version = of.is_some_and(|of| named(of) == Named::Version);
            if version && path.ends_with(name) {
                let version: FilePath = path.parent().unwrap_or(path).into();
                self.take_away(&version).await?;
                there = true;
            }
        }
        self.sweep().await?;
        Ok(there)
    }

    async fn install(&self, package: &Package) -> Result<AddedSkill> {
        let records = self.records().await?;
        let before = records.iter().find(|(name, _)| *name == package.name);
        let change = match before {
            None if records.len() >= MAX_SKILLS => return Err(too_many()),
            None => SkillChange::Added,
            Some((_, record)) => {
                let same = record.as_ref().is_some_and(|record| record.digest == package.digest);
                if same && self.is_intact(package).await? {
                    SkillChange::Unchanged
                } else {
                    SkillChange::Replaced
                }
            }
        };
        if change != SkillChange::Unchanged {
            self.hide_from_git().await?;
            self.put(package).await?;
            self.sweep().await?;
        }
        Ok(AddedSkill { skill: Record::of(package).skill(&self.root), change })
    }

    /// Puts a version in its place, and then its record.
    async fn put(&self, package: &Package) -> Result<()> {
        let record = Record::of(package);
        let json = serde_json::to_vec(&record)
            .map_err(|error| ToolError::new(ErrorCode::Io, error.to_string()))?;
        for _ in 0..TRIES {
            let staged = self.stage(package).await?;
            if let Err(error) = self.move_in(&staged, package).await {
                // The first failure is the one to tell.
                let _ = self.discard(&staged).await;
                return Err(error);
            }
            let path = place::record(&record.name);
            let write = WriteFile { path, content: json.clone().into(), ..WriteFile::default() };
            match self.executor.write_file(write.clone()).await {
                Err(error) if is_no_record(&error) => {
                    self.discard(&write.path).await?;
                    self.executor.write_file(write).await?;
                }
                written => drop(written?),
            }
            // Somebody may have removed the skill between the two.
            if self.is_there(&record).await? {
                return Ok(());
            }
        }
        let message = format!("the skill {} is removed as often as it is added", record.name);
        Err(ToolError::new(ErrorCode::Busy, message))
    }

    /// Uploads a version to where nobody looks for it. Nothing is left of one that does not arrive.
    async fn stage(&self, package: &Package) -> Result<FilePath> {
        let path = place::temporary()?;
        let upload = Upload { path: path.clone(), format: TransferFormat::Tar, mode: None };
        match self.executor.upload(upload, pack::archive(package)).await {
            Ok(_) => Ok(path),
            Err(error) => {
                // The first failure is the one to tell.
                let _ = self.discard(&path).await;
                Err(error)
            }
        }
    }

    /// Gives a staged version its name. One that has it already is the same, or damaged.
    async fn move_in(&self, staged: &FilePath, package: &Package) -> Result<()> {
        let version = place::version(&package.digest);
        let mut last = None;
        for _ in 0..TRIES {
            match self.rename(staged, &version).await {
                Err(error) if error.code == ErrorCode::Exists => last = Some(error),
                done => return done,
            }
            if self.is_intact(package).await? {
                return self.discard(staged).await;
            }
            if let Some(damaged) = self.put_aside(&version).await? {
                self.discard(&damaged).await?;
            }
        }
        last.map_or(Ok(()), Err)
    }

    async fn rename(&self, from: &FilePath, to: &FilePath) -> Result<()> {
        let rename = MovePath { from: from.clone(), to: to.clone(), replace: false };
        self.executor.move_path(rename).await
    }

    /// Deletes a version so that nobody sees half of it. One that somebody has made count again
    /// meanwhile goes back: whoever writes a record looks for its content afterwards, so that one of
    /// the two sees what the other did.
    async fn take_away(&self, version: &FilePath) -> Result<()> {
        let Some(aside) = self.put_aside(version).await? else { return Ok(()) };
        let records = self.records().await?;
        let mut counting = records.iter().filter_map(|(_, record)| record.as_ref());
        if counting.any(|record| place::version(&record.digest) == *version) {
            match self.rename(&aside, version).await {
                // It was put there anew.
                Err(error) if error.code == ErrorCode::Exists => {}
                done => return done,
            }
        }
        self.discard(&aside).await
    }

    /// Takes a version's name away from it; nothing if it is gone already.
    async fn put_aside(&self, version: &FilePath) -> Result<Option<FilePath>> {
        let aside = place::temporary()?;
        match self.rename(version, &aside).await {
            Err(error) if error.code == ErrorCode::NotFound => Ok(None),
            done => done.map(|()| Some(aside)),
        }
    }

    async fn discard(&self, path: &FilePath) -> Result<()> {
        let delete = DeleteFile { path: path.clone(), recursive: true };
        self.executor.delete_file(delete).await.map(drop)
    }

    /// Clears away what was replaced, or left by whoever died, long enough ago.
    async fn sweep(&self) -> Result<()> {
        let records = self.records().await?;
        let digests = records.iter().filter_map(|(_, record)| record.as_ref());
        let used: HashSet<&str> =
            digests.map(|record| place::directory_of(&record.digest)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = i64::try_from(now.saturating_sub(KEPT).as_millis()).unwrap_or_default();
        for entry in self.entries(1).await?.entries {
            let name = file_name(&entry.path);
            let unused = match named(name) {
                Named::Version => !used.contains(name),
                Named::Temporary => true,
                Named::Record(_) | Named::Other => false,
            };
            if !unused || entry.kind != FileKind::Directory {
                continue;
            }
            match self.executor.stat_file(entry.path.clone()).await {
                Ok(stat) if stat.modified_ms < oldest => self.take_away(&entry.path).await?,
                // Somebody else was quicker.
                Err(error) if error.code != ErrorCode::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// A file of our own in a directory of our own: what the user wrote there stays.
    async fn hide_from_git(&self) -> Result<()> {
        let ignore = WriteFile {
            path: place::ignore_file(),
            content: "*\n".into(),
            create_only: true,
            ..WriteFile::default()
        };
        match self.executor.write_file(ignore).await {
            Err(error) if error.code != ErrorCode::Exists => Err(error),
            _ => Ok(()),
        }
    }

    /// The records, as far as they can be understood.
    async fn records(&self) -> Result<Vec<(String, Option<Record>)>> {
        let mut records = Vec::new();
        for entry in self.entries(1).await?.entries {
            let Named::Record(name) = named(file_name(&entry.path)) else { continue };
            if check_name(name).is_err() {
                continue;
            }
            let read = ReadFile { path: entry.path.clone(), ..ReadFile::default() };
            let record = match self.executor.read_file(read).await {
                Ok(file) => Record::read(name, file.content.as_bytes()),
                // It was removed meanwhile.
                Err(error) if error.code == ErrorCode::NotFound && is_file(entry.kind) => continue,
                Err(error) if is_no_record(&error) => None,
                Err(error) => return Err(error),
            };
            records.push((name.to_owned(), record));
        }
        Ok(records)
    }

    async fn entries(&self, depth: u32) -> Result<Listing> {
        let list = ListDirectory {
            path: place::DIRECTORY.into(),
            depth,
            ignore_rules: false,
            limit: Some(MAX_LIST_ENTRIES),
        };
        match self.executor.list_directory(list).await {
            Ok(listing) if listing.truncated => Err(ToolError::new(
                ErrorCode::TooLarge,
                format!("{}: has more than {MAX_LIST_ENTRIES} entries", place::DIRECTORY),
            )
            .with_hint("delete what is not needed there")),
            Err(error) if error.code == ErrorCode::NotFound => {
                Ok(Listing { entries: Vec::new(), truncated: false, unreadable: Vec::new() })
            }
            listing => listing,
        }
    }

    /// Whether the content of a version is where it shall be.
    async fn is_there(&self, record: &Record) -> Result<bool> {
        let content = place::content(&record.digest, &record.name);
        match self.executor.stat_file(content.as_path().join(SKILL_FILE).into()).await {
            Ok(stat) => Ok(is_file(stat.kind)),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the content of a version is as it was added.
    async fn is_intact(&self, package: &Package) -> Result<bool> {
        let path = place::content(&package.digest, &package.name);
        let download = Download { path, format: TransferFormat::Tar };
        let content = match self.executor.download(download).await {
            Err(error) if is_damage(&error) => return Ok(false),
            content => content?,
        };
        match archive::gather(content).await {
            Ok(bytes) => Ok(package.is_in(&bytes)),
            // Something grew there, or cannot be read: the content is put there anew.
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn named(name: &str) -> Named<'_> {
    place::named(name)
}

/// The last component; nothing that is not text is ours.
fn file_name(path: &FilePath) -> &str {
    path.as_path().file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_file(kind: FileKind) -> bool {
    kind == FileKind::File
}

/// Whether an error is about what lies in the workspace, and not about reaching it.
fn is_damage(error: &ToolError) -> bool {
    matches!(
        error.code,
        ErrorCode::NotFound
            | ErrorCode::IsDirectory
            | ErrorCode::NotADirectory
            | ErrorCode::NotAFile
            | ErrorCode::OutsideWorkspace
            | ErrorCode::PermissionDenied
            | ErrorCode::TooLarge
    )
}

/// Whether something else is where a record shall be: a command can put anything there, such as a link
/// to itself.
fn is_no_record(error: &ToolError) -> bool {
    is_damage(error) || error.code == ErrorCode::InvalidArgument
}

fn late() -> ToolError {
    let message = format!("the archive did not arrive within {} s", ARRIVAL.as_secs());
    ToolError::new(ErrorCode::DeadlineExceeded, message)
}

fn too_many() -> ToolError {
    ToolError::new(ErrorCode::TooLarge, format!("the workspace has {MAX_SKILLS} skills, the most"))
        .with_detail("limit", MAX_SKILLS)
        .with_hint("remove one that is not needed with `stigmer skill rm`")
}
