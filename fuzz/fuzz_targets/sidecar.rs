//! Parses and writes `keys.json` from untrusted bytes.
//!
//! No input may cause a panic. The error for a refused text is one short line, with a position within the text and
//! without a wrapped key. An accepted text is read completely: it has the same JSON value as the text that would be
//! written back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringbolt::sidecar::{Sidecar, SidecarError};
use serde_json::Value;

/// The maximum length of an error message, in bytes. Names are cut to 32 characters, whose escapes have at most 10
/// bytes each.
const TEXT_MAX: usize = 512;

/// This many consecutive base64 characters count as a key.
const RUN_MIN: usize = 21;

fuzz_target!(|data: &[u8]| {
    let result = Sidecar::from_json(data);
    match &result {
        Ok(sidecar) => taken(data, sidecar),
        Err(error) => refused(data, error),
    }
    says_nothing_of_keys(data, &result);
});

fn refused(data: &[u8], error: &SidecarError) {
    let (text, debug) = (error.to_string(), format!("{error:?}"));
    assert!(!text.is_empty() && text.len() <= TEXT_MAX, "{} bytes of text: {text}", text.len());
    assert!(!text.contains(char::is_control), "more than a line: {text:?}");
    for run in runs(data) {
        assert!(!text.contains(run), "{run} is in the text: {text}");
        assert!(!debug.contains(run), "{run} is in the value: {debug}");
    }
    if matches!(error, SidecarError::TooLarge { .. }) {
        return;
    }
    let at = error.location().expect("an error of a text has a place");
    let (line, column) = (at.line().expect("a line"), at.column().expect("a column"));
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    assert!((1..=lines.len()).contains(&line), "line {line} of {}: {text}", lines.len());
    // Something missing at the end is reported after the last character.
    let columns = String::from_utf8_lossy(lines[line - 1]).chars().count() + 1;
    assert!((1..=columns).contains(&column), "column {column} of {columns}: {text}");
}

fn taken(data: &[u8], sidecar: &Sidecar) {
    sidecar.validate().expect("what was read is valid");
    let value = value(data);
    let mut bare = sidecar.clone();
    // Times are arbitrary text, and may appear in output.
    bare.keys.values_mut().for_each(|key| key.created.clear());
    let debug = format!("{bare:?}");
    for key in value["keys"].as_object().expect("an object of keys").values() {
        let wrapped = key["wrapped"].as_str().expect("a string, after null became one");
        assert!(wrapped.len() < RUN_MIN || !debug.contains(wrapped), "{wrapped} is in the value: {debug}");
    }
    let json = match sidecar.to_json() {
        Ok(json) => json,
        // Escapes and indentation can make the written text longer.
        Err(SidecarError::TooLarge { .. }) => return,
        Err(error) => panic!("it was read and cannot be written: {error}"),
    };
    assert_eq!(value, self::value(&json), "a value was dropped or changed");
    let again = Sidecar::from_json(&json).expect("what was written can be read");
    assert_eq!(&again, sidecar);
    assert_eq!(again.to_json().expect("it was written once"), json, "two texts of one value");
}

/// Replacing the characters of wrapped keys does not change any output.
fn says_nothing_of_keys(data: &[u8], result: &Result<Sidecar, SidecarError>) {
    let Some(masked) = masked(data) else { return };
    match (result, Sidecar::from_json(&masked)) {
        (Ok(one), Ok(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        (Err(one), Err(other)) => {
            assert_eq!(one.to_string(), other.to_string());
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
        (one, other) => panic!("the characters of a key decide: {one:?}, {other:?}"),
    }
}

/// The value according to another parser. A nil map and a nil slice are read as empty.
fn value(json: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(json).expect("what was read is JSON");
    if value["keys"].is_null() {
        value["keys"] = Value::Object(Default::default());
    }
    for key in value["keys"].as_object_mut().expect("an object of keys").values_mut() {
        if key["wrapped"].is_null() {
            key["wrapped"] = Value::String(String::new());
        }
    }
    value
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// The maximal runs of base64 characters that are long enough.
fn runs(data: &[u8]) -> impl Iterator<Item = &str> {
    data.split(|byte| !is_base64(*byte))
        .filter(|run| run.len() >= RUN_MIN)
        .map(|run| std::str::from_utf8(run).expect("base64 is ASCII"))
}

/// Replaces each base64 character by another with the same lowest bits, so that stray bits at the end are kept.
fn other(byte: u8) -> u8 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    match ALPHABET.iter().position(|character| *character == byte) {
        Some(bits) => ALPHABET[bits ^ 32],
        None => byte,
    }
}

/// The text with other characters in wrapped keys, but the same errors. `None` if there is nothing to change.
fn masked(data: &[u8]) -> Option<Vec<u8>> {
    let mut masked = data.to_vec();
    let mut at = 0;
    let mut wrapped = false;
    while at < data.len() {
        if data[at] != b'"' {
            // What may be between a field name and its value.
            wrapped &= matches!(data[at], b' ' | b'\t' | b'\n' | b'\r' | b':');
            at += 1;
            continue;
        }
        let begin = at + 1;
        at = begin;
        while at < data.len() && data[at] != b'"' {
            at += if data[at] == b'\\' { 2 } else { 1 };
        }
        let string = begin..at.min(data.len());
        at += 1;
        // Half an escape would be a different error.
        if wrapped && !data[string.clone()].contains(&b'\\') {
            masked[string.clone()].iter_mut().for_each(|byte| *byte = other(*byte));
        }
        wrapped = data[string] == *b"wrapped";
    }
    (masked != data).then_some(masked)
}
