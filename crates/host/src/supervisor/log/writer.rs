//! The supervisor's side of the log.

use std::collections::VecDeque;
use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use stigmer_core::process::OutputKind;

use super::frame::{FrameKind, GAP_LENGTH, HEADER_LENGTH, Header};
use super::{MAX_SEGMENT, segment_name};

/// Writes a command's output, within a cap.
#[derive(Debug)]
pub struct LogWriter {
    directory: OwnedFd,
    cap: u64,
    segment_limit: u64,
    /// Offset after the last byte that the command wrote, kept or not.
    end: u64,
    /// First offset and size on disk of every segment but the first, oldest first.
    tail: VecDeque<Segment>,
    current: Option<Current>,
    /// Size on disk of all segments.
    size: u64,
    /// Bytes that the disk did not take and no gap frame tells of yet.
    lost: u64,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    size: u64,
}

#[derive(Debug)]
struct Current {
    file: File,
    position: u64,
    is_first: bool,
}

impl LogWriter {
    /// A log in a process's directory that keeps about `cap` bytes. Creates no file before there is
    /// output.
    pub fn new(directory: OwnedFd, cap: u64) -> Self {
        let segment_limit = (cap / 8).min(MAX_SEGMENT);
        Self {
            directory,
            cap,
            segment_limit,
            end: 0,
            tail: VecDeque::new(),
            current: None,
            size: 0,
            lost: 0,
        }
    }

    /// The offset after the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The most bytes to append after one look at [`has_room`](Self::has_room).
    pub fn chunk_limit(&self) -> usize {
        usize::try_from(self.segment_limit).unwrap_or(usize::MAX)
    }

    /// Whether a chunk can be written without dropping what the slowest holder has yet to read; it
    /// has read all before `held`.
    pub fn has_room(&self, held: Option<u64>) -> bool {
        let Some(held) = held.filter(|held| *held < self.end) else { return true };
        // A chunk may begin two segments. When it begins the second, the first is full, and the
        // headers of three frames and a gap have come with it.
        let overhead = (4 * HEADER_LENGTH + GAP_LENGTH) as u64;
        let mut size = self.size + self.segment_limit + overhead;
        for (index, segment) in self.tail.iter().enumerate() {
            if size + self.segment_limit <= self.cap {
                // What is dropped ends where what is kept begins.
                return index == 0 || segment.start <= held;
            }
            size = size.saturating_sub(segment.size);
        }
        // The first segment is never dropped.
        self.tail.is_empty()
    }

    /// Appends output. Never fails: what the disk does not take becomes a gap.
    pub fn append(&mut self, kind: OutputKind, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.append_some(kind, bytes);
            bytes = &bytes[count..];
        }
    }

    /// Tells of lost bytes, if the disk takes it now.
    pub fn flush_gap(&mut self) {
        if self.lost == 0 || self.ready_segment().is_err() {
            return;
        }
        let Some(current) = &mut self.current else { return };
        let header = Header { kind: FrameKind::Gap, length: GAP_LENGTH as u32 }.encode();
        let mut frame = [0; HEADER_LENGTH + GAP_LENGTH];
        frame[..HEADER_LENGTH].copy_from_slice(&header);
        frame[HEADER_LENGTH..].copy_from_slice(&self.lost.to_le_bytes());
        // A torn gap frame is not accepted as one: its position is written again.
        if current.file.write_all_at(&frame, current.position).is_ok() {
            current.position += frame.len() as u64;
            self.size += frame.len() as u64;
            self.lost = 0;
        } else {
            let _ = current.file.set_len(current.position);
        }
    }

    /// Appends as much as goes into one frame; returns how many bytes are dealt with, more than 0.
    fn append_some(&mut self, kind: OutputKind, bytes: &[u8]) -> usize {
        self.flush_gap();
        if self.lost > 0 || self.ready_segment().is_err() {
            return self.lose(bytes.len());
        }
        let Some(current) = &mut self.current else { return self.lose(bytes.len()) };
        let room =
            self.segment_limit.saturating_sub(current.position + HEADER_LENGTH as u64).max(1);
        let count = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut header = Header { kind: FrameKind::Output(kind), length: count as u32 };
        let written =
            write_both(&current.file, current.position, &header.encode(), &bytes[..count]);
        let payload = written.saturating_sub(HEADER_LENGTH);
        if payload == 0 {
            let _ = current.file.set_len(current.position);
            return self.lose(count);
        }
        if payload < count {
            // The disk filled up within the frame: what is there is kept and the length corrected,
            // which needs no space.
            header.length = payload as u32;
            let _ = current.file.write_all_at(&header.encode(), current.position);
        }
        let on_disk = (HEADER_LENGTH + payload) as u64;
        current.position += on_disk;
        self.size += on_disk;
        self.end += payload as u64;
        payload
    }

    fn lose(&mut self, count: usize) -> usize {
        self.lost += count as u64;
        self.end += count as u64;
        count
    }

    /// Makes sure that there is a segment with room for a frame, beginning a new one if need be.
    fn ready_segment(&mut self) -> Result<(), Errno> {
        let full_at = self.segment_limit.saturating_sub(HEADER_LENGTH as u64);
        if self.current.as_ref().is_some_and(|current| current.position < full_at) {
            return Ok(());
        }
        // A gap that waits to be told lies before the new segment's first byte.
        let start = self.end - self.lost;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file =
            openat(self.directory.as_fd(), segment_name(start), flags, Mode::from_raw_mode(0o600))?;
        if let Some(full) = self.current.take() {
            if !full.is_first
                && let Some(segment) = self.tail.back_mut()
            {
                segment.size = full.position;
            }
            self.tail.push_back(Segment { start, size: 0 });
        }
        let is_first = self.tail.is_empty();
        self.current = Some(Current { file: file.into(), position: 0, is_first });
        while self.size + self.segment_limit > self.cap && self.tail.len() > 1 {
            let Some(oldest) = self.tail.pop_front() else { break };
            let _ = unlinkat(&self.directory, segment_name(oldest.start), AtFlags::empty());
            self.size -= oldest.size;
        }
        Ok(())
    }
}

/// Writes a header and a payload with one system call, going on after a short write until the disk
/// takes no more. Returns the bytes written.
fn write_both(file: &File, position: u64, header: &[u8], payload: &[u8]) -> usize {
    let total = header.len() + payload.len();
    let mut written = 0;
    while written < total {
        let at = position + written as u64;
        let result = if written < header.len() {
            let parts = [IoSlice::new(&header[written..]), IoSlice::new(payload)];
            rustix::io::pwritev(file, &parts, at)
        } else {
            rustix::io::pwrite(file, &payload[written - header.len()..], at)
        };
        match result {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    written
}
