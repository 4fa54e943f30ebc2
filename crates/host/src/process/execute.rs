//! Running a command to its end.

use stigmer_core::limits::MAX_CAPTURE_BYTES;
use stigmer_core::process::{
    Execute, Executed, Follow, Lifetime, OutputEvent, OutputKind, ReadOutput, StartedProcess, Stdin,
};
use stigmer_core::{ByteString, Capture, ErrorCode, ProcessId, Result, ToolError};

use super::output::{Asked, Follower};
use super::start::Launched;
use super::{Confined, Confinement, Processes};
use crate::Root;
use crate::supervisor::protocol::Watch;

impl Processes {
    /// Starts a command, follows it and waits for its end.
    pub(crate) async fn execute(&self, root: &Root, request: Execute) -> Result<Executed> {
        self.execute_in(root, request, None).await?.unconfined()
    }

    /// The same in a lane, if it is to be in one.
    pub(super) async fn execute_in(
        &self,
        root: &Root,
        request: Execute,
        confinement: Option<&Confinement>,
    ) -> Result<Confined<Executed>> {
        let Execute { start, input, capture_bytes } = request;
        if capture_bytes > MAX_CAPTURE_BYTES {
            let reason = format!("{capture_bytes} bytes are over the limit of {MAX_CAPTURE_BYTES}");
            return Err(ToolError::invalid_argument("capture_bytes", reason));
        }
        // Whoever waits for a command is the client that it has.
        if start.lifetime == Lifetime::Detached {
            let reason = "a command that is executed is waited for";
            return Err(ToolError::invalid_argument("detached", reason)
                .with_hint("start it instead, and follow its output"));
        }
        let streams = matches!(start.stdin, Stdin::Stream);
        if !streams && !input.is_empty() {
            return Err(ToolError::invalid_argument("input", "needs streamed standard input"));
        }
        let watch = Watch { since: 0, knows_exit: false, hold: true };
        let read = ReadOutput { since: 0, follow: Follow::UntilExit, hold: true };
        let (started, follower) = match self.launch(root, start, Some(watch), confinement).await? {
            Launched::Now(started, connection) => {
                let follower = self.follow_fresh(&started.id, read, connection, Asked::Yes)?;
                (started, follower)
            }
            // What it reads was sent with the first request.
            Launched::Before(started) => {
                let follower = self.follow(&started.id, read).await?;
                return capture(started, follower, capture_bytes).await.map(Confined::Ran);
            }
            Launched::Refused(reason) => return Ok(Confined::Refused(reason)),
            Launched::Discarded(denied) => return Ok(Confined::Discarded(denied)),
        };
        let id = started.id.clone();
        let capture = capture(started, follower, capture_bytes);
        let feed = self.feed(&id, streams.then_some(&input));
        tokio::pin!(capture, feed);
        let mut fed = false;
        loop {
            tokio::select! {
                // What the command has not read when it ends, nobody will.
                result = &mut capture => break result.map(Confined::Ran),
                () = &mut feed, if !fed => fed = true,
            }
        }
    }

    /// Sends all input. A command that ends or closes its input before it has all is no failure.
    async fn feed(&self, id: &ProcessId, input: Option<&ByteString>) {
        let Some(input) = input else { return };
        if self.write_stdin(id, input).await.is_ok() {
            let _ = self.close_stdin(id).await;
        }
    }
}

/// Reads a command's output to its end.
async fn capture(
    started: StartedProcess,
    mut follower: Follower,
    capture_bytes: usize,
) -> Result<Executed> {
    let (mut stdout, mut stderr) = (Capture::new(capture_bytes), Capture::new(capture_bytes));
    while let Some(event) = follower.next().await? {
        match event {
            OutputEvent::Output { stream: OutputKind::Stderr, bytes, .. } => {
                stderr.push(bytes.as_bytes());
            }
            OutputEvent::Output { bytes, .. } => stdout.push(bytes.as_bytes()),
            // Which stream lost them is not known; most output is standard output.
            OutputEvent::Gap { length, .. } => stdout.skip(length),
            OutputEvent::Exit(_) => {}
        }
    }
    let exit = follower.exit().cloned().ok_or_else(|| {
        ToolError::new(ErrorCode::Io, format!("process {} has no end", started.id))
    })?;
    Ok(Executed::new(started, exit, stdout, stderr))
}
