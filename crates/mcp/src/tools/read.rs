//! `read`: a file, or some of its lines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::file::{Encoding, FileContent, ReadFile};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;
use crate::clip;

/// The lines of one answer if nothing is said.
const LINES: u64 = 2_000;

/// What to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Read {
    /// The file, relative to the workspace or absolute beneath it.
    path: String,
    /// The first line wanted, counted from 1. Default: 1.
    #[schemars(range(min = 1))]
    first_line: Option<u64>,
    /// The last line wanted. Default: 2000 lines from the first.
    #[schemars(range(min = 1))]
    last_line: Option<u64>,
    /// The workspace to work in: an id that `workspaces` lists, or an absolute directory. Default:
    /// the one this server was set up for.
    workspace: Option<String>,
}

/// What is in it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    /// The lines, with their line ends.
    content: String,
    /// Whether `content` is the text itself (utf-8) or, for what is no text, encoded (base64).
    encoding: How,
    /// The first line in `content`, from 1; 0 when there is none.
    start_line: u64,
    /// The last line in `content`; 0 when there is none.
    end_line: u64,
    /// How many lines the whole file has.
    total_lines: u64,
    /// The line to read on from, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_line: Option<u64>,
    /// Whether the end of the last line was left out, because it is too long.
    line_cut: bool,
    /// The size of the whole file in bytes.
    size: u64,
    /// The SHA-256 of the whole file: pass it to write or edit as `expected_sha256`.
    sha256: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
enum How {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

impl Operation for Read {
    const NAME: &'static str = "read";
    const TITLE: &'static str = "Read a file";
    const DESCRIPTION: &'static str = "\
Read a file, or some of its lines. Returns the text as it stands, without line numbers, so that it can \
be passed to edit. What is too long for one answer is cut at the end of a line, and `next_line` says \
where to read on.";
    const EFFECT: Effect = Effect::Reads;
    type Answer = Content;

    async fn call(self, call: Call) -> Result<Content> {
        let first = self.first_line.unwrap_or(1);
        let last = self.last_line.unwrap_or(first.saturating_add(LINES - 1));
        if first == 0 || last < first {
            let reason = format!("lines {first} to {last} are none; the first line is 1");
            return Err(ToolError::invalid_argument("first_line", reason));
        }
        let executor = call.executor(self.workspace.as_deref()).await?;
        let request =
            ReadFile { path: self.path.into(), first_line: Some(first), last_line: Some(last) };
        executor.read_file(request).await.map(Content::from).map_err(|error| {
            // The hint is for people at a command line.
            match error.code {
                ErrorCode::IsDirectory => ToolError { hint: Some("use list".to_owned()), ..error },
                ErrorCode::NotFound => ToolError { hint: Some("use find".to_owned()), ..error },
                _ => error,
            }
        })
    }
}

impl From<FileContent> for Content {
    fn from(file: FileContent) -> Self {
        let bytes = file.content.as_bytes();
        let mut kept = bytes;
        let mut next_line = file.next_line;
        let mut end_line = file.end_line;
        let mut line_cut = false;
        if bytes.len() > clip::MAX_TEXT_BYTES {
            let window = &bytes[..clip::MAX_TEXT_BYTES];
            let lines = window.iter().filter(|byte| **byte == b'\n').count() as u64;
            if let Some(end) = window.iter().rposition(|byte| *byte == b'\n') {
                kept = &bytes[..=end];
                end_line = file.start_line + lines - 1;
            } else {
                kept = &bytes[..clip::boundary(bytes, clip::MAX_TEXT_BYTES)];
                end_line = file.start_line;
                line_cut = true;
            }
            next_line = (end_line < file.total_lines).then_some(end_line + 1);
        }
        let (content, encoding) = match (file.encoding, std::str::from_utf8(kept)) {
            (Encoding::Utf8, Ok(text)) => (text.to_owned(), How::Utf8),
            _ => {
                use base64::Engine;
                (base64::engine::general_purpose::STANDARD.encode(kept), How::Base64)
            }
        };
        Self {
            content,
            encoding,
            start_line: file.start_line,
            end_line,
            total_lines: file.total_lines,
            next_line,
            line_cut,
            size: file.size,
            sha256: file.sha256,
        }
    }
}

impl Answer for Content {
    fn text(&self) -> String {
        let mut text = self.content.clone();
        let Self { start_line, end_line, total_lines, .. } = self;
        let mut remarks = Vec::new();
        if self.encoding == How::Base64 {
            remarks.push("this is base64, because it is no text".to_owned());
        }
        if self.line_cut {
            remarks.push(format!("line {end_line} is cut: run can read bytes of it"));
        }
        if let Some(next) = self.next_line {
            let shown = format!("lines {start_line} to {end_line} of {total_lines}");
            remarks.push(format!("{shown}; read on with first_line {next}"));
        }
        if !remarks.is_empty() {
            super::run::end_line(&mut text);
            text.push_str(&format!("[{}]", remarks.join("; ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, next_line: Option<u64>) -> Content {
        let lines = text.lines().count() as u64;
        FileContent {
            content: text.into(),
            encoding: Encoding::Utf8,
            total_lines: lines + next_line.map_or(0, |_| 5),
            start_line: 1,
            end_line: lines,
            next_line,
            size: text.len() as u64,
            sha256: String::new(),
        }
        .into()
    }

    #[test]
    fn a_long_answer_ends_with_a_line_and_names_the_next() {
        let text = "0123456789\n".repeat(4_000);
        let first = content(&text, None);
        assert!(first.content.len() <= clip::MAX_TEXT_BYTES && first.content.ends_with('\n'));
        assert_eq!(first.end_line, first.content.len() as u64 / 11);
        assert_eq!((first.next_line, first.line_cut), (Some(first.end_line + 1), false));
        let short = content("a\nb\n", Some(3));
        assert_eq!((short.next_line, short.end_line), (Some(3), 2));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_between_characters() {
        let cut = content(&"ä".repeat(30_000), None);
        assert!(cut.line_cut && cut.encoding == How::Utf8);
        assert_eq!((cut.end_line, cut.next_line), (1, None));
        let text = format!("{}\nnext\n", "x".repeat(40_000));
        assert_eq!(content(&text, None).next_line, Some(2));
    }
}
