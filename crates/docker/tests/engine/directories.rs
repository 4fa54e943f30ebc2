//! Workspaces whose directory is moved, made anew or exchanged.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, SystemTime};

use stigmer_core::file::WriteFile;
use stigmer_core::manager::Progress;
use stigmer_core::process::{SignalRequest, StartProcess};
use stigmer_core::{ErrorCode, WorkspaceManager as _};

use crate::support::*;

#[tokio::test]
async fn a_directory_that_was_made_anew_gets_a_container_of_its_own() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let id = home.id().await;
    let moved = home.root().with_file_name("moved");
    fs::rename(home.root(), &moved).unwrap();
    let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound, "{error:?}");
    fs::create_dir(home.root()).unwrap();
    // Whoever has it open is told, and nothing is done in the wrong place.
    let write = WriteFile { path: "late".into(), content: "x".into(), ..WriteFile::default() };
    let error = executor.write_file(write).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{error:?}");
    assert_eq!(error.details["cause"], "directory_replaced", "{error:?}");
    let error = executor.start_process(StartProcess::shell("echo > late")).await.unwrap_err();
    assert_eq!(error.details["cause"], "directory_replaced", "{error:?}");
    assert_eq!(fs::read_dir(&moved).unwrap().count(), 0);
    // One without a record is known by its label.
    for has_record in [true, false] {
        if !has_record {
            fs::remove_file(home.record()).unwrap();
            fs::rename(home.root(), home.root().with_file_name("again")).unwrap();
            fs::create_dir(home.root()).unwrap();
        }
        let told = Told::default();
        let executor = manager.open(&home.site, &|event| told.take(event)).await.unwrap();
        assert!(told.text().contains("directory is another one"), "{}", told.text());
        text(&*executor, "echo > out").await;
        assert!(home.root().join("out").exists());
    }
    assert_ne!(home.id().await, id);
    // Commands that run in the old one are not ended for it.
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let started = executor.start_process(StartProcess::shell("sleep 1000")).await.unwrap();
    let aside = home.root().with_file_name("aside");
    fs::rename(home.root(), &aside).unwrap();
    fs::create_dir(home.root()).unwrap();
    let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!((error.code, &error.details["commands"]), (ErrorCode::Busy, &1.into()), "{error:?}");
    executor.signal(&started.id, SignalRequest::Kill).await.unwrap();
    // What was moved back is what it was.
    fs::remove_dir(home.root()).unwrap();
    fs::rename(&aside, home.root()).unwrap();
    text(&*executor, "test -e out").await;
    home.over().await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_to_has_a_container_all_the_same() {
    if !engine() {
        return;
    }
    let home = Home::new();
    fs::write(home.root().join("file"), "there").unwrap();
    let (left, new) = (".stigmer-proof-0123456789abcdef", ".stigmer-proof-0123456789abcdee");
    for name in [left, new] {
        fs::write(home.root().join(name), "").unwrap();
    }
    let long_ago = SystemTime::now() - Duration::from_secs(86_400);
    File::options()
        .write(true)
        .open(home.root().join(left))
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    let before = home.manager().open(&home.site, &quiet).await.unwrap();
    text(&*before, "test -e file").await;
    assert!(!home.root().join(left).exists() && home.root().join(new).exists());
    home.manager().remove(&home.site).await.unwrap();
    fs::set_permissions(home.root(), Permissions::from_mode(0o555)).unwrap();
    let modified = fs::metadata(home.root()).unwrap().modified().unwrap();
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "cat file").await, "there");
    assert_eq!(fs::metadata(home.root()).unwrap().modified().unwrap(), modified, "it is put back");
    fs::set_permissions(home.root(), Permissions::from_mode(0o755)).unwrap();
    home.over().await;
}

#[tokio::test]
async fn a_directory_that_is_exchanged_while_its_container_is_made_leads_nowhere_else() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let elsewhere = home.root().with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    // As a sandbox of the directory above could.
    let exchange = |event| {
        if matches!(event, Progress::Step(step) if step.starts_with("creating")) {
            fs::rename(home.root(), home.root().with_file_name("aside")).unwrap();
            symlink(&elsewhere, home.root()).unwrap();
        }
    };
    let error = home.manager().open(&home.site, &exchange).await.map(drop).unwrap_err();
    assert_eq!(error.details["cause"], "directory_replaced", "{error:?}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    let error = home.manager().open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_ne!(error.code, ErrorCode::Unavailable, "a link is no workspace: {error:?}");
    home.over().await;
}
