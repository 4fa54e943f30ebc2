//! The pipes, or the terminal, that a command writes to.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use stigmer_core::process::OutputKind;

use super::log::LogWriter;

/// Bytes read from a pipe at a time, and the size that a pipe grows to once a command fills it: a
/// system call then moves much, and commands that write little cost little.
const READ_SIZE: usize = 256 << 10;

/// A pipe's usual capacity (`pipe(7)`): a command that fills it writes faster than we read.
const PIPE_SIZE: usize = 64 << 10;

/// How long a terminal's last output may take from the kernel's line discipline to our side.
const TERMINAL_SETTLE: Duration = Duration::from_millis(50);

/// The most that is taken from a terminal after its command's end, lest a process that was left
/// behind holds the end up: many times what the line discipline can hold back.
const TERMINAL_BOUND: usize = 1 << 20;

/// What to do with output for which the slowest holder leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overrun {
    /// Let it wait in its pipe.
    Wait,
    /// Let the log drop what the holder has not read: it meets a gap.
    Drop,
}

/// What reading once came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    Some(usize),
    Nothing,
    End,
}

#[derive(Debug)]
struct Output {
    kind: OutputKind,
    descriptor: OwnedFd,
    grown: bool,
}

/// A command's open outputs.
#[derive(Debug)]
pub(super) struct Outputs {
    open: Vec<Output>,
    buffer: Vec<u8>,
}

impl Outputs {
    pub(super) fn new(outputs: Vec<(OutputKind, OwnedFd)>) -> Self {
        let open = outputs
            .into_iter()
            .map(|(kind, descriptor)| Output { kind, descriptor, grown: false })
            .collect();
        // Made zero by the kernel, page by page as it is used: a command that writes nothing pays
        // for none.
        Self { open, buffer: vec![0; READ_SIZE] }
    }

    /// What to wait for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        self.open.iter().map(|output| &output.descriptor)
    }

    /// Reads what each output that is ready holds now into the log, and lets go of those that have
    /// ended. What a holder, who has read all before `held`, leaves no room for waits.
    ///
    /// One output is emptied before the next is looked at: what a command writes to the other one last,
    /// mostly why it failed, would else come to lie before what it wrote earlier, and with it be dropped
    /// from a log that is full.
    pub(super) fn read_ready(
        &mut self,
        ready: &[PollFlags],
        log: &mut LogWriter,
        held: Option<u64>,
    ) {
        let mut ended = Vec::new();
        for (index, ready) in ready.iter().enumerate() {
            if ready.is_empty() {
                continue;
            }
            // Standard output comes first, as most commands write it first. Of an end there is nothing
            // to count, and yet it has to be read.
            let mut left = self.held_by(index).max(1);
            while left > 0 {
                // What one output had may have taken the room of the other, too.
                if !log.has_room(held) {
                    return self.let_go(ended);
                }
                match self.read(index, usize::MAX, log) {
                    Read::Some(count) => left = left.saturating_sub(count),
                    Read::Nothing => break,
                    Read::End => {
                        ended.push(index);
                        break;
                    }
                }
            }
        }
        self.let_go(ended);
    }

    fn let_go(&mut self, ended: Vec<usize>) {
        for index in ended.into_iter().rev() {
            self.open.remove(index);
        }
    }

    /// How many bytes all outputs hold that were not read yet.
    pub(super) fn waiting(&self) -> u64 {
        (0..self.open.len()).map(|index| self.held_by(index) as u64).sum()
    }

    /// How many bytes an output holds.
    fn held_by(&self, index: usize) -> usize {
        let waiting = rustix::io::ioctl_fionread(&self.open[index].descriptor).unwrap_or(0);
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    /// Takes what was written before the command ended, and no more: processes that it left behind
    /// may write for ever. False if a holder, who has read all before `held`, has to read first.
    pub(super) fn drain(
        &mut self,
        log: &mut LogWriter,
        held: Option<u64>,
        overrun: Overrun,
    ) -> bool {
        for index in 0..self.open.len() {
            let terminal = self.open[index].kind == OutputKind::Terminal;
            let mut settled = Instant::now() + TERMINAL_SETTLE;
            let mut bound = TERMINAL_BOUND;
            let mut left = self.held_by(index);
            while terminal || left > 0 {
                if overrun == Overrun::Wait && !log.has_room(held) {
                    return false;
                }
                let limit = if terminal { usize::MAX } else { left };
                match self.read(index, limit, log) {
                    Read::Some(count) => {
                        left = left.saturating_sub(count);
                        bound = bound.saturating_sub(count);
                        settled = Instant::now() + TERMINAL_SETTLE;
                    }
                    Read::End => break,
                    // Nobody knows how much a terminal still holds back, so it gets a moment.
                    Read::Nothing if terminal && Instant::now() < settled => self.wait_for(index),
                    Read::Nothing => break,
                }
                if terminal && bound == 0 {
                    break;
                }
            }
        }
        true
    }

    fn wait_for(&self, index: usize) {
        let mut one = [PollFd::new(&self.open[index].descriptor, PollFlags::IN)];
        let short = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        let _ = poll(&mut one, Some(&short));
    }

    /// Reads one output once; at most `limit` bytes.
    fn read(&mut self, index: usize, limit: usize, log: &mut LogWriter) -> Read {
        let limit = limit.min(READ_SIZE).min(log.chunk_limit());
        let output = &mut self.open[index];
        match rustix::io::read(&output.descriptor, &mut self.buffer[..limit]) {
            Ok(0) => Read::End,
            Ok(count) => {
                if count >= PIPE_SIZE && !output.grown && output.kind != OutputKind::Terminal {
                    output.grown = true;
                    let _ = rustix::pipe::fcntl_setpipe_size(&output.descriptor, READ_SIZE);
                }
                log.append(output.kind, &self.buffer[..count]);
                Read::Some(count)
            }
            Err(Errno::AGAIN | Errno::INTR) => Read::Nothing,
            // A terminal whose last user is gone says EIO.
            Err(_) => Read::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn what_was_written_last_to_the_other_output_comes_last() {
        let scratch = tempfile::tempdir().unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let directory = rustix::fs::open(scratch.path(), flags, Mode::empty()).unwrap();
        let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
        let ((out, to_out), (err, to_err)) = (pipe(), pipe());
        // A log takes an eighth of its cap at a time.
        let mut log = LogWriter::new(directory, 64 << 10);
        assert!(log.chunk_limit() < PIPE_SIZE / 4);
        let mut outputs = Outputs::new(vec![(OutputKind::Stdout, out), (OutputKind::Stderr, err)]);
        rustix::io::write(&to_out, &vec![b'o'; PIPE_SIZE]).unwrap();
        rustix::io::write(&to_err, b"why").unwrap();
        outputs.read_ready(&[PollFlags::IN, PollFlags::IN], &mut log, None);
        assert_eq!(log.end(), PIPE_SIZE as u64 + 3);
        drop(log);
        let mut names: Vec<_> =
            std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let last = std::fs::read(names.last().unwrap()).unwrap();
        assert!(last.ends_with(b"why"), "{} segments", names.len());
        drop((to_out, to_err));
        outputs.read_ready(
            &[PollFlags::HUP, PollFlags::HUP],
            &mut LogWriter::new(
                rustix::fs::open(scratch.path(), flags, Mode::empty()).unwrap(),
                64 << 10,
            ),
            None,
        );
        assert_eq!(outputs.descriptors().count(), 0, "both have ended");
    }
}
