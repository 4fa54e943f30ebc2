//! The head of a `SKILL.md`: YAML between two lines `---` (agentskills.io).
//!
//! Only the name and the description are read, from the parser's events: no tree is built, so that
//! aliases cannot make a small text large.

use saphyr_parser::{Event, Parser};
use stigmer_core::{Result, ToolError};

use crate::limits::{MAX_DESCRIPTION, MAX_FRONTMATTER_BYTES, MAX_NAME};

/// What a skill says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frontmatter {
    pub(crate) name: String,
    pub(crate) description: String,
}

const HINT: &str = "begin SKILL.md with a line `---`, `name: …`, `description: …` and a line `---`";

fn wrong(reason: impl std::fmt::Display) -> ToolError {
    ToolError::invalid_argument("SKILL.md", reason).with_hint(HINT)
}

/// Reads the head of a `SKILL.md`.
///
/// # Errors
/// `invalid_argument`, naming what is missing or wrong.
pub(crate) fn read(content: &[u8]) -> Result<Frontmatter> {
    let (mut name, mut description) = (None, None);
    for (key, value) in top_level(head(content)?)? {
        match key.as_str() {
            "name" => name = Some(value),
            "description" => description = Some(value),
            _ => {}
        }
    }
    let name = name.ok_or_else(|| wrong("has no name"))?.ok_or_else(|| not_text("name"))?;
    check_name(&name).map_err(|error| error.with_hint(HINT))?;
    let description = description.ok_or_else(|| wrong("has no description"))?;
    let description = description.ok_or_else(|| not_text("description"))?.trim().to_owned();
    if description.is_empty() {
        return Err(wrong("its description is empty"));
    }
    let length = description.chars().count();
    if length > MAX_DESCRIPTION {
        let reason = format!("its description has {length} characters, more than the limit");
        return Err(wrong(format!("{reason} of {MAX_DESCRIPTION}")));
    }
    Ok(Frontmatter { name, description })
}

fn not_text(key: &str) -> ToolError {
    wrong(format!("its {key} is not text"))
}

/// Refuses what is no name of a skill.
///
/// # Errors
/// `invalid_argument`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let hyphens = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(letters) && !hyphens {
        return Ok(());
    }
    // It may be long, and is shown to people.
    let shown: String = name.chars().take(MAX_NAME).filter(|letter| !letter.is_control()).collect();
    let form = "lower-case letters, digits and single hyphens between them";
    Err(ToolError::invalid_argument(
        "name",
        format!("\"{shown}\" is no name of a skill: at most {MAX_NAME} {form}"),
    ))
}

/// What stands between the two lines `---`.
fn head(content: &[u8]) -> Result<&str> {
    // Editors on other systems put a byte order mark first, and end lines with two characters.
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let text = &content[..content.len().min(MAX_FRONTMATTER_BYTES)];
    // Whatever is cut in the middle of a letter comes behind the head.
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    if first.trim_end() != "---" {
        return Err(wrong("does not begin with a line `---`"));
    }
    let mut end = first.len();
    for line in lines {
        if line.trim_end() == "---" {
            return Ok(&text[first.len()..end]);
        }
        end += line.len();
    }
    let reason = "has no line `---` that ends its head";
    Err(wrong(format!("{reason} within {MAX_FRONTMATTER_BYTES} bytes of UTF-8")))
}

/// The keys of the one mapping, with the values that are text.
fn top_level(yaml: &str) -> Result<Vec<(String, Option<String>)>> {
    let mut pairs: Vec<(String, Option<String>)> = Vec::new();
    let mut depth = 0_usize;
    // The key whose value comes next.
    let mut key: Option<String> = None;
    let mut documents = 0;
    for event in Parser::new_from_str(yaml) {
        let (event, _) = event.map_err(|error| wrong(format!("is no YAML: {error}")))?;
        let value = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(wrong("its head has more than one document"));
                }
                continue;
            }
            Event::MappingStart(..) | Event::SequenceStart(..) => {
                depth += 1;
                if depth == 1 {
                    if matches!(event, Event::SequenceStart(..)) {
                        return Err(wrong("its head is no mapping"));
                    }
                    continue;
                }
                // The value, or a key, is no text; what is in it is passed by.
                if depth > 2 {
                    continue;
                }
                None
            }
            Event::MappingEnd | Event::SequenceEnd => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Event::Scalar(..) | Event::Alias(_) if depth > 1 => continue,
            Event::Scalar(text, ..) => Some(text.into_owned()),
            Event::Alias(_) => None,
            _ => continue,
        };
        if depth == 0 {
            return Err(wrong("its head is no mapping"));
        }
        match (key.take(), value) {
            (None, Some(text)) => {
                if pairs.iter().any(|(known, _)| *known == text) {
                    return Err(wrong("says a key twice"));
                }
                key = Some(text);
            }
            (None, None) => return Err(wrong("has a key that is not text")),
            (Some(key), value) => pairs.push((key, value)),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
#[path = "frontmatter_tests.rs"]
mod tests;
