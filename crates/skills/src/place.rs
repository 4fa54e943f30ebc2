//! Where skills lie, relative to the workspace's root.

use stigmer_core::{ErrorCode, FilePath, Result, ToolError};

/// All of it.
pub(crate) const DIRECTORY: &str = ".stigmer/skills";

/// How many digits of its digest a version's directory has for a name: 64 bits, which no two of the
/// few skills of a workspace share, and short enough to be typed.
const DIGITS: usize = 16;

/// What the name of a record ends with.
const RECORD: &str = ".json";

/// What the name of content on its way begins with.
const TEMPORARY: &str = ".tmp-";

/// What a name beneath the directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    /// The record of the skill with this name.
    Record(&'a str),
    /// The directory of a version.
    Version,
    /// Content on its way.
    Temporary,
    /// Nothing of ours.
    Other,
}

/// What a name beneath the directory stands for.
pub(crate) fn named(name: &str) -> Named<'_> {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if let Some(skill) = name.strip_suffix(RECORD) {
        Named::Record(skill)
    } else if name.starts_with(TEMPORARY) {
        Named::Temporary
    } else if name.len() == DIGITS && name.bytes().all(digit) {
        Named::Version
    } else {
        Named::Other
    }
}

pub(crate) fn ignore_file() -> FilePath {
    format!("{DIRECTORY}/.gitignore").as_str().into()
}

pub(crate) fn record(name: &str) -> FilePath {
    format!("{DIRECTORY}/{name}{RECORD}").as_str().into()
}

/// The directory of a version, which holds the skill's.
pub(crate) fn version(digest: &str) -> FilePath {
    format!("{DIRECTORY}/{}", directory_of(digest)).as_str().into()
}

/// The name of a version's directory.
pub(crate) fn directory_of(digest: &str) -> &str {
    &digest[..DIGITS.min(digest.len())]
}

/// The directory of a version's content.
pub(crate) fn content(digest: &str, name: &str) -> FilePath {
    format!("{DIRECTORY}/{}/{name}", directory_of(digest)).as_str().into()
}

/// A name that nobody else has.
///
/// # Errors
/// `io` if the system has no random numbers.
pub(crate) fn temporary() -> Result<FilePath> {
    let random = getrandom::u64().map_err(|error| {
        ToolError::new(ErrorCode::Io, format!("the system has no random numbers: {error}"))
    })?;
    Ok(format!("{DIRECTORY}/{TEMPORARY}{random:016x}").as_str().into())
}
