//! The program: its arguments, its listeners, its end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each suite uses its part")]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use stigmer_api::client::{Client, ClientOptions, Endpoint, Token};
use stigmer_core::process::{Command as Line, Execute, Lifetime, StartProcess, Stdin};
use stigmer_core::{ErrorCode, ToolExecutor};
use support::{Home, PROGRAM, Sidecar, TOKEN, connect, start, write_private};

fn output(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[test]
fn bad_arguments_are_said_and_exit_with_2() {
    let (output, said) = output(Command::new(PROGRAM).args(["--listen", "nowhere"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("nowhere") && said.contains("--help"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn help_and_version_are_said_on_standard_output() {
    let (help, _) = output(Command::new(PROGRAM).arg("--help"));
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--listen"));
    let (version, _) = output(Command::new(PROGRAM).arg("--version"));
    let said = String::from_utf8_lossy(&version.stdout).into_owned();
    assert_eq!(said, format!("stigmer-sidecar {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn what_cannot_be_served_is_said() {
    let home = Home::new();
    let (missing, said) = output(
        Command::new(PROGRAM)
            .args(["--root", "/nowhere", "--state", "/tmp/x"])
            .args(["--listen", "stdio"]),
    );
    assert_eq!(missing.status.code(), Some(1));
    assert!(said.contains("/nowhere"), "{said}");

    let (nobody, said) = output(&mut home.command("stdio"));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said.contains("neither a pipe nor a socket"), "{said}");

    let public = home.token_file();
    std::fs::set_permissions(&public, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (open, said) = output(home.command("tcp:127.0.0.1:0").arg("--token-file").arg(&public));
    assert_eq!(open.status.code(), Some(1));
    assert!(said.contains("0644") && !said.contains(TOKEN), "{said}");

    write_private(&public, "dummy-local-key");
    let (dummy, said) = output(home.command("tcp:127.0.0.1:0").arg("--token-file").arg(&public));
    assert_eq!(dummy.status.code(), Some(1));
    assert!(said.contains("placeholder"), "{said}");
}

#[tokio::test]
async fn a_live_socket_is_not_taken_over() {
    let sidecar = Sidecar::unix();
    let mut second = sidecar.home.command(&format!("unix:{}", sidecar.home.socket().display()));
    let (refused, said) = output(&mut second);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("a server is listening there"), "{said}");
    sidecar.executor().await;
}

#[tokio::test]
async fn unused_for_its_time_to_live_it_ends_with_10_and_not_before_its_commands() {
    let home = Home::new();
    let mut command = home.command(&format!("unix:{}", home.socket().display()));
    command.args(["--ttl", "1"]);
    let (mut child, _, _stderr) = start(command);
    let executor = connect(Endpoint::Unix(home.socket())).await;
    let mut request = StartProcess::new(Line::Shell("sleep 3; echo done".into()));
    request.lifetime = Lifetime::Detached;
    let started = executor.start_process(request).await.unwrap();
    assert_eq!(support::ended(&mut child).await.code(), Some(10));
    assert!(!home.socket().exists());
    let record = home.state().join("processes").join(started.id.as_str()).join("exit.json");
    let exit: stigmer_core::process::ExitStatus =
        serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    assert_eq!((exit.code, exit.memory_limit), (0, None));
}

#[tokio::test]
async fn connect_bridges_and_ends_with_the_connection() {
    let home = Home::new();
    let shared = home.root().parent().unwrap().join("shared");
    let socket = shared.join("socket");
    let (mut server, _, _stderr) = start(home.command(&format!("unix:{}", socket.display())));
    let bridge = || {
        let mut command = Command::new(PROGRAM);
        command.args(["connect", "--shared"]).arg(&shared);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut child = bridge();
    let input = tokio::process::ChildStdin::from_std(child.stdin.take().unwrap()).unwrap();
    let output = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
    let executor = connect(Endpoint::stream(tokio::io::join(output, input))).await;
    let line = StartProcess::new(Line::Shell("seq 100000".into()));
    assert_eq!(executor.execute(Execute::new(line)).await.unwrap().exit.output_bytes, 588_895);
    child.kill().unwrap();
    child.wait().unwrap();

    // The end of its input is the end of a connection on which nothing was asked.
    let mut child = bridge();
    drop(child.stdin.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    support::terminate(server.id());
    assert!(support::ended(&mut server).await.success());
}

#[tokio::test]
async fn tcp_wants_the_token() {
    let sidecar = Sidecar::tcp();
    let Endpoint::Tcp { address, .. } = sidecar.endpoint.clone() else { panic!() };
    for token in [None, Some(Token::new("another-token-of-some-length").unwrap())] {
        let endpoint = Endpoint::Tcp { address: address.clone(), token };
        let options = ClientOptions::for_endpoint(&endpoint);
        let error = Client::connect(endpoint, options).info().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unauthenticated);
    }
    sidecar.executor().await;
}

#[tokio::test]
async fn it_ends_when_it_is_told_and_commands_go_on() {
    let mut sidecar = Sidecar::unix();
    let executor = sidecar.executor().await;
    let mut request = StartProcess::new(Line::Shell("read line; echo $line > done".into()));
    request.lifetime = Lifetime::Detached;
    request.stdin = Stdin::Stream;
    let started = executor.start_process(request).await.unwrap();
    sidecar.terminate();
    assert!(sidecar.ended().await.success());
    assert!(!sidecar.home.socket().exists());

    // The next one finds it as it was left.
    let (mut child, _, _stderr) =
        start(sidecar.home.command(&format!("unix:{}", sidecar.home.socket().display())));
    let executor = connect(sidecar.endpoint.clone()).await;
    executor.write_stdin(&started.id, "on\n".into()).await.unwrap();
    assert_eq!(executor.wait(&started.id).await.unwrap().code, 0);
    assert_eq!(std::fs::read(sidecar.home.root().join("done")).unwrap(), b"on\n");
    support::terminate(child.id());
    assert!(support::ended(&mut child).await.success());
}

#[tokio::test]
async fn the_given_stream_ends_it() {
    let mut sidecar = Sidecar::stdio();
    let executor = sidecar.executor().await;
    let request = Execute::new(StartProcess::new(Line::Shell("echo one".into())));
    let executed = executor.execute(request).await.unwrap();
    assert_eq!(executed.exit.code, 0);
    drop(executor);
    sidecar.endpoint = Endpoint::Unix("/".into());
    assert!(sidecar.ended().await.success());
}

#[tokio::test]
async fn vsock_wants_the_token_and_serves() {
    /// This machine, through the kernel's loopback (`vsock_loopback`).
    const LOCAL: u32 = 1;
    let home = Home::new();
    let port = 20_000 + std::process::id() % 10_000;
    let mut command = home.command(&format!("vsock:{port}"));
    command.arg("--token-file").arg(home.token_file()).stderr(Stdio::piped());
    let probe = tokio_vsock::VsockListener::bind(tokio_vsock::VsockAddr::new(LOCAL, port + 1));
    let loopback = match probe {
        Ok(_) => tokio_vsock::VsockStream::connect(tokio_vsock::VsockAddr::new(LOCAL, port + 1))
            .await
            .is_ok(),
        Err(_) => false,
    };
    if !loopback {
        skipped("vsock_wants_the_token_and_serves", "the kernel has no vsock loopback");
        return;
    }
    let (mut child, _, _stderr) = start(command);
    let token = Some(Token::new(TOKEN).unwrap());
    let executor = connect(Endpoint::Vsock { cid: LOCAL, port, token }).await;
    assert!(executor.list_processes().await.unwrap().is_empty());
    let endpoint = Endpoint::Vsock { cid: LOCAL, port, token: None };
    let options = ClientOptions::for_endpoint(&endpoint);
    let error = Client::connect(endpoint, options).info().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unauthenticated);
    support::terminate(child.id());
    assert!(support::ended(&mut child).await.success());
}

#[allow(clippy::print_stderr, reason = "what is left out is said aloud")]
fn skipped(name: &str, why: &str) {
    eprintln!("LEFT OUT {name}: {why}");
}
