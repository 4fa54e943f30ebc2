//! The shapes of the contract's messages: which fields they have, and what they take in memory.
//!
//! An encoded message is walked by its shape, without an allocation: to find fields that this build
//! does not know, and to know what decoding would take.

mod walk;

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};

use self::walk::{Visit, walk};

/// Messages within messages, as deep as they are decoded.
const MAX_DEPTH: u32 = 100;

/// The most that a number takes.
const NUMBER: usize = size_of::<u64>();

/// What tells the cases of a choice apart, with its padding.
const TAG: usize = size_of::<u64>();

/// What an allocation takes beside its content: the allocator's header, and rounding.
const ALLOCATION: usize = 32;

/// A list doubles when it is full, so that up to half of it is empty.
const ENTRIES_EACH: usize = 2;

/// A list begins with room for this many.
const FIRST_ENTRIES: usize = 4;

/// The contract. It is compiled in, and a test reads it.
pub(crate) static POOL: LazyLock<Option<DescriptorPool>> =
    LazyLock::new(|| DescriptorPool::decode(crate::DESCRIPTORS).ok());

static SHAPES: LazyLock<Shapes> =
    LazyLock::new(|| POOL.as_ref().map(Shapes::of).unwrap_or_default());

#[derive(Default)]
struct Shapes {
    all: Vec<Shape>,
    by_name: HashMap<String, usize>,
}

impl Shapes {
    fn of(pool: &DescriptorPool) -> Self {
        let messages: Vec<_> = pool.all_messages().collect();
        let names = messages.iter().map(|message| message.full_name().to_owned());
        let by_name: HashMap<_, _> = names.zip(0..).collect();
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let requests: BTreeSet<String> =
            methods.map(|method| method.input().full_name().to_owned()).collect();
        let shape = |message: &MessageDescriptor| {
            let fields = message.fields().map(|field| Field::of(&field, &by_name));
            let mut fields: Vec<_> = fields.collect();
            fields.sort_unstable_by_key(|field| field.number);
            Shape {
                name: message.full_name().to_owned(),
                is_request: requests.contains(message.full_name()),
                size: message_size(message, MAX_DEPTH),
                fields,
            }
        };
        Self { all: messages.iter().map(shape).collect(), by_name }
    }
}

/// The shape of a message.
#[derive(Debug)]
pub struct Shape {
    name: String,
    is_request: bool,
    /// What it takes where it stands, without what it points to.
    size: usize,
    /// By number.
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    number: u32,
    content: Content,
    /// What an entry takes in its list; 0 for what is no list and stands in the message itself.
    entry: usize,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    /// Another message, of this shape.
    Message(usize),
    /// Text or bytes.
    Text,
    /// Numbers, which stand behind each other in a list: of so many bytes, or of their own length.
    Number(Option<usize>),
}

impl Field {
    fn of(field: &FieldDescriptor, by_name: &HashMap<String, usize>) -> Self {
        let content = match field.kind() {
            Kind::Message(inner) => by_name
                .get(inner.full_name())
                .map_or(Content::Text, |index| Content::Message(*index)),
            Kind::String | Kind::Bytes => Content::Text,
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => Content::Number(Some(8)),
            Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => Content::Number(Some(4)),
            _ => Content::Number(None),
        };
        let is_list = field.is_list() || field.is_map();
        let entry = if is_list { kind_size(&field.kind(), MAX_DEPTH) } else { 0 };
        Self { number: field.number(), content, entry }
    }
}

/// What a message of the generated types takes, rather too much than too little.
fn message_size(message: &MessageDescriptor, depth: u32) -> usize {
    let alone = message.fields().filter(|field| choice_of(field).is_none());
    let choices = message.oneofs().filter(|choice| !is_synthetic(choice)).map(|choice| {
        let cases = choice.fields().map(|field| kind_size(&field.kind(), depth));
        cases.max().unwrap_or_default() + TAG
    });
    alone.map(|field| field_size(&field, depth)).chain(choices).sum()
}

fn field_size(field: &FieldDescriptor, depth: u32) -> usize {
    if field.is_list() {
        return size_of::<Vec<u8>>();
    }
    if field.is_map() {
        return size_of::<HashMap<u8, u8>>();
    }
    let may_be_missing = field.supports_presence() && !matches!(field.kind(), Kind::String);
    kind_size(&field.kind(), depth) + if may_be_missing { TAG } else { 0 }
}

fn kind_size(kind: &Kind, depth: u32) -> usize {
    match kind {
        // Messages that hold themselves do so behind a pointer.
        Kind::Message(inner) => {
            depth.checked_sub(1).map_or(TAG, |depth| message_size(inner, depth))
        }
        Kind::String => size_of::<String>(),
        Kind::Bytes => size_of::<bytes::Bytes>(),
        _ => NUMBER,
    }
}

/// The choice that a field is a case of.
fn choice_of(field: &FieldDescriptor) -> Option<OneofDescriptor> {
    field.containing_oneof().filter(|choice| !is_synthetic(choice))
}

/// Whether a choice stands for an `optional` field.
fn is_synthetic(choice: &OneofDescriptor) -> bool {
    choice.fields().any(|field| field.field_descriptor_proto().proto3_optional())
}

/// Why a message is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It would take more than it may.
    TooLarge,
    /// It cannot be decoded: it is cut off, or one of its parts reaches past the whole.
    Broken,
}

impl Shape {
    /// The shape of the message with this full name, if the contract has it.
    pub fn of(name: &str) -> Option<&'static Self> {
        SHAPES.by_name.get(name).and_then(|index| SHAPES.all.get(*index))
    }

    /// The message's full name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a method takes it.
    pub fn is_request(&self) -> bool {
        self.is_request
    }

    /// The first field that an encoded message, or one in it, has and its shape has not: the
    /// message's name and the field's number. What cannot be decoded is passed over: whoever decodes
    /// it says so.
    pub fn unknown_field(&'static self, encoded: &[u8]) -> Option<(&'static str, u32)> {
        struct Unknown;
        impl Visit for Unknown {
            type End = (&'static str, u32);
            fn unknown(&mut self, shape: &'static Shape, number: u32) -> ControlFlow<Self::End> {
                ControlFlow::Break((shape.name(), number))
            }
        }
        walk(self, encoded, MAX_DEPTH, &mut Unknown).break_value()
    }

    /// The memory that an encoded message takes when it is decoded, at most: lists, texts and the
    /// message itself.
    ///
    /// # Errors
    /// If it is more than `most`, and if the message cannot be decoded. What is broken is refused
    /// here, because a decoder looks at a part's end only when it has passed it, and would find more
    /// than was measured.
    pub fn measure(&'static self, encoded: &[u8], most: usize) -> Result<usize, Unfit> {
        struct Measure {
            left: usize,
        }
        impl Visit for Measure {
            type End = Unfit;
            fn takes(&mut self, bytes: usize) -> ControlFlow<Unfit> {
                match self.left.checked_sub(bytes) {
                    Some(left) => self.left = left,
                    None => return ControlFlow::Break(Unfit::TooLarge),
                }
                ControlFlow::Continue(())
            }
            fn broken(&mut self) -> ControlFlow<Unfit> {
                ControlFlow::Break(Unfit::Broken)
            }
        }
        let mut measure = Measure { left: most };
        let walked = match measure.takes(self.size) {
            ControlFlow::Continue(()) => walk(self, encoded, MAX_DEPTH, &mut measure),
            end @ ControlFlow::Break(_) => end,
        };
        match walked {
            ControlFlow::Continue(()) => Ok(most - measure.left),
            ControlFlow::Break(unfit) => Err(unfit),
        }
    }

    fn field(&self, number: u32) -> Option<(usize, &Field)> {
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        self.fields.get(index).map(|field| (index, field))
    }
}
