use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;
use crate::archive::decompressed;
use crate::limits::MAX_ARCHIVE_BYTES;

const SKILL: &str = "---\nname: demo\ndescription: Shows how\n---\n# Demo\n";

/// An entry: its kind, name, permission bits, and content or where a link leads.
type Given<'a> = (EntryType, &'a str, u32, &'a [u8]);

fn file<'a>(name: &'a str, content: &'a str) -> Given<'a> {
    (EntryType::Regular, name, 0o644, content.as_bytes())
}

/// An archive with its names and links as they are: the builder refuses hostile ones.
fn tar(entries: &[Given<'_>]) -> Bytes {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, mode, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        let link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if link {
            header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content);
        }
        let content: &[u8] = if link { b"" } else { content };
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap().into()
}

fn read(entries: &[Given<'_>]) -> Result<Package> {
    let mut all = vec![file("SKILL.md", SKILL)];
    all.extend_from_slice(entries);
    Package::read(&tar(&all))
}

fn refused(entries: &[Given<'_>], code: ErrorCode, says: &str) {
    let error = read(entries).unwrap_err();
    assert!(error.code == code && error.message.contains(says), "{error:?}");
}

#[test]
fn a_name_that_is_no_path_is_refused_before_anything_is_done_with_it() {
    let long = "a/".repeat(3_000);
    for links in [true, false] {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_entry_type(if links { EntryType::Symlink } else { EntryType::Regular });
        match links {
            true => builder.append_link(&mut header, "link", &long).unwrap(),
            false => builder.append_data(&mut header, &long, &[][..]).unwrap(),
        }
        let refused = Package::read(&builder.into_inner().unwrap().into()).unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooLarge, "{}", refused.message);
    }
}

#[test]
fn the_digest_is_of_paths_kinds_and_content_and_of_nothing_else() {
    let given = [file("a/b", "x"), (EntryType::Regular, "run", 0o755, b"#!/bin/sh\n")];
    let package = read(&given).unwrap();
    assert_eq!(
        (&*package.name, package.files, package.bytes),
        ("demo", 3, 11 + SKILL.len() as u64)
    );
    let digest = |entries: &[Given<'_>]| read(entries).unwrap().digest;
    // Of the order, directories, other permission bits, and a directory around it all it is not.
    let [b, run] = given;
    assert_eq!(digest(&[run, b]), package.digest);
    let directory = (EntryType::Directory, "a", 0o700, &b""[..]);
    assert_eq!(
        digest(&[directory, (b.0, b.1, 0o600, b.3), (run.0, run.1, 0o500, run.3)]),
        package.digest
    );
    let around =
        tar(&[file("x/SKILL.md", SKILL), file("x/a/b", "x"), (run.0, "x/run", 0o755, run.3)]);
    assert_eq!(Package::read(&around).unwrap().digest, package.digest);
    for other in [
        [file("a/b", "y"), run],
        [file("a/c", "x"), run],
        [b, (run.0, run.1, 0o644, run.3)],
        [(EntryType::Symlink, "a", 0o777, b"run"), run],
    ] {
        assert_ne!(digest(&other), package.digest, "{other:?}");
    }
    // As published: another version would upload everything anew.
    assert_eq!(digest(&[]), "0f85840021fb8950d6d56b36422dad9856135920e889c6d460ed109dfa2fc81c");
}

#[test]
fn an_entry_that_leads_out_is_refused() {
    let outside = ErrorCode::OutsideWorkspace;
    refused(&[file("../evil", "")], outside, "`..`");
    refused(&[file("a/../../evil", "")], outside, "`..`");
    refused(&[file("a/../b", "")], outside, "`..`");
    refused(&[file("/etc/evil", "")], outside, "absolute");
    for target in ["/etc/passwd", "../x", "..", "a/../../x", ".", "nothing", "l", ""] {
        let link = (EntryType::Symlink, "l", 0o777, target.as_bytes());
        let error = read(&[link, file("a/b", "")]).unwrap_err();
        assert_eq!(error.code, outside, "{target}: {error:?}");
    }
    let through = [
        file("a/b/c/x", ""),
        file("top/x", ""),
        file("a/x", ""),
        (EntryType::Symlink, "a/b/c/l", 0o777, &b"../../../top"[..]),
        (EntryType::Symlink, "a/b/c/k", 0o777, b"l/../../../x"),
    ];
    refused(&through, outside, "a/b/c/k");
    let beneath = [(EntryType::Symlink, "l", 0o777, &b"a"[..]), file("a/b", ""), file("l/c", "")];
    refused(&beneath, outside, "l/c");
    refused(&[(EntryType::Link, "l", 0o644, b"../../etc/passwd")], outside, "`..`");
    refused(&[(EntryType::Link, "l", 0o644, b"later"), file("later", "")], outside, "before");
}

#[test]
fn links_within_are_kept_and_hard_links_become_files() {
    let package = read(&[
        file("d/f", "x"),
        (EntryType::Symlink, "d/up", 0o777, b"../SKILL.md"),
        (EntryType::Symlink, "dir", 0o777, b"d/"),
        (EntryType::Link, "same", 0o644, b"./d/f"),
    ]);
    let nodes = package.unwrap().nodes;
    assert_eq!(nodes["d/up"], Node::Link { target: "../SKILL.md".into() });
    assert_eq!(nodes["same"], nodes["d/f"]);
}

#[test]
fn devices_and_fifos_are_refused() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        refused(&[(kind, "thing", 0o644, b"")], ErrorCode::InvalidArgument, "thing");
    }
}

#[test]
fn every_limit_refuses_what_is_larger_and_names_itself() {
    let names: Vec<String> = (0..MAX_ENTRIES).map(|number| format!("f{number}")).collect();
    let many: Vec<Given<'_>> = names.iter().map(|name| file(name, "")).collect();
    read(&many[1..]).unwrap();
    refused(&many, ErrorCode::TooLarge, "1000");

    let file_bytes = usize::try_from(MAX_FILE_BYTES).unwrap();
    let large = vec![0; file_bytes + 1];
    let of = |name, size: usize| (EntryType::Regular, name, 0o644, &large[..size]);
    refused(&[of("large", file_bytes + 1)], ErrorCode::TooLarge, "large");
    // With SKILL.md two of the largest are too much.
    read(&[of("a", file_bytes)]).unwrap();
    refused(&[of("a", file_bytes), of("b", file_bytes)], ErrorCode::TooLarge, "33554432");

    let deep = "d/".repeat(MAX_DEPTH - 1) + "f";
    read(&[file(&deep, "")]).unwrap();
    refused(&[file(&format!("d/{deep}"), "")], ErrorCode::TooLarge, "16");
    // Content that is there several times counts each time.
    let links: Vec<String> = (0..3).map(|number| format!("l{number}")).collect();
    let mut bomb = vec![of("a", file_bytes)];
    bomb.extend(links.iter().map(|name| (EntryType::Link, name.as_str(), 0o644, &b"a"[..])));
    refused(&bomb, ErrorCode::TooLarge, "33554432");
}

#[test]
fn what_is_no_skill_is_refused() {
    for (entries, says) in [
        (vec![], "no file SKILL.md"),
        (vec![file("README.md", "")], "no file SKILL.md"),
        (vec![file("a/b/SKILL.md", SKILL)], "no file SKILL.md"),
        (vec![file("a/SKILL.md", SKILL), file("b", "")], "no file SKILL.md"),
        (vec![file("SKILL.md", SKILL), file("./SKILL.md", SKILL)], "twice"),
        (vec![file("SKILL.md", SKILL), file("a", ""), file("a/b", "")], "no directory"),
        (vec![file("SKILL.md", SKILL), file("a\nb", "")], "control"),
        (vec![file("SKILL.md", "# no head")], "does not begin"),
        (vec![file("x", "y"), (EntryType::Symlink, "SKILL.md", 0o777, b"x")], "no file SKILL.md"),
    ] {
        let error = Package::read(&tar(&entries)).unwrap_err();
        assert!(error.message.contains(says), "{entries:?}: {}", error.message);
    }
    let whole = tar(&[file("SKILL.md", SKILL), file("a", "b")]);
    for cut in [0, 100, 512, 700, 1024, 1536, 2048] {
        let error = Package::read(&whole.slice(..cut)).unwrap_err();
        assert!(
            ["truncated", "broken"].iter().any(|word| error.message.contains(word)),
            "{error:?}"
        );
    }
    assert!(Package::read(&Bytes::from(vec![b'x'; 4096])).is_err());
}

#[test]
fn gzip_is_undone_as_far_as_the_limit() {
    let compressed = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        Bytes::from(encoder.finish().unwrap())
    };
    let whole = tar(&[file("SKILL.md", SKILL)]);
    assert_eq!(decompressed(compressed(&whole)).unwrap(), whole);
    assert_eq!(decompressed(whole.clone()).unwrap(), whole);
    let bomb = compressed(&vec![0; MAX_ARCHIVE_BYTES + 1]);
    assert!(bomb.len() < MAX_ARCHIVE_BYTES / 100);
    assert_eq!(decompressed(bomb).unwrap_err().code, ErrorCode::TooLarge);
    let broken = compressed(&whole);
    assert!(decompressed(broken.slice(..broken.len() - 9)).is_err());
    assert!(
        decompressed(Bytes::from_static(b"PK\x03\x04....")).unwrap_err().message.contains("zip")
    );
}

#[test]
fn a_skill_is_found_again_in_an_archive_that_has_more() {
    let package = read(&[file("a", "1"), (EntryType::Symlink, "l", 0o777, b"a")]).unwrap();
    let (skill, link) = (file("SKILL.md", SKILL), (EntryType::Symlink, "l", 0o777, &b"a"[..]));
    let with = |entries: &[Given<'_>]| package.is_in(&tar(entries));
    assert!(with(&[skill, file("a", "1"), link]));
    assert!(with(&[
        skill,
        file("a", "1"),
        link,
        file("cache/x", ""),
        (EntryType::Fifo, "f", 0, b"")
    ]));
    assert!(!with(&[skill, file("a", "2"), link]));
    assert!(!with(&[skill, (EntryType::Regular, "a", 0o755, b"1"), link]));
    assert!(!with(&[skill, link]));
    assert!(!with(&[skill, file("a", "1"), file("l", "a")]));
}

proptest! {
    #[test]
    fn no_names_lead_out_or_make_it_panic(
        names in prop::collection::vec(("[./ab]{0,12}", "[./abl]{0,12}", 0..3_u8), 0..6),
    ) {
        let entries: Vec<Given<'_>> = names.iter().map(|(name, target, kind)| match kind {
            0 => file(name, "x"),
            1 => (EntryType::Symlink, name.as_str(), 0o777, target.as_bytes()),
            _ => (EntryType::Directory, name.as_str(), 0o755, &b""[..]),
        }).collect();
        if let Ok(package) = read(&entries) {
            for (path, node) in &package.nodes {
                prop_assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path}");
                if let Node::Link { target } = node {
                    prop_assert!(!target.starts_with('/'), "{target}");
                }
            }
        }
    }
}
