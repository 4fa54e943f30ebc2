//! Files through the command line. What the operations mean is tested below it; here it is tested
//! that arguments arrive and answers are shown.

mod support;

use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use support::{Place, there};

#[test]
fn read_prints_the_bytes_as_they_are() {
    let place = Place::new();
    place.write("f", b"one\ntwo\r\n\xff\n");
    let output = place.command(&["fs", "read", "f"]).output().unwrap();
    assert_eq!(output.stdout, b"one\ntwo\r\n\xff\n");
    let output = place.command(&["fs", "read", "f", "--lines", "2:"]).output().unwrap();
    assert_eq!(output.stdout, b"two\r\n\xff\n");
    place.run(&["fs", "read", "f", "--lines", "1"]).ok().prints("one\n");
    let json = place.run(&["fs", "read", "--json", "f", "--lines", ":2"]).ok().json();
    assert_eq!(json["content"], "one\ntwo\r\n");
    assert_eq!(json["total_lines"], 3);
    assert_eq!(json["next_line"], 3);
    place.run(&["fs", "read", "none"]).exits(3).prints("").says(&["none: no such file"]);
    place.run(&["fs", "read", "."]).exits(4).says(&[".: is a directory", "hint: list it with"]);
    place.run(&["fs", "read", "../home"]).exits(5).says(&["outside the workspace"]);
    place.run(&["fs", "read", "f", "--lines", "2:1"]).exits(2);
}

#[test]
fn a_file_that_is_too_large_for_one_answer_is_streamed() {
    let place = Place::new();
    let large = vec![b'x'; (10 << 20) + 1];
    place.write("large", &large);
    let output = place.command(&["fs", "read", "large"]).output().unwrap();
    assert!(output.stdout == large);
    let error = place.run(&["fs", "read", "--json", "large"]).exits(6).json();
    assert_eq!(error["error"]["details"]["size"], (10 << 20) + 1);
}

#[test]
fn write_takes_content_from_both_places_and_its_conditions() {
    let place = Place::new();
    place
        .run_fed(b"a\nb\n", &["fs", "write", "d/f"])
        .ok()
        .prints("")
        .says(&["created d/f: 2 lines added, 0 removed"]);
    assert_eq!(place.read("d/f"), "a\nb\n");
    let json = place.run(&["fs", "write", "d/f", "--content", "-c\n", "--json"]).ok();
    assert_eq!(json.stderr, "");
    let json = json.json();
    assert_eq!(json["is_new_file"], false);
    assert_eq!(place.read("d/f"), "-c\n");
    place.run(&["fs", "write", "d/f", "--create", "--content", "x"]).exits(4);
    let expect = json["sha256"].as_str().unwrap();
    place.run(&["fs", "write", "d/f", "--expect", expect, "--content", "new"]).ok();
    place
        .run(&["fs", "write", "d/f", "--expect", expect, "--content", "newer"])
        .exits(4)
        .says(&["was changed since", "hint: "]);
    assert_eq!(place.read("d/f"), "new");
}

#[test]
fn edit_prints_the_diff() {
    let place = Place::new();
    place.write("f", "one\ntwo\ntwo\n");
    let diff = place.run(&["fs", "edit", "f", "--old", "one", "--new", "1"]).ok().stdout;
    assert!(diff.contains("\n-one\n+1\n"), "{diff}");
    place.run(&["fs", "edit", "f", "--old", "two", "--new", "2"]).exits(4);
    let json =
        place.run(&["fs", "edit", "f", "--old", "two", "--new", "2", "--all", "--json"]).ok();
    assert_eq!(json.json()["occurrences"], json!([2]));
    let edits = json!([{ "old": "1", "new": "-" }, { "old": "2", "new": "", "replace_all": true }]);
    place.run_fed(edits.to_string().as_bytes(), &["fs", "edit", "f", "--edits", "-"]).ok();
    assert_eq!(place.read("f"), "-\n\n\n");
    place.run_fed(b"{}", &["fs", "edit", "f", "--edits", "-"]).exits(2).says(&["JSON list"]);
    place.run(&["fs", "edit", "f", "--old", "none", "--new", "x"]).exits(3);
    place.run(&["fs", "edit", "f"]).exits(2);
    place.run(&["fs", "edit", "f", "--old", "x"]).exits(2);
    place.run(&["fs", "edit", "f", "--old", "x", "--new", "y", "--edits", "-"]).exits(2);
}

#[test]
fn ls_lists_as_ripgrep_would_search() {
    let place = Place::new();
    place.write("b/c", "x");
    place.write("a", "xyz");
    place.write(".hidden", "");
    place.write("ignored", "");
    place.write(".ignore", "ignored\n");
    place.run(&["fs", "ls"]).ok().prints("a\nb/\n");
    place.run(&["fs", "ls", "--depth", "2"]).ok().prints("a\nb/\nb/c\n");
    place.run(&["fs", "ls", "b", "-0"]).ok().prints("b/c\0");
    place.run(&["fs", "ls", "--all"]).ok().prints(".hidden\n.ignore\na\nb/\nignored\n");
    let limited =
        place.run(&["fs", "ls", "--all", "--limit", "2"]).ok().prints(".hidden\n.ignore\n");
    limited.says(&["there are more"]);
    let long = place.run(&["fs", "ls", "--long"]).ok().stdout;
    assert!(long.starts_with("file                 3 a\n"), "{long}");
    let json = place.run(&["fs", "ls", "--json"]).ok().json();
    assert_eq!(json["entries"][0], json!({ "path": "a", "kind": "file", "size": 3 }));
    place.run(&["fs", "ls", "a"]).exits(4);
}

#[test]
fn stat_rm_mv_and_mkdir() {
    let place = Place::new();
    place.write("f", "abc");
    std::os::unix::fs::symlink("f", place.work().join("link")).unwrap();
    let stat = place.run(&["fs", "stat", "f"]).ok().stdout;
    assert!(stat.contains("path: f\nkind: file\nsize: 3\nmode: 0644\n"), "{stat}");
    let json = place.run(&["fs", "stat", "--json", "link"]).ok().json();
    assert_eq!((&json["kind"], &json["symlink_target"]), (&json!("symlink"), &json!("f")));

    place.run(&["fs", "mkdir", "x/y"]).exits(3);
    place.run(&["fs", "mkdir", "-p", "x/y"]).ok().says(&["made x/y"]);
    place.run(&["fs", "mkdir", "x/y"]).exits(4);
    place.run(&["fs", "mv", "f", "x/g"]).ok();
    assert_eq!(place.read("x/g"), "abc");
    place.write("h", "h");
    place.run(&["fs", "mv", "h", "x/g"]).exits(4);
    place.run(&["fs", "mv", "--replace", "h", "x/g"]).ok();
    assert_eq!(place.read("x/g"), "h");

    place.run(&["fs", "rm", "x"]).exits(4).says(&["not empty", "hint"]);
    place.run(&["fs", "rm", "-r", "x"]).ok();
    assert!(!there(&place.work().join("x")));
    place.run(&["fs", "rm", "x"]).ok().says(&["already deleted"]);
    let json = place.run(&["fs", "rm", "x", "--json"]).ok().json();
    assert_eq!(json, json!({ "was_already_deleted": true }));
}

#[test]
fn names_that_are_no_text_pass() {
    let place = Place::new();
    let name = std::ffi::OsStr::from_bytes(b"a\xff");
    std::fs::write(place.work().join(name), "x").unwrap();
    let output = place.command(&["fs", "read"]).arg(name).output().unwrap();
    assert_eq!(output.stdout, b"x");
    let output = place.command(&["fs", "ls"]).output().unwrap();
    assert_eq!(output.stdout, b"a\xff\n");
    let json = place.run(&["fs", "ls", "--json"]).ok().json();
    assert_eq!(json["entries"][0]["path"], json!({ "base64": "Yf8=" }));
}

#[test]
fn trees_go_up_and_down() {
    let place = Place::new();
    let local = place.beside("local");
    std::fs::create_dir_all(local.join("d")).unwrap();
    std::fs::write(local.join("d/f"), "deep").unwrap();
    std::fs::write(local.join("g"), "top").unwrap();
    let local = local.to_str().unwrap();
    place.run(&["fs", "upload", local, "in"]).ok().prints("").says(&["2 files, 7 bytes"]);
    assert_eq!(place.read("in/d/f"), "deep");
    place.run(&["fs", "upload", &format!("{local}/g"), "h"]).ok();
    place.run(&["fs", "upload", &format!("{local}/g"), "in/"]).ok();
    assert_eq!((place.read("h"), place.read("in/g")), ("top".to_owned(), "top".to_owned()));
    place.run(&["fs", "upload", "/nonexistent", "x"]).exits(3);

    let down = place.beside("down");
    let target = down.to_str().unwrap();
    place.run(&["fs", "download", "in", target]).ok().prints("").says(&["2 files, 7 bytes"]);
    assert_eq!(std::fs::read_to_string(down.join("d/f")).unwrap(), "deep");
    place.run(&["fs", "download", "in/d/f", target]).ok();
    assert_eq!(std::fs::read_to_string(down.join("f")).unwrap(), "deep");
    let json = place.run(&["fs", "download", "h", &format!("{target}/new"), "--json"]).ok().json();
    assert_eq!(json, json!({ "files": 1, "bytes": 3 }));
    place.run(&["fs", "download", "h", "-"]).ok().prints("top");
    place.run(&["fs", "download", "h", "-", "--json"]).exits(2);
    place.run(&["fs", "download", "none", target]).exits(3);
    place.run(&["fs", "download", "../home", target]).exits(5);

    let archive = place.command(&["fs", "download", "in", "-"]).output().unwrap();
    assert!(archive.status.success());
    place.run_fed(&archive.stdout, &["fs", "upload", "-", "again"]).ok();
    assert_eq!(place.read("again/d/f"), "deep");
}

#[test]
fn what_is_at_the_target_of_a_download_keeps_its_nature() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let place = Place::new();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    place.write("private", "secret");
    set(&place.work().join("private"), 0o600);
    place.write("open", "text");
    let down = place.beside("down");
    std::fs::create_dir(&down).unwrap();
    let at = |name: &str| down.join(name);
    let take = |name: &str, to: &str| {
        place.run(&["fs", "download", name, at(to).to_str().unwrap()]).ok();
    };

    take("private", "new");
    assert_eq!(mode(&at("new")), 0o600, "the source's mode");
    symlink("private", place.work().join("link")).unwrap();
    take("link", "new-by-link");
    assert_eq!(mode(&at("new-by-link")), 0o600, "not the link's mode");
    take("open", "new");
    assert_eq!(mode(&at("new")), 0o600, "the target's mode");
    assert_eq!(std::fs::read_to_string(at("new")).unwrap(), "text");

    std::fs::create_dir(at("elsewhere")).unwrap();
    for (link, target) in [("link", "elsewhere/there"), ("dangling", "elsewhere/missing")] {
        symlink(target, at(link)).unwrap();
        take("open", link);
        assert!(at(link).is_symlink());
        assert_eq!(std::fs::read_to_string(at(target)).unwrap(), "text");
        take("private", link);
        assert_eq!(std::fs::read_to_string(at(target)).unwrap(), "secret");
    }

    symlink("/dev/null", at("null")).unwrap();
    take("open", "null");
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert!(at("null").is_symlink());
    place.run(&["fs", "download", "open", "/dev/stdout"]).ok().prints("text");
    let left = std::fs::read_dir(&down).unwrap().chain(std::fs::read_dir(at("elsewhere")).unwrap());
    let part = |name: &std::ffi::OsString| name.as_bytes().ends_with(b".part");
    assert!(!left.map(|entry| entry.unwrap().file_name()).any(|name| part(&name)));
}

#[test]
fn a_tree_is_not_copied_into_itself() {
    let place = Place::new();
    place.write("d/f", "x");
    std::os::unix::fs::symlink("d", place.work().join("link")).unwrap();
    for [from, to] in
        [[".", "backup"], [".", "."], [".", "d/new/er"], ["d", "d/e"], ["link", "d/e"]]
    {
        place.run(&["fs", "upload", from, to]).exits(2).says(&["holds the target", "hint: "]);
        place.run(&["fs", "download", from, to]).exits(2).says(&["holds the target"]);
    }
    assert!(!there(&place.work().join("backup")) && !there(&place.work().join("d/e")));
    place.run(&["fs", "upload", "d", "copy"]).ok();
    place.run(&["fs", "download", "d", "dd"]).ok();
    assert_eq!((place.read("copy/f"), place.read("dd/f")), ("x".to_owned(), "x".to_owned()));
}

#[test]
fn an_uploaded_file_has_the_mode_it_had() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let (private, script) = (place.beside("private"), place.beside("script"));
    for (path, mode) in [(&private, 0o600), (&script, 0o755)] {
        std::fs::write(path, "x").unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
    let mode =
        |name: &str| place.work().join(name).metadata().unwrap().permissions().mode() & 0o7777;
    place.run(&["fs", "upload", private.to_str().unwrap(), "a"]).ok();
    place.run(&["fs", "upload", script.to_str().unwrap(), "b"]).ok();
    assert_eq!((mode("a"), mode("b")), (0o600, 0o755));
    place.run(&["fs", "upload", script.to_str().unwrap(), "a"]).ok();
    assert_eq!(mode("a"), 0o600, "what is there keeps its mode");
}

#[test]
fn watch_prints_each_change_at_once() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let place = Place::new();
    let mut command = place.command(&["fs", "watch"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut talk = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut talk).unwrap();
    if talk.contains("watch: not available in this build") {
        // The host does not watch yet; from the day it does, the rest of this test counts.
        child.wait().unwrap();
        return;
    }
    assert!(talk.starts_with("watching"), "{talk}");
    place.write("new", "x");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "created new\n");
}
