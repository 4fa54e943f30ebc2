//! The life of a container.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use stigmer_core::manager::PlaceState;
use stigmer_core::process::{Execute, Lifetime, ProcessState, SignalRequest, StartProcess};
use stigmer_core::{Capability, ErrorCode, Place, ProcessId, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions, Network};

use crate::relay::{Passage, Relay};
use crate::support::*;

#[tokio::test]
async fn a_container_is_made_once_and_used_by_all() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    assert_eq!(home.state_of().await, PlaceState::Gone);
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(executor.capabilities().backend, "docker");
    assert!(!executor.capabilities().has(Capability::InheritStdin));
    let done = run(&*executor, "pwd; id -u; echo mine > file").await;
    assert_eq!(done.place, Place::Container);
    let uid = rustix::process::geteuid().as_raw();
    let wanted = format!("{}\n{uid}\n", home.site.root);
    assert_eq!(done.stdout.head.to_string_lossy(), wanted);
    assert_eq!(std::fs::metadata(home.root().join("file")).unwrap().uid(), uid);
    let id = home.id().await;
    let relay = Relay::new();
    let by = |engine: String| {
        DockerManager::new(DockerOptions { engine: Some(engine), ..home.options() }).unwrap()
    };
    // Nobody asks the engine when all is well, so it need not be there.
    by(relay.address()).open(&home.site, &quiet).await.unwrap();
    relay.set(Passage::Cut);
    let without_engine = by(relay.address());
    for _ in 0..2 {
        let executor = without_engine.open(&home.site, &quiet).await.unwrap();
        assert_eq!(text(&*executor, "cat file").await, "mine");
    }
    // Another one that is named is another one.
    let opened = by("unix:///nowhere".to_owned()).open(&home.site, &quiet).await;
    assert_eq!(opened.map(drop).unwrap_err().details["cause"], "engine_not_running");
    manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(home.id().await, id);
    let status = manager.status(&home.site).await.unwrap();
    assert_eq!((status.state, status.reason), (PlaceState::Ready, None));
    assert_eq!(status.image.as_deref(), Some(IMAGE));
    assert!(status.created_ms.is_some_and(|when| when > 0));
    assert_eq!(manager.list().await.unwrap().len(), 1);
    drop(executor);
    home.over().await;
}

#[tokio::test]
async fn a_container_in_another_engine_is_left_if_no_command_runs_in_it() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    let started = executor.start_process(StartProcess::shell("sleep 1000")).await.unwrap();
    let (name, id) = (home.name().await, home.id().await);
    // As another engine has none of its name.
    docker(&["rename", &id, &format!("{name}-elsewhere")]);
    let record = std::fs::read_to_string(home.record()).unwrap();
    let record = record.replace("\"engine\": \"", "\"engine\": \"unix:///other");
    std::fs::write(home.record(), record).unwrap();
    let error = home.manager().open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy, "{error}");
    assert!(error.message.contains("unix:///other"), "{error}");
    executor.signal(&started.id, SignalRequest::Kill).await.unwrap();
    let told = Told::default();
    home.manager().open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert!(told.text().contains("unix:///other"), "{}", told.text());
    docker(&["rm", "--force", &id]);
    home.over().await;
}

#[tokio::test]
async fn two_managers_at_once_make_one_container() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let managers = [home.manager(), home.manager(), home.manager()];
    let opening = managers.iter().map(|manager| manager.open(&home.site, &quiet));
    for opened in futures_util::future::join_all(opening).await {
        assert_eq!(text(&*opened.unwrap(), "echo here").await, "here");
    }
    assert_eq!(managers[0].list().await.unwrap().len(), 1);
    home.over().await;
}

#[tokio::test]
async fn a_container_without_a_record_is_adopted() {
    if !engine() {
        return;
    }
    let home = Home::new();
    home.manager().open(&home.site, &quiet).await.unwrap();
    let id = home.id().await;
    std::fs::remove_file(home.record()).unwrap();
    home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(home.id().await, id);
    assert!(home.record().exists());
    home.over().await;
}

#[tokio::test]
async fn a_record_without_a_container_is_nothing() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    manager.open(&home.site, &quiet).await.unwrap();
    let id = home.id().await;
    docker(&["rm", "--force", &id]);
    assert!(home.record().exists());
    // The manager that had it open finds out, and one that never had it.
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo new").await, "new");
    assert_ne!(home.id().await, id);
    home.over().await;
}

#[tokio::test]
async fn a_container_that_was_never_started_is_replaced() {
    if !engine() {
        return;
    }
    let home = Home::new();
    home.manager().open(&home.site, &quiet).await.unwrap();
    let (name, id) = (home.name().await, home.id().await);
    let format = "{{range $name, $value := .Config.Labels}}--label={{$name}}={{$value}}\n{{end}}";
    let labels = docker(&["inspect", "--format", format, &name]);
    docker(&["rm", "--force", &id]);
    let mut create = vec!["create", "--name", &name];
    create.extend(labels.lines().filter(|line| !line.is_empty()));
    create.extend([IMAGE, "true"]);
    docker(&create);
    assert_eq!(home.state_of().await, PlaceState::Creating);
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo new").await, "new");
    home.over().await;
}

#[tokio::test]
async fn a_container_of_somebody_elses_is_not_touched() {
    if !engine() {
        return;
    }
    let home = Home::new();
    home.manager().open(&home.site, &quiet).await.unwrap();
    let name = home.name().await;
    docker(&["rm", "--force", &name]);
    docker(&["create", "--name", &name, IMAGE, "true"]);
    let manager = home.manager();
    let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy, "{error}");
    assert!(error.message.contains(&name), "{error}");
    assert_eq!(manager.remove(&home.site).await.unwrap_err().code, ErrorCode::Busy);
    docker(&["rm", &name]);
    home.over().await;
}

#[tokio::test]
async fn other_settings_replace_a_container_that_is_idle_and_no_other() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    let id = home.id().await;
    let started = executor.start_process(StartProcess::shell("sleep 1000")).await.unwrap();
    let changed = DockerOptions {
        environment: vec![("DECLARED".to_owned(), "yes".to_owned())],
        ..home.options()
    };
    let changed = DockerManager::new(changed).unwrap();
    let error = changed.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy, "{error}");
    assert_eq!(error.details["commands"], 1);
    assert_eq!(home.id().await, id);
    // Whoever looks after the commands needs not have the same settings, nor what is known of it.
    std::fs::remove_file(home.record()).unwrap();
    let attached = changed.attach(&home.site).await.unwrap().expect("a container");
    let info = attached.process(&started.id).await.unwrap();
    assert_eq!(info.state, ProcessState::Running);
    home.manager().open(&home.site, &quiet).await.unwrap();
    let attached = changed.attach(&home.site).await.unwrap().expect("a container");
    attached.signal(&started.id, SignalRequest::Kill).await.unwrap();
    assert_eq!(home.id().await, id, "it is still that one");
    // Nor does an idle one go before another can be had, however it is found.
    let (image, memory) = ("stigmer-test-nobody:none".to_owned(), 1 << 20);
    let network = Network::Named("stigmer-none".to_owned());
    for bad in [
        DockerOptions { image, ..home.options() },
        DockerOptions { memory, ..home.options() },
        DockerOptions { network, ..home.options() },
    ] {
        let bad = DockerManager::new(bad).unwrap();
        bad.open(&home.site, &quiet).await.map(drop).unwrap_err();
        assert_eq!((home.id().await, home.state_of().await), (id.clone(), PlaceState::Ready));
        docker(&["pause", &id]);
        bad.open(&home.site, &quiet).await.map(drop).unwrap_err();
        assert_eq!((home.id().await, home.state_of().await), (id.clone(), PlaceState::Stopped));
        docker(&["unpause", &id]);
    }
    assert_eq!(home.manager().list().await.unwrap().len(), 1);
    let told = Told::default();
    let executor = changed.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert!(told.text().contains("replaced"), "{}", told.text());
    assert_eq!(text(&*executor, "echo $DECLARED").await, "yes");
    assert_ne!(home.id().await, id);
    home.over().await;
}

#[tokio::test]
async fn a_command_that_begins_while_its_container_is_replaced_is_not_killed() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let kills = crate::kills::kills();
    for round in 0..kills {
        let before = home.manager().open(&home.site, &quiet).await.unwrap();
        let changed = DockerOptions {
            environment: vec![("ROUND".to_owned(), round.to_string())],
            ..home.options()
        };
        let changed = DockerManager::new(changed).unwrap();
        let replaced = tokio::sync::Notify::new();
        let starting = async {
            let mut started = Vec::new();
            loop {
                // Short ones with rests, so that there are moments in which none runs.
                let command = StartProcess {
                    lifetime: Lifetime::Detached,
                    ..StartProcess::shell("sleep 0.02; echo done")
                };
                let rest = Duration::from_millis(u64::from(30 + 7 * round % 40));
                tokio::select! {
                    start = before.start_process(command) => match start {
                        Ok(start) => started.push(start.id),
                        Err(error) => return (started, error.details.get("process").cloned()),
                    },
                    () = replaced.notified() => return (started, None),
                }
                tokio::time::sleep(rest).await;
            }
        };
        let replacing = async {
            let began = std::time::Instant::now();
            let opened = loop {
                match changed.open(&home.site, &quiet).await {
                    Err(error) if error.code == ErrorCode::Busy => {
                        assert!(began.elapsed() < PATIENCE, "{error}");
                    }
                    other => break other.unwrap(),
                }
            };
            replaced.notify_one();
            opened
        };
        let ((mut started, unknown), after) = tokio::join!(starting, replacing);
        // The one that met the end was not begun, or is one that the container waited for.
        if let Some(unknown) = unknown {
            let unknown: ProcessId = unknown.as_str().unwrap().parse().unwrap();
            match after.process(&unknown).await {
                Ok(_) => started.push(unknown),
                Err(error) => assert_eq!(error.code, ErrorCode::UnknownProcess, "{error:?}"),
            }
        }
        for id in &started {
            let exit = after.wait(id).await.unwrap();
            assert_eq!((exit.code, exit.output_bytes), (0, 5), "round {round}: {exit:?}");
        }
        // The next round replaces this one.
        drop(after);
    }
    home.over().await;
}

#[tokio::test]
async fn a_stopped_container_is_kept_as_it_is() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    assert_eq!(manager.stop(&home.site).await.unwrap().state, PlaceState::Gone);
    assert!(manager.attach(&home.site).await.unwrap().is_none());
    assert_eq!(home.state_of().await, PlaceState::Gone, "none is made for it");
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let started = executor.start_process(StartProcess::shell("echo > /tmp/kept; sleep 1000")).await;
    let started = started.unwrap();
    let id = home.id().await;
    let status = manager.stop(&home.site).await.unwrap();
    assert_eq!(status.state, PlaceState::Stopped);
    assert_eq!(manager.stop(&home.site).await.unwrap().state, PlaceState::Stopped);
    assert!(manager.attach(&home.site).await.unwrap().is_none(), "nothing runs in it");
    assert_eq!(home.state_of().await, PlaceState::Stopped);
    assert_eq!(manager.reap(&|_| true).await.unwrap(), 0, "it is kept for as long as one lives");
    assert_eq!(manager.start(&home.site, &quiet).await.unwrap().state, PlaceState::Ready);
    assert_eq!(home.id().await, id);
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    assert!(executor.process(&started.id).await.unwrap().exit.is_some(), "its commands ended");
    text(&*executor, "test -e /tmp/kept").await;
    // One that is stopped counts no time, so somebody else does.
    let options = DockerOptions { ttl: Some(Duration::from_nanos(1)), ..home.options() };
    DockerManager::new(options).unwrap().stop(&home.site).await.unwrap();
    assert_eq!(manager.reap(&|_| true).await.unwrap(), 1);
    assert_eq!(home.state_of().await, PlaceState::Gone);
    home.over().await;
}

#[tokio::test]
async fn recover_makes_another_container_and_keeps_outputs() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let done = run(&*executor, "echo output").await;
    let id = home.id().await;
    assert_eq!(manager.recover(&home.site, &quiet).await.unwrap().state, PlaceState::Ready);
    assert_ne!(home.id().await, id);
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let info = executor.process(&done.id).await.unwrap();
    assert_eq!(info.output_bytes, 7);
    home.over().await;
}

#[tokio::test]
async fn commands_end_before_their_container_is_removed() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let line = "trap 'echo told > told; exit 0' TERM; echo > ready; sleep 1000 & wait";
    let executing = executor.execute(Execute::new(StartProcess::shell(line)));
    let removing = async {
        while !home.root().join("ready").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        manager.remove(&home.site).await.unwrap();
    };
    let (executed, ()) = tokio::join!(executing, removing);
    assert_eq!(std::fs::read_to_string(home.root().join("told")).unwrap(), "told\n");
    executed.unwrap();
    home.over().await;
}

#[tokio::test]
async fn what_nobody_knows_is_reaped() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    manager.open(&home.site, &quiet).await.unwrap();
    let id = home.site.workspace.clone();
    assert_eq!(manager.reap(&|known| *known == id).await.unwrap(), 0);
    assert_eq!(home.state_of().await, PlaceState::Ready);
    // A command that was left running is not ended for it.
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let started = executor.start_process(StartProcess::shell("sleep 1000")).await.unwrap();
    assert_eq!(manager.reap(&|_| false).await.unwrap(), 0);
    executor.signal(&started.id, SignalRequest::Kill).await.unwrap();
    assert_eq!(manager.reap(&|_| false).await.unwrap(), 1);
    assert_eq!(home.state_of().await, PlaceState::Gone);
    assert_eq!(std::fs::read_dir(home.state()).unwrap().count(), 0);
    home.over().await;
}

#[tokio::test]
async fn an_unused_container_goes_by_itself() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let options = DockerOptions { ttl: Some(std::time::Duration::from_secs(1)), ..home.options() };
    let manager = DockerManager::new(options).unwrap();
    manager.open(&home.site, &quiet).await.unwrap();
    let name = home.name().await;
    docker(&["wait", &name]);
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo new").await, "new");
    home.over().await;
}
