//! Archives, well-formed and hostile.

use std::io;

use bytes::Bytes;
use stigmer_core::{ByteStream, Result};
use tar::{Builder, EntryType, Header};

/// An archive in memory. Names and links are put into the headers as they are: the builder of the
/// library refuses the hostile ones.
pub(crate) struct Archive(Builder<Vec<u8>>);

impl Archive {
    /// An empty archive.
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn append(&mut self, kind: EntryType, name: &[u8], link: &[u8], mode: u32, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_234_567_890);
        header.set_size(content.len() as u64);
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name);
        fields.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
    }

    /// Adds a file.
    pub(crate) fn file(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.append(EntryType::Regular, name.as_bytes(), b"", 0o644, content.as_ref());
        self
    }

    /// Adds a file with permission bits.
    pub(crate) fn file_mode(mut self, name: &str, mode: u32) -> Self {
        self.append(EntryType::Regular, name.as_bytes(), b"", mode, b"");
        self
    }

    /// Adds a file with permission bits and content.
    pub(crate) fn file_with_mode(mut self, name: &str, mode: u32, content: &str) -> Self {
        self.append(EntryType::Regular, name.as_bytes(), b"", mode, content.as_bytes());
        self
    }

    /// Adds a directory.
    pub(crate) fn directory(mut self, name: &str) -> Self {
        self.append(EntryType::Directory, name.as_bytes(), b"", 0o755, b"");
        self
    }

    /// Adds a link or a device.
    pub(crate) fn special(mut self, kind: EntryType, name: &str, link: &str) -> Self {
        self.append(kind, name.as_bytes(), link.as_bytes(), 0o777, b"");
        self
    }

    /// The whole archive.
    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Bytes as a stream of pieces.
pub(crate) fn stream(bytes: impl Into<Vec<u8>>, piece: usize) -> ByteStream {
    let bytes = Bytes::from(bytes.into());
    let count = bytes.len().div_ceil(piece);
    let pieces = (0..count).map(move |index| -> Result<Bytes> {
        Ok(bytes.slice(index * piece..bytes.len().min((index + 1) * piece)))
    });
    Box::pin(futures_util::stream::iter(pieces))
}

/// One entry of an archive that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its name, without a `/` at its end.
    pub(crate) name: Vec<u8>,
    /// `f`, `d` or `l`.
    pub(crate) kind: char,
    /// Its permission bits.
    pub(crate) mode: u32,
    /// The content of a file, or what a link leads to.
    pub(crate) content: Vec<u8>,
}

/// Reads an archive, sorted by name.
pub(crate) fn read(bytes: &[u8]) -> Vec<Found> {
    let mut all = Vec::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path_bytes().into_owned();
        let name = name.strip_suffix(b"/").unwrap_or(&name).to_vec();
        let mut content = Vec::new();
        let kind = match entry.header().entry_type() {
            EntryType::Directory => 'd',
            EntryType::Symlink => {
                content = entry.link_name_bytes().unwrap().into_owned();
                'l'
            }
            EntryType::Regular => {
                io::Read::read_to_end(&mut entry, &mut content).unwrap();
                'f'
            }
            other => panic!("{other:?}"),
        };
        all.push(Found { name, kind, mode: entry.header().mode().unwrap() & 0o777, content });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
