//! `/mcp` of the daemon: the protocol over streamable HTTP.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::Place;
use support::daemon::Daemon;
use support::mcp::{Agent, Http, STUBBORN, WITH_HANDSHAKE, bad, gone, good, hello, stubborn};

#[test]
fn both_mounts_have_the_same_tools() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let mut reply = client.modern("tools/list", None, json!({}));
    let over_http = reply.answer()["result"]["tools"].clone();
    let mut agent = Agent::start(&place, &[]);
    assert_eq!(agent.ask("tools/list", json!({}))["tools"], over_http);
    assert_eq!(over_http.as_array().unwrap().len(), 13);
}

#[test]
fn every_tool_works_over_http() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let call = |tool: &str, arguments: Value| good(&client.result(tool, arguments));
    call("write", json!({ "path": "f.txt", "content": "one\n" }));
    let edits = json!([{ "old": "one", "new": "two" }]);
    call("edit", json!({ "path": "f.txt", "edits": edits }));
    assert_eq!(call("read", json!({ "path": "f.txt" }))["content"], "two\n");
    assert_eq!(call("list", json!({}))["entries"][0]["path"], "f.txt");
    assert_eq!(call("find", json!({ "query": "*.txt" }))["paths"], json!(["f.txt"]));
    assert_eq!(call("grep", json!({ "pattern": "t.o" }))["matches"][0]["line"], 1);
    assert_eq!(call("run", json!({ "command": "cat f.txt" }))["stdout"], "two\n");
    let run = json!({ "command": "cat; sleep 1000", "background": true, "interactive": true });
    let id = call("run", run)["process"].clone();
    call("process_input", json!({ "process": id, "text": "typed\n", "close": true }));
    support::daemon::until("it is written", || {
        let output = call("process_output", json!({ "process": id }));
        assert_eq!(output["running"], true);
        output["output"] == json!([{ "stream": "stdout", "text": "typed\n" }])
    });
    assert_eq!(call("process_list", json!({}))["processes"][0]["process"], id);
    assert_eq!(call("process_kill", json!({ "process": id }))["exit_code"], 143);
    let all = call("workspaces", json!({}))["workspaces"].clone();
    assert_eq!((&all[0]["default"], &all[0]["root"]), (&true.into(), &daemon.workspace().into()));
    let opened = call("workspace_open", json!({ "path": daemon.workspace() }));
    assert_eq!(opened["id"], all[0]["id"]);
    let error = bad(&client.result("read", json!({ "path": "none" })));
    assert_eq!(error["code"], "not_found");
    let error = bad(&client.result("read", json!({ "pth": "f.txt" })));
    assert!(error["hint"].as_str().unwrap().contains("path"), "{error}");
}

#[test]
fn nobody_is_served_without_the_token() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello() });
    let wrong = "authorization: Bearer aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".to_owned();
    for headers in [String::new(), wrong] {
        let client = Http { headers, ..Http::new(&daemon) };
        for method in ["POST", "GET", "DELETE"] {
            assert_eq!(client.send(method, "", &body.to_string()).status, 401, "{method}");
        }
    }
    assert_eq!(Http::new(&daemon).send("POST", "", &body.to_string()).status, 200);
}

#[test]
fn a_page_elsewhere_is_not_served() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello() });
    for headers in ["host: evil.example\r\n", "origin: https://evil.example\r\n"] {
        assert_eq!(client.send("POST", headers, &body.to_string()).status, 403, "{headers}");
    }
    for headers in ["host: 127.0.0.1\r\n", "origin: http://localhost\r\n"] {
        assert_eq!(client.send("POST", headers, &body.to_string()).status, 200, "{headers}");
    }
}

#[test]
fn an_address_says_where_a_client_works() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let other = place.beside("other");
    std::fs::create_dir(&other).unwrap();
    let at = |address: String| Http { address, ..Http::new(&daemon) };
    let client = at(format!("/mcp?workspace={}", other.to_str().unwrap().replace('/', "%2F")));
    let ran = good(&client.result("run", json!({ "command": "pwd -P" })));
    assert_eq!(ran["stdout"], format!("{}\n", other.canonicalize().unwrap().display()));

    let nowhere = at("/mcp".to_owned());
    let error = bad(&nowhere.result("run", json!({ "command": "true" })));
    assert_eq!(error["code"], "invalid_argument");
    assert!(error["hint"].as_str().unwrap().contains("workspaces"), "{error}");
    let named = json!({ "command": "pwd", "workspace": daemon.workspace() });
    assert_eq!(good(&nowhere.result("run", named))["stdout"], format!("{}\n", daemon.workspace()));

    for (query, status, part) in [
        ("workspce=/tmp", 400, "workspace"),
        ("mode=none", 400, "mode"),
        ("mode=cloud&workspace=/tmp", 400, "cloud"),
        ("workspace=relative", 400, "absolute"),
        ("workspace=/nowhere-at-all", 404, "/nowhere-at-all"),
        ("workspace=ws-0000000000000000", 404, "ws-0000000000000000"),
    ] {
        let mut reply = at(format!("/mcp?{query}")).modern("tools/list", None, json!({}));
        let status_and_text = (reply.status, reply.rest());
        assert_eq!(status_and_text.0, status, "{query}: {}", status_and_text.1);
        assert!(status_and_text.1.contains(part), "{query}: {}", status_and_text.1);
    }
}

#[test]
fn a_session_brings_calls_progress_and_cancelling_together() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let session = client.shake_hands();
    let call = |id: u64, line: &str| {
        json!({
            "jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {
                "name": "run",
                "arguments": { "command": line },
                "_meta": { "progressToken": 7 },
            },
        })
    };
    let mut reply = client.within(&session, &call(1, "echo hi"));
    assert_eq!(good(&reply.answer()["result"])["stdout"], "hi\n");

    let mut reply = client.within(&session, &call(2, STUBBORN));
    let told = reply.next();
    assert_eq!(
        (&told["method"], &told["params"]["progressToken"]),
        (&"notifications/progress".into(), &7.into())
    );
    assert_eq!(told["params"]["message"], "started\n");
    let pids = stubborn(&place);
    let params = json!({ "requestId": 2 });
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
    assert_eq!(client.within(&session, &cancel).status, 202);
    gone(&place, pids);

    let headers =
        format!("mcp-session-id: {session}\r\nmcp-protocol-version: {WITH_HANDSHAKE}\r\n");
    assert!((200..300).contains(&client.send("DELETE", &headers, "").status));
    assert_eq!(client.within(&session, &call(3, "true")).status, 404);
}

#[test]
fn sessions_are_bounded_however_they_begin() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let first = client.shake_hands();
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    assert_eq!(client.within(&first, &ping).status, 200);
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello() });
    for _ in 0..256 {
        let mut reply = client.send("POST", "mcp-method: initialize\r\n", &hello.to_string());
        reply.rest();
        assert_eq!(reply.status, 200);
    }
    assert_eq!(client.within(&first, &ping).status, 404, "the oldest that nobody uses has gone");
}

#[test]
fn a_client_that_hangs_up_takes_its_command_along() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let params = json!({
        "name": "run",
        "arguments": { "command": STUBBORN },
        "_meta": { "progressToken": 1 },
    });
    let mut reply = client.modern("tools/call", Some("run"), params);
    assert_eq!(reply.next()["params"]["message"], "started\n");
    let pids = stubborn(&place);
    drop(reply);
    gone(&place, pids);
}

#[test]
fn a_session_whose_client_does_not_come_back_takes_its_command_along() {
    let place = Place::new();
    place.write_config("client_grace = \"100ms\"\n");
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let session = client.shake_hands();
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "run", "arguments": { "command": STUBBORN } },
    });
    let reply = client.within(&session, &call);
    assert_eq!(reply.status, 200);
    let pids = stubborn(&place);
    drop(reply);
    gone(&place, pids);
    assert_eq!(client.within(&session, &call).status, 404);
}

#[test]
fn an_ending_daemon_ends_what_it_runs_for_clients() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let client = Http::new(&daemon);
    let params = json!({
        "name": "run",
        "arguments": { "command": STUBBORN },
        "_meta": { "progressToken": 1 },
    });
    let mut reply = client.modern("tools/call", Some("run"), params);
    assert_eq!(reply.next()["params"]["message"], "started\n");
    let pids = stubborn(&place);
    place.run(&["server", "stop"]).ok();
    gone(&place, pids);
}

#[test]
fn nothing_that_a_client_sends_is_in_the_log() {
    let place = Place::new();
    let daemon =
        Daemon::start_with(&place, &[("STIGMER_LOG", "trace")], &["--listen", "127.0.0.1:0"]);
    let client = Http::new(&daemon);
    let secret = "hunter2-in-a-command";
    good(
        &client
            .result("run", json!({ "command": format!("echo {secret}"), "env": { "K": secret } })),
    );
    good(&client.result("write", json!({ "path": secret, "content": secret })));
    let session = client.shake_hands();
    let params = json!({ "name": secret, "arguments": { "command": secret } });
    let unknown = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let mut reply = client.within(&session, &unknown);
    assert_eq!(reply.answer()["error"]["code"], -32602);
    let log = place.daemon_log();
    assert!(log.contains("serving") && log.contains("\"mcp\""), "{log}");
    assert!(!log.contains(secret), "{log}");
}
