//! The largest messages that there may be are decoded.

use prost::{Message, Name};
use stigmer_api::codec::check;
use stigmer_api::convert::errors::from_status;
use stigmer_api::message_size::{MAX_REPLY_BYTES, MAX_REQUEST_BYTES};
use stigmer_api::wire;
use stigmer_core::limits::{
    MAX_CAPTURE_BYTES, MAX_CONTEXT_LINES, MAX_EDITS, MAX_FIND_RESULTS, MAX_LIST_ENTRIES,
    MAX_SEARCH_BYTES, MAX_WRITE_BYTES,
};
use stigmer_core::search::GrepMatch;
use stigmer_core::{ByteString, ErrorCode};

/// The strings and pointers that `execve(2)` takes.
const MAX_EXECVE_BYTES: usize = 6 << 20;

fn text(length: usize) -> Option<wire::ByteString> {
    Some(bytes(length))
}

fn bytes(length: usize) -> wire::ByteString {
    ByteString::from("x".repeat(length)).into()
}

fn passes<M: Message + Name>(message: &M, most: usize) {
    let encoded = message.encode_to_vec();
    assert!(encoded.len() <= most, "{}: {} bytes", M::full_name(), encoded.len());
    check::<M>(&encoded).unwrap();
}

/// A search as large as one may be whose matches have lines and context of this length.
fn grep(length: usize, before: usize, after: usize) {
    let line = size_of::<ByteString>() + length;
    let one = size_of::<GrepMatch>() + 1 + length + (before + after) * line;
    let found = wire::GrepMatch {
        path: text(1),
        line: u64::MAX,
        column: 1,
        text: text(length),
        before: vec![bytes(length); before],
        after: vec![bytes(length); after],
    };
    let matches = vec![found; MAX_SEARCH_BYTES / one];
    passes(&wire::GrepMatches { matches, ..Default::default() }, MAX_REPLY_BYTES);
}

#[test]
fn searches() {
    let most = MAX_CONTEXT_LINES as usize;
    for context in [0, 1, 2, 5, most] {
        for length in [0, 1, 2, 80] {
            grep(length, context, context);
        }
        grep(1, context, 0);
    }
}

#[test]
fn listings() {
    let length = MAX_SEARCH_BYTES / MAX_FIND_RESULTS;
    let paths = vec![bytes(length); MAX_FIND_RESULTS];
    passes(&wire::FoundFiles { paths, ..Default::default() }, MAX_REPLY_BYTES);
    let entry = wire::DirectoryEntry { path: text(length), kind: 1, size: u64::MAX };
    let entries = vec![entry; MAX_LIST_ENTRIES];
    passes(&wire::Listing { entries, ..Default::default() }, MAX_REPLY_BYTES);
}

#[test]
fn contents() {
    let content = text(usize::try_from(MAX_WRITE_BYTES).unwrap());
    passes(&wire::WriteFileRequest { content, ..Default::default() }, MAX_REQUEST_BYTES);
    let length = usize::try_from(MAX_WRITE_BYTES).unwrap() / MAX_EDITS / 2;
    let edit = wire::Edit { old: text(length), new: text(length), replace_all: true };
    let edits = vec![edit; MAX_EDITS];
    passes(&wire::EditFileRequest { edits, ..Default::default() }, MAX_REQUEST_BYTES);
    let captured = || Some(wire::Captured { head: text(MAX_CAPTURE_BYTES), ..Default::default() });
    let executed = wire::Executed { stdout: captured(), stderr: captured(), ..Default::default() };
    passes(&executed, MAX_REPLY_BYTES);
}

#[test]
fn commands() {
    // `NAME=v`, an end and a pointer.
    let variable = wire::Variable { name: text(4), value: text(1) };
    let environment = vec![variable; MAX_EXECVE_BYTES / (4 + 1 + 1 + 1 + size_of::<*const u8>())];
    let caller = Some(wire::Caller { environment, ..Default::default() });
    passes(&wire::StartProcessRequest { caller, ..Default::default() }, MAX_REQUEST_BYTES);
    let words = vec![bytes(1); MAX_EXECVE_BYTES / (1 + 1 + size_of::<*const u8>())];
    let command = Some(wire::command::Command::Argv(wire::Argv { words }));
    let command = Some(wire::Command { command });
    passes(&wire::StartProcessRequest { command, ..Default::default() }, MAX_REQUEST_BYTES);
}

#[test]
fn a_refusal_names_the_message_and_the_limit() {
    let encoded = b"\x0a\x00".repeat(4 << 20);
    let error = from_status(&check::<wire::ProcessList>(&encoded).unwrap_err());
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert_eq!(error.details["message"], "stigmer.v1.ProcessList");
    let limit = error.details["limit"].to_string();
    assert!(error.message.contains(&limit), "{error}");
}
