//! Characters that were cut between two pieces of output.

use proptest::prelude::*;
use stigmer_core::process::{OutputEvent, OutputKind};

use crate::convert::split_characters;

fn pieces(bytes: &[u8]) -> Vec<Vec<u8>> {
    let event = OutputEvent::Output { offset: 0, stream: OutputKind::Stdout, bytes: bytes.into() };
    let bytes = |event| match event {
        OutputEvent::Output { bytes, .. } => bytes.into_bytes(),
        other => panic!("{other:?}"),
    };
    split_characters(event).into_iter().map(bytes).collect()
}

#[test]
fn what_is_text_or_no_text_at_all_stays_whole() {
    for whole in ["", "text", "ä€😀"] {
        assert_eq!(pieces(whole.as_bytes()), [whole.as_bytes()]);
    }
    // A wrong byte in the middle, and more at an end than a character can leave there.
    for whole in [&b"a\xffb"[..], b"\x80\x80\x80\x80text", b"\xe2\x82", b"\x80", b"text\xff"] {
        assert_eq!(pieces(whole), [whole]);
    }
}

#[test]
fn a_character_that_is_cut_is_apart_from_the_text() {
    assert_eq!(pieces(b"text\xe2\x82"), [&b"text"[..], b"\xe2\x82"]);
    assert_eq!(pieces(b"\xactext"), [&b"\xac"[..], b"text"]);
    assert_eq!(
        pieces(b"\x9f\x98\x80text\xf0\x9f\x98"),
        [&b"\x9f\x98\x80"[..], b"text", b"\xf0\x9f\x98"]
    );
}

proptest! {
    #[test]
    fn text_that_is_cut_anywhere_is_text_but_for_the_cuts(
        text in "[a-zäöü€😀]{1,12}", from in 0..12usize, to in 0..12usize,
    ) {
        let all = text.as_bytes();
        let (from, to) = (from.min(all.len()), to.min(all.len()));
        let cut = &all[from.min(to)..from.max(to)];
        let pieces = pieces(cut);
        prop_assert!(pieces.len() <= 3);
        let parts: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(parts.concat(), cut);
        // Whole characters that are in the cut are in a piece that is text.
        let whole: usize = text
            .char_indices()
            .filter(|(at, one)| *at >= from.min(to) && at + one.len_utf8() <= from.max(to))
            .map(|(_, one)| one.len_utf8())
            .sum();
        let readable: usize = pieces
            .iter()
            .filter(|piece| std::str::from_utf8(piece).is_ok())
            .map(Vec::len)
            .sum();
        prop_assert_eq!(readable, whole);
    }
}
