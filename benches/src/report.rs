//! Showing and keeping figures.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::measure::{Budget, Row, median};

/// What encloses the table in a document.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

fn milliseconds(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0} ms"),
        value if value >= 10.0 => format!("{value:.1} ms"),
        value => format!("{value:.3} ms"),
    }
}

fn megabytes(value: f64) -> String {
    format!("{:.1} MB", value / 1e6)
}

/// The figures as Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| what | ours | yardstick | against it | budget | met |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        if let Some(why) = &row.missing {
            table += &format!("| {} | – | – | – | – | not measured: {why} |\n", row.what);
            continue;
        }
        let met = match row.met() {
            Some(true) => "yes",
            Some(false) => "**missed**",
            None => "–",
        };
        if let Budget::Bytes(most) = row.budget {
            let (ours, most) = (megabytes(row.ours()), most / 1e6);
            table += &format!("| {} | {ours} | – | – | ≤ {most} MB | {met} |\n", row.what);
            continue;
        }
        let (ratios, extra) = (row.ratios(), row.extra());
        let spread = |of: fn(f64) -> f64| {
            let mut all: Vec<f64> = ratios.iter().map(|ratio| of(*ratio)).collect();
            all.sort_by(f64::total_cmp);
            let (first, last) = (all[0], all[all.len() - 1]);
            format!("{:.2} × ({first:.2} to {last:.2})", median(all))
        };
        let (against, budget) = match row.budget {
            Budget::ExtraMs(most) => (format!("{extra:+.3} ms"), format!("≤ +{most} ms")),
            Budget::TotalMs(most) => (format!("{extra:+.3} ms"), format!("ours ≤ {most} ms")),
            Budget::TimesAsLong(most) => (spread(|ratio| ratio), format!("≤ {most} × its time")),
            Budget::TimesAsFast(least) => {
                (spread(|ratio| 1.0 / ratio), format!("≥ {least} × its speed"))
            }
            Budget::Bytes(_) | Budget::None => (spread(|ratio| ratio), "–".to_owned()),
        };
        table += &format!(
            "| {} | {} | {} {} | {against} | {budget} | {met} |\n",
            row.what,
            milliseconds(row.ours()),
            row.yardstick,
            milliseconds(row.theirs()),
        );
    }
    table
}

/// Where cargo builds.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
}

/// Keeps every time that was taken, one file for each comparison.
pub(crate) fn keep_raw(rows: &[Row]) -> Outcome<()> {
    let directory = target().join("bench");
    std::fs::create_dir_all(&directory)?;
    for row in rows.iter().filter(|row| row.missing.is_none()) {
        let name: String = format!("{} against {}", row.what, row.yardstick)
            .chars()
            .map(|one| if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { '-' })
            .collect();
        let runs: Vec<_> = row
            .runs
            .iter()
            .map(|(ours, theirs)| match row.budget {
                Budget::Bytes(_) => serde_json::json!({ "ours_bytes": ours }),
                _ => serde_json::json!({ "ours_ms": ours, "yardstick_ms": theirs }),
            })
            .collect();
        let raw = serde_json::json!({
            "what": row.what,
            "yardstick": row.yardstick,
            "machine": machine(),
            "runs": runs,
        });
        std::fs::write(directory.join(format!("{name}.json")), format!("{raw:#}\n"))?;
    }
    Ok(())
}

/// What the figures were taken on.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("an unknown processor", |(_, model)| model.trim());
    let memory = read("/proc/meminfo");
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {model}, {} GiB, Linux {}", memory >> 20, kernel.trim())
}

/// Puts the table into a document, between its marks; writes the document if there is none.
pub(crate) fn write(path: &Path, table: &str) -> Outcome<()> {
    let document = std::fs::read_to_string(path).unwrap_or_else(|_| {
        format!(
            "# Benchmarks\n\n\
             Each line is two programs that ran interleaved in one process: the median of five \
             runs' medians, with the smallest and the largest ratio. A time alone says more of the \
             machine than of the program. `make bench` repeats it; every single time that was \
             taken is kept in `target/bench/*.json`.\n\n{BEGIN}\n{END}\n"
        )
    });
    let (before, rest) = document.split_once(BEGIN).ok_or(format!("no {BEGIN} in the document"))?;
    let (_, after) = rest.split_once(END).ok_or(format!("no {END} in the document"))?;
    let machine = machine();
    let text = format!("{before}{BEGIN}\nMeasured on {machine}.\n\n{table}{END}{after}");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(std::fs::write(path, text)?)
}
