//! What is in an archive, as it stands there. Nothing of it is believed here.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures_util::StreamExt as _;
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError};
use tar::{Archive, EntryType};

use crate::limits::MAX_ARCHIVE_BYTES;

/// What an archive is made of (`tar(5)`).
const BLOCK: usize = 512;

/// What a gzip begins with (RFC 1952).
const GZIP: &[u8] = &[0x1f, 0x8b];

/// What a zip begins with: the signature of a local file header (APPNOTE.TXT).
const ZIP: &[u8] = b"PK\x03\x04";

/// One entry.
pub(crate) struct Entry {
    /// Its name, as it stands there.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryType,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Where a link leads, as it stands there.
    pub(crate) target: Vec<u8>,
    /// A part of the archive's bytes: nothing is copied.
    pub(crate) content: Bytes,
}

pub(crate) fn wrong(reason: impl std::fmt::Display) -> ToolError {
    ToolError::invalid_argument("archive", reason)
}

pub(crate) fn too_large(what: &str, limit: impl std::fmt::Display) -> ToolError {
    let message = format!("archive: {what} is more than the limit of {limit}");
    ToolError::new(ErrorCode::TooLarge, message).with_detail("limit", limit.to_string()).with_hint(
        "a skill has instructions and small files; leave out what can be fetched or made",
    )
}

/// All bytes of a stream, as far as the limit for archives.
///
/// # Errors
/// `too_large`, and what the stream fails with.
pub(crate) async fn gather(mut content: ByteStream) -> Result<Bytes> {
    let mut all = Vec::new();
    while let Some(piece) = content.next().await {
        let piece = piece?;
        if all.len() + piece.len() > MAX_ARCHIVE_BYTES {
            return Err(too_large("its size", format!("{MAX_ARCHIVE_BYTES} bytes")));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

/// An archive that may be compressed with gzip, as it is without.
///
/// # Errors
/// `too_large`; `invalid_argument` for what cannot be decompressed, and for a zip.
pub(crate) fn decompressed(bytes: Bytes) -> Result<Bytes> {
    if bytes.starts_with(ZIP) {
        return Err(
            wrong("is a zip, not a tar archive").with_hint("unpack it and add the directory")
        );
    }
    if !bytes.starts_with(GZIP) {
        return Ok(bytes);
    }
    let mut all = Vec::new();
    let most = MAX_ARCHIVE_BYTES as u64 + 1;
    let read = MultiGzDecoder::new(&bytes[..]).take(most).read_to_end(&mut all);
    read.map_err(|error| wrong(format!("cannot be decompressed: {error}")))?;
    if all.len() > MAX_ARCHIVE_BYTES {
        return Err(too_large("its decompressed size", format!("{MAX_ARCHIVE_BYTES} bytes")));
    }
    Ok(all.into())
}

/// Gives each entry of an archive to `take`, until that fails.
///
/// # Errors
/// `invalid_argument` for what is no whole archive, and what `take` says.
pub(crate) fn each_entry(bytes: &Bytes, mut take: impl FnMut(Entry) -> Result<()>) -> Result<()> {
    let broken = |error: std::io::Error| wrong(format!("is broken: {error}"));
    let mut archive = Archive::new(&bytes[..]);
    let mut end = 0;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path_bytes().into_owned();
        if let Some(extensions) = entry.pax_extensions().map_err(broken)? {
            for extension in extensions {
                if extension.map_err(broken)?.key_bytes().starts_with(b"GNU.sparse.") {
                    return Err(sparse(&name));
                }
            }
        }
        let kind = entry.header().entry_type();
        if kind == EntryType::GNUSparse {
            return Err(sparse(&name));
        }
        let begin = usize::try_from(entry.raw_file_position()).unwrap_or(usize::MAX);
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let stop = begin.checked_add(size).filter(|stop| *stop <= bytes.len());
        let stop = stop.ok_or_else(truncated)?;
        end = stop.next_multiple_of(BLOCK);
        take(Entry {
            mode: entry.header().mode().map_err(broken)?,
            target: entry.link_name_bytes().unwrap_or_default().into_owned(),
            content: bytes.slice(begin..stop),
            name,
            kind,
        })?;
    }
    // An archive ends with blocks of zeros; one that has none may lack files.
    match bytes.get(end..end.saturating_add(BLOCK)) {
        Some(mark) if mark.iter().all(|byte| *byte == 0) => Ok(()),
        _ => Err(truncated()),
    }
}

fn truncated() -> ToolError {
    wrong("is truncated").with_hint("send the whole archive")
}

fn sparse(name: &[u8]) -> ToolError {
    wrong(format!("its entry {} is a sparse file", String::from_utf8_lossy(name)))
        .with_hint("make the archive without `--sparse` (-S)")
}
