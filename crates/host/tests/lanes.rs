//! Commands in auto mode's lanes, beneath their supervisors: they are followed, signalled, ended and
//! recorded as all others, and what they were refused is told.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it leaves out"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use stigmer_core::process::{
    Caller, EndReason, Execute, Executed, ExitStatus, Lifetime, SignalRequest, StartProcess, Stdin,
    TerminalSize,
};
use stigmer_core::{ByteString, Denied, ErrorCode, Lane, ProcessId, Routing, ToolExecutor};
use stigmer_host::{
    Confined, Confinement, HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve,
};

fn main() {
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    let mut trials = Vec::new();
    macro_rules! tests {
        ($($name:ident,)+) => {$(
            let launcher_of_test = Arc::clone(&launcher);
            trials.push(Trial::test(stringify!($name), move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on($name(Place::new(launcher_of_test)));
                Ok::<(), Failed>(())
            }));
        )+};
    }
    tests![
        a_command_that_only_reads_runs_in_the_read_only_lane,
        a_change_in_the_read_only_lane_is_discarded_with_all_that_it_left,
        a_discarded_try_leaves_no_process_and_its_id_free,
        without_fall_over_the_denial_is_in_the_exit,
        what_succeeds_in_spite_of_a_denial_stands,
        what_cannot_be_read_is_told_and_makes_no_try_fall_over,
        much_output_makes_a_try_stand,
        a_try_that_goes_on_stands_and_is_followed,
        a_repeated_request_with_an_id_meets_the_same_command,
        the_workspace_lane_changes_the_workspace_and_nothing_else,
        the_workspace_lane_never_falls_over,
        what_a_command_leaves_for_others_to_obey_is_told_or_taken_away,
        signals_and_timeouts_reach_the_command_in_its_namespaces,
        nothing_in_a_lane_outlives_its_kill,
        a_terminal_works_in_both_lanes,
        a_program_that_is_not_there_is_127_and_one_without_a_first_line_the_shells,
        a_lane_that_does_not_fit_is_refused_and_nothing_is_left,
        a_sandbox_verdict_is_refused_on_the_host,
        the_record_of_a_process_says_its_lane,
        input_is_fed_in_a_lane,
        secrets_and_steering_variables_are_dropped_and_named,
        what_is_declared_for_a_command_gives_no_right,
        a_read_only_lane_reaches_no_socket_and_nobody_elses_priority,
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

struct Place {
    _directory: tempfile::TempDir,
    home: PathBuf,
    work: PathBuf,
    state: PathBuf,
    executor: HostExecutor,
}

impl Place {
    fn new(launcher: Arc<Launcher>) -> Self {
        // Also where everybody's temporary directory is another one.
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        let [home, state] = ["home", "state"].map(|name| base.join(name));
        let work = home.join("work");
        for path in [&work, &state] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(work.join("file"), "one\n").unwrap();
        let processes = ProcessOptions { launcher: Some(launcher), ..ProcessOptions::default() };
        let executor = HostExecutor::open(HostOptions {
            root: work.clone(),
            state: state.clone(),
            resolver: None,
            processes,
        });
        Self { _directory: directory, home, work, state, executor: executor.unwrap() }
    }

    fn start(&self, line: &str) -> StartProcess {
        let mut start = StartProcess::shell(line);
        let home = self.home.to_str().unwrap();
        start.caller = Some(caller(&[("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", home)]));
        start.timeout = Some(Duration::from_secs(60));
        start
    }

    async fn execute(&self, line: &str, how: &Confinement) -> Confined<Executed> {
        self.executor.execute_confined(Execute::new(self.start(line)), how).await.unwrap()
    }

    async fn ran(&self, line: &str, how: &Confinement) -> Executed {
        ran(self.execute(line, how).await)
    }

    /// Waits until a command has written so much.
    async fn written(&self, id: &ProcessId, bytes: u64) {
        while self.executor.process(id).await.unwrap().output_bytes < bytes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing runs beneath the supervisor of a command that has ended.
    async fn nothing_is_left(&self, id: &ProcessId) {
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while self.executor.process(id).await.unwrap().background != 0 {
            assert!(std::time::Instant::now() < until, "its supervisor waits for somebody");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn left(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.state.join("processes")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".pruned").collect()
    }
}

fn caller(variables: &[(&str, &str)]) -> Caller {
    let own = |(name, value): &(&str, &str)| (ByteString::from(*name), ByteString::from(*value));
    Caller::with_environment(variables.iter().map(own).collect())
}

fn ran<T: std::fmt::Debug>(confined: Confined<T>) -> T {
    match confined {
        Confined::Ran(ran) => ran,
        other => panic!("{other:?}"),
    }
}

fn discarded<T: std::fmt::Debug>(confined: Confined<T>) -> Denied {
    match confined {
        Confined::Discarded(denied) => denied,
        other => panic!("{other:?}"),
    }
}

fn within(lane: Lane, may_fall_over: bool) -> Confinement {
    Confinement {
        programs: Vec::new(),
        tool_roots: Vec::new(),
        may_fall_over,
        routing: Routing::new(lane, "rule", "token", "reason"),
    }
}

fn reading() -> Confinement {
    within(Lane::HostReadOnly, true)
}

fn working() -> Confinement {
    within(Lane::HostWorkspace, false)
}

fn text(executed: &Executed) -> (i32, String, String) {
    let show = |bytes: &ByteString| bytes.to_string_lossy().into_owned();
    (executed.exit.code, show(&executed.stdout.head), show(&executed.stderr.head))
}

fn calls(exit: &ExitStatus) -> Vec<(String, String)> {
    let denials = exit.denied.iter().flat_map(|denied| &denied.denials);
    let path = |path: &Option<ByteString>| path.as_ref().map_or(String::new(), ToString::to_string);
    denials.map(|denial| (denial.call.clone(), path(&denial.path))).collect()
}

async fn a_command_that_only_reads_runs_in_the_read_only_lane(place: Place) {
    let executed = place.ran("cat file; ls; echo no >&2", &reading()).await;
    assert_eq!(text(&executed), (0, "one\nfile\n".into(), "no\n".into()));
    let routing = executed.routing.unwrap();
    assert_eq!((routing.lane, routing.rule.as_str()), (Lane::HostReadOnly, "rule"));
    let enforced = routing.enforced.unwrap();
    assert!(enforced.landlock >= 3 && !enforced.namespaces);
    assert_eq!(executed.exit.denied, None);
    assert_eq!(place.left(), [executed.id.to_string()]);
}

async fn a_change_in_the_read_only_lane_is_discarded_with_all_that_it_left(place: Place) {
    for line in [
        "echo said; ls | tee out.txt",
        "touch new",
        "rm file",
        "chmod 777 file",
        "(sleep 1000 &) ; mkdir new",
    ] {
        let denied = discarded(place.execute(line, &reading()).await);
        assert!(!denied.denials.is_empty(), "{line}");
        assert_eq!(place.left(), Vec::<String>::new(), "{line}");
    }
    let left: Vec<_> = std::fs::read_dir(&place.work).unwrap().collect();
    assert_eq!(left.len(), 1);
}

async fn a_discarded_try_leaves_no_process_and_its_id_free(place: Place) {
    let id = ProcessId::from_random(42);
    let mark = (std::process::id() + 1_000_000).to_string();
    let mut start = place.start(&format!("sleep {mark} & touch new"));
    start.id = Some(id.clone());
    start.lifetime = Lifetime::Detached;
    let denied = place.executor.start_confined(start.clone(), &reading()).await.unwrap();
    assert_eq!(discarded(denied).denials[0].path, Some(place.work.join("new").into()));
    assert_eq!(place.executor.process(&id).await.unwrap_err().code, ErrorCode::UnknownProcess);
    assert_eq!(count(&mark), 0, "it was ended");
    start.command = StartProcess::shell("true").command;
    let started = ran(place.executor.start_confined(start, &reading()).await.unwrap());
    assert_eq!(started.id, id);
}

/// How many processes have this among their arguments.
fn count(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let has = |line: &Vec<u8>| line.split(|byte| *byte == 0).any(|arg| arg == word.as_bytes());
    lines.filter(has).count()
}

async fn without_fall_over_the_denial_is_in_the_exit(place: Place) {
    let executed = place.ran("touch new", &within(Lane::HostReadOnly, false)).await;
    assert_eq!(executed.exit.code, 1);
    let path = place.work.join("new").to_str().unwrap().to_owned();
    assert!(calls(&executed.exit).iter().any(|(_, at)| *at == path), "{:?}", executed.exit);
    let id = &executed.id;
    let known = place.executor.process(id).await.unwrap();
    assert_eq!(known.exit.unwrap().denied, executed.exit.denied);
}

async fn what_succeeds_in_spite_of_a_denial_stands(place: Place) {
    let executed = place.ran("touch new 2>/dev/null; echo done", &reading()).await;
    assert_eq!(text(&executed), (0, "done\n".into(), String::new()));
    assert!(!calls(&executed.exit).is_empty());
}

async fn what_cannot_be_read_is_told_and_makes_no_try_fall_over(place: Place) {
    let diary = place.home.join("diary");
    std::fs::write(&diary, "private\n").unwrap();
    let executed = place.ran("cat ~/diary", &reading()).await;
    let (code, said, _) = text(&executed);
    assert_eq!((code, said.as_str()), (1, ""));
    assert_eq!(calls(&executed.exit), [("read".into(), diary.to_str().unwrap().into())]);
    // It wanted more than that.
    let denied = discarded(place.execute("cat ~/diary; touch new", &reading()).await);
    assert!(denied.denials.iter().any(|denial| denial.call == "open"), "{denied:?}");
}

async fn much_output_makes_a_try_stand(place: Place) {
    let executed = place.ran("seq 1 5000; touch new", &reading()).await;
    assert_eq!(executed.exit.code, 1);
    assert!(!calls(&executed.exit).is_empty());
}

async fn a_try_that_goes_on_stands_and_is_followed(place: Place) {
    let start = Instant::now();
    let executed = place.ran("echo a; sleep 3; touch new", &reading()).await;
    assert_eq!((executed.exit.code, executed.stdout.head.to_string().as_str()), (1, "a\n"));
    assert!(start.elapsed() >= Duration::from_secs(3));
}

async fn a_repeated_request_with_an_id_meets_the_same_command(place: Place) {
    let mut start = place.start("cat file");
    start.id = Some(ProcessId::from_random(7));
    let how = reading();
    let (one, two) = tokio::join!(
        place.executor.start_confined(start.clone(), &how),
        place.executor.start_confined(start.clone(), &how)
    );
    let (one, two) = (ran(one.unwrap()), ran(two.unwrap()));
    assert_eq!(one.id, two.id);
    for started in [one, two] {
        let routing = started.routing.unwrap();
        assert!(routing.enforced.is_some());
    }
}

async fn the_workspace_lane_changes_the_workspace_and_nothing_else(place: Place) {
    let outside = place.home.join("outside");
    let line = format!("echo two > file && mkdir d && cat file; echo x > {}", outside.display());
    let executed = place.ran(&line, &working()).await;
    assert_eq!((executed.exit.code, executed.stdout.head.to_string().as_str()), (1, "two\n"));
    assert!(executed.routing.unwrap().enforced.unwrap().namespaces);
    assert!(place.work.join("d").is_dir() && !outside.exists());
    let calls = calls(&executed.exit);
    assert!(calls.contains(&("open".into(), outside.to_str().unwrap().into())), "{calls:?}");
}

async fn the_workspace_lane_never_falls_over(place: Place) {
    let how = within(Lane::HostWorkspace, true);
    let executed = place.ran("touch new /etc/new", &how).await;
    assert_eq!(executed.exit.code, 1);
    assert!(place.work.join("new").exists());
}

async fn what_a_command_leaves_for_others_to_obey_is_told_or_taken_away(place: Place) {
    for name in [".git/objects", ".git/refs", ".git/hooks"] {
        std::fs::create_dir_all(place.work.join(name)).unwrap();
    }
    std::fs::write(place.work.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    std::fs::write(place.work.join(".git/config"), "[core]\n").unwrap();
    let line = "echo ready; until test -e go; do sleep 0.05; done; echo y > .git/commondir; \
                echo x > AGENTS.md; mkdir -p new/.git";
    let started = place.executor.start_confined(place.start(line), &working()).await.unwrap();
    let id = ran(started).id;
    place.written(&id, 6).await;
    // As if the command had been faster than whoever looks at what it calls.
    let commondir = place.work.join(".git/commondir");
    std::fs::write(&commondir, "x\n").unwrap();
    std::fs::write(place.work.join("go"), "").unwrap();
    let exit = place.executor.wait(&id).await.unwrap();
    let told = exit.denied.unwrap().denials;
    let shown: Vec<_> = told.iter().map(ToString::to_string).collect();
    let work = place.work.display();
    assert_eq!(
        shown,
        [
            format!("open {work}/.git/commondir"),
            format!("planted {work}/.git/commondir (taken away)"),
            format!("planted {work}/AGENTS.md"),
            format!("planted {work}/new/.git"),
        ]
    );
    assert!(!commondir.exists());
    let kept = std::fs::read(place.work.join(".git/commondir.stigmer-removed")).unwrap();
    assert_eq!(kept, b"x\n", "the command could not write it");
}

async fn signals_and_timeouts_reach_the_command_in_its_namespaces(place: Place) {
    for how in [working(), reading()] {
        let start =
            place.start("trap 'echo got; exit 7' USR1; echo ready; while :; do sleep 0.05; done");
        let started = ran(place.executor.start_confined(start, &how).await.unwrap());
        let id = started.id;
        // The trap is there when it has said so.
        place.written(&id, 6).await;
        place.executor.signal(&id, SignalRequest::Send(10)).await.unwrap();
        let exit = place.executor.wait(&id).await.unwrap();
        assert_eq!((exit.code, exit.reason), (7, EndReason::Exited), "{how:?}");
        let mut start = place.start("sleep 1000");
        start.timeout = Some(Duration::from_millis(300));
        let executed = place.executor.execute_confined(Execute::new(start), &how).await.unwrap();
        let exit = ran(executed).exit;
        assert_eq!((exit.code, exit.reason), (124, EndReason::TimedOut));
        let executed = place.ran("kill -9 $$", &how).await;
        assert_eq!((executed.exit.code, executed.exit.signal), (137, Some(9)), "{how:?}");
    }
}

async fn nothing_in_a_lane_outlives_its_kill(place: Place) {
    for (number, how) in [(1, working()), (2, reading())] {
        // Nobody else's sleep, not even that of a test that failed.
        let mark = format!("{number}{}", std::process::id() + 1_000_000);
        let line = format!(
            "setsid sleep {mark} & (trap '' TERM; sleep {mark}; true) & sleep {mark}; true"
        );
        let started = ran(place.executor.start_confined(place.start(&line), &how).await.unwrap());
        while count(&mark) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let exit = place.executor.signal(&started.id, SignalRequest::Kill).await.unwrap().unwrap();
        assert_eq!((exit.reason, exit.survivors.len()), (EndReason::Cancelled, 0));
        assert_eq!(count(&mark), 0, "{how:?}");
    }
}

async fn a_terminal_works_in_both_lanes(place: Place) {
    for how in [reading(), working()] {
        let mut start =
            place.start("test -t 0 && test -t 1 && stty size && echo to >$(tty) && cat file; tty");
        start.terminal = Some(TerminalSize { rows: 30, columns: 90 });
        let executed = place.executor.execute_confined(Execute::new(start), &how).await.unwrap();
        let executed = ran(executed);
        assert_eq!(executed.exit.denied, None);
        let (code, shown, _) = text(&executed);
        assert_eq!(code, 0, "{shown}");
        assert!(shown.contains("30 90\r\nto\r\none\r\n/dev/"), "{shown}");
    }
}

async fn a_program_that_is_not_there_is_127_and_one_without_a_first_line_the_shells(place: Place) {
    let script = place.work.join("script");
    std::fs::write(&script, "echo from $0 $1\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    for how in [reading(), working()] {
        let mut start = StartProcess::argv(["no-such-program"]);
        start.caller = place.start("").caller;
        let executed = place.executor.execute_confined(Execute::new(start), &how).await.unwrap();
        let executed = ran(executed);
        assert_eq!(executed.exit.code, 127);
        assert!(executed.routing.unwrap().enforced.is_some());
        place.nothing_is_left(&executed.id).await;
    }
    let mut start = StartProcess::argv([script.to_str().unwrap(), "one"]);
    start.caller = place.start("").caller;
    let executed = place.executor.execute_confined(Execute::new(start), &working()).await.unwrap();
    let expected = format!("from {} one\n", script.display());
    assert_eq!(text(&ran(executed)), (0, expected, String::new()));
}

async fn a_lane_that_does_not_fit_is_refused_and_nothing_is_left(place: Place) {
    let tool = place.home.join("tool");
    std::fs::write(&tool, "#!/bin/sh\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&tool, mode).unwrap();
    let how = Confinement { programs: vec![tool.clone().into()], ..reading() };
    match place.execute("true", &how).await {
        Confined::Refused(reason) => assert!(reason.contains(tool.to_str().unwrap()), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(place.left(), Vec::<String>::new());
}

async fn a_sandbox_verdict_is_refused_on_the_host(place: Place) {
    for may_fall_over in [true, false] {
        let refused = place.execute("touch new", &within(Lane::Sandbox, may_fall_over)).await;
        assert!(matches!(refused, Confined::Refused(_)), "{refused:?}");
    }
    assert!(!place.work.join("new").exists());
}

async fn the_record_of_a_process_says_its_lane(place: Place) {
    let executed = place.ran("true", &working()).await;
    let all = place.executor.list_processes().await.unwrap();
    let info = all.iter().find(|info| info.id == executed.id).unwrap();
    assert_eq!(info.routing, executed.routing);
}

async fn input_is_fed_in_a_lane(place: Place) {
    for how in [reading(), working()] {
        let mut execute = Execute::new(place.start("cat; cat file"));
        execute.start.stdin = Stdin::Stream;
        execute.input = "input\n".into();
        let executed = ran(place.executor.execute_confined(execute, &how).await.unwrap());
        assert_eq!(text(&executed), (0, "input\none\n".into(), String::new()));
    }
}

async fn secrets_and_steering_variables_are_dropped_and_named(place: Place) {
    for how in [reading(), working()] {
        let mut start = place.start("echo \"<$MY_TOKEN><$GIT_DIR><$PLAIN>\"");
        let more = [("MY_TOKEN", "t"), ("GIT_DIR", "/x"), ("PLAIN", "p")];
        start.caller.as_mut().unwrap().environment.extend(caller(&more).environment);
        let executed =
            ran(place.executor.execute_confined(Execute::new(start), &how).await.unwrap());
        assert_eq!(text(&executed).1, "<><><p>\n");
        let dropped = executed.routing.unwrap().dropped_variables;
        assert_eq!(dropped, ["MY_TOKEN", "GIT_DIR"]);
    }
}

/// An agent chooses the variables of its command, and so must not choose what that may read.
async fn what_is_declared_for_a_command_gives_no_right(place: Place) {
    std::fs::create_dir(place.home.join(".ssh")).unwrap();
    std::fs::create_dir(place.home.join("documents")).unwrap();
    for name in [".ssh/id_rsa", "documents/letter"] {
        std::fs::write(place.home.join(name), "SECRET\n").unwrap();
    }
    let home = place.home.to_str().unwrap();
    let path = format!("/usr/bin:/bin:{home}/documents");
    for declared in [
        &[("HOME", "/nonexistent"), ("GOPATH", home), ("CARGO_HOME", home)][..],
        &[("PATH", path.as_str())],
        &[("XDG_RUNTIME_DIR", home), ("HOME", "/")],
    ] {
        for how in [reading(), working()] {
            let line =
                format!("cat {home}/.ssh/id_rsa {home}/documents/letter; echo $MY_KEY_SECRET");
            let mut start = place.start(&line);
            let own = declared.iter().chain(&[("MY_KEY_SECRET", "declared")]);
            start.variables.extend(own.map(|(name, value)| ((*name).into(), (*value).into())));
            let executed =
                place.executor.execute_confined(Execute::new(start), &how).await.unwrap();
            let output = text(&ran(executed)).1;
            assert!(
                !output.contains("SECRET") && output.contains("declared"),
                "{declared:?}: {output}"
            );
        }
    }
}

/// A pair of datagram sockets may be sent from to any address: `sendmsg` has it in memory, where no filter
/// looks. And one number names all of a user's processes.
async fn a_read_only_lane_reaches_no_socket_and_nobody_elses_priority(place: Place) {
    let script = "import socket, os\n\
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_SEQPACKET):\n\
        \x20   try: socket.socketpair(socket.AF_UNIX, kind); print('made')\n\
        \x20   except OSError as error: print('refused')\n\
        try: os.setpriority(os.PRIO_USER, 0, os.getpriority(os.PRIO_USER, 0)); print('set')\n\
        except OSError as error: print('refused')\n\
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))\n";
    std::fs::write(place.work.join("try.py"), script).unwrap();
    let start = place.start("python3 try.py");
    let executed = place.executor.execute_confined(Execute::new(start), &reading()).await.unwrap();
    let executed = ran(executed);
    assert_eq!(text(&executed).1, "refused\nmade\nmade\nrefused\n", "{executed:?}");
}
