//! What the compiler does not check of the project's shape: which crate may know which, and how
//! long a file may be.
//!
//! `ARCHITECTURE.md` has the same table in words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item};

/// Each crate, and those of the project that it may depend on. Arrows point up this table only.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("stigmer-core", &[]),
    ("stigmer-guard", &["stigmer-core"]),
    ("stigmer-host", &["stigmer-core", "stigmer-guard"]),
    ("stigmer-route", &["stigmer-core"]),
    ("stigmer-skills", &["stigmer-core"]),
    ("stigmer-api", &["stigmer-core"]),
    ("stigmer-docker", &["stigmer-core", "stigmer-api"]),
    (
        "stigmer-engine",
        &[
            "stigmer-core",
            "stigmer-guard",
            "stigmer-host",
            "stigmer-route",
            "stigmer-api",
            "stigmer-docker",
        ],
    ),
    ("stigmer-mcp", &["stigmer-core", "stigmer-api"]),
    (
        "stigmer-daemon",
        &["stigmer-core", "stigmer-skills", "stigmer-api", "stigmer-engine", "stigmer-mcp"],
    ),
    ("stigmer-sidecar", &["stigmer-core", "stigmer-host", "stigmer-api"]),
    (
        "stigmer",
        &[
            "stigmer-core",
            "stigmer-skills",
            "stigmer-api",
            "stigmer-engine",
            "stigmer-mcp",
            "stigmer-daemon",
        ],
    ),
    ("stigmer-conformance", &["stigmer-core", "stigmer-host", "stigmer-skills"]),
    (
        "stigmer-benches",
        &["stigmer-core", "stigmer-host", "stigmer-route", "stigmer-api", "stigmer-docker"],
    ),
    ("stigmer-oracle", &["stigmer-core", "stigmer-guard", "stigmer-route"]),
];

/// Crates that `stigmer-core` may not have: it is words, and every backend and client compiles it.
const NOT_IN_CORE: &[&str] = &["tokio", "rustix", "libc", "prost", "tonic", "hyper", "reqwest"];

/// A file that needs more lines has more than one concern.
const MOST_LINES: usize = 700;

/// The normal and build dependencies of each crate.
type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// What is wrong with the dependencies, in words.
fn faults(dependencies: &Dependencies) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, on) in dependencies {
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(known, _)| known == name) else {
            faults.push(format!("{name} is not in the table"));
            continue;
        };
        for other in on {
            let ours = dependencies.contains_key(other);
            if ours && !allowed.contains(&other.as_str()) {
                faults.push(format!("{name} may not depend on {other}"));
            }
            if name == "stigmer-core" && NOT_IN_CORE.contains(&other.as_str()) {
                faults.push(format!("{name} performs no input or output: not with {other}"));
            }
        }
    }
    faults
}

/// The name and the dependencies that a manifest declares; those of tests do not count.
fn read_manifest(text: &str) -> (String, BTreeSet<String>) {
    let manifest: DocumentMut = text.parse().expect("a manifest");
    let name = manifest["package"]["name"].as_str().expect("a name").to_owned();
    let mut all = BTreeSet::new();
    let mut collect = |table: &Item| {
        for kind in ["dependencies", "build-dependencies"] {
            let Some(table) = table.get(kind).and_then(Item::as_table_like) else { continue };
            for (key, value) in table.iter() {
                let renamed = value.get("package").and_then(Item::as_str);
                all.insert(renamed.unwrap_or(key).to_owned());
            }
        }
    };
    collect(manifest.as_item());
    if let Some(targets) = manifest.get("target").and_then(Item::as_table_like) {
        targets.iter().for_each(|(_, target)| collect(target));
    }
    (name, all)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Every file that is or may be committed.
fn files() -> Vec<PathBuf> {
    let walk = ignore::WalkBuilder::new(root())
        .hidden(false)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let files = walk.map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    files.map(|entry| entry.path().strip_prefix(root()).unwrap().to_owned()).collect()
}

#[test]
fn every_crate_knows_only_what_the_table_allows() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: DocumentMut = manifest.parse().unwrap();
    let mut dependencies = Dependencies::new();
    for member in manifest["workspace"]["members"].as_array().unwrap() {
        let path = root().join(member.as_str().unwrap()).join("Cargo.toml");
        let (name, on) = read_manifest(&std::fs::read_to_string(path).unwrap());
        dependencies.insert(name, on);
    }
    assert!(dependencies["stigmer-host"].contains("stigmer-core"), "manifests are understood");
    assert_eq!(faults(&dependencies), Vec::<String>::new());
}

#[test]
fn the_table_itself_has_no_arrow_down() {
    for (index, (name, allowed)) in MAY_KNOW.iter().enumerate() {
        for known in *allowed {
            let above = MAY_KNOW[..index].iter().any(|(above, _)| above == known);
            assert!(above, "{name} may know {known}, which is not above it");
        }
    }
}

#[test]
fn an_arrow_that_is_reversed_is_a_fault() {
    let of = |all: &[(&str, &[&str])]| -> Dependencies {
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        all.iter().map(|(name, on)| ((*name).to_owned(), words(on))).collect()
    };
    let right = of(&[("stigmer-core", &["serde"]), ("stigmer-host", &["stigmer-core"])]);
    assert_eq!(faults(&right), Vec::<String>::new());
    for wrong in [
        of(&[("stigmer-core", &["stigmer-host"]), ("stigmer-host", &[])]),
        of(&[("stigmer-host", &["stigmer-engine"]), ("stigmer-engine", &[])]),
        of(&[("stigmer", &["stigmer-host"]), ("stigmer-host", &[])]),
        of(&[("stigmer-core", &["tokio"])]),
        of(&[("stigmer-new", &[])]),
    ] {
        assert_eq!(faults(&wrong).len(), 1, "{wrong:?}");
    }
}

#[test]
fn every_kind_of_dependency_is_read_from_a_manifest() {
    let (name, on) = read_manifest(
        r#"
        [package]
        name = "x"
        [dependencies]
        a.workspace = true
        b = { package = "c", version = "1" }
        [build-dependencies]
        d = "1"
        [dev-dependencies]
        not = "1"
        [dependencies.e]
        version = "1"
        [target.'cfg(unix)'.dependencies]
        f = "1"
        "#,
    );
    assert_eq!(name, "x");
    assert_eq!(on.into_iter().collect::<Vec<_>>(), ["a", "c", "d", "e", "f"]);
}

#[test]
fn no_file_outgrows_its_one_concern() {
    let mut long = Vec::new();
    for path in files() {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let lines = std::fs::read_to_string(root().join(&path)).unwrap().lines().count();
            if lines > MOST_LINES {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert_eq!(long, Vec::<String>::new(), "more than {MOST_LINES} lines: split by concern");
}

/// A path of the machine that something was written on helps nobody else.
#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let machine = ["wt", "main", "shared"].map(|directory| format!("/{}/{directory}", "work"));
    let mut found = Vec::new();
    for path in files() {
        let bytes = std::fs::read(root().join(&path)).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        if machine.iter().any(|name| text.contains(name)) {
            found.push(path);
        }
    }
    assert_eq!(found, Vec::<PathBuf>::new());
}
