//! Bad paths: every operation refuses them alike.

use stigmer_core::file::{
    DeleteFile, Edit, EditFile, ListDirectory, MakeDirectory, MovePath, ReadFile, WriteFile,
};
use stigmer_core::process::{Caller, StartProcess};
use stigmer_core::search::{GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, TransferFormat, Upload, Watch};
use stigmer_core::{ByteString, Capability, ErrorCode, Result};

use crate::Fixture;
use crate::archive::{Archive, stream};
use crate::check::{refused, refused_with_hint};
use crate::harness::cases;

cases! {
    every_operation_refuses_paths_that_lead_out,
    every_operation_refuses_paths_through_links_that_lead_out,
    every_operation_refuses_paths_that_are_none,
    every_operation_refuses_endless_links,
    a_capability_that_is_lacking_is_an_error,
    the_backend_is_named,
}

/// Every operation that takes a path, on one path; what reads and what writes.
async fn each(place: &Fixture, path: &ByteString) -> Vec<(&'static str, Result<()>)> {
    let executor = &place.executor;
    let at = || path.clone();
    place.seed("here", "x").await;
    let edit = Edit { old: "root".into(), new: "x".into(), replace_all: true };
    let read = ReadFile { path: at(), ..ReadFile::default() };
    let write = WriteFile { path: at(), content: "x".into(), ..WriteFile::default() };
    let create = WriteFile { create_only: true, ..write.clone() };
    let edit = EditFile { path: at(), edits: vec![edit], expected_sha256: None };
    let away = MovePath { from: at(), to: "there".into(), replace: true };
    let over = MovePath { from: "here".into(), to: at(), replace: true };
    let directories = MakeDirectory { path: at(), parents: true };
    let list = ListDirectory { path: at(), depth: 1, ..ListDirectory::default() };
    let find = SearchFiles { query: "x".into(), directories: vec![at()], ..SearchFiles::default() };
    let grep = GrepSearch { pattern: "x".into(), paths: vec![at()], ..GrepSearch::default() };
    let into = |format| Upload { path: at(), format, mode: None };
    let out = |format| Download { path: at(), format };
    let archive = Archive::new().file("evil", "x").bytes();
    let mut start = StartProcess::argv(["true"]);
    start.cwd = at();
    let mut all = vec![
        ("read_file", executor.read_file(read).await.map(drop)),
        ("stat_file", executor.stat_file(at()).await.map(drop)),
        ("write_file", executor.write_file(write).await.map(drop)),
        ("write_file, create only", executor.write_file(create).await.map(drop)),
        ("edit_file", executor.edit_file(edit).await.map(drop)),
        ("move_path from", executor.move_path(away).await),
        ("move_path to", executor.move_path(over).await),
        ("make_directory", executor.make_directory(directories).await),
        ("list_directory", executor.list_directory(list).await.map(drop)),
        ("search_files", executor.search_files(find).await.map(drop)),
        ("grep_search", executor.grep_search(grep).await.map(drop)),
        (
            "upload tar",
            executor.upload(into(TransferFormat::Tar), stream(archive, 512)).await.map(drop),
        ),
        (
            "upload file",
            executor.upload(into(TransferFormat::File), stream(*b"x", 9)).await.map(drop),
        ),
        ("download tar", executor.download(out(TransferFormat::Tar)).await.map(drop)),
        ("download file", executor.download(out(TransferFormat::File)).await.map(drop)),
        ("start_process", executor.start_process(start).await.map(drop)),
        (
            "delete_file",
            executor.delete_file(DeleteFile { path: at(), recursive: true }).await.map(drop),
        ),
    ];
    if executor.capabilities().has(Capability::Watch) {
        let watch = Watch { directories: vec![at()], ignore_rules: false };
        all.push(("watch", executor.watch(watch).await.map(drop)));
    }
    all
}

async fn every_operation_refuses_paths_that_lead_out(place: Fixture) {
    place.seed_directory("d").await;
    let sibling = format!("{}-sibling/f", place.root_text());
    for path in ["..", "../f", "d/../../f", "/", "/etc/passwd", "/..", &sibling, "./../x"] {
        for (operation, result) in each(&place, &path.into()).await {
            assert!(result.is_err(), "{operation} {path}");
            let error = refused_with_hint(result, ErrorCode::OutsideWorkspace, &[path]);
            assert_eq!(error.details["workspace"], place.root_text(), "{operation} {path}");
        }
    }
    assert_eq!(place.text("ls -A").await, "d\nhere");
}

async fn every_operation_refuses_paths_through_links_that_lead_out(place: Fixture) {
    // What lies outside is another thing in another place, to which auto mode may send the next command.
    let line = "mkdir ../away-$$; echo root > ../away-$$/f; mkdir ../away-$$/d; \
                ln -s \"../${PWD##*/}/../away-$$\" out; mkdir in; ln -s ../out in/twice; \
                ln -s \"$(cd ../away-$$; pwd)\" absolute; echo away-$$";
    let away = place.text(line).await;
    place.sh("ln -s / slash; ln -s out/f file").await;
    for path in ["out/f", "out/d", "out/new", "in/twice/f", "absolute/f", "slash/etc/passwd"] {
        for (operation, result) in each(&place, &path.into()).await {
            assert!(result.is_err(), "{operation} {path}");
            refused_with_hint(result, ErrorCode::OutsideWorkspace, &[]);
        }
    }
    let last = format!("cd ../{away}; ls -A; cat f; rm -r ../{away}");
    assert_eq!(place.text(last).await, "d\nf\nroot");
}

async fn every_operation_refuses_paths_that_are_none(place: Fixture) {
    let long = "x/".repeat(2100);
    let name = "n".repeat(256);
    for path in [b"a\0b".as_slice(), long.as_bytes(), name.as_bytes()] {
        for (operation, result) in each(&place, &path.into()).await {
            // What cannot exist is already deleted.
            if !(operation == "delete_file" && path == name.as_bytes() && result.is_ok()) {
                assert!(result.is_err(), "{operation} {}", path.len());
                refused(result, ErrorCode::InvalidArgument, &["path"]);
            }
        }
    }
}

async fn every_operation_refuses_endless_links(place: Fixture) {
    place
        .sh("ln -s loop loop; ln -s pong ping; ln -s ping pong; mkdir d; ln -s ../d/self d/self")
        .await;
    for path in ["loop/x", "ping/x", "d/self/x"] {
        for (operation, result) in each(&place, &path.into()).await {
            assert!(result.is_err(), "{operation} {path}");
            refused(result, ErrorCode::InvalidArgument, &["links"]);
        }
    }
}

async fn a_capability_that_is_lacking_is_an_error(place: Fixture) {
    let capabilities = place.executor.capabilities().clone();
    type Ask = fn(&mut StartProcess);
    let table: [(Capability, Ask); 4] = [
        (Capability::User, |start| start.user = Some("nobody".to_owned())),
        (Capability::Terminal, |start| start.terminal = Some(Default::default())),
        (Capability::CallerEnvironment, |start| start.caller = Some(Caller::default())),
        (Capability::ResourceLimits, |start| start.limits.open_files = Some(64)),
    ];
    for (capability, ask) in table.into_iter().filter(|(one, _)| !capabilities.has(*one)) {
        let mut start = StartProcess::argv(["true"]);
        ask(&mut start);
        let result = place.executor.start_process(start).await;
        let error =
            refused(result, ErrorCode::Unsupported, &[capability.name(), &capabilities.backend]);
        assert_eq!(error.details["capability"], capability.name());
        assert_eq!(error.details["backend"], capabilities.backend);
    }
    if !capabilities.has(Capability::Watch) {
        let result = place.executor.watch(Watch::default()).await.map(drop);
        refused(result, ErrorCode::Unsupported, &["watch"]);
    }
}

async fn the_backend_is_named(place: Fixture) {
    let capabilities = place.executor.capabilities();
    assert!(!capabilities.backend.is_empty());
    let mut has = capabilities.has.clone();
    has.sort_unstable();
    has.dedup();
    assert_eq!(has.len(), capabilities.has.len(), "each once");
}
