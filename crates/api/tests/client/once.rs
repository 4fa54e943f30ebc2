//! Commands are started and executed once, wherever the connection breaks.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use stigmer_api::client::{Client, RemoteExecutor};
use stigmer_core::process::{EndReason, Execute, StartProcess, Stdin};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ByteString, ErrorCode, ToolExecutor as _};
use stigmer_host::Launcher;

use crate::proxy::Way;
use crate::{Place, quick, trial};

pub(crate) fn trials(launcher: &Arc<Launcher>) -> Vec<Trial> {
    vec![
        trial(launcher, "a_command_is_started_once_wherever_it_is_cut", starts),
        trial(launcher, "a_command_is_executed_once_wherever_it_is_cut", executes),
        trial(launcher, "input_is_fed_once_or_its_fate_is_unknown", feeds),
        trial(launcher, "a_command_whose_server_is_gone_has_an_unknown_fate", gone),
        trial(launcher, "a_start_that_was_never_sent_is_unavailable", never_sent),
        trial(launcher, "a_connection_that_ended_before_a_request_costs_nothing", ended_before),
    ]
}

/// Cuts after every few bytes, either way, until there is nothing left to cut.
async fn everywhere(place: &Place, mut test: impl AsyncFnMut(String)) {
    for way in [Way::ToServer, Way::ToClient] {
        let mut cuts = 0;
        for after in (0..).step_by(17) {
            place.proxy.cut(way, after);
            test(format!("{way:?}-{after}")).await;
            if place.proxy.forget() {
                break;
            }
            cuts += 1;
        }
        assert!(cuts >= 5, "{cuts} cuts {way:?}");
    }
}

async fn starts(place: Place) {
    everywhere(&place, async |name| {
        let start = StartProcess::shell(format!("echo done >> {name}"));
        let started = place.remote.start_process(start).await.unwrap();
        place.remote.wait(&started.id).await.unwrap();
        assert_eq!(place.read(&name), "done\n", "{name}");
    })
    .await;
}

async fn executes(place: Place) {
    everywhere(&place, async |name| {
        let line = format!("echo done >> {name}; echo out; echo err >&2; exit 3");
        let executed = place.remote.execute(Execute::new(StartProcess::shell(line))).await.unwrap();
        assert_eq!(executed.exit.code, 3, "{name}");
        assert_eq!(executed.stdout.head, "out\n".into(), "{name}");
        assert_eq!(executed.stderr.head, "err\n".into(), "{name}");
        assert_eq!(place.read(&name), "done\n", "{name}");
    })
    .await;
}

async fn feeds(place: Place) {
    let (mut known, mut unknown) = (0, 0);
    everywhere(&place, async |name| {
        let start = StartProcess::shell(format!("read line; echo \"$line\" >> {name}"));
        // One that is cut off from its input waits for it in vain.
        let timeout = Some(Duration::from_secs(1));
        let start = StartProcess { stdin: Stdin::Stream, timeout, ..start };
        let execute = Execute { input: ByteString::from("fed\nmore\n"), ..Execute::new(start) };
        match place.remote.execute(execute).await {
            Ok(executed) if executed.exit.reason == EndReason::TimedOut => {
                assert_eq!(place.read(&name), "", "{name}");
            }
            Ok(executed) => {
                assert_eq!(executed.exit.code, 0, "{name}");
                assert_eq!(place.read(&name), "fed\n", "{name}");
                known += 1;
            }
            Err(error) => {
                assert_eq!(error.code, ErrorCode::CompletionUnknown, "{name}: {error}");
                assert!(error.details.contains_key("process"), "{name}");
                unknown += 1;
            }
        }
    })
    .await;
    assert!(known > 0 && unknown > 0, "{known} known, {unknown} unknown");
}

async fn gone(mut place: Place) {
    let endpoint = place.client.endpoint().clone();
    let mut options = quick(&endpoint);
    options.resume_for = Duration::from_millis(50);
    let client = Client::connect(endpoint, options);
    let remote = RemoteExecutor::open(client, OpenWorkspace::default()).await.unwrap();
    let execute = Execute::new(StartProcess::shell("echo running > running; sleep 60"));
    let root = place.root();
    let kill = async {
        // The file is what says that it runs.
        while !root.join("running").exists() {
            tokio::task::yield_now().await;
        }
        place.server.kill().await;
    };
    let (executed, ()) = tokio::join!(remote.execute(execute), kill);
    let error = executed.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error}");
    let id = error.details["process"].as_str().unwrap().to_owned();
    assert!(error.hint.unwrap().contains(&id));
}

async fn never_sent(place: Place) {
    let nobody = crate::client_of(&place.home.path().join("nobody"));
    let remote = RemoteExecutor::of_all_workspaces(nobody);
    let error = remote.start_process(StartProcess::shell("true")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
}

async fn ended_before(mut place: Place) {
    place.server.kill().await;
    place.server.start_again();
    let executed = place.remote.execute(Execute::new(StartProcess::shell("echo 1"))).await;
    assert_eq!(executed.unwrap().stdout.head, "1\n".into());
}
