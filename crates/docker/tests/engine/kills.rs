//! Killed at any moment while a container is made: the next use adopts or replaces what is there.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use stigmer_core::WorkspaceManager as _;

use crate::support::*;

const NAME: &str = "kills::whoever_is_killed_leaves_nothing_that_hinders";

/// The home of whoever is to be killed, and the number of its workspace.
const VICTIM: &str = "STIGMER_TEST_VICTIM";

/// How often somebody is killed: `make soak` sets more.
pub(crate) fn kills() -> u32 {
    std::env::var("STIGMER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

#[tokio::test]
async fn whoever_is_killed_leaves_nothing_that_hinders() {
    if !engine() {
        return;
    }
    if let Some(victim) = std::env::var_os(VICTIM).map(PathBuf::from) {
        let home = Home::again(&victim);
        home.manager().open(&home.site, &quiet).await.unwrap();
        return;
    }
    let home = Home::new();
    let began = std::time::Instant::now();
    home.manager().open(&home.site, &quiet).await.unwrap();
    let whole = began.elapsed();
    home.manager().remove(&home.site).await.unwrap();
    let kills = kills();
    for kill in 0..kills {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", NAME]).env(VICTIM, home.root().parent().unwrap());
        let mut victim = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Spread over the time that it takes, and a little more.
        tokio::time::sleep(whole * 3 / 2 * kill / kills + Duration::from_millis(1)).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
        let executor = home.manager().open(&home.site, &quiet).await.unwrap();
        assert_eq!(text(&*executor, "echo well").await, "well", "after kill {kill}");
        assert_eq!(home.manager().list().await.unwrap().len(), 1);
        if kill % 2 == 0 {
            home.manager().remove(&home.site).await.unwrap();
        }
    }
    home.over().await;
}
