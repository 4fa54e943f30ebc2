//! Files.

use stigmer_core::FilePath;
use stigmer_core::file::{
    DeleteFile, DeleteSummary, DirectoryEntry, Edit, EditFile, EditSummary, Encoding, FileContent,
    FileKind, FileStat, ListDirectory, Listing, MakeDirectory, MovePath, ReadFile, WriteFile,
    WriteSummary,
};

use super::bytes::{bytes, field, list};
use super::{Fault, count, each, known, pairs, size};
use crate::wire;

pairs! {
    FileKind = wire::FileKind { File Directory Symlink Fifo Socket Device }
    Encoding = wire::Encoding { Utf8 Base64 }
}

impl From<ReadFile> for wire::ReadFileRequest {
    fn from(request: ReadFile) -> Self {
        let ReadFile { path, first_line, last_line } = request;
        Self { workspace: String::new(), path: field(path), first_line, last_line }
    }
}
impl From<wire::ReadFileRequest> for ReadFile {
    fn from(request: wire::ReadFileRequest) -> Self {
        let wire::ReadFileRequest { workspace: _, path, first_line, last_line } = request;
        Self { path: bytes(path), first_line, last_line }
    }
}

impl From<FileContent> for wire::FileContent {
    fn from(reply: FileContent) -> Self {
        Self {
            content: field(reply.content),
            encoding: wire::Encoding::from(reply.encoding).into(),
            total_lines: reply.total_lines,
            start_line: reply.start_line,
            end_line: reply.end_line,
            next_line: reply.next_line,
            size: reply.size,
            sha256: reply.sha256,
        }
    }
}
impl TryFrom<wire::FileContent> for FileContent {
    type Error = Fault;
    fn try_from(reply: wire::FileContent) -> Result<Self, Fault> {
        Ok(Self {
            content: bytes(reply.content),
            encoding: known::<wire::Encoding, _>("encoding", reply.encoding)?,
            total_lines: reply.total_lines,
            start_line: reply.start_line,
            end_line: reply.end_line,
            next_line: reply.next_line,
            size: reply.size,
            sha256: reply.sha256,
        })
    }
}

impl From<FilePath> for wire::StatFileRequest {
    fn from(path: FilePath) -> Self {
        Self { workspace: String::new(), path: field(path) }
    }
}
impl From<wire::StatFileRequest> for FilePath {
    fn from(request: wire::StatFileRequest) -> Self {
        bytes(request.path)
    }
}

impl From<FileStat> for wire::FileStat {
    fn from(reply: FileStat) -> Self {
        Self {
            path: field(reply.path),
            kind: wire::FileKind::from(reply.kind).into(),
            size: reply.size,
            modified_ms: reply.modified_ms,
            mode: reply.mode,
            symlink_target: reply.symlink_target.map(Into::into),
        }
    }
}
impl TryFrom<wire::FileStat> for FileStat {
    type Error = Fault;
    fn try_from(reply: wire::FileStat) -> Result<Self, Fault> {
        Ok(Self {
            path: bytes(reply.path),
            kind: known::<wire::FileKind, _>("kind", reply.kind)?,
            size: reply.size,
            modified_ms: reply.modified_ms,
            mode: reply.mode,
            symlink_target: reply.symlink_target.map(Into::into),
        })
    }
}

impl From<WriteFile> for wire::WriteFileRequest {
    fn from(request: WriteFile) -> Self {
        let WriteFile { path, content, expected_sha256, create_only } = request;
        let (path, content) = (field(path), field(content));
        Self { workspace: String::new(), path, content, expected_sha256, create_only }
    }
}
impl From<wire::WriteFileRequest> for WriteFile {
    fn from(request: wire::WriteFileRequest) -> Self {
        Self {
            path: bytes(request.path),
            content: bytes(request.content),
            expected_sha256: request.expected_sha256,
            create_only: request.create_only,
        }
    }
}

impl From<WriteSummary> for wire::WriteSummary {
    fn from(reply: WriteSummary) -> Self {
        let WriteSummary { is_new_file, lines_added, lines_removed, sha256 } = reply;
        Self { is_new_file, lines_added, lines_removed, sha256 }
    }
}
impl From<wire::WriteSummary> for WriteSummary {
    fn from(reply: wire::WriteSummary) -> Self {
        let wire::WriteSummary { is_new_file, lines_added, lines_removed, sha256 } = reply;
        Self { is_new_file, lines_added, lines_removed, sha256 }
    }
}

impl From<Edit> for wire::Edit {
    fn from(edit: Edit) -> Self {
        Self { old: field(edit.old), new: field(edit.new), replace_all: edit.replace_all }
    }
}
impl From<wire::Edit> for Edit {
    fn from(edit: wire::Edit) -> Self {
        Self { old: bytes(edit.old), new: bytes(edit.new), replace_all: edit.replace_all }
    }
}

impl From<EditFile> for wire::EditFileRequest {
    fn from(request: EditFile) -> Self {
        let EditFile { path, edits, expected_sha256 } = request;
        let (path, edits) = (field(path), list(edits));
        Self { workspace: String::new(), path, edits, expected_sha256 }
    }
}
impl From<wire::EditFileRequest> for EditFile {
    fn from(request: wire::EditFileRequest) -> Self {
        let wire::EditFileRequest { workspace: _, path, edits, expected_sha256 } = request;
        Self { path: bytes(path), edits: list(edits), expected_sha256 }
    }
}

impl From<EditSummary> for wire::EditSummary {
    fn from(reply: EditSummary) -> Self {
        let EditSummary { occurrences, lines_added, lines_removed, diff, sha256 } = reply;
        Self { occurrences, lines_added, lines_removed, diff, sha256 }
    }
}
impl From<wire::EditSummary> for EditSummary {
    fn from(reply: wire::EditSummary) -> Self {
        let wire::EditSummary { occurrences, lines_added, lines_removed, diff, sha256 } = reply;
        Self { occurrences, lines_added, lines_removed, diff, sha256 }
    }
}

impl From<DeleteFile> for wire::DeleteFileRequest {
    fn from(request: DeleteFile) -> Self {
        let DeleteFile { path, recursive } = request;
        Self { workspace: String::new(), path: field(path), recursive }
    }
}
impl From<wire::DeleteFileRequest> for DeleteFile {
    fn from(request: wire::DeleteFileRequest) -> Self {
        Self { path: bytes(request.path), recursive: request.recursive }
    }
}

impl From<DeleteSummary> for wire::DeleteSummary {
    fn from(reply: DeleteSummary) -> Self {
        Self { was_already_deleted: reply.was_already_deleted }
    }
}
impl From<wire::DeleteSummary> for DeleteSummary {
    fn from(reply: wire::DeleteSummary) -> Self {
        Self { was_already_deleted: reply.was_already_deleted }
    }
}

impl From<MovePath> for wire::MovePathRequest {
    fn from(request: MovePath) -> Self {
        let MovePath { from, to, replace } = request;
        Self { workspace: String::new(), from: field(from), to: field(to), replace }
    }
}
impl From<wire::MovePathRequest> for MovePath {
    fn from(request: wire::MovePathRequest) -> Self {
        let wire::MovePathRequest { workspace: _, from, to, replace } = request;
        Self { from: bytes(from), to: bytes(to), replace }
    }
}

impl From<MakeDirectory> for wire::MakeDirectoryRequest {
    fn from(request: MakeDirectory) -> Self {
        let MakeDirectory { path, parents } = request;
        Self { workspace: String::new(), path: field(path), parents }
    }
}
impl From<wire::MakeDirectoryRequest> for MakeDirectory {
    fn from(request: wire::MakeDirectoryRequest) -> Self {
        Self { path: bytes(request.path), parents: request.parents }
    }
}

impl From<ListDirectory> for wire::ListDirectoryRequest {
    fn from(request: ListDirectory) -> Self {
        let ListDirectory { path, depth, ignore_rules, limit } = request;
        let (path, limit) = (field(path), limit.map(count));
        Self { workspace: String::new(), path, depth, ignore_rules, limit }
    }
}
impl TryFrom<wire::ListDirectoryRequest> for ListDirectory {
    type Error = Fault;
    fn try_from(request: wire::ListDirectoryRequest) -> Result<Self, Fault> {
        Ok(Self {
            path: bytes(request.path),
            depth: request.depth,
            ignore_rules: request.ignore_rules,
            limit: request.limit.map(|limit| size("limit", limit)).transpose()?,
        })
    }
}

impl From<DirectoryEntry> for wire::DirectoryEntry {
    fn from(entry: DirectoryEntry) -> Self {
        let kind = wire::FileKind::from(entry.kind).into();
        Self { path: field(entry.path), kind, size: entry.size }
    }
}
impl TryFrom<wire::DirectoryEntry> for DirectoryEntry {
    type Error = Fault;
    fn try_from(entry: wire::DirectoryEntry) -> Result<Self, Fault> {
        let kind = known::<wire::FileKind, _>("kind", entry.kind)?;
        Ok(Self { path: bytes(entry.path), kind, size: entry.size })
    }
}

impl From<Listing> for wire::Listing {
    fn from(reply: Listing) -> Self {
        let Listing { entries, truncated, unreadable } = reply;
        Self { entries: list(entries), truncated, unreadable: list(unreadable) }
    }
}
impl TryFrom<wire::Listing> for Listing {
    type Error = Fault;
    fn try_from(reply: wire::Listing) -> Result<Self, Fault> {
        let wire::Listing { entries, truncated, unreadable } = reply;
        Ok(Self { entries: each("entries", entries)?, truncated, unreadable: list(unreadable) })
    }
}
