use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const BOTH: [Resolver; 2] = [Resolver::Openat2, Resolver::Walk];

/// A workspace `w` beside a directory `out` that holds a secret of the same name.
struct World {
    folder: tempfile::TempDir,
    root: Root,
}

fn worlds() -> Vec<World> {
    BOTH.map(|resolver| {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [("w/a/f", "inside"), ("out/f", "secret")] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let root = Root::open(&folder.path().join("w"), Some(resolver)).unwrap();
        World { folder, root }
    })
    .into()
}

impl World {
    fn link(&self, target: impl AsRef<Path>, at: &str) {
        symlink(target, self.root.path().join(at)).unwrap();
    }
    fn read(&self, path: &str) -> Result<String, ErrorCode> {
        let relative = self.root.relative(&path.into()).map_err(|error| error.code)?;
        let mut text = String::new();
        let mut file = self.root.open_file(&relative).map_err(|error| error.code)?;
        file.read_to_string(&mut text).unwrap();
        Ok(text)
    }
}

#[test]
fn links_that_stay_beneath_are_followed() {
    for world in worlds() {
        world.link("a/f", "relative");
        world.link("a", "directory");
        world.link("../a/../a/f", "a/dotted");
        world.link(world.root.path().join("a/f"), "absolute");
        world.link(world.root.path().join("a"), "absolute-directory");
        world.link(world.root.path(), "self");
        world.link("self/self/absolute", "chain");
        for path in [
            "relative",
            "directory/f",
            "a/dotted",
            "absolute",
            "absolute-directory/f",
            "self/a/f",
            "chain",
        ] {
            assert_eq!(world.read(path).as_deref(), Ok("inside"), "{path} {:?}", world.root);
        }
    }
}

#[test]
fn nothing_leads_out() {
    for world in worlds() {
        world.link("../out", "out");
        world.link("../../out/f", "a/deep");
        world.link(world.folder.path().join("out"), "absolute");
        world.link(world.root.path().join("../out/f"), "through-root");
        world.link("/proc/self/root", "proc");
        world.link("../w/a/f", "out-and-back");
        world.link("..", "up");
        for path in [
            "out/f",
            "a/deep",
            "absolute/f",
            "through-root",
            "proc/etc/passwd",
            "out-and-back",
            "up/out/f",
            "..",
            "../out/f",
            "/etc/passwd",
            "/",
            "a/../../out/f",
        ] {
            assert_eq!(world.read(path), Err(ErrorCode::OutsideWorkspace), "{path}");
        }
        assert_eq!(world.root.stat(Path::new("out")).unwrap().kind, FileKind::Symlink);
        let code = world.root.stat(Path::new("out/f")).unwrap_err().code;
        assert_eq!(code, ErrorCode::OutsideWorkspace);
        let code = world.root.open_directory(Path::new("out")).unwrap_err().code;
        assert_eq!(code, ErrorCode::OutsideWorkspace);
    }
}

#[test]
fn magic_links_are_not_followed() {
    for resolver in BOTH {
        let root = Root::open(Path::new("/"), Some(resolver)).unwrap();
        let here = Path::new("proc/self");
        assert!(root.open_directory(here).is_ok(), "an ordinary link");
        for name in ["root", "cwd", "exe", "fd/0"] {
            let code = root.resolve(&here.join(name), Links::Follow).map(drop).unwrap_err().code;
            assert_eq!(code, ErrorCode::OutsideWorkspace, "{name} {resolver:?}");
        }
    }
}

#[test]
fn circles_end() {
    for world in worlds() {
        world.link("two", "one");
        world.link("one", "two");
        world.link("self", "self");
        for path in ["one", "two/x", "self"] {
            assert_eq!(world.read(path), Err(ErrorCode::InvalidArgument), "{path}");
        }
    }
}

#[test]
fn what_is_no_file_is_not_opened() {
    for world in worlds() {
        rustix::fs::mkfifoat(world.root.base(), "fifo", Mode::RWXU).unwrap();
        let _listener =
            std::os::unix::net::UnixListener::bind(world.root.path().join("socket")).unwrap();
        for (path, code) in [
            ("fifo", ErrorCode::NotAFile),
            ("socket", ErrorCode::NotAFile),
            ("a", ErrorCode::IsDirectory),
            ("", ErrorCode::IsDirectory),
            ("none", ErrorCode::NotFound),
            ("none/f", ErrorCode::NotFound),
            ("a/f/x", ErrorCode::NotADirectory),
        ] {
            assert_eq!(world.read(path), Err(code), "{path}");
        }
        let code = |path| world.root.open_directory(Path::new(path)).unwrap_err().code;
        assert_eq!(code("a/f"), ErrorCode::NotADirectory);
        assert_eq!(code("fifo"), ErrorCode::NotADirectory);
    }
    for resolver in BOTH {
        let root = Root::open(Path::new("/dev"), Some(resolver)).unwrap();
        let error = root.open_file(Path::new("zero")).unwrap_err();
        assert_eq!(error.details["kind"], "device");
    }
}

#[test]
fn a_path_is_described() {
    for world in worlds() {
        let file = world.root.path().join("a/f");
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o751)).unwrap();
        world.link("nowhere\n", "dangling");
        let stat = world.root.stat(Path::new("a/f")).unwrap();
        assert_eq!((stat.kind, stat.size, stat.mode), (FileKind::File, 6, 0o751));
        assert!(stat.modified_ms > 1_600_000_000_000);
        let stat = world.root.stat(Path::new("dangling")).unwrap();
        assert_eq!(stat.symlink_target, Some("nowhere\n".into()));
        let stat = world.root.stat(Path::new("")).unwrap();
        assert_eq!((stat.path.len(), stat.kind), (0, FileKind::Directory));
    }
}

#[test]
fn any_name_will_do() {
    use std::os::unix::ffi::OsStrExt;
    for world in worlds() {
        for name in [&b"new\nline"[..], b"\xff\xfe", b" ", b"-rf", b"...", b"a:b"] {
            let path = Path::new(OsStr::from_bytes(name));
            std::fs::write(world.root.path().join(path), name).unwrap();
            let relative = world.root.relative(&name.into()).unwrap();
            let mut got = Vec::new();
            world.root.open_file(&relative).unwrap().read_to_end(&mut got).unwrap();
            assert_eq!(got, name);
        }
        for (bad, what) in [(b"a\0b".to_vec(), "NUL"), (vec![b'x'; 4096], "4096")] {
            let error = world.root.relative(&bad.into()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
            assert!(error.message.contains(what), "{error}");
        }
        let code = world.read(&"x".repeat(300)).unwrap_err();
        assert_eq!(code, ErrorCode::InvalidArgument);
    }
}

#[test]
fn a_links_end_is_found_for_writing() {
    for world in worlds() {
        world.link("a/new", "to-new");
        world.link("to-new", "chain");
        world.link("a", "to-directory");
        let a = rustix::fs::fstat(world.root.open_directory(Path::new("a")).unwrap()).unwrap();
        for path in ["chain", "to-new", "a/new", "to-directory/new"] {
            let spot = world.root.final_spot(Path::new(path), false).unwrap().unwrap();
            let directory = rustix::fs::fstat(&spot.directory).unwrap();
            assert_eq!((spot.name.to_str(), directory.st_ino), (Some("new"), a.st_ino), "{path}");
        }
        let spot = world.root.final_spot(Path::new("x/y/z"), true).unwrap().unwrap();
        assert_eq!(spot.name, "z");
        assert!(world.root.path().join("x/y").is_dir());
        world.link("../out/new", "leads-out");
        let code = world.root.final_spot(Path::new("leads-out"), true).unwrap_err().code;
        assert_eq!(code, ErrorCode::OutsideWorkspace);
    }
}

#[test]
fn a_link_is_judged_before_it_is_made() {
    for world in worlds() {
        world.link("..", "a/up");
        for (parent, target, out) in [
            ("", "a/f", false),
            ("", "../out", true),
            ("a", "../x", false),
            ("a", "../../x", true),
            ("a/up", "../x", true),
            ("", "missing/../x", false),
            ("", "missing/../../x", true),
            ("", "/etc", true),
        ] {
            let got = world.root.link_leads_out(Path::new(parent), Path::new(target));
            assert_eq!(got, out, "{parent} {target}");
        }
        let beneath = world.root.path().join("a");
        assert!(!world.root.link_leads_out(Path::new(""), &beneath));
    }
}

#[test]
fn what_is_held_is_not_changed_whatever_leads_there() {
    use crate::files::{WriteLocks, delete_file, edit_file, make_directory, move_path, write_file};
    use stigmer_core::file::{DeleteFile, Edit, EditFile, MakeDirectory, MovePath, WriteFile};
    for world in worlds() {
        let World { folder, root } = world;
        let root = root.holding(|path| path == Path::new("h") || path.starts_with("h/k"));
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("h/k")).unwrap();
        std::fs::write(at("h/k/f"), "held").unwrap();
        for (target, name) in [
            ("h/k", "into"),
            ("h", "to"),
            ("h/k/f", "end"),
            ("../h/k", "a/up"),
            ("h/k/new", "made"),
        ] {
            symlink(target, at(name)).unwrap();
        }
        let locks = WriteLocks::new(&folder.path().join("state"));
        let write = |path: &str| {
            let request =
                WriteFile { path: path.into(), content: "x".into(), ..WriteFile::default() };
            write_file(&root, &locks, request).map(drop)
        };
        let delete = |path: &str| {
            delete_file(&root, &locks, DeleteFile { path: path.into(), recursive: true }).map(drop)
        };
        let movement = |from: &str, to: &str| {
            let request = MovePath { from: from.into(), to: to.into(), replace: true };
            move_path(&root, &locks, request)
        };
        let make =
            |path: &str| make_directory(&root, MakeDirectory { path: path.into(), parents: true });
        let edit = |path: &str| {
            let edit = Edit { old: "held".into(), new: "x".into(), replace_all: false };
            let request = EditFile { path: path.into(), edits: vec![edit], ..EditFile::default() };
            edit_file(&root, &locks, request).map(drop)
        };
        let refused = [
            write("h/k/f"),
            write("h/k/deep/new"),
            write("into/f"),
            write("into/deep/new"),
            write("to/k/f"),
            write("a/up/f"),
            write("end"),
            write("made"),
            write("a/../h/k/f"),
            edit("h/k/f"),
            edit("end"),
            delete("h"),
            delete("h/k"),
            delete("to/k/f"),
            movement("h", "gone"),
            movement("h/k/f", "gone"),
            movement("a/f", "into/f"),
            movement("a", "h"),
            make("h/k/d"),
            make("into/d"),
            root.make_directories(Path::new("into")).map(drop),
            root.make_directories(Path::new("h/k/d/e")).map(drop),
        ];
        for (number, result) in refused.into_iter().enumerate() {
            let error = result.expect_err(&number.to_string());
            assert_eq!(error.code, ErrorCode::PermissionDenied, "{number}: {error}");
            assert!(error.hint.is_some());
        }
        assert_eq!(std::fs::read_to_string(at("h/k/f")).unwrap(), "held");
        let inner = std::fs::read_dir(at("h/k")).unwrap().count();
        assert!(inner <= 2, "nothing but empty directories on the way: {inner}");
        // All else is changed as ever, links to what is held included.
        write("h/other").unwrap();
        write("a/f").unwrap();
        delete("into").unwrap();
        movement("to", "b").unwrap();
        assert_eq!(std::fs::read_to_string(at("h/other")).unwrap(), "x");
    }
}
