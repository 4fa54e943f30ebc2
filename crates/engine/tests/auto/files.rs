//! Files, and the workspace as a whole.

use std::sync::atomic::Ordering;

use stigmer_api::RequestContext;
use stigmer_core::file::{
    DeleteFile, Edit, EditFile, MakeDirectory, MovePath, ReadFile, WriteFile,
};
use stigmer_core::manager::PlaceState;
use stigmer_core::transfer::{TransferFormat, Upload};
use stigmer_core::workspace::{OpenWorkspace, Preparation};
use stigmer_core::{Capability, ErrorCode, ExecutionMode};

use crate::world::World;

pub(crate) async fn files_are_those_on_the_host_but_for_what_is_held(world: World) {
    world.write(".git/config", "held");
    world.write("src/f", "text");
    std::os::unix::fs::symlink(".git", world.file("link")).unwrap();
    let executor = world.executor();
    let write = async |path: &str| {
        let request = WriteFile { path: path.into(), content: "x".into(), ..WriteFile::default() };
        executor.write_file(request).await.map(drop)
    };
    let held = [
        ".git/hooks/pre-commit",
        ".git/config",
        "link/hooks/pre-commit",
        "src/../.git/config",
        ".claude/settings.json",
        ".vscode/tasks.json",
        ".envrc",
        ".stigmer/rules.toml",
        "src/inner/.git/hooks/pre-commit",
    ];
    for path in held {
        let upload = Upload { path: path.into(), format: TransferFormat::File, mode: None };
        let content = Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"x"))]));
        let edit = Edit { old: "held".into(), new: "x".into(), replace_all: false };
        let edit = EditFile { path: path.into(), edits: vec![edit], ..EditFile::default() };
        let refused = [
            write(path).await,
            executor.edit_file(edit).await.map(drop),
            executor.delete_file(DeleteFile { path: path.into(), recursive: true }).await.map(drop),
            executor
                .move_path(MovePath { from: "src/f".into(), to: path.into(), replace: true })
                .await,
            executor.make_directory(MakeDirectory { path: path.into(), parents: true }).await,
            executor.upload(upload, content).await.map(drop),
        ];
        for (number, result) in refused.into_iter().enumerate() {
            // What is not there cannot be edited, deleted or moved to either.
            let error = match result {
                Err(error) if error.code == ErrorCode::NotFound => continue,
                result => result.expect_err(&format!("{path} {number}")),
            };
            assert_eq!(error.code, ErrorCode::PermissionDenied, "{path} {number}: {error}");
            assert!(error.hint.unwrap().contains("--mode local"), "{path}");
        }
    }
    let content = Box::pin(futures_util::stream::iter([Ok(bytes::Bytes::from(vec![0; 1024]))]));
    let whole = Upload { path: "".into(), format: TransferFormat::Tar, mode: None };
    executor.upload(whole, content).await.expect("the workspace itself takes an archive");
    let away = MovePath { from: ".git".into(), to: "gone".into(), replace: false };
    assert_eq!(executor.move_path(away).await.unwrap_err().code, ErrorCode::PermissionDenied);
    assert_eq!(std::fs::read_to_string(world.file(".git/config")).unwrap(), "held");
    let read = ReadFile { path: ".git/config".into(), ..ReadFile::default() };
    assert_eq!(executor.read_file(read).await.unwrap().content, "held".into());
    write("src/f").await.unwrap();
    write(".git/info/exclude")
        .await
        .unwrap_or_else(|error| assert_eq!(error.code, ErrorCode::NotFound));
    assert_eq!(std::fs::read_to_string(world.file("src/f")).unwrap(), "x");
    assert_eq!(world.log.opened.load(Ordering::SeqCst), 0);
}

pub(crate) async fn a_workspace_is_opened_by_name_and_its_place_is_the_sandbox(world: World) {
    let context = RequestContext::default();
    let engine = &world.engine;
    // The settings say auto, so that its path is enough.
    let status = engine.place_status(world.name()).await.unwrap();
    assert_eq!(status.state, PlaceState::Gone);
    assert_eq!(engine.workspaces().unwrap(), [], "looking opens nothing");
    let open = |settings: &[(&str, &str)]| OpenWorkspace {
        path: world.work.as_path().into(),
        mode: None,
        settings: settings.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
    };
    let info = engine.open_workspace(open(&[("sandbox_image", "debian:12")]), &context).unwrap();
    assert_eq!((info.mode, info.capabilities.backend.as_str()), (ExecutionMode::Auto, "auto"));
    assert!(info.capabilities.has(Capability::CallerEnvironment));
    assert!(!info.capabilities.has(Capability::InheritStdin));
    let error = engine.open_workspace(open(&[("timeout", "1")]), &context).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
    let by_id = engine.executor_of(info.id.as_str(), &context).unwrap();
    assert_eq!(by_id.capabilities().backend, "auto");
    for name in [info.id.as_str(), world.name()] {
        let status = engine.place_status(name).await.unwrap();
        assert_eq!((status.state, status.affinity), (PlaceState::Gone, Vec::new()));
        assert_eq!(engine.stop_place(name).await.unwrap().state, PlaceState::Gone);
        let removed = engine.remove_place(name).await.unwrap();
        assert_eq!(removed.notes, ["there was nothing to remove"]);
        assert_eq!(engine.reset_affinity(name).await.unwrap().state, PlaceState::Gone);
    }
    assert_eq!(world.log.opened.load(Ordering::SeqCst), 0);
    // To prepare it is to prepare the sandbox, which is the one that sandbox mode has.
    let status = engine.prepare(open(&[]), Preparation::Create, &context, &|_| ()).await.unwrap();
    assert_eq!(status.state, PlaceState::Ready);
    let sandbox = OpenWorkspace { mode: Some(ExecutionMode::Sandbox), ..open(&[]) };
    assert_eq!(engine.open_workspace(sandbox, &context).unwrap().id, status.workspace);
    assert_eq!(engine.place_status(info.id.as_str()).await.unwrap().workspace, status.workspace);
    // Nobody's in this mode, and of a mode without places.
    let elsewhere = world.home.join("none");
    let error = engine.place_status(elsewhere.to_str().unwrap()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownWorkspace);
}
