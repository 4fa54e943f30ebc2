//! Reading and changing files.

use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, MakeDirectory,
    MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::{FilePath, Result, ToolError};

use crate::Root;

pub(crate) fn read_file(_root: &Root, _request: ReadFile) -> Result<FileContent> {
    Err(ToolError::not_available("read_file"))
}
pub(crate) fn stat_file(_root: &Root, _path: &FilePath) -> Result<FileStat> {
    Err(ToolError::not_available("stat_file"))
}
pub(crate) fn write_file(_root: &Root, _request: WriteFile) -> Result<WriteSummary> {
    Err(ToolError::not_available("write_file"))
}
pub(crate) fn edit_file(_root: &Root, _request: EditFile) -> Result<EditSummary> {
    Err(ToolError::not_available("edit_file"))
}
pub(crate) fn delete_file(_root: &Root, _request: DeleteFile) -> Result<DeleteSummary> {
    Err(ToolError::not_available("delete_file"))
}
pub(crate) fn move_path(_root: &Root, _request: MovePath) -> Result<()> {
    Err(ToolError::not_available("move_path"))
}
pub(crate) fn make_directory(_root: &Root, _request: MakeDirectory) -> Result<()> {
    Err(ToolError::not_available("make_directory"))
}
