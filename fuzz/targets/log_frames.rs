//! A log that somebody damaged is read without a panic, without an end that never comes, and
//! without an offset that is skipped or given twice.
#![no_main]

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{Mode, OFlags};
use stigmer_core::process::OutputEvent;
use stigmer_host::supervisor::log::LogReader;
use stigmer_host::supervisor::log::frame::split_first;

#[derive(Arbitrary, Debug)]
struct Log {
    since: u16,
    segments: Vec<(u8, Vec<u8>)>,
}

thread_local! {
    static HOME: tempfile::TempDir = tempfile::tempdir().unwrap();
    static FILES: RefCell<Vec<std::path::PathBuf>> = const { RefCell::new(Vec::new()) };
}

fuzz_target!(|log: Log| {
    for (_, bytes) in &log.segments {
        let mut rest = bytes.as_slice();
        while let Ok(Some((frame, after))) = split_first(rest) {
            assert!(frame.payload.len() <= frame.header.length as usize);
            assert!(after.len() < rest.len());
            rest = after;
        }
    }
    FILES.with_borrow_mut(|files| {
        files.drain(..).for_each(|file| std::fs::remove_file(file).unwrap())
    });
    HOME.with(|home| {
        let mut most = 1;
        for (start, bytes) in log.segments.iter().take(4) {
            let file = home.path().join(format!("output.{start:016x}"));
            if !file.exists() {
                FILES.with_borrow_mut(|files| files.push(file.clone()));
            }
            std::fs::write(file, bytes).unwrap();
            most += bytes.len() + 2;
        }
        let directory: OwnedFd =
            rustix::fs::open(home.path(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
                .unwrap();
        let since = u64::from(log.since % 512);
        let mut reader = LogReader::open(Arc::new(directory), since).unwrap();
        let mut next: Option<u64> = None;
        for turn in 0.. {
            assert!(turn < most, "reading does not end");
            let Ok(events) = reader.read() else { break };
            if events.is_empty() {
                break;
            }
            for event in events {
                let (offset, length) = match event {
                    OutputEvent::Output { offset, bytes, .. } => (offset, bytes.len() as u64),
                    OutputEvent::Gap { offset, length, .. } => (offset, length),
                    OutputEvent::Exit(_) => panic!("a log knows no exit"),
                };
                assert!(length > 0 && offset >= since);
                assert!(next.is_none_or(|next| next == offset), "{next:?} then {offset}");
                next = Some(offset.checked_add(length).expect("an end"));
            }
        }
    });
});
