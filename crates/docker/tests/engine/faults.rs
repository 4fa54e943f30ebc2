//! Engines and containers that fail.

use std::time::Duration;

use futures_util::StreamExt as _;
use stigmer_core::file::WriteFile;
use stigmer_core::manager::PlaceState;
use stigmer_core::process::{Execute, Follow, ReadOutput, StartProcess};
use stigmer_core::{ErrorCode, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions};

use crate::support::*;

async fn refused(options: DockerOptions, home: &Home) -> stigmer_core::ToolError {
    let manager = DockerManager::new(options).unwrap();
    manager.open(&home.site, &quiet).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_container_that_is_removed_under_a_command_is_told_and_nothing_runs_again() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let line = "echo run >> runs; echo started; sleep 1000";
    let started = executor.start_process(StartProcess::shell(line)).await.unwrap();
    let read = ReadOutput { since: 0, follow: Follow::UntilExit, hold: false };
    let mut output = executor.process_output(&started.id, read).await.unwrap();
    output.next().await.unwrap().unwrap();
    let id = home.id().await;
    let executing =
        executor.execute(Execute::new(StartProcess::shell("echo two > two; sleep 1000")));
    let removing = async {
        while !home.root().join("two").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        docker(&["rm", "--force", &id]);
    };
    let (executed, ()) = tokio::join!(executing, removing);
    let error = executed.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error:?}");
    assert_eq!(error.details["cause"], "container_gone", "{error:?}");
    assert_eq!(error.details["fate"], "killed", "{error:?}");
    let error = loop {
        match output.next().await {
            Some(Err(error)) => break error,
            Some(Ok(_)) => {}
            None => panic!("an end that nobody knows"),
        }
    };
    assert_eq!(error.details["cause"], "container_gone", "{error:?}");
    // What was not sent is known not to have been done.
    let write = WriteFile { path: "late".into(), content: "x".into(), ..WriteFile::default() };
    let error = executor.write_file(write).await.unwrap_err();
    assert_eq!(error.details["cause"], "container_gone", "{error:?}");
    assert!(error.hint.unwrap().contains("the next command makes a new container"));
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "cat runs").await, "run");
    assert!(!home.root().join("late").exists());
    home.over().await;
}

#[tokio::test]
async fn a_container_that_somebody_paused_goes_on_with_the_next_use() {
    if !engine() {
        return;
    }
    let home = Home::new();
    home.manager().open(&home.site, &quiet).await.unwrap();
    let id = home.id().await;
    docker(&["pause", &id]);
    assert_eq!(home.state_of().await, PlaceState::Stopped);
    let error = home.manager().attach(&home.site).await.map(drop).unwrap_err();
    assert_eq!(error.details["cause"], "container_paused", "{error:?}");
    assert_eq!(home.state_of().await, PlaceState::Stopped, "whoever looks changes nothing");
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo on").await, "on");
    assert_eq!(home.id().await, id);
    docker(&["rm", "--force", &id]);
    assert!(home.manager().attach(&home.site).await.unwrap().is_none(), "it is gone");
    home.over().await;
}

#[tokio::test]
async fn a_container_whose_socket_is_gone_is_replaced_if_no_command_runs() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    let line = "while [ ! -e end ]; do sleep 0.1; done";
    let started = executor.start_process(StartProcess::shell(line)).await.unwrap();
    let id = home.id().await;
    std::fs::remove_file(home.record().with_file_name("shared").join("socket")).unwrap();
    let error = home.manager().open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.details["cause"], "socket_gone", "{error:?}");
    assert!(error.hint.unwrap().contains("recover"));
    assert_eq!(home.id().await, id, "a command runs in it");
    std::fs::write(home.root().join("end"), "").unwrap();
    // Whoever was connected is still, and sees it end.
    executor.wait(&started.id).await.unwrap();
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo new").await, "new");
    assert_ne!(home.id().await, id);
    home.over().await;
}

#[tokio::test]
async fn a_container_that_somebody_stopped_is_made_anew() {
    if !engine() {
        return;
    }
    let home = Home::new();
    home.manager().open(&home.site, &quiet).await.unwrap();
    let id = home.id().await;
    docker(&["stop", &id]);
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo on").await, "on");
    assert_ne!(home.id().await, id);
    home.over().await;
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told() {
    let home = Home::new();
    for address in ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"] {
        let options = DockerOptions { engine: Some(address.to_owned()), ..home.options() };
        let error = refused(options, &home).await;
        assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
        assert_eq!(error.details["cause"], "engine_not_running", "{error:?}");
        assert!(error.message.contains(address), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_told_when_its_time_is_over() {
    let home = Home::new();
    let path = home.root().join("engine.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let _silent = tokio::spawn(async move {
        let mut all = Vec::new();
        loop {
            all.push(listener.accept().await.unwrap());
        }
    });
    let address = format!("unix://{}", path.display());
    let error = refused(DockerOptions { engine: Some(address), ..home.options() }, &home).await;
    assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error}");
    assert_eq!(error.details["cause"], "engine_hung", "{error:?}");
}

#[tokio::test]
async fn a_socket_that_may_not_be_used_is_told() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        return left_out("root may use every socket");
    }
    let home = Home::new();
    let path = home.root().join("engine.sock");
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    let address = format!("unix://{}", path.display());
    let error = refused(DockerOptions { engine: Some(address), ..home.options() }, &home).await;
    assert_eq!(error.code, ErrorCode::PermissionDenied, "{error}");
    assert!(error.hint.unwrap().contains("docker group"));
}

#[tokio::test]
async fn what_the_engine_refuses_is_told_apart() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let plain = || home.options();
    let missing = DockerOptions { image: "stigmer-test-nobody:none".to_owned(), ..plain() };
    let runtime = DockerOptions { runtime: Some("stigmer-none".to_owned()), ..plain() };
    let network = stigmer_docker::Network::Named("stigmer-none".to_owned());
    let network = DockerOptions { network, ..plain() };
    let memory = DockerOptions { memory: 1 << 20, ..plain() };
    let bundle = DockerOptions { ca_bundle: Some("/nowhere/ca.pem".into()), ..plain() };
    for (options, code, cause) in [
        (missing, ErrorCode::NotFound, "image_missing"),
        (runtime, ErrorCode::BadConfiguration, "runtime_unknown"),
        (network, ErrorCode::BadConfiguration, "network_missing"),
        (memory, ErrorCode::BadConfiguration, "memory_refused"),
        (bundle, ErrorCode::BadConfiguration, "mount_missing"),
    ] {
        let error = refused(options, &home).await;
        assert_eq!((error.code, &error.details["cause"]), (code, &cause.into()), "{error:?}");
        let hint = error.hint.as_ref().unwrap();
        let names_it = cause != "mount_missing" || hint.contains("sandbox_ca_bundle");
        assert!(names_it, "{error:?}");
        assert_eq!(home.state_of().await, PlaceState::Gone, "nothing is left behind");
    }
    home.over().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = stigmer_docker::Port { address: address.ip(), host: address.port(), container: 80 };
    let network = stigmer_docker::Network::Bridge;
    let error =
        refused(DockerOptions { ports: vec![port], network, ..home.options() }, &home).await;
    assert_eq!((error.code, &error.details["cause"]), (ErrorCode::Busy, &"port_taken".into()));
    home.over().await;
}
