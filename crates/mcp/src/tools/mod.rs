//! The tools: one type for what each takes, one for what it gives.

mod edit;
mod find;
mod follow;
mod grep;
mod lane;
mod list;
mod process;
mod process_output;
mod read;
mod run;
mod workspaces;
mod write;

use std::sync::LazyLock;

use futures_util::future::BoxFuture;
use rmcp::model::{CallToolResult, JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use stigmer_core::Result;

use crate::answer::{Answer, success};
use crate::call::Call;
use crate::{arguments, schema};

/// What a tool does to the world, for clients that ask their user before they call one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Effect {
    /// It looks.
    Reads,
    /// It adds, and takes nothing away.
    Adds,
    /// It may replace or end something; done twice it does no more than once.
    ReplacesOnce,
    /// It may replace or end something.
    Replaces,
    /// It may do anything, also to other machines.
    Anything,
}

/// A tool: the type is what it takes.
pub(crate) trait Operation: DeserializeOwned + JsonSchema + Send + 'static {
    const NAME: &'static str;
    const TITLE: &'static str;
    const DESCRIPTION: &'static str;
    const EFFECT: Effect;
    /// What it gives.
    type Answer: Answer;

    fn call(self, call: Call) -> impl Future<Output = Result<Self::Answer>> + Send;
}

type Handler = fn(JsonObject, Call) -> BoxFuture<'static, Result<CallToolResult>>;

/// A tool as it is listed, and how it is called.
pub(crate) struct Entry {
    pub(crate) tool: Tool,
    pub(crate) call: Handler,
}

/// All tools, in the order in which they are listed.
pub(crate) static TOOLS: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    vec![
        entry::<run::Run>(),
        entry::<process_output::ProcessOutput>(),
        entry::<process::Input>(),
        entry::<process::Kill>(),
        entry::<process::List>(),
        entry::<read::Read>(),
        entry::<write::Write>(),
        entry::<edit::Edit>(),
        entry::<list::List>(),
        entry::<find::Find>(),
        entry::<grep::Grep>(),
        entry::<workspaces::List>(),
        entry::<workspaces::Open>(),
    ]
});

/// The tool of this name.
pub(crate) fn tool_named(name: &str) -> Option<&'static Entry> {
    TOOLS.iter().find(|entry| entry.tool.name == name)
}

fn entry<T: Operation>() -> Entry {
    let (reads, destroys, idempotent) = match T::EFFECT {
        Effect::Reads => (true, false, true),
        Effect::Adds => (false, false, true),
        Effect::ReplacesOnce => (false, true, true),
        Effect::Replaces | Effect::Anything => (false, true, false),
    };
    let annotations = ToolAnnotations::with_title(T::TITLE)
        .read_only(reads)
        .destructive(destroys)
        .idempotent(idempotent)
        .open_world(matches!(T::EFFECT, Effect::Anything));
    let tool = Tool::new(T::NAME, T::DESCRIPTION, schema::input::<T>())
        .with_title(T::TITLE)
        .with_raw_output_schema(schema::output::<T::Answer>())
        .with_annotations(annotations);
    Entry { tool, call: |arguments, call| Box::pin(handle::<T>(arguments, call)) }
}

async fn handle<T: Operation>(arguments: JsonObject, call: Call) -> Result<CallToolResult> {
    let schema = tool_named(T::NAME).map(|entry| &*entry.tool.input_schema);
    let request: T = arguments::read(arguments, schema.unwrap_or(&JsonObject::new()))?;
    request.call(call).await.map(|answer| success(&answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Everything in a schema that describes a value.
    fn walk(schema: &Value, visit: &mut dyn FnMut(&serde_json::Map<String, Value>)) {
        match schema {
            Value::Object(object) => {
                visit(object);
                object.values().for_each(|value| walk(value, visit));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_tool_says_exactly_what_it_takes_and_gives() {
        assert_eq!(TOOLS.len(), 13);
        for Entry { tool, .. } in TOOLS.iter() {
            let name = &tool.name;
            assert_eq!(tool.input_schema["type"], "object", "{name}");
            assert_eq!(tool.input_schema["additionalProperties"], false, "{name}");
            let properties = tool.input_schema["properties"].as_object().unwrap();
            for (argument, schema) in properties {
                let text = schema["description"].as_str();
                assert!(text.is_some_and(|text| text.len() > 10), "{name} {argument}: {schema}");
            }
            let output = tool.output_schema.as_ref().unwrap();
            assert_eq!(output["type"], "object", "{name}");
            let mut objects = 0;
            for schema in [&tool.input_schema, output] {
                walk(&Value::Object((**schema).clone()), &mut |object| {
                    assert!(!object.contains_key("$ref"), "{name}: {object:?}");
                    assert!(!object.contains_key("format"), "{name}: {object:?}");
                    assert!(object.get("type").is_none_or(Value::is_string), "{name}: {object:?}");
                    objects += usize::from(object.contains_key("properties"));
                });
            }
            assert!(objects >= 3, "{name}");
            assert!(tool.annotations.as_ref().unwrap().title.is_some(), "{name}");
        }
    }

    #[test]
    fn what_only_looks_is_said_to() {
        let reads: Vec<&str> = TOOLS
            .iter()
            .filter(|entry| entry.tool.annotations.as_ref().unwrap().read_only_hint == Some(true))
            .map(|entry| &*entry.tool.name)
            .collect();
        assert_eq!(
            reads,
            ["process_output", "process_list", "read", "list", "find", "grep", "workspaces"]
        );
        let open = |name: &str| {
            tool_named(name).unwrap().tool.annotations.as_ref().unwrap().open_world_hint
        };
        assert_eq!((open("run"), open("write")), (Some(true), Some(false)));
    }
}
