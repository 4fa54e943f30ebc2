use proptest::prelude::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use serde_json::{Value as Json, json};
use stigmer_core::ErrorCode;

use super::{Encoded, MAX_VALUES, decode, decode_query};
use crate::http::contract::{Message, contract};
use crate::wire;

fn message(name: &str) -> &'static Message {
    contract().messages.iter().find(|message| message.name == name).unwrap()
}

fn from_json<M: prost::Message + Default>(name: &str, json: &Json) -> M {
    M::decode(&*decode(message(name), json.to_string().as_bytes()).unwrap()).unwrap()
}

fn to_json(name: &str, of: &impl prost::Message) -> Json {
    let bytes = of.encode_to_vec();
    serde_json::from_slice(&Encoded::new(message(name), &bytes).to_vec().unwrap()).unwrap()
}

/// The refusal's message.
fn refused(name: &str, json: &str) -> String {
    let error = decode(message(name), json.as_bytes()).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    error.message
}

fn text(text: &str) -> Option<wire::ByteString> {
    Some(wire::ByteString { value: Some(wire::byte_string::Value::Text(text.to_owned())) })
}

fn bytes(bytes: &'static [u8]) -> Option<wire::ByteString> {
    Some(wire::ByteString { value: Some(wire::byte_string::Value::Base64(bytes.into())) })
}

#[test]
fn a_request_is_read_with_every_form_that_a_value_may_have() {
    let wanted = wire::ReadFileRequest {
        workspace: "w".to_owned(),
        path: text("a b"),
        first_line: Some(3),
        last_line: None,
    };
    for json in [
        json!({ "workspace": "w", "path": "a b", "first_line": 3 }),
        json!({ "workspace": "w", "path": { "text": "a b" }, "firstLine": "3", "last_line": null }),
        json!({ "workspace": "w", "path": "a b", "first_line": 3.0 }),
    ] {
        assert_eq!(from_json::<wire::ReadFileRequest>("ReadFileRequest", &json), wanted);
    }
    let read: wire::ReadFileRequest =
        from_json("ReadFileRequest", &json!({ "path": { "base64": "Yf8" } }));
    assert_eq!(read.path, bytes(b"a\xff"));
    assert_eq!(decode(message("ReadFileRequest"), b" \n").unwrap(), b"");
    for json in [json!("until_exit"), json!("FOLLOW_UNTIL_EXIT"), json!(2), json!("2")] {
        let request: wire::OutputRequest = from_json("OutputRequest", &json!({ "follow": json }));
        assert_eq!(request.follow, wire::Follow::UntilExit as i32);
    }
}

#[test]
fn messages_lists_and_choices_are_read() {
    let request: wire::StartProcessRequest = from_json(
        "StartProcessRequest",
        &json!({
            "command": { "argv": { "words": ["ls", { "base64": "/w==" }] } },
            "variables": [{ "name": "A", "value": "b" }],
            "caller": { "umask": 18 },
            "terminal": { "rows": 24, "columns": 80 },
        }),
    );
    let Some(wire::command::Command::Argv(argv)) = request.command.unwrap().command else {
        panic!("arguments");
    };
    assert_eq!(argv.words, [text("ls").unwrap(), bytes(b"\xff").unwrap()]);
    assert_eq!(request.caller.unwrap().umask, Some(0o22));
    assert_eq!(request.variables.len(), 1);
    let signal: wire::SignalRequest = from_json("SignalRequest", &json!({ "cancel": {} }));
    assert_eq!(signal.action, Some(wire::signal_request::Action::Cancel(wire::Cancel {})));
    let signal: wire::SignalRequest = from_json("SignalRequest", &json!({ "send": -1 }));
    assert_eq!(signal.action, Some(wire::signal_request::Action::Send(-1)));
}

#[test]
fn what_the_contract_does_not_have_is_refused_by_name() {
    let read = |json: &str| refused("ReadFileRequest", json);
    assert!(read(r#"{"pth": "x"}"#).starts_with("pth: ReadFileRequest has no such field"));
    assert_eq!(read(r#"{"path": {"base64": "*"}}"#), "path.base64: must be a string in base64");
    assert!(read(r#"{"path": {"hex": "ff"}}"#).starts_with("path.hex: "));
    assert!(read(r#"{"path": 1}"#).starts_with("path: must be a string"));
    assert!(read(r#"{"first_line": -1}"#).starts_with("first_line: must be a whole number"));
    for number in ["1.5", "1e300", "18446744073709551616", "\"\"", "\"+1\"", "\"1 \"", "true", "[]"]
    {
        let json = format!(r#"{{"first_line": {number}}}"#);
        assert!(read(&json).starts_with("first_line: must be a whole number"), "{number}");
    }
    assert!(
        read(r#"{"workspace": "a", "workspace": "b"}"#).starts_with("workspace: is given twice")
    );
    assert!(read("[]").starts_with("body: must be an object"));
    assert!(read("null").starts_with("body: must be an object"));
    assert!(read("{} x").starts_with("body: not JSON"));
    assert!(read(r#"{"path": "#).starts_with("path: not JSON"));
    assert!(read("{\"workspace\": \"\\ud800\"}").starts_with("workspace: not JSON"));
    let edit = refused("EditFileRequest", r#"{"edits": [{"old": "a"}, {"nwe": "b"}]}"#);
    assert!(edit.starts_with("edits[1].nwe: Edit has no such field; it has old, new"), "{edit}");
    assert!(refused("EditFileRequest", r#"{"edits": [null]}"#).starts_with("edits[0]: must be"));
    let follow = refused("OutputRequest", r#"{"follow": "always"}"#);
    assert_eq!(follow, "follow: must be one of unspecified, no, until_exit, until_closed");
    assert!(refused("OutputRequest", r#"{"follow": 9}"#).starts_with("follow: must be one of"));
    assert_eq!(
        refused("SignalRequest", r#"{"cancel": {}, "kill": {}}"#),
        "kill: cannot be given with cancel"
    );
    assert!(decode(message("SignalRequest"), br#"{"cancel": null, "kill": {}}"#).is_ok());
}

#[test]
fn no_refusal_says_a_value_again() {
    for json in [
        r#"{"workspace": "w", "first_line": "hunter2"}"#,
        r#"{"path": {"base64": "hunter2*"}}"#,
        r#"{"path": ["hunter2"]}"#,
        r#"{"workspace": "hunter2"#,
        r#"{"workspace": hunter2}"#,
    ] {
        let error = decode(message("ReadFileRequest"), json.as_bytes()).unwrap_err();
        assert!(!serde_json::to_string(&error).unwrap().contains("hunter2"), "{json}");
    }
}

#[test]
fn a_small_request_cannot_become_a_large_one() {
    let many = "{},".repeat(MAX_VALUES);
    let refusal = refused("EditFileRequest", &format!(r#"{{"edits": [{many}{{}}]}}"#));
    assert!(refusal.contains("values in one request"), "{refusal}");
    let deep = format!("{}1{}", r#"{"edits":["#.repeat(500), "]}".repeat(500));
    assert!(!refused("EditFileRequest", &deep).is_empty());
}

#[test]
fn a_reply_shows_its_zeros_and_leaves_out_what_is_missing() {
    let content = wire::FileContent {
        content: text("a\nb"),
        encoding: wire::Encoding::Utf8 as i32,
        size: u64::MAX,
        ..wire::FileContent::default()
    };
    assert_eq!(
        to_json("FileContent", &content),
        json!({
            "content": "a\nb", "encoding": "utf8", "total_lines": 0, "start_line": 0,
            "end_line": 0, "size": u64::MAX, "sha256": "",
        })
    );
    let listing = wire::Listing { unreadable: vec![bytes(b"\xff").unwrap()], ..Default::default() };
    assert_eq!(
        to_json("Listing", &listing),
        json!({ "entries": [], "truncated": false, "unreadable": [{ "base64": "/w==" }] })
    );
    // Bytes that are text are shown as text, however they were sent.
    let stat = wire::FileStat { path: bytes(b"a"), modified_ms: -1, ..Default::default() };
    let json = to_json("FileStat", &stat);
    assert_eq!((&json["path"], &json["modified_ms"]), (&json!("a"), &json!(-1)));
    assert_eq!(json["kind"], "unspecified");
    assert!(json.get("symlink_target").is_none());
    let edit = wire::EditSummary { occurrences: vec![1, 300], ..Default::default() };
    assert_eq!(to_json("EditSummary", &edit)["occurrences"], json!([1, 300]));
    let exit = wire::ExitStatus { code: -1, reason: 77, ..Default::default() };
    let json = to_json("ExitStatus", &exit);
    assert_eq!((&json["code"], &json["reason"]), (&json!(-1), &json!(77)));
}

#[test]
fn a_broken_reply_is_an_error_and_no_panic() {
    let path: &[u8] = &[10, 5, 1];
    assert!(Encoded::new(message("FileStat"), path).to_vec().is_err());
    assert!(Encoded::new(message("FileStat"), &[16, 1, 255]).to_vec().is_err());
    assert!(Encoded::new(message("FileStat"), &[18, 1, 65]).to_vec().is_err());
}

#[test]
fn ten_megabytes_of_content_survive() {
    let content = "line of text, \"quoted\" \\ and so on\n".repeat(10 << 20 >> 5);
    let request = wire::WriteFileRequest { content: text(&content), ..Default::default() };
    let bytes = request.encode_to_vec();
    let json = Encoded::new(message("WriteFileRequest"), &bytes).to_vec().unwrap();
    let back = decode(message("WriteFileRequest"), &json).unwrap();
    assert_eq!(wire::WriteFileRequest::decode(&*back).unwrap(), request);
}

#[test]
fn a_query_is_read_like_a_body() {
    let read = |query: &str| {
        let bytes = decode_query(message("ReadFileRequest"), query).unwrap();
        wire::ReadFileRequest::decode(&*bytes).unwrap()
    };
    let request = read("workspace=%2Ftmp%2Fa+b&path=f%C3%A4&first_line=2");
    assert_eq!((request.workspace.as_str(), request.path), ("/tmp/a b", text("fä")));
    assert_eq!(request.first_line, Some(2));
    assert_eq!(read("path=a%ff").path, bytes(b"a\xff"));
    assert_eq!(read("path.base64=Yf8").path, bytes(b"a\xff"));
    assert_eq!(read("path=").path, text(""));
    assert_eq!(read(""), wire::ReadFileRequest::default());
    let grep =
        decode_query(message("GrepSearchRequest"), "paths=a&paths=b&case=smart&literal=true");
    let grep = wire::GrepSearchRequest::decode(&*grep.unwrap()).unwrap();
    assert_eq!(grep.paths, [text("a").unwrap(), text("b").unwrap()]);
    assert!(grep.literal && grep.case == wire::CaseRule::Smart as i32);
    let start =
        decode_query(message("ExecuteRequest"), "start.cwd=a&start.command.shell=b&input=c");
    let start = wire::ExecuteRequest::decode(&*start.unwrap()).unwrap().start.unwrap();
    assert_eq!(start.cwd, text("a"));
    let Some(wire::command::Command::Shell(shell)) = start.command.unwrap().command else {
        panic!("a command line");
    };
    assert_eq!(Some(shell), text("b"));
}

#[test]
fn a_query_with_a_slip_is_refused_by_name() {
    let refused = |name: &str, query: &str| {
        let error = decode_query(message(name), query).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        error.message
    };
    let read = |query| refused("ReadFileRequest", query);
    assert!(read("pth=x").starts_with("pth: ReadFileRequest has no such field"));
    assert!(read("path=a&path=b").ends_with("is given twice"));
    assert!(read("path=a&path.base64=YQ").ends_with("is given twice"));
    assert!(read("path.text=a&path.base64=YQ").contains("cannot be given with text"));
    assert!(read("first_line=x").contains("must be a whole number"));
    assert!(read("workspace=%ff").contains("must be a string"));
    for query in ["path=%zz", "path=100%", "path=%4", "path=%%41", "path=a&path=%+1", "path=%4ä"] {
        assert!(read(query).starts_with("path: has a %"), "{query}");
    }
    assert!(read("path.text=%zz").starts_with("path.text: has a %"));
    for query in ["%zz=a", "pa%fft=a"] {
        assert!(read(query).starts_with("query: a name is"), "{query}");
    }
    assert!(read("workspace.x=1").contains("nothing in workspace"));
    assert!(refused("GrepSearchRequest", "literal=yes").contains("must be true or false"));
    assert!(refused("ExecuteRequest", "start=x").contains("one by one"));
    assert!(refused("EditFileRequest", "edits.old=x").contains("nothing in edits"));
}

/// A random message, of at most so many levels.
fn any_message(
    descriptor: MessageDescriptor,
    seed: &mut impl FnMut() -> u64,
    depth: u32,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let mut chosen: Vec<String> = Vec::new();
    for field in descriptor.fields() {
        if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
            if chosen.iter().any(|name| name == oneof.full_name()) || seed().is_multiple_of(2) {
                continue;
            }
            chosen.push(oneof.full_name().to_owned());
        } else if seed().is_multiple_of(3) {
            continue;
        }
        let mut one = || match field.kind() {
            Kind::Bool => Value::Bool(seed().is_multiple_of(2)),
            Kind::Int32 => Value::I32(seed() as i32),
            Kind::Int64 => Value::I64(seed() as i64),
            Kind::Uint32 => Value::U32(seed() as u32),
            Kind::Uint64 => Value::U64(seed()),
            Kind::String => Value::String(format!("\u{0}\"\\ä{}", seed())),
            Kind::Bytes => Value::Bytes(vec![0xff, seed() as u8].into()),
            Kind::Enum(of) => {
                let values: Vec<i32> = of.values().map(|value| value.number()).collect();
                Value::EnumNumber(values[seed() as usize % values.len()])
            }
            Kind::Message(of) if depth > 0 => Value::Message(any_message(of, seed, depth - 1)),
            Kind::Message(of) => Value::Message(DynamicMessage::new(of)),
            other => panic!("{other:?}"),
        };
        let value = if field.is_list() { Value::List(vec![one(), one()]) } else { one() };
        message.set_field(&field, value);
    }
    // In JSON a `ByteString` without a value is an empty text.
    if descriptor.full_name() == "stigmer.v1.ByteString" && chosen.is_empty() {
        message.set_field_by_name("text", Value::String(String::new()));
    }
    message
}

fn pool() -> &'static DescriptorPool {
    static POOL: std::sync::LazyLock<DescriptorPool> =
        std::sync::LazyLock::new(|| DescriptorPool::decode(crate::DESCRIPTORS).unwrap());
    &POOL
}

/// JSON that is like what a message wants, and often is not.
fn any_json() -> impl Strategy<Value = String> {
    let names: Vec<String> = contract()
        .messages
        .iter()
        .flat_map(|message| message.fields.iter().map(|field| field.name.clone()))
        .collect();
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "\\PC{0,8}".prop_map(Json::from),
        Just(json!("/w==")),
    ];
    let tree = leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::hash_map(prop::sample::select(names.clone()), inner, 0..6)
                .prop_map(Json::from_iter),
        ]
    });
    tree.prop_map(|json| json.to_string())
}

proptest! {
    #[test]
    fn every_message_survives_json(seeds in prop::collection::vec(any::<u64>(), 1..200)) {
        for (descriptor, of) in pool().all_messages().zip(&contract().messages) {
            let mut position = 0;
            let mut seed = || { position += 1; seeds[position % seeds.len()] >> (position % 60) };
            let before = any_message(descriptor.clone(), &mut seed, 5);
            let json = Encoded::new(of, &before.encode_to_vec()).to_vec().unwrap();
            let after = decode(of, &json);
            if of.special.is_some() {
                continue;
            }
            let after = DynamicMessage::decode(descriptor, &*after.unwrap()).unwrap();
            // Both are encoded again, because only one of them may say zeros that mean nothing.
            prop_assert_eq!(after.encode_to_vec(), before.encode_to_vec());
        }
    }

    #[test]
    fn no_json_makes_any_decoder_panic(json in any_json(), raw in prop::collection::vec(any::<u8>(), 0..64)) {
        for operation in &contract().operations {
            if let Ok(bytes) = decode(operation.input(), json.as_bytes()) {
                let descriptor = pool().all_messages().nth(operation.input).unwrap();
                prop_assert!(DynamicMessage::decode(descriptor, &*bytes).is_ok());
                prop_assert!(Encoded::new(operation.input(), &bytes).to_vec().is_ok());
            }
            let _ = decode(operation.input(), &raw);
            let _ = decode_query(operation.input(), &String::from_utf8_lossy(&raw));
            let _ = decode_query(operation.input(), &json);
            let _ = Encoded::new(operation.output(), &raw).to_vec();
        }
    }
}
