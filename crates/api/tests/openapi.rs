//! The OpenAPI document: it is what the contract says, what is checked in, and well formed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};
use stigmer_api::openapi::document;

fn parsed() -> Value {
    serde_json::from_str(document()).unwrap()
}

/// Calls `look` with every object of the document.
fn each_object(value: &Value, look: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            look(object);
            object.values().for_each(|value| each_object(value, look));
        }
        Value::Array(list) => list.iter().for_each(|value| each_object(value, look)),
        _ => {}
    }
}

#[test]
fn the_document_that_is_checked_in_is_the_one_that_is_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(checked_in == document(), "docs/openapi.json is out of date: `make openapi` writes it");
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let document = parsed();
    let mut used = BTreeSet::new();
    each_object(&document, &mut |object| {
        if let Some(to) = object.get("$ref") {
            let to = to.as_str().unwrap();
            assert!(document.pointer(to.strip_prefix('#').unwrap()).is_some(), "{to}");
            used.insert(to.to_owned());
        }
    });
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        // What only a WebSocket carries is named in words.
        let in_words = document.to_string().contains(&format!("`{name}`"));
        assert!(used.contains(&format!("#/components/schemas/{name}")) || in_words, "{name}");
    }
}

#[test]
fn every_operation_has_an_id_of_its_own_a_tag_and_responses() {
    let document = parsed();
    let tags = document["tags"].as_array().unwrap();
    let tags: Vec<&Value> = tags.iter().map(|tag| &tag["name"]).collect();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with('/') && !path.contains('{'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            assert!(["get", "post"].contains(&method.as_str()), "{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{id}");
            assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)));
            for (status, response) in operation["responses"].as_object().unwrap() {
                assert!(status == "default" || status.parse::<u16>().is_ok(), "{id}");
                assert!(response.get("$ref").or(response.get("description")).is_some(), "{id}");
            }
            let mut names = BTreeSet::new();
            for parameter in operation["parameters"].as_array().unwrap_or(&Vec::new()) {
                let name = parameter["name"].as_str().unwrap();
                assert!(names.insert(name), "{id}: {name} is there twice");
                assert!(parameter["schema"].is_object(), "{id}: {name}");
                assert!(["query", "header"].contains(&parameter["in"].as_str().unwrap()));
            }
            assert!(method == "post" || operation.get("requestBody").is_none(), "{id}");
        }
    }
    assert!(ids.contains("files_read") && ids.contains("files_read_get"));
    assert!(ids.contains("transfers_upload") && ids.contains("processes_attach_websocket"));
}

#[test]
fn the_special_messages_look_as_they_do_in_json() {
    let document = parsed();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ByteString"]["oneOf"][0]["type"], "string");
    assert_eq!(schemas["Error"]["properties"]["details"]["type"], "object");
    assert!(schemas["Error"]["properties"].get("details_json").is_none());
    let reasons = schemas["EndReason"]["enum"].as_array().unwrap();
    assert!(reasons.iter().any(|reason| reason == "timed_out"));
    let size = &schemas["FileContent"]["properties"]["size"];
    assert_eq!(size["type"], "integer");
}
