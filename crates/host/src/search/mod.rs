//! Listing and searching.

use stigmer_core::file::{ListDirectory, Listing};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::{Result, ToolError};

use crate::Root;

pub(crate) fn list_directory(_root: &Root, _request: ListDirectory) -> Result<Listing> {
    Err(ToolError::not_available("list_directory"))
}
pub(crate) fn search_files(_root: &Root, _request: SearchFiles) -> Result<FoundFiles> {
    Err(ToolError::not_available("search_files"))
}
pub(crate) fn grep_search(_root: &Root, _request: GrepSearch) -> Result<GrepMatches> {
    Err(ToolError::not_available("grep_search"))
}
