//! Keeping the beginning and the end of a long output.

use crate::process::Captured;

/// Takes in a stream and keeps its beginning and its end.
#[derive(Debug)]
pub struct Capture {
    half: usize,
    head: Vec<u8>,
    tail: Vec<u8>,
    omitted: u64,
}

impl Capture {
    /// Keeps at most `limit` bytes: half from the beginning, half from the end.
    pub fn new(limit: usize) -> Self {
        Self { half: limit / 2, head: Vec::new(), tail: Vec::new(), omitted: 0 }
    }

    /// Takes in what comes next.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.omitted == 0 && self.tail.is_empty() {
            let room = (self.half - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
        }
        self.tail.extend_from_slice(bytes);
        // Cut seldom, so that each byte is moved once on average.
        if self.tail.len() > self.half * 2 + (64 << 10) {
            self.cut();
        }
    }

    /// Counts bytes that are missing here.
    pub fn skip(&mut self, length: u64) {
        self.omitted += self.tail.len() as u64 + length;
        self.tail.clear();
    }

    fn cut(&mut self) {
        let surplus = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..surplus);
        self.omitted += surplus as u64;
    }

    /// What was kept.
    pub fn finish(mut self) -> Captured {
        self.cut();
        if self.omitted == 0 {
            self.head.append(&mut self.tail);
        }
        Captured { head: self.head.into(), tail: self.tail.into(), omitted_bytes: self.omitted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn beginning_end_and_count_are_right(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..30),
            limit in 2..400usize,
        ) {
            let mut capture = Capture::new(limit);
            for piece in &pieces {
                capture.push(piece);
            }
            let all = pieces.concat();
            let got = capture.finish();
            let half = limit / 2;
            if all.len() <= half * 2 {
                prop_assert_eq!(got.head.as_bytes(), &all);
                prop_assert_eq!(got.omitted_bytes, 0);
            } else {
                prop_assert_eq!(got.head.as_bytes(), &all[..half]);
                prop_assert_eq!(got.tail.as_bytes(), &all[all.len() - half..]);
                prop_assert_eq!(got.omitted_bytes as usize, all.len() - half * 2);
            }
        }
    }
}
