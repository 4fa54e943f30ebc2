//! SECURITY.md names the tests of its claims.

use std::collections::BTreeSet;
use std::path::Path;

/// The tests of one suite, each as `file::name`.
fn tests_of(suite: &str) -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(suite);
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let after_attribute = text.split("\n#[tokio::test").skip(1);
        let names = after_attribute.filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next());
        all.extend(names.map(|name| format!("{file}::{name}")));
    }
    all
}

#[test]
fn every_claim_has_its_test_and_every_test_its_claim() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../SECURITY.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## Sandbox mode").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: BTreeSet<String> = section
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|words| words.contains("::"))
        .map(str::to_owned)
        .collect();
    let isolation = tests_of("isolation");
    assert!(!isolation.is_empty());
    let unnamed: Vec<_> = isolation.difference(&named).collect();
    assert!(unnamed.is_empty(), "SECURITY.md names no {unnamed:?}");
    let all: BTreeSet<String> = isolation.union(&tests_of("engine")).cloned().collect();
    let missing: Vec<_> = named.difference(&all).collect();
    assert!(missing.is_empty(), "there is no test {missing:?}");
    let claims = section.split("What is isolated").nth(1).unwrap();
    let claims = claims.split("What is not isolated").next().unwrap();
    for claim in claims.split("\n- ").skip(1) {
        assert!(claim.contains("::"), "no test of: {claim}");
    }
}
