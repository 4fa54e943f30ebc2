use super::*;
use bytes::Bytes;
use std::os::unix::fs::{MetadataExt, symlink};
use tar::{Builder, Header};

struct World {
    folder: tempfile::TempDir,
    root: Arc<Root>,
    locks: Arc<WriteLocks>,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    for path in ["w", "out"] {
        std::fs::create_dir(folder.path().join(path)).unwrap();
    }
    let root = Arc::new(Root::open(&folder.path().join("w"), None).unwrap());
    let locks = Arc::new(WriteLocks::new(&folder.path().join("state")));
    World { folder, root, locks }
}

impl World {
    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    async fn send(
        &self,
        path: &str,
        format: TransferFormat,
        pieces: Vec<Result<Bytes>>,
    ) -> Result<UploadSummary> {
        let content = Box::pin(futures_util::stream::iter(pieces));
        let request = Upload { path: path.into(), format, mode: None };
        upload(Arc::clone(&self.root), Arc::clone(&self.locks), request, content).await
    }

    async fn tar(&self, bytes: &[u8]) -> Result<UploadSummary> {
        // Pieces that agree with no boundary of the format.
        let pieces = bytes.chunks(777).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        self.send("in", TransferFormat::Tar, pieces).await
    }

    /// Every file there is, temporary ones included.
    fn names(&self) -> Vec<String> {
        fn walk(path: &Path, names: &mut Vec<String>) {
            for entry in std::fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                names.push(entry.file_name().to_string_lossy().into_owned());
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), names);
                }
            }
        }
        let mut names = Vec::new();
        walk(self.root.path(), &mut names);
        names.sort();
        names
    }
}

fn entry(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &[u8], link: &[u8], text: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(text.len() as u64);
    header.set_mode(0o6751);
    header.set_mtime(1_000_000_000);
    // Written past the library's own checks: they would refuse what is to be refused here.
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    builder.append(&header, text).unwrap();
}

/// Kind, name, link target and content.
type Given<'a> = (EntryType, &'a [u8], &'a [u8], &'a [u8]);

fn archive(entries: &[Given<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, link, text) in entries {
        entry(&mut builder, *kind, name, link, text);
    }
    builder.into_inner().unwrap()
}

use EntryType::{Directory, Fifo, Link, Regular, Symlink};

#[tokio::test]
async fn a_tree_arrives_with_modes_and_times() {
    let world = world();
    let bytes = archive(&[
        (Directory, b"./", b"", b""),
        (Directory, b"d/", b"", b""),
        (Regular, b"d/f\n\xff", b"", b"text"),
        (Symlink, b"d/l", b"../d/e", b""),
        (Link, b"h", b"d/f\n\xff", b""),
        (Regular, b"x/y/z", b"", b""),
    ]);
    let done = world.tar(&bytes).await.unwrap();
    let want = UploadSummary { files: 3, directories: 2, symlinks: 1, bytes: 4 };
    assert_eq!(done, want);
    let stat = std::fs::metadata(world.at("in/h")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.mtime(), stat.nlink()), (0o751, 1_000_000_000, 2));
    let stat = std::fs::metadata(world.at("in/d")).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.mtime()), (0o751, 1_000_000_000));
    assert_eq!(std::fs::read_link(world.at("in/d/l")).unwrap(), Path::new("../d/e"));
    assert_eq!(world.tar(&bytes).await.unwrap(), want, "again, over what is there");
}

#[tokio::test]
async fn long_names_and_links_arrive() {
    let world = world();
    let long = ["0123456789"; 9].join("/").repeat(3);
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o600);
    builder.append_data(&mut header, &long, &b"x"[..]).unwrap();
    let mut header = Header::new_gnu();
    header.set_entry_type(Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", &long).unwrap();
    builder.append_pax_extensions([("path", &b"pax/name"[..])]).unwrap();
    let mut header = Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o600);
    builder.append_data(&mut header, "short", &b"y"[..]).unwrap();
    world.tar(&builder.into_inner().unwrap()).await.unwrap();
    assert_eq!(std::fs::read(world.at("in/link")).unwrap(), b"x");
    assert_eq!(std::fs::read(world.at("in/pax/name")).unwrap(), b"y");
}

#[tokio::test]
async fn sparse_files_arrive() {
    let world = world();
    let source = world.folder.path().join("sparse");
    let mut file = std::fs::File::create(&source).unwrap();
    file.seek(SeekFrom::Start(20 << 20)).unwrap();
    file.write_all(b"end").unwrap();
    let mut builder = Builder::new(Vec::new());
    builder.append_path_with_name(&source, "f").unwrap();
    let bytes = builder.into_inner().unwrap();
    assert!(bytes.len() < 1 << 20, "the archive itself is not sparse: {}", bytes.len());
    world.tar(&bytes).await.unwrap();
    let got = std::fs::metadata(world.at("in/f")).unwrap();
    assert_eq!(std::fs::read(world.at("in/f")).unwrap(), std::fs::read(&source).unwrap());
    assert!(got.blocks() * 512 < 1 << 20, "it takes {} blocks", got.blocks());
}

#[tokio::test]
async fn sparse_files_of_the_newer_form_are_refused() {
    for keys in [
        &[("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("mtime", b"1")][..],
        &[("mtime", b"1"), ("GNU.sparse.map", b"0,1,9,1")],
    ] {
        let world = world();
        let mut builder = Builder::new(Vec::new());
        builder.append_pax_extensions(keys.iter().copied()).unwrap();
        entry(&mut builder, Regular, b"GNUSparseFile.0/f", b"", b"1\n0\n");
        let error = world.tar(&builder.into_inner().unwrap()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(error.message.contains("GNUSparseFile.0/f"), "{error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("--format=gnu")));
        assert_eq!(world.names(), ["in"]);
    }
}

#[tokio::test]
async fn nothing_leads_out() {
    let world = world();
    symlink("../../out", world.root.path().join("there")).unwrap();
    std::fs::create_dir(world.at("in")).unwrap();
    symlink("../../out", world.at("in/preset")).unwrap();
    let absolute = world.folder.path().join("out/f");
    for entries in [
        &[(Regular, &b"../../out/f"[..], &b""[..], &b"x"[..])][..],
        &[(Regular, b"a/../../../out/f", b"", b"x")],
        &[(Regular, absolute.as_os_str().as_encoded_bytes(), b"", b"x")],
        &[(Regular, b"preset/f", b"", b"x")],
        &[(Directory, b"preset/d", b"", b"")],
        &[(Symlink, b"l", b"../../out", b"")],
        &[(Symlink, b"l", b"/etc", b"")],
        &[(Symlink, b"u", b"..", b""), (Symlink, b"u/l", b"../out", b"")],
        &[(Link, b"h", b"../../out/secret", b"")],
        &[(Link, b"h", b"preset/secret", b"")],
    ] {
        std::fs::write(world.folder.path().join("out/secret"), "").unwrap();
        let error = world.tar(&archive(entries)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::OutsideWorkspace, "{entries:?} {error}");
        let out = std::fs::read_dir(world.folder.path().join("out")).unwrap().count();
        assert_eq!(out, 1, "{entries:?}");
        let _ = std::fs::remove_file(world.at("in/u"));
    }
    // The link itself is replaced, never what it leads to.
    world.tar(&archive(&[(Regular, b"preset", b"", b"x")])).await.unwrap();
    assert!(world.at("in/preset").is_file());
}

#[tokio::test]
async fn no_link_leads_out_by_what_comes_after_it() {
    let later = &[
        (Symlink, &b"l1"[..], &b"d/../../out"[..], &b""[..]),
        (Symlink, b"l2", b"d/../../secret", b""),
        (Symlink, b"d", b".", b""),
    ][..];
    // The link stays beneath where it is deep, and leads out where it is not.
    let moved = &[
        (Directory, &b"a/b/"[..], &b""[..], &b""[..]),
        (Symlink, b"a/b/l", b"../../../f", b""),
        (Link, b"h", b"a/b/l", b""),
    ];
    for (entries, kept) in [(later, &["d", "in"][..]), (moved, &["a", "b", "in", "l"])] {
        let world = world();
        for cut in [0, 1024] {
            let bytes = archive(entries);
            let error = world.tar(&bytes[..bytes.len() - cut]).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::OutsideWorkspace, "{error}");
            assert_eq!(world.names(), kept, "{entries:?}");
        }
    }
    // Others stay, and so do links to what is not there.
    let world = world();
    let good = [(Symlink, &b"l"[..], &b"d/../f"[..], &b""[..]), (Symlink, b"d", b"e", b"")];
    world.tar(&archive(&good)).await.unwrap();
    assert_eq!(world.names(), ["d", "in", "l"]);
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    for kind in [Fifo, EntryType::Char, EntryType::Block, EntryType::new(b'Z')] {
        let world = world();
        let error = world.tar(&archive(&[(kind, b"f", b"", b"")])).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{kind:?}");
        assert!(error.message.contains("in/f"), "{error}");
    }
}

#[tokio::test]
async fn a_truncated_archive_is_named_and_leaves_no_half_file() {
    let entries =
        [(Regular, &b"one"[..], &b""[..], &b"1"[..]), (Regular, b"two", b"", &[b'x'; 2000])];
    let whole = archive(&entries);
    for cut in [0, 100, 512, 600, 1024, 1400, 1536, 2000, 3000, 3583, 3584] {
        let world = world();
        let error = world.tar(&whole[..cut]).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{cut} {error}");
        assert!(error.message.contains("truncated"), "{cut} {error}");
        let names = world.names();
        assert!(!names.iter().any(|name| name.contains("tmp")), "{cut} {names:?}");
        // Its content is whole from byte 3,536 on; what follows is padding.
        assert_eq!(names.contains(&"two".to_owned()), cut >= 3536, "{cut} {names:?}");
    }
    assert!(world().tar(&whole[..4096]).await.is_ok(), "one block of zeros is an end mark");
    let error = world().tar(&b"no archive".repeat(100)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn a_header_cannot_eat_the_memory() {
    let mut builder = Builder::new(Vec::new());
    entry(&mut builder, EntryType::GNULongName, b"././@LongLink", b"", &vec![b'x'; 9 << 20]);
    entry(&mut builder, Regular, b"f", b"", b"");
    let error = world().tar(&builder.into_inner().unwrap()).await.unwrap_err();
    assert!(error.message.contains("too large"), "{error}");
}

#[tokio::test]
async fn the_streams_own_failure_is_what_is_told() {
    let failure = || Err(ToolError::new(ErrorCode::Busy, "the client stumbled"));
    let whole = archive(&[(Regular, b"f", b"", &[b'x'; 2000])]);
    for format in [TransferFormat::Tar, TransferFormat::File] {
        let world = world();
        let pieces = vec![Ok(Bytes::copy_from_slice(&whole[..1000])), failure()];
        let error = world.send("f", format, pieces).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Busy, "{error}");
        assert!(!world.at("f").is_file() && !world.at("f/f").exists());
    }
}

#[tokio::test]
async fn a_single_file_is_streamed() {
    let world = world();
    symlink("f", world.at("link")).unwrap();
    let send = |path, size: usize| {
        let pieces = vec![Ok(Bytes::from(vec![b'x'; size])), Ok(Bytes::new())];
        world.send(path, TransferFormat::File, pieces)
    };
    let done = send("link", 1 << 20).await.unwrap();
    assert_eq!((done.files, done.bytes), (1, 1 << 20));
    assert_eq!(std::fs::metadata(world.at("f")).unwrap().len(), 1 << 20);
    send("a/b", 0).await.unwrap();
    assert!(world.at("a/b").is_file());
    assert_eq!(send("a", 1).await.unwrap_err().code, ErrorCode::IsDirectory);
    assert_eq!(send("../f", 1).await.unwrap_err().code, ErrorCode::OutsideWorkspace);
}

#[tokio::test]
async fn a_write_protected_file_is_not_replaced() {
    let world = world();
    std::fs::write(world.at("f"), "old").unwrap();
    std::fs::set_permissions(world.at("f"), std::os::unix::fs::PermissionsExt::from_mode(0o444))
        .unwrap();
    let done = world.send("f", TransferFormat::File, vec![Ok(Bytes::from_static(b"new"))]).await;
    if rustix::process::geteuid().is_root() {
        assert!(done.is_ok(), "root may");
        return;
    }
    assert_eq!(done.unwrap_err().code, ErrorCode::PermissionDenied);
    assert_eq!(std::fs::read(world.at("f")).unwrap(), b"old");
}

#[tokio::test]
async fn an_upload_that_is_given_up_leaves_nothing() {
    let world = world();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes>>(1);
    let content = Box::pin(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    }));
    let request = Upload { path: "f".into(), format: TransferFormat::File, mode: None };
    let running = upload(Arc::clone(&world.root), Arc::clone(&world.locks), request, content);
    let running = tokio::spawn(running);
    sender.send(Ok(Bytes::from_static(b"half"))).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    running.abort();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(world.names(), Vec::<String>::new());
}
