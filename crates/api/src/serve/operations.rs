//! Which operation a request is for, as far as limits and metrics want to know. It comes from the
//! contract's descriptors, so that a method that is added has its place by itself.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::methods::{Level, METHODS};

/// What a request costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Answered whatever else is going on.
    Free,
    /// Work for the processor and the disk, and then done.
    Quick,
    /// Waits for something: a command, a change, a reader.
    Waiting,
}

impl Class {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Quick => "quick",
            Self::Waiting => "waiting",
        }
    }
}

/// An operation of the contract, or none of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// Its name in logs and metrics, `stigmer.v1.Files/Read`.
    pub(super) name: String,
    pub(super) class: Class,
    /// The client sends a stream.
    pub(super) streams_in: bool,
    /// The server does.
    pub(super) streams_out: bool,
    /// It changes nothing, so that it may be asked again.
    pub(super) repeatable: bool,
    /// Answered without a token.
    pub(super) open: bool,
}

/// Methods that wait although they do not stream: for a command's end, until a command has read what
/// was written to it, for a container engine.
const WAITING: &[&str] = &[
    "stigmer.v1.Processes/Execute",
    "stigmer.v1.Processes/Signal",
    "stigmer.v1.Processes/Wait",
    "stigmer.v1.Processes/WriteStdin",
    "stigmer.v1.Workspaces/Places",
    "stigmer.v1.Workspaces/Remove",
    "stigmer.v1.Workspaces/ResetAffinity",
    "stigmer.v1.Workspaces/Status",
    "stigmer.v1.Workspaces/Stop",
];

/// Methods that are answered whatever else is going on.
const FREE: &[&str] = &["stigmer.v1.Server/Info"];

/// Services of others that are mounted beside the contract: name, class, whether both sides stream,
/// whether no token is needed.
const OTHERS: &[(&str, Class, bool, bool)] = &[
    ("grpc.health.v1.Health/Check", Class::Free, false, true),
    ("grpc.health.v1.Health/Watch", Class::Waiting, true, false),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Class::Waiting, true, false),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Class::Waiting, true, false),
];

/// Where the Model Context Protocol is served, if the router has it. A call may run a command, and an
/// answer is a stream for as long as that takes.
const MCP_PATH: &str = "/mcp";

/// Where a plain HTTP client asks whether the server lives.
pub(super) const HEALTH_PATH: &str = "/healthz";

/// Where whoever counts reads what was counted, if the router has it.
const METRICS_PATH: &str = "/metrics";

struct Operations {
    by_path: HashMap<String, &'static Operation>,
    unknown: &'static Operation,
}

static OPERATIONS: LazyLock<Operations> = LazyLock::new(|| {
    let mut by_path = HashMap::new();
    for method in METHODS {
        let name = method.path.trim_start_matches('/').to_owned();
        let streams = method.streams_in || method.streams_out;
        let class = match name.as_str() {
            name if FREE.contains(&name) => Class::Free,
            name if streams || WAITING.contains(&name) => Class::Waiting,
            _ => Class::Quick,
        };
        let operation: &'static Operation = Box::leak(Box::new(Operation {
            class,
            streams_in: method.streams_in,
            streams_out: method.streams_out,
            repeatable: method.level == Level::NoSideEffects,
            open: false,
            name,
        }));
        by_path.insert(method.path.to_owned(), operation);
        let version = method.package.rsplit('.').next().unwrap_or_default();
        let http = format!("/{version}/{}/{}", snake(method.service), snake(method.name));
        by_path.insert(http, operation);
    }
    for &(name, class, streams, open) in OTHERS {
        by_path.insert(format!("/{name}"), other(name, class, streams, open));
    }
    by_path.insert(HEALTH_PATH.to_owned(), other("healthz", Class::Free, false, true));
    by_path.insert(METRICS_PATH.to_owned(), other("metrics", Class::Quick, false, false));
    by_path.insert(
        MCP_PATH.to_owned(),
        Box::leak(Box::new(Operation {
            name: "mcp".to_owned(),
            class: Class::Waiting,
            streams_in: false,
            streams_out: true,
            repeatable: false,
            open: false,
        })),
    );
    Operations { by_path, unknown: other("unknown", Class::Quick, false, false) }
});

fn other(name: &str, class: Class, streams: bool, open: bool) -> &'static Operation {
    Box::leak(Box::new(Operation {
        name: name.to_owned(),
        class,
        streams_in: streams,
        streams_out: streams,
        repeatable: true,
        open,
    }))
}

/// `MakeDirectory` as it stands in a path.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// The operation of a path.
pub(super) fn operation_of(path: &str) -> &'static Operation {
    OPERATIONS.by_path.get(path).copied().unwrap_or(OPERATIONS.unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_streams_or_waits_may_be_long() {
        for (path, class) in [
            ("/stigmer.v1.Processes/Execute", Class::Waiting),
            ("/stigmer.v1.Processes/Output", Class::Waiting),
            ("/stigmer.v1.Processes/Attach", Class::Waiting),
            ("/stigmer.v1.Transfers/Upload", Class::Waiting),
            ("/v1/processes/write_stdin", Class::Waiting),
            ("/v1/server/events", Class::Waiting),
            ("/stigmer.v1.Files/Read", Class::Quick),
            ("/v1/files/make_directory", Class::Quick),
            ("/v1/server/info", Class::Free),
            ("/healthz", Class::Free),
            ("/grpc.health.v1.Health/Watch", Class::Waiting),
            ("/mcp", Class::Waiting),
            ("/anything", Class::Quick),
        ] {
            assert_eq!(operation_of(path).class, class, "{path}");
        }
    }

    #[test]
    fn both_paths_of_a_method_are_one_operation() {
        assert!(std::ptr::eq(
            operation_of("/v1/files/read"),
            operation_of("/stigmer.v1.Files/Read")
        ));
        assert_eq!(operation_of("/v1/files/read").name, "stigmer.v1.Files/Read");
        assert_eq!(operation_of("/v1/files/read/").name, "unknown");
    }

    #[test]
    fn the_named_methods_exist() {
        for name in WAITING.iter().chain(FREE) {
            assert_eq!(operation_of(&format!("/{name}")).name, **name);
        }
    }

    #[test]
    fn only_questions_about_health_need_no_token() {
        let open: Vec<_> = OPERATIONS
            .by_path
            .iter()
            .filter(|(_, operation)| operation.open)
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(open.len(), 2, "{open:?}");
        assert!(
            operation_of(HEALTH_PATH).open && operation_of("/grpc.health.v1.Health/Check").open
        );
    }

    #[test]
    fn only_what_changes_nothing_may_be_asked_again() {
        assert!(operation_of("/stigmer.v1.Processes/Wait").repeatable);
        assert!(!operation_of("/stigmer.v1.Processes/Execute").repeatable);
        assert!(!operation_of("/stigmer.v1.Files/Write").repeatable);
    }
}
