//! Searching through the command line, against ripgrep itself where it is installed.

mod support;

use serde_json::json;
use support::Place;

fn tree() -> Place {
    let place = Place::new();
    place.write("a.rs", "fn one() {}\nfn two() {}\n\n\n\n\n\nfn three() {}\n");
    place.write("src/b.txt", "a fn\nFN\nb\n");
    place.write("src/c.rs", "nothing\n");
    place.write("ignored.rs", "fn ignored() {}\n");
    place.write(".ignore", "ignored.rs\n");
    place
}

#[test]
fn grep_prints_as_ripgrep_does() {
    let place = tree();
    place
        .run(&["grep", "fn"])
        .ok()
        .prints("a.rs:1:fn one() {}\na.rs:2:fn two() {}\na.rs:8:fn three() {}\nsrc/b.txt:1:a fn\n");
    place.run(&["grep", "fn", "src"]).ok().prints("src/b.txt:1:a fn\n");
    place.run(&["grep", "-i", "^fn$"]).ok().prints("src/b.txt:2:FN\n");
    place.run(&["grep", "-S", "^fn$"]).ok().prints("src/b.txt:2:FN\n");
    place.run(&["grep", "-F", "one()"]).ok().prints("a.rs:1:fn one() {}\n");
    place.run(&["grep", "fn", "-g", "*.txt"]).ok().prints("src/b.txt:1:a fn\n");
    place.run(&["grep", "fn o", "-g", "!*.txt"]).ok().prints("a.rs:1:fn one() {}\n");
    place
        .run(&["grep", "ignored", "--no-ignore", "-g", "*.rs"])
        .ok()
        .prints("ignored.rs:1:fn ignored() {}\n");
    place.run(&["grep", "fn", "--limit", "1"]).ok().prints("a.rs:1:fn one() {}\n").says(&["more"]);
    place.run(&["grep", "fn", "--limit", "0"]).exits(2).says(&["--limit"]);
    place.run(&["grep", "absent"]).exits(1).prints("");
    place.run(&["grep", "("]).exits(2).says(&["error: "]);
    place.run(&["grep", "--", "--flag"]).exits(1);
    let json = place.run(&["grep", "--json", "three"]).ok().json();
    assert_eq!(json["matches"][0]["line"], 8);
    assert_eq!(place.run(&["grep", "--json", "absent"]).exits(1).json()["matches"], json!([]));
}

#[test]
fn grep_shows_context_as_ripgrep_does() {
    let place = tree();
    place.run(&["grep", "-C", "1", "two|three", "a.rs"]).ok().prints(
        "a.rs-1-fn one() {}\na.rs:2:fn two() {}\na.rs-3-\n--\na.rs-7-\na.rs:8:fn three() {}\n",
    );
    place
        .run(&["grep", "-A", "1", "one|a fn"])
        .ok()
        .prints("a.rs:1:fn one() {}\na.rs-2-fn two() {}\n--\nsrc/b.txt:1:a fn\nsrc/b.txt-2-FN\n");
}

#[test]
fn ripgrep_itself_prints_the_same() {
    let place = tree();
    let cases: &[&[&str]] = &[
        &["fn"],
        &["-i", "fn"],
        &["-F", "()"],
        &["-C", "2", "two|three"],
        &["-B", "1", "b", "src"],
        &["-g", "*.rs", "fn"],
        &["-S", "FN"],
    ];
    for case in cases {
        let mut rg = std::process::Command::new("rg");
        rg.args(["-n", "--no-heading", "--sort", "path", "--no-config"]).args(*case);
        let Ok(expected) = rg.current_dir(place.work()).output() else { return };
        let words: Vec<&str> = ["grep"].iter().chain(*case).copied().collect();
        let got = place.run(&words);
        assert_eq!(got.stdout, String::from_utf8_lossy(&expected.stdout), "{case:?}");
        assert_eq!(Some(got.code), expected.status.code(), "{case:?}");
    }
}

/// ripgrep says the same with more words, and `WARNING` for a file that nobody named.
#[test]
fn grep_says_that_a_binary_file_matches() {
    let place = Place::new();
    let early = format!("needle\n{}\0\nneedle\n", "hay\n".repeat(50_000));
    place.write("early", early);
    place.write("named", "\0\nneedle\n");
    place.write("none", "\0\nhay\n");
    place.run(&["grep", "needle"]).ok().prints("early:1:needle\nearly: binary file matches\n");
    let named = place.run(&["grep", "needle", "none", "named"]).ok();
    named.prints("named: binary file matches\n");
    let json = place.run(&["grep", "--json", "needle", "named"]).ok().json();
    assert_eq!((&json["matches"], &json["binary"]), (&json!([]), &json!(["named"])));
    place.run(&["grep", "needle", "none"]).exits(1).prints("");
}

#[test]
fn find_prints_paths() {
    let place = tree();
    place.run(&["find", "--glob", "*.rs"]).ok().prints("a.rs\nsrc/c.rs\n");
    place.run(&["find", "--glob", "*.rs", "--all"]).ok().prints("a.rs\nignored.rs\nsrc/c.rs\n");
    place.run(&["find", "--glob", "*.rs", "src", "-0"]).ok().prints("src/c.rs\0");
    place.run(&["find", "sbtxt"]).ok().prints("src/b.txt\n");
    place.run(&["find", "--glob", "*", "-n", "1"]).ok().prints("a.rs\n").says(&["there are more"]);
    place.run(&["find", "a", "-n", "0"]).exits(2).says(&["--limit"]);
    place.run(&["find", "--glob", "[", "--json"]).exits(2);
    let json = place.run(&["find", "--glob", "a.*", "--json"]).ok().json();
    assert_eq!(json, json!({ "paths": ["a.rs"], "truncated": false }));
    place.run(&["find", "absent"]).ok().prints("");
}

#[test]
fn a_directory_that_cannot_be_looked_into_is_named() {
    let place = tree();
    std::os::unix::fs::symlink("/dev/zero", place.work().join("src/.ignore")).unwrap();
    let why = ["warning: src/.ignore: is a device"];
    place.run(&["find", "--glob", "*.rs"]).exits(2).prints("a.rs\n").says(&why);
    place.run(&["fs", "ls", "--depth", "2"]).exits(2).prints("a.rs\nsrc/\n").says(&why);
    place.run(&["fs", "ls"]).ok().prints("a.rs\nsrc/\n");
    place.run(&["grep", "one"]).exits(2).prints("a.rs:1:fn one() {}\n").says(&why);
    let json = place.run(&["find", "--glob", "*.rs", "--json"]).exits(2).json();
    assert_eq!(json["unreadable"].as_array().unwrap().len(), 1);
}
