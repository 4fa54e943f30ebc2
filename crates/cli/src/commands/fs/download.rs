//! `stigmer fs download`.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::{StreamExt, stream};
use serde_json::json;
use stigmer_core::file::FileKind;
use stigmer_core::limits::MAX_SYMLINKS;
use stigmer_core::transfer::{Download as Request, TransferFormat};
use stigmer_core::{ByteStream, ByteString, ErrorCode, ToolError};

use super::{archive, count, refuse_nested};
use crate::arguments::bytes;
use crate::context::{Context, io};
use crate::output::{Failure, Output};

/// Takes a file or a tree out of the workspace.
#[derive(Debug, Args)]
#[command(after_help = "\
A file becomes LOCAL, or goes into it if LOCAL is a directory; what a directory holds goes beneath
LOCAL, and never outside it. With - as LOCAL a file is printed as it is, a directory as a tar
archive. A file that is there keeps its mode, a new one has the mode of what is taken; a link is
followed, and a device or a FIFO is written to.

Examples:
  stigmer fs download report.pdf .
  stigmer fs download dist ./dist
  stigmer fs download src - | tar t
  stigmer fs download --tar report.pdf - | tar t")]
pub(crate) struct Download {
    /// What to take
    #[arg(value_parser = bytes())]
    remote: ByteString,
    /// Where to
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    local: PathBuf,
    /// Take a single file as an archive, too, which keeps its mode
    #[arg(long)]
    tar: bool,
}

impl Download {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let to_stdout = self.local == Path::new("-");
        if to_stdout && output.is_json() {
            let reason = "standard output cannot have both the content and JSON";
            return Err(ToolError::invalid_argument("local", reason).into());
        }
        let (format, mut content) = open(context, &self.remote, self.tar).await?;
        if to_stdout {
            while let Some(piece) = content.next().await {
                output.bytes(&piece?)?;
            }
            return Ok(0);
        }
        let (files, bytes) = match format {
            TransferFormat::File => {
                let target = if self.local.is_dir() {
                    let name = self.remote.as_path().file_name();
                    name.map_or_else(|| self.local.clone(), |name| self.local.join(name))
                } else {
                    self.local.clone()
                };
                let mode = mode_of(context, &self.remote).await.unwrap_or(0o600);
                (1, save(content, &target, mode).await?)
            }
            TransferFormat::Tar => {
                let source = context.workspace.root().join(self.remote.as_path());
                // With --tar it may be a file.
                if source.is_dir() {
                    refuse_nested(context, ("remote", &source), &self.local)?;
                }
                archive::extract(content, &self.local).await?
            }
        };
        if output.is_json() {
            output.json(&json!({ "files": files, "bytes": bytes }))?;
        }
        output.talk(format_args!("downloaded {}, {}", count(files, "file"), count(bytes, "byte")));
        Ok(0)
    }
}

/// The content of a file, or an archive of a directory. Which it is, is found by asking: a question
/// beforehand could be answered by another file than the one that is read.
async fn open(
    context: &Context,
    path: &ByteString,
    tar: bool,
) -> Result<(TransferFormat, ByteStream), ToolError> {
    let request = |format| Request { path: path.clone(), format };
    if !tar {
        // A stream may tell only at its first piece that it cannot be had.
        let first = match context.executor.download(request(TransferFormat::File)).await {
            Ok(mut content) => content.next().await.transpose().map(|first| (first, content)),
            Err(error) => Err(error),
        };
        match first {
            Ok((first, content)) => {
                let first = stream::iter(first.map(Ok));
                return Ok((TransferFormat::File, Box::pin(first.chain(content))));
            }
            Err(error) if error.code == ErrorCode::IsDirectory => {}
            Err(error) => return Err(error),
        }
    }
    let content = context.executor.download(request(TransferFormat::Tar)).await?;
    Ok((TransferFormat::Tar, content))
}

/// The mode of a file, its links followed; `None` if it cannot be told.
async fn mode_of(context: &Context, path: &ByteString) -> Option<u32> {
    let mut path = path.clone();
    for _ in 0..MAX_SYMLINKS {
        let stat = context.executor.stat_file(path.clone()).await.ok()?;
        match (stat.kind, stat.symlink_target) {
            (FileKind::File, _) => return Some(stat.mode & 0o777),
            (FileKind::Symlink, Some(target)) => path = beside(path.as_path(), &target).into(),
            _ => return None,
        }
    }
    None
}

/// Where a link leads.
fn beside(link: &Path, target: &ByteString) -> PathBuf {
    link.parent().unwrap_or(Path::new("")).join(target.as_path())
}

/// Saves what becomes of a file; `mode` is for one that is not there yet, as the umask allows.
async fn save(content: ByteStream, target: &Path, mode: u32) -> Result<u64, ToolError> {
    let failed = |error: &std::io::Error| io("write", &target.to_string_lossy(), error);
    let there = std::fs::metadata(target).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        // A device, a FIFO, or what /dev/stdout leads to: it is no name for a content.
        let mut file = File::options().write(true).open(target).map_err(|error| failed(&error))?;
        return pour(content, &mut file, target).await;
    }
    let target = end_of_links(target);
    // Beside the target and then renamed: a download that breaks off leaves what was there.
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Part(PathBuf::from(name));
    // What is to replace a file is never wider than it, not even for a moment.
    let first = if there.is_some() { 0o600 } else { mode };
    let mut options = File::options();
    options.write(true).create_new(true).mode(first);
    let mut file = options.open(&part.0).map_err(|error| failed(&error))?;
    let bytes = pour(content, &mut file, &target).await?;
    if let Some(there) = there {
        // Only root may keep another owner; for everybody else it becomes their own.
        let _ = std::os::unix::fs::fchown(&file, Some(there.uid()), Some(there.gid()));
        let kept = Permissions::from_mode(there.mode() & 0o777);
        file.set_permissions(kept).map_err(|error| failed(&error))?;
    }
    std::fs::rename(&part.0, &target).map_err(|error| failed(&error))?;
    Ok(bytes)
}

async fn pour(mut content: ByteStream, file: &mut File, target: &Path) -> Result<u64, ToolError> {
    let mut bytes = 0;
    while let Some(piece) = content.next().await {
        let piece = piece?;
        let failed = |error| io("write", &target.to_string_lossy(), &error);
        file.write_all(&piece).map_err(failed)?;
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}

/// The name that a path's links lead to at last, whether anything has it or not.
fn end_of_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_SYMLINKS {
        match std::fs::read_link(&path) {
            Ok(target) => path = beside(&path, &target.into()),
            Err(_) => break,
        }
    }
    path
}

/// A file that is removed unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
