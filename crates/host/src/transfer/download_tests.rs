use super::*;
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt, symlink};

fn world() -> (tempfile::TempDir, Arc<Root>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("w/d")).unwrap();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out/secret"), "secret").unwrap();
    let root = Arc::new(Root::open(&folder.path().join("w"), None).unwrap());
    (folder, root)
}

async fn take(root: &Arc<Root>, path: &str, format: TransferFormat) -> Result<Vec<u8>> {
    let request = Download { path: path.into(), format };
    let mut stream = download(Arc::clone(root), request).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// What an archive holds: kind, mode, and content or link target of each name.
fn unpack(bytes: &[u8]) -> BTreeMap<Vec<u8>, (EntryType, u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut text = Vec::new();
        entry.read_to_end(&mut text).unwrap();
        if let Some(target) = entry.link_name_bytes() {
            text = target.into_owned();
        }
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode().unwrap());
        (entry.path_bytes().into_owned(), (kind, mode, text))
    });
    entries.collect()
}

#[tokio::test]
async fn a_tree_goes_out_and_no_link_is_followed() {
    let (_folder, root) = world();
    let at = |path: &str| root.path().join(path);
    std::fs::write(at("d/f"), "text").unwrap();
    std::fs::set_permissions(at("d/f"), PermissionsExt::from_mode(0o751)).unwrap();
    symlink("../out", at("link")).unwrap();
    symlink("../../out/secret", at("d/link")).unwrap();
    std::fs::write(root.path().join(OsStr::from_bytes(b"n\n\xff")), "x").unwrap();
    rustix::fs::mkfifoat(root.base(), "fifo", rustix::fs::Mode::RWXU).unwrap();
    let long = format!("d/{}", "l".repeat(200));
    std::fs::write(at(&long), "long").unwrap();
    let got = unpack(&take(&root, "", TransferFormat::Tar).await.unwrap());
    let names: Vec<_> = got.keys().map(|name| String::from_utf8_lossy(name)).collect();
    let long = long.as_str();
    assert_eq!(names, ["d/", "d/f", "d/link", long, "link", "n\n\u{fffd}"]);
    assert_eq!(got[&b"d/f"[..]], (EntryType::Regular, 0o751, b"text".to_vec()));
    assert_eq!(got[&b"link"[..]].2, b"../out");
    let got = unpack(&take(&root, "d/f", TransferFormat::Tar).await.unwrap());
    assert_eq!(got.keys().collect::<Vec<_>>(), [b"f"]);
    assert_eq!(take(&root, "d/f", TransferFormat::File).await.unwrap(), b"text");
}

#[tokio::test]
async fn files_of_every_size_arrive_whole() {
    let (_folder, root) = world();
    let sizes = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK - BLOCK, CHUNK - 1, CHUNK, 3 * CHUNK + 7];
    let content = |size: usize| (0..size).map(|at| (at % 251) as u8).collect::<Vec<u8>>();
    for size in sizes {
        std::fs::write(root.path().join(format!("d/{size:09}")), content(size)).unwrap();
    }
    let got = unpack(&take(&root, "d", TransferFormat::Tar).await.unwrap());
    assert_eq!(got.len(), sizes.len());
    for size in sizes {
        let name = format!("{size:09}");
        assert!(got[name.as_bytes()].2 == content(size), "{size} in an archive");
        let alone = take(&root, &format!("d/{name}"), TransferFormat::File).await.unwrap();
        assert!(alone == content(size), "{size} alone");
    }
}

#[tokio::test]
async fn what_can_be_known_fails_at_once() {
    let (_folder, root) = world();
    symlink("../out", root.path().join("link")).unwrap();
    use TransferFormat::{File, Tar};
    for (path, format, code) in [
        ("none", Tar, ErrorCode::NotFound),
        ("d", File, ErrorCode::IsDirectory),
        ("link", Tar, ErrorCode::OutsideWorkspace),
        ("link/secret", File, ErrorCode::OutsideWorkspace),
    ] {
        let request = Download { path: path.into(), format };
        let error = download(Arc::clone(&root), request).await.err().unwrap();
        assert_eq!(error.code, code, "{path}");
    }
}

#[tokio::test]
async fn what_goes_out_can_come_in() {
    let (folder, root) = world();
    std::fs::write(root.path().join("d/large"), vec![b'x'; 3 << 20]).unwrap();
    symlink("large", root.path().join("d/link")).unwrap();
    let request = Download { path: "d".into(), format: TransferFormat::Tar };
    let stream = download(Arc::clone(&root), request).await.unwrap();
    let locks = crate::files::WriteLocks::new(&folder.path().join("state"));
    let request = stigmer_core::transfer::Upload { path: "e".into(), ..Default::default() };
    let done = super::super::upload(Arc::clone(&root), Arc::new(locks), request, stream).await;
    assert_eq!(done.unwrap().bytes, 3 << 20);
    assert_eq!(std::fs::read(root.path().join("e/link")).unwrap().len(), 3 << 20);
}

/// Takes a tree in which a large file gets another size after the first piece.
async fn take_while_it_becomes(size: u64) -> (Vec<u8>, Result<()>) {
    let (_folder, root) = world();
    let path = root.path().join("d/f");
    std::fs::write(&path, vec![b'x'; 8 << 20]).unwrap();
    std::fs::write(root.path().join("d/g"), "after").unwrap();
    let request = Download { path: "".into(), format: TransferFormat::Tar };
    let mut stream = download(Arc::clone(&root), request).await.unwrap();
    let mut bytes = stream.next().await.unwrap().unwrap().to_vec();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

#[tokio::test]
async fn a_file_that_grows_meanwhile_does_not_break_the_archive() {
    let (bytes, done) = take_while_it_becomes(16 << 20).await;
    done.unwrap();
    let got = unpack(&bytes);
    assert_eq!(got[&b"d/f"[..]].2.len(), 8 << 20);
    assert_eq!(got[&b"d/g"[..]].2, b"after");
}

#[tokio::test]
async fn a_file_that_shrinks_meanwhile_ends_the_stream_with_an_error() {
    let (bytes, done) = take_while_it_becomes(0).await;
    let error = done.unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy);
    assert!(error.message.starts_with("d/f: shrank"), "{error}");
    assert!(bytes.len() < 8 << 20, "nothing is made up");
}

#[tokio::test]
async fn dropping_the_stream_stops_the_work() {
    let (_folder, root) = world();
    let file = File::create(root.path().join("endless")).unwrap();
    file.set_len(1 << 40).unwrap();
    let request = Download { path: "endless".into(), format: TransferFormat::File };
    let mut stream = download(Arc::clone(&root), request).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    // The work holds the root; when it has stopped, nobody else does.
    for _ in 0..100 {
        if Arc::strong_count(&root) == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the work goes on");
}
