//! From the query of a URL to an encoded message.

use std::collections::HashMap;

use percent_encoding::percent_decode;
use stigmer_core::ToolError;

use super::MAX_VALUES;
use super::decode::wanted;
use super::scalar::put_text;
use super::wire::{put_bytes, put_varint};
use crate::http::contract::{Field, Kind, Message, contract};

/// How much of a name that we do not know is said again.
const SHOWN_NAME: usize = 64;

/// The protobuf encoding of a message given as a query: `path=src&depth=2`. Dots lead into messages
/// (`path.base64=…`), a name given repeatedly is a list.
///
/// # Errors
/// `invalid_argument`, naming the field.
pub(crate) fn decode_query(message: &'static Message, query: &str) -> Result<Vec<u8>, ToolError> {
    let mut reader = Reader::default();
    for (index, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if index == MAX_VALUES {
            let reason = format!("more than {MAX_VALUES} values in one request");
            return Err(ToolError::invalid_argument("query", reason));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name =
            unescape(name).and_then(|name| String::from_utf8(name).ok()).ok_or_else(|| {
                let reason = "a name is no UTF-8 text, or has a % without two hexadecimal digits";
                ToolError::invalid_argument("query", reason)
            })?;
        let Some(value) = unescape(value) else {
            let reason = "has a % without two hexadecimal digits; a % itself is %25";
            return Err(ToolError::invalid_argument(&shown(&name), reason));
        };
        reader.put(message, &name, &value)?;
    }
    Ok(reader.out)
}

/// The bytes that stand behind `+` and `%41`; nothing for a `%` that begins no such byte.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let whole = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(whole) {
        return None;
    }
    Some(percent_decode(text.replace('+', " ").as_bytes()).collect())
}

/// A name that may be anything, as errors say it.
fn shown(name: &str) -> String {
    name.chars().take(SHOWN_NAME).collect()
}

#[derive(Default)]
struct Reader {
    out: Vec<u8>,
    /// The fields that are there already, by the numbers that lead to them.
    seen: Vec<Vec<u32>>,
    /// The choice that was made in each oneof.
    chosen: HashMap<(Vec<u32>, usize), &'static Field>,
}

impl Reader {
    fn put(&mut self, mut of: &'static Message, name: &str, value: &[u8]) -> Result<(), ToolError> {
        let refuse = |reason: String| Err(ToolError::invalid_argument(&shown(name), reason));
        let mut path: Vec<u32> = Vec::new();
        let mut steps = name.split('.').peekable();
        let field = loop {
            let Some(field) = steps.next().and_then(|step| of.field(step)) else {
                let known: Vec<&str> = of.fields.iter().map(|field| field.name.as_str()).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return refuse(format!("{} has no such field; it has {known}", of.name));
            };
            if let Some(oneof) = field.oneof {
                let chosen = self.chosen.entry((path.clone(), oneof)).or_insert(field);
                if chosen.number != field.number {
                    return refuse(format!("cannot be given with {}", chosen.name));
                }
            }
            path.push(field.number);
            match field.kind {
                Kind::Message(inner) if steps.peek().is_some() && !field.repeated => {
                    of = &contract().messages[inner];
                }
                _ if steps.peek().is_some() => {
                    return refuse(format!("nothing in {} has a name here", field.name));
                }
                _ => break field,
            }
        };
        if !field.repeated {
            // A message that is given whole is not given in parts, too.
            if self.seen.iter().any(|seen| seen.starts_with(&path) || path.starts_with(seen)) {
                return refuse("is given twice".to_owned());
            }
            self.seen.push(path.clone());
        }
        let mut encoded = Vec::new();
        let fits = match (field.kind, value) {
            (Kind::Bool, b"true" | b"false") => {
                put_varint(&mut encoded, field.number, u64::from(value == b"true"));
                true
            }
            (Kind::Message(of), _) if contract().messages[of].special.is_none() => {
                return refuse("its fields are given one by one, or with POST".to_owned());
            }
            _ => put_text(&mut encoded, field, value),
        };
        if !fits {
            return refuse(wanted(field.kind));
        }
        // Messages that are given in pieces are put together by whoever decodes them.
        for number in path.iter().rev().skip(1) {
            let mut outer = Vec::new();
            put_bytes(&mut outer, *number, &encoded);
            encoded = outer;
        }
        self.out.append(&mut encoded);
        Ok(())
    }
}
