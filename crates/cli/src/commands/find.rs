//! `stigmer find`.

use clap::Args;
use stigmer_core::search::{QueryKind, SearchFiles};
use stigmer_core::{ByteString, limits};

use crate::arguments::{at_least_one, bytes};
use crate::context::Context;
use crate::output::{Failure, Output};

/// Finds files by name.
#[derive(Debug, Args)]
#[command(after_help = "\
The characters of QUERY may have gaps between them; the best match comes first. Paths are relative
to the workspace. What .gitignore names and hidden files are left out unless --all is given. Exit
code 2 if a directory could not be looked into.

Examples:
  stigmer find mainrs
  stigmer find --glob '*.toml'
  stigmer find --glob 'src/**/mod.rs' --all
  stigmer find test crates -0 | xargs -0 wc -l")]
pub(crate) struct Find {
    /// What to look for
    query: String,
    /// Where to look [default: the whole workspace]
    #[arg(value_parser = bytes())]
    directories: Vec<ByteString>,
    /// Read QUERY as a glob; without a slash it is held against names, else against paths
    #[arg(short, long)]
    glob: bool,
    /// The most paths to print [default: 100; all for a glob]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one())]
    limit: Option<usize>,
    /// Search hidden files and those that ignore rules name, too
    #[arg(short, long)]
    all: bool,
    /// End each path with a NUL byte in place of a line end
    #[arg(short = '0', long)]
    null: bool,
}

impl Find {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let kind = if self.glob { QueryKind::Glob } else { QueryKind::Fuzzy };
        let otherwise = if self.glob { usize::MAX } else { limits::DEFAULT_FIND_RESULTS };
        let request = SearchFiles {
            query: self.query,
            kind,
            directories: self.directories,
            ignore_rules: !self.all,
            limit: Some(self.limit.unwrap_or(otherwise)),
        };
        let found = context.executor.search_files(request).await?;
        if output.is_json() {
            output.json(&found)?;
        } else {
            let end: &[u8] = if self.null { b"\0" } else { b"\n" };
            for path in &found.paths {
                output.bytes(path.as_bytes())?;
                output.bytes(end)?;
            }
            if found.truncated {
                output.talk(format_args!("there are more; these are {}", found.paths.len()));
            }
        }
        Ok(output.unreadable(&found.unreadable).unwrap_or(0))
    }
}
