//! `stigmer grep`.

use std::collections::BTreeMap;

use clap::Args;
use stigmer_core::search::{CaseRule, GrepMatch, GrepMatches, GrepSearch};
use stigmer_core::{ByteString, FilePath};

use crate::arguments::{at_least_one, bytes};
use crate::context::Context;
use crate::output::{Failure, Output};

/// Exit code without a match, as every grep has it.
const EXIT_NO_MATCH: u8 = 1;

/// Finds lines by content, as ripgrep does.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints path:line:text, and path-line-text for lines of context, as `rg -n --no-heading` does, and
`path: binary file matches` for a file that holds a NUL byte, of which not all lines are shown.
PATHS, and those that are printed, are relative to the workspace. Exit code 1 without a match, 2 if
a file could not be searched.

Examples:
  stigmer grep 'fn main'
  stigmer grep -S todo src -g '*.rs' -g '!tests'
  stigmer grep -F 'a.b(c)' -C 2
  stigmer grep --json -i error logs --limit 20
  stigmer grep -- '--flag'")]
pub(crate) struct Grep {
    /// A regular expression, as ripgrep reads it
    #[arg(value_parser = bytes())]
    pattern: ByteString,
    /// Files or directories to search [default: the whole workspace]
    #[arg(value_parser = bytes())]
    paths: Vec<ByteString>,
    /// Take the pattern as it stands
    #[arg(short = 'F', long)]
    fixed_strings: bool,
    /// Upper and lower case are the same
    #[arg(short, long, overrides_with = "smart_case")]
    ignore_case: bool,
    /// They are the same unless the pattern has an upper-case letter
    #[arg(short = 'S', long, overrides_with = "ignore_case")]
    smart_case: bool,
    /// Only files that the glob names; with ! in front, all but those
    #[arg(short, long, value_name = "GLOB")]
    glob: Vec<String>,
    /// Lines to show after each match
    #[arg(short = 'A', long, value_name = "N")]
    after_context: Option<u32>,
    /// Lines to show before each match
    #[arg(short = 'B', long, value_name = "N")]
    before_context: Option<u32>,
    /// Lines to show before and after each match
    #[arg(short = 'C', long, value_name = "N")]
    context: Option<u32>,
    /// The most matches in all [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one())]
    limit: Option<usize>,
    /// Search hidden files and those that ignore rules name, too
    #[arg(long)]
    no_ignore: bool,
}

impl Grep {
    fn request(self) -> GrepSearch {
        let case = match (self.ignore_case, self.smart_case) {
            (true, _) => CaseRule::Insensitive,
            (_, true) => CaseRule::Smart,
            _ => CaseRule::Sensitive,
        };
        let mut include = Vec::new();
        let mut exclude = Vec::new();
        for glob in self.glob {
            match glob.strip_prefix('!') {
                Some(glob) => exclude.push(glob.to_owned()),
                None => include.push(glob),
            }
        }
        let around = self.context.unwrap_or(0);
        GrepSearch {
            pattern: self.pattern,
            literal: self.fixed_strings,
            case,
            paths: self.paths,
            include,
            exclude,
            no_ignore: self.no_ignore,
            before: self.before_context.unwrap_or(around),
            after: self.after_context.unwrap_or(around),
            limit: Some(self.limit.unwrap_or(usize::MAX)),
        }
    }

    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let request = self.request();
        let with_context = request.before > 0 || request.after > 0;
        let found = context.executor.grep_search(request).await?;
        if output.is_json() {
            output.json(&found)?;
        } else {
            print(&found, with_context, &mut |bytes| output.bytes(bytes))?;
        }
        let unreadable = output.unreadable(&found.unreadable);
        if found.truncated {
            output.talk(format_args!("there are more; these are {}", found.matches.len()));
        }
        let nothing = found.matches.is_empty() && found.binary.is_empty();
        Ok(unreadable.unwrap_or(if nothing { EXIT_NO_MATCH } else { 0 }))
    }
}

type Write<'a> = dyn FnMut(&[u8]) -> Result<(), Failure> + 'a;

/// Prints matches in order, and after those of a binary file that there may be more.
fn print(found: &GrepMatches, with_context: bool, write: &mut Write<'_>) -> Result<(), Failure> {
    let mut binary = found.binary.iter().peekable();
    let mut begun = false;
    for file in found.matches.chunk_by(|left, right| left.path == right.path) {
        let Some(path) = file.first().map(|found| &found.path) else { continue };
        while let Some(earlier) = binary.next_if(|binary| *binary < path) {
            print_binary(earlier, write)?;
        }
        if with_context {
            print_groups(file, &mut begun, write)?;
        } else {
            for found in file {
                print_line(path, found.line, b':', &found.text, write)?;
            }
        }
        if let Some(path) = binary.next_if_eq(&path) {
            print_binary(path, write)?;
        }
    }
    binary.try_for_each(|path| print_binary(path, write))
}

fn print_binary(path: &FilePath, write: &mut Write<'_>) -> Result<(), Failure> {
    write(path.as_bytes())?;
    write(b": binary file matches\n")
}

fn print_line(
    path: &FilePath,
    line: u64,
    mark: u8,
    text: &ByteString,
    write: &mut Write<'_>,
) -> Result<(), Failure> {
    write(path.as_bytes())?;
    write(&[mark])?;
    write(line.to_string().as_bytes())?;
    write(&[mark])?;
    write(text.as_bytes())?;
    write(b"\n")
}

/// Prints one file's matches with the lines around them, each line once, `--` between what is not
/// adjacent; also before the first, if something was printed already.
fn print_groups(
    file: &[GrepMatch],
    begun: &mut bool,
    write: &mut Write<'_>,
) -> Result<(), Failure> {
    // A line can be one match's context and a match itself; a match it is then.
    let mut lines: BTreeMap<u64, (u8, &ByteString)> = BTreeMap::new();
    for found in file {
        let first = found.line.saturating_sub(found.before.len() as u64);
        for (number, text) in (first..).zip(&found.before) {
            lines.entry(number).or_insert((b'-', text));
        }
        lines.insert(found.line, (b':', &found.text));
        for (number, text) in (found.line + 1..).zip(&found.after) {
            lines.entry(number).or_insert((b'-', text));
        }
    }
    let mut next = None;
    for (number, (mark, text)) in lines {
        if *begun && next != Some(number) {
            write(b"--\n")?;
        }
        *begun = true;
        next = Some(number + 1);
        if let Some(found) = file.first() {
            print_line(&found.path, number, mark, text, write)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, line: u64, before: &[&str], after: &[&str]) -> GrepMatch {
        let lines = |lines: &[&str]| lines.iter().map(|line| ByteString::from(*line)).collect();
        GrepMatch {
            path: path.into(),
            line,
            column: 1,
            text: "match".into(),
            before: lines(before),
            after: lines(after),
        }
    }

    fn printed(matches: &[GrepMatch], binary: &[&str]) -> String {
        let mut text = Vec::new();
        let found = GrepMatches {
            matches: matches.to_vec(),
            truncated: false,
            binary: binary.iter().map(|path| FilePath::from(*path)).collect(),
            unreadable: Vec::new(),
        };
        print(&found, true, &mut |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_that_touch_are_one_group_and_none_is_printed_twice() {
        let matches = [
            found("a", 2, &["1"], &["match", "4"]),
            found("a", 3, &["match"], &["4", "5"]),
            found("a", 9, &["8"], &[]),
            found("b", 1, &[], &["2"]),
        ];
        assert_eq!(
            printed(&matches, &[]),
            "a-1-1\na:2:match\na:3:match\na-4-4\na-5-5\n--\na-8-8\na:9:match\n--\nb:1:match\nb-2-2\n"
        );
    }
    #[test]
    fn a_binary_file_is_named_where_its_matches_end() {
        let matches = [found("b", 2, &[], &[]), found("d", 1, &[], &[])];
        assert_eq!(
            printed(&matches, &["a", "b", "c", "e"]),
            "a: binary file matches\nb:2:match\nb: binary file matches\nc: binary file matches\n--\n\
             d:1:match\ne: binary file matches\n"
        );
    }
}
