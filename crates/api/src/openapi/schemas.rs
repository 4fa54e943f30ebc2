//! The messages and enums as they look in JSON.

use serde_json::{Value, json};
use stigmer_core::ErrorCode;

use super::{object, reference};
use crate::http::contract::{Enum, Field, Kind, Message, Special, contract};

/// All schemas.
pub(super) fn schemas() -> Value {
    let messages = contract().messages.iter().map(|of| (of.name.clone(), message(of)));
    let enums = contract().enums.iter().map(|of| (of.name.clone(), choice(of)));
    object(messages.chain(enums).chain([("Failure".to_owned(), failure())]))
}

fn message(of: &Message) -> Value {
    match of.special {
        Some(Special::ByteString) => return byte_string(&of.comment),
        Some(Special::Error) => return error(&of.comment),
        None => {}
    }
    let properties = of.fields.iter().map(|field| (field.name.clone(), property(field)));
    let mut schema = json!({
        "type": "object",
        "description": of.comment,
        "properties": object(properties),
        "additionalProperties": false,
    });
    let rules: Vec<Value> = oneofs(of).iter().map(|cases| at_most_one(cases)).collect();
    if !rules.is_empty() {
        schema["allOf"] = rules.into();
    }
    schema
}

/// The names of the cases of each oneof.
fn oneofs(of: &Message) -> Vec<Vec<&str>> {
    let mut oneofs: Vec<Vec<&str>> = Vec::new();
    for field in &of.fields {
        let Some(index) = field.oneof else { continue };
        if oneofs.len() <= index {
            oneofs.resize(index + 1, Vec::new());
        }
        oneofs[index].push(&field.name);
    }
    oneofs
}

fn at_most_one(cases: &[&str]) -> Value {
    let one = cases.iter().map(|case| json!({ "required": [case] }));
    let any: Vec<Value> = one.clone().collect();
    let none = json!({ "not": { "anyOf": any } });
    json!({ "oneOf": one.chain([none]).collect::<Vec<_>>() })
}

fn property(field: &Field) -> Value {
    let one = value(field.kind);
    let mut schema = if field.repeated { json!({ "type": "array", "items": one }) } else { one };
    schema["description"] = field.comment.clone().into();
    schema
}

/// One value of a kind.
pub(super) fn value(kind: Kind) -> Value {
    match kind {
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
        Kind::Int64 => json!({ "type": "integer", "format": "int64" }),
        Kind::Uint32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
        Kind::Uint64 => json!({ "type": "integer", "format": "int64", "minimum": 0 }),
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Kind::Enum(of) => reference("schemas", &contract().enums[of].name),
        Kind::Message(of) => reference("schemas", &contract().messages[of].name),
    }
}

fn choice(of: &Enum) -> Value {
    let values: Vec<&str> = of.values.iter().map(|value| value.name.as_str()).collect();
    let lines: Vec<String> =
        of.values.iter().map(|value| format!("- `{}`: {}", value.name, value.comment)).collect();
    json!({
        "type": "string",
        "description": format!("{}\n\n{}", of.comment, lines.join("\n")),
        "enum": values,
    })
}

fn byte_string(comment: &str) -> Value {
    json!({
        "description": comment,
        "oneOf": [
            { "type": "string" },
            {
                "type": "object",
                "properties": { "base64": { "type": "string", "contentEncoding": "base64" } },
                "required": ["base64"],
                "additionalProperties": false,
            },
        ],
    })
}

/// The one message whose JSON is not derived: its details are an object, not a string.
fn error(comment: &str) -> Value {
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    json!({
        "type": "object",
        "description": comment,
        "properties": {
            "code": { "type": "string", "enum": codes },
            "message": { "type": "string", "description": "What happened, naming the thing." },
            "hint": { "type": "string", "description": "What to do about it." },
            "retryable": {
                "type": "boolean",
                "description": "Whether the same request may succeed later.",
            },
            "details": { "type": "object", "description": "The same facts for programs." },
        },
        "required": ["code", "message", "retryable"],
    })
}

fn failure() -> Value {
    json!({
        "type": "object",
        "description": "The body of every response that is no success.",
        "properties": { "error": reference("schemas", "Error") },
        "required": ["error"],
    })
}
