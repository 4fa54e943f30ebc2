//! Following a command's output.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream;
use stigmer_core::limits::EXIT_STIGMER_FAILED;
use stigmer_core::process::{EndReason, ExitStatus, Follow, GapReason, OutputEvent, ReadOutput};
use stigmer_core::{OutputStream, ProcessId, Result, ToolError};

use super::Processes;
use super::connection::{Connection, unexpected};
use crate::supervisor::log::LogReader;
use crate::supervisor::protocol::{Reply, Request, Watch};
use crate::supervisor::record;

impl Processes {
    /// Reads or follows a process's output.
    pub(crate) async fn output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let follower = self.follow(id, request).await?;
        Ok(Box::pin(stream::unfold(follower, |mut follower| async move {
            let next = follower.next().await.transpose()?;
            Some((next, follower))
        })))
    }

    /// The same as an object.
    pub(crate) async fn follow(&self, id: &ProcessId, request: ReadOutput) -> Result<Follower> {
        let from_start = request.hold && request.since == 0;
        if let Some(connection) = from_start.then(|| self.fresh.take(id)).flatten() {
            let mut follower = self.follow_fresh(id, request, connection, Asked::No)?;
            follower.ask().await?;
            return Ok(follower);
        }
        let (directory, record) = self.find(id)?;
        let connection = Connection::open(&directory, id).await?;
        let mut follower = Follower {
            id: id.clone(),
            reader: LogReader::open(Arc::clone(&directory), request.since)?,
            exit: record::read_exit(&directory),
            directory,
            started_ms: record.started_ms,
            closed: connection.is_none(),
            connection,
            request,
            queue: VecDeque::new(),
            told_exit: false,
            asked: Asked::No,
            may_have_more: true,
            told_end: 0,
        };
        if follower.closed && follower.exit.is_none() {
            follower.exit = Some(follower.last_word());
        }
        if request.since > 0 {
            follower.check_since().await?;
        }
        if request.hold {
            // Now, and not only when the log has been read to its end: a client that reads slowly
            // is there all the same.
            follower.ask().await?;
        }
        Ok(follower)
    }

    /// Follows a command over the connection that it was started over, from the beginning: nothing
    /// has to be looked up before its supervisor speaks.
    pub(super) fn follow_fresh(
        &self,
        id: &ProcessId,
        request: ReadOutput,
        connection: Connection,
        asked: Asked,
    ) -> Result<Follower> {
        let directory = self.open(id)?;
        Ok(Follower {
            id: id.clone(),
            reader: LogReader::open(Arc::clone(&directory), 0)?,
            directory,
            started_ms: now_ms(),
            connection: Some(connection),
            request,
            exit: None,
            closed: false,
            queue: VecDeque::new(),
            told_exit: false,
            asked,
            may_have_more: false,
            told_end: 0,
        })
    }
}

/// Whether the supervisor was asked for news and has not been listened to yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It was.
    Yes,
    /// It was not.
    No,
}

/// Gives out a process's output from an offset on, and how it ended.
#[derive(Debug)]
pub(crate) struct Follower {
    id: ProcessId,
    directory: Arc<OwnedFd>,
    started_ms: u64,
    reader: LogReader,
    /// To the supervisor, while there is one.
    connection: Option<Connection>,
    request: ReadOutput,
    exit: Option<ExitStatus>,
    /// Nobody can write any more.
    closed: bool,
    queue: VecDeque<OutputEvent>,
    told_exit: bool,
    asked: Asked,
    /// The log may hold more than was read.
    may_have_more: bool,
    /// The end of the output that the supervisor told last.
    told_end: u64,
}

impl Follower {
    /// The next event; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<OutputEvent>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some(event));
            }
            if self.told_exit && self.request.follow == Follow::UntilExit {
                return Ok(None);
            }
            // What was known before the log is read decides what the log must hold by then.
            let known = (self.exit.clone(), self.closed);
            let events = if self.may_have_more { self.reader.read()? } else { Vec::new() };
            let at_edge = events.is_empty();
            self.may_have_more = !at_edge;
            self.queue.extend(events);
            if let (Some(exit), false) = (&known.0, self.told_exit) {
                // Where a lost command's output ended is known when its log is read to the end.
                let lost = exit.reason == EndReason::Lost;
                if self.request.follow == Follow::UntilExit && !lost {
                    clip(&mut self.queue, exit.output_bytes);
                }
                if at_edge || (self.reader.offset() >= exit.output_bytes && !lost) {
                    let offset = self.reader.offset();
                    if offset < exit.output_bytes && !lost {
                        let length = exit.output_bytes - offset;
                        let reason = GapReason::DiskFull;
                        self.queue.push_back(OutputEvent::Gap { offset, length, reason });
                    }
                    self.queue.push_back(OutputEvent::Exit(exit.clone()));
                    self.told_exit = true;
                    // What came after the end is read on, if it is wanted.
                    self.may_have_more = true;
                }
                continue;
            }
            if !at_edge {
                continue;
            }
            if self.request.follow == Follow::No || known.1 {
                return Ok(None);
            }
            self.wait().await?;
        }
    }

    /// How the command ended, once that was given out or is known.
    pub(crate) fn exit(&self) -> Option<&ExitStatus> {
        self.exit.as_ref()
    }

    /// Asks the supervisor for what is more than is known.
    async fn ask(&mut self) -> Result<()> {
        let watch = Watch {
            // Bytes that the disk did not take are told and never read: they are no news again.
            since: self.reader.offset().max(self.told_end),
            knows_exit: self.exit.is_some(),
            hold: self.request.hold,
        };
        if let (Some(connection), Asked::No) = (&mut self.connection, self.asked) {
            connection.send(&Request::Watch(watch), &[]).await?;
            self.asked = Asked::Yes;
        }
        Ok(())
    }

    /// Waits until there is more than is known.
    async fn wait(&mut self) -> Result<()> {
        self.ask().await?;
        self.asked = Asked::No;
        let reply = match &mut self.connection {
            Some(connection) => connection.answer().await?,
            None => None,
        };
        match reply {
            Some(Reply::Progress { end, exit, closed }) => {
                self.may_have_more = end > self.reader.offset();
                self.told_end = end;
                self.exit = self.exit.take().or(exit);
                self.closed |= closed;
            }
            Some(other) => return Err(unexpected(&self.id, &other)),
            None => {
                self.connection = None;
                self.closed = true;
                self.may_have_more = true;
                if self.exit.is_none() {
                    self.exit = Some(self.last_word());
                }
            }
        }
        Ok(())
    }

    /// How the command ended, now that nobody answers for it.
    fn last_word(&self) -> ExitStatus {
        record::read_exit(&self.directory).unwrap_or_else(|| lost(&self.directory, self.started_ms))
    }

    /// Refuses to begin after the end.
    async fn check_since(&mut self) -> Result<()> {
        let events = self.reader.read()?;
        if !events.is_empty() {
            self.queue.extend(events);
            return Ok(());
        }
        let mut end = self.reader.position();
        if let Some(connection) = &mut self.connection
            && let Some(Reply::Status { end: now, .. }) =
                connection.ask_soon(&self.id, &Request::Status).await?
        {
            end = end.max(now);
        }
        end = end.max(self.exit.as_ref().map_or(0, |exit| exit.output_bytes));
        let since = self.request.since;
        if since > end {
            let reason = format!("offset {since} is past the end of the output at {end}");
            return Err(ToolError::invalid_argument("since", reason).with_detail("end", end));
        }
        Ok(())
    }
}

/// Takes away what was written after the command had ended.
fn clip(queue: &mut VecDeque<OutputEvent>, end: u64) {
    queue.retain_mut(|event| match event {
        OutputEvent::Output { offset, bytes, .. } => {
            let keep = usize::try_from(end.saturating_sub(*offset)).unwrap_or(usize::MAX);
            if keep < bytes.len() {
                *bytes = bytes.as_bytes()[..keep].into();
            }
            keep > 0
        }
        OutputEvent::Gap { offset, length, .. } => {
            *length = (*length).min(end.saturating_sub(*offset));
            *length > 0
        }
        OutputEvent::Exit(_) => true,
    });
}

/// The end of a process whose supervisor died: all that is known is that it is not known.
pub(crate) fn lost(directory: &Arc<OwnedFd>, started_ms: u64) -> ExitStatus {
    let now = now_ms();
    ExitStatus {
        code: EXIT_STIGMER_FAILED,
        reason: EndReason::Lost,
        signal: None,
        ended_ms: now,
        duration_ms: now.saturating_sub(started_ms),
        output_bytes: LogReader::end_of(directory).unwrap_or(0),
        memory_limit: None,
        cause: None,
        survivors: Vec::new(),
        denied: None,
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(now).unwrap_or(u64::MAX)
}
