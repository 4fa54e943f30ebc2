//! Toolchains whose state lives in the sandbox.

use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use stigmer_core::process::{Execute, Follow, Lifetime, ReadOutput, StartProcess};
use stigmer_core::{ErrorCode, ExecutionMode, Lane};

use crate::world::World;

async fn affinity(world: &World) -> Vec<String> {
    world.engine.place_status(world.name()).await.unwrap().affinity
}

pub(crate) async fn what_was_installed_in_the_sandbox_is_used_there(world: World) {
    world.write("app.py", "print('app')\n");
    let app = async || world.run("python3 app.py").await;
    world.is(&app().await, Lane::HostWorkspace, "python3");
    let mut failing = world.start("pip install requests");
    failing.variables.insert("FAIL".into(), "1".into());
    let done = world.executor().execute(Execute::new(failing)).await.unwrap();
    assert_eq!(done.exit.code, 1);
    world.is(&app().await, Lane::HostWorkspace, "python3");
    world.is(
        &world.run("pip install requests && python3 app.py").await,
        Lane::Sandbox,
        "pip install",
    );
    assert_eq!(affinity(&world).await, ["python"]);
    let done = app().await;
    let routing = world.is(&done, Lane::Sandbox, "auto:affinity");
    assert!(
        routing.reason.contains("python") && routing.reason.contains("host, workspace"),
        "{routing:?}"
    );
    assert_eq!(World::text(&done), "app\n");
    // Of another toolchain, and of none, nothing changes; another program knows it.
    world.is(&world.run("ls").await, Lane::HostReadOnly, "ls");
    let other = world.other_engine();
    let executor = other.executor_of(world.name(), &Default::default()).unwrap();
    let done = executor.execute(Execute::new(world.start("python3 app.py"))).await.unwrap();
    world.is(&done, Lane::Sandbox, "auto:affinity");
    let router =
        stigmer_engine::Router::read(other.configuration(), &world.work, &world.work).unwrap();
    let told = router.explain(&world.start("ls").command, &[("LD_PRELOAD".into(), "x".into())]);
    assert_eq!((told.verdict.lane, told.lane_off), (Lane::HostReadOnly, None));
    assert!(told.tool_roots.contains(&world.tools), "{:?}", told.tool_roots);
    assert_eq!(told.dropped_variables, ["LD_PRELOAD"]);
    // Until it is reset.
    let status = world.engine.reset_affinity(world.name()).await.unwrap();
    assert!(status.affinity.is_empty());
    world.is(&app().await, Lane::HostWorkspace, "python3");
    world.run("pip install requests").await;
    assert_eq!(affinity(&world).await, ["python"]);
    // Or the sandbox is removed.
    world.engine.remove_place(world.name()).await.unwrap();
    assert!(affinity(&world).await.is_empty());
}

pub(crate) async fn an_environment_in_the_workspace_is_kept_apart(world: World) {
    world.write(".venv/pyvenv.cfg", "");
    world.write("app.py", "print('app')\n");
    world.is(&world.run("python3 app.py").await, Lane::HostWorkspace, "python3");
    let refused = async |line: &str| {
        let error = world.try_run(line).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotAvailable, "{line}: {error}");
        assert!(error.message.contains(".venv"), "{error}");
        let hint = error.hint.unwrap();
        for part in ["nothing was run", "--mode local", "remove .venv", "--mode sandbox"] {
            assert!(hint.contains(part), "{hint}");
        }
    };
    refused("pip install requests").await;
    assert_eq!(world.log.opened.load(Ordering::SeqCst), 0, "nothing was run anywhere");
    std::fs::rename(world.file(".venv"), world.file("kept")).unwrap();
    world.run("pip install requests").await;
    world.is(&world.run("python3 app.py").await, Lane::Sandbox, "auto:affinity");
    // It comes back, made by somebody outside.
    std::fs::rename(world.file("kept"), world.file(".venv")).unwrap();
    refused("python3 app.py").await;
    refused("pip install requests").await;
    world.is(&world.run("ls").await, Lane::HostReadOnly, "ls");
    let started = world.executor().start_process(world.start("python3 app.py")).await;
    assert_eq!(started.unwrap_err().code, ErrorCode::NotAvailable);
    // What goes to the sandbox for another reason goes there.
    let done = world.run("unheard-of; python3 app.py").await;
    assert_eq!(done.routing.unwrap().lane, Lane::Sandbox);
}

pub(crate) async fn what_a_command_in_the_sandbox_made_is_its_own(world: World) {
    // It fails half-way, and is tried again.
    let mut failing = world.start("npm install");
    failing.variables.insert("FAIL".into(), "1".into());
    let done = world.executor().execute(Execute::new(failing)).await.unwrap();
    assert!(done.exit.code == 1 && world.file("node_modules").is_dir(), "{done:?}");
    let done = world.run("npm install").await;
    assert_eq!((done.exit.code, done.routing.unwrap().lane), (0, Lane::Sandbox));
    assert_eq!(affinity(&world).await, ["node"]);
    assert_eq!(world.run("npm install left-pad").await.exit.code, 0);
}

pub(crate) async fn the_end_of_a_command_in_the_background_is_seen(world: World) {
    world.write("app.py", "print('app')\n");
    // By whoever waits, by whoever follows, and by nobody before the next command.
    for way in 0..3 {
        world.engine.reset_affinity(world.name()).await.unwrap();
        let start = StartProcess { lifetime: Lifetime::Detached, ..world.start("pip install x") };
        let id = world.executor().start_process(start).await.unwrap().id;
        match way {
            0 => drop(world.executor().wait(&id).await.unwrap()),
            1 => {
                let read = ReadOutput { follow: Follow::UntilExit, ..ReadOutput::default() };
                let output = world.executor().process_output(&id, read).await.unwrap();
                output.collect::<Vec<_>>().await;
            }
            _ => {
                // Somebody else waits, who knows nothing of it.
                let elsewhere = world.other_engine().homeless(None).unwrap();
                elsewhere.wait(&id).await.unwrap();
                assert!(affinity(&world).await.is_empty());
                world.is(&world.run("python3 app.py").await, Lane::Sandbox, "auto:affinity");
            }
        }
        assert_eq!(affinity(&world).await, ["python"], "{way}");
    }
}

pub(crate) async fn what_was_written_to_the_temporary_directory_is_read_there(world: World) {
    let log = format!("/tmp/stigmer-test-{}.log", std::process::id());
    let read = async || world.run(&format!("head -n 1 {log}")).await;
    world.is(&read().await, Lane::HostReadOnly, "head");
    let done = world.run(&format!("echo one > {log}; false")).await;
    assert_eq!(done.exit.code, 1);
    world.is(&done, Lane::Sandbox, "shell:redirect");
    let done = read().await;
    let routing = world.is(&done, Lane::Sandbox, "auto:affinity");
    let reason =
        "what was written to /tmp is in the sandbox; head would run in the host, read-only lane";
    assert_eq!(routing.reason, reason);
    assert_eq!(World::text(&done), "one\n");
    assert_eq!(affinity(&world).await, ["/tmp"]);
    world.is(&world.run("ls").await, Lane::HostReadOnly, "ls");
    world.run(&format!("rm {log}")).await;
}

pub(crate) async fn toolchains_live_no_longer_than_their_place(world: World) {
    world.write("app.py", "print('app')\n");
    world.run("pip install requests").await;
    world.is(&world.run("python3 app.py").await, Lane::Sandbox, "auto:affinity");
    world.log.places.fetch_add(1, Ordering::SeqCst);
    assert!(affinity(&world).await.is_empty());
    // Which is said once.
    world.is(&world.run("ls").await, Lane::HostReadOnly, "ls");
    let done = world.run("python3 app.py").await;
    let routing = world.is(&done, Lane::HostWorkspace, "auto:affinity-lost");
    assert!(
        routing.reason.starts_with("what was installed for python went with its sandbox"),
        "{routing:?}"
    );
    world.is(&world.run("python3 app.py").await, Lane::HostWorkspace, "python3");
    // A workspace that is forgotten has none either.
    world.run("pip install requests").await;
    assert_eq!(affinity(&world).await, ["python"]);
    let context = Default::default();
    let sandbox = world.engine.place_status(world.name()).await.unwrap().workspace;
    assert_eq!(world.engine.workspace(sandbox.as_str()).unwrap().mode, ExecutionMode::Sandbox);
    assert!(world.engine.forget_workspace(sandbox.as_str(), &context).unwrap());
    let left = std::fs::read_dir(world.home.join(".stigmer/state/affinity")).unwrap().count();
    assert_eq!(left, 0);
}
