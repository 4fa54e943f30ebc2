//! The frames of a log segment.
//!
//! ```text
//! byte 0     kind: 1 stdout, 2 stderr, 3 terminal, 4 gap
//! byte 1-3   zero
//! byte 4-7   length of the payload, little endian
//! payload    output; for a gap the number of lost bytes, eight bytes little endian
//! ```
//!
//! A frame whose payload is shorter than its length is being written, or its writer died: what is
//! there is valid. A writer that ran out of disk corrects the length in place.

use stigmer_core::process::OutputKind;

/// Bytes before each payload.
pub const HEADER_LENGTH: usize = 8;
/// Bytes of a gap's payload.
pub const GAP_LENGTH: usize = 8;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Output of the command.
    Output(OutputKind),
    /// Output that could not be written.
    Gap,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame holds.
    pub kind: FrameKind,
    /// Bytes of payload.
    pub length: u32,
}

/// Bytes that are no frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:02x?} is no frame header")]
pub struct InvalidHeader([u8; HEADER_LENGTH]);

impl Header {
    /// The header as it is written.
    pub fn encode(self) -> [u8; HEADER_LENGTH] {
        let kind = match self.kind {
            FrameKind::Output(OutputKind::Stdout) => 1,
            FrameKind::Output(OutputKind::Stderr) => 2,
            FrameKind::Output(OutputKind::Terminal) => 3,
            FrameKind::Gap => 4,
        };
        let length = self.length.to_le_bytes();
        [kind, 0, 0, 0, length[0], length[1], length[2], length[3]]
    }

    /// Reads a header.
    ///
    /// # Errors
    /// [`InvalidHeader`] for an unknown kind, a byte that should be zero, or a gap of another length.
    pub fn decode(bytes: [u8; HEADER_LENGTH]) -> Result<Self, InvalidHeader> {
        let length = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let kind = match bytes[..4] {
            [1, 0, 0, 0] => FrameKind::Output(OutputKind::Stdout),
            [2, 0, 0, 0] => FrameKind::Output(OutputKind::Stderr),
            [3, 0, 0, 0] => FrameKind::Output(OutputKind::Terminal),
            [4, 0, 0, 0] if length as usize == GAP_LENGTH => FrameKind::Gap,
            _ => return Err(InvalidHeader(bytes)),
        };
        Ok(Self { kind, length })
    }
}

/// One frame, or the beginning of one, in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// As much of its payload as there is.
    pub payload: &'a [u8],
}

/// Takes the first frame off a buffer; `None` if there is not even a header.
///
/// # Errors
/// [`InvalidHeader`] if the buffer does not begin with a frame.
pub fn split_first(buffer: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, InvalidHeader> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER_LENGTH>() else {
        return Ok(None);
    };
    let header = Header::decode(*header)?;
    let (payload, rest) = rest.split_at(rest.len().min(header.length as usize));
    Ok(Some((Frame { header, payload }, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = FrameKind> {
        prop_oneof![
            Just(FrameKind::Output(OutputKind::Stdout)),
            Just(FrameKind::Output(OutputKind::Stderr)),
            Just(FrameKind::Output(OutputKind::Terminal)),
        ]
    }

    proptest! {
        #[test]
        fn frames_read_back(frames in proptest::collection::vec(
            (kinds(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20)) {
            let mut bytes = Vec::new();
            for (kind, payload) in &frames {
                bytes.extend(Header { kind: *kind, length: payload.len() as u32 }.encode());
                bytes.extend(payload);
            }
            let mut rest = bytes.as_slice();
            for (kind, payload) in &frames {
                let (frame, after) = split_first(rest).unwrap().unwrap();
                prop_assert_eq!(frame.header.kind, *kind);
                prop_assert_eq!(frame.payload, payload.as_slice());
                rest = after;
            }
            prop_assert!(split_first(rest).unwrap().is_none());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = bytes.as_slice();
            while let Ok(Some((frame, after))) = split_first(rest) {
                prop_assert!(frame.payload.len() <= frame.header.length as usize);
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
