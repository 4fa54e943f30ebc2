//! Anybody's side of the log.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::Dir;
use rustix::io::Errno;
use stigmer_core::process::{GapReason, OutputEvent, OutputKind};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};

use super::frame::{FrameKind, HEADER_LENGTH, split_first};
use super::{MAX_SEGMENT, segment_name, segment_offset};
use crate::supervisor::record::open_regular;

/// Bytes read from disk at a time: large enough that system calls do not count, small enough for
/// many followers at once.
const READ_SIZE: usize = 256 << 10;

/// The longest segment that is read. A writer begins another one long before; whoever else wrote it
/// may have meant that its reader comes to no end.
const LONGEST_SEGMENT: u64 = 2 * MAX_SEGMENT;

/// The most names in a process's directory: the segments of two tebibytes of output.
const MOST_NAMES: usize = 128 << 10;

/// Reads a command's output from an offset on, as far as it is there.
#[derive(Debug)]
pub struct LogReader {
    directory: Arc<OwnedFd>,
    /// The offset of the next byte to give out.
    offset: u64,
    /// Bytes before this offset are passed over: where the reader was asked to begin.
    since: u64,
    segment: Option<Segment>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    /// The offset of its first byte.
    start: u64,
    /// Where the current frame begins in the file.
    frame: u64,
    /// Bytes of the current frame's payload that were given out.
    taken: u64,
}

impl LogReader {
    /// Begins at `since` in the log in a process's directory.
    ///
    /// # Errors
    /// `io` if the directory cannot be read.
    pub fn open(directory: Arc<OwnedFd>, since: u64) -> Result<Self> {
        let mut reader = Self { directory, offset: 0, since, segment: None, buffer: Vec::new() };
        // The first segment is never removed: who begins there needs no search.
        if since > 0 {
            let start = reader.segments()?.into_iter().filter(|start| *start <= since).max();
            if let Some(start) = start {
                reader.enter(start)?;
            }
        }
        Ok(reader)
    }

    /// The offset that reading has reached, which is less than where it shall begin if that lies
    /// past the end.
    pub fn position(&self) -> u64 {
        self.offset
    }

    /// The offset after the last byte on disk.
    ///
    /// # Errors
    /// `io` if the log cannot be read or is damaged.
    pub fn end_of(directory: &Arc<OwnedFd>) -> Result<u64> {
        let mut reader = Self::open(Arc::clone(directory), u64::MAX)?;
        reader.read()?;
        Ok(reader.position())
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset.max(self.since)
    }

    /// What there is, up to about 256 KiB; nothing if nothing is there yet.
    ///
    /// # Errors
    /// `io` if the log cannot be read or is damaged.
    pub fn read(&mut self) -> Result<Vec<OutputEvent>> {
        let mut events = Vec::new();
        loop {
            let before = self.offset;
            self.read_segment(&mut events)?;
            if !events.is_empty() {
                return Ok(events);
            }
            if self.offset == before && !self.advance(&mut events)? {
                return Ok(events);
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// Reads one buffer from the current segment.
    fn read_segment(&mut self, events: &mut Vec<OutputEvent>) -> Result<()> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        // The header is read again for a frame that was not whole: its length may have been
        // corrected since.
        if self.buffer.is_empty() {
            // Made zero by the kernel, page by page as it is used.
            self.buffer = vec![0; READ_SIZE];
        }
        let mut filled = 0;
        if segment.taken > 0 {
            filled = read_at(&segment.file, &mut self.buffer[..HEADER_LENGTH], segment.frame)?;
            if filled < HEADER_LENGTH {
                return Ok(());
            }
        }
        let position = segment.frame + filled as u64 + segment.taken;
        filled += read_at(&segment.file, &mut self.buffer[filled..], position)?;

        let mut rest = &self.buffer[..filled];
        loop {
            let damaged = |error| damaged(&self.offset, &error);
            let Some((frame, after)) = split_first(rest).map_err(damaged)? else { break };
            let length = u64::from(frame.header.length);
            if segment.frame + length > LONGEST_SEGMENT {
                return Err(damaged_log(self.offset, "a segment is longer than any writer's"));
            }
            let payload = match segment.taken {
                0 => frame.payload,
                // The payload in the buffer begins behind what was taken, so cut the rest anew.
                taken => {
                    let left = usize::try_from(length.saturating_sub(taken)).unwrap_or(usize::MAX);
                    let behind = &rest[HEADER_LENGTH..];
                    &behind[..behind.len().min(left)]
                }
            };
            let whole = segment.taken + payload.len() as u64 >= length;
            match frame.header.kind {
                FrameKind::Output(kind) => {
                    push_output(events, kind, self.offset, self.since, payload);
                    self.offset += payload.len() as u64;
                }
                FrameKind::Gap => {
                    let Ok(lost) = <[u8; 8]>::try_from(payload) else { break };
                    let lost = u64::from_le_bytes(lost);
                    let end = self.offset.checked_add(lost).ok_or_else(|| {
                        damaged_log(self.offset, "a gap reaches past the end of all offsets")
                    })?;
                    push_gap(events, self.offset, end, self.since, GapReason::DiskFull);
                    self.offset = end;
                }
            }
            if !whole {
                segment.taken += payload.len() as u64;
                break;
            }
            rest = if segment.taken == 0 { after } else { &rest[HEADER_LENGTH + payload.len()..] };
            segment.frame += HEADER_LENGTH as u64 + length;
            segment.taken = 0;
        }
        Ok(())
    }

    /// At the end of a segment: goes on to the next. False if there is none yet.
    fn advance(&mut self, events: &mut Vec<OutputEvent>) -> Result<bool> {
        let here = self.segment.as_ref().map(|segment| segment.start);
        if here != Some(self.offset) && self.enter(self.offset)? {
            return Ok(true);
        }
        if self.next_segment()?.is_none() {
            return Ok(false);
        }
        // The segment may have grown between its last reading and the next one's appearance; now
        // that there is a next one it is final.
        let before = self.offset;
        self.read_segment(events)?;
        if self.offset != before {
            return Ok(true);
        }
        // So may the one that begins here have come after it was looked for, and another one behind
        // it before these were listed. One that is not there now was dropped.
        if here != Some(before) && self.enter(before)? {
            return Ok(true);
        }
        // Listed anew: a list may leave out what appears while it is made, even if it has what came
        // later, but nothing that was there before. What goes before it is opened belongs to the gap.
        while let Some(next) = self.next_segment()? {
            if self.enter(next)? {
                push_gap(events, before, next, self.since, GapReason::OverCap);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the first segment begins that lies behind what was read.
    fn next_segment(&self) -> Result<Option<u64>> {
        Ok(self.segments()?.into_iter().filter(|start| *start > self.offset).min())
    }

    /// Opens the segment that begins at `start`; false if there is none.
    fn enter(&mut self, start: u64) -> Result<bool> {
        match open_regular(self.directory.as_fd(), segment_name(start)) {
            Ok(file) => {
                self.segment = Some(Segment { file, start, frame: 0, taken: 0 });
                self.offset = start;
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(unreadable(&error)),
        }
    }

    fn segments(&self) -> Result<Vec<u64>> {
        let mut starts = Vec::new();
        let names = Dir::read_from(&*self.directory).map_err(|error| unreadable(&error))?;
        for (count, entry) in names.enumerate() {
            if count > MOST_NAMES {
                return Err(damaged_log(self.offset, "its directory has more names than any log"));
            }
            let entry = entry.map_err(|error| unreadable(&error))?;
            starts.extend(segment_offset(entry.file_name().to_bytes()));
        }
        Ok(starts)
    }
}

fn push_output(
    events: &mut Vec<OutputEvent>,
    kind: OutputKind,
    offset: u64,
    since: u64,
    payload: &[u8],
) {
    let skip = usize::try_from(since.saturating_sub(offset)).unwrap_or(usize::MAX);
    let Some(payload) = payload.get(skip..).filter(|payload| !payload.is_empty()) else { return };
    if let Some(OutputEvent::Output { stream, bytes, .. }) = events.last_mut()
        && *stream == kind
    {
        let mut joined = std::mem::take(bytes).into_bytes();
        joined.extend_from_slice(payload);
        *bytes = ByteString::from(joined);
        return;
    }
    let offset = offset.max(since);
    events.push(OutputEvent::Output { offset, stream: kind, bytes: payload.into() });
}

fn push_gap(events: &mut Vec<OutputEvent>, start: u64, end: u64, since: u64, reason: GapReason) {
    let offset = start.max(since);
    if offset < end {
        events.push(OutputEvent::Gap { offset, length: end - offset, reason });
    }
}

fn read_at(file: &File, buffer: &mut [u8], position: u64) -> Result<usize> {
    loop {
        match rustix::io::pread(file, &mut *buffer, position) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(unreadable(&error)),
        }
    }
}

fn unreadable(error: &Errno) -> ToolError {
    ToolError::new(ErrorCode::Io, format!("the output log cannot be read: {error}"))
}

fn damaged(offset: &u64, error: &dyn std::fmt::Display) -> ToolError {
    damaged_log(*offset, &error.to_string())
}

fn damaged_log(offset: u64, reason: &str) -> ToolError {
    ToolError::new(ErrorCode::Io, format!("the output log is damaged at offset {offset}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::super::LogWriter;
    use super::super::frame::Header;
    use super::*;
    use proptest::prelude::*;

    fn directory(path: &std::path::Path) -> OwnedFd {
        use rustix::fs::{Mode, OFlags};
        rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap()
    }

    /// Everything from `since`: the bytes with gaps filled by `_`, and the streams' own bytes.
    fn all(path: &std::path::Path, since: u64) -> (Vec<u8>, u64) {
        let mut reader = LogReader::open(Arc::new(directory(path)), since).unwrap();
        let mut joined = Vec::new();
        let mut missing = 0;
        loop {
            let events = reader.read().unwrap();
            if events.is_empty() {
                return (joined, missing);
            }
            for event in events {
                match event {
                    OutputEvent::Output { offset, bytes, .. } => {
                        assert_eq!(offset, since + joined.len() as u64);
                        joined.extend_from_slice(bytes.as_bytes());
                    }
                    OutputEvent::Gap { offset, length, .. } => {
                        assert_eq!(offset, since + joined.len() as u64);
                        joined.extend(std::iter::repeat_n(b'_', length as usize));
                        missing += length;
                    }
                    OutputEvent::Exit(_) => unreachable!(),
                }
            }
        }
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|index| b'a' + (index % 23) as u8).collect()
    }

    #[test]
    fn a_log_without_output_is_empty() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(all(home.path(), 0), (Vec::new(), 0));
    }

    #[test]
    fn output_that_comes_after_the_reader_is_read() {
        let home = tempfile::tempdir().unwrap();
        let mut reader = LogReader::open(Arc::new(directory(home.path())), 0).unwrap();
        assert!(reader.read().unwrap().is_empty());
        let mut writer = LogWriter::new(directory(home.path()), 1 << 20);
        writer.append(OutputKind::Stdout, b"one");
        assert_eq!(reader.read().unwrap().len(), 1);
        writer.append(OutputKind::Stderr, b"two");
        let events = reader.read().unwrap();
        let expected =
            OutputEvent::Output { offset: 3, stream: OutputKind::Stderr, bytes: "two".into() };
        assert_eq!(events, [expected]);
        assert!(reader.read().unwrap().is_empty());
    }

    #[test]
    fn a_torn_frame_gives_what_is_there_and_then_the_rest() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("output.0000000000000000");
        let header = Header { kind: FrameKind::Output(OutputKind::Stdout), length: 6 }.encode();
        std::fs::write(&file, [&header[..], b"abc"].concat()).unwrap();
        let mut reader = LogReader::open(Arc::new(directory(home.path())), 0).unwrap();
        assert_eq!(reader.read().unwrap().len(), 1);
        assert!(reader.read().unwrap().is_empty());
        let next = Header { kind: FrameKind::Output(OutputKind::Stdout), length: 1 }.encode();
        std::fs::write(&file, [&header[..], b"abcdef", &next, b"g"].concat()).unwrap();
        let expected =
            OutputEvent::Output { offset: 3, stream: OutputKind::Stdout, bytes: "defg".into() };
        assert_eq!(reader.read().unwrap(), [expected]);
    }

    #[test]
    fn a_frame_that_was_cut_short_is_followed_by_the_next() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("output.0000000000000000");
        let header =
            |length| Header { kind: FrameKind::Output(OutputKind::Stdout), length }.encode();
        std::fs::write(&file, [&header(6)[..], b"abc"].concat()).unwrap();
        let mut reader = LogReader::open(Arc::new(directory(home.path())), 0).unwrap();
        assert_eq!(reader.read().unwrap().len(), 1);
        std::fs::write(&file, [&header(3)[..], b"abc", &header(1), b"d"].concat()).unwrap();
        let expected =
            OutputEvent::Output { offset: 3, stream: OutputKind::Stdout, bytes: "d".into() };
        assert_eq!(reader.read().unwrap(), [expected]);
    }

    #[test]
    fn a_damaged_log_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("output.0000000000000000"), [9; 32]).unwrap();
        let error =
            LogReader::open(Arc::new(directory(home.path())), 0).unwrap().read().unwrap_err();
        assert_eq!(error.code, ErrorCode::Io);
    }

    /// What a command that is shut in may put there for whoever reads its log from outside.
    fn planted(plant: impl FnOnce(&std::path::Path)) -> Vec<ErrorCode> {
        let home = tempfile::tempdir().unwrap();
        plant(home.path());
        let directory = Arc::new(directory(home.path()));
        let read = LogReader::open(Arc::clone(&directory), 0).and_then(|mut reader| {
            while !reader.read()?.is_empty() {}
            Ok(())
        });
        let end = LogReader::end_of(&directory).map(drop);
        [read, end].into_iter().filter_map(|done| done.err().map(|error| error.code)).collect()
    }

    #[test]
    fn a_planted_log_is_read_in_bounded_time() {
        let both = [ErrorCode::Io, ErrorCode::Io];
        let first = "output.0000000000000000";
        let frame =
            |length| Header { kind: FrameKind::Output(OutputKind::Stdout), length }.encode();
        let sparse = |path: &std::path::Path, length| {
            std::fs::write(path.join(first), frame(length)).unwrap();
            let file = File::options().write(true).open(path.join(first)).unwrap();
            file.set_len(8 << 40).unwrap();
        };
        assert_eq!(planted(|path| sparse(path, u32::MAX)), both, "one frame of gigabytes");
        assert_eq!(planted(|path| sparse(path, 1)), both, "holes where frames should be");
        let fifo = |path: &std::path::Path| {
            let kind = rustix::fs::FileType::Fifo;
            let mode = rustix::fs::Mode::RWXU;
            rustix::fs::mknodat(rustix::fs::CWD, path.join(first), kind, mode, 0).unwrap();
        };
        assert_eq!(planted(fifo), both, "nobody writes into it");
        let link = |path: &std::path::Path| {
            std::os::unix::fs::symlink("/dev/zero", path.join(first)).unwrap();
        };
        assert_eq!(planted(link), both);
        let many = |path: &std::path::Path| {
            let one = path.join("one");
            std::fs::write(&one, "").unwrap();
            for number in 0..=MOST_NAMES as u64 {
                if std::fs::hard_link(&one, path.join(segment_name(2 * number + 1))).is_err() {
                    std::fs::write(path.join(segment_name(2 * number + 1)), "").unwrap();
                }
            }
        };
        assert_eq!(planted(many), both, "more names than can be");
    }

    #[test]
    fn over_the_cap_the_beginning_and_the_end_survive() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::new(directory(home.path()), 64 << 10);
        let written = pattern(1 << 20);
        for chunk in written.chunks(1000) {
            writer.append(OutputKind::Stdout, chunk);
        }
        let (joined, missing) = all(home.path(), 0);
        assert_eq!(joined.len(), written.len());
        let kept = written.len() as u64 - missing;
        assert!((40 << 10..=64 << 10).contains(&kept), "{kept} bytes kept");
        assert_eq!(joined[..8000], written[..8000]);
        assert_eq!(joined[written.len() - 40_000..], written[written.len() - 40_000..]);
        let on_disk: u64 =
            home.path().read_dir().unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= 64 << 10, "{on_disk} bytes on disk");
    }

    #[test]
    fn a_holder_keeps_what_it_has_not_read() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::new(directory(home.path()), 64 << 10);
        let mut written = 0;
        while writer.has_room(Some(0)) {
            writer.append(OutputKind::Stdout, &pattern(1000));
            written += 1000;
            assert!(written < 1 << 20, "the cap holds");
        }
        assert_eq!(all(home.path(), 0).1, 0, "nothing is lost");
        assert!(writer.has_room(Some(written)) && writer.has_room(None));
    }

    /// The writer makes segments while the reader looks for the next one: none is taken for dropped.
    #[test]
    fn a_reader_at_the_writers_heels_meets_no_gap() {
        use std::sync::atomic::{AtomicU64, Ordering};
        const ALL: u64 = 8 << 20;
        let home = tempfile::tempdir().unwrap();
        let held = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = LogWriter::new(directory(home.path()), 64 << 10);
                let chunk = vec![7; writer.chunk_limit()];
                while writer.end() < ALL {
                    if writer.has_room(Some(held.load(Ordering::Acquire))) {
                        let left = usize::try_from(ALL - writer.end()).unwrap();
                        writer.append(OutputKind::Stdout, &chunk[..left.min(chunk.len())]);
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
            let mut reader = LogReader::open(Arc::new(directory(home.path())), 0).unwrap();
            let mut gaps = Vec::new();
            while reader.offset() < ALL {
                let events = reader.read().unwrap().into_iter();
                gaps.extend(events.filter(|event| matches!(event, OutputEvent::Gap { .. })));
                held.store(reader.offset(), Ordering::Release);
            }
            assert_eq!(gaps, []);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_offset_reads_on_without_loss_or_repetition(
            chunks in proptest::collection::vec((any::<bool>(), 0..3000usize), 1..60),
            cap in prop_oneof![Just(64u64 << 10), Just(1 << 20)],
            since in 0.0..1.0f64,
        ) {
            let home = tempfile::tempdir().unwrap();
            let mut writer = LogWriter::new(directory(home.path()), cap);
            let mut written = Vec::new();
            let mut live = LogReader::open(Arc::new(directory(home.path())), 0).unwrap();
            let mut followed = Vec::new();
            for (index, (err, length)) in chunks.iter().enumerate() {
                let bytes = pattern(*length + index)[index..].to_vec();
                let kind = if *err { OutputKind::Stderr } else { OutputKind::Stdout };
                writer.append(kind, &bytes);
                written.extend_from_slice(&bytes);
                // One reading ends with its segment.
                loop {
                    let events = live.read().unwrap();
                    if events.is_empty() {
                        break;
                    }
                    for event in events {
                        let OutputEvent::Output { offset, bytes, .. } = event else {
                            panic!("a reader that keeps up meets no gap: {event:?}");
                        };
                        prop_assert_eq!(offset, followed.len() as u64);
                        followed.extend_from_slice(bytes.as_bytes());
                    }
                }
            }
            prop_assert_eq!(&followed, &written);
            prop_assert_eq!(writer.end(), written.len() as u64);
            let since = (since * written.len() as f64) as usize;
            let (joined, _) = all(home.path(), since as u64);
            prop_assert_eq!(joined.len(), written.len() - since);
            for (got, want) in joined.iter().zip(&written[since..]) {
                prop_assert!(got == want || *got == b'_');
            }
        }

        #[test]
        fn a_slow_holder_loses_nothing_while_there_is_room(
            turns in proptest::collection::vec((any::<bool>(), 1..8192usize), 1..200),
        ) {
            let home = tempfile::tempdir().unwrap();
            let mut writer = LogWriter::new(directory(home.path()), 64 << 10);
            let mut held = LogReader::open(Arc::new(directory(home.path())), 0).unwrap();
            for (err, length) in turns {
                let kind = if err { OutputKind::Stderr } else { OutputKind::Stdout };
                while !writer.has_room(Some(held.offset())) {
                    let events = held.read().unwrap();
                    prop_assert!(!events.is_empty(), "whoever has read all leaves room");
                    let is_gap = |event: &OutputEvent| matches!(event, OutputEvent::Gap { .. });
                    prop_assert!(!events.iter().any(is_gap));
                }
                // Small ones, too, of which headers are the most.
                writer.append(kind, &pattern(length.min(writer.chunk_limit()) >> (length % 7)));
            }
        }
    }
}
