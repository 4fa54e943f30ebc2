//! What a container may write.

use stigmer_core::process::{Execute, Follow, StartProcess};
use stigmer_core::{ErrorCode, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions};

use crate::deaths::follow;
use crate::support::*;

const LIMIT: u64 = 20 << 20;

#[tokio::test]
async fn a_command_that_writes_more_than_its_container_may_is_ended_and_told() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager =
        DockerManager::new(DockerOptions { disk: Some(LIMIT), ..home.options() }).unwrap();
    let told = Told::default();
    let executor = manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    let filler = "dd if=/dev/zero of=/tmp/big bs=1M count=64 && exec sleep 1000";
    let started = executor.start_process(StartProcess::shell(filler)).await.unwrap();
    let filled = executor.execute(Execute::new(StartProcess::shell(filler)));
    let filled = tokio::time::timeout(PATIENCE, filled).await.expect("an end");
    if let Ok(done) = filled {
        // The engine can limit it by itself.
        assert!(done.stderr.head.to_string_lossy().contains("No space left"), "{done:?}");
        return home.over().await;
    }
    assert!(told.text().contains("watched and not enforced"), "{}", told.text());
    let followed = follow(&*executor, &started.id, Follow::UntilExit).await.map(drop);
    let waited = executor.wait(&started.id).await.map(drop);
    for error in [filled.map(drop), followed, waited].map(Result::unwrap_err) {
        assert_eq!(error.code, ErrorCode::DiskFull, "{error:?}");
        assert_eq!(error.details["limit"], LIMIT, "{error:?}");
        assert!(error.hint.unwrap().contains("sandbox_disk"));
    }
    let notes = format!("{:?}", manager.status(&home.site).await.unwrap().notes);
    assert!(notes.contains("over the limit"), "{notes}");
    // Who clears away can go on.
    assert_eq!(text(&*executor, "rm /tmp/big; echo fine").await, "fine");
    let notes = format!("{:?}", manager.status(&home.site).await.unwrap().notes);
    assert!(!notes.contains("over the limit"), "{notes}");
    home.over().await;
}
