use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use proptest::prelude::*;
use stigmer_core::ErrorCode;
use stigmer_core::event::{Event, EventKind};

use super::segment::{self, Segment};
use super::*;

/// Small, so that a few events fill a segment.
const LIMIT: u64 = 1000;

fn changed(path: &str) -> Event {
    let kind = EventKind::FilesChanged { operation: "write_file".into(), path: path.into() };
    event("/w".into(), kind)
}

fn name(event: &Event) -> String {
    match &event.kind {
        EventKind::FilesChanged { path, .. } => path.to_string_lossy().into_owned(),
        EventKind::EventsLost => "lost".into(),
        other => panic!("{other:?}"),
    }
}

fn all(directory: &Path, since: Option<u64>) -> Vec<Event> {
    let mut reader = JournalReader::with_limit(directory, since, LIMIT).unwrap();
    let mut all = Vec::new();
    loop {
        let events = reader.read().unwrap();
        if events.is_empty() {
            assert!(all.last().is_none_or(|last: &Event| last.next <= reader.offset()));
            return all;
        }
        all.extend(events);
    }
}

#[test]
fn a_journal_that_is_not_there_is_empty() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(all(&home.path().join("journal"), None), []);
    assert_eq!(all(&home.path().join("journal"), Some(0)), []);
    let past = JournalReader::open(home.path().join("journal"), Some(1)).unwrap_err();
    assert_eq!(past.code, ErrorCode::InvalidArgument);
}

#[test]
fn events_read_back_and_go_on_from_each_offset_over_segments() {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::with_limit(home.path().join("journal"), LIMIT);
    for round in 0..20 {
        journal.append(&changed(&format!("{round}"))).unwrap();
    }
    let directory = journal.directory();
    let names = |events: &[Event]| events.iter().map(name).collect::<Vec<_>>();
    let whole = all(directory, Some(0));
    assert_eq!(names(&whole), (0..20).map(|round| round.to_string()).collect::<Vec<_>>());
    assert!(segment::list(directory).unwrap().len() > 1, "one segment shows nothing");
    for (index, event) in whole.iter().enumerate() {
        assert_eq!(all(directory, Some(event.next)), whole[index + 1..], "from {}", event.next);
    }
    assert_eq!(all(directory, None), []);
}

#[test]
fn directory_and_segments_are_the_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::new(home.path().join("journal"));
    journal.append(&changed("f")).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(journal.directory()), 0o700);
    assert_eq!(mode(&segment::path(journal.directory(), 0)), 0o600);
}

#[test]
fn the_oldest_segments_go_and_whoever_needs_them_is_told() {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::with_limit(home.path().join("journal"), LIMIT);
    let mut slow = JournalReader::with_limit(journal.directory(), Some(0), LIMIT).unwrap();
    journal.append(&changed("first")).unwrap();
    assert_eq!(name(&slow.read().unwrap()[0]), "first");
    for round in 0..200 {
        journal.append(&changed(&format!("{round}"))).unwrap();
    }
    let kept = segment::list(journal.directory()).unwrap();
    assert_eq!(kept.len(), KEPT_SEGMENTS);
    let events = all(journal.directory(), Some(0));
    assert_eq!((name(&events[0]).as_str(), events[0].next), ("lost", kept[0]));
    assert_eq!(name(events.last().unwrap()), "199");
    assert_eq!(events.iter().filter(|event| name(event) == "lost").count(), 1);
    // One that had a removed segment open reads it to its end and is told then.
    let mut followed = Vec::new();
    loop {
        let events = slow.read().unwrap();
        if events.is_empty() {
            break;
        }
        followed.extend(events.iter().map(name));
    }
    assert_eq!(followed[0], "0");
    assert_eq!(followed.iter().filter(|name| *name == "lost").count(), 1);
    assert_eq!(followed.last().unwrap(), "199");
}

#[test]
fn a_record_that_was_cut_short_spoils_no_other() {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::with_limit(home.path().join("journal"), LIMIT);
    journal.append(&changed("before")).unwrap();
    let cut = |bytes: &[u8]| {
        let base = segment::list(journal.directory()).unwrap().pop().unwrap();
        let mut file = Segment::open_to_append(journal.directory(), base).unwrap().unwrap().file;
        file.write_all(bytes).unwrap();
    };
    cut(b"\n{\"at_ms\":1,\"eve");
    let mut reader = JournalReader::with_limit(journal.directory(), Some(0), LIMIT).unwrap();
    assert_eq!(name(&reader.read().unwrap()[0]), "before");
    assert_eq!(reader.read().unwrap(), []);
    journal.append(&changed("after")).unwrap();
    assert_eq!(name(&reader.read().unwrap()[0]), "after");
    // One that is cut short where the segment is full.
    let mut long = b"\n{\"at_ms\":1,\"".to_vec();
    long.resize(LIMIT as usize, b'x');
    cut(&long);
    journal.append(&changed("in the next")).unwrap();
    assert_eq!(name(&reader.read().unwrap()[0]), "in the next");
    assert_eq!(reader.read().unwrap(), []);
    assert_eq!(segment::list(journal.directory()).unwrap().len(), 2);
}

#[test]
fn what_is_no_event_is_passed_over_however_long() {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::new(home.path());
    std::fs::write(segment::path(home.path(), 0), vec![b'x'; 3 * MAX_RECORD]).unwrap();
    journal.append(&changed("after")).unwrap();
    let mut file = Segment::open_to_append(home.path(), 0).unwrap().unwrap().file;
    file.write_all(b"\n{\"at_ms\":1,\"event\":\"of_the_future\"}\n\n\n[]\n").unwrap();
    journal.append(&changed("last")).unwrap();
    let events = follow(JournalReader::open(home.path(), Some(0)).unwrap(), false);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let events: Vec<_> = runtime.block_on(events.collect());
    let names: Vec<_> = events.iter().map(|event| name(event.as_ref().unwrap())).collect();
    assert_eq!(names, ["after", "last"]);
}

#[test]
fn a_journal_that_is_cleared_away_under_a_follower_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::new(home.path().join("journal"));
    journal.append(&changed("old")).unwrap();
    let mut reader = JournalReader::open(journal.directory(), None).unwrap();
    assert_eq!(reader.read().unwrap(), []);
    journal.append(&changed("read")).unwrap();
    assert_eq!(name(&reader.read().unwrap()[0]), "read");
    std::fs::remove_dir_all(journal.directory()).unwrap();
    assert_eq!(reader.read().unwrap(), []);
    journal.append(&changed("new")).unwrap();
    assert_eq!(name(&reader.read().unwrap()[0]), "lost");
    assert_eq!(name(&reader.read().unwrap()[0]), "new");
}

#[test]
fn an_event_that_is_too_long_is_refused_and_nothing_is_written() {
    let home = tempfile::tempdir().unwrap();
    let journal = Journal::new(home.path());
    assert!(journal.append(&changed(&"x".repeat(MAX_RECORD))).is_err());
    assert_eq!(segment::list(home.path()).unwrap(), Vec::<u64>::new());
}

#[test]
fn two_paths_of_the_longest_kind_fit_a_record() {
    let home = tempfile::tempdir().unwrap();
    let worst = "\u{1}".repeat(stigmer_core::limits::MAX_PATH_BYTES);
    let event = Event { workspace: worst.as_str().into(), ..changed(&worst) };
    Journal::new(home.path()).append(&event).unwrap();
}

#[test]
fn writers_at_once_lose_nothing_and_followers_meet_each_event_once() {
    const WRITERS: usize = 4;
    const EACH: usize = 300;
    let home = tempfile::tempdir().unwrap();
    // Some thirty events a segment: with all kept, the readers keep up by construction.
    let limit = 4000;
    let directory = Arc::new(home.path().join("journal"));
    let mut reader = JournalReader::with_limit(directory.as_path(), Some(0), limit).unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let directory = Arc::clone(&directory);
            std::thread::spawn(move || {
                // As many journals as threads, as if they were processes.
                let journal = Journal::with_limit(directory.as_path(), limit);
                for round in 0..EACH {
                    journal.append(&changed(&format!("{writer}/{round}"))).unwrap();
                }
            })
        })
        .collect();
    let mut seen: Vec<String> = Vec::new();
    let mut lost = 0;
    loop {
        let over = writers.iter().all(|writer| writer.is_finished());
        let events = reader.read().unwrap();
        if over && events.is_empty() {
            break;
        }
        for event in events {
            match name(&event).as_str() {
                "lost" => lost += 1,
                name => seen.push(name.to_owned()),
            }
        }
    }
    for writer in writers {
        writer.join().unwrap();
    }
    for writer in 0..WRITERS {
        let prefix = format!("{writer}/");
        let rounds: Vec<usize> =
            seen.iter().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect();
        assert!(rounds.is_sorted(), "out of order, or twice: {rounds:?}");
        let mut once = rounds.clone();
        once.dedup();
        assert_eq!(once, rounds, "told twice");
        assert!(lost > 0 || rounds.len() == EACH, "{} of {EACH} of writer {writer}", rounds.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn lengths_that_meet_the_limit_in_any_way_read_back(
        lengths in proptest::collection::vec(0..400usize, 1..40)
    ) {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::with_limit(home.path(), LIMIT);
        let mut reader = JournalReader::with_limit(home.path(), Some(0), LIMIT).unwrap();
        for (round, length) in lengths.iter().enumerate() {
            let path = format!("{round}{}", "x".repeat(*length));
            journal.append(&changed(&path)).unwrap();
            let events = reader.read().unwrap();
            prop_assert_eq!(events.iter().map(name).collect::<Vec<_>>(), [path]);
        }
    }

    #[test]
    fn any_bytes_are_read_or_passed_over(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(segment::path(home.path(), 0), &bytes).unwrap();
        let read = all(home.path(), Some(0));
        prop_assert!(read.is_empty());
        Journal::with_limit(home.path(), LIMIT).append(&changed("after")).unwrap();
        let names: Vec<_> = all(home.path(), Some(0)).iter().map(name).collect();
        prop_assert_eq!(names, ["after"]);
    }
}
