//! Watching files change.

use std::sync::Arc;

use stigmer_core::transfer::Watch;
use stigmer_core::{ChangeStream, Result, ToolError};

use crate::Root;

pub(crate) async fn watch(_root: Arc<Root>, _request: Watch) -> Result<ChangeStream> {
    Err(ToolError::not_available("watch"))
}
