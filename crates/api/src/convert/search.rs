//! Searching.

use stigmer_core::search::{
    CaseRule, FoundFiles, GrepMatch, GrepMatches, GrepSearch, QueryKind, SearchFiles,
};

use super::bytes::{bytes, field, list};
use super::{Fault, count, known_or_none, pairs, size};
use crate::wire;

pairs! {
    QueryKind = wire::QueryKind { Fuzzy Glob }
    CaseRule = wire::CaseRule { Sensitive Insensitive Smart }
}

impl From<SearchFiles> for wire::SearchFilesRequest {
    fn from(request: SearchFiles) -> Self {
        let SearchFiles { query, kind, directories, ignore_rules, limit } = request;
        let (kind, directories) = (wire::QueryKind::from(kind).into(), list(directories));
        let limit = limit.map(count);
        Self { workspace: String::new(), query, kind, directories, ignore_rules, limit }
    }
}
impl TryFrom<wire::SearchFilesRequest> for SearchFiles {
    type Error = Fault;
    fn try_from(request: wire::SearchFilesRequest) -> Result<Self, Fault> {
        Ok(Self {
            query: request.query,
            kind: known_or_none::<wire::QueryKind, _>("kind", request.kind)?.unwrap_or_default(),
            directories: list(request.directories),
            ignore_rules: request.ignore_rules,
            limit: request.limit.map(|limit| size("limit", limit)).transpose()?,
        })
    }
}

impl From<FoundFiles> for wire::FoundFiles {
    fn from(reply: FoundFiles) -> Self {
        let FoundFiles { paths, truncated, unreadable } = reply;
        Self { paths: list(paths), truncated, unreadable: list(unreadable) }
    }
}
impl From<wire::FoundFiles> for FoundFiles {
    fn from(reply: wire::FoundFiles) -> Self {
        let wire::FoundFiles { paths, truncated, unreadable } = reply;
        Self { paths: list(paths), truncated, unreadable: list(unreadable) }
    }
}

impl From<GrepSearch> for wire::GrepSearchRequest {
    fn from(request: GrepSearch) -> Self {
        Self {
            workspace: String::new(),
            pattern: field(request.pattern),
            literal: request.literal,
            case: wire::CaseRule::from(request.case).into(),
            paths: list(request.paths),
            include: request.include,
            exclude: request.exclude,
            no_ignore: request.no_ignore,
            before: request.before,
            after: request.after,
            limit: request.limit.map(count),
        }
    }
}
impl TryFrom<wire::GrepSearchRequest> for GrepSearch {
    type Error = Fault;
    fn try_from(request: wire::GrepSearchRequest) -> Result<Self, Fault> {
        Ok(Self {
            pattern: bytes(request.pattern),
            literal: request.literal,
            case: known_or_none::<wire::CaseRule, _>("case", request.case)?.unwrap_or_default(),
            paths: list(request.paths),
            include: request.include,
            exclude: request.exclude,
            no_ignore: request.no_ignore,
            before: request.before,
            after: request.after,
            // The largest number would lift the limit of bytes, too, which is for callers in the
            // same process only: a result that crosses a wire is held in memory and must have an
            // end.
            limit: request
                .limit
                .map(|limit| size("limit", limit).map(|limit| limit.min(usize::MAX - 1)))
                .transpose()?,
        })
    }
}

impl From<GrepMatch> for wire::GrepMatch {
    fn from(found: GrepMatch) -> Self {
        let GrepMatch { path, line, column, text, before, after } = found;
        let (path, text) = (field(path), field(text));
        Self { path, line, column, text, before: list(before), after: list(after) }
    }
}
impl From<wire::GrepMatch> for GrepMatch {
    fn from(found: wire::GrepMatch) -> Self {
        let wire::GrepMatch { path, line, column, text, before, after } = found;
        let (path, text) = (bytes(path), bytes(text));
        Self { path, line, column, text, before: list(before), after: list(after) }
    }
}

impl From<GrepMatches> for wire::GrepMatches {
    fn from(reply: GrepMatches) -> Self {
        let GrepMatches { matches, truncated, binary, unreadable } = reply;
        let (binary, unreadable) = (list(binary), list(unreadable));
        Self { matches: list(matches), truncated, binary, unreadable }
    }
}
impl From<wire::GrepMatches> for GrepMatches {
    fn from(reply: wire::GrepMatches) -> Self {
        let wire::GrepMatches { matches, truncated, binary, unreadable } = reply;
        let (binary, unreadable) = (list(binary), list(unreadable));
        Self { matches: list(matches), truncated, binary, unreadable }
    }
}
