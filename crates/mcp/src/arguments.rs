//! Reading a tool's arguments.

use rmcp::model::JsonObject;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stigmer_core::{Result, ToolError};

/// The arguments as what the tool takes.
///
/// # Errors
/// `invalid_argument` that names the argument, and for one that is not known all that are.
pub(crate) fn read<T: DeserializeOwned>(
    mut arguments: JsonObject,
    schema: &JsonObject,
) -> Result<T> {
    let valid: Vec<&str> = match schema.get("properties") {
        Some(Value::Object(properties)) => properties.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let list = || match valid.as_slice() {
        [] => "the tool takes no arguments".to_owned(),
        valid => format!("valid arguments are {}", valid.join(", ")),
    };
    if let Some(unknown) = arguments.keys().find(|name| !valid.contains(&name.as_str())) {
        return Err(ToolError::invalid_argument(unknown, "there is no such argument")
            .with_detail("valid", valid.clone())
            .with_hint(list()));
    }
    // Models write null for what they leave out.
    arguments.retain(|_, value| !value.is_null());
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        let name = if path == "." { "arguments" } else { &path };
        ToolError::invalid_argument(name, error.inner()).with_hint(list())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Example {
        path: String,
        lines: Option<u64>,
        #[serde(default)]
        edits: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        old: String,
    }

    fn parse(arguments: Value) -> Result<Example> {
        let Value::Object(arguments) = arguments else { panic!("{arguments}") };
        read(arguments, &crate::schema::input::<Example>())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = parse(json!({ "path": "a", "lines": null, "edits": [{ "old": "b" }] })).unwrap();
        assert_eq!((good.path.as_str(), good.lines, good.edits[0].old.as_str()), ("a", None, "b"));
        for (arguments, name, part) in [
            (json!({ "path": "a", "line": 1 }), "line", "no such argument"),
            (json!({ "path": 1 }), "path", "string"),
            (json!({ "path": "a", "lines": -1 }), "lines", "-1"),
            (json!({ "path": "a", "edits": [{ "old": "b", "new": 1 }] }), "edits[0].new", "old"),
            (json!({}), "arguments", "path"),
        ] {
            let error = parse(arguments).unwrap_err();
            assert_eq!(error.details["argument"], name, "{error}");
            assert!(error.message.contains(part), "{error}");
            assert!(error.hint.unwrap().contains("edits, lines, path"));
        }
    }
}
