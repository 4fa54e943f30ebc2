//! What cases say again and again.

use std::fmt::Debug;

use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use stigmer_core::process::{ExitStatus, Follow, GapReason, OutputEvent, OutputKind, ReadOutput};
use stigmer_core::{ErrorCode, OutputStream, ProcessId, Result, ToolError};

use crate::Fixture;

/// The operation failed with this code, in the shape that every error has: its message names what
/// is concerned, its text survives the wire.
#[track_caller]
pub(crate) fn refused<T: Debug>(result: Result<T>, code: ErrorCode, names: &[&str]) -> ToolError {
    let error = match result {
        Ok(value) => panic!("{code} was expected, got {value:?}"),
        Err(error) => error,
    };
    assert_eq!(error.code, code, "{error:?}");
    for name in names {
        assert!(error.message.contains(name), "{name:?} is not named in {error:?}");
    }
    assert!(!error.message.is_empty() && !error.message.ends_with('.'), "{error:?}");
    assert_eq!(error.retryable, code.retryable(), "{error:?}");
    let json = serde_json::to_string(&error).unwrap();
    assert_eq!(serde_json::from_str::<ToolError>(&json).unwrap(), error);
    error
}

/// The same with a hint on what to do next.
#[track_caller]
pub(crate) fn refused_with_hint<T: Debug>(
    result: Result<T>,
    code: ErrorCode,
    names: &[&str],
) -> ToolError {
    let error = refused(result, code, names);
    assert!(error.hint.as_ref().is_some_and(|hint| !hint.is_empty()), "no hint in {error:?}");
    error
}

/// Lower-case hexadecimal SHA-256.
pub(crate) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes are equal; says where they differ and not all of them.
#[track_caller]
pub(crate) fn same_bytes(got: &[u8], expected: &[u8], what: &str) {
    if got == expected {
        return;
    }
    let at = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let show = |bytes: &[u8]| {
        let end = bytes.len().min(at + 40);
        String::from_utf8_lossy(&bytes[at.min(end)..end]).into_owned()
    };
    panic!(
        "{what}: {} bytes, expected {}; they differ at {at}: {:?}, expected {:?}",
        got.len(),
        expected.len(),
        show(got),
        show(expected),
    );
}

/// All that a stream of output said.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Both streams in order.
    pub(crate) bytes: Vec<u8>,
    /// Standard output, or the terminal.
    pub(crate) stdout: Vec<u8>,
    /// Standard error.
    pub(crate) stderr: Vec<u8>,
    /// Gaps: offset, length, reason.
    pub(crate) gaps: Vec<(u64, u64, GapReason)>,
    /// Where the next byte would be.
    pub(crate) end: u64,
    /// How it ended, and the offset at which that was said.
    pub(crate) exit: Option<(ExitStatus, u64)>,
    /// The largest frame.
    pub(crate) largest: usize,
}

impl Collected {
    /// Takes one event; offsets must follow each other without a gap that is not told.
    #[track_caller]
    pub(crate) fn take(&mut self, event: OutputEvent) {
        match event {
            OutputEvent::Output { offset, stream, bytes } => {
                assert_eq!(offset, self.end, "the offset does not follow");
                assert!(!bytes.is_empty(), "an empty frame");
                self.end += bytes.len() as u64;
                self.largest = self.largest.max(bytes.len());
                self.bytes.extend_from_slice(bytes.as_bytes());
                match stream {
                    OutputKind::Stdout | OutputKind::Terminal => &mut self.stdout,
                    OutputKind::Stderr => &mut self.stderr,
                }
                .extend_from_slice(bytes.as_bytes());
            }
            OutputEvent::Gap { offset, length, reason } => {
                assert_eq!(offset, self.end, "the gap does not follow");
                assert!(length > 0, "an empty gap");
                self.end += length;
                self.gaps.push((offset, length, reason));
            }
            OutputEvent::Exit(exit) => {
                assert!(self.exit.is_none(), "two exits");
                self.exit = Some((exit, self.end));
            }
        }
    }

    /// How the command ended.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        self.exit.as_ref().expect("no exit was told").0.code
    }
}

/// Follows until the end of the command.
pub(crate) const UNTIL_EXIT: ReadOutput =
    ReadOutput { since: 0, follow: Follow::UntilExit, hold: false };

/// The same as the client of a foreground command.
pub(crate) const HOLD: ReadOutput = ReadOutput { hold: true, ..UNTIL_EXIT };

impl Fixture {
    /// Reads a command's output to the end of the stream.
    pub(crate) async fn collect(&self, id: &ProcessId, request: ReadOutput) -> Collected {
        let stream = self.executor.process_output(id, request).await.unwrap();
        drain(stream, request.since).await
    }
}

/// Takes a stream to its end.
pub(crate) async fn drain(mut stream: OutputStream, since: u64) -> Collected {
    let mut all = Collected { end: since, ..Collected::default() };
    while let Some(event) = stream.next().await {
        all.take(event.unwrap());
    }
    all
}
