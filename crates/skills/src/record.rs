//! Which version of a skill there is.

use serde::{Deserialize, Serialize};
use stigmer_core::FilePath;
use stigmer_core::skill::Skill;

use crate::frontmatter::check_name;
use crate::package::Package;
use crate::place;

/// How many digits a SHA-256 has.
const DIGITS: usize = 64;

/// A record, as it is on disk. Commands of the workspace may have written anything there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) digest: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Record {
    pub(crate) fn of(package: &Package) -> Self {
        Self {
            name: package.name.clone(),
            description: package.description.clone(),
            digest: package.digest.clone(),
            files: package.files,
            bytes: package.bytes,
        }
    }

    /// Understands the record of the skill `name`; `None` if it is none.
    pub(crate) fn read(name: &str, json: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(json).ok()?;
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digest = record.digest.len() == DIGITS && record.digest.bytes().all(hexadecimal);
        (record.name == name && check_name(name).is_ok() && digest).then_some(record)
    }

    pub(crate) fn skill(self, root: &FilePath) -> Skill {
        Skill {
            path: root.as_path().join(place::content(&self.digest, &self.name).as_path()).into(),
            name: self.name,
            description: self.description,
            digest: self.digest,
            files: self.files,
            bytes: self.bytes,
            problem: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_nothing_else_does() {
        let digest = "0a".repeat(32);
        let (name, description) = ("demo".to_owned(), "Shows".to_owned());
        let record = Record { name, description, digest, files: 1, bytes: 2 };
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(Record::read("demo", json.as_bytes()), Some(record));
        for bad in [
            json.replace("demo", "other"),
            json.replace("0a0a", "../."),
            json.replace("0a0a", "0A0A"),
            json.replace("0a0a", "0a0"),
            String::new(),
            "[]".to_owned(),
        ] {
            assert_eq!(Record::read("demo", bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Record::read("..", json.replace("demo", "..").as_bytes()), None);
    }
}
