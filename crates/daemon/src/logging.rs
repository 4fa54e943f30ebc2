//! The daemon's log: JSON lines in a file of bounded size.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use stigmer_core::{ErrorCode, Result, ToolError};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::record::shown;

/// The size at which a log gives way to the next: with the one old log that is kept, some hundred
/// thousand lines, and no burden on anybody's disk.
const MAX_LOG_BYTES: u64 = 10 << 20;

/// What a log is renamed to when the next one begins.
pub(crate) fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".old");
    PathBuf::from(name)
}

/// The file behind the log. Clones write to the same one.
#[derive(Clone, Debug)]
pub(crate) struct LogFile(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    size: u64,
    limit: u64,
    /// Standard error goes to the log, too.
    holds_stderr: bool,
}

impl LogFile {
    /// Opens the log, or makes it. With `hold_stderr` whatever is written to standard error lands in
    /// it: what a runtime says when it aborts goes nowhere else.
    pub(crate) fn open(path: &Path, hold_stderr: bool) -> Result<Self> {
        Self::open_limited(path, hold_stderr, MAX_LOG_BYTES)
    }

    fn open_limited(path: &Path, holds_stderr: bool, limit: u64) -> Result<Self> {
        let failed = |error: io::Error| ToolError::from_io("open", &shown(path), &error);
        let (file, size) = open(path, holds_stderr).map_err(failed)?;
        let path = path.to_owned();
        Ok(Self(Arc::new(Mutex::new(Open { path, file, size, limit, holds_stderr }))))
    }
}

fn open(path: &Path, hold_stderr: bool) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    if hold_stderr {
        rustix::stdio::dup2_stderr(&file)?;
    }
    Ok((file, size))
}

impl Write for LogFile {
    /// Takes a line, whole: the formatter gives one at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = line.len() as u64;
        if open.size > 0 && open.size + length > open.limit {
            // Without room for a new one the old log goes on: it is better than none.
            if std::fs::rename(&open.path, old(&open.path)).is_ok()
                && let Ok((file, size)) = self::open(&open.path, open.holds_stderr)
            {
                (open.file, open.size) = (file, size);
            }
        }
        open.file.write_all(line)?;
        open.size += length;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Which spans and events are logged.
///
/// Libraries say only what they warn of, whatever the setting: some of them log the headers that
/// they read, and a token is one of those.
fn filter<S: Subscriber>(
    levels: &str,
) -> Result<impl tracing_subscriber::layer::Filter<S> + Clone + use<S>> {
    let targets: Targets = levels.parse().map_err(|error| {
        let message = format!("log: \"{levels}\" names no levels: {error}");
        ToolError::new(ErrorCode::BadConfiguration, message)
    })?;
    Ok(targets.and(filter_fn(is_safe)))
}

fn is_safe(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    // The protocol's library warns with what a client sent, which may be anything.
    !target.starts_with("rmcp")
        && (target.starts_with("stigmer") || *metadata.level() <= Level::WARN)
}

/// Logs to the file, and to standard error for who started the daemon in the foreground. `traces`
/// has filters of its own.
///
/// # Errors
/// `bad_configuration` for levels that are none.
pub(crate) fn install<T>(
    levels: &str,
    file: LogFile,
    foreground: bool,
    traces: Option<T>,
) -> Result<()>
where
    T: Layer<Registry> + Send + Sync,
{
    let terminal = io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer;
    let people = (foreground && terminal).then(|| {
        layer()
            .with_target(false)
            .with_ansi(colour())
            .with_writer(io::stderr)
            .log_internal_errors(false)
    });
    let programs = (foreground && !terminal).then(|| json(io::stderr));
    tracing_subscriber::registry()
        .with(traces)
        .with(json(file).with_filter(filter(levels)?))
        .with(people.with_filter(filter(levels)?))
        .with(programs.with_filter(filter(levels)?))
        .try_init()
        .map_err(|error| ToolError::new(ErrorCode::Io, format!("cannot log: {error}")))?;
    log_panics();
    Ok(())
}

fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn json<S, W>(writer: W) -> impl Layer<S> + Send + Sync + use<S, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .log_internal_errors(false)
        .with_writer(writer)
}

/// Logs where the program panicked. What it said is left out: it may quote what it worked on.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a fault in the program");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_full_log_gives_way_to_the_next_and_one_old_one_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        let mut log = LogFile::open_limited(&path, false, 10).unwrap();
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        for line in ["aaaa\n", "bbbb\n", "cccc\n", "dddd\n", "eeee\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!((read(&old(&path)), read(&path)), ("cccc\ndddd\n".into(), "eeee\n".into()));
        // A line that is longer than the limit is whole all the same.
        log.write_all(b"a line that is too long\n").unwrap();
        assert_eq!(read(&path), "a line that is too long\n");
        // Whoever opens it next goes on where it ended.
        drop(log);
        let mut log = LogFile::open_limited(&path, false, 30).unwrap();
        log.write_all(b"f\n").unwrap();
        assert_eq!(read(&path), "a line that is too long\nf\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn libraries_are_logged_when_they_warn_and_not_below() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        let file = LogFile::open(&path, false).unwrap();
        let subscriber =
            tracing_subscriber::registry().with(json(file).with_filter(filter("trace").unwrap()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "h2::codec", "authorization: Bearer hunter2");
            tracing::warn!(target: "h2::codec", "a warning");
            let _span = tracing::info_span!("request", request_id = "r1").entered();
            tracing::debug!(target: "stigmer_api", bytes = 3, "ours");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["message"], "a warning");
        assert_eq!(
            (&lines[1]["bytes"], &lines[1]["span"]["request_id"]),
            (&3.into(), &"r1".into())
        );
    }

    #[test]
    fn the_levels_that_the_setting_takes_are_understood() {
        for levels in ["info", "off", "stigmer_api=debug,info", "stigmer_api::serve=trace"] {
            assert!(filter::<Registry>(levels).is_ok(), "{levels}");
        }
        assert!(filter::<Registry>("stigmer=loud").is_err());
    }
}
