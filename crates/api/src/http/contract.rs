//! The contract as tables, compiled once from its descriptors: what HTTP and the OpenAPI document
//! need to know of each operation, message and enum.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::uri::PathAndQuery;
use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind as WireKind,
    MessageDescriptor, MethodDescriptor,
};

/// The message that JSON shows as a plain string.
const BYTE_STRING: &str = "stigmer.v1.ByteString";

/// The message that is the body of every failed response.
const ERROR: &str = "stigmer.v1.Error";

/// All of the contract.
pub(crate) struct Contract {
    /// The services, in the order of the files.
    pub(crate) services: Vec<Service>,
    /// The operations of all services, in order.
    pub(crate) operations: Vec<Operation>,
    /// The messages; [`Kind::Message`] is a place in here.
    pub(crate) messages: Vec<Message>,
    /// The enums; [`Kind::Enum`] is a place in here.
    pub(crate) enums: Vec<Enum>,
    by_path: HashMap<String, usize>,
}

/// A group of operations.
pub(crate) struct Service {
    /// Its name in paths, for example `files`.
    pub(crate) name: String,
    pub(crate) comment: String,
}

/// How many messages go either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One request, one reply.
    Unary,
    /// One request, a stream of replies.
    Replies,
    /// A stream of requests, one reply.
    Requests,
    /// Streams both ways.
    Both,
}

/// One operation.
pub(crate) struct Operation {
    /// Where HTTP finds it, for example `/v1/files/read`.
    pub(crate) path: String,
    /// Where gRPC finds it, for example `/stigmer.v1.Files/Read`.
    pub(crate) grpc: PathAndQuery,
    pub(crate) service: usize,
    /// Its name in paths, for example `make_directory`.
    pub(crate) name: String,
    pub(crate) shape: Shape,
    /// It changes nothing, so that GET may ask for it.
    pub(crate) safe: bool,
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) comment: String,
}

/// One message.
pub(crate) struct Message {
    /// Its name without the package, for example `ReadFileRequest`.
    pub(crate) name: String,
    pub(crate) fields: Vec<Field>,
    pub(crate) comment: String,
    /// It is one of the messages that JSON does not show field by field.
    pub(crate) special: Option<Special>,
}

/// A message with a JSON form of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// Bytes that are a plain string if they are UTF-8.
    ByteString,
    /// A failed operation.
    Error,
}

/// One field of a message.
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) name: String,
    /// The name in camelCase, which is accepted too.
    pub(crate) json_name: String,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
    /// It tells missing from zero, and is not printed when missing.
    pub(crate) presence: bool,
    /// The oneof it belongs to, counted in its message.
    pub(crate) oneof: Option<usize>,
    pub(crate) comment: String,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    String,
    Bytes,
    Enum(usize),
    Message(usize),
}

/// One enum.
pub(crate) struct Enum {
    pub(crate) name: String,
    pub(crate) values: Vec<EnumValue>,
    pub(crate) comment: String,
}

/// One value of an enum.
pub(crate) struct EnumValue {
    pub(crate) number: i32,
    /// The name in JSON, for example `timed_out`.
    pub(crate) name: String,
    /// The name in the contract, for example `END_REASON_TIMED_OUT`.
    pub(crate) full_name: String,
    pub(crate) comment: String,
}

/// The contract that this build speaks.
pub(crate) fn contract() -> &'static Contract {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
        #[allow(
            clippy::expect_used,
            reason = "the build made the descriptors, and a test reads them"
        )]
        Contract::compile(crate::DOCUMENTED).expect("the contract fits the JSON mapping")
    });
    &CONTRACT
}

impl Contract {
    /// The operation at an HTTP path.
    pub(crate) fn operation(&self, path: &str) -> Option<&Operation> {
        self.by_path.get(path).map(|index| &self.operations[*index])
    }

    /// The path that is most like one that does not exist.
    pub(crate) fn nearest(&self, path: &str) -> Option<&str> {
        // Comparing takes time in proportion to the length, and no path of ours is longer.
        let path: Vec<char> = path.chars().take(64).collect();
        let paths = self.operations.iter().map(|operation| operation.path.as_str());
        paths.min_by_key(|known| distance(&path, known))
    }

    fn compile(descriptors: &[u8]) -> Result<Self, String> {
        let pool = DescriptorPool::decode(descriptors).map_err(|error| error.to_string())?;
        let messages: Vec<MessageDescriptor> = pool.all_messages().collect();
        let enums: Vec<EnumDescriptor> = pool.all_enums().collect();
        let places = Places {
            messages: places(messages.iter().map(MessageDescriptor::full_name)),
            enums: places(enums.iter().map(EnumDescriptor::full_name)),
        };
        let mut contract = Self {
            services: Vec::new(),
            operations: Vec::new(),
            messages: messages
                .iter()
                .map(|message| places.message(message))
                .collect::<Result<_, _>>()?,
            enums: enums.iter().map(compile_enum).collect(),
            by_path: HashMap::new(),
        };
        for service in pool.services() {
            let version = service.package_name().rsplit('.').next().unwrap_or_default();
            let name = snake_case(service.name());
            for method in service.methods() {
                let path = format!("/{version}/{name}/{}", snake_case(method.name()));
                let index = contract.operations.len();
                let operation = places.operation(&method, &path, contract.services.len())?;
                contract.operations.push(operation);
                contract.by_path.insert(path, index);
            }
            let comment = comment(&service.parent_file(), service.path());
            contract.services.push(Service { name, comment });
        }
        Ok(contract)
    }
}

impl Operation {
    /// What the operation takes.
    pub(crate) fn input(&self) -> &'static Message {
        &contract().messages[self.input]
    }

    /// What the operation gives.
    pub(crate) fn output(&self) -> &'static Message {
        &contract().messages[self.output]
    }

    /// The parts of a stream of requests that is an upload: `begin`, `data` and `finish`.
    pub(crate) fn upload(&self) -> Option<Upload> {
        if self.shape != Shape::Requests {
            return None;
        }
        let (begin, finish) = (self.input().field("begin")?, self.input().field("finish")?);
        let data = self.input().bytes_field()?;
        matches!(begin.kind, Kind::Message(_)).then_some(Upload { begin, data, finish })
    }

    /// The field of a stream of replies that is nothing but bytes.
    pub(crate) fn download(&self) -> Option<&'static Field> {
        let output = self.output();
        let alone = self.shape == Shape::Replies && output.fields.len() == 1;
        output.bytes_field().filter(|_| alone)
    }
}

/// The parts of an upload.
pub(crate) struct Upload {
    pub(crate) begin: &'static Field,
    pub(crate) data: &'static Field,
    pub(crate) finish: &'static Field,
}

impl Message {
    /// The field with this name, or this name in camelCase.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name || field.json_name == name)
    }

    /// The field `data`, if it is bytes.
    pub(crate) fn bytes_field(&self) -> Option<&Field> {
        self.field("data").filter(|field| field.kind == Kind::Bytes && !field.repeated)
    }

    /// The field `next` or `since`: an offset in a stream that can be resumed.
    pub(crate) fn offset_field(&self, name: &str) -> Option<&Field> {
        self.field(name).filter(|field| field.kind == Kind::Uint64 && !field.repeated)
    }
}

impl Enum {
    /// The value with this name, in short or in full.
    pub(crate) fn by_name(&self, name: &str) -> Option<&EnumValue> {
        self.values.iter().find(|value| value.name == name || value.full_name == name)
    }

    /// The value with this number.
    pub(crate) fn by_number(&self, number: i32) -> Option<&EnumValue> {
        self.values.iter().find(|value| value.number == number)
    }

    /// The names, for whoever gave another.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.values.iter().map(|value| value.name.as_str()).collect();
        names.join(", ")
    }
}

/// Where each type stands in the tables.
struct Places {
    messages: HashMap<String, usize>,
    enums: HashMap<String, usize>,
}

fn places<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<String, usize> {
    names.enumerate().map(|(index, name)| (name.to_owned(), index)).collect()
}

impl Places {
    fn message(&self, message: &MessageDescriptor) -> Result<Message, String> {
        let file = message.parent_file();
        let real: Vec<_> = message.oneofs().filter(|oneof| !oneof.is_synthetic()).collect();
        let mut fields = Vec::new();
        for field in message.fields() {
            if field.is_map() {
                return Err(format!("{}: maps have no JSON form here", field.full_name()));
            }
            let of = field.containing_oneof();
            fields.push(Field {
                number: field.number(),
                name: field.name().to_owned(),
                json_name: field.json_name().to_owned(),
                kind: self.kind(&field)?,
                repeated: field.is_list(),
                presence: field.supports_presence(),
                oneof: of.and_then(|of| real.iter().position(|oneof| *oneof == of)),
                comment: comment(&file, field.path()),
            });
        }
        Ok(Message {
            name: message.name().to_owned(),
            fields,
            comment: comment(&file, message.path()),
            special: match message.full_name() {
                BYTE_STRING => Some(Special::ByteString),
                ERROR => Some(Special::Error),
                _ => None,
            },
        })
    }

    fn kind(&self, field: &FieldDescriptor) -> Result<Kind, String> {
        Ok(match field.kind() {
            WireKind::Bool => Kind::Bool,
            WireKind::Int32 => Kind::Int32,
            WireKind::Int64 => Kind::Int64,
            WireKind::Uint32 => Kind::Uint32,
            WireKind::Uint64 => Kind::Uint64,
            WireKind::String => Kind::String,
            WireKind::Bytes => Kind::Bytes,
            WireKind::Enum(of) => Kind::Enum(self.enums[of.full_name()]),
            WireKind::Message(of) => Kind::Message(self.messages[of.full_name()]),
            other => return Err(format!("{}: {other:?} has no JSON form here", field.full_name())),
        })
    }

    fn operation(
        &self,
        method: &MethodDescriptor,
        path: &str,
        service: usize,
    ) -> Result<Operation, String> {
        let grpc = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let options = method.method_descriptor_proto().options.as_ref();
        let level = options.map(|options| options.idempotency_level());
        Ok(Operation {
            path: path.to_owned(),
            grpc: grpc.parse().map_err(|error| format!("{grpc}: {error}"))?,
            service,
            name: snake_case(method.name()),
            shape: match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => Shape::Unary,
                (false, true) => Shape::Replies,
                (true, false) => Shape::Requests,
                (true, true) => Shape::Both,
            },
            safe: level == Some(IdempotencyLevel::NoSideEffects),
            input: self.messages[method.input().full_name()],
            output: self.messages[method.output().full_name()],
            comment: comment(&method.parent_file(), method.path()),
        })
    }
}

fn compile_enum(descriptor: &EnumDescriptor) -> Enum {
    let file = descriptor.parent_file();
    let prefix = format!("{}_", snake_case(descriptor.name()));
    let values = descriptor.values().map(|value| {
        let name = value.name().to_ascii_lowercase();
        EnumValue {
            number: value.number(),
            name: name.strip_prefix(&prefix).unwrap_or(&name).to_owned(),
            full_name: value.name().to_owned(),
            comment: comment(&file, value.path()),
        }
    });
    Enum {
        name: descriptor.name().to_owned(),
        values: values.collect(),
        comment: comment(&file, descriptor.path()),
    }
}

/// The comment above a definition, as one paragraph.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let mut places = info.iter().flat_map(|info| &info.location);
    let text = places.find(|place| place.path == path).map(|place| place.leading_comments());
    text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `MakeDirectory` as `make_directory`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// How many letters must be changed, added or left out to make one of the other.
fn distance(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (line, wanted) in to.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, found) in from.iter().enumerate() {
            let changed = diagonal + usize::from(*found != wanted);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[from.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_fits_the_mapping_and_every_word_of_it_is_explained() {
        let contract = Contract::compile(crate::DOCUMENTED).unwrap();
        assert!(contract.operations.len() > 20 && contract.services.len() == 7);
        for message in &contract.messages {
            assert!(!message.comment.is_empty(), "{}", message.name);
            for field in &message.fields {
                assert!(!field.comment.is_empty(), "{}.{}", message.name, field.name);
            }
        }
        assert!(contract.operations.iter().all(|operation| !operation.comment.is_empty()));
        assert!(contract.enums.iter().all(|of| !of.comment.is_empty()));
    }

    #[test]
    fn paths_and_values_are_in_snake_case() {
        let operation = contract().operation("/v1/files/make_directory").unwrap();
        assert_eq!(operation.grpc, "/stigmer.v1.Files/MakeDirectory");
        assert!(!operation.safe && contract().operation("/v1/files/read").unwrap().safe);
        let reason = contract().enums.iter().find(|of| of.name == "EndReason").unwrap();
        assert_eq!(reason.by_name("timed_out").unwrap().number, 3);
        assert_eq!(reason.by_name("END_REASON_TIMED_OUT").unwrap().number, 3);
        let encoding = contract().enums.iter().find(|of| of.name == "Encoding").unwrap();
        assert_eq!(encoding.by_number(1).unwrap().name, "utf8");
    }

    #[test]
    fn streams_are_told_apart_by_what_they_carry() {
        let find = |path: &str| contract().operation(path).unwrap();
        assert!(find("/v1/transfers/upload").upload().is_some());
        assert!(find("/v1/skills/add").upload().is_some());
        assert!(find("/v1/processes/attach").upload().is_none());
        assert!(find("/v1/transfers/download").download().is_some());
        assert!(find("/v1/processes/output").download().is_none());
    }

    #[test]
    fn a_path_with_a_slip_is_like_the_one_that_was_meant() {
        assert_eq!(contract().nearest("/v1/file/raed"), Some("/v1/files/read"));
        assert_eq!(contract().nearest("/v1/processes/star"), Some("/v1/processes/start"));
    }

    #[test]
    fn no_event_of_a_stream_has_the_name_of_one_of_ours() {
        for operation in contract().operations.iter().filter(|op| op.shape == Shape::Replies) {
            for field in operation.output().fields.iter().filter(|field| field.oneof.is_some()) {
                assert!(!["error", "end", "message"].contains(&field.name.as_str()));
            }
        }
    }
}
