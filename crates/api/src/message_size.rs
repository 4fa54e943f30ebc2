//! How large messages may be: server and client go by the same numbers.

use stigmer_core::limits::{MAX_CAPTURE_BYTES, MAX_SEARCH_BYTES, MAX_WRITE_BYTES};

/// What a message has beside its content: paths, digests, names of fields, an environment.
///
/// An environment is at most a few MiB, because `execve(2)` takes no more.
const ROOM: usize = 8 << 20;

/// The largest request: a file's whole content, and the rest of the message. What is larger is
/// streamed.
pub const MAX_REQUEST_BYTES: usize = MAX_WRITE_BYTES as usize + ROOM;

/// The largest reply: both captured streams of a command, or a search. A search counts what it
/// holds in memory, which is more than what it takes on the wire.
pub const MAX_REPLY_BYTES: usize = {
    let captured = 2 * MAX_CAPTURE_BYTES;
    let largest = if captured > MAX_SEARCH_BYTES { captured } else { MAX_SEARCH_BYTES };
    largest + ROOM
};

/// The largest error, encoded, that is sent to a client of ours, or taken from a server: the lines
/// that an edit might have meant are at most 36 KiB.
pub const MAX_ERROR_BYTES: usize = 64 << 10;

/// The largest error for a client that does not say that it is ours. It travels in a header, in
/// base64, beside its message; common gRPC libraries refuse headers of more than 8 KiB in all.
pub const MAX_FOREIGN_ERROR_BYTES: usize = 4 << 10;

/// The header list that a client must take so that every error arrives: the error in base64, and
/// its message, of which each byte may be escaped as three.
pub const MAX_HEADER_LIST_BYTES: u32 = 128 << 10;

/// The most bytes of an error's message in the gRPC status itself. The whole message is in the
/// error; this is what clients show that know nothing of it.
pub const MAX_STATUS_MESSAGE_BYTES: usize = 512;

/// The largest request to a service whose requests hold no file: the usual limit of gRPC. It is
/// small because a message can take many times its size in memory when it is decoded.
pub const MAX_SMALL_REQUEST_BYTES: usize = 4 << 20;

/// The most data in one message of an upload or to a command that is attached to; larger pieces are
/// sent as several.
pub const MAX_PIECE_BYTES: usize = 1 << 20;

/// The most memory that a request may take once it is decoded, by estimate. A message can take many
/// times its size: each empty variable of an environment is two bytes on the wire and nearly two
/// hundred in memory. Twice the largest request is a file's whole content beside the largest
/// environment that `execve(2)` takes.
pub const MAX_DECODED_REQUEST_BYTES: usize = 2 * MAX_REQUEST_BYTES;

/// The same for a reply. A search counts what it holds in memory, and the generated types take up
/// to six times that: a line of one byte is 25 bytes there, and an entry of a list that has doubled
/// and an allocation here.
pub const MAX_DECODED_REPLY_BYTES: usize = 6 * MAX_SEARCH_BYTES + ROOM;

/// Messages up to this size are decoded without a look at them: no message of the contract can make
/// more than some MiB of it.
pub const MAX_UNMEASURED_BYTES: usize = 16 << 10;
