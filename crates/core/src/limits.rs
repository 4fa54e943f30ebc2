//! Every limit of the tool operations, each with its reason.

use std::time::Duration;

/// How long a command may run when the caller says nothing.
///
/// Two minutes is what agents' own shells allow by default; a build that needs more says so.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a command that is being ended has between TERM and KILL.
///
/// Long enough for an interpreter to run its handlers, short enough that an agent that cancels does
/// not notice.
pub const DEFAULT_TERMINATION_GRACE: Duration = Duration::from_secs(2);

/// How long a foreground command waits for a client that vanished before it is cancelled.
pub const DEFAULT_CLIENT_GRACE: Duration = Duration::from_secs(60);

/// How many bytes of one command's output are kept on disk: its beginning and its end.
pub const DEFAULT_OUTPUT_CAP: u64 = 256 << 20;

/// The smallest cap that can be asked for: below it there is no room for a beginning and an end.
pub const MIN_OUTPUT_CAP: u64 = 64 << 10;

/// How long ended processes are kept: long enough to come back to after a weekend.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many bytes of each stream a result of `execute` carries; the rest stays in the log.
pub const DEFAULT_CAPTURE_BYTES: usize = 1 << 20;

/// The largest `execute` capture per stream: it is held in memory twice.
pub const MAX_CAPTURE_BYTES: usize = 64 << 20;

/// Exit code of a command that ran out of time; the convention of coreutils' `timeout`.
pub const EXIT_TIMED_OUT: i32 = 124;
/// Exit code of `stigmer run` when stigmer itself failed; the convention of `env` and `docker run`.
pub const EXIT_STIGMER_FAILED: i32 = 125;
/// Exit code of a command that was found but could not be executed (POSIX shell).
pub const EXIT_NOT_EXECUTABLE: i32 = 126;
/// Exit code of a command that was not found (POSIX shell).
pub const EXIT_NOT_FOUND: i32 = 127;
/// Added to a signal's number for a command that the signal ended (POSIX shell).
pub const EXIT_SIGNAL_BASE: i32 = 128;

/// The largest file, or range of one, that `read_file` returns. It is held in memory and, as
/// base64, one third larger; larger files are streamed by `download`.
pub const MAX_READ_BYTES: u64 = 10 << 20;

/// The largest content that `write_file` and `edit_file` take or leave behind: both are held in
/// memory to be compared. Larger files are streamed by `upload`.
pub const MAX_WRITE_BYTES: u64 = 64 << 20;

/// The most edits in one `edit_file`.
pub const MAX_EDITS: usize = 1_000;

/// The most entries that `list_directory` returns.
pub const MAX_LIST_ENTRIES: usize = 100_000;
/// The entries that `list_directory` returns when the caller says nothing.
pub const DEFAULT_LIST_ENTRIES: usize = 10_000;

/// The paths that `search_files` returns when the caller says nothing.
pub const DEFAULT_FIND_RESULTS: usize = 100;

/// The matches that `grep_search` returns when the caller says nothing.
pub const DEFAULT_GREP_MATCHES: usize = 1_000;

/// The most paths that `search_files` returns: all of them are held in memory and sorted.
pub const MAX_FIND_RESULTS: usize = 100_000;

/// The most bytes (text, context and paths) that one listing or search returns, however large the
/// limit that was asked for: the result is held in memory and crosses a wire in one piece.
pub const MAX_SEARCH_BYTES: usize = 64 << 20;

/// The longest line, together with the context wanted before it, that `grep_search` searches; a
/// file with a longer one is reported as unreadable. It must fit in memory, and in the result.
pub const MAX_LINE_BYTES: usize = 32 << 20;

/// The most lines of context on each side of a match.
pub const MAX_CONTEXT_LINES: u32 = 1_000;

/// The most unreadable files or directories that one listing or search names.
pub const MAX_UNREADABLE: usize = 1_000;

/// The largest `.gitignore` (or its like) that is read: every rule is compiled and held in memory.
pub const MAX_IGNORE_FILE_BYTES: u64 = 8 << 20;

/// The longest pattern (regular expression, glob or fuzzy query) in bytes.
pub const MAX_PATTERN_BYTES: usize = 64 << 10;

/// The memory that one compiled regular expression may take; ripgrep's own default is the same.
pub const MAX_REGEX_BYTES: usize = 100 << 20;

/// How many symbolic links one path may lead through; the kernel's own limit (`path_resolution(7)`).
pub const MAX_SYMLINKS: usize = 40;

/// The longest path in bytes, the kernel's `PATH_MAX` without its end mark.
pub const MAX_PATH_BYTES: usize = 4095;

/// The most entries in one uploaded archive.
pub const MAX_ARCHIVE_ENTRIES: u64 = 1_000_000;
