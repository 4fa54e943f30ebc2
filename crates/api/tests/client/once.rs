//! Commands are started and executed once, wherever the connection breaks.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use stigmer_api::client::{Client, Endpoint, RemoteExecutor};
use stigmer_core::process::{EndReason, Execute, StartProcess, Stdin};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ByteString, Capability, ErrorCode, ToolExecutor as _};
use stigmer_host::Launcher;

use crate::proxy::Way;
use crate::{Place, quick, trial};

pub(crate) fn trials(launcher: &Arc<Launcher>) -> Vec<Trial> {
    vec![
        trial(launcher, "a_command_is_started_once_wherever_it_is_cut", starts),
        trial(launcher, "a_command_is_executed_once_wherever_it_is_cut", executes),
        trial(launcher, "input_is_fed_once_or_its_fate_is_unknown", feeds),
        trial(launcher, "a_server_that_goes_down_in_order_costs_no_command", leaves),
        trial(launcher, "a_command_whose_server_is_gone_has_an_unknown_fate", gone),
        trial(launcher, "a_start_that_was_never_sent_is_unavailable", never_sent),
        trial(launcher, "standard_input_is_handed_over_wherever_it_is_cut", hands_over),
        trial(launcher, "a_descriptor_goes_to_no_server_that_cannot_take_it", cannot_take),
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

async fn hands_over(place: Place) {
    assert!(place.remote.capabilities().has(Capability::InheritStdin));
    everywhere(&place, async |name| {
        let (reads, mut writes) = std::io::pipe().unwrap();
        let stdin = Stdin::Inherit(Arc::new(reads.try_clone().unwrap().into()));
        let start = StartProcess::shell(format!("read -N 4 line; echo \"$line\" >> {name}"));
        let execute = Execute::new(StartProcess { stdin, ..start });
        writes.write_all(b"for!ours").unwrap();
        drop(writes);
        let executed = place.remote.execute(execute).await.unwrap();
        assert_eq!(executed.exit.code, 0, "{name}");
        assert_eq!(place.read(&name), "for!\n", "{name}");
        // What the command did not read is still there for others.
        let mut rest = String::new();
        { reads }.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "ours", "{name}");
    })
    .await;
}

async fn cannot_take(place: Place) {
    let stream = tokio::net::UnixStream::connect(place.home.path().join("server")).await.unwrap();
    let endpoint = Endpoint::stream(stream);
    let client = Client::connect(endpoint.clone(), quick(&endpoint));
    let remote = RemoteExecutor::open(client, OpenWorkspace::default()).await.unwrap();
    assert!(!remote.capabilities().has(Capability::InheritStdin));
    let stdin = Stdin::Inherit(Arc::new(std::io::pipe().unwrap().0.into()));
    let start = StartProcess { stdin, ..StartProcess::shell("true") };
    let error = remote.start_process(start).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported, "{error}");
}

async fn leaves(place: Place) {
    place.server.leave("/stigmer.v1.Processes/Execute", ErrorCode::CompletionUnknown);
    let execute = Execute::new(StartProcess::shell("echo done >> executed; echo out"));
    let executed = place.remote.execute(execute).await.unwrap();
    assert_eq!(executed.stdout.head, "out\n".into());
    assert_eq!(place.read("executed"), "done\n");
    place.server.leave("/stigmer.v1.Processes/Start", ErrorCode::CompletionUnknown);
    let start = StartProcess::shell("echo done >> started");
    let started = place.remote.start_process(start).await.unwrap();
    place.server.leave("/stigmer.v1.Processes/Wait", ErrorCode::Unavailable);
    assert_eq!(place.remote.wait(&started.id).await.unwrap().code, 0);
    assert_eq!(place.read("started"), "done\n");
}
