//! Memory that runs out.

use stigmer_core::process::EndReason;

use super::support::*;

#[tokio::test]
async fn a_command_that_the_kernel_kills_for_want_of_memory_is_told_from_others() {
    if !engine() {
        return;
    }
    let limit: u64 = 96 << 20;
    let memory = format!("--memory={limit}");
    let container =
        Wanted::new(BASE).engine(memory).engine(format!("--memory-swap={limit}")).start();
    let executor = container.executor().await;
    let hog = "python3 -c 'x = bytearray(1 << 30)'";
    // The command itself, and one that its shell speaks for.
    for (what, request) in [
        ("itself", argv(&["python3", "-c", "x = bytearray(1 << 30)"])),
        ("its shell", shell(&format!("{hog}; exit $?"))),
    ] {
        let exit = run(&executor, request).await.exit;
        assert_eq!((exit.code, exit.reason), (137, EndReason::OutOfMemory), "{what}");
        assert_eq!(exit.memory_limit, Some(limit), "{what}");
    }
    // The same signal from somebody else, and a failure after it.
    let exit = run(&executor, shell("kill -9 $$")).await.exit;
    assert_eq!((exit.reason, exit.memory_limit), (EndReason::Signalled, None));
    let exit = run(&executor, shell(&format!("{hog}; exit 3"))).await.exit;
    assert_eq!((exit.code, exit.reason), (3, EndReason::Exited));
    assert!(!container.said().contains("started again"), "the server was spared");
}
