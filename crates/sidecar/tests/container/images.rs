//! Images that lack what most have.

use stigmer_core::ToolExecutor;
use stigmer_core::file::ReadFile;

use super::support::*;

#[tokio::test]
async fn an_image_with_a_shell_and_no_c_library_will_do() {
    if !engine() {
        return;
    }
    let container = Container::new(BUSYBOX);
    let executor = container.executor().await;
    assert_eq!(
        line(&executor, "whoami; id -gn; echo $HOME").await,
        "sandbox\nsandbox\n/home/sandbox"
    );
    let root = line(&executor, "head -1 /etc/passwd").await;
    assert!(root.starts_with("root:x:0:0:"), "{root}");
    assert_eq!(line(&executor, "mkdir /tmp/x && ls /.stigmer/bin").await, "dpkg");
    assert_eq!(not_mine(&container.root, container.uid), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn an_image_with_nothing_will_do() {
    if !engine() {
        return;
    }
    let container = Container::new(EMPTY);
    let executor = container.executor().await;
    let executed = run(&executor, argv(&[SIDECAR, "--version"])).await;
    assert_eq!(executed.exit.code, 0);
    assert!(executed.stdout.head.as_bytes().starts_with(b"stigmer-sidecar "));
    assert_eq!(run(&executor, shell("true")).await.exit.code, 127);
    // Where there is no package manager, nobody is asked to run one.
    let made = docker(&["diff", &container.name].map(str::to_owned));
    assert!(made.contains("/home/sandbox") && !made.contains("broker"), "{made}");
    std::fs::write(container.root.join("from outside"), "x").unwrap();
    let read = executor
        .read_file(ReadFile { path: "from outside".into(), first_line: None, last_line: None })
        .await
        .unwrap();
    assert_eq!(read.content.as_bytes(), b"x");
}

#[tokio::test]
async fn an_image_that_cannot_be_written_will_do() {
    if !engine() {
        return;
    }
    let container = Wanted::new(BASE).engine("--read-only").start();
    let executor = container.executor().await;
    assert_eq!(
        line(&executor, "id -u; echo x > file && cat file").await,
        format!("{}\nx", container.uid)
    );
    let said = container.said();
    for what in ["/home/sandbox", "/etc/passwd", "package managers", "/workspace"] {
        assert!(said.contains(what), "{what}: {said}");
    }
    // Without shims they do what they can.
    assert!(
        line(&executor, "command -v apt-get; apt-get --version")
            .await
            .starts_with("/usr/bin/apt-get")
    );
}

#[tokio::test]
async fn root_as_the_caller_has_no_capability_either() {
    if !engine() {
        return;
    }
    let name = new_name();
    let volume = format!("{name}-volume");
    let mut command = Wanted::new(BASE).command(&name, "0:0", std::path::Path::new("/srv/work"));
    let program = format!("--volume={}:{SIDECAR}:ro", program().display());
    let shared = format!("--volume={volume}:{SHARED}");
    command.splice(1..1, [program, shared, format!("--volume={volume}-root:/srv/work")]);
    docker(&command);
    let exec = |words: &[&str]| {
        let mut all = vec!["exec", "--interactive", "--user=0:0", &name];
        all.extend(words);
        let mut command = std::process::Command::new("docker");
        command.args(all).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = exec(&[SIDECAR, "connect", "--shared", SHARED]);
    let input = tokio::process::ChildStdin::from_std(child.stdin.take().unwrap()).unwrap();
    let output = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
    let executor =
        open(stigmer_api::client::Endpoint::stream(tokio::io::join(output, input))).await;
    let capabilities = line(&executor, "id -u; grep -E '^Cap(Prm|Eff)' /proc/self/status").await;
    let managers = line(&executor, "dpkg --version | head -1").await;
    let path = line(&executor, "command -v dpkg").await;
    let _ = child.kill();
    let _ = child.wait();
    docker(&["rm", "--force", "--volumes", &name].map(str::to_owned));
    docker(&["volume", "rm", &volume, &format!("{volume}-root")].map(str::to_owned));
    assert!(capabilities.starts_with("0\n"), "{capabilities}");
    assert_eq!(capabilities.matches("0000000000000000").count(), 2, "{capabilities}");
    assert!(managers.starts_with("Debian 'dpkg'"), "{managers}");
    assert_eq!(path, "/.stigmer/bin/dpkg");
}
