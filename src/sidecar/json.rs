//! Parses JSON one level at a time, keeping the position of every value. So errors can name line and column without
//! repeating a text, which could be a key.
//!
//! serde_json checks the grammar; each value is one of its `RawValue`s.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Location;
use super::error::{SidecarError, named};

/// A value within a JSON text.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    /// The whole text.
    text: &'a str,
    /// The part of it that is this value.
    raw: &'a str,
    /// Its name, such as `keys.7.purpose`; empty for the root.
    name: String,
}

/// One field of an object.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) key: String,
    /// The byte offset of the key in the text.
    key_at: usize,
    pub(super) value: Node<'a>,
}

/// The fields of an object, in order, including duplicates.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Node<'a> {
    /// Parses the root value.
    pub(super) fn root(bytes: &'a [u8]) -> Result<Node<'a>, SidecarError> {
        let syntax = |what: &str| SidecarError::Syntax { at: Location::default(), what: what.to_owned() }.at((1, 1));
        if bytes.is_empty() {
            return Err(syntax("the file is empty; restore it from a copy"));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(syntax("the file contains only zero bytes, as after a power cut; restore it from a copy"));
        }
        if bytes.starts_with("\u{feff}".as_bytes()) {
            return Err(syntax("the file starts with a byte order mark; save it as UTF-8 without one"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            syntax("invalid UTF-8; restore the file from a copy").at(position(&before, before.len()))
        })?;
        let start = text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len();
        let root = Node { text, raw: &text[start..], name: String::new() };
        if !root.raw.starts_with('{') {
            return Err(root.syntax("not a JSON object; restore the file from a copy"));
        }
        Ok(root)
    }

    /// Its fields. Fails if two have the same name.
    pub(super) fn object(&self) -> Result<Vec<Field<'a>>, SidecarError> {
        let fields = self.entries()?;
        let mut seen = HashSet::new();
        for field in &fields {
            if !seen.insert(&field.key) {
                return Err(SidecarError::DuplicateField { at: Location::default(), field: self.child(&field.key) }
                    .at(field.position()));
            }
        }
        Ok(fields)
    }

    /// Its fields, including duplicates.
    pub(super) fn entries(&self) -> Result<Vec<Field<'a>>, SidecarError> {
        if !self.raw.starts_with('{') {
            return Err(self.wrong_type("an object"));
        }
        let Object(fields) = serde_json::from_str(self.raw).map_err(|error| self.not_json(&error))?;
        let mut end = self.start();
        let mut found = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            let value = Node { text: self.text, raw: value.get(), name: self.child(&key) };
            // There is no quote between the previous value and the key.
            let key_at = end + self.text[end..].find('"').unwrap_or(0);
            end = value.start() + value.raw.len();
            found.push(Field { key, key_at, value });
        }
        Ok(found)
    }

    /// Parses an integer of at most `max`. `expected` describes the range in an error.
    pub(super) fn integer(&self, max: u64, expected: &'static str) -> Result<u64, SidecarError> {
        match self.raw.parse() {
            Ok(number) if number <= max => Ok(number),
            _ => Err(self.wrong_type(expected)),
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, SidecarError> {
        self.raw.parse().map_err(|_| self.wrong_type("true or false"))
    }

    pub(super) fn string(&self) -> Result<String, SidecarError> {
        if !self.raw.starts_with('"') {
            return Err(self.wrong_type("a string"));
        }
        serde_json::from_str(self.raw).map_err(|error| self.not_json(&error))
    }

    pub(super) fn is_null(&self) -> bool {
        self.raw == "null"
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The line and column where it begins.
    pub(super) fn position(&self) -> (usize, usize) {
        position(self.text, self.start())
    }

    /// The name of its field `key`.
    pub(super) fn child(&self, key: &str) -> String {
        let dot = if self.name.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.name, named(key))
    }

    /// The text of a number, shortened; `None` if it is not a number.
    pub(super) fn number(&self) -> Option<String> {
        self.raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then(|| match self.raw.get(..20) {
            Some(begin) if self.raw.len() > 20 => format!("{begin}…"),
            _ => self.raw.to_owned(),
        })
    }

    pub(super) fn wrong_type(&self, expected: &'static str) -> SidecarError {
        let found = self.number().unwrap_or_else(|| self.kind().to_owned());
        SidecarError::WrongType { at: Location::default(), field: self.name.clone(), expected, found }
            .at(self.position())
    }

    fn kind(&self) -> &'static str {
        match self.raw.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "a boolean",
            _ => "null",
        }
    }

    fn syntax(&self, what: &str) -> SidecarError {
        SidecarError::Syntax { at: Location::default(), what: what.to_owned() }.at(self.position())
    }

    /// Converts an error of serde_json, with its position in the whole text. A message about a value of the wrong type
    /// would repeat that value, but types were checked before.
    fn not_json(&self, error: &serde_json::Error) -> SidecarError {
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        let bytes = self.text.as_bytes();
        let mut at = self.start() + offset(self.raw, error.line(), error.column());
        // In a string that it skips, serde_json reports the position before the character.
        if what.starts_with("control character") && bytes.get(at).is_some_and(|byte| *byte >= b' ') {
            at += 1;
        }
        let what = if error.is_eof() {
            "unexpected end of file; restore the file from a copy".to_owned()
        } else if bytes.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0)) {
            "zero bytes, as after a power cut; restore the file from a copy".to_owned()
        } else if what == "trailing characters" {
            "unexpected text after the end; remove it".to_owned()
        } else {
            format!("not JSON: {what}; restore the file from a copy")
        };
        self.syntax(&what).at(position(self.text, at))
    }

    /// Its byte offset in the text.
    fn start(&self) -> usize {
        self.raw.as_ptr().addr() - self.text.as_ptr().addr()
    }
}

impl Field<'_> {
    /// The line and column of its key.
    pub(super) fn position(&self) -> (usize, usize) {
        position(self.value.text, self.key_at)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'a>, D::Error> {
        deserializer.deserialize_map(Fields).map(Object)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

/// Converts a byte offset to a line and a column in characters, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or(before);
    let characters = line.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, characters + 1)
}

/// Converts serde_json's line and column (in bytes) to a byte offset. They are those of the last byte read, which may
/// be inside a character, or the newline before column 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let begin: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (begin + column).saturating_sub(1).min(text.len())
}
