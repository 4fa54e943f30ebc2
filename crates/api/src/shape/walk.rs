//! The walk over an encoded message.

use std::ops::ControlFlow;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::{ALLOCATION, Content, ENTRIES_EACH, FIRST_ENTRIES, Field, SHAPES, Shape};

/// Who looks at what the walk meets, and may end it.
pub(super) trait Visit {
    /// What ended the walk.
    type End;

    /// A field that the shape has not.
    fn unknown(&mut self, _shape: &'static Shape, _number: u32) -> ControlFlow<Self::End> {
        ControlFlow::Continue(())
    }

    /// Something that takes so many bytes of memory, beside what it stands in.
    fn takes(&mut self, _bytes: usize) -> ControlFlow<Self::End> {
        ControlFlow::Continue(())
    }

    /// The rest of a message that cannot be decoded.
    fn broken(&mut self) -> ControlFlow<Self::End> {
        ControlFlow::Continue(())
    }
}

/// Walks over an encoded message and those in it, in their order.
pub(super) fn walk<V: Visit>(
    shape: &'static Shape,
    mut bytes: &[u8],
    depth: u32,
    visit: &mut V,
) -> ControlFlow<V::End> {
    let Some(depth) = depth.checked_sub(1) else { return visit.broken() };
    let mut begun = Begun(0);
    while !bytes.is_empty() {
        let Ok((number, wire_type)) = decode_key(&mut bytes) else { return visit.broken() };
        let field = shape.field(number);
        match field {
            None => visit.unknown(shape, number)?,
            Some((index, field)) if wire_type == WireType::LengthDelimited => {
                let Some(content) = split_content(&mut bytes) else { return visit.broken() };
                visit.takes(begun.list(index, field, content) + text(field, content))?;
                if let Content::Message(inner) = field.content
                    && let Some(inner) = SHAPES.all.get(inner)
                {
                    walk(inner, content, depth, visit)?;
                }
                continue;
            }
            // One of a list of numbers, or a wire type that is refused.
            Some((index, field)) => visit.takes(begun.list(index, field, &[]))?,
        }
        if skip_field(wire_type, number, &mut bytes, DecodeContext::default()).is_err() {
            return visit.broken();
        }
    }
    ControlFlow::Continue(())
}

/// What a text takes.
fn text(field: &Field, content: &[u8]) -> usize {
    match field.content {
        Content::Text if !content.is_empty() => content.len() + ALLOCATION,
        _ => 0,
    }
}

/// Takes what stands behind a length.
fn split_content<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(content)
}

/// Which lists of a message have an entry: a bit for each field. Of a message with more fields than
/// bits, each entry of the others counts as the first.
struct Begun(u64);

impl Begun {
    /// What one more entry takes, or the numbers in this content.
    fn list(&mut self, index: usize, field: &Field, content: &[u8]) -> usize {
        if field.entry == 0 {
            return 0;
        }
        let count = match field.content {
            Content::Number(Some(width)) if !content.is_empty() => content.len() / width,
            Content::Number(None) if !content.is_empty() => {
                content.iter().filter(|byte| **byte < 0x80).count()
            }
            _ => 1,
        };
        let bit = u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index));
        let bit = bit.unwrap_or_default();
        let is_first = self.0 & bit == 0;
        self.0 |= bit;
        let entries = count.saturating_mul(ENTRIES_EACH).saturating_mul(field.entry);
        let first = FIRST_ENTRIES.saturating_sub(ENTRIES_EACH) * field.entry + ALLOCATION;
        entries.saturating_add(if is_first { first } else { 0 })
    }
}
