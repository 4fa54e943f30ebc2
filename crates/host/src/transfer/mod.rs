//! Moving trees in and out.

use std::sync::Arc;

use stigmer_core::transfer::{Download, Upload, UploadSummary};
use stigmer_core::{ByteStream, Result, ToolError};

use crate::Root;

pub(crate) async fn upload(
    _root: Arc<Root>,
    _request: Upload,
    _content: ByteStream,
) -> Result<UploadSummary> {
    Err(ToolError::not_available("upload"))
}
pub(crate) async fn download(_root: Arc<Root>, _request: Download) -> Result<ByteStream> {
    Err(ToolError::not_available("download"))
}
