//! An edit does what a plain model of it does, or leaves the file as it was.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stigmer_core::ToolExecutor;
use stigmer_core::file::{Edit, EditFile};
use stigmer_host::{HostExecutor, HostOptions, ProcessOptions};

#[derive(Arbitrary, Debug)]
struct Input {
    content: Vec<u8>,
    edits: Vec<(Vec<u8>, Vec<u8>, bool)>,
}

struct Place {
    home: tempfile::TempDir,
    executor: HostExecutor,
    runtime: tokio::runtime::Runtime,
}

thread_local! {
    static PLACE: Place = {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let state = home.path().join("state");
        let processes = ProcessOptions::default();
        let executor =
            HostExecutor::open(HostOptions { root, state, resolver: None, processes }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Place { home, executor, runtime }
    };
}

/// Where `old` lies in `content`, places that overlap included.
fn places(content: &[u8], old: &[u8]) -> Vec<usize> {
    content.windows(old.len()).enumerate().filter(|(_, it)| *it == old).map(|(at, _)| at).collect()
}

/// What the file is to become; nothing if the edits cannot be applied.
fn model(content: &[u8], edits: &[(Vec<u8>, Vec<u8>, bool)]) -> Option<(Vec<u8>, Vec<u64>)> {
    let mut content = content.to_vec();
    let mut counts = Vec::new();
    if edits.is_empty() || edits.iter().any(|(old, new, _)| old.is_empty() || old == new) {
        return None;
    }
    for (old, new, all) in edits {
        let places = places(&content, old);
        if places.is_empty() || (places.len() > 1 && !all) {
            return None;
        }
        let (mut next, mut count, mut after) = (Vec::new(), 0, 0);
        for at in places {
            if at >= after {
                next.extend_from_slice(&content[after..at]);
                next.extend_from_slice(new);
                after = at + old.len();
                count += 1;
            }
        }
        next.extend_from_slice(&content[after..]);
        content = next;
        counts.push(count);
    }
    Some((content, counts))
}

fuzz_target!(|input: Input| {
    if input.edits.len() > 8 {
        return;
    }
    PLACE.with(|place| {
        let file = place.home.path().join("root/f");
        std::fs::write(&file, &input.content).unwrap();
        let edit = |(old, new, all): &(Vec<u8>, Vec<u8>, bool)| Edit {
            old: old.clone().into(),
            new: new.clone().into(),
            replace_all: *all,
        };
        let edits = input.edits.iter().map(edit).collect();
        let request = EditFile { path: "f".into(), edits, expected_sha256: None };
        let result = place.runtime.block_on(place.executor.edit_file(request));
        let now = std::fs::read(&file).unwrap();
        match model(&input.content, &input.edits) {
            Some((wanted, counts)) => {
                assert_eq!(result.unwrap().occurrences, counts);
                assert_eq!(now, wanted);
            }
            None => {
                assert!(result.is_err());
                assert_eq!(now, input.content);
            }
        }
    });
});
