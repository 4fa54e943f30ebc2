//! JSON Schemas of what tools take and give, from the types themselves.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};
use stigmer_core::ErrorCode;

/// What a tool takes.
pub(crate) fn input<T: JsonSchema>() -> Arc<JsonObject> {
    let mut schema = of::<T>(SchemaSettings::draft2020_12().for_deserialize());
    // A tool without arguments has an empty list of them.
    schema.entry("properties").or_insert_with(|| json!({}));
    schema.insert("additionalProperties".to_owned(), false.into());
    Arc::new(schema)
}

/// What a tool gives: its answer, or why it failed. Clients hold what is structured against the
/// schema whether it is an error or not.
pub(crate) fn output<T: JsonSchema>() -> Arc<JsonObject> {
    let mut answer = of::<T>(SchemaSettings::draft2020_12().for_serialize());
    answer.insert("title".to_owned(), "answer".into());
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    let failure = json!({
        "title": "failure",
        "type": "object",
        "required": ["code", "message", "retryable"],
        "additionalProperties": false,
        "properties": {
            "code": { "type": "string", "enum": codes, "description": "What kind of failure." },
            "message": { "type": "string", "description": "What happened." },
            "hint": { "type": "string", "description": "What to do next." },
            "retryable": {
                "type": "boolean",
                "description": "Whether the same call may succeed later.",
            },
            "details": { "type": "object", "description": "The same facts for programs." },
        },
    });
    let mut schema = JsonObject::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("oneOf".to_owned(), json!([answer, failure]));
    Arc::new(schema)
}

fn of<T: JsonSchema>(settings: SchemaSettings) -> JsonObject {
    let settings = settings
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(RecursiveTransform(plain));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    let Some(object) = schema.as_object_mut() else { return JsonObject::new() };
    object.remove("title");
    // What the type is documented with is for readers of the code; the tool has a description.
    object.remove("description");
    std::mem::take(object)
}

/// Leaves out what says nothing to an agent, or what some clients do not understand: a field that may
/// be missing need not be null.
fn plain(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    object.remove("format");
    if let Some(Value::String(text)) = object.get_mut("description") {
        // Lines end where the source has room for no more.
        *text = text.replace('\n', " ");
    }
    object.retain(|key, value| key != "default" || !value.is_null());
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(kinds)) = object.get_mut("anyOf") {
        kinds.retain(|kind| kind.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = kinds.as_mut_slice() {
            let mut only = std::mem::take(only);
            object.remove("anyOf");
            only.retain(|key, _| !object.contains_key(key));
            object.append(&mut only);
        }
    }
}
