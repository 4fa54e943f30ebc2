use proptest::prelude::*;

use super::*;

fn of(head: &str) -> Result<Frontmatter> {
    read(format!("---\n{head}---\n# Body\n").as_bytes())
}

#[test]
fn name_and_description_are_read_however_yaml_writes_them() {
    for head in [
        "name: pdf-tools\ndescription: Reads PDF files\n",
        "description: 'Reads PDF files'\nname: \"pdf-tools\"\n",
        "name: pdf-tools\ndescription: >-\n  Reads\n  PDF files\nlicense: MIT\n",
        "name: pdf-tools # a comment\nmetadata:\n  name: other\n  list: [a, b]\ndescription: |\n  Reads PDF files\n",
        "{name: pdf-tools, description: Reads PDF files}\n",
        "name: pdf-tools\r\ndescription: Reads PDF files\r\n",
    ] {
        let read = of(head).unwrap();
        assert_eq!((&*read.name, &*read.description), ("pdf-tools", "Reads PDF files"), "{head}");
    }
    let marked = "\u{feff}---\nname: a\ndescription: b\n---";
    assert_eq!(read(marked.as_bytes()).unwrap().name, "a");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let long_name = format!("name: {}\ndescription: b\n", "a".repeat(65));
    let long = format!("name: a\ndescription: {}\n", "ä".repeat(1025));
    for (head, says) in [
        ("description: b\n", "has no name"),
        ("name: a\n", "has no description"),
        ("name: a\ndescription: ''\n", "is empty"),
        ("name: a\ndescription: [b]\n", "description is not text"),
        ("name: {a: b}\ndescription: b\n", "name is not text"),
        ("x: &x b\nname: a\ndescription: *x\n", "description is not text"),
        ("name: A\ndescription: b\n", "no name of a skill"),
        ("name: ../a\ndescription: b\n", "no name of a skill"),
        ("name: -a\ndescription: b\n", "no name of a skill"),
        ("name: a--b\ndescription: b\n", "no name of a skill"),
        (&long_name, "no name of a skill"),
        (&long, "1025 characters"),
        ("name: a\nname: b\ndescription: b\n", "twice"),
        ("name: [\n", "no YAML"),
        ("- name\n", "no mapping"),
        ("just text\n", "no mapping"),
        ("[a]: b\n", "key that is not text"),
        ("", "has no name"),
    ] {
        let error = of(head).unwrap_err();
        assert!(error.message.contains(says), "{head}: {}", error.message);
        assert!(error.hint.is_some());
    }
    for content in ["", "name: a\n", "---\nname: a\n", "--- \nname: a\n--\n"] {
        assert!(read(content.as_bytes()).is_err(), "{content}");
    }
    let late = format!("---\nname: a\n#{}\ndescription: b\n---\n", "x".repeat(70_000));
    assert!(read(late.as_bytes()).unwrap_err().message.contains("65536"));
}

#[test]
fn the_longest_description_and_name_are_taken() {
    let head = format!("name: {}\ndescription: {}\n", "a".repeat(64), "ä".repeat(1024));
    assert_eq!(of(&head).unwrap().description.chars().count(), 1024);
}

#[test]
fn aliases_cannot_make_a_small_head_large() {
    let mut head = "a0: &a0 [x, x]\n".to_owned();
    for level in 1..60 {
        let (this, last) = (level, level - 1);
        head += &format!("a{this}: &a{this} [*a{last}, *a{last}]\n");
    }
    head += "name: a\ndescription: b\n";
    assert_eq!(of(&head).unwrap().name, "a");
}

proptest! {
    #[test]
    fn no_head_makes_it_panic(head in "[-a-z:{}\\[\\]&*\"'|> \n#!?,]{0,80}") {
        let _ = of(&head);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&[b"---\n", &bytes[..], b"\n---\n"].concat());
    }
}
