//! What a message takes in memory when it is decoded is known before, and bounded.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod counting;
mod extremes;
mod generated;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, MessageDescriptor};
use stigmer_api::message_size::{
    MAX_DECODED_REPLY_BYTES, MAX_DECODED_REQUEST_BYTES, MAX_UNMEASURED_BYTES,
};
use stigmer_api::shape::{Shape, Unfit};
use stigmer_api::wire;

/// What a decoder takes that has nothing to do with the message: the count of who holds the bytes.
const BESIDE: usize = 256;

/// A message's name, what it takes itself, and how it is decoded.
struct Kind {
    name: String,
    size: usize,
    decode: fn(Bytes) -> Decoding,
}

/// What came of decoding: whether it did, and the most memory that it took.
struct Decoding {
    done: bool,
    took: usize,
}

fn decode<M: Message + Default>(encoded: Bytes) -> Decoding {
    let (message, took) = counting::most_taken_by(|| M::decode(encoded));
    Decoding { done: message.is_ok(), took: took + size_of::<M>() }
}

fn kind<M: Message + Name + Default>() -> Kind {
    Kind { name: M::full_name(), size: size_of::<M>(), decode: decode::<M> }
}

macro_rules! kinds {
    ($($message:ident)+) => {
        /// Every message that a method takes or gives.
        fn kinds() -> Vec<Kind> {
            vec![$(kind::<wire::$message>(),)+]
        }
    };
}
kinds! {
    ReadFileRequest FileContent StatFileRequest FileStat WriteFileRequest WriteSummary
    EditFileRequest EditSummary DeleteFileRequest DeleteSummary MovePathRequest MovePathResponse
    MakeDirectoryRequest MakeDirectoryResponse ListDirectoryRequest Listing SearchFilesRequest
    FoundFiles GrepSearchRequest GrepMatches UploadRequest UploadSummary DownloadRequest
    DownloadPart WatchRequest WatchEvent StartProcessRequest StartedProcess ExecuteRequest Executed
    OutputRequest OutputEvent AttachRequest WriteStdinRequest WriteStdinResponse CloseStdinRequest
    CloseStdinResponse SignalProcessRequest SignalProcessResponse ResizeRequest ResizeResponse
    WaitRequest ExitStatus GetProcessRequest ProcessInfo ListProcessesRequest ProcessList
    InfoRequest ServerInfo EventsRequest Event OpenWorkspaceRequest Workspace GetWorkspaceRequest
    ListWorkspacesRequest WorkspaceList ForgetWorkspaceRequest ForgetWorkspaceResponse
    PrepareRequest Preparing PlaceRequest PlaceStatus PlacesRequest PlaceList
    AddSkillRequest AddedSkill ListSkillsRequest SkillList RemoveSkillRequest RemoveSkillResponse
}

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(stigmer_api::DESCRIPTORS).unwrap());

fn message(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap()
}

fn shape(name: &str) -> &'static Shape {
    Shape::of(name).unwrap()
}

#[test]
fn every_message_that_travels_is_tried_here() {
    let mut contract = BTreeSet::new();
    for service in POOL.services() {
        for method in service.methods() {
            contract.insert(method.input().full_name().to_owned());
            contract.insert(method.output().full_name().to_owned());
            assert!(shape(method.input().full_name()).is_request());
            assert!(!shape(method.output().full_name()).is_request());
        }
    }
    let tried: BTreeSet<_> = kinds().into_iter().map(|kind| kind.name).collect();
    assert_eq!(tried, contract);
}

#[test]
fn a_message_takes_about_what_its_shape_says() {
    for Kind { name, size, .. } in kinds() {
        let said = shape(&name).measure(b"", usize::MAX).unwrap();
        assert!(said >= size, "{name}: {said} < {size}");
        assert!(said <= 2 * size + 64, "{name}: {said} > 2 * {size}");
    }
}

#[test]
fn what_is_not_measured_cannot_grow_much() {
    for Kind { name, .. } in kinds() {
        let message = message(&name);
        for encoded in generated::densest(&message, MAX_UNMEASURED_BYTES) {
            let takes = shape(&name).measure(&encoded, usize::MAX).unwrap();
            assert!(takes <= 16 << 20, "{name}: {takes}");
        }
    }
}

#[test]
fn a_part_that_reaches_past_the_whole_is_broken() {
    // The caller stands in a command that ends before it does. A decoder reads the caller, all of
    // it, and then finds that it was too long.
    let mut encoded = b"\x0a\x03\x2a\x80\x20".to_vec();
    encoded.extend(b"\x0a\x00".repeat(2048));
    let measured = shape("stigmer.v1.ExecuteRequest").measure(&encoded, usize::MAX);
    assert_eq!(measured, Err(Unfit::Broken));
    let decoding = decode::<wire::ExecuteRequest>(encoded.into());
    assert!(!decoding.done && decoding.took > 100 << 10, "{}", decoding.took);
}

#[test]
fn many_tiny_entries_are_refused() {
    for Kind { name, .. } in kinds() {
        let limit = if shape(&name).is_request() {
            MAX_DECODED_REQUEST_BYTES
        } else {
            MAX_DECODED_REPLY_BYTES
        };
        let message = message(&name);
        for encoded in generated::densest(&message, 64 << 20) {
            let measured = shape(&name).measure(&encoded, limit);
            assert_eq!(measured, Err(Unfit::TooLarge), "{name}");
        }
    }
}

proptest! {
    // Each case is tried with every message.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_message_takes_more_than_was_measured(entropy in proptest::collection::vec(any::<u8>(), 0..2048)) {
        for Kind { name, decode, .. } in kinds() {
            let message = message(&name);
            let encoded = generated::message(&message, &entropy);
            let measured = shape(&name).measure(&encoded, usize::MAX).unwrap();
            let decoding = decode(encoded.into());
            prop_assert!(decoding.done);
            prop_assert!(decoding.took <= measured + BESIDE, "{name}: {} > {measured}", decoding.took);
        }
    }

    #[test]
    fn neither_does_one_that_is_damaged(
        entropy in proptest::collection::vec(any::<u8>(), 0..2048),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        for Kind { name, decode, .. } in kinds() {
            let message = message(&name);
            let mut encoded = generated::message(&message, &entropy);
            for (at, byte) in &damage {
                let end = encoded.len().max(1);
                if let Some(damaged) = encoded.get_mut(at % end) {
                    *damaged = *byte;
                }
            }
            let measured = shape(&name).measure(&encoded, usize::MAX);
            let decoding = decode(encoded.into());
            match measured {
                Ok(bytes) => prop_assert!(decoding.took <= bytes + BESIDE, "{name}"),
                Err(unfit) => prop_assert!(!decoding.done && unfit == Unfit::Broken, "{name}"),
            }
        }
    }
}
