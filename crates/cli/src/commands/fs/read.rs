//! `stigmer fs read`.

use clap::Args;
use futures_util::StreamExt;
use stigmer_core::ByteString;
use stigmer_core::file::ReadFile;
use stigmer_core::transfer::{Download, TransferFormat};

use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Prints a file, or some of its lines.
#[derive(Debug, Args)]
#[command(after_help = "\
The bytes are printed as they are. A whole file is streamed, whatever its size; with --json or
--lines it must not be larger than 10 MiB, and --json adds its sha256 for `fs write --expect`.

Examples:
  stigmer fs read src/main.rs
  stigmer fs read src/main.rs --lines 10:20
  stigmer fs read src/main.rs --lines 10:
  stigmer fs read --json notes.txt")]
pub(crate) struct Read {
    /// The file
    #[arg(value_parser = bytes())]
    path: ByteString,
    /// Lines counted from 1, both inclusive: 10:20, 10:, :20, or 10 alone
    #[arg(short, long, value_name = "FIRST:LAST", value_parser = lines)]
    lines: Option<Lines>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lines {
    first: Option<u64>,
    last: Option<u64>,
}

fn lines(text: &str) -> Result<Lines, String> {
    let number = |text: &str| match text {
        "" => Ok(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => match text.parse() {
            Ok(0) => Err("lines are counted from 1".to_owned()),
            Ok(number) => Ok(Some(number)),
            Err(_) => Err("the number is too large".to_owned()),
        },
        _ => Err("give lines as FIRST:LAST, such as 10:20, 10: or :20".to_owned()),
    };
    let (first, last) = match text.split_once(':') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    match (first, last) {
        (None, None) => Err("give lines as FIRST:LAST, such as 10:20, 10: or :20".to_owned()),
        (Some(first), Some(last)) if first > last => {
            Err(format!("the first line, {first}, is behind the last, {last}"))
        }
        _ => Ok(Lines { first, last }),
    }
}

impl Read {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        if self.lines.is_none() && !output.is_json() {
            let request = Download { path: self.path, format: TransferFormat::File };
            let mut content = context.executor.download(request).await?;
            while let Some(chunk) = content.next().await {
                output.bytes(&chunk?)?;
            }
            return Ok(0);
        }
        let request = ReadFile {
            path: self.path,
            first_line: self.lines.and_then(|lines| lines.first),
            last_line: self.lines.and_then(|lines| lines.last),
        };
        let content = context.executor.read_file(request).await?;
        if output.is_json() {
            output.json(&content)?;
        } else {
            output.bytes(content.content.as_bytes())?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = |first, last| Ok(Lines { first, last });
        assert_eq!(lines("10:20"), range(Some(10), Some(20)));
        assert_eq!(lines("10:"), range(Some(10), None));
        assert_eq!(lines(":20"), range(None, Some(20)));
        assert_eq!(lines("7"), range(Some(7), Some(7)));
        for bad in
            ["", ":", "0:1", "2:1", "a", "1:b", "1:2:3", "-1:2", "+1", "99999999999999999999"]
        {
            assert!(lines(bad).is_err(), "{bad}");
        }
    }
}
