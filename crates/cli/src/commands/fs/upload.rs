//! `stigmer fs upload`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use stigmer_core::transfer::{TransferFormat, Upload as Request};
use stigmer_core::{ByteStream, ByteString, ToolError};

use super::{archive, count, refuse_nested};
use crate::arguments::bytes;
use crate::context::{Context, io};
use crate::output::{Failure, Output};

/// Puts a file or a tree into the workspace.
#[derive(Debug, Args)]
#[command(after_help = "\
LOCAL is a file, a directory, or - for a tar archive from standard input. A file becomes REMOTE, or
goes into it if REMOTE ends in a slash; what a directory or an archive holds goes beneath REMOTE.

Examples:
  stigmer fs upload data.csv data/input.csv
  stigmer fs upload data.csv data/
  stigmer fs upload ./site public
  tar c src | stigmer fs upload - .")]
pub(crate) struct Upload {
    /// What to put
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    local: PathBuf,
    /// Where in the workspace
    #[arg(value_parser = bytes())]
    remote: ByteString,
}

impl Upload {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let shown = self.local.to_string_lossy().into_owned();
        let (request, content) = if self.local == Path::new("-") {
            let request = Request { path: self.remote, ..Request::default() };
            (request, stream_of(std::io::stdin(), "standard input".to_owned()))
        } else if self.local.is_dir() {
            let target = context.workspace.root().join(self.remote.as_path());
            refuse_nested(context, ("local", &self.local), &target)?;
            let request = Request { path: self.remote, ..Request::default() };
            (request, archive::build(self.local))
        } else {
            let file = File::open(&self.local).map_err(|error| io("read", &shown, &error))?;
            let metadata = file.metadata().map_err(|error| io("read", &shown, &error))?;
            // Of a pipe or a device the mode says nothing about a file.
            let mode = metadata.is_file().then(|| metadata.mode() & 0o777);
            let path = within(self.remote, &self.local);
            (Request { path, format: TransferFormat::File, mode }, stream_of(file, shown))
        };
        let summary = context.executor.upload(request, content).await?;
        if output.is_json() {
            output.json(&summary)?;
        }
        output.talk(format_args!(
            "uploaded {}, {}",
            count(summary.files, "file"),
            count(summary.bytes, "byte")
        ));
        Ok(0)
    }
}

/// A target that ends in a slash is a directory to go into.
fn within(remote: ByteString, local: &Path) -> ByteString {
    match local.file_name() {
        Some(name) if remote.as_bytes().ends_with(b"/") => remote.as_path().join(name).into(),
        _ => remote,
    }
}

/// What a reader gives, piece by piece. Reading blocks this thread, which has nothing else to do.
pub(crate) fn stream_of(reader: impl Read + Send + 'static, name: String) -> ByteStream {
    Box::pin(stream::unfold(Some((reader, name)), async |state| {
        let (mut reader, name) = state?;
        let mut piece = vec![0; archive::PIECE];
        match reader.read(&mut piece) {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some((Ok(Bytes::from(piece)), Some((reader, name))))
            }
            Err(error) => {
                let error: ToolError = io("read", &name, &error);
                Some((Err(error), None))
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_means_into() {
        let within = |remote: &str| within(remote.into(), Path::new("/x/a.txt"));
        assert_eq!(within("d/"), "d/a.txt".into());
        assert_eq!(within("d"), "d".into());
    }
}
