//! Skills through the command line. What is refused and kept is tested below it; here it is tested
//! that arguments arrive and answers are shown.

mod support;

use serde_json::json;
use support::Place;

const SKILL: &[u8] = b"---\nname: greet\ndescription: Greets\n---\n";

fn place() -> Place {
    let place = Place::new();
    place.write("source/SKILL.md", SKILL);
    place.write("source/words", b"Good day\n");
    place
}

#[test]
fn a_skill_is_added_listed_and_removed() {
    let place = place();
    place.run(&["skill", "list"]).ok().prints("");
    let added = place.run(&["skill", "add", "source"]).ok().says(&["added greet"]);
    let path = added.stdout.trim_end().to_owned();
    assert!(path.ends_with("/greet"), "{path}");
    place.run(&["run", "--", "cat", &format!("{path}/words")]).ok().prints("Good day\n");
    place.run(&["fs", "read", &format!("{path}/words")]).ok().prints("Good day\n");
    place.run(&["skill", "add", "source"]).ok().says(&["unchanged: greet"]);
    let json = place.run(&["skill", "add", "source", "--json"]).ok().json();
    assert_eq!((&json["change"], &json["skill"]["path"]), (&json!("unchanged"), &json!(path)));

    place.write("source/words", b"Good night\n");
    let again = place.run(&["skill", "add", "source"]).ok().says(&["replaced greet"]);
    assert_ne!(again.stdout.trim_end(), path);
    let listed = place.run(&["skill", "list"]).ok();
    assert!(listed.stdout.contains("greet\n  path     /"), "{}", listed.stdout);
    assert!(listed.stdout.contains("  about    Greets\n"), "{}", listed.stdout);
    let json = place.run(&["skill", "list", "--json"]).ok().json();
    assert_eq!((&json[0]["name"], &json[0]["files"]), (&json!("greet"), &json!(2)));

    place.run(&["skill", "rm", "greet"]).ok().says(&["removed greet"]);
    place.run(&["skill", "rm", "greet"]).ok().says(&["was already removed"]);
    let json = place.run(&["skill", "rm", "greet", "--json"]).ok().json();
    assert_eq!(json, json!({"was_already_removed": true}));
    place.run(&["skill", "list", "--json"]).ok().prints("[]\n");
}

#[test]
fn an_archive_is_taken_from_a_file_and_from_standard_input() {
    let place = place();
    place.run(&["run", "tar czf skill.tar.gz source && tar cf skill.tar -C source ."]).ok();
    let json = |words: &[&str]| place.run(words).ok().json()["skill"]["digest"].clone();
    let digest = json(&["skill", "add", "source", "--json"]);
    assert_eq!(json(&["skill", "add", "skill.tar.gz", "--json"]), digest);
    let bytes = std::fs::read(place.work().join("skill.tar")).unwrap();
    let fed = place.run_fed(&bytes, &["skill", "add", "-", "--json"]).ok().json();
    assert_eq!((&fed["change"], &fed["skill"]["digest"]), (&json!("unchanged"), &digest));
}

#[test]
fn what_is_no_skill_is_refused_with_the_next_step() {
    let place = place();
    place.run(&["skill", "add", "none"]).exits(3).says(&["none"]);
    place.write("plain/README.md", b"");
    place.run(&["skill", "add", "plain"]).exits(2).says(&["SKILL.md", "hint: "]);
    place.write("source/SKILL.md", b"---\nname: Greet\n---\n");
    place.run(&["skill", "add", "source"]).exits(2).says(&["\"Greet\" is no name", "hint: "]);
    place.run(&["skill", "rm", "../greet"]).exits(2).says(&["no name of a skill"]);
    place.run(&["run", "ln -s /etc/passwd source/link"]).ok();
    place.write("source/SKILL.md", SKILL);
    place.run(&["skill", "add", "source"]).exits(5).says(&["link", "hint: "]);
    assert!(!place.work().join(".stigmer").exists());
}
