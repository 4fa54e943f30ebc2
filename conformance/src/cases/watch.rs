//! Watching files change.

use std::time::Duration;

use futures_util::StreamExt;
use stigmer_core::transfer::{Change, ChangeKind, Watch};
use stigmer_core::{ChangeStream, ErrorCode};

use crate::Fixture;
use crate::check::refused;
use crate::harness::cases;

cases! {
    #[needs(Watch)]
    changes_are_reported_as_they_happen,
    #[needs(Watch)]
    new_directories_are_watched_at_once,
    #[needs(Watch)]
    a_rename_is_a_removal_and_a_creation,
    #[needs(Watch)]
    a_moved_directory_is_watched_under_its_new_name,
    #[needs(Watch)]
    only_the_named_directories_are_watched,
    #[needs(Watch)]
    ignore_rules_hold_if_asked_for,
    #[needs(Watch)]
    links_are_not_followed,
    #[needs(Watch)]
    our_own_operations_are_changes,
    #[needs(Watch)]
    every_one_of_many_changes_is_told,
    #[needs(Watch)]
    a_dropped_watch_does_no_harm,
    #[needs(Watch)]
    bad_directories_are_refused,
}

/// How long a change may take to be told; nothing waits for it unless it is missing.
const PATIENCE: Duration = Duration::from_secs(15);

struct Watching {
    stream: ChangeStream,
    seen: Vec<(String, ChangeKind)>,
}

impl Watching {
    async fn begin(place: &Fixture, directories: &[&str], ignore_rules: bool) -> Self {
        let directories = directories.iter().map(|path| (*path).into()).collect();
        let stream = place.executor.watch(Watch { directories, ignore_rules }).await.unwrap();
        Self { stream, seen: Vec::new() }
    }

    /// Waits until a change has been told since the last such wait.
    async fn expect(&mut self, path: &str, kind: ChangeKind) {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.iter().position(|one| one.0 == path && one.1 == kind) {
                self.seen.remove(at);
                return;
            }
            let next = tokio::time::timeout_at(until, self.stream.next()).await;
            let Ok(next) = next else { panic!("no {kind:?} of {path}; seen {:?}", self.seen) };
            let Change { path, kind } = next.expect("the watch ended").unwrap();
            assert_ne!(kind, ChangeKind::Rescan, "few changes are not lost");
            self.seen.push((path.to_string_lossy().into_owned(), kind));
        }
    }

    /// Nothing was told of paths with this text, now that a later change has been told.
    fn never(&self, text: &str) {
        let told: Vec<_> = self.seen.iter().filter(|one| one.0.contains(text)).collect();
        assert!(told.is_empty(), "{told:?}");
    }
}

use ChangeKind::{Created, Modified, Removed};

async fn changes_are_reported_as_they_happen(place: Fixture) {
    place.seed("d/old", "1").await;
    let mut watching = Watching::begin(&place, &[], false).await;
    place.sh("echo > new").await;
    watching.expect("new", Created).await;
    place.sh("echo 2 >> d/old").await;
    watching.expect("d/old", Modified).await;
    place.sh("chmod 600 d/old").await;
    watching.expect("d/old", Modified).await;
    place.sh("rm d/old").await;
    watching.expect("d/old", Removed).await;
    place.sh("rmdir d; ln -s new link").await;
    watching.expect("d", Removed).await;
    watching.expect("link", Created).await;
    place.sh("printf x > \"$(printf 'a\\nb λ')\"").await;
    watching.expect("a\nb λ", Created).await;
}

async fn new_directories_are_watched_at_once(place: Fixture) {
    let mut watching = Watching::begin(&place, &[], false).await;
    for round in 0..20 {
        // Made and filled faster than anybody could begin to watch.
        place.sh(format!("mkdir -p n{round}/a/b; echo > n{round}/a/b/f; echo > n{round}/g")).await;
        for path in ["", "/a", "/a/b", "/a/b/f", "/g"] {
            watching.expect(&format!("n{round}{path}"), Created).await;
        }
    }
    place.sh("echo 1 >> n0/a/b/f; rm -r n1").await;
    watching.expect("n0/a/b/f", Modified).await;
    watching.expect("n1/a/b/f", Removed).await;
    watching.expect("n1", Removed).await;
}

async fn a_rename_is_a_removal_and_a_creation(place: Fixture) {
    place.seed("a", "1").await;
    place.seed("b", "2").await;
    let mut watching = Watching::begin(&place, &[], false).await;
    place.sh("mv a c").await;
    watching.expect("a", Removed).await;
    watching.expect("c", Created).await;
    // Over what was there.
    place.sh("mv c b").await;
    watching.expect("c", Removed).await;
    watching.expect("b", Created).await;
}

async fn a_moved_directory_is_watched_under_its_new_name(place: Fixture) {
    place.seed("a/b/f", "1").await;
    let mut watching = Watching::begin(&place, &[], false).await;
    place.sh("mv a z").await;
    watching.expect("a", Removed).await;
    watching.expect("z", Created).await;
    place.sh("echo 2 > z/b/g; echo 3 >> z/b/f").await;
    watching.expect("z/b/g", Created).await;
    watching.expect("z/b/f", Modified).await;
    // One that leaves the workspace is none of ours any more.
    place.sh("mv z ../gone-$$; echo 4 > ../gone-$$/b/h; rm -r ../gone-$$; echo > end").await;
    watching.expect("z", Removed).await;
    watching.expect("end", Created).await;
    watching.never("b/h");
}

async fn only_the_named_directories_are_watched(place: Fixture) {
    for path in ["one/sub/f", "two/f", "three/f"] {
        place.seed(path, "1").await;
    }
    let mut watching = Watching::begin(&place, &["one", "./two"], false).await;
    place.sh("echo > three/g; echo > h; echo > one/sub/g; echo > two/g").await;
    watching.expect("one/sub/g", Created).await;
    watching.expect("two/g", Created).await;
    watching.never("three");
    watching.never("h");
}

async fn ignore_rules_hold_if_asked_for(place: Fixture) {
    place.sh("mkdir .git target src").await;
    place.seed(".gitignore", "*.log\n/target/\n").await;
    let mut all = Watching::begin(&place, &[], false).await;
    let mut some = Watching::begin(&place, &[], true).await;
    place
        .sh("echo > a.log; echo > target/x; echo > .git/index; echo > .hidden; echo > src/f")
        .await;
    for path in ["a.log", "target/x", ".git/index", ".hidden", "src/f"] {
        all.expect(path, Created).await;
    }
    some.expect("src/f", Created).await;
    for text in ["log", "target", ".git", "hidden"] {
        some.never(text);
    }
}

async fn links_are_not_followed(place: Fixture) {
    place.seed("d/f", "1").await;
    place.sh("ln -s d link; ln -s . d/loop; ln -s /tmp out").await;
    let mut watching = Watching::begin(&place, &[], false).await;
    place.sh("echo > d/g; echo > /tmp/watched-$$; rm /tmp/watched-$$; echo > end").await;
    watching.expect("d/g", Created).await;
    watching.expect("end", Created).await;
    for text in ["link", "loop", "out", "watched"] {
        watching.never(text);
    }
}

async fn our_own_operations_are_changes(place: Fixture) {
    use stigmer_core::file::{DeleteFile, MakeDirectory, MovePath, WriteFile};
    let mut watching = Watching::begin(&place, &[], false).await;
    let executor = &place.executor;
    let path = || "f".into();
    let request = WriteFile { path: path(), content: "1".into(), ..WriteFile::default() };
    executor.write_file(request).await.unwrap();
    watching.expect("f", Created).await;
    executor.make_directory(MakeDirectory { path: "d".into(), parents: false }).await.unwrap();
    watching.expect("d", Created).await;
    let request = MovePath { from: path(), to: "d/g".into(), replace: false };
    executor.move_path(request).await.unwrap();
    watching.expect("f", Removed).await;
    watching.expect("d/g", Created).await;
    executor.delete_file(DeleteFile { path: "d".into(), recursive: true }).await.unwrap();
    watching.expect("d/g", Removed).await;
}

async fn every_one_of_many_changes_is_told(place: Fixture) {
    place.seed_directory("d").await;
    let mut watching = Watching::begin(&place, &[], false).await;
    place.sh("cd d; seq 1000 | xargs touch").await;
    for number in 1..=1000 {
        watching.expect(&format!("d/{number}"), Created).await;
    }
}

async fn a_dropped_watch_does_no_harm(place: Fixture) {
    for _ in 0..200 {
        // The kernel allows a user a hundred watches or so; a dropped one may take a moment to go.
        for patience in (0..500).rev() {
            match place.executor.watch(Watch::default()).await {
                Ok(watch) => {
                    drop(watch);
                    break;
                }
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::OutOfResources, "{error:?}");
                    assert!(patience > 0, "watches that were dropped are still there: {error:?}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }
    let mut watching = Watching::begin(&place, &[], false).await;
    place.sh("echo > f").await;
    watching.expect("f", Created).await;
}

async fn bad_directories_are_refused(place: Fixture) {
    place.seed("f", "").await;
    place.seed_link("/", "out").await;
    for (path, code) in [
        ("none", ErrorCode::NotFound),
        ("f", ErrorCode::NotADirectory),
        ("..", ErrorCode::OutsideWorkspace),
        ("out", ErrorCode::OutsideWorkspace),
    ] {
        let request = Watch { directories: vec![path.into()], ignore_rules: false };
        refused(place.executor.watch(request).await.map(|_| ()), code, &[path]);
    }
}
