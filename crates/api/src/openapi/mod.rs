//! The OpenAPI document, generated from the same descriptors as everything else.
//!
//! `docs/openapi.json` is what [`document`] gives; a test holds the two together.

mod operations;
mod schemas;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::http::contract::contract;

/// What the document says of the API as a whole.
const DESCRIPTION: &str = "Runs commands, edits files and searches code for an agent. The same \
contract as gRPC (package stigmer.v1), by the rules of docs/protocol.md: fields have the names of \
the contract, 64-bit integers are numbers, bytes that are UTF-8 are plain strings, and fields that \
are not known are refused.";

/// The OpenAPI 3.1 document.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| format!("{:#}\n", build()));
    &DOCUMENT
}

fn build() -> Value {
    let tags = contract()
        .services
        .iter()
        .map(|service| json!({ "name": service.name, "description": service.comment }));
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "stigmer",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{
            "url": "http://localhost:50051",
            "description": "The daemon's TCP listener. Its unix socket serves the same, without a token.",
        }],
        // Nothing at all on a unix socket, which is its owner's alone; a token everywhere else.
        "security": [{ "bearer": [] }, {}],
        "tags": tags.chain([server_tag()]).collect::<Vec<_>>(),
        "paths": operations::paths(),
        "components": {
            "schemas": schemas::schemas(),
            "responses": { "Error": error_response() },
            "headers": { "RequestId": request_id() },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of the daemon, from the file `token` in its directory.",
                },
            },
        },
    })
}

fn server_tag() -> Value {
    json!({ "name": "http", "description": "What is there for HTTP only." })
}

fn error_response() -> Value {
    json!({
        "description": "It failed. docs/protocol.md has the table of codes and statuses.",
        "headers": { "x-request-id": reference("headers", "RequestId") },
        "content": { "application/json": { "schema": reference("schemas", "Failure") } },
    })
}

fn request_id() -> Value {
    json!({
        "description": "The request's id: the client's, or one of the server's.",
        "schema": { "type": "string" },
    })
}

/// Points to a component.
fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// An object from its entries, in their order.
fn object(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.into_iter().collect::<Map<_, _>>())
}
