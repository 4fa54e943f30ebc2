//! Files.

use stigmer_core::ToolExecutor;
use stigmer_core::file::{Edit, EditFile, ReadFile, WriteFile};

use crate::measure::{Budget, Row, compare, time};
use crate::{Bench, Outcome};

/// A source file of 2,000 lines.
fn content() -> String {
    (0..2000).map(|number| format!("    let value_{number} = {number};\n")).collect()
}

/// Reading, writing and editing, against the standard library without any of the promises.
pub(crate) fn files(bench: &Bench) -> Outcome<Vec<Row>> {
    let path = bench.home.path().join("workspace/file.rs");
    let text = content();
    std::fs::write(&path, &text)?;
    let size = (bench.options.runs, bench.repeat(200));
    let kib = text.len() >> 10;
    let name = || "file.rs".into();
    let (executor, runtime) = (&bench.executor, &bench.runtime);

    let read = compare(
        &format!("read_file, {kib} KiB"),
        "`std::fs::read`",
        Budget::None,
        size,
        || {
            time(|| {
                let request = ReadFile { path: name(), ..ReadFile::default() };
                std::hint::black_box(runtime.block_on(executor.read_file(request))?);
                Ok(())
            })
        },
        || {
            time(|| {
                std::hint::black_box(std::fs::read(&path)?);
                Ok(())
            })
        },
    )?;
    let write = compare(
        &format!("write_file, {kib} KiB"),
        "`std::fs::write`",
        Budget::None,
        size,
        || {
            time(|| {
                let request = WriteFile {
                    path: name(),
                    content: text.as_str().into(),
                    ..WriteFile::default()
                };
                runtime.block_on(executor.write_file(request))?;
                Ok(())
            })
        },
        || time(|| Ok(std::fs::write(&path, &text)?)),
    )?;
    let (from, to) = ("let value_777 = 777;", "let value_777 = 778;");
    let edit = compare(
        &format!("edit_file, {kib} KiB"),
        "read, replace, write",
        Budget::None,
        size,
        || {
            std::fs::write(&path, &text)?;
            time(|| {
                let edits = vec![Edit { old: from.into(), new: to.into(), replace_all: false }];
                let request = EditFile { path: name(), edits, expected_sha256: None };
                runtime.block_on(executor.edit_file(request))?;
                Ok(())
            })
        },
        || {
            std::fs::write(&path, &text)?;
            time(|| {
                let old = std::fs::read_to_string(&path)?;
                Ok(std::fs::write(&path, old.replace(from, to))?)
            })
        },
    )?;
    Ok(vec![read, write, edit])
}
