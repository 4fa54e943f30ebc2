//! What a shim says, in bytes: the length of the rest, the number of arguments, and then the
//! arguments and the environment, each ended by a zero byte. Descriptors come with the first byte:
//! the three standard streams and the directory.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The most bytes behind the head: the kernel gives no program more, with the stack it usually has.
pub(super) const MAX_BODY: usize = 2 << 20;

/// Bytes of the head: the length of what follows.
pub(super) const HEAD: usize = 4;

/// Descriptors that come with a request.
pub(super) const DESCRIPTORS: usize = 4;

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The program's name, and its arguments.
    pub(super) arguments: Vec<OsString>,
    /// `NAME=VALUE`.
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Request {
    /// The bytes; nothing if there are more than any program gets.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut body = u32::try_from(self.arguments.len()).ok()?.to_le_bytes().to_vec();
        for argument in &self.arguments {
            body.extend(argument.as_bytes());
            body.push(0);
        }
        for (name, value) in &self.environment {
            body.extend(name.as_bytes());
            body.push(b'=');
            body.extend(value.as_bytes());
            body.push(0);
        }
        if body.len() > MAX_BODY {
            return None;
        }
        let mut bytes = u32::try_from(body.len()).ok()?.to_le_bytes().to_vec();
        bytes.append(&mut body);
        Some(bytes)
    }

    /// Reads what is behind the head; nothing if it is no request.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let (count, rest) = body.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let words = rest.strip_suffix(&[0])?;
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        if count == 0 || count > words.len() {
            return None;
        }
        let (arguments, variables) = words.split_at(count);
        let variable = |text: &&[u8]| {
            let at = text.iter().skip(1).position(|byte| *byte == b'=')? + 1;
            let name = OsStr::from_bytes(&text[..at]).to_owned();
            Some((name, OsStr::from_bytes(&text[at + 1..]).to_owned()))
        };
        Some(Self {
            arguments: arguments.iter().map(|word| OsString::from_vec(word.to_vec())).collect(),
            environment: variables.iter().filter_map(variable).collect(),
        })
    }
}

/// The length in a head; nothing if it is too long.
pub(super) fn length(head: [u8; HEAD]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(head)).ok().filter(|length| *length <= MAX_BODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(arguments: &[&str], environment: &[(&str, &str)]) -> Request {
        Request {
            arguments: arguments.iter().map(OsString::from).collect(),
            environment: environment.iter().map(|(a, b)| (a.into(), b.into())).collect(),
        }
    }

    #[test]
    fn a_request_comes_out_as_it_went_in() {
        for request in [
            request(&["apt-get"], &[]),
            request(&["apt-get", "", "install"], &[("A", ""), ("B", "x=y")]),
            request(&["dpkg", "\u{fc}"], &[("=odd", "1")]),
        ] {
            let bytes = request.encode().unwrap();
            let (head, body) = bytes.split_first_chunk().unwrap();
            assert_eq!(length(*head), Some(body.len()));
            assert_eq!(Request::decode(body), Some(request));
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let valid = request(&["apt-get", "-y"], &[("A", "b")]).encode().unwrap();
        for end in 0..valid.len() - HEAD {
            // Cut short it is none, or one with less in it; it never fails otherwise.
            let _ = Request::decode(&valid[HEAD..HEAD + end]);
        }
        assert_eq!(Request::decode(&[]), None);
        assert_eq!(Request::decode(&[0, 0, 0, 0, 0]), None);
        assert_eq!(Request::decode(&[255, 255, 255, 255, b'x', 0]), None);
        assert_eq!(Request::decode(&[1, 0, 0, 0, b'x']), None);
        assert_eq!(length([0, 0, 0x20, 0]), Some(MAX_BODY));
        assert_eq!(length([1, 0, 0x20, 0]), None);
        let long = "x".repeat(MAX_BODY);
        assert_eq!(request(&[&long], &[]).encode(), None);
    }
}
