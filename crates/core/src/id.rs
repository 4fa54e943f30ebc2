//! Names of processes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The id of one command that was started: ten characters of Crockford's base 32, lower case.
///
/// Fifty random bits: among a million kept processes the chance that a new one meets an old one is
/// one in a thousand million, and the directory that it names is created exclusively, so that a
/// meeting is noticed and another id taken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessId(String);

/// A text that is not the id of a process.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a process id: ten characters of 0-9 and a-z without i, l, o and u")]
pub struct InvalidProcessId(String);

/// Crockford's alphabet, which leaves out the letters that are mistaken for others.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LENGTH: usize = 10;

impl ProcessId {
    /// The id made of the lowest fifty bits of a random number.
    pub fn from_random(random: u64) -> Self {
        let id =
            (0..LENGTH).map(|index| char::from(ALPHABET[(random >> (5 * index)) as usize & 31]));
        Self(id.collect())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProcessId {
    type Err = InvalidProcessId;

    fn from_str(text: &str) -> Result<Self, InvalidProcessId> {
        if text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidProcessId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ProcessId {
    type Error = InvalidProcessId;
    fn try_from(text: String) -> Result<Self, InvalidProcessId> {
        text.parse()
    }
}

impl From<ProcessId> for String {
    fn from(id: ProcessId) -> Self {
        id.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ProcessId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            let id = ProcessId::from_random(random);
            assert_eq!(id.as_str().parse::<ProcessId>().unwrap(), id);
        }
        for bad in ["", "../../etc", "abc", "ABCDEFGHJK", "0123456789a", "012345678/", "iiiiiiiiii"]
        {
            assert!(bad.parse::<ProcessId>().is_err(), "{bad}");
        }
    }
}
