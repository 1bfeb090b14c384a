//! JSON taken apart one level at a time, where every part knows its place: for errors that name line and column, and
//! that never repeat a text, which could be a key.
//!
//! The grammar is serde_json's business: a part is a `RawValue` of it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Location;
use super::error::{SidecarError, named};

/// A value in a text.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    /// The whole text.
    text: &'a str,
    /// The value's part of it.
    raw: &'a str,
    /// What it is called: `keys.7.purpose`; nothing for the whole.
    name: String,
}

/// One field of an object.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) key: String,
    /// Where the key begins, in bytes of the text.
    key_at: usize,
    pub(super) value: Node<'a>,
}

/// The fields of an object in their order, also those that are there twice.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Node<'a> {
    /// The value that is the whole of a text.
    pub(super) fn root(bytes: &'a [u8]) -> Result<Node<'a>, SidecarError> {
        let syntax = |what: &str| SidecarError::Syntax { at: Location::default(), what: what.to_owned() }.at((1, 1));
        if bytes.is_empty() {
            return Err(syntax("the file is empty; restore it from a copy"));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(syntax("there are only zero bytes, as after a power cut; restore the file from a copy"));
        }
        if bytes.starts_with("\u{feff}".as_bytes()) {
            return Err(syntax("there is a byte order mark; save the file as UTF-8 without one"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            syntax("a byte that is no UTF-8; restore the file from a copy").at(position(&before, before.len()))
        })?;
        let start = text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len();
        let root = Node { text, raw: &text[start..], name: String::new() };
        if !root.raw.starts_with('{') {
            return Err(root.syntax("not a JSON object; restore the file from a copy"));
        }
        Ok(root)
    }

    /// Its fields, no two of the same name.
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

    /// Its fields, also if there are two of the same name.
    pub(super) fn entries(&self) -> Result<Vec<Field<'a>>, SidecarError> {
        if !self.raw.starts_with('{') {
            return Err(self.wrong_type("an object"));
        }
        let Object(fields) = serde_json::from_str(self.raw).map_err(|error| self.not_json(&error))?;
        let mut end = self.start();
        let mut found = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            let value = Node { text: self.text, raw: value.get(), name: self.child(&key) };
            // Between the value before and the key there is no quote.
            let key_at = end + self.text[end..].find('"').unwrap_or(0);
            end = value.start() + value.raw.len();
            found.push(Field { key, key_at, value });
        }
        Ok(found)
    }

    /// An integer of at most `max`, which `expected` tells in words.
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

    /// Line and column of its beginning.
    pub(super) fn position(&self) -> (usize, usize) {
        position(self.text, self.start())
    }

    /// What a field of it is called.
    pub(super) fn child(&self, key: &str) -> String {
        let dot = if self.name.is_empty() { "" } else { "." };
        format!("{}{dot}{}", self.name, named(key))
    }

    /// The number that it is, if it is one.
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

    /// What serde_json says, at the place in the whole text. Of a text in the wrong place it would say what it is: that has been
    /// looked at before.
    fn not_json(&self, error: &serde_json::Error) -> SidecarError {
        let text = error.to_string();
        let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
        let bytes = self.text.as_bytes();
        let mut at = self.start() + offset(self.raw, error.line(), error.column());
        // Of a string that it skips, it tells the place before.
        if what.starts_with("control character") && bytes.get(at).is_some_and(|byte| *byte >= b' ') {
            at += 1;
        }
        let what = if error.is_eof() {
            "it ends in the middle; restore the file from a copy".to_owned()
        } else if bytes.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == 0)) {
            "zero bytes, as after a power cut; restore the file from a copy".to_owned()
        } else if what == "trailing characters" {
            "something follows the end; remove it".to_owned()
        } else {
            format!("not JSON: {what}; restore the file from a copy")
        };
        self.syntax(&what).at(position(self.text, at))
    }

    /// Where it begins, in bytes of the text.
    fn start(&self) -> usize {
        self.raw.as_ptr().addr() - self.text.as_ptr().addr()
    }
}

impl Field<'_> {
    /// Line and column of its key.
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

/// Line and column (in characters) of an offset in bytes; both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.rsplit(|byte| *byte == b'\n').next().unwrap_or(before);
    let characters = line.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    (before.iter().filter(|byte| **byte == b'\n').count() + 1, characters + 1)
}

/// The offset of a line and a column (in bytes) as serde_json counts them: those of the last byte read, which may be inside of a
/// character, or the newline before column 1.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let begin: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (begin + column).saturating_sub(1).min(text.len())
}
