//! `stigmer mcp`: the protocol over standard input and output.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use support::Place;
use support::mcp::{Agent, STUBBORN, WITHOUT_SESSIONS, gone, good, meta, stubborn};

const TOOLS: [&str; 13] = [
    "run",
    "process_output",
    "process_input",
    "process_kill",
    "process_list",
    "read",
    "write",
    "edit",
    "list",
    "find",
    "grep",
    "workspaces",
    "workspace_open",
];

fn agent(place: &Place) -> Agent {
    Agent::start(place, &[])
}

#[test]
fn an_agent_is_told_what_there_is() {
    let place = Place::new();
    let mut agent = Agent::bare(&place, &[]);
    let hello = agent.ask("initialize", support::mcp::hello());
    assert_eq!(hello["serverInfo"]["name"], "stigmer");
    assert_eq!(hello["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(hello["instructions"].as_str().unwrap().contains("process_output"), "{hello}");
    assert_eq!(hello["capabilities"], json!({ "tools": {} }));
    agent.tell("notifications/initialized", json!({}));
    let list = agent.ask("tools/list", json!({}));
    let tools = list["tools"].as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, TOOLS);
    for tool in tools {
        assert!(tool["description"].as_str().unwrap().len() > 40, "{tool}");
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
            assert!(tool["annotations"][hint].is_boolean(), "{hint} {tool}");
        }
    }
    assert!(agent.close().success());
}

#[test]
fn an_agent_that_speaks_over_sockets_is_served() {
    let place = Place::new();
    let mut agent = Agent::over_sockets(&place);
    agent.ask("initialize", support::mcp::hello());
    agent.tell("notifications/initialized", json!({}));
    assert_eq!(agent.call("run", json!({ "command": "echo hi" }))["stdout"], "hi\n");
    agent.request("tools/call", json!({ "name": "run", "arguments": { "command": STUBBORN } }));
    let pids = stubborn(&place);
    assert!(agent.close().success());
    gone(&place, pids);
}

#[test]
fn a_client_without_handshake_is_served() {
    let place = Place::new();
    let mut agent = Agent::bare(&place, &[]);
    let found = agent.ask("server/discover", json!({ "_meta": meta() }));
    assert!(found["supportedVersions"].as_array().unwrap().contains(&WITHOUT_SESSIONS.into()));
    let params = json!({ "_meta": meta(), "name": "run", "arguments": { "command": "echo hi" } });
    assert_eq!(good(&agent.ask("tools/call", params))["stdout"], "hi\n");
}

#[test]
fn a_command_runs_as_its_caller_would_run_it() {
    let place = Place::new();
    place.write("sub/file", "");
    let mut agent = agent(&place);
    let line = "pwd; echo $A-$STIGMER_HOME; ls; echo oops >&2; exit 3";
    let ran = agent.call("run", json!({ "command": line, "cwd": "sub", "env": { "A": "1" } }));
    let work = place.work();
    let stdout = format!("{}/sub\n1-{}\nfile\n", work.display(), place.home().display());
    assert_eq!((&ran["stdout"], &ran["stderr"]), (&stdout.into(), &"oops\n".into()), "{ran}");
    assert_eq!((&ran["exit_code"], &ran["end"]), (&3.into(), &"exited".into()));
    assert_eq!((&ran["running"], &ran["truncated"]), (&false.into(), &false.into()));
    assert_eq!(ran["place"], "host");
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_all_that_it_started() {
    let place = Place::new();
    let mut agent = agent(&place);
    let ran = agent.call("run", json!({ "command": STUBBORN, "timeout": 1.5 }));
    assert_eq!((&ran["exit_code"], &ran["end"]), (&124.into(), &"timed_out".into()), "{ran}");
    assert_eq!(ran["stdout"], "started\n");
    gone(&place, stubborn(&place));
}

#[test]
fn what_is_left_out_of_an_answer_is_where_it_says() {
    let place = Place::new();
    let mut agent = agent(&place);
    let ran = agent.call("run", json!({ "command": "seq 20000", "max_output": 1000 }));
    let whole: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    let stdout = ran["stdout"].as_str().unwrap();
    assert_eq!(ran["truncated"], true);
    assert!(stdout.starts_with("1\n2\n") && stdout.ends_with("19999\n20000\n"), "{stdout}");
    let rest = &ran["rest"];
    assert_eq!((&rest["process"], &rest["offset"]), (&ran["process"], &500.into()));
    let mut found = whole[..500].to_owned();
    let mut offset = rest["offset"].clone();
    loop {
        let arguments = json!({ "process": rest["process"], "offset": offset, "limit": 10_000 });
        let output = agent.call("process_output", arguments);
        for piece in output["output"].as_array().unwrap() {
            assert_eq!(piece["stream"], "stdout");
            found += piece["text"].as_str().unwrap();
        }
        offset = output["next_offset"].clone();
        if output["more"] == false {
            assert_eq!((&output["running"], &output["exit_code"]), (&false.into(), &0.into()));
            break;
        }
    }
    assert!(found == whole, "{} of {} bytes", found.len(), whole.len());
}

#[test]
fn a_command_in_the_background_is_written_to_read_listed_and_ended() {
    let place = Place::new();
    let mut agent = agent(&place);
    let line = "while read line; do echo \"got $line\"; done; echo over";
    let run = json!({ "command": line, "background": true, "interactive": true });
    let ran = agent.call("run", run);
    let id = ran["process"].clone();
    assert_eq!((&ran["running"], &ran["exit_code"]), (&true.into(), &Value::Null));
    let list = agent.call("process_list", json!({}));
    assert_eq!(list["processes"][0]["process"], id, "{list}");
    assert_eq!(list["processes"][0]["state"], "running");
    agent.call("process_input", json!({ "process": id, "text": "a\n" }));
    let closed =
        agent.call("process_input", json!({ "process": id, "text": "b\n", "close": true }));
    assert_eq!((&closed["bytes"], &closed["closed"]), (&2.into(), &true.into()));
    let output = agent.call("process_output", json!({ "process": id, "wait": 20 }));
    assert_eq!(output["output"], json!([{ "stream": "stdout", "text": "got a\ngot b\nover\n" }]));
    assert_eq!(output["exit_code"], 0);
    assert_eq!(agent.call("process_list", json!({}))["processes"], json!([]));
    let all = agent.call("process_list", json!({ "all": true }));
    assert_eq!(all["processes"][0]["exit_code"], 0);

    let ran = agent.call("run", json!({ "command": STUBBORN, "background": true }));
    let pids = stubborn(&place);
    let killed = agent.call("process_kill", json!({ "process": ran["process"], "force": true }));
    assert_eq!(killed["exit_code"], 137, "{killed}");
    gone(&place, pids);
}

#[test]
fn what_runs_in_the_background_outlives_its_agent() {
    let place = Place::new();
    let mut first = agent(&place);
    let run =
        json!({ "command": "read line; echo $line", "background": true, "interactive": true });
    let id = first.call("run", run)["process"].clone();
    assert!(first.close().success());
    let mut second = agent(&place);
    second.call("process_input", json!({ "process": id, "text": "still here\n" }));
    let output = second.call("process_output", json!({ "process": id, "wait": 20 }));
    assert_eq!(output["output"][0]["text"], "still here\n", "{output}");
}

#[test]
fn files_are_written_read_and_edited() {
    let place = Place::new();
    let mut agent = agent(&place);
    let write = json!({ "path": "a/b.txt", "content": "one\ntwo\nthree\n" });
    let written = agent.call("write", write.clone());
    assert_eq!((&written["is_new_file"], &written["lines_added"]), (&true.into(), &3.into()));
    let read = agent.call("read", json!({ "path": "a/b.txt", "first_line": 2, "last_line": 2 }));
    assert_eq!((&read["content"], &read["next_line"]), (&"two\n".into(), &3.into()));
    assert_eq!((&read["total_lines"], &read["sha256"]), (&3.into(), &written["sha256"]));
    let edits =
        json!([{ "old": "two", "new": "2" }, { "old": "t", "new": "T", "replace_all": true }]);
    let edit = json!({ "path": "a/b.txt", "edits": edits, "expected_sha256": read["sha256"] });
    let edited = agent.call("edit", edit);
    assert_eq!(edited["occurrences"], json!([1, 1]));
    assert!(edited["diff"].as_str().unwrap().contains("\n-two\n"), "{edited}");
    assert_eq!(place.read("a/b.txt"), "one\n2\nThree\n");

    let binary = json!({ "path": "bytes", "content": "AP8=", "encoding": "base64" });
    agent.call("write", binary);
    assert_eq!(std::fs::read(place.work().join("bytes")).unwrap(), [0, 255]);
    let read = agent.call("read", json!({ "path": "bytes" }));
    assert_eq!((&read["content"], &read["encoding"]), (&"AP8=".into(), &"base64".into()));

    for (tool, arguments, code) in [
        ("read", json!({ "path": "none" }), "not_found"),
        ("read", json!({ "path": "a" }), "is_directory"),
        ("read", json!({ "path": "../../etc/passwd" }), "outside_workspace"),
        ("write", json!({ "path": "bytes", "content": "", "create_only": true }), "exists"),
        ("write", json!({ "path": "x", "content": "?", "encoding": "base64" }), "invalid_argument"),
        (
            "edit",
            json!({ "path": "a/b.txt", "edits": [{ "old": "no", "new": "" }] }),
            "text_not_found",
        ),
        (
            "edit",
            json!({ "path": "a/b.txt", "edits": [{ "old": "e", "new": "" }] }),
            "text_not_unique",
        ),
    ] {
        assert_eq!(agent.fail(tool, arguments)["code"], code);
    }
    let stale = json!({ "path": "bytes", "content": "", "expected_sha256": written["sha256"] });
    let error = agent.fail("write", stale);
    assert_eq!((&error["code"], &error["retryable"]), (&"stale".into(), &false.into()));
    assert!(error["hint"].as_str().unwrap().contains("read"), "{error}");
}

#[test]
fn a_long_file_is_read_page_by_page() {
    let place = Place::new();
    let whole: String = (0..5_000).map(|number| format!("line {number}\n")).collect();
    place.write("long", &whole);
    let mut agent = agent(&place);
    let (mut found, mut next) = (String::new(), json!(1));
    while next.is_u64() {
        let page = agent.call("read", json!({ "path": "long", "first_line": next }));
        assert_eq!(page["start_line"], next);
        found += page["content"].as_str().unwrap();
        next = page["next_line"].clone();
    }
    assert!(found == whole);
}

#[test]
fn names_and_lines_are_found() {
    let place = Place::new();
    for (name, content) in [
        ("src/main.rs", "fn main() {}\n// end\n"),
        ("src/lib.rs", "fn lib() {}\n"),
        ("notes", "x\n"),
    ] {
        place.write(name, content);
    }
    place.write(".ignore", "notes\n");
    let mut agent = agent(&place);
    let listed = agent.call("list", json!({ "depth": 2 }));
    let paths = |listed: &Value| -> Vec<String> {
        let entries = listed["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["path"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(&listed), ["src", "src/lib.rs", "src/main.rs"]);
    let all = agent.call("list", json!({ "no_ignore": true, "limit": 2 }));
    assert_eq!(
        (paths(&all), &all["truncated"]),
        (vec![".ignore".into(), "notes".into()], &true.into())
    );
    let found = agent.call("find", json!({ "query": "*.rs" }));
    assert_eq!(found["paths"], json!(["src/lib.rs", "src/main.rs"]));
    let fuzzy = agent.call("find", json!({ "query": "smain", "kind": "fuzzy" }));
    assert_eq!(fuzzy["paths"][0], "src/main.rs");
    let grep = json!({ "pattern": "fn (main|none)", "include": ["*.rs"], "context": 1 });
    let found = agent.call("grep", grep);
    assert_eq!(
        found["matches"],
        json!([{ "path": "src/main.rs", "line": 1, "column": 1, "text": "fn main() {}", "after": ["// end"] }])
    );
    assert_eq!(agent.call("grep", json!({ "pattern": "nowhere" }))["matches"], json!([]));
    assert_eq!(agent.fail("grep", json!({ "pattern": "(" }))["code"], "bad_regex");
    assert_eq!(agent.fail("find", json!({ "query": "[" }))["code"], "bad_glob");
}

#[test]
fn other_workspaces_can_be_opened_where_nothing_isolates() {
    let place = Place::new();
    let mut agent = agent(&place);
    let other = place.beside("other").to_str().unwrap().to_owned();
    assert_eq!(agent.fail("workspace_open", json!({ "path": other }))["code"], "not_found");
    std::fs::create_dir(&other).unwrap();
    let opened = agent.call("workspace_open", json!({ "path": other }));
    assert_eq!((&opened["mode"], &opened["default"]), (&"local".into(), &false.into()));
    let list = agent.call("workspaces", json!({}));
    let defaults: Vec<_> = list["workspaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["root"].as_str().unwrap().to_owned(), one["default"] == true))
        .collect();
    assert!(defaults.contains(&(place.work().to_str().unwrap().into(), true)), "{list}");
    assert_eq!(defaults.len(), 2, "{list}");
    for name in [&opened["id"], &other.clone().into()] {
        let ran = agent.call("run", json!({ "command": "pwd -P", "workspace": name }));
        assert_eq!(ran["stdout"], format!("{}\n", opened["root"].as_str().unwrap()));
    }
    let write = json!({ "path": "f", "content": "x", "workspace": opened["id"] });
    agent.call("write", write);
    assert!(place.beside("other/f").exists());
    for (name, code) in
        [("ws-0000000000000000", "unknown_workspace"), ("relative", "invalid_argument")]
    {
        let error = agent.fail("list", json!({ "workspace": name }));
        assert_eq!(error["code"], code);
    }
}

#[test]
fn a_mode_that_cannot_be_had_serves_nothing() {
    let place = Place::new();
    for words in [["--mode", "kubernetes"], ["--mode", "firecracker"]] {
        let ran = place.run(&[&["mcp"][..], &words].concat());
        ran.exits(7).prints("").says(&["not available"]);
    }
    place.run(&["mcp", "--workspace", "nowhere"]).exits(3).prints("").says(&["nowhere"]);
    place.run(&["--json", "mcp"]).exits(2);
}

#[test]
fn what_is_wrong_with_arguments_is_said() {
    let place = Place::new();
    let mut agent = agent(&place);
    let error = agent.fail("run", json!({ "command": "true", "shell": "zsh" }));
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("shell"), "{error}");
    let hint = error["hint"].as_str().unwrap();
    for valid in
        ["command", "cwd", "env", "timeout", "background", "interactive", "max_output", "workspace"]
    {
        assert!(hint.contains(valid), "{valid}: {hint}");
    }
    for (tool, arguments, part) in [
        ("run", json!({}), "command"),
        ("run", json!({ "command": 1 }), "command"),
        ("run", json!({ "command": " " }), "command"),
        ("run", json!({ "command": "true", "timeout": 0 }), "timeout"),
        ("run", json!({ "command": "true", "timeout": "5" }), "timeout"),
        ("run", json!({ "command": "true", "env": { "A=B": "" } }), "env"),
        ("run", json!({ "command": "true", "interactive": true }), "interactive"),
        ("run", json!({ "command": "true", "max_output": 1 }), "max_output"),
        ("process_output", json!({ "process": "no" }), "process"),
        ("process_output", json!({ "process": "0123456789", "wait": -1 }), "wait"),
        ("process_input", json!({ "process": "0123456789" }), "text"),
        ("read", json!({ "path": "f", "first_line": 0 }), "first_line"),
        ("read", json!({ "path": "f", "first_line": 3, "last_line": 2 }), "first_line"),
        ("edit", json!({ "path": "f", "edits": [{ "old": "a", "nwe": "b" }] }), "nwe"),
        ("list", json!({ "depth": 0 }), "depth"),
        ("find", json!({ "query": "x", "kind": "regex" }), "kind"),
        ("grep", json!({ "pattern": "x", "limit": 0 }), "limit"),
        ("grep", json!({ "pattern": "x", "context": 21 }), "context"),
        ("workspaces", json!({ "x": 1 }), "takes no arguments"),
    ] {
        let error = agent.fail(tool, arguments.clone());
        assert_eq!(error["code"], "invalid_argument", "{tool} {arguments}");
        assert!(error.to_string().contains(part), "{tool} {arguments}: {error}");
    }
    let unknown = agent.fail("process_output", json!({ "process": "0123456789" }));
    assert_eq!(unknown["code"], "unknown_process");
    // Models write null for what they leave out.
    let ran = agent.call("run", json!({ "command": "echo hi", "cwd": null, "timeout": null }));
    assert_eq!(ran["stdout"], "hi\n");
}

#[test]
fn what_is_no_call_of_a_tool_is_an_error_of_the_protocol() {
    let place = Place::new();
    let mut agent = agent(&place);
    let error = agent.refused("tools/call", json!({ "name": "bash", "arguments": {} }));
    assert_eq!(error["code"], -32602, "{error}");
    assert!(error["message"].as_str().unwrap().contains("process_output"), "{error}");
    // Models write arguments as text now and then.
    for odd in
        [json!({ "name": "run", "arguments": "{}" }), json!({ "name": "run", "arguments": [] })]
    {
        let error = agent.refused("tools/call", odd);
        assert_eq!(error["code"], -32602, "{error}");
        assert!(error["message"].as_str().unwrap().contains("an object"), "{error}");
    }
    assert_eq!(agent.refused("tools/explode", json!({}))["code"], -32601);
    let error = agent.refused("tools/list", json!({ "cursor": "page2" }));
    assert_eq!(error["code"], -32602, "{error}");
    assert_eq!(agent.ask("ping", json!({})), json!({}));
}

#[test]
fn output_is_told_while_a_command_runs_if_somebody_asked() {
    let place = Place::new();
    let mut agent = agent(&place);
    let line = "echo first; read line <fifo; echo second";
    place.run(&["run", "mkfifo fifo"]).ok();
    let arguments = json!({ "command": line });
    let params =
        json!({ "name": "run", "arguments": arguments, "_meta": { "progressToken": "t" } });
    let id = agent.request("tools/call", params);
    let told = agent.next();
    assert_eq!(told["method"], "notifications/progress", "{told}");
    assert_eq!(
        (&told["params"]["progressToken"], &told["params"]["message"]),
        (&"t".into(), &"first\n".into())
    );
    // The command goes on only now that it was told of.
    std::fs::write(place.work().join("fifo"), "go\n").unwrap();
    let ran = agent.answer(id)["result"]["structuredContent"].clone();
    assert_eq!(ran["stdout"], "first\nsecond\n");
    let mut last = told["params"]["progress"].as_f64().unwrap();
    for more in std::mem::take(&mut agent.notifications) {
        let progress = more["params"]["progress"].as_f64().unwrap();
        assert!(progress > last, "{more}");
        last = progress;
    }

    agent.call("run", json!({ "command": "echo first; sleep 0.3; echo second" }));
    assert_eq!(agent.notifications, [Value::Null; 0], "nobody asked");
}

#[test]
fn a_call_that_is_taken_back_is_ended_with_all_that_it_started() {
    let place = Place::new();
    let mut agent = agent(&place);
    let params = json!({ "name": "run", "arguments": { "command": STUBBORN } });
    let id = agent.request("tools/call", params);
    let pids = stubborn(&place);
    agent.tell("notifications/cancelled", json!({ "requestId": id, "reason": "enough" }));
    gone(&place, pids);
    // Nothing was answered to it, and the next call is.
    assert_eq!(agent.call("run", json!({ "command": "echo next" }))["stdout"], "next\n");
    let all = agent.call("process_list", json!({ "all": true }));
    assert_eq!(all["processes"].as_array().unwrap().len(), 2, "{all}");
}

#[test]
fn an_agent_that_goes_takes_its_commands_along() {
    let place = Place::new();
    let mut agent = agent(&place);
    agent.request("tools/call", json!({ "name": "run", "arguments": { "command": STUBBORN } }));
    let pids = stubborn(&place);
    assert!(agent.close().success());
    gone(&place, pids);
}

#[test]
fn an_agent_that_goes_without_reading_holds_up_nobody() {
    let place = Place::new();
    let mut agent = agent(&place);
    agent.stop_reading();
    let line = "seq 200000";
    for _ in 0..20 {
        let arguments = json!({ "command": line, "max_output": 1_048_576 });
        agent.request("tools/call", json!({ "name": "run", "arguments": arguments }));
    }
    agent.request("tools/call", json!({ "name": "run", "arguments": { "command": STUBBORN } }));
    let pids = stubborn(&place);
    assert!(agent.close().success());
    gone(&place, pids);
}

#[test]
fn a_server_that_is_told_to_end_takes_its_commands_along() {
    let place = Place::new();
    let mut agent = agent(&place);
    agent.request("tools/call", json!({ "name": "run", "arguments": { "command": STUBBORN } }));
    let pids = stubborn(&place);
    let pid = rustix::process::Pid::from_child(&agent.child);
    kill_process(pid, Signal::TERM).unwrap();
    assert!(agent.ended().success());
    gone(&place, pids);
}

#[test]
fn a_server_that_is_killed_takes_its_commands_along() {
    let place = Place::new();
    let mut agent = agent(&place);
    agent.request("tools/call", json!({ "name": "run", "arguments": { "command": STUBBORN } }));
    let pids = stubborn(&place);
    agent.child.kill().unwrap();
    gone(&place, pids);
}

#[test]
fn many_calls_at_once_are_all_answered() {
    let place = Place::new();
    let mut agent = agent(&place);
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let arguments = json!({ "command": format!("echo {number}") });
            let params = json!({ "name": "run", "arguments": arguments });
            (number, agent.request("tools/call", params))
        })
        .collect();
    let mut answers = std::collections::BTreeMap::new();
    while answers.len() < calls.len() {
        let answer = agent.next();
        answers.insert(answer["id"].as_u64().unwrap(), answer);
    }
    for (number, id) in calls {
        let stdout = &answers[&id]["result"]["structuredContent"]["stdout"];
        assert_eq!(stdout, &format!("{number}\n"));
    }
}
