//! Which request may be repeated when its answer is missing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

use crate::DESCRIPTORS;

/// Whether a request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It changes nothing: always.
    Reads,
    /// Done twice it is as done once: always.
    Idempotent,
    /// It carries an id of the client's choice, under which it is done once: always.
    WithItsId,
    /// Only if it is known that the server has not seen it.
    IfUnseen,
}

/// What the contract's options cannot say: with an id that the client chose, these are done once.
const WITH_ITS_ID: &[&str] = &["/stigmer.v1.Processes/Execute", "/stigmer.v1.Processes/Start"];

/// What the contract says of one method.
#[derive(Clone, Copy, Debug)]
struct Facts {
    repeat: Repeat,
    streams: bool,
}

static TABLE: LazyLock<BTreeMap<String, Facts>> = LazyLock::new(read);

fn read() -> BTreeMap<String, Facts> {
    // A descriptor set that our own build made; if it could not be read, nothing would be repeated.
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default().file;
    let mut table = BTreeMap::new();
    for file in &files {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let level = method.options.as_ref().map(|options| options.idempotency_level());
                let repeat = match level {
                    Some(IdempotencyLevel::NoSideEffects) => Repeat::Reads,
                    Some(IdempotencyLevel::Idempotent) => Repeat::Idempotent,
                    _ if WITH_ITS_ID.contains(&path.as_str()) => Repeat::WithItsId,
                    Some(IdempotencyLevel::IdempotencyUnknown) | None => Repeat::IfUnseen,
                };
                let streams = method.client_streaming() || method.server_streaming();
                table.insert(path, Facts { repeat, streams });
            }
        }
    }
    table
}

/// Whether the method at this path, for example `/stigmer.v1.Files/Read`, may be repeated. One that
/// the contract does not have may not.
pub fn repeat(path: &str) -> Repeat {
    TABLE.get(path).map_or(Repeat::IfUnseen, |facts| facts.repeat)
}

/// Whether the method at this path takes or gives a stream.
pub fn is_stream(path: &str) -> bool {
    TABLE.get(path).is_some_and(|facts| facts.streams)
}

/// The whole table, sorted by path.
pub fn table() -> impl Iterator<Item = (&'static str, Repeat)> {
    TABLE.iter().map(|(path, facts)| (path.as_str(), facts.repeat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_this() {
        let table: Vec<(&str, Repeat)> = table().collect();
        let expected = [
            ("/stigmer.v1.Files/Delete", Repeat::IfUnseen),
            ("/stigmer.v1.Files/Edit", Repeat::IfUnseen),
            ("/stigmer.v1.Files/List", Repeat::Reads),
            ("/stigmer.v1.Files/MakeDirectory", Repeat::IfUnseen),
            ("/stigmer.v1.Files/Move", Repeat::IfUnseen),
            ("/stigmer.v1.Files/Read", Repeat::Reads),
            ("/stigmer.v1.Files/Stat", Repeat::Reads),
            ("/stigmer.v1.Files/Write", Repeat::IfUnseen),
            ("/stigmer.v1.Processes/Attach", Repeat::IfUnseen),
            ("/stigmer.v1.Processes/CloseStdin", Repeat::IfUnseen),
            ("/stigmer.v1.Processes/Execute", Repeat::WithItsId),
            ("/stigmer.v1.Processes/Get", Repeat::Reads),
            ("/stigmer.v1.Processes/List", Repeat::Reads),
            ("/stigmer.v1.Processes/Output", Repeat::Reads),
            ("/stigmer.v1.Processes/Resize", Repeat::Idempotent),
            ("/stigmer.v1.Processes/Signal", Repeat::IfUnseen),
            ("/stigmer.v1.Processes/Start", Repeat::WithItsId),
            ("/stigmer.v1.Processes/Wait", Repeat::Reads),
            ("/stigmer.v1.Processes/WriteStdin", Repeat::IfUnseen),
            ("/stigmer.v1.Search/Find", Repeat::Reads),
            ("/stigmer.v1.Search/Grep", Repeat::Reads),
            ("/stigmer.v1.Server/Events", Repeat::Reads),
            ("/stigmer.v1.Server/Info", Repeat::Reads),
            ("/stigmer.v1.Transfers/Download", Repeat::Reads),
            ("/stigmer.v1.Transfers/Upload", Repeat::IfUnseen),
            ("/stigmer.v1.Transfers/Watch", Repeat::Reads),
            ("/stigmer.v1.Workspaces/Forget", Repeat::Idempotent),
            ("/stigmer.v1.Workspaces/Get", Repeat::Reads),
            ("/stigmer.v1.Workspaces/List", Repeat::Reads),
            ("/stigmer.v1.Workspaces/Open", Repeat::Idempotent),
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn what_the_contract_does_not_have_is_not_repeated() {
        assert_eq!(repeat("/stigmer.v1.Files/Shred"), Repeat::IfUnseen);
    }

    #[test]
    fn streams_are_known() {
        let streams: Vec<&str> =
            table().map(|(path, _)| path).filter(|path| is_stream(path)).collect();
        assert_eq!(
            streams,
            [
                "/stigmer.v1.Processes/Attach",
                "/stigmer.v1.Processes/Output",
                "/stigmer.v1.Server/Events",
                "/stigmer.v1.Transfers/Download",
                "/stigmer.v1.Transfers/Upload",
                "/stigmer.v1.Transfers/Watch",
            ]
        );
    }
}
