//! `stigmer fs download`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::{StreamExt, stream};
use serde_json::json;
use stigmer_core::transfer::{Download as Request, TransferFormat};
use stigmer_core::{ByteStream, ByteString, ErrorCode, ToolError};

use super::{archive, count};
use crate::arguments::bytes;
use crate::context::{Context, io};
use crate::output::{Failure, Output};

/// Takes a file or a tree out of the workspace.
#[derive(Debug, Args)]
#[command(after_help = "\
A file becomes LOCAL, or goes into it if LOCAL is a directory; what a directory holds goes beneath
LOCAL, and never outside it. With - as LOCAL a file is printed as it is, a directory as a tar
archive.

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
                (1, save(content, &target).await?)
            }
            TransferFormat::Tar => archive::extract(content, &self.local).await?,
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

/// Writes beside the target and renames, so that a download that breaks off leaves what was there.
async fn save(mut content: ByteStream, target: &Path) -> Result<u64, ToolError> {
    let failed = |error: &std::io::Error| io("write", &target.to_string_lossy(), error);
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Part(PathBuf::from(name));
    let mut file = std::fs::File::create_new(&part.0).map_err(|error| failed(&error))?;
    let mut bytes = 0;
    while let Some(piece) = content.next().await {
        let piece = piece?;
        file.write_all(&piece).map_err(|error| failed(&error))?;
        bytes += piece.len() as u64;
    }
    std::fs::rename(&part.0, target).map_err(|error| failed(&error))?;
    Ok(bytes)
}

/// A file that is removed unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
