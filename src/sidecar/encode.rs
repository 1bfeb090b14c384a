//! Serializes a sidecar.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::error::SidecarError;
use super::{ActiveKeys, FILE_MAX, KeyId, Location, Sidecar, SidecarKey};

/// The fields, in the order of the file.
#[derive(Serialize)]
struct SidecarJson<'a> {
    version: u32,
    raft_applied_index: u64,
    storage_envelope_active: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_envelope_cutover_index: Option<u64>,
    raft_envelope_cutover_index: u64,
    active: ActiveJson,
    /// Sorted by the id as text: "10" comes before "2".
    keys: BTreeMap<String, KeyJson<'a>>,
}

#[derive(Serialize)]
struct ActiveJson {
    storage: u32,
    raft: u32,
}

#[derive(Serialize)]
struct KeyJson<'a> {
    purpose: &'static str,
    wrapped: String,
    created: &'a str,
    local_epoch: u16,
}

impl<'a> KeyJson<'a> {
    fn new(key: &'a SidecarKey) -> KeyJson<'a> {
        let SidecarKey { purpose, wrapped, created, local_epoch } = key;
        let wrapped = STANDARD.encode(wrapped.as_bytes());
        KeyJson { purpose: purpose.as_str(), wrapped, created, local_epoch: *local_epoch }
    }
}

pub(super) fn sidecar(sidecar: &Sidecar) -> Result<Vec<u8>, SidecarError> {
    sidecar.validate()?;
    let ActiveKeys { storage, raft } = sidecar.active;
    let number = |id: Option<KeyId>| id.map_or(0, KeyId::get);
    let file = SidecarJson {
        version: sidecar.version(),
        raft_applied_index: sidecar.raft_applied_index,
        storage_envelope_active: sidecar.storage_envelope_active,
        storage_envelope_cutover_index: sidecar.storage_envelope_cutover_index,
        raft_envelope_cutover_index: sidecar.raft_envelope_cutover_index,
        active: ActiveJson { storage: number(storage), raft: number(raft) },
        keys: sidecar.keys.iter().map(|(id, key)| (id.to_string(), KeyJson::new(key))).collect(),
    };
    let json = escape(&serde_json::to_string_pretty(&file).expect("map keys are strings, and a buffer cannot fail"));
    match json.len() {
        0..=FILE_MAX => Ok(json.into_bytes()),
        len => Err(SidecarError::TooLarge { at: Location::default(), len: len as u64 }),
    }
}

/// Escapes the characters that Go escapes and serde_json does not. They occur only within strings.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escaped.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}
