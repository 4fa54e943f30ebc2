//! A gigabyte into a container and out of it, against `docker cp`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::commands::bare;
use crate::containers::{Sandbox, docker};
use crate::measure::{Budget, Row, compare, time};
use crate::scratch::Scratch;
use crate::{Bench, Outcome};

/// The variable that says how many bytes are copied.
pub(crate) const BYTES: &str = "STIGMER_BENCH_COPY_BYTES";

/// Bytes of one file of a tree: as sources and what is built of them have.
const FILE: u64 = 64 << 10;
/// Files in one directory of it.
const FILES: u64 = 100;

/// A tree has this part of the bytes: its names cost more than they.
const TREE: u64 = 4;

/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// No slower.
const BUDGET: Budget = Budget::TimesAsLong(1.0);

fn bytes(bench: &Bench) -> Outcome<u64> {
    match std::env::var(BYTES) {
        Ok(text) => Ok(text.parse().map_err(|error| format!("{BYTES}: {text}: {error}"))?),
        Err(_) => Ok(if bench.options.quick { 100 << 20 } else { 1 << 30 }),
    }
}

/// Fills a file with what no file system can hold in less.
fn random(path: &Path, bytes: u64) -> Outcome<()> {
    let mut source = std::io::Read::take(File::open("/dev/urandom")?, bytes);
    let mut file = File::create(path)?;
    std::io::copy(&mut source, &mut file)?;
    Ok(file.flush()?)
}

fn tree(path: &Path, bytes: u64) -> Outcome<()> {
    for number in 0..bytes.div_ceil(FILE) {
        let directory = path.join(format!("{:04}", number / FILES));
        if number % FILES == 0 {
            std::fs::create_dir_all(&directory)?;
        }
        random(&directory.join(format!("{number}")), FILE)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Outcome<()> {
    if path.is_dir() {
        std::fs::remove_dir_all(path)?;
    } else {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Where the files outside are: in memory if that has plenty of room, since a disk would be what is
/// measured. A workspace cannot be there: nothing beneath `/dev` is one.
fn place(bench: &Bench, bytes: u64) -> PathBuf {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?;
        Some(kilobytes.parse::<u64>().ok()? << 10)
    });
    match available {
        Some(available) if available / 4 > bytes && Scratch::beneath(MEMORY.as_ref()).is_ok() => {
            MEMORY.into()
        }
        _ => bench.home.path().to_owned(),
    }
}

/// Whole processes on both sides, into the same directory and out of it.
pub(crate) fn copies(bench: &Bench) -> Outcome<Vec<Row>> {
    let bytes = bytes(bench)?;
    let sandbox = Sandbox::new(bench)?;
    let outside = Scratch::beneath(&place(bench, bytes))?;
    random(&outside.path().join("file"), bytes)?;
    tree(&outside.path().join("tree"), bytes / TREE)?;
    let site = sandbox.site()?;
    let root = site.root.as_path().to_owned();
    // The container is there, as the yardstick's is.
    let mut command = sandbox.cli(bench, &root)?;
    let done = command.args(["run", "true"]).status()?;
    let copied = match done.success() {
        true => copy_all(bench, &sandbox, &root, outside.path(), bytes),
        false => Err(format!("stigmer run true: {done}").into()),
    };
    sandbox.cli(bench, &root)?.args(["workspace", "rm"]).status()?;
    copied
}

fn copy_all(
    bench: &Bench,
    sandbox: &Sandbox,
    root: &Path,
    outside: &Path,
    bytes: u64,
) -> Outcome<Vec<Row>> {
    let container = container(root)?;
    let runs = (bench.options.runs, 1);
    let text = |path: &Path| path.display().to_string();
    let mut rows = Vec::new();
    let kinds = [("file", "one file", bytes), ("tree", "a tree of files of 64 KiB", bytes / TREE)];
    for (name, what, bytes) in kinds {
        let source = outside.join(name);
        let size = bytes >> 20;
        rows.push(compare(
            &format!("`stigmer fs upload`, {size} MiB, {what}"),
            "`docker cp`",
            BUDGET,
            runs,
            || {
                let mut command = sandbox.cli(bench, root)?;
                command.args(["fs", "upload", &text(&source), "up"]);
                let took = time(|| ended(command));
                remove(&root.join("up"))?;
                took
            },
            || {
                let target = format!("{container}:{}", text(&root.join("up")));
                let took = time(|| bare("docker", &["cp", &text(&source), &target]));
                // It is root's.
                let up = text(&root.join("up"));
                bare("docker", &["exec", "--user=0:0", &container, "rm", "-rf", &up])?;
                took
            },
        )?);
        // What both take out is the same, and the caller's.
        let inside = root.join(name);
        bare("cp", &["--recursive", &text(&source), &text(&inside)])?;
        let out = outside.join("out");
        rows.push(compare(
            &format!("`stigmer fs download`, {size} MiB, {what}"),
            "`docker cp`",
            BUDGET,
            runs,
            || {
                let mut command = sandbox.cli(bench, root)?;
                command.args(["fs", "download", name, &text(&out)]);
                let took = time(|| ended(command));
                remove(&out)?;
                took
            },
            || {
                let source = format!("{container}:{}", text(&inside));
                let took = time(|| bare("docker", &["cp", &source, &text(&out)]));
                remove(&out)?;
                took
            },
        )?);
        remove(&inside)?;
    }
    Ok(rows)
}

fn ended(mut command: Command) -> Outcome<()> {
    let done = command.status()?;
    if done.success() { Ok(()) } else { Err(format!("{command:?}: {done}").into()) }
}

/// The container of the workspace at this path.
fn container(root: &Path) -> Outcome<String> {
    let label = format!("label=dev.stigmer.root={}", root.display());
    let name = docker(&["ps", "--quiet", "--filter", &label])?;
    if name.is_empty() { Err(format!("{}: no container", root.display()).into()) } else { Ok(name) }
}
