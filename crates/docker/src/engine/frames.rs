//! The framing of an exec stream without a terminal: eight bytes that name a stream and a length,
//! and as many bytes of it.

use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of a frame's head.
const HEAD: usize = 8;

/// The longest frame that is believed. The engine copies through buffers of 32 KiB; what names far
/// more is no frame.
const LONGEST: u32 = 16 << 20;

/// What is shown of standard error, at most.
const MOST_STDERR: usize = 4 << 10;

/// Which stream a frame is of.
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// An error of the engine's own.
const SYSTEM: u8 = 3;

/// Takes frames apart as their bytes come, in whatever pieces.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    arrived: BytesMut,
    /// What is left of the frame that is being read.
    left: usize,
    stream: u8,
    stderr: Vec<u8>,
}

impl Decoder {
    /// Takes bytes that came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// The next piece of standard output, if one has come.
    ///
    /// # Errors
    /// In words, if this is no such stream, or the engine broke it off.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if self.left == 0 {
                if self.arrived.len() < HEAD {
                    return Ok(None);
                }
                self.head()?;
                continue;
            }
            if self.arrived.is_empty() {
                return Ok(None);
            }
            let piece = self.arrived.split_to(self.left.min(self.arrived.len()));
            self.left -= piece.len();
            match self.stream {
                STDOUT => return Ok(Some(piece.freeze())),
                STDERR => {
                    let room = MOST_STDERR.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                _ => {
                    let said = String::from_utf8_lossy(&piece);
                    return Err(format!("the engine says: {}", said.trim()));
                }
            }
        }
    }

    fn head(&mut self) -> Result<(), String> {
        let mut head = self.arrived.split_to(HEAD);
        let stream = head.get_u8();
        let padding = [head.get_u8(), head.get_u8(), head.get_u8()];
        let length = head.get_u32();
        if padding != [0; 3] || !matches!(stream, STDIN | STDOUT | STDERR | SYSTEM) {
            return Err("what the engine sends is no framed stream".to_owned());
        }
        if length > LONGEST {
            return Err(format!("a frame of {length} bytes is over the limit of {LONGEST}"));
        }
        // Standard input is not sent back by any engine; the documentation has it as standard output.
        self.stream = if stream == STDIN { STDOUT } else { stream };
        self.left = length as usize;
        Ok(())
    }

    /// What came on standard error: why the program ended, if it says so.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }

    /// Whether the stream may end here.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.arrived.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(stream: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, bytes].concat()
    }

    fn all(decoder: &mut Decoder) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        while let Some(piece) = decoder.next()? {
            out.extend_from_slice(&piece);
        }
        Ok(out)
    }

    #[test]
    fn standard_error_is_kept_apart_and_bounded() {
        let mut decoder = Decoder::default();
        decoder.push(&frame(STDERR, b" no such socket\n"));
        decoder.push(&frame(STDOUT, b"x"));
        assert_eq!(all(&mut decoder).unwrap(), b"x");
        assert_eq!(decoder.stderr(), "no such socket");
        for _ in 0..10 {
            decoder.push(&frame(STDERR, &[b'e'; 1000]));
            assert_eq!(all(&mut decoder).unwrap(), b"");
        }
        assert_eq!(decoder.stderr.len(), MOST_STDERR);
    }

    #[test]
    fn an_end_inside_a_frame_is_seen() {
        let mut decoder = Decoder::default();
        assert!(decoder.is_between_frames());
        let whole = frame(STDOUT, b"ab");
        for (index, byte) in whole.iter().enumerate() {
            decoder.push(&[*byte]);
            all(&mut decoder).unwrap();
            assert_eq!(decoder.is_between_frames(), index + 1 == whole.len(), "{index}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for hostile in [
            b"HTTP/1.1".to_vec(),
            vec![1, 0, 0, 1, 0, 0, 0, 1, b'x'],
            vec![4, 0, 0, 0, 0, 0, 0, 0],
            vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            vec![2, 0, 0, 0, 1, 0, 0, 1],
            frame(SYSTEM, b"container died"),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(&hostile);
            all(&mut decoder).unwrap_err();
        }
    }

    #[test]
    fn an_empty_frame_is_nothing() {
        let mut decoder = Decoder::default();
        decoder.push(&[frame(STDOUT, b""), frame(STDERR, b""), frame(STDOUT, b"a")].concat());
        assert_eq!(all(&mut decoder).unwrap(), b"a");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            frames in proptest::collection::vec((1_u8..3, proptest::collection::vec(any::<u8>(), 0..50)), 0..20),
            cuts in proptest::collection::vec(1_usize..40, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(stream, text)| frame(*stream, text)).collect();
            let wanted: Vec<u8> =
                frames.iter().filter(|(stream, _)| *stream == STDOUT).flat_map(|(_, text)| text.clone()).collect();
            let mut decoder = Decoder::default();
            let (mut rest, mut out, mut cuts) = (&bytes[..], Vec::new(), cuts.into_iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                decoder.push(piece);
                out.extend(all(&mut decoder).unwrap());
                rest = after;
            }
            prop_assert_eq!(out, wanted);
            prop_assert!(decoder.is_between_frames());
        }

        #[test]
        fn no_bytes_make_it_panic_or_swell(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            if let Ok(out) = all(&mut decoder) {
                prop_assert!(out.len() <= bytes.len());
            }
        }
    }
}
