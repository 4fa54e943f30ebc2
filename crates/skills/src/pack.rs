//! A skill as an archive for an executor.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError};
use tar::{Builder, EntryType, Header};

use crate::package::{Node, Package};

/// The most bytes in one piece: a message of an upload takes no more than four times as much.
const PIECE: usize = 1 << 20;

/// What ends an archive (`tar(5)`).
static END: [u8; 1024] = [0; 1024];

/// The skill beneath a directory of its name. Its parts are made when they are asked for.
pub(crate) fn archive(package: &Package) -> ByteStream {
    // Contents are shared, not copied.
    let nodes = package.nodes.clone().into_iter();
    let name = package.name.clone();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let parts = nodes.map(move |(path, node)| part(&format!("{name}/{path}"), &node, now));
    let parts = parts.chain([Ok(Bytes::from_static(&END))]);
    Box::pin(stream::iter(parts).flat_map(|part| stream::iter(pieces(part))))
}

/// One entry.
fn part(path: &str, node: &Node, now: u64) -> Result<Bytes> {
    let mut header = Header::new_gnu();
    header.set_mtime(now);
    let mut builder = Builder::new(Vec::new());
    let written = match node {
        Node::File { content, executable } => {
            header.set_mode(if *executable { 0o755 } else { 0o644 });
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, &content[..])
        }
        Node::Link { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            builder.append_link(&mut header, path, target)
        }
    };
    // Without the end, which comes after the last.
    let part = Bytes::from(std::mem::take(builder.get_mut()));
    written
        .map(|()| part)
        .map_err(|error| ToolError::new(ErrorCode::Io, format!("{path}: {error}")))
}

fn pieces(part: Result<Bytes>) -> Vec<Result<Bytes>> {
    match part {
        Err(error) => vec![Err(error)],
        Ok(mut part) => {
            let mut pieces = Vec::new();
            while !part.is_empty() {
                pieces.push(Ok(part.split_to(part.len().min(PIECE))));
            }
            pieces
        }
    }
}
