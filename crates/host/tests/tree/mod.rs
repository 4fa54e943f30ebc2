//! A tree with everything that a search can stumble over, the same each time.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use stigmer_host::{HostExecutor, HostOptions, Resolver};
use tempfile::TempDir;

/// How many directories of ordinary files.
const DIRECTORIES: usize = 160;
/// How many ordinary files in each.
const FILES: usize = 16;

const WORDS: [&str; 24] = [
    "fn",
    "return",
    "Error",
    "error",
    "TODO",
    "naïve",
    "Straße",
    "λx",
    "x_1",
    "foo.bar",
    "(call)",
    "a+b",
    "\tindent",
    "日本語",
    "MiXeD",
    "needle",
    "0xff",
    "ſs",
    "end;",
    "[x]",
    "path/to",
    "İ",
    "\\n",
    "“quoted”",
];
const RULES: [&str; 14] = [
    "*.log\n",
    "/build/\n",
    "!keep.log\n",
    "*.tmp\n!important.tmp\n",
    "d1*/\n",
    "**/deep/*.txt\n",
    "# a comment\n\\#name\n",
    "f[0-4].rs\n",
    "/f5.txt\n",
    "*.md \n",
    "!*.log\n",
    "sub\n",
    "[bad\n*.c\n",
    "\u{feff}f7.*\r\n",
];
const EXTENSIONS: [&str; 8] = ["rs", "txt", "log", "tmp", "md", "c", "TXT", ""];

/// A workspace in a temporary directory, and something outside of it.
pub struct Tree {
    pub base: TempDir,
    pub root: PathBuf,
}

/// A small deterministic generator (xorshift), so that every run sees the same tree.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

impl Tree {
    pub fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let base_path = base.path().canonicalize().unwrap();
        let root = base_path.join("workspace");
        fs::create_dir(&root).unwrap();
        let tree = Self { base, root };
        tree.fill();
        tree
    }

    pub fn executor(&self, resolver: Option<Resolver>) -> HostExecutor {
        executor(&self.root, self.base.path(), resolver)
    }

    fn fill(&self) {
        let mut dice = Dice(0x5eed);
        let root = &self.root;
        // Ignore files above the root count, as for ripgrep.
        fs::write(root.parent().unwrap().join(".ignore"), "above.txt\n").unwrap();
        fs::create_dir_all(root.join(".git/info")).unwrap();
        fs::write(root.join(".git/info/exclude"), "excluded*\n").unwrap();
        fs::write(root.join(".git/config"), "needle in config\n").unwrap();
        fs::write(root.join(".gitignore"), "target/\n*.o\n/d7/*\n!/d7/keep*\n").unwrap();
        for name in ["above.txt", "excluded.txt", "a.o", ".hidden", "plain.txt", "a", "a.b", "-"] {
            fs::write(root.join(name), format!("needle in {name}\nError\n")).unwrap();
        }
        let mut directories = vec![root.clone()];
        for number in 0..DIRECTORIES {
            let parent = dice.of(&directories).clone();
            let name = match number % 16 {
                0 => format!(".d{number}"),
                1 => "target".to_owned(),
                2 => "deep".to_owned(),
                3 => "sub".to_owned(),
                4 => "build".to_owned(),
                5 => format!("with space {number}"),
                _ => format!("d{number}"),
            };
            let directory = parent.join(name);
            fs::create_dir_all(&directory).unwrap();
            fill_directory(&mut dice, &directory);
            directories.push(directory);
        }
        fill_odd(root);
        self.link();
    }

    fn link(&self) {
        let outside = self.root.parent().unwrap().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret.txt"), "needle of somebody else\n").unwrap();
        for (target, name) in [
            ("plain.txt", "link-to-file"),
            ("odd", "link-to-directory"),
            ("../outside", "link-out"),
            ("../outside/secret.txt", "link-out-file"),
            ("nowhere", "link-broken"),
            (".", "link-circle"),
        ] {
            symlink(target, self.root.join(name)).unwrap();
        }
    }
}

pub fn executor(root: &Path, base: &Path, resolver: Option<Resolver>) -> HostExecutor {
    let state = base.join("state");
    HostExecutor::open(HostOptions { resolver, ..HostOptions::new(root, state) }).unwrap()
}

fn fill_directory(dice: &mut Dice, directory: &Path) {
    for number in 0..FILES {
        let extension = *dice.of(&EXTENSIONS);
        let dot = if dice.below(12) == 0 { "." } else { "" };
        let mut name = format!("{dot}f{number}");
        if !extension.is_empty() {
            name = format!("{name}.{extension}");
        }
        fs::write(directory.join(name), content(dice)).unwrap();
    }
    for name in ["keep.log", "important.tmp", "#name", "keep1"] {
        if dice.below(4) == 0 {
            fs::write(directory.join(name), content(dice)).unwrap();
        }
    }
    for name in [".gitignore", ".ignore", ".rgignore"] {
        if dice.below(8) == 0 {
            let rules = [*dice.of(&RULES), *dice.of(&RULES)].concat();
            fs::write(directory.join(name), rules).unwrap();
        }
    }
    if dice.below(20) == 0 {
        fs::create_dir_all(directory.join(".git")).unwrap();
    }
}

fn content(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end: &[u8] = if dice.below(6) == 0 { b"\r\n" } else { b"\n" };
    for _ in 0..dice.below(40) {
        for _ in 0..dice.below(9) {
            bytes.extend_from_slice(dice.of(&WORDS).as_bytes());
            bytes.push(b' ');
            if dice.below(120) == 0 {
                bytes.extend_from_slice(b"\xff\xc3 caf\xe9");
            }
        }
        bytes.extend_from_slice(end);
    }
    match dice.below(14) {
        // No line end at the end, or a NUL somewhere: the file is binary.
        0 | 1 => bytes.truncate(bytes.len().saturating_sub(end.len())),
        2 if !bytes.is_empty() => {
            let at = dice.below(bytes.len());
            bytes[at] = 0;
        }
        _ => {}
    }
    bytes
}

fn fill_odd(root: &Path) {
    let odd = root.join("odd");
    fs::create_dir(&odd).unwrap();
    let write = |name: &[u8], content: &[u8]| {
        fs::write(odd.join(OsStr::from_bytes(name)), content).unwrap();
    };
    write(b"empty", b"");
    write(b"only-line-ends", b"\n\n\r\n");
    write(b"name-\xff\xfe-invalid.txt", b"needle\n");
    write(b"name\nwith-line-feed.txt", b"needle\n");
    write(b"long-line.txt", &[&[b'x'; 1 << 20][..], b"needle", &[b'y'; 1 << 18], b"\n"].concat());
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    write(b"utf-16le.txt", &utf16("first\nneedle naïve\r\nError 日本語\n", false));
    write(b"utf-16be.txt", &utf16("needle Straße", true));
    write(b"utf-8-bom.txt", "\u{feff}needle first\nneedle\n".as_bytes());
    write(b"first-byte-binary", b"\0needle\n");
    write(b"\xe2\x98\x83.txt", b"needle\n");
    fs::create_dir(odd.join("locked")).unwrap();
    fs::write(odd.join("locked/file"), "needle\n").unwrap();
    fs::write(odd.join("unreadable.txt"), "needle\n").unwrap();
    for name in ["locked", "unreadable.txt"] {
        fs::set_permissions(odd.join(name), fs::Permissions::from_mode(0o0)).unwrap();
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // So that the temporary directory can be removed.
        let mode = fs::Permissions::from_mode(0o700);
        let _ = fs::set_permissions(self.root.join("odd/locked"), mode);
    }
}
