//! Editing by replacing text.

use stigmer_core::file::{Edit, EditFile};
use stigmer_core::{ErrorCode, limits};

use crate::Fixture;
use crate::check::{refused, refused_with_hint, sha256};
use crate::harness::cases;

cases! {
    one_place_is_replaced_and_told,
    edits_build_on_each_other,
    edits_are_all_or_none,
    random_edits_are_what_strings_say,
    a_text_that_does_not_occur_is_answered_with_the_nearest,
    a_text_that_occurs_often_is_answered_with_its_lines,
    requests_that_mean_nothing_are_refused,
    line_ends_and_bytes_are_left_as_they_are,
    the_diff_can_be_applied,
    the_mode_and_the_link_stay,
    a_file_that_somebody_changed_is_not_edited,
    what_is_no_file_is_not_edited,
    edits_at_once_do_not_lose_each_other,
    a_result_over_the_limit_is_not_written,
}

fn edit(old: &str, new: &str) -> Edit {
    Edit { old: old.into(), new: new.into(), replace_all: false }
}

fn all(old: &str, new: &str) -> Edit {
    Edit { replace_all: true, ..edit(old, new) }
}

fn request(edits: impl IntoIterator<Item = Edit>) -> EditFile {
    EditFile { path: "f".into(), edits: edits.into_iter().collect(), expected_sha256: None }
}

async fn one_place_is_replaced_and_told(place: Fixture) {
    place.seed("f", "one\ntwo\nthree\n").await;
    let done = place.executor.edit_file(request([edit("two", "2\n2b")])).await.unwrap();
    assert_eq!(place.bytes("f").await, b"one\n2\n2b\nthree\n");
    assert_eq!((done.occurrences, done.lines_added, done.lines_removed), (vec![1], 2, 1));
    assert_eq!(done.sha256, sha256("one\n2\n2b\nthree\n"));
    for line in ["-two\n", "+2\n", "+2b\n", " one\n", "@@ -1,3 +1,4 @@"] {
        assert!(done.diff.contains(line), "{line:?} is not in {}", done.diff);
    }
    let done = place.executor.edit_file(request([edit("2\n2b\n", "")])).await.unwrap();
    assert_eq!((done.lines_added, done.lines_removed), (0, 2));
    assert_eq!(place.bytes("f").await, b"one\nthree\n");
}

async fn edits_build_on_each_other(place: Fixture) {
    place.seed("f", "a b a").await;
    let edits = [all("a", "x"), edit("x b", "y"), edit("y x", "done")];
    let done = place.executor.edit_file(request(edits)).await.unwrap();
    assert_eq!(done.occurrences, [2, 1, 1]);
    assert_eq!(place.bytes("f").await, b"done");
}

async fn edits_are_all_or_none(place: Fixture) {
    let text = "one\ntwo\none\n";
    place.seed("f", text).await;
    for (bad, code) in [
        (edit("three", "3"), ErrorCode::TextNotFound),
        (edit("one", "1"), ErrorCode::TextNotUnique),
        (edit("", "1"), ErrorCode::EmptyOldString),
        (edit("one", "one"), ErrorCode::IdenticalStrings),
    ] {
        for edits in [vec![bad.clone()], vec![edit("two", "2"), bad.clone()]] {
            let index = edits.len() - 1;
            let error = refused(place.executor.edit_file(request(edits)).await, code, &["f"]);
            assert_eq!(error.details["edit"], index, "which edit it was");
            assert_eq!(place.bytes("f").await, text.as_bytes());
        }
    }
}

async fn random_edits_are_what_strings_say(place: Fixture) {
    for seed in 0..150 {
        let mut random = crate::random::Random::new(seed);
        let word = |random: &mut crate::random::Random, most: usize| -> String {
            (0..random.below(most)).map(|_| *random.pick(&['a', 'b', '\n', 'λ'])).collect()
        };
        let text = word(&mut random, 25);
        let edits: Vec<Edit> = (0..1 + random.below(3))
            .map(|_| Edit {
                old: word(&mut random, 3).into(),
                new: word(&mut random, 4).into(),
                replace_all: random.below(2) == 0,
            })
            .collect();
        let mut expected = Ok(text.clone());
        for edit in &edits {
            let (old, new) = (edit.old.to_string_lossy(), edit.new.to_string_lossy());
            let Ok(current) = &expected else { break };
            // Places that overlap are two places.
            let places = (0..current.len())
                .filter(|at| current.as_bytes()[*at..].starts_with(old.as_bytes()));
            expected = match (old.is_empty(), old == new, places.count()) {
                (true, ..) => Err(ErrorCode::EmptyOldString),
                (_, true, _) => Err(ErrorCode::IdenticalStrings),
                (.., 0) => Err(ErrorCode::TextNotFound),
                (.., 2..) if !edit.replace_all => Err(ErrorCode::TextNotUnique),
                _ => Ok(current.replace(&*old, &new)),
            };
        }
        place.seed("f", &text).await;
        let got = place.executor.edit_file(request(edits.clone())).await;
        let now = String::from_utf8(place.bytes("f").await).unwrap();
        match (got, expected) {
            (Ok(done), Ok(expected)) => {
                assert_eq!(now, expected, "seed {seed}: {text:?} {edits:?}");
                assert_eq!(done.sha256, sha256(&expected));
            }
            (Err(error), Err(code)) => {
                // What is wrong with the request itself may be told before what is wrong with
                // an earlier edit's text.
                let of_request =
                    matches!(error.code, ErrorCode::EmptyOldString | ErrorCode::IdenticalStrings);
                assert!(
                    error.code == code || of_request,
                    "seed {seed}: {error:?}, expected {code}"
                );
                assert_eq!(now, text, "seed {seed}: nothing may be written");
            }
            (Err(error), Ok(_)) => {
                panic!("seed {seed}: {error:?} for {text:?} {edits:?}");
            }
            (Ok(_), Err(code)) => panic!("seed {seed}: {code} expected for {text:?} {edits:?}"),
        }
    }
}

async fn a_text_that_does_not_occur_is_answered_with_the_nearest(place: Fixture) {
    let text: String =
        (0..200).map(|number| format!("    let value_{number} = compute({number});\n")).collect();
    place.seed("f", &text).await;
    let near = request([edit("let value_77 = compute(78);", "x")]);
    let result = place.executor.edit_file(near).await;
    let error = refused_with_hint(result, ErrorCode::TextNotFound, &["f"]);
    let said = serde_json::to_string(&error.details).unwrap() + &error.message;
    assert!(said.contains("value_77 = compute(77)"), "{said}");
    assert!(said.contains("78"), "the line's number: {said}");
    // Only the white space differs.
    let tabs = request([edit("\tlet value_5 = compute(5);\n", "x")]);
    let result = place.executor.edit_file(tabs).await;
    let error = refused_with_hint(result, ErrorCode::TextNotFound, &["f"]);
    assert!(serde_json::to_string(&error.details).unwrap().contains("value_5 = compute(5)"));
    // Nothing is near.
    let far = request([edit("完全に違う", "x")]);
    refused_with_hint(place.executor.edit_file(far).await, ErrorCode::TextNotFound, &["f"]);
    place.seed("f", "").await;
    let none = request([edit("x", "y")]);
    refused_with_hint(place.executor.edit_file(none).await, ErrorCode::TextNotFound, &["f"]);
}

async fn a_text_that_occurs_often_is_answered_with_its_lines(place: Fixture) {
    place.seed("f", "x\nsame\ny\nsame same\n").await;
    let result = place.executor.edit_file(request([edit("same", "other")])).await;
    let error = refused_with_hint(result, ErrorCode::TextNotUnique, &["f", "2", "4"]);
    assert_eq!(error.details["lines"], serde_json::json!([2, 4, 4]));
    let done = place.executor.edit_file(request([all("same", "other")])).await.unwrap();
    assert_eq!(done.occurrences, [3]);
}

async fn requests_that_mean_nothing_are_refused(place: Fixture) {
    place.seed("f", "x").await;
    let none = place.executor.edit_file(request([])).await;
    refused(none, ErrorCode::InvalidArgument, &["edits"]);
    let many = (0..=limits::MAX_EDITS).map(|_| edit("x", "y"));
    let many = place.executor.edit_file(request(many)).await;
    refused(many, ErrorCode::InvalidArgument, &["edits", &limits::MAX_EDITS.to_string()]);
    assert_eq!(place.bytes("f").await, b"x");
}

async fn line_ends_and_bytes_are_left_as_they_are(place: Fixture) {
    for (old, edits, new) in [
        (&b"a\r\nb\r\nc\r\n"[..], vec![edit("b", "B")], &b"a\r\nB\r\nc\r\n"[..]),
        (b"a\r\nb\nc", vec![edit("\r\nb\n", "\n")], b"a\nc"),
        (b"\xff\xfe\nkey=1\n\x80", vec![edit("key=1", "key=2")], b"\xff\xfe\nkey=2\n\x80"),
        (b"a\0b\0c", vec![all("\0", "")], b"abc"),
        (b"\xef\xbb\xbfbom\n", vec![edit("bom", "BOM")], b"\xef\xbb\xbfBOM\n"),
        ("e\u{301}\u{e9}".as_bytes(), vec![edit("\u{e9}", "e")], "e\u{301}e".as_bytes()),
        (b"no end", vec![edit("end", "end of line")], b"no end of line"),
    ] {
        place.seed("f", old).await;
        place.executor.edit_file(request(edits)).await.unwrap();
        assert_eq!(place.bytes("f").await, new);
    }
    let bytes = Edit { old: b"\xff".as_slice().into(), new: "x".into(), replace_all: false };
    place.seed("f", b"a\xffb").await;
    place.executor.edit_file(request([bytes])).await.unwrap();
    assert_eq!(place.bytes("f").await, b"axb");
}

async fn the_diff_can_be_applied(place: Fixture) {
    if place.execute("command -v patch").await.exit.code != 0 {
        // Where there is no `patch` its rules are held against the text by other cases.
        return;
    }
    for seed in 0..12 {
        let mut random = crate::random::Random::new(100 + seed);
        let old: String = (0..60).map(|_| format!("{}\n", random.below(12))).collect();
        place.seed("old", &old).await;
        place.seed("f", &old).await;
        let edits = [all("1\n", "one\none\n"), all("7\n", ""), all("5\n", "five")];
        let Ok(done) = place.executor.edit_file(request(edits)).await else { continue };
        place.seed("change.diff", &done.diff).await;
        place.sh("patch -s old change.diff && cmp old f").await;
    }
}

async fn the_mode_and_the_link_stay(place: Fixture) {
    place.seed("d/real", "old").await;
    place.chmod("d/real", 0o751).await;
    place.seed_link("d/real", "f").await;
    place.executor.edit_file(request([edit("old", "new")])).await.unwrap();
    assert_eq!(place.text("readlink f; cat d/real").await, "d/real\nnew");
    assert_eq!(place.mode("d/real").await, 0o751);
}

async fn a_file_that_somebody_changed_is_not_edited(place: Fixture) {
    place.seed("f", "theirs").await;
    let mut stale = request([edit("theirs", "mine")]);
    stale.expected_sha256 = Some(sha256("what I read"));
    refused_with_hint(place.executor.edit_file(stale).await, ErrorCode::Stale, &["f"]);
    assert_eq!(place.bytes("f").await, b"theirs");
    let mut fresh = request([edit("theirs", "mine")]);
    fresh.expected_sha256 = Some(sha256("theirs"));
    place.executor.edit_file(fresh).await.unwrap();
    assert_eq!(place.bytes("f").await, b"mine");
}

async fn what_is_no_file_is_not_edited(place: Fixture) {
    place.sh("mkdir d; mkfifo p").await;
    for (path, code) in [
        ("none", ErrorCode::NotFound),
        ("none/f", ErrorCode::NotFound),
        ("d", ErrorCode::IsDirectory),
        ("p", ErrorCode::NotAFile),
        ("../f", ErrorCode::OutsideWorkspace),
    ] {
        let edits = vec![edit("a", "b")];
        let request = EditFile { path: path.into(), edits, expected_sha256: None };
        refused(place.executor.edit_file(request).await, code, &[]);
    }
}

async fn edits_at_once_do_not_lose_each_other(place: Fixture) {
    let text: String = (10..40).map(|number| format!("<{number}>\n")).collect();
    place.seed("f", &text).await;
    let edits = (10..40).map(|number| {
        let one = edit(&format!("<{number}>"), &format!("[{number}]"));
        place.executor.edit_file(request([one]))
    });
    for result in futures_util::future::join_all(edits).await {
        result.unwrap();
    }
    let expected = text.replace('<', "[").replace('>', "]");
    assert_eq!(String::from_utf8(place.bytes("f").await).unwrap(), expected);
}

async fn a_result_over_the_limit_is_not_written(place: Fixture) {
    let most = usize::try_from(limits::MAX_WRITE_BYTES).unwrap();
    place.seed("f", "a".repeat(1 << 20)).await;
    let bomb = place.executor.edit_file(request([all("a", &"b".repeat(1 << 10))])).await;
    refused(bomb, ErrorCode::TooLarge, &["f", &most.to_string()]);
    assert_eq!(place.bytes("f").await.len(), 1 << 20);
}
