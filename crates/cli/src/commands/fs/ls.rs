//! `stigmer fs ls`.

use clap::Args;
use stigmer_core::file::{FileKind, ListDirectory};
use stigmer_core::{ByteString, limits};

use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Lists a directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints one path on a line, relative to the workspace, directories with a slash at the end. What
.gitignore names and hidden files are left out unless --all is given. Exit code 2 if a directory on
the way could not be looked into.

Examples:
  stigmer fs ls
  stigmer fs ls src --depth 3
  stigmer fs ls --all --long
  stigmer fs ls --json")]
pub(crate) struct Ls {
    /// The directory [default: the workspace]
    #[arg(value_parser = bytes(), default_value = "", hide_default_value = true)]
    path: ByteString,
    /// How many levels deep
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    depth: u32,
    /// List hidden files and those that ignore rules name, too
    #[arg(short, long)]
    all: bool,
    /// Print kind and size before each path
    #[arg(short, long)]
    long: bool,
    /// The most entries to print
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    /// End each path with a NUL byte in place of a line end
    #[arg(short = '0', long)]
    null: bool,
}

impl Ls {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let request = ListDirectory {
            path: self.path,
            depth: self.depth,
            ignore_rules: !self.all,
            limit: Some(self.limit.unwrap_or(limits::MAX_LIST_ENTRIES)),
        };
        let listing = context.executor.list_directory(request).await?;
        if output.is_json() {
            output.json(&listing)?;
            return Ok(output.unreadable(&listing.unreadable).unwrap_or(0));
        }
        for entry in &listing.entries {
            if self.long {
                output.bytes(format!("{:9} {:>12} ", entry.kind.name(), entry.size).as_bytes())?;
            }
            output.bytes(entry.path.as_bytes())?;
            if entry.kind == FileKind::Directory {
                output.bytes(b"/")?;
            }
            output.bytes(if self.null { b"\0" } else { b"\n" })?;
        }
        if listing.truncated {
            output.talk(format_args!("there are more; these are {}", listing.entries.len()));
        }
        Ok(output.unreadable(&listing.unreadable).unwrap_or(0))
    }
}
