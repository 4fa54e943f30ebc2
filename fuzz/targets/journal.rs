//! Whatever is in a journal, its reader comes to the end, in order, and finds what is appended.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stigmer_core::event::EventKind;
use stigmer_host::journal::{Journal, JournalReader, event};

#[derive(Arbitrary, Debug)]
struct Input {
    /// A piece of a line, and whether a line ends behind it.
    pieces: Vec<(Piece, bool)>,
    since: u16,
}

#[derive(Arbitrary, Debug)]
enum Piece {
    Event(u64),
    Bytes(Vec<u8>),
}

thread_local! {
    static HOME: tempfile::TempDir = tempfile::tempdir().unwrap();
}

fuzz_target!(|input: Input| {
    HOME.with(|home| {
        let mut bytes = Vec::new();
        for (piece, ends) in &input.pieces {
            match piece {
                Piece::Event(at_ms) => {
                    let line = format!("{{\"at_ms\":{at_ms},\"event\":\"events_lost\"}}");
                    bytes.extend_from_slice(line.as_bytes());
                }
                Piece::Bytes(any) => bytes.extend_from_slice(any),
            }
            if *ends {
                bytes.push(b'\n');
            }
        }
        std::fs::write(home.path().join("events.0000000000000000"), &bytes).unwrap();
        let since = u64::from(input.since).min(bytes.len() as u64);
        let mut reader = JournalReader::open(home.path(), Some(since)).unwrap();
        let mut last = since;
        loop {
            let events = reader.read().unwrap();
            if events.is_empty() {
                break;
            }
            for event in events {
                assert!(event.next > last && event.next <= bytes.len() as u64);
                last = event.next;
            }
        }
        let kind = EventKind::FilesChanged { operation: "appended".into(), path: "f".into() };
        Journal::new(home.path()).append(&event("/w".into(), kind.clone())).unwrap();
        let events = reader.read().unwrap();
        let appended = events.iter().filter(|event| event.kind == kind).count();
        assert_eq!(appended, 1, "{events:?}");
    });
});
