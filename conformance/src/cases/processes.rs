//! Starting commands: what runs, where, with what, and how its end is told.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stigmer_core::process::{Caller, EndReason, Execute, Lifetime, ResourceLimits, StartProcess};
use stigmer_core::{ByteString, Capability, ErrorCode, Place};

use crate::Fixture;
use crate::check::{refused, refused_with_hint};
use crate::harness::cases;

cases! {
    a_shell_command_says_what_it_wrote_and_how_it_ended,
    exit_codes_are_those_of_a_shell,
    a_program_that_is_not_found_exits_with_127,
    a_program_that_cannot_be_executed_exits_with_126,
    arguments_reach_the_program_without_a_shell,
    a_script_without_an_interpreter_is_the_shells,
    commands_run_in_the_root_or_where_they_are_told_to,
    a_bad_working_directory_is_an_error,
    variables_are_given_and_override,
    #[needs(CallerEnvironment)]
    the_callers_environment_is_whole,
    #[needs(CallerEnvironment)]
    an_unbuffered_python_is_the_callers_to_refuse,
    output_of_python_is_not_held_back,
    #[needs(ResourceLimits)]
    limits_are_the_kernels,
    another_user_is_not_ignored,
    times_and_sizes_are_told,
    invalid_requests_are_refused_before_anything_runs,
    fifty_commands_at_once_do_not_mix,
    a_capture_keeps_the_beginning_and_the_end,
    a_small_capture_may_be_nothing,
    ids_are_never_the_same,
    nothing_is_inherited_but_the_three_streams,
    signals_begin_at_their_defaults,
}

async fn a_shell_command_says_what_it_wrote_and_how_it_ended(place: Fixture) {
    let done = place.execute("echo out; echo err >&2; exit 3").await;
    assert_eq!((done.exit.code, done.exit.reason, done.exit.signal), (3, EndReason::Exited, None));
    assert_eq!(done.stdout.head, "out\n".into());
    assert_eq!(done.stderr.head, "err\n".into());
    assert!(!done.truncated && done.stdout.tail.is_empty() && done.stdout.omitted_bytes == 0);
    assert_eq!(done.exit.survivors, []);
    assert!(done.executable.is_some(), "the shell that was found is named");
}

async fn exit_codes_are_those_of_a_shell(place: Fixture) {
    for code in [0, 1, 2, 42, 123, 124, 125, 126, 127, 128, 130, 255] {
        let done = place.execute(format!("exit {code}")).await;
        let end = (done.exit.code, done.exit.reason, done.exit.signal);
        assert_eq!(end, (code, EndReason::Exited, None));
    }
    // HUP, INT, ABRT, KILL, USR1, SEGV, PIPE, ALRM, TERM; bash ignores QUIT.
    for signal in [1, 2, 6, 9, 10, 11, 13, 14, 15] {
        let done = place.execute(format!("ulimit -c 0; kill -{signal} $$; sleep 60")).await;
        let end = (done.exit.code, done.exit.reason, done.exit.signal);
        assert_eq!(end, (128 + signal, EndReason::Signalled, Some(signal)));
    }
}

async fn run(place: &Fixture, words: &[&str]) -> stigmer_core::process::Executed {
    place.executor.execute(Execute::new(StartProcess::argv(words.iter().copied()))).await.unwrap()
}

async fn a_program_that_is_not_found_exits_with_127(place: Fixture) {
    for name in ["no-such-program", "./no-such-program", "/no/such/program"] {
        let done = run(&place, &[name]).await;
        assert_eq!((done.exit.code, done.exit.reason), (127, EndReason::Exited), "{name}");
        assert!(done.stderr.head.to_string_lossy().contains(name), "{:?}", done.stderr);
        assert_eq!(done.executable, None);
    }
    let done = place.execute("no-such-program").await;
    assert_eq!(done.exit.code, 127);
}

async fn a_program_that_cannot_be_executed_exits_with_126(place: Fixture) {
    place.seed("plain", "#!/bin/sh\n").await;
    place.chmod("plain", 0o644).await;
    place.seed_directory("folder").await;
    place.seed("bad", "#!/no/such/interpreter\n").await;
    place.chmod("bad", 0o755).await;
    for (name, code) in [("./plain", 126), ("./folder", 126), ("./bad", 127)] {
        let done = run(&place, &[name]).await;
        assert_eq!(done.exit.code, code, "{name}: {done:?}");
        assert!(!done.stderr.head.is_empty());
    }
    let long = "x".repeat(200 << 10);
    let done = run(&place, &["true", &long]).await;
    assert_eq!(done.exit.code, 126, "an argument is too long for the kernel");
}

async fn arguments_reach_the_program_without_a_shell(place: Fixture) {
    let words: [&[u8]; 9] = [
        b"",
        b"two words",
        b"$HOME `id` $(id)",
        b"*",
        b"a;b|c&d>e",
        b"'quoted\" \\",
        b"line\nend",
        b"\xff\xfe",
        "naïve λ".as_bytes(),
    ];
    let mut argv: Vec<ByteString> = vec!["printf".into(), "%s\\0".into()];
    argv.extend(words.iter().map(|word| ByteString::from(*word)));
    let done = place.executor.execute(Execute::new(StartProcess::argv(argv))).await.unwrap();
    let mut expected = words.join(&0);
    expected.push(0);
    assert_eq!(done.stdout.head.as_bytes(), expected, "{done:?}");
    assert!(done.executable.unwrap().as_path().ends_with("printf"));
}

async fn a_script_without_an_interpreter_is_the_shells(place: Fixture) {
    place.seed("script", "echo \"$0 $1\"\n").await;
    place.chmod("script", 0o755).await;
    let done = run(&place, &["./script", "one"]).await;
    assert_eq!((done.exit.code, done.stdout.head), (0, "./script one\n".into()));
}

async fn commands_run_in_the_root_or_where_they_are_told_to(place: Fixture) {
    place.seed_directory("a/b c").await;
    place.seed_link("a", "link").await;
    let root = place.root_text().to_owned();
    for (cwd, expected) in [
        ("", root.clone()),
        (".", root.clone()),
        ("a/b c", format!("{root}/a/b c")),
        ("a/../a", format!("{root}/a")),
        (&format!("{root}/a"), format!("{root}/a")),
        ("link", format!("{root}/a")),
    ] {
        let mut start = StartProcess::shell("pwd -P; pwd >&2");
        start.cwd = cwd.into();
        let done = place.executor.execute(Execute::new(start)).await.unwrap();
        assert_eq!(done.stdout.head.to_string_lossy().trim_end(), expected, "{cwd}");
        // A link that was named is kept in `$PWD`, or followed; both are names of the place.
        let named = done.stderr.head.to_string_lossy().into_owned();
        assert!(named.starts_with(&root), "{named}");
    }
}

async fn a_bad_working_directory_is_an_error(place: Fixture) {
    place.seed("file", "").await;
    place.seed_link("/", "out").await;
    for (cwd, code) in [
        ("none", ErrorCode::NotFound),
        ("file", ErrorCode::NotADirectory),
        ("..", ErrorCode::OutsideWorkspace),
        ("/", ErrorCode::OutsideWorkspace),
        ("out", ErrorCode::OutsideWorkspace),
    ] {
        let mut start = StartProcess::shell("touch ran");
        start.cwd = cwd.into();
        refused(place.executor.start_process(start).await, code, &[cwd]);
    }
    assert!(!place.exists("ran").await);
    assert_eq!(place.executor.list_processes().await.unwrap().len(), 0);
}

async fn variables_are_given_and_override(place: Fixture) {
    let mut start =
        StartProcess::shell("printf '%s|' \"$ONE\" \"$TWO\" \"$EMPTY\" \"${EMPTY+set}\"");
    start.variables = [("ONE", "1"), ("TWO", "a b\n$ONE"), ("EMPTY", "")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head.to_string_lossy(), "1|a b\n$ONE||set|");

    let mut start = StartProcess::argv(["tool"]);
    place.seed("bin/tool", "#!/bin/sh\necho mine\n").await;
    place.chmod("bin/tool", 0o755).await;
    let path = format!("{}/bin:/usr/bin:/bin", place.root_text());
    start.variables = [("PATH".into(), path.into())].into();
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head, "mine\n".into(), "the declared PATH is searched: {done:?}");
    assert_eq!(done.executable, Some(place.absolute("bin/tool")));

    let mut start = StartProcess::argv(["printenv", "BYTES"]);
    start.variables = [("BYTES".into(), b"\xff\x80".as_slice().into())].into();
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head.as_bytes(), b"\xff\x80\n");
}

/// Variables that a lane of auto mode on the host sets.
const OF_LANES: [&str; 9] = [
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_KEY_0",
    "GIT_CONFIG_VALUE_0",
    "GIT_OPTIONAL_LOCKS",
    "PROC_ROOT",
    "PYTHONDONTWRITEBYTECODE",
    "TMPDIR",
    "npm_config_logs_max",
    "npm_config_update_notifier",
];

async fn the_callers_environment_is_whole(place: Fixture) {
    let mut start = StartProcess::argv(["/usr/bin/env"]);
    let environment = vec![("ONLY".into(), "this".into()), ("TWICE".into(), "caller".into())];
    start.caller = Some(Caller::with_environment(environment));
    start.variables = [("TWICE".into(), "declared".into())].into();
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    let output = done.stdout.head.to_string_lossy().into_owned();
    let mut names: Vec<&str> =
        output.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    // A lane of auto mode on the host adds what keeps tools from writing in passing; it says that it is
    // one.
    if done.routing.is_some() && done.place == Place::Host {
        names.retain(|name| !OF_LANES.contains(name));
    }
    assert_eq!(names, ["ONLY", "PWD", "PYTHONUNBUFFERED", "TWICE"]);
    assert!(output.contains("ONLY=this\n") && output.contains("TWICE=declared\n"));
}

async fn an_unbuffered_python_is_the_callers_to_refuse(place: Fixture) {
    let mut start = StartProcess::argv(["/usr/bin/printenv", "PYTHONUNBUFFERED"]);
    start.caller = Some(Caller::with_environment(vec![("PYTHONUNBUFFERED".into(), "".into())]));
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head, "\n".into());
}

async fn output_of_python_is_not_held_back(place: Fixture) {
    let done = run(&place, &["printenv", "PYTHONUNBUFFERED"]).await;
    assert_eq!(done.stdout.head, "1\n".into());
}

async fn limits_are_the_kernels(place: Fixture) {
    let mut start = StartProcess::shell("ulimit -t; ulimit -v; ulimit -n; ulimit -f");
    start.limits = ResourceLimits {
        cpu_seconds: Some(77),
        address_space_bytes: Some(1 << 30),
        open_files: Some(55),
        file_size_bytes: Some(1 << 20),
        processes: None,
    };
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head.to_string_lossy(), "77\n1048576\n55\n1024\n");
    // Its own output is the supervisor's file and not bound by the command's limit.
    let mut start = StartProcess::shell("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero > f");
    start.limits = ResourceLimits { file_size_bytes: Some(1 << 20), ..ResourceLimits::default() };
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.omitted_bytes + (1 << 20), 3_000_000);
    assert_ne!(done.exit.code, 0);
    assert_eq!(place.text("stat -c %s f").await, "1048576");
}

async fn another_user_is_not_ignored(place: Fixture) {
    let mut start = StartProcess::shell("id -un");
    start.user = Some("nobody".to_owned());
    let result = place.executor.execute(Execute::new(start)).await;
    if place.executor.capabilities().has(Capability::User) {
        assert_eq!(result.unwrap().stdout.head, "nobody\n".into());
    } else {
        let error = refused(result, ErrorCode::Unsupported, &["user"]);
        assert_eq!(error.details["capability"], "user");
    }
}

async fn times_and_sizes_are_told(place: Fixture) {
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let done = place.execute("sleep 0.3; printf 12345; printf 678 >&2").await;
    assert_eq!(done.exit.output_bytes, 8);
    // The clock may start when the command runs already.
    assert!((250..60_000).contains(&done.exit.duration_ms), "{}", done.exit.duration_ms);
    // Another machine's clock may differ a little.
    assert!(u128::from(done.exit.ended_ms) + 60_000 > before, "{}", done.exit.ended_ms);
}

async fn invalid_requests_are_refused_before_anything_runs(place: Fixture) {
    type Change = fn(&mut StartProcess);
    let no_command: Vec<ByteString> = Vec::new();
    let shell = || StartProcess::shell("touch ran");
    let table: [(&str, Change); 9] = [
        ("variables", |s| drop(s.variables.insert("".into(), "x".into()))),
        ("variables", |s| drop(s.variables.insert("A=B".into(), "x".into()))),
        ("variables", |s| drop(s.variables.insert("A\0".into(), "x".into()))),
        ("variables", |s| drop(s.variables.insert("A".into(), "x\0".into()))),
        ("output_cap", |s| s.output_cap = Some(1000)),
        ("timeout", |s| s.timeout = Some(Duration::ZERO)),
        ("command", |s| s.command = StartProcess::shell("touch ran\0").command),
        ("command", |s| s.command = StartProcess::shell("").command),
        ("command", |s| s.command = StartProcess::argv(["touch", "ran", "a\0b"]).command),
    ];
    for (argument, change) in table {
        let mut start = shell();
        change(&mut start);
        let result = place.executor.start_process(start).await;
        let error = refused(result, ErrorCode::InvalidArgument, &[argument]);
        assert_eq!(error.details["argument"], argument);
    }
    let none = place.executor.start_process(StartProcess::argv(no_command)).await;
    refused(none, ErrorCode::InvalidArgument, &["command"]);
    let mut large = Execute::new(shell());
    large.capture_bytes = usize::MAX;
    refused(place.executor.execute(large).await, ErrorCode::InvalidArgument, &["capture_bytes"]);
    let mut unread = Execute::new(shell());
    unread.input = "x".into();
    refused(place.executor.execute(unread).await, ErrorCode::InvalidArgument, &["input"]);
    let detached = StartProcess { lifetime: Lifetime::Detached, ..shell() };
    let result = place.executor.execute(Execute::new(detached)).await;
    let error = refused_with_hint(result, ErrorCode::InvalidArgument, &["detached"]);
    assert_eq!(error.details["argument"], "detached");
    assert!(!place.exists("ran").await);
    assert_eq!(place.executor.list_processes().await.unwrap().len(), 0);
}

async fn fifty_commands_at_once_do_not_mix(place: Fixture) {
    let started = Instant::now();
    let runs = (0..50).map(|number| {
        let line = format!(
            "for i in 1 2 3 4 5; do echo {number}.$i; echo e{number}.$i >&2; sleep 0.05; done; \
             exit {number}"
        );
        let place = &place;
        async move {
            let done = place.execute(line).await;
            let lines = |mark: &str| -> String {
                (1..=5).map(|i| format!("{mark}{number}.{i}\n")).collect()
            };
            assert_eq!(done.exit.code, number);
            assert_eq!(done.stdout.head.to_string_lossy(), lines(""));
            assert_eq!(done.stderr.head.to_string_lossy(), lines("e"));
        }
    });
    join_all(runs).await;
    assert!(started.elapsed() < Duration::from_secs(12), "one after the other it takes longer");
    assert_eq!(place.executor.list_processes().await.unwrap().len(), 50);
}

async fn a_capture_keeps_the_beginning_and_the_end(place: Fixture) {
    let whole: String = (1..=2000).map(|number| format!("{number}\n")).collect();
    for limit in [2, 10, 1000, whole.len() - 1, whole.len() + 1, 2 * whole.len()] {
        let mut request = Execute::new(StartProcess::shell("seq 2000; echo e >&2"));
        request.capture_bytes = limit;
        let done = place.executor.execute(request).await.unwrap();
        let (head, tail) = (done.stdout.head.to_string_lossy(), done.stdout.tail.to_string_lossy());
        let omitted = usize::try_from(done.stdout.omitted_bytes).unwrap();
        assert_eq!(head.len() + tail.len() + omitted, whole.len(), "limit {limit}");
        assert!(whole.starts_with(&*head) && whole.ends_with(&*tail), "limit {limit}");
        assert_eq!(done.truncated, limit < whole.len(), "limit {limit}");
        assert!(head.len() + tail.len() <= limit);
        if done.truncated {
            assert_eq!((head.len(), tail.len()), (limit / 2, limit / 2));
            // What is not in the reply is under the id.
            let all = place.collect(&done.id, crate::check::UNTIL_EXIT).await;
            assert_eq!(all.stdout, whole.as_bytes());
        } else {
            assert!(tail.is_empty() && head == whole);
        }
    }
}

async fn a_small_capture_may_be_nothing(place: Fixture) {
    let mut request = Execute::new(StartProcess::shell("echo out; exit 4"));
    request.capture_bytes = 0;
    let done = place.executor.execute(request).await.unwrap();
    assert_eq!((done.exit.code, done.stdout.omitted_bytes, done.truncated), (4, 4, true));
    assert!(done.stdout.head.is_empty() && done.stdout.tail.is_empty());
}

async fn ids_are_never_the_same(place: Fixture) {
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(run(&place, &["true"]).await.id);
    }
    let unknown = "0000000000".parse().unwrap();
    assert!(!ids.contains(&unknown));
    refused_with_hint(
        place.executor.wait(&unknown).await,
        ErrorCode::UnknownProcess,
        &["0000000000"],
    );
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20);
}

async fn nothing_is_inherited_but_the_three_streams(place: Fixture) {
    let done = place.execute("ls -l /proc/$$/fd; true").await;
    let listed = done.stdout.head.to_string_lossy().into_owned();
    let open: Vec<&str> = listed
        .lines()
        .filter(|line| line.contains(" -> "))
        .filter_map(|line| line.split(" -> ").next()?.rsplit(' ').next())
        .collect();
    // bash itself may hold 255 for a script; a command line has none.
    assert_eq!(open, ["0", "1", "2"], "{listed}");
}

async fn signals_begin_at_their_defaults(place: Fixture) {
    let status = place.text("grep -E '^Sig(Blk|Ign)' /proc/self/status").await;
    for line in status.lines() {
        let mask = line.split_whitespace().nth(1).unwrap();
        let bits = u64::from_str_radix(mask, 16).unwrap();
        // An ignored PIPE would let `yes | head` write for ever.
        assert_eq!(bits & (1 << 12), 0, "{status}");
        assert!(!line.starts_with("SigBlk") || bits == 0, "{status}");
    }
}
