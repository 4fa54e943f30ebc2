//! Searching.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use stigmer_core::ToolExecutor;
use stigmer_core::search::GrepSearch;

use crate::measure::{Budget, Row, compare, time};
use crate::{Bench, Outcome};

/// Patterns that occur never, seldom, and everywhere.
const PATTERNS: [(&str, &str); 3] =
    [("absent", "zzzz-not-there"), ("rare", "unsafe impl"), ("frequent", "let")];

fn tree(bench: &Bench) -> Outcome<PathBuf> {
    if let Some(tree) = &bench.options.tree {
        return Ok(tree.clone());
    }
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .ok_or("no tree to search: name one with --tree")?;
    Ok(cargo.join("registry/src").canonicalize()?)
}

/// Contents, against ripgrep.
pub(crate) fn grep(bench: &Bench) -> Outcome<Vec<Row>> {
    Command::new("rg")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("yardstick missing: rg: {error}"))?;
    let tree = tree(bench)?;
    let executor = bench.executor_in(&tree, bench.home.path())?;
    let size = (bench.options.runs, bench.repeat(10));
    let mut rows = Vec::new();
    for (name, pattern) in PATTERNS {
        let theirs = || {
            let mut rg = Command::new("rg");
            rg.args(["--no-config", "-n", "--no-heading", "-e", pattern, "./"]);
            // A pipe, as for an agent: to /dev/null ripgrep stops at the first match.
            let output = rg.current_dir(&tree).stdin(Stdio::null()).output()?;
            std::hint::black_box(output);
            Ok(())
        };
        let ours = || {
            let request = GrepSearch {
                pattern: pattern.into(),
                limit: Some(usize::MAX),
                ..GrepSearch::default()
            };
            std::hint::black_box(bench.runtime.block_on(executor.grep_search(request))?);
            Ok(())
        };
        let what = format!("grep_search, {name} pattern");
        let budget = Budget::TimesAsLong(1.2);
        rows.push(compare(&what, "`rg`", budget, size, || time(ours), || time(theirs))?);
        if let Ok(stigmer) = bench.stigmer() {
            let ours = || {
                let mut grep = Command::new(&stigmer);
                grep.args(["grep", "--", pattern]).current_dir(&tree);
                std::hint::black_box(grep.stdin(Stdio::null()).output()?);
                Ok(())
            };
            let what = format!("`stigmer grep`, {name} pattern");
            rows.push(compare(&what, "`rg`", budget, size, || time(ours), || time(theirs))?);
        }
    }
    Ok(rows)
}
