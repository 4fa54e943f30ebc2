//! The journal under many writers, kills and limits; and what supervisors tell it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Resource, Rlimit};
use stigmer_core::ToolExecutor;
use stigmer_core::event::{Event, EventKind};
use stigmer_core::process::{Execute, StartProcess};
use stigmer_host::journal::{Journal, JournalReader, event, follow};
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};

/// Where a child of this test works; set only for children.
const PLACE: &str = "STIGMER_TEST_PLACE";

/// Writers at once, and how often all of them are killed.
const WRITERS: usize = 3;
const KILLS: usize = 15;
/// Events that a writer appends before it waits to be killed, and the bytes of each: at most as
/// much in all as is kept, at the least enough to fill a segment.
const EACH: usize = 450;
const SIZE: usize = 2500;

fn main() {
    if let Some(place) = std::env::var_os(PLACE) {
        let arguments: Vec<String> = std::env::args().collect();
        match arguments[1].as_str() {
            "child_that_writes" => child_that_writes(Path::new(&place), &arguments[2]),
            "child_with_a_small_limit" => child_with_a_small_limit(Path::new(&place)),
            other => panic!("no child is called {other}"),
        }
        return;
    }
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    let trial = |name, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("kills_lose_nothing_that_was_appended", kills_lose_nothing_that_was_appended),
        trial("a_limit_of_file_sizes_ends_no_program", a_limit_of_file_sizes_ends_no_program),
        Trial::test("supervisors_tell_of_commands_and_nothing_of_their_content", move || {
            supervisors_tell_of_commands(&launcher);
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn child(test: &str, place: &Path, name: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, name]).env(PLACE, place).stdout(Stdio::piped()).stdin(Stdio::piped());
    command.spawn().unwrap()
}

fn changed(path: &str) -> Event {
    let kind = EventKind::FilesChanged { operation: "write_file".into(), path: path.into() };
    event("/w".into(), kind)
}

/// Says one byte for each event that is in the journal, and waits for its end.
fn child_that_writes(place: &Path, name: &str) {
    let journal = Journal::new(place);
    for round in 0..EACH {
        journal.append(&changed(&format!("{name}/{round}/{}", "x".repeat(SIZE)))).unwrap();
        std::io::stdout().write_all(b".").unwrap();
        std::io::stdout().flush().unwrap();
    }
    let _ = std::io::stdin().read(&mut [0]);
}

/// Reads all that comes until told that no more will, beginning anew at its offset now and then.
fn collect(place: &Path, over: &AtomicBool) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    let mut reader = JournalReader::open(place, Some(0)).unwrap();
    loop {
        let last = over.load(Ordering::SeqCst);
        let events = reader.read().unwrap();
        if events.is_empty() {
            if last {
                return all;
            }
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        all.extend(events);
        if all.len().is_multiple_of(7) {
            // From the event itself, as a client goes on that knows nothing else.
            reader = JournalReader::open(place, Some(all.last().unwrap().next)).unwrap();
        }
    }
}

fn kills_lose_nothing_that_was_appended() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("journal");
    let over = AtomicBool::new(false);
    let (appended, followed) = std::thread::scope(|scope| {
        let follower = scope.spawn(|| collect(&place, &over));
        let mut appended = BTreeMap::new();
        for kill in 0..KILLS {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let name = format!("{kill}.{writer}");
                    (child("child_that_writes", &place, &name), name)
                })
                .collect();
            for (index, (mut writer, name)) in writers.into_iter().enumerate() {
                // Somewhere in the middle, elsewhere each time.
                let until = EACH / 2 + (kill * 7919 + index * 104_729) % (EACH / 2);
                let mut output = writer.stdout.take().unwrap();
                output.read_exact(&mut vec![0; until]).unwrap();
                writer.kill().unwrap();
                assert_eq!(writer.wait().unwrap().signal(), Some(9), "it ended by itself");
                let mut rest = Vec::new();
                output.read_to_end(&mut rest).unwrap();
                appended.insert(name, until + rest.len());
            }
        }
        over.store(true, Ordering::SeqCst);
        (appended, follower.join().unwrap())
    });
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for event in &followed {
        let EventKind::FilesChanged { path, .. } = &event.kind else { panic!("{event:?}") };
        let text = path.to_string_lossy().into_owned();
        let mut parts = text.split('/');
        let (name, round) = (parts.next().unwrap(), parts.next().unwrap());
        assert_eq!(parts.next().unwrap().len(), SIZE);
        seen.entry(name.to_owned()).or_default().push(round.parse().unwrap());
    }
    for (name, count) in &appended {
        let rounds = &seen[name];
        assert!(rounds.iter().copied().eq(0..rounds.len()), "{name}: {rounds:?}");
        // One may have been killed between appending and saying so.
        assert!((*count..=count + 1).contains(&rounds.len()), "{name}: {count} {}", rounds.len());
    }
    let segments = std::fs::read_dir(&place).unwrap().count();
    assert!(segments > 1, "nothing was rotated");
    let mut reader = JournalReader::open(&place, Some(0)).unwrap();
    let mut again = Vec::new();
    loop {
        let events = reader.read().unwrap();
        if events.is_empty() {
            break;
        }
        again.extend(events);
    }
    assert!(again == followed, "who followed saw {} of {}", followed.len(), again.len());
}

/// Ends by itself, and not by SIGXFSZ.
fn child_with_a_small_limit(place: &Path) {
    let limit = Rlimit { current: Some(256 << 10), maximum: Some(256 << 10) };
    rustix::process::setrlimit(Resource::Fsize, limit).unwrap();
    let journal = Journal::new(place);
    let mut appended = 0;
    while journal.append(&changed(&"x".repeat(SIZE))).is_ok() {
        appended += 1;
        assert!(appended < 1000, "no limit holds");
    }
    assert!(appended > 10);
}

fn a_limit_of_file_sizes_ends_no_program() {
    let home = tempfile::tempdir().unwrap();
    let ended = child("child_with_a_small_limit", home.path(), "").wait().unwrap();
    assert!(ended.success(), "{ended:?}");
    // Who has no such limit goes on.
    Journal::new(home.path()).append(&changed("after")).unwrap();
}

fn supervisors_tell_of_commands(launcher: &Arc<Launcher>) {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let home = tempfile::tempdir().unwrap();
    let (root, state) = (home.path().join("w"), home.path().join("state"));
    std::fs::create_dir(&root).unwrap();
    let processes =
        ProcessOptions { launcher: Some(Arc::clone(launcher)), ..ProcessOptions::default() };
    let executor =
        HostExecutor::open(HostOptions { processes, ..HostOptions::new(&root, &state) }).unwrap();
    let place = stigmer_host::journal::directory(&state);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut events = Box::pin(follow(JournalReader::open(&place, None).unwrap(), true));
        let mut start = StartProcess::shell("echo $HIDDEN_VARIABLE hidden words; exit 3");
        start.variables.insert("HIDDEN_VARIABLE".into(), "hidden".into());
        start.traceparent = Some(TRACE.to_owned());
        let done = executor.execute(Execute::new(start)).await.unwrap();
        assert_eq!(done.exit.code, 3);
        let mut next = async || {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
            event.expect("no event").unwrap().unwrap()
        };
        let (first, second) = (next().await, next().await);
        assert_eq!(first.workspace, root.as_path().into());
        assert!(
            matches!(&first.kind, EventKind::ProcessStarted { id, detached: false, traceparent, .. }
                if *id == done.id && traceparent.as_deref() == Some(TRACE)),
            "{first:?}"
        );
        assert!(
            matches!(&second.kind, EventKind::ProcessEnded { id, exit, traceparent }
                if *id == done.id && *exit == done.exit && traceparent.as_deref() == Some(TRACE)),
            "{second:?}"
        );
        assert!(second.next > first.next && second.at_ms >= first.at_ms);
    });
    for segment in std::fs::read_dir(&place).unwrap() {
        let text = std::fs::read_to_string(segment.unwrap().path()).unwrap();
        assert!(
            text.contains("process_ended") && !text.to_lowercase().contains("hidden"),
            "{text}"
        );
    }
}
