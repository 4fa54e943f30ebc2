//! The operations, as requests and responses of HTTP.

use serde_json::{Map, Value, json};

use super::{object, reference, schemas};
use crate::http::contract::{Kind, Message, Operation, Shape, Special, contract};

/// All paths.
pub(super) fn paths() -> Value {
    let operations = contract().operations.iter().map(|of| (of.path.clone(), path(of)));
    object(
        operations
            .chain([("/healthz".to_owned(), healthz()), ("/openapi.json".to_owned(), openapi())]),
    )
}

fn path(of: &Operation) -> Value {
    let mut methods = Map::new();
    let output = reference("schemas", &of.output().name);
    match of.shape {
        Shape::Unary | Shape::Replies => {
            let reply = if of.shape == Shape::Unary { one_reply(&output) } else { replies(of) };
            let mut post = operation(of, "", &of.comment, &reply);
            post["requestBody"] = json_body(of.input());
            methods.insert("post".to_owned(), post);
            if of.safe {
                let mut get = operation(of, "_get", &of.comment, &reply);
                let mut parameters = query(of.input(), "");
                if of.shape == Shape::Replies && of.input().offset_field("since").is_some() {
                    parameters.push(last_event_id());
                }
                get["parameters"] = parameters.into();
                methods.insert("get".to_owned(), get);
            }
        }
        Shape::Requests | Shape::Both => {
            if let Some(upload) = of.upload() {
                let mut post = operation(of, "", &of.comment, &one_reply(&output));
                post["parameters"] = begin_query(upload.begin.kind).into();
                post["requestBody"] = json!({
                    "description": "The bytes. A body that is broken off is an upload that failed.",
                    "required": true,
                    "content": { "application/octet-stream": {} },
                });
                methods.insert("post".to_owned(), post);
            }
            let mut get = operation(of, "_websocket", &websocket(of), &upgrade());
            let begin = of.input().field("begin");
            get["parameters"] =
                begin.map(|begin| begin_query(begin.kind)).unwrap_or_default().into();
            methods.insert("get".to_owned(), get);
        }
    }
    Value::Object(methods)
}

/// What all methods have. `reply` is the response if all is well, with its status.
fn operation(of: &Operation, suffix: &str, comment: &str, reply: &(u16, Value)) -> Value {
    let service = &contract().services[of.service].name;
    let summary = comment.split_once(". ").map_or(comment, |(first, _)| first);
    json!({
        "operationId": format!("{service}_{}{suffix}", of.name),
        "tags": [service],
        "summary": summary.trim_end_matches('.'),
        "description": comment,
        "responses": {
            (reply.0.to_string()): reply.1,
            "default": reference("responses", "Error"),
        },
    })
}

fn response(description: &str, content: Value) -> Value {
    json!({
        "description": description,
        "headers": { "x-request-id": reference("headers", "RequestId") },
        "content": content,
    })
}

fn one_reply(output: &Value) -> (u16, Value) {
    (200, response("It was done.", json!({ "application/json": { "schema": output } })))
}

fn replies(of: &Operation) -> (u16, Value) {
    let output = of.output();
    let cases = output.fields.iter().filter(|field| field.oneof.is_some());
    let mut names: Vec<String> = cases.map(|field| format!("`{}`", field.name)).collect();
    if names.is_empty() {
        names.push("`message`".to_owned());
    }
    let id = match output.offset_field("next") {
        Some(_) => " Its id is the message's `next`; a request that begins there goes on after it.",
        None => "",
    };
    let events = format!(
        "Server-Sent Events: {}, then `end`, or `error` with the schema `Failure`. Each one's data \
         is a message in JSON.{id}",
        names.join(", ")
    );
    let schema = reference("schemas", &output.name);
    let mut content = json!({
        "text/event-stream": { "schema": { "type": "string", "description": events } },
        "application/x-ndjson": { "schema": schema },
    });
    if of.download().is_some() {
        content["application/octet-stream"] = json!({});
    }
    let description = "A stream of messages: events by default, with `Accept: \
                       application/x-ndjson` one object a line.";
    (200, response(description, content))
}

fn upgrade() -> (u16, Value) {
    (101, json!({ "description": "The connection is a WebSocket now." }))
}

fn websocket(of: &Operation) -> String {
    let (input, output) = (&of.input().name, &of.output().name);
    let data = match of.input().bytes_field() {
        Some(_) => " Binary messages are its `data`.",
        None => "",
    };
    let end = if of.shape == Shape::Both { "each" } else { "the one" };
    format!(
        "{} A WebSocket: text messages to the server are a `{input}` in JSON.{data} Parameters stand \
         for the first message, `begin`. Text messages from the server are {end} `{output}` in JSON, \
         or a `Failure`. It closes with 1000 when all is done, and with 1011 after a failure, whose \
         code is the reason.",
        of.comment
    )
}

fn json_body(input: &Message) -> Value {
    json!({
        "required": !input.fields.is_empty(),
        "content": { "application/json": { "schema": reference("schemas", &input.name) } },
    })
}

fn begin_query(begin: Kind) -> Vec<Value> {
    match begin {
        Kind::Message(of) => query(&contract().messages[of], ""),
        _ => Vec::new(),
    }
}

/// The fields of a message as parameters; those of messages in it with a dot.
fn query(message: &Message, prefix: &str) -> Vec<Value> {
    let mut parameters = Vec::new();
    for field in &message.fields {
        let name = format!("{prefix}{}", field.name);
        let schema = match field.kind {
            Kind::Message(of) => match contract().messages[of].special {
                Some(Special::ByteString) => json!({ "type": "string" }),
                Some(Special::Error) => continue,
                None if field.repeated => continue,
                None => {
                    parameters.append(&mut query(&contract().messages[of], &format!("{name}.")));
                    continue;
                }
            },
            kind => schemas::value(kind),
        };
        let schema =
            if field.repeated { json!({ "type": "array", "items": schema }) } else { schema };
        parameters.push(json!({
            "name": name,
            "in": "query",
            "description": field.comment,
            "schema": schema,
        }));
    }
    parameters
}

fn last_event_id() -> Value {
    json!({
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The id of the last event received. It counts more than `since`.",
        "schema": { "type": "string" },
    })
}

fn healthz() -> Value {
    let schema = json!({
        "type": "object",
        "properties": { "status": { "type": "string", "const": "serving" } },
        "required": ["status"],
    });
    let content = json!({ "application/json": { "schema": schema } });
    own("healthz", "Says that the server answers", response("It answers.", content))
}

fn openapi() -> Value {
    let content = json!({ "application/json": { "schema": { "type": "object" } } });
    own("openapi", "Gives this document", response("This document.", content))
}

fn own(id: &str, summary: &str, reply: Value) -> Value {
    json!({
        "get": {
            "operationId": id,
            "tags": ["http"],
            "summary": summary,
            "responses": { "200": reply, "default": reference("responses", "Error") },
        },
    })
}
