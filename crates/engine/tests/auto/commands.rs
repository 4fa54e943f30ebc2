//! Where commands run.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use stigmer_core::event::EventKind;
use stigmer_core::process::{
    EndReason, Execute, Follow, Lifetime, OutputEvent, ReadOutput, SignalRequest, StartProcess,
    Stdin,
};
use stigmer_core::{ErrorCode, Lane, ProcessId};

use crate::world::World;

pub(crate) async fn each_command_runs_where_its_rule_says(world: World) {
    world.write("f", "text\n");
    world.write("job.py", "open('made', 'w').write('x'); print('done')\n");
    let read = world.run("cat f").await;
    world.is(&read, Lane::HostReadOnly, "cat");
    assert_eq!(World::text(&read), "text\n");
    let work = world.run("python3 job.py").await;
    world.is(&work, Lane::HostWorkspace, "python3");
    assert_eq!((World::text(&work).as_str(), work.exit.code), ("done\n", 0));
    assert!(world.file("made").exists());
    assert_eq!(world.log.opened.load(Ordering::SeqCst), 0, "nobody needed a sandbox");
    assert_eq!(world.engine.workspaces().unwrap().len(), 1, "and there is no record of one");
    let told = Arc::<AtomicUsize>::default();
    let telling = Arc::clone(&told);
    world.engine.tell_of_sandboxes(Arc::new(move |_| _ = telling.fetch_add(1, Ordering::SeqCst)));
    let other = world.run("unheard-of; echo in-sandbox").await;
    assert_eq!(told.load(Ordering::SeqCst), 1, "who waits is told of the sandbox that is made");
    world.is(&other, Lane::Sandbox, "unknown");
    assert_eq!(World::text(&other), "in-sandbox\n");
    assert_eq!(world.engine.workspaces().unwrap().len(), 2);
    // Each is told once, with the request that it belongs to, and counted.
    let executor = world.executor_for("r7");
    let started = executor.start_process(world.start("cat f")).await.unwrap();
    assert_eq!(started.routing.unwrap().lane, Lane::HostReadOnly);
    let told = world.routed().await;
    let lanes: Vec<Lane> = told
        .iter()
        .map(|event| match &event.kind {
            EventKind::CommandRouted { lane, fell_over, .. } => {
                assert!(fell_over.is_empty());
                *lane
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let ro = Lane::HostReadOnly;
    assert_eq!(lanes, [ro, Lane::HostWorkspace, Lane::Sandbox, ro]);
    assert_eq!(told[3].request_id.as_deref(), Some("r7"));
    assert!(told.iter().all(|event| event.workspace.as_path() == world.work));
    let counts = world.engine.route_counts();
    let count = |lane, rule: &str| {
        let found = counts.iter().find(|count| (count.lane, count.rule.as_str()) == (lane, rule));
        found.map(|count| (count.commands, count.fallen_over))
    };
    assert_eq!(count(ro, "cat"), Some((2, 0)));
    assert_eq!(count(Lane::Sandbox, "unknown"), Some((1, 0)));
    // Embedded it is the same.
    let embedded = world.embedded().await;
    let done = embedded.execute(Execute::new(world.start("cat f"))).await.unwrap();
    world.is(&done, ro, "cat");
}

pub(crate) async fn a_try_that_falls_over_runs_in_the_sandbox_under_its_id_with_its_input(
    world: World,
) {
    let mut start = world.start("touch new && cat");
    start.stdin = Stdin::Stream;
    let id = ProcessId::from_random(42);
    start.id = Some(id.clone());
    let execute = Execute { input: "given again".into(), ..Execute::new(start) };
    let done = world.executor().execute(execute).await.unwrap();
    let routing = world.is(&done, Lane::Sandbox, "touch");
    assert_eq!((done.exit.code, World::text(&done).as_str()), (0, "given again"));
    assert_eq!(done.id, id);
    let denied = routing.fell_over.expect("it says what was refused");
    assert!(!denied.is_empty() && routing.reason.contains("refused"), "{denied:?}");
    assert!(world.file("new").exists());
    // The same when it is only started.
    let started = world.executor().start_process(world.start("touch other")).await.unwrap();
    assert!(started.routing.as_ref().unwrap().fell_over.is_some(), "{started:?}");
    assert_eq!(world.executor().wait(&started.id).await.unwrap().code, 0);
    assert!(world.file("other").exists());
    let told = world.routed().await;
    assert_eq!(told.len(), 2, "the decision that stands, and no other");
    assert!(
        matches!(&told[0].kind, EventKind::CommandRouted { lane: Lane::Sandbox, fell_over, .. }
        if !fell_over.is_empty())
    );
    let log = std::fs::read_to_string(world.home.join(".stigmer/state/fall-overs.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["rule"], &lines[0]["process"]), (&"touch".into(), &id.as_str().into()));
    assert!(!lines[0]["refused"].as_array().unwrap().is_empty());
    assert!(!log.contains("new"), "no command line: {log}");
    let fallen: u64 = world.engine.route_counts().iter().map(|count| count.fallen_over).sum();
    assert_eq!(fallen, 2);
    // The workspace lane never falls over: what it was refused is told.
    world.write("job.py", "open('/etc/stigmer-test', 'w')\n");
    let done = world.run("python3 job.py").await;
    world.is(&done, Lane::HostWorkspace, "python3");
    assert!(done.exit.code != 0 && done.exit.denied.is_some(), "{done:?}");
}

pub(crate) async fn a_lane_that_cannot_be_had_is_the_sandboxes_and_says_so(world: World) {
    world.write("job.py", "print('here')\n");
    // What a command could replace cannot be held.
    std::fs::create_dir(world.file("real")).unwrap();
    std::os::unix::fs::symlink("real", world.file(".git")).unwrap();
    let done = world.run("python3 job.py").await;
    let routing = world.is(&done, Lane::Sandbox, "auto:lane-off");
    for part in ["python3", "host, workspace", ".git", "symbolic link"] {
        assert!(routing.reason.contains(part), "{}", routing.reason);
    }
    assert_eq!(World::text(&done), "here\n");
    // And nowhere else if there is none.
    world.fail(ErrorCode::NotAvailable);
    let other = world.other_engine();
    let executor = other.executor_of(world.name(), &Default::default()).unwrap();
    let error = executor.execute(Execute::new(world.start("python3 job.py"))).await.unwrap_err();
    assert!(error.message.contains("auto:lane-off"), "{error}");
}

pub(crate) async fn without_a_sandbox_nothing_runs_and_the_two_ways_out_are_named(world: World) {
    for code in [ErrorCode::NotAvailable, ErrorCode::Busy, ErrorCode::NotFound] {
        world.fail(code);
        for line in
            ["unheard-of; touch ran", "touch ran", "curl http://localhost > ran", "echo \"$(("]
        {
            let error = world.try_run(line).await.unwrap_err();
            assert_eq!(error.code, code, "{line}: {error}");
            for part in ["the engine is asleep", error.details["rule"].as_str().unwrap()] {
                assert!(error.message.contains(part), "{line}: {error}");
            }
            let hint = error.hint.unwrap();
            for part in
                ["nothing was run", "wake it", "stigmer doctor", "--mode local", "unconfined"]
            {
                assert!(hint.contains(part), "{hint}");
            }
            assert!(!world.file("ran").exists(), "{line}");
            let started = world.executor().start_process(world.start(line)).await;
            assert_eq!(started.unwrap_err().code, code, "{line}");
        }
    }
    assert!(world.routed().await.is_empty() && world.engine.route_counts().is_empty());
    assert_eq!(world.executor().list_processes().await.unwrap(), []);
    // What is for the host runs there.
    let done = world.run("pwd").await;
    assert_eq!(done.exit.code, 0);
}

pub(crate) async fn the_callers_environment_stays_outside_and_what_is_declared_gets_in(
    world: World,
) {
    let show = "echo \"${CALLERS-no} ${DECLARED-no}\"";
    let run = async |line: String| {
        let mut start = world.start(&line);
        start.variables.insert("DECLARED".into(), "declared".into());
        world.executor().execute(Execute::new(start)).await.unwrap()
    };
    let outside = run(show.to_owned()).await;
    assert_eq!(outside.place, stigmer_core::Place::Host);
    assert_eq!(World::text(&outside), "yes declared\n");
    let inside = run(format!("unheard-of; {show}")).await;
    assert_eq!(World::text(&inside), "no declared\n");
    // The lanes on the host leave out what steers programs, and name it.
    let mut start = world.start("echo \"${LD_PRELOAD-no}\"");
    start.variables.insert("LD_PRELOAD".into(), "/x.so".into());
    let done = world.executor().execute(Execute::new(start)).await.unwrap();
    assert_eq!(World::text(&done), "no\n");
    assert_eq!(done.routing.unwrap().dropped_variables, ["LD_PRELOAD"]);
}

pub(crate) async fn what_auto_mode_has_not_is_refused(world: World) {
    let executor = world.executor();
    assert_eq!(executor.capabilities().backend, "auto");
    let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    let inherits = StartProcess { stdin: Stdin::Inherit(Arc::new(file)), ..world.start("cat") };
    let other = StartProcess { user: Some("root".to_owned()), ..world.start("pwd") };
    for start in [inherits, other] {
        let error = executor.start_process(start.clone()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported);
        let error = executor.execute(Execute::new(start)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported);
    }
}

pub(crate) async fn rules_that_change_are_heard_and_broken_ones_run_nothing(world: World) {
    let lane = async || world.run("frobnicate; true").await.routing.unwrap().lane;
    assert_eq!(lane().await, Lane::Sandbox);
    world.rules("[frobnicate]\nlane = 'read-only'\n");
    assert_eq!(lane().await, Lane::HostReadOnly);
    world.write(".stigmer/rules.toml", "[frobnicate]\nlane = 'sandbox'\n");
    assert_eq!(lane().await, Lane::Sandbox);
    world.write(".stigmer/rules.toml", "[frobnicate\n");
    let error = world.try_run("pwd").await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
    std::fs::remove_file(world.file(".stigmer/rules.toml")).unwrap();
    assert_eq!(lane().await, Lane::HostReadOnly);
    // What a repository's own settings make git run is looked at for each command.
    world.write(".git/config", "[core]\n\tbare = false\n");
    world.write(".git/hooks/x.sample", "");
    let git = async || world.run("git status").await.routing.unwrap().lane;
    assert_eq!(git().await, Lane::HostReadOnly);
    world.write(".git/config", "[core]\n\tfsmonitor = ./evil\n");
    assert_eq!(git().await, Lane::HostWorkspace);
}

pub(crate) async fn a_request_that_is_repeated_meets_the_same_command(world: World) {
    world.write("count.py", "open('count', 'a').write('x')\n");
    let lines = [
        ("python3 count.py", Lane::HostWorkspace),
        ("unheard-of; python3 count.py", Lane::Sandbox),
        // Its try on the host has left nothing that could be met.
        ("touch new && python3 count.py", Lane::HostWorkspace),
    ];
    for (number, (line, lane)) in lines.into_iter().enumerate() {
        let _ = std::fs::remove_file(world.file("count"));
        let id = ProcessId::from_random(number as u64);
        let start = || StartProcess { id: Some(id.clone()), ..world.start(line) };
        let before = world.engine.route_counts();
        let first = world.executor().start_process(start()).await.unwrap();
        assert_eq!(first.routing.as_ref().unwrap().lane, lane, "{line}");
        world.executor().wait(&id).await.unwrap();
        let counted: u64 = world.engine.route_counts().iter().map(|count| count.commands).sum();
        assert_eq!(counted, 1 + before.iter().map(|count| count.commands).sum::<u64>());
        for _ in 0..2 {
            let again = world.executor().start_process(start()).await.unwrap();
            assert_eq!((&again.id, again.place), (&id, first.place), "{line}");
            let mut start = start();
            start.timeout = Some(std::time::Duration::from_secs(60));
            let done = world.executor().execute(Execute::new(start)).await.unwrap();
            assert_eq!((&done.id, done.place), (&id, first.place), "{line}");
        }
        assert_eq!(std::fs::read_to_string(world.file("count")).unwrap(), "x", "{line}: once");
        let counted_again: u64 =
            world.engine.route_counts().iter().map(|count| count.commands).sum();
        assert_eq!(counted_again, counted, "{line}: a repeated request is no other command");
        let other = StartProcess { id: Some(id.clone()), ..world.start("cat count.py") };
        assert_eq!(
            world.executor().start_process(other).await.unwrap_err().code,
            ErrorCode::Exists
        );
    }
}

pub(crate) async fn a_command_is_looked_after_wherever_it_runs(world: World) {
    world.write(
        "job.py",
        "import sys, time\nprint(sys.stdin.readline(), flush=True)\ntime.sleep(60)\n",
    );
    let executor = world.executor();
    let mut ids = Vec::new();
    for line in ["python3 job.py", "unheard-of; python3 job.py"] {
        let start = StartProcess {
            stdin: Stdin::Stream,
            lifetime: Lifetime::Detached,
            ..world.start(line)
        };
        let id = executor.start_process(start).await.unwrap().id;
        executor.write_stdin(&id, "hello\n".into()).await.unwrap();
        executor.close_stdin(&id).await.unwrap();
        let read = ReadOutput { follow: Follow::UntilExit, ..ReadOutput::default() };
        let mut output = executor.process_output(&id, read).await.unwrap();
        let found = loop {
            match output.next().await.unwrap().unwrap() {
                OutputEvent::Output { bytes, .. } if bytes.to_string().contains("hello") => {
                    break true;
                }
                OutputEvent::Exit(_) => break false,
                _ => {}
            }
        };
        assert!(found, "{line}");
        ids.push(id);
    }
    let listed = executor.list_processes().await.unwrap();
    assert_eq!(
        listed.iter().map(|info| &info.id).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
    assert_eq!(executor.process(&ids[0]).await.unwrap().routing.unwrap().lane, Lane::HostWorkspace);
    // Another program, and one of no workspace, see both.
    let other = world.other_engine();
    for all in [
        other.homeless(None).unwrap(),
        other.executor_of(world.name(), &Default::default()).unwrap(),
    ] {
        assert_eq!(all.list_processes().await.unwrap().len(), 2);
        for id in &ids {
            assert_eq!(all.process(id).await.unwrap().id, *id);
        }
    }
    for id in &ids {
        let exit = executor.signal(id, SignalRequest::Kill).await.unwrap().unwrap();
        assert_eq!(exit.reason, EndReason::Cancelled);
        assert_eq!(executor.wait(id).await.unwrap().reason, EndReason::Cancelled);
    }
    let nobodys = ProcessId::from_random(99);
    assert_eq!(executor.wait(&nobodys).await.unwrap_err().code, ErrorCode::UnknownProcess);
}

pub(crate) async fn a_directory_outside_is_no_place_to_start_in(world: World) {
    std::os::unix::fs::symlink("/etc", world.file("out")).unwrap();
    world.write("f", "");
    for (cwd, code) in [
        ("/etc", ErrorCode::OutsideWorkspace),
        ("..", ErrorCode::OutsideWorkspace),
        ("out", ErrorCode::OutsideWorkspace),
        ("none", ErrorCode::NotFound),
        ("f", ErrorCode::NotADirectory),
    ] {
        for line in ["pwd", "unheard-of"] {
            let start = StartProcess { cwd: cwd.into(), ..world.start(line) };
            let error = world.executor().start_process(start).await.unwrap_err();
            assert_eq!(error.code, code, "{line} in {cwd}");
        }
    }
}
