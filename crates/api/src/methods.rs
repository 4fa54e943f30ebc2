//! The methods of the contract, as its compiler found them.

/// `idempotency_level` of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// It changes nothing.
    NoSideEffects,
    /// Done twice it is as done once.
    Idempotent,
    /// Nothing is said.
    Unknown,
}

/// A method of the contract.
#[derive(Debug)]
pub(crate) struct Method {
    /// `stigmer.v1`.
    pub(crate) package: &'static str,
    /// `Files`.
    pub(crate) service: &'static str,
    /// `Read`.
    pub(crate) name: &'static str,
    /// `/stigmer.v1.Files/Read`.
    pub(crate) path: &'static str,
    /// The client sends a stream.
    pub(crate) streams_in: bool,
    /// The server does.
    pub(crate) streams_out: bool,
    /// Whether it may be repeated.
    pub(crate) level: Level,
}

/// All of them, sorted by path.
pub(crate) const METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The method at a path.
pub(crate) fn at(path: &str) -> Option<&'static Method> {
    METHODS.binary_search_by_key(&path, |method| method.path).ok().map(|index| &METHODS[index])
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_the_descriptors_is_found_and_no_other() {
        let files = FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap().file;
        let mut count = 0;
        for file in &files {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let found = at(&path).unwrap();
                    assert_eq!(found.path, path);
                    assert_eq!(found.streams_in, method.client_streaming(), "{path}");
                    assert_eq!(found.streams_out, method.server_streaming(), "{path}");
                    count += 1;
                }
            }
        }
        assert_eq!(count, METHODS.len());
        for other in ["", "/", "/stigmer.v1.Files/Shred", "stigmer.v1.Files/Read"] {
            assert!(at(other).is_none(), "{other}");
        }
    }
}
