//! Which request may be repeated when its answer is missing.

use crate::methods::{self, Level, METHODS, Method};

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

/// Whether the method at this path, for example `/stigmer.v1.Files/Read`, may be repeated. One that
/// the contract does not have may not.
pub fn repeat(path: &str) -> Repeat {
    methods::at(path).map_or(Repeat::IfUnseen, of)
}

fn of(method: &Method) -> Repeat {
    match method.level {
        Level::NoSideEffects => Repeat::Reads,
        Level::Idempotent => Repeat::Idempotent,
        Level::Unknown if WITH_ITS_ID.contains(&method.path) => Repeat::WithItsId,
        Level::Unknown => Repeat::IfUnseen,
    }
}

/// Whether the method at this path takes or gives a stream.
pub fn is_stream(path: &str) -> bool {
    methods::at(path).is_some_and(|method| method.streams_in || method.streams_out)
}

/// The whole table, sorted by path.
pub fn table() -> impl Iterator<Item = (&'static str, Repeat)> {
    METHODS.iter().map(|method| (method.path, of(method)))
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
            ("/stigmer.v1.Skills/Add", Repeat::IfUnseen),
            ("/stigmer.v1.Skills/List", Repeat::Reads),
            ("/stigmer.v1.Skills/Remove", Repeat::Idempotent),
            ("/stigmer.v1.Transfers/Download", Repeat::Reads),
            ("/stigmer.v1.Transfers/Upload", Repeat::IfUnseen),
            ("/stigmer.v1.Transfers/Watch", Repeat::Reads),
            ("/stigmer.v1.Workspaces/Forget", Repeat::Idempotent),
            ("/stigmer.v1.Workspaces/Get", Repeat::Reads),
            ("/stigmer.v1.Workspaces/List", Repeat::Reads),
            ("/stigmer.v1.Workspaces/Open", Repeat::Idempotent),
            ("/stigmer.v1.Workspaces/Places", Repeat::Reads),
            ("/stigmer.v1.Workspaces/Prepare", Repeat::IfUnseen),
            ("/stigmer.v1.Workspaces/Remove", Repeat::Idempotent),
            ("/stigmer.v1.Workspaces/ResetAffinity", Repeat::Idempotent),
            ("/stigmer.v1.Workspaces/Status", Repeat::Reads),
            ("/stigmer.v1.Workspaces/Stop", Repeat::Idempotent),
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
                "/stigmer.v1.Skills/Add",
                "/stigmer.v1.Transfers/Download",
                "/stigmer.v1.Transfers/Upload",
                "/stigmer.v1.Transfers/Watch",
                "/stigmer.v1.Workspaces/Prepare",
            ]
        );
    }
}
