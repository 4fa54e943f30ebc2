//! Following a command for somebody who waits for it.

use futures_util::StreamExt;
use stigmer_core::process::{
    Captured, ExitStatus, Follow, OutputEvent, OutputKind, ReadOutput, SignalRequest,
};
use stigmer_core::{Capture, ErrorCode, ProcessId, Result, ToolError, ToolExecutor};

use crate::call::Call;

/// What a command wrote, as much as an answer holds.
pub(crate) struct Written {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The offset of the first byte that is missing.
    pub(crate) rest: Option<u64>,
}

/// One of the streams.
struct Stream {
    capture: Capture,
    /// What the beginning has room for still.
    room: usize,
    /// The offset of the first byte that may be missing.
    beyond: Option<u64>,
}

impl Stream {
    fn new(limit: usize) -> Self {
        Self { capture: Capture::new(limit), room: limit / 2, beyond: None }
    }

    fn push(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.len() > self.room {
            self.beyond.get_or_insert(offset + self.room as u64);
        }
        self.room = self.room.saturating_sub(bytes.len());
        self.capture.push(bytes);
    }

    /// What is not there to be read, from an offset on.
    fn lost(&mut self, offset: u64, length: u64) {
        self.beyond.get_or_insert(offset);
        self.capture.skip(length);
    }

    fn finish(self) -> (String, Option<u64>) {
        let Captured { head, tail, omitted_bytes } = self.capture.finish();
        let mut text = head.to_string_lossy().into_owned();
        if omitted_bytes == 0 {
            return (text, None);
        }
        text.push_str(&format!("\n[… {omitted_bytes} bytes left out …]\n"));
        text.push_str(&tail.to_string_lossy());
        (text, self.beyond)
    }
}

/// Follows a command to its end, and ends it if nobody wants to know any more.
pub(crate) async fn follow(
    executor: &dyn ToolExecutor,
    id: &ProcessId,
    call: &Call,
    limit: usize,
) -> Result<(ExitStatus, Written)> {
    let read = ReadOutput { since: 0, follow: Follow::UntilExit, hold: true };
    let mut events = executor.process_output(id, read).await?;
    let (mut stdout, mut stderr) = (Stream::new(limit), Stream::new(limit));
    let mut cancelled = false;
    let exit = loop {
        let event = if cancelled {
            events.next().await
        } else {
            tokio::select! {
                biased;
                () = call.unwanted() => {
                    cancelled = true;
                    executor.signal(id, SignalRequest::Cancel).await?;
                    continue;
                }
                event = events.next() => event,
            }
        };
        match event {
            Some(Ok(OutputEvent::Output { offset, stream, bytes })) => {
                if let Some(progress) = &call.progress {
                    progress.wrote(bytes.as_bytes());
                }
                match stream {
                    OutputKind::Stderr => stderr.push(offset, bytes.as_bytes()),
                    OutputKind::Stdout | OutputKind::Terminal => {
                        stdout.push(offset, bytes.as_bytes());
                    }
                }
            }
            // Whoever reads as fast as it is written misses nothing; what the disk did not take is
            // told where the rest of the output is.
            Some(Ok(OutputEvent::Gap { offset, length, .. })) => stdout.lost(offset, length),
            Some(Ok(OutputEvent::Exit(exit))) => break exit,
            Some(Err(error)) => return Err(error),
            None => {
                let message = format!("what {id} writes cannot be followed to its end");
                return Err(ToolError::new(ErrorCode::Io, message)
                    .with_hint("process_output may have the rest"));
            }
        }
    };
    let ((stdout, out), (stderr, err)) = (stdout.finish(), stderr.finish());
    let rest = [out, err].into_iter().flatten().min();
    Ok((exit, Written { stdout, stderr, rest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_told_as_left_out_with_its_offset() {
        let mut stream = Stream::new(100);
        stream.push(0, b"begin");
        stream.lost(5, 1000);
        stream.push(1005, b"end");
        let (text, rest) = stream.finish();
        assert_eq!(rest, Some(5));
        assert!(text.starts_with("begin") && text.contains("1000 bytes left out"), "{text}");
    }
}
