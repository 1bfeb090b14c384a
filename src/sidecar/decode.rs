//! Parses a sidecar.

use std::collections::BTreeMap;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};

use super::error::{SidecarError, quoted};
use super::json::{Field, Node};
use super::{ActiveKeys, FILE_MAX, KeyId, Location, Purpose, Sidecar, SidecarKey, WrappedKey};

const U64: (u64, &str) = (u64::MAX, "an integer from 0 to 18446744073709551615");
const U32: (u64, &str) = (u32::MAX as u64, "an integer from 0 to 4294967295");
const U16: (u64, &str) = (u16::MAX as u64, "an integer from 0 to 65535");

/// The field that exists in version 2 only.
pub(super) const V2_FIELD: &str = "storage_envelope_cutover_index";

const FIELDS: [&str; 7] = [
    "version",
    "raft_applied_index",
    "storage_envelope_active",
    V2_FIELD,
    "raft_envelope_cutover_index",
    "active",
    "keys",
];

/// `strict`: reject active ids without a matching key.
pub(super) fn sidecar(json: &[u8], strict: bool) -> Result<Sidecar, SidecarError> {
    if json.len() > FILE_MAX {
        return Err(SidecarError::TooLarge { at: Location::default(), len: json.len() as u64 });
    }
    let root = Node::root(json)?;
    let fields = root.object()?;
    // Check the version first: another version may have other fields.
    let version = version(&root, &fields)?;
    let known = FIELDS.into_iter().filter(|field| version == 2 || *field != V2_FIELD);
    let fields = Object::of(&root, fields, known, version)?;
    let active = fields.get("active")?;
    let active = Object::of(active, active.object()?, Purpose::ALL.map(Purpose::as_str), version)?;
    let id = |purpose: Purpose| active.integer(purpose.as_str(), U32).map(|id| KeyId::new(id as u32));
    let keys = fields.get("keys")?;
    let sidecar = Sidecar {
        raft_applied_index: fields.integer("raft_applied_index", U64)?,
        storage_envelope_active: fields.get("storage_envelope_active")?.boolean()?,
        storage_envelope_cutover_index: (version == 2).then(|| fields.integer(V2_FIELD, U64)).transpose()?,
        raft_envelope_cutover_index: fields.integer("raft_envelope_cutover_index", U64)?,
        active: ActiveKeys { storage: id(Purpose::Storage)?, raft: id(Purpose::Raft)? },
        // Go writes `null` for a nil map.
        keys: if keys.is_null() { BTreeMap::new() } else { self::keys(keys, version)? },
    };
    for purpose in Purpose::ALL.into_iter().filter(|_| strict) {
        let at = active.get(purpose.as_str())?.position();
        sidecar.check_active(purpose).map_err(|error| error.at(at))?;
    }
    Ok(sidecar)
}

fn version(root: &Node<'_>, fields: &[Field<'_>]) -> Result<u32, SidecarError> {
    let at = Location::default();
    let Some(Field { value, .. }) = fields.iter().find(|field| field.key == "version") else {
        return Err(SidecarError::UnknownVersion { at, found: None }.at(root.position()));
    };
    match value.number().as_deref() {
        Some("1") => Ok(1),
        Some("2") => Ok(2),
        None => Err(value.wrong_type("1 or 2")),
        found => Err(SidecarError::UnknownVersion { at, found: found.map(str::to_owned) }.at(value.position())),
    }
}

fn keys(keys: &Node<'_>, version: u32) -> Result<BTreeMap<KeyId, SidecarKey>, SidecarError> {
    let mut found = BTreeMap::new();
    for field in keys.entries()? {
        let id = field.key.parse().map_err(|error: SidecarError| error.at(field.position()))?;
        let key = key(id, &field.value, version)?;
        if found.insert(id, key).is_some() {
            return Err(SidecarError::DuplicateKeyId { at: Location::default(), id }.at(field.position()));
        }
    }
    Ok(found)
}

fn key(id: KeyId, key: &Node<'_>, version: u32) -> Result<SidecarKey, SidecarError> {
    let fields = Object::of(key, key.object()?, ["purpose", "wrapped", "created", "local_epoch"], version)?;
    let at = Location::default();
    let (purpose, wrapped) = (fields.get("purpose")?, fields.get("wrapped")?);
    let name = purpose.string()?;
    Ok(SidecarKey {
        purpose: Purpose::from_name(&name).ok_or_else(|| {
            SidecarError::UnknownPurpose { at: at.clone(), id, found: quoted(&name) }.at(purpose.position())
        })?,
        wrapped: match wrapped.is_null() {
            // Go writes `null` for a nil slice.
            true => WrappedKey::default(),
            false => STANDARD
                .decode(wrapped.string()?)
                .map_err(|error| SidecarError::BadBase64 { at, id, why: without_text(&error) }.at(wrapped.position()))?
                .into(),
        },
        created: fields.get("created")?.string()?,
        local_epoch: fields.integer("local_epoch", U16)? as u16,
    })
}

/// Describes a base64 error. The decoder's own message would repeat characters of the key.
fn without_text(error: &DecodeError) -> String {
    match error {
        DecodeError::InvalidByte(at, _) => format!("character {} is not in the alphabet", at + 1),
        DecodeError::InvalidLength(len) => format!("{len} characters are not a valid length"),
        DecodeError::InvalidLastSymbol(at, _) => format!("character {} has stray bits", at + 1),
        DecodeError::InvalidPadding => "the padding is wrong".to_owned(),
    }
}

/// An object whose fields are known.
struct Object<'n, 'a> {
    node: &'n Node<'a>,
    fields: Vec<Field<'a>>,
}

impl<'n, 'a> Object<'n, 'a> {
    fn of(
        node: &'n Node<'a>,
        fields: Vec<Field<'a>>,
        known: impl IntoIterator<Item = &'static str>,
        version: u32,
    ) -> Result<Object<'n, 'a>, SidecarError> {
        let known: Vec<&str> = known.into_iter().collect();
        match fields.iter().find(|field| !known.contains(&&*field.key)) {
            None => Ok(Object { node, fields }),
            Some(field) => {
                let (at, name) = (Location::default(), field.value.name().to_owned());
                Err(SidecarError::UnknownField { at, field: name, version }.at(field.position()))
            }
        }
    }

    fn get(&self, key: &str) -> Result<&Node<'a>, SidecarError> {
        match self.fields.iter().find(|field| field.key == key) {
            Some(field) => Ok(&field.value),
            None => {
                let missing = SidecarError::MissingField { at: Location::default(), field: self.node.child(key) };
                Err(missing.at(self.node.position()))
            }
        }
    }

    fn integer(&self, key: &str, (max, expected): (u64, &'static str)) -> Result<u64, SidecarError> {
        self.get(key)?.integer(max, expected)
    }
}
