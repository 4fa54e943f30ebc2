//! Editing files by replacing text.

use std::path::Path;

use stigmer_core::file::{Edit, EditFile, EditSummary};
use stigmer_core::limits::{MAX_EDITS, MAX_WRITE_BYTES};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::apply::{Problem, apply};
use super::nearest::{Nearest, nearest};
use super::write::{Place, again, too_large};
use super::{WriteLocks, diff, sha256};
use crate::Root;

/// Applies replacements, all or none.
pub(crate) fn edit_file(root: &Root, locks: &WriteLocks, request: EditFile) -> Result<EditSummary> {
    let relative = root.relative(&request.path)?;
    if request.edits.is_empty() {
        return Err(ToolError::invalid_argument("edits", "there are none"));
    }
    if request.edits.len() > MAX_EDITS {
        let reason = format!("{} are more than the limit of {MAX_EDITS}", request.edits.len());
        return Err(ToolError::invalid_argument("edits", reason));
    }
    again(|| edit_once(root, locks, &request, &relative))
}

fn edit_once(
    root: &Root,
    locks: &WriteLocks,
    request: &EditFile,
    relative: &Path,
) -> Result<EditSummary> {
    let expected = request.expected_sha256.as_deref();
    let is_directory = || ToolError::is_directory(&relative.into());
    let spot = root.final_spot(relative, false)?.ok_or_else(is_directory)?;
    let lock = locks.lock(relative, &spot)?;
    let place = Place { root, relative, spot: &spot };
    let old =
        place.read(expected.is_some())?.ok_or_else(|| ToolError::not_found(&relative.into()))?;
    place.check_expected(expected, Some(&old))?;
    let Some(before) = &old.content else {
        return Err(too_large(relative, old.size()));
    };
    let applied = apply(before, &request.edits, MAX_WRITE_BYTES)
        .map_err(|problem| failed(relative, &request.edits, *problem))?;
    if applied.content != *before {
        place.put(&applied.content, Some(&old), false, true)?;
    }
    // The comparison needs no lock and may take longer than the write.
    drop(lock);
    let change = diff::unified(before, &applied.content, &relative.to_string_lossy());
    Ok(EditSummary {
        occurrences: applied.occurrences,
        lines_added: change.added,
        lines_removed: change.removed,
        diff: change.text,
        sha256: sha256(&applied.content),
    })
}

fn failed(relative: &Path, edits: &[Edit], problem: Problem) -> ToolError {
    let path = relative.display();
    let at = |code, index: usize, what: &str| {
        let which = if edits.len() > 1 { format!(" of edit {index}") } else { String::new() };
        ToolError::new(code, format!("{path}: the text to replace{which} {what}"))
            .with_detail("path", stigmer_core::ByteString::from(relative))
            .with_detail("edit", index)
    };
    match problem {
        Problem::Empty { index } => at(ErrorCode::EmptyOldString, index, "is empty")
            .with_hint("name the text to replace; write_file replaces a whole file"),
        Problem::Identical { index } => {
            at(ErrorCode::IdenticalStrings, index, "and its replacement are the same")
        }
        Problem::TooLarge { size } => too_large(relative, size),
        Problem::NotUnique { index, lines, more } => {
            let named: Vec<String> = lines.iter().map(u64::to_string).collect();
            let and_more = if more { " and more" } else { "" };
            let what = format!("occurs more than once: in lines {}{and_more}", named.join(", "));
            at(ErrorCode::TextNotUnique, index, &what)
                .with_detail("lines", lines)
                .with_detail("more", more)
                .with_hint("add lines around it until it is unique, or ask for replace_all")
        }
        Problem::NotFound { index, content } => {
            let edit = &edits[index];
            let Nearest { lines, hint } =
                nearest(&content, edit.old.as_bytes(), edit.new.as_bytes());
            at(ErrorCode::TextNotFound, index, "does not occur; nothing was written")
                .with_detail(
                    "nearest",
                    lines
                        .into_iter()
                        .map(|near| {
                            serde_json::json!({
                                "line": near.line,
                                "text": near.text,
                                "similarity": near.similarity,
                            })
                        })
                        .collect::<Vec<_>>(),
                )
                .with_hint(hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        _folder: tempfile::TempDir,
        root: Root,
        locks: WriteLocks,
    }

    fn world(text: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        std::fs::write(folder.path().join("f"), text).unwrap();
        let locks = WriteLocks::new(&folder.path().join("state"));
        World { _folder: folder, root, locks }
    }

    impl World {
        fn edit(&self, edits: &[(&str, &str, bool)]) -> Result<EditSummary> {
            let edits = edits.iter().map(|(old, new, replace_all)| Edit {
                old: (*old).into(),
                new: (*new).into(),
                replace_all: *replace_all,
            });
            let edits = edits.collect();
            let request = EditFile { path: "f".into(), edits, expected_sha256: None };
            edit_file(&self.root, &self.locks, request)
        }
        fn text(&self) -> String {
            std::fs::read_to_string(self.root.path().join("f")).unwrap()
        }
    }

    #[test]
    fn edits_build_on_each_other_and_are_told_in_a_diff() {
        let world = world("a\nb\nc\nb\n");
        let done = world.edit(&[("b", "x", true), ("x\nc", "y\nc", false)]).unwrap();
        assert_eq!(world.text(), "a\ny\nc\nx\n");
        assert_eq!((done.occurrences, done.lines_added, done.lines_removed), (vec![2, 1], 2, 2));
        assert_eq!(done.diff, "--- a/f\n+++ b/f\n@@ -1,4 +1,4 @@\n a\n-b\n+y\n c\n-b\n+x\n");
        assert_eq!(done.sha256, sha256(b"a\ny\nc\nx\n"));
    }

    #[test]
    fn all_or_none() {
        let world = world("one\ntwo\none\n");
        for (edits, code, index) in [
            (&[("two", "2", false), ("three", "3", false)][..], ErrorCode::TextNotFound, 1),
            (&[("two", "2", false), ("one", "1", false)], ErrorCode::TextNotUnique, 1),
            (&[("", "2", false)], ErrorCode::EmptyOldString, 0),
            (&[("two", "two", false)], ErrorCode::IdenticalStrings, 0),
        ] {
            let error = world.edit(edits).unwrap_err();
            assert_eq!((error.code, &error.details["edit"]), (code, &index.into()));
            assert_eq!(world.text(), "one\ntwo\none\n");
        }
        assert_eq!(world.edit(&[]).unwrap_err().code, ErrorCode::InvalidArgument);
    }

    #[test]
    fn the_lines_in_question_are_named() {
        let world = world("fn one() {\n    call(1);\n}\nfn two() {\n    call(2);\n}\n");
        let error = world.edit(&[("fn", "pub fn", false)]).unwrap_err();
        assert_eq!(error.details["lines"], serde_json::json!([1, 4]));
        let error = world.edit(&[("    call(3);\n", "", false)]).unwrap_err();
        assert_eq!(error.details["nearest"][0]["line"], 2);
        assert_eq!(error.details["nearest"][0]["text"], "    call(1);");
        let error = world.edit(&[("\tcall(2);\n", "x", false)]).unwrap_err();
        assert_eq!(error.details["nearest"][0]["line"], 5);
        assert!(error.hint.unwrap().contains("white space"));
    }

    #[test]
    fn editors_that_meet_lose_nothing() {
        const EDITORS: usize = 6;
        let world = world(&(0..EDITORS).map(|n| format!("{n}:0\n")).collect::<String>());
        std::thread::scope(|scope| {
            for n in 0..EDITORS {
                let world = &world;
                scope.spawn(move || {
                    for step in 0..20 {
                        let (old, new) = (format!("{n}:{step}\n"), format!("{n}:{}\n", step + 1));
                        world.edit(&[(&old, &new, false)]).unwrap();
                    }
                });
            }
        });
        assert_eq!(world.text(), (0..EDITORS).map(|n| format!("{n}:20\n")).collect::<String>());
    }
}
