//! The examples of `docs/protocol.md`, run as they stand: copied, pasted, one after the other.
//!
//! The file's `sh` blocks are one conversation with a daemon of its own. A `text` block right after
//! one is what it prints; `…` in it stands for anything in that line.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program"
)]

mod grpcurl;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let mut arguments = std::env::args();
    let name = arguments.next().unwrap_or_default();
    if name.rsplit('/').next() == Some("grpcurl") {
        std::process::exit(grpcurl::main(arguments));
    }
    let trials = vec![
        Trial::test("the_examples_run_as_they_stand", conversation),
        Trial::test("blocks_are_found_and_compared", comparison),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// One example: what is typed, and what it prints if that is written down.
#[derive(Debug, PartialEq)]
struct Example {
    line: usize,
    typed: String,
    prints: Option<String>,
}

fn examples(document: &str) -> Vec<Example> {
    let mut all: Vec<Example> = Vec::new();
    let mut block: Option<(&str, usize, String)> = None;
    // Whether nothing but empty lines came since the last `sh` block.
    let mut fresh = false;
    for (index, line) in document.lines().enumerate() {
        match (&mut block, line.strip_prefix("```")) {
            (None, Some(kind)) => block = Some((kind, index + 1, String::new())),
            (Some(_), Some(_)) => {
                let (kind, line, text) = block.take().unwrap();
                match kind {
                    "sh" => {
                        all.push(Example { line, typed: text, prints: None });
                        fresh = true;
                    }
                    "text" if fresh => {
                        all.last_mut().unwrap().prints = Some(text);
                        fresh = false;
                    }
                    _ => fresh = false,
                }
            }
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => fresh &= line.trim().is_empty(),
        }
    }
    all
}

/// Whether a line is what is written; `…` stands for anything.
fn matches(written: &str, line: &str) -> bool {
    let mut parts = written.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(part) = last.replace(part) {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
    }
    match last {
        Some(part) => rest.ends_with(part),
        None => rest.is_empty(),
    }
}

fn same(written: &str, printed: &str) -> bool {
    let (written, printed): (Vec<&str>, Vec<&str>) =
        (written.trim_end().lines().collect(), printed.trim_end().lines().collect());
    written.len() == printed.len()
        && written.iter().zip(&printed).all(|(written, printed)| matches(written, printed))
}

fn comparison() -> Result<(), Failed> {
    let document = "```sh\na\n```\n\n```text\nx\n```\nand\n```sh\nb\n```\nwords\n```text\ny\n```\n";
    let found = examples(document);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], Example { line: 1, typed: "a\n".into(), prints: Some("x\n".into()) });
    assert_eq!(found[1].prints, None);
    assert!(matches("a…c", "abc") && matches("a…", "abc") && matches("…c…e", "abcde"));
    assert!(!matches("a…c", "abd") && !matches("a", "ab") && !matches("a…b…c", "ac"));
    assert!(same("a\n…\n", "a\nb") && !same("a\n", "a\nb\n"));
    Ok(())
}

/// The directory that the document works in; each test has one of its own.
const EXAMPLE: &str = "/tmp/stigmer-example";

/// A home with a daemon, a workspace, and the tools that the examples use.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory };
        for name in ["bin", "project"] {
            std::fs::create_dir(place.path(name)).unwrap();
        }
        let link = |name: &str, target: &Path| {
            std::os::unix::fs::symlink(target, place.path("bin").join(name)).unwrap();
        };
        link("stigmer", Path::new(env!("CARGO_BIN_EXE_stigmer")));
        link("grpcurl", &std::env::current_exe().unwrap());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn bash(&self) -> Command {
        let mut command = Command::new("bash");
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.path("bin").display());
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path(""))
            .env("LANG", "C.UTF-8")
            .current_dir(self.path("project"))
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.bash().args(["-c", "stigmer server stop --now"]).output();
    }
}

fn conversation() -> Result<(), Failed> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let examples = examples(&std::fs::read_to_string(document).unwrap());
    assert!(examples.len() > 5, "{} examples", examples.len());
    let place = Place::new();
    // The usual port may be somebody else's here.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = port.to_string();
    let directory = place.path("example").display().to_string();
    // One shell for all, as somebody would who follows the document; each example's output in a file.
    let mut script = format!("set -o pipefail\nexport STIGMER_BACKEND_ENDPOINT=localhost:{port}\n");
    for (index, example) in examples.iter().enumerate() {
        let typed = example.typed.replace("50051", &port).replace(EXAMPLE, &directory);
        script.push_str(&format!("{{\n{typed}}} >../{index}.out 2>../{index}.err\n"));
    }
    let done = place
        .bash()
        .args(["-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let mut wrong = String::new();
    for (index, example) in examples.iter().enumerate() {
        let read = |suffix: &str| {
            std::fs::read_to_string(place.path(&format!("{index}.{suffix}"))).unwrap_or_default()
        };
        let (printed, talk) = (read("out"), read("err"));
        let printed = printed.replace(&port, "50051").replace(&directory, EXAMPLE);
        if let Some(written) = example.prints.as_ref().filter(|written| !same(written, &printed)) {
            wrong.push_str(&format!(
                "docs/protocol.md line {}:\n{}written:\n{written}printed:\n{printed}{talk}\n",
                example.line, example.typed
            ));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        let talk = String::from_utf8_lossy(&done.stderr).into_owned();
        Err(Failed::from(format!("{wrong}{talk}")))
    }
}
