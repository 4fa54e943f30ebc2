//! What a tool's result looks like.

use rmcp::model::{CallToolResult, ContentBlock};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use stigmer_core::ToolError;

/// What a tool found or did.
pub(crate) trait Answer: Serialize + JsonSchema + Send {
    /// The same for a model to read. Clients show it or what is structured, seldom both.
    fn text(&self) -> String;
}

/// A result from an answer.
pub(crate) fn success(answer: &impl Answer) -> CallToolResult {
    let mut result = CallToolResult::success(vec![ContentBlock::text(answer.text())]);
    // What is serialised here has no maps with other keys than strings, so that nothing can fail.
    result.structured_content = serde_json::to_value(answer).ok();
    result
}

/// A result from a failure.
pub(crate) fn failure(error: &ToolError) -> CallToolResult {
    let mut text = format!("{}: {}", error.code, error.message);
    if let Some(hint) = &error.hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = serde_json::to_value(error).ok().filter(Value::is_object);
    result
}
