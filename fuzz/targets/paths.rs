//! Whatever a path and the links on it say, nothing outside the root is opened, and both ways of
//! following a path agree.
#![no_main]

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stigmer_core::{ErrorCode, FilePath};
use stigmer_host::{Resolver, Root};

/// Pieces of paths, so that random bytes often name something.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Piece {
    Up,
    Here,
    Slash,
    Directory,
    File,
    LinkA,
    LinkB,
    Outside,
    /// The absolute path of the root.
    Root,
    /// The absolute path of a file beside the root.
    Secret,
    Proc,
    Odd(u8),
}

#[derive(Arbitrary, Debug)]
struct Input {
    path: Vec<Piece>,
    link_a: Vec<Piece>,
    link_b: Vec<Piece>,
}

struct Place {
    home: tempfile::TempDir,
    openat2: Option<Root>,
    walk: Root,
}

thread_local! {
    static PLACE: Place = {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        std::fs::create_dir_all(root.join("d/d")).unwrap();
        std::fs::create_dir(home.path().join("outside")).unwrap();
        for file in ["f", "d/f", "d/d/f", "../secret", "../outside/f"] {
            std::fs::write(root.join(file), file).unwrap();
        }
        let openat2 = Root::open(&root, Some(Resolver::Openat2)).ok();
        let walk = Root::open(&root, Some(Resolver::Walk)).unwrap();
        Place { home, openat2, walk }
    };
}

fn text(place: &Place, pieces: &[Piece]) -> Vec<u8> {
    let mut text = Vec::new();
    for piece in pieces.iter().take(64) {
        let path = |name: &str| place.home.path().join(name).into_os_string().into_encoded_bytes();
        match piece {
            Piece::Up => text.extend(b"../"),
            Piece::Here => text.extend(b"./"),
            Piece::Slash => text.push(b'/'),
            Piece::Directory => text.extend(b"d/"),
            Piece::File => text.push(b'f'),
            Piece::LinkA => text.extend(b"a/"),
            Piece::LinkB => text.extend(b"d/b"),
            Piece::Outside => text.extend(b"outside/"),
            Piece::Root => text.extend(path("root/")),
            Piece::Secret => text.extend(path("secret")),
            Piece::Proc => text.extend(b"/proc/self/cwd/"),
            Piece::Odd(byte) => text.push(*byte),
        }
    }
    text
}

fn link(place: &Place, name: &str, target: &[Piece]) {
    let name = place.home.path().join("root").join(name);
    let _ = std::fs::remove_file(&name);
    // An empty target, or one with a NUL byte, is no link: then there is none.
    let _ = std::os::unix::fs::symlink(OsStr::from_bytes(&text(place, target)), name);
}

fn opened(root: &Root, relative: &Path) -> Result<std::path::PathBuf, ErrorCode> {
    let where_is = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    let place = match root.open_file(relative) {
        Ok(file) => where_is(file.as_raw_fd()),
        Err(error) => match root.open_directory(relative) {
            Ok(directory) => where_is(directory.as_raw_fd()),
            Err(_) => return Err(error.code),
        },
    };
    assert!(place.starts_with(root.path()), "{} led to {}", relative.display(), place.display());
    Ok(place)
}

fuzz_target!(|input: Input| {
    PLACE.with(|place| {
        link(place, "a", &input.link_a);
        link(place, "d/b", &input.link_b);
        let path = FilePath::from(text(place, &input.path));
        let Ok(relative) = place.walk.relative(&path) else { return };
        assert!(relative.components().all(|part| matches!(part, Component::Normal(_))));
        let walked = opened(&place.walk, &relative);
        if let Some(openat2) = &place.openat2 {
            let by_kernel = opened(openat2, &relative);
            // The walk reads a link's text `f/` as `f`, where the kernel wants a directory.
            let stricter = by_kernel == Err(ErrorCode::NotADirectory);
            assert!(by_kernel == walked || stricter, "{relative:?}: {by_kernel:?}, {walked:?}");
        }
        let _ = place.walk.stat(&relative);
    });
});
