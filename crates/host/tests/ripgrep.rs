//! What we find is what ripgrep finds.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod tree;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stigmer_core::file::{FileKind, ListDirectory};
use stigmer_core::search::{CaseRule, GrepMatch, GrepSearch};
use stigmer_core::{ByteString, ToolExecutor};
use stigmer_host::HostExecutor;
use tree::Tree;

const PATTERNS: [&str; 26] = [
    "needle",
    "Error",
    "error",
    "e",
    "",
    "^",
    "^needle",
    r"\bfn\b",
    r"\w+\.bar",
    r"a\+b",
    r"\s+$",
    r"(?i)mixed",
    "naïve|Straße",
    r"\p{Han}+",
    "[^a-z ]",
    r"x.{3,5}y",
    "^$",
    "ſ",
    r"(?-u:\xff)",
    r"\r",
    r"end;\s*\S+",
    r"caf(?-u:\xe9)",
    "zzz-not-there",
    r"\\n",
    "İ|i",
    r"(fn|return)\s+\w+",
];
const LITERALS: [&str; 7] = ["foo.bar", "(call)", "a+b", "[x]", "needle", "Error", "\\n"];

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Whether there is a ripgrep to compare with. In CI there must be one.
#[allow(clippy::print_stderr, reason = "a test that tests nothing must say so")]
fn have_ripgrep() -> bool {
    let have = Command::new("rg").arg("--version").output().is_ok_and(|out| out.status.success());
    assert!(have || std::env::var_os("CI").is_none(), "install ripgrep: CI compares with it");
    if !have {
        eprintln!("SKIPPED: no `rg` on PATH, so nothing is compared with ripgrep");
    }
    have
}

fn ripgrep(root: &Path, arguments: &[&str], paths: &[&str]) -> Vec<u8> {
    let output = Command::new("rg")
        .args(["--no-config", "--color=never", "--null", "--no-messages"])
        .args(arguments)
        .args(paths)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// path, line, column, text.
type Line = (Vec<u8>, u64, u64, Vec<u8>);
/// Matching lines, and files that match but are binary.
type Found = (Vec<Line>, Vec<Vec<u8>>);

/// The file that ripgrep says is binary, if that is what it says.
fn said_binary(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.strip_prefix(b"./").unwrap_or(line);
    if line.contains(&0) {
        return None;
    }
    let end = [&b": WARNING: stopped searching binary file"[..], b": binary file matches"]
        .iter()
        .find_map(|said| line.windows(said.len()).position(|part| part == *said))?;
    Some(line[..end].to_vec())
}

fn ripgrep_lines(root: &Path, arguments: &[&str], paths: &[&str]) -> Found {
    // Without memory maps, as we do; they change where ripgrep notices that a file is binary.
    let mut all = vec!["--line-number", "--column", "--no-heading", "--with-filename", "--no-mmap"];
    all.extend(arguments);
    let output = ripgrep(root, &all, paths);
    let (mut lines, mut binary) = (Vec::new(), Vec::new());
    let mut rest = output.as_slice();
    while !rest.is_empty() {
        // A path may hold a line feed, but it comes first and ends with NUL.
        let end_of_line = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        if let Some(path) = said_binary(&rest[..end_of_line]) {
            binary.push(path);
            rest = &rest[end_of_line + 1..];
            continue;
        }
        let nul = rest.iter().position(|&byte| byte == 0).unwrap();
        let path = rest[..nul].strip_prefix(b"./").unwrap_or(&rest[..nul]).to_vec();
        let line = &rest[nul + 1..];
        let end = line.iter().position(|&byte| byte == b'\n').unwrap_or(line.len());
        let mut fields = line[..end].splitn(3, |&byte| byte == b':');
        let mut number = || std::str::from_utf8(fields.next().unwrap()).unwrap().parse().unwrap();
        let (at_line, column) = (number(), number());
        lines.push((path, at_line, column, fields.next().unwrap().to_vec()));
        rest = &line[(end + 1).min(line.len())..];
    }
    lines.sort();
    binary.sort();
    (lines, binary)
}

fn our_lines(host: &HostExecutor, request: GrepSearch) -> Found {
    let found = runtime().block_on(host.grep_search(request)).unwrap();
    assert!(!found.truncated);
    let line = |found: GrepMatch| {
        (found.path.into_bytes(), found.line, found.column, found.text.into_bytes())
    };
    let lines: Vec<_> = found.matches.into_iter().map(line).collect();
    assert!(lines.is_sorted());
    (lines, found.binary.into_iter().map(ByteString::into_bytes).collect())
}

#[track_caller]
fn assert_same(what: &str, ours: &[Line], ripgreps: &[Line]) {
    if ours == ripgreps {
        return;
    }
    let (ours, ripgreps): (BTreeSet<_>, BTreeSet<_>) =
        (ours.iter().collect(), ripgreps.iter().collect());
    let show = |lines: Vec<&&Line>| {
        let show = |(path, line, column, text): &Line| {
            let text = ByteString::from(&text[..text.len().min(80)]);
            format!("{}:{line}:{column}:{text}\n", ByteString::from(path.as_slice()))
        };
        lines.into_iter().take(10).map(|line| show(line)).collect::<String>()
    };
    panic!(
        "{what}: {} lines, ripgrep has {}\nonly ours:\n{}only ripgrep's:\n{}",
        ours.len(),
        ripgreps.len(),
        show(ours.difference(&ripgreps).collect()),
        show(ripgreps.difference(&ours).collect()),
    );
}

fn compare(host: &HostExecutor, root: &Path, request: &GrepSearch) -> usize {
    let pattern = request.pattern.as_str().unwrap().to_owned();
    let mut arguments = vec![];
    if request.literal {
        arguments.push("--fixed-strings".to_owned());
    }
    match request.case {
        CaseRule::Sensitive => {}
        CaseRule::Insensitive => arguments.push("--ignore-case".to_owned()),
        CaseRule::Smart => arguments.push("--smart-case".to_owned()),
    }
    if request.no_ignore {
        arguments.push("-uu".to_owned());
    }
    arguments.extend(request.include.iter().map(|glob| format!("--glob={glob}")));
    arguments.extend(request.exclude.iter().map(|glob| format!("--glob=!{glob}")));
    arguments.push(format!("--regexp={pattern}"));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut paths: Vec<_> = request.paths.iter().map(|path| path.as_str().unwrap()).collect();
    if paths.is_empty() {
        paths.push("./");
    }
    let (ripgreps, ripgreps_binary) = ripgrep_lines(root, &arguments, &paths);
    let request = GrepSearch { limit: Some(usize::MAX), ..request.clone() };
    let (ours, binary) = our_lines(host, request.clone());
    assert_same(&format!("{request:?}"), &ours, &ripgreps);
    assert_eq!(binary, ripgreps_binary, "{request:?}");
    ours.len()
}

fn grep(pattern: &str) -> GrepSearch {
    GrepSearch { pattern: pattern.into(), ..GrepSearch::default() }
}

#[test]
fn every_pattern_finds_what_ripgrep_finds() {
    if !have_ripgrep() {
        return;
    }
    let tree = Tree::new();
    let host = tree.executor(None);
    let mut found = 0;
    for pattern in PATTERNS {
        for no_ignore in [false, true] {
            for case in [CaseRule::Sensitive, CaseRule::Insensitive, CaseRule::Smart] {
                let request = GrepSearch { no_ignore, case, ..grep(pattern) };
                found += compare(&host, &tree.root, &request);
            }
        }
    }
    for literal in LITERALS {
        for case in [CaseRule::Sensitive, CaseRule::Insensitive, CaseRule::Smart] {
            let request = GrepSearch { literal: true, case, ..grep(literal) };
            found += compare(&host, &tree.root, &request);
        }
    }
    assert!(found > 100_000, "only {found} matches: the tree is too small to prove anything");
}

#[test]
fn globs_and_paths_choose_what_ripgrep_chooses() {
    if !have_ripgrep() {
        return;
    }
    let tree = Tree::new();
    let host = tree.executor(None);
    let strings = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
    for (include, exclude) in [
        (&["*.rs"][..], &[][..]),
        (&["*.{rs,txt}", "*.md"], &["f1*"]),
        (&["/d*/**"], &["*.log"]),
        (&[], &["sub", "**/deep/**"]),
        (&[".hidden", "*.log"], &[]),
        (&["**/sub/*"], &["/a"]),
        (&["d?[0-9]/**/*.TXT", "odd/"], &[]),
    ] {
        for no_ignore in [false, true] {
            let (include, exclude) = (strings(include), strings(exclude));
            compare(&host, &tree.root, &GrepSearch { include, exclude, no_ignore, ..grep("e") });
        }
    }
    for paths in [
        &["odd"][..],
        &["plain.txt"],
        &["a.o", "excluded.txt", "above.txt", ".hidden"],
        &["odd/first-byte-binary", "odd/utf-16le.txt"],
        &["link-to-file"],
        &["link-to-directory"],
        &["a", "odd", "a.b"],
        &[".git"],
    ] {
        let paths = paths.iter().map(|&path| path.into()).collect();
        compare(&host, &tree.root, &GrepSearch { paths, ..grep("needle") });
    }
}

#[test]
fn both_resolvers_find_what_ripgrep_finds() {
    if !have_ripgrep() {
        return;
    }
    let tree = Tree::new();
    for resolver in [stigmer_host::Resolver::Openat2, stigmer_host::Resolver::Walk] {
        compare(&tree.executor(Some(resolver)), &tree.root, &grep("needle|Error"));
    }
}

/// A tree of its own without long lines: they make ripgrep's buffer grow, and then it looks for NUL
/// further into the files that the same thread searches after them. Ours does not; see below.
#[test]
fn a_nul_far_into_a_file_ends_its_search_where_it_ends_ripgreps() {
    if !have_ripgrep() {
        return;
    }
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let paths: Vec<_> = [10, 2_000, 4_000, 6_000, 20_000].map(|lines| format!("{lines}")).into();
    for (number, lines) in paths.iter().zip([10, 2_000, 4_000, 6_000, 20_000]) {
        let text = [b"needle and more of the same\n".repeat(lines), b"\0\nneedle\n".to_vec()];
        std::fs::write(root.join(number), text.concat()).unwrap();
    }
    let host = tree::executor(&root, base.path(), None);
    compare(&host, &root, &grep("needle"));
    let paths: Vec<_> = paths.iter().map(|path| path.as_str().into()).collect();
    compare(&host, &root, &GrepSearch { paths, ..grep("needle") });

    let all = Some(usize::MAX);
    let found = || our_lines(&host, GrepSearch { limit: all, ..grep("needle") });
    let before = found();
    std::fs::write(root.join("0"), vec![b'x'; 4 << 20]).unwrap();
    for _ in 0..20 {
        assert_eq!(found(), before, "what is found in one file depends on another");
    }
}

/// The project's own checkout, and the sources of its dependencies.
#[test]
fn real_trees_give_what_ripgrep_gives() {
    if !have_ripgrep() {
        return;
    }
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let sources = cargo.map(|cargo| cargo.join("registry/src")).filter(|path| path.is_dir());
    let base = tempfile::tempdir().unwrap();
    for root in std::iter::once(checkout).chain(sources) {
        let root = root.canonicalize().unwrap();
        let host = tree::executor(&root, base.path(), None);
        for pattern in ["unsafe impl", r"fn \w+_file\(", "unwrap_or_else", r"[^\x00-\x7f]"] {
            compare(&host, &root, &grep(pattern));
        }
        let all = ripgrep(&root, &["--files"], &[]);
        assert_eq!(files(&host, true), split(&all), "files of {}", root.display());
    }
}

#[test]
fn listing_is_what_ripgrep_would_search() {
    if !have_ripgrep() {
        return;
    }
    let tree = Tree::new();
    let host = tree.executor(None);
    let with_rules = ripgrep(&tree.root, &["--files"], &[]);
    assert_eq!(files(&host, true), split(&with_rules));
    let without = ripgrep(&tree.root, &["--files", "--hidden", "--no-ignore"], &[]);
    assert_eq!(files(&host, false), split(&without));
}

fn files(host: &HostExecutor, ignore_rules: bool) -> Vec<PathBuf> {
    let limit = Some(usize::MAX);
    let request = ListDirectory { depth: u32::MAX, ignore_rules, limit, path: "".into() };
    let listing = runtime().block_on(host.list_directory(request)).unwrap();
    assert!(!listing.truncated);
    assert!(listing.entries.is_sorted_by(|left, right| left.path < right.path));
    let files = listing.entries.into_iter().filter(|entry| entry.kind == FileKind::File);
    files.map(|entry| entry.path.as_path().to_owned()).collect()
}

fn split(paths: &[u8]) -> Vec<PathBuf> {
    let paths = paths.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    let mut paths: Vec<_> = paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect();
    paths.sort_by(|left, right| left.as_os_str().cmp(right.as_os_str()));
    paths
}
