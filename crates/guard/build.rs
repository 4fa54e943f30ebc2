//! Makes constants of the tables in `data/`: a command shall not wait for them to be parsed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a build fails by panicking")]
#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Places {
    system: Vec<String>,
    read: Vec<String>,
    tools: Vec<String>,
    settings: Vec<String>,
    startup: Vec<String>,
    parts: Vec<String>,
    environments: Vec<String>,
    devices: Vec<String>,
    credentials: Vec<String>,
    credential_names: Vec<String>,
    masks: Vec<String>,
    private: Vec<String>,
    shared: Vec<String>,
    private_names: Vec<String>,
    protected: Vec<String>,
    obeyed: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variables {
    drop: Vec<String>,
    secret: Vec<String>,
    secret_marks: Vec<String>,
    keep: Vec<String>,
    set: Vec<Setting>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    name: String,
    value: String,
    lanes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probes {
    probe: Vec<Probe>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    why: String,
    calls: Vec<String>,
    path: String,
    #[serde(default)]
    programs: Vec<String>,
}

fn main() {
    let read = |name: &str| {
        println!("cargo::rerun-if-changed=data/{name}");
        fs::read_to_string(Path::new("data").join(name)).expect(name)
    };
    let mut out = String::new();
    let places: Places = toml::from_str(&read("places.toml")).expect("places.toml");
    for (name, all) in [
        ("SYSTEM", places.system),
        ("READ", places.read),
        ("TOOLS", places.tools),
        ("SETTINGS", places.settings),
        ("STARTUP", places.startup),
        ("PARTS", places.parts),
        ("ENVIRONMENTS", places.environments),
        ("DEVICES", places.devices),
        ("CREDENTIALS", places.credentials),
        ("CREDENTIAL_NAMES", places.credential_names),
        ("MASKS", places.masks),
        ("PRIVATE", places.private),
        ("SHARED", places.shared),
        ("PRIVATE_NAMES", places.private_names),
        ("PROTECTED", places.protected),
        ("OBEYED", places.obeyed),
    ] {
        list(&mut out, name, &all);
    }
    let variables: Variables = toml::from_str(&read("variables.toml")).expect("variables.toml");
    list(&mut out, "DROP", &variables.drop);
    list(&mut out, "SECRET", &variables.secret);
    list(&mut out, "SECRET_MARKS", &variables.secret_marks);
    list(&mut out, "KEEP", &variables.keep);
    out.push_str("pub(crate) const SET: &[(&str, &str, &[&str])] = &[\n");
    for Setting { name, value, lanes } in variables.set {
        let known = lanes.iter().all(|lane| ["read-only", "workspace"].contains(&&**lane));
        assert!(known, "{name}: {lanes:?}");
        writeln!(out, "    ({name:?}, {value:?}, &{lanes:?}),").unwrap();
    }
    out.push_str("];\n");
    let probes: Probes = toml::from_str(&read("probes.toml")).expect("probes.toml");
    out.push_str("pub(crate) const PROBES: &[(&[&str], &str, &[&str])] = &[\n");
    for Probe { why, calls, path, programs } in probes.probe {
        assert!(!why.is_empty() && !calls.is_empty(), "{path}");
        writeln!(out, "    (&{calls:?}, {path:?}, &{programs:?}),").unwrap();
    }
    out.push_str("];\n");
    let to = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("data.rs");
    fs::write(to, out).expect("the constants are written");
}

fn list(out: &mut String, name: &str, all: &[String]) {
    writeln!(out, "pub(crate) const {name}: &[&str] = &{all:?};").unwrap();
}
