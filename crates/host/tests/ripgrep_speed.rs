//! Speed against ripgrep, both programs interleaved in one run.
//!
//! Not part of the ordinary tests, because it needs a release build and a quiet machine:
//! `cargo test --release -p stigmer-host --test ripgrep_speed -- --ignored --nocapture`, with
//! `STIGMER_SEARCH_TREE` naming the tree to search.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use stigmer_core::ToolExecutor;
use stigmer_core::search::GrepSearch;
use stigmer_host::{HostExecutor, HostOptions};

/// The budget of `grep_search`.
const BUDGET: f64 = 1.2;

/// Processor time of this process and of the children that it waited for. Wall time says little
/// while somebody else uses the machine.
fn processor_times() -> (Duration, Duration) {
    let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let own = Duration::new(own.tv_sec as u64, own.tv_nsec as u32);
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let fields = stat.rsplit(") ").next().expect("fields").split(' ');
    // cutime and cstime, in ticks of 10 ms.
    let ticks = fields.skip(13).take(2).map(|field| field.parse::<u64>().expect("a number"));
    (own, Duration::from_millis(10 * ticks.sum::<u64>()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
#[ignore = "measures time"]
#[allow(clippy::print_stderr, reason = "the figures are the result")]
fn grep_is_as_fast_as_ripgrep() {
    let tree = std::env::var_os("STIGMER_SEARCH_TREE").expect("STIGMER_SEARCH_TREE names a tree");
    let root = PathBuf::from(tree);
    let runs =
        std::env::var("STIGMER_RUNS").map_or(15, |runs| runs.parse::<u32>().expect("a number"));
    let state = tempfile::tempdir().expect("a temporary directory");
    let options = HostOptions {
        root: root.clone(),
        state: state.path().to_owned(),
        resolver: None,
        processes: stigmer_host::ProcessOptions::default(),
    };
    let host = HostExecutor::open(options).expect("an executor");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");

    let mut worst: f64 = 0.0;
    for (pattern, limit) in [
        ("zzzz-not-there", usize::MAX),
        ("unsafe impl", usize::MAX),
        (r"fn \w+_file\(", usize::MAX),
        (r"(?i)todo|fixme", usize::MAX),
        (r"\p{Greek}+", usize::MAX),
        ("pub fn", usize::MAX),
        ("let", usize::MAX),
        ("pub fn", 1_000),
        ("e", 1_000),
    ] {
        let (mut ours, mut ripgreps, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut found = 0;
        let before = processor_times();
        for _ in 0..runs {
            let start = Instant::now();
            let output = Command::new("rg")
                .args(["--no-config", "-n", "--no-heading", "-e", pattern, "./"])
                .current_dir(&root)
                .stdin(Stdio::null())
                .output()
                .expect("ripgrep");
            let theirs = start.elapsed();
            let lines = output.stdout.iter().filter(|&&byte| byte == b'\n').count();

            let request =
                GrepSearch { pattern: pattern.into(), limit: Some(limit), ..GrepSearch::default() };
            let start = Instant::now();
            let result = runtime.block_on(host.grep_search(request)).expect("a result");
            let took = start.elapsed();
            found = result.matches.len();
            // ripgrep says in a line of its own that a file is binary.
            let same = found + result.binary.len() == lines;
            assert!(same || result.truncated, "{pattern}: {found}, ripgrep {lines}");
            ratios.push(took.as_secs_f64() / theirs.as_secs_f64());
            ours.push(took);
            ripgreps.push(theirs);
        }
        let after = processor_times();
        let (own, theirs) = ((after.0 - before.0) / runs, (after.1 - before.1) / runs);
        let limit = if limit == usize::MAX { "all".to_owned() } else { limit.to_string() };
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[ratios.len() / 2];
        eprintln!(
            "{pattern:16} limit {limit:4} found {found:7}  ours {:8.2?}  rg {:8.2?}  \
             ratio {ratio:.2}  (processor: ours {own:8.2?}  rg {theirs:8.2?})",
            median(ours),
            median(ripgreps),
        );
        worst = worst.max(ratio);
    }
    assert!(worst <= BUDGET, "the worst median ratio is {worst:.2}");
}
