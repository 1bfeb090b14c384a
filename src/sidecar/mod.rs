//! `keys.json`: the wrapped data-encryption keys of one storage node, in one small file that survives a power cut. A [`Sidecar`]
//! is the value; a [`SidecarStore`] is the only writer of its file. A node keeps the store open and changes the value through it:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("keys.json");
//! use ringbolt::sidecar::{Purpose, Sidecar, SidecarStore};
//!
//! let store = match SidecarStore::open(&path) {
//!     Err(error) if error.is_not_found() => SidecarStore::create(&path, Sidecar::default())?, // first boot
//!     result => result?,
//! };
//! let id = store.rotate(Purpose::Storage, vec![0x5a; 60])?; // adds a key and makes it active, in one write
//! let epoch = store.bump_local_epoch(id)?; // durable when this returns
//! store.update(|sidecar| sidecar.raft_applied_index += 1)?;
//! assert_eq!((epoch, store.get().raft_applied_index), (1, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # The format
//!
//! One JSON object with these fields, in this order. It is byte for byte what Go's `json.MarshalIndent(v, "", " ")`
//! writes: map keys are in byte order; `<`, `>`, `&`, U+2028 and U+2029 are escaped; there is no newline at the end.
//!
//! | field | type |
//! |---|---|
//! | `version` | 1, or 2 with a storage cutover index: it follows from the data |
//! | `raft_applied_index` | integer, 64 bits |
//! | `storage_envelope_active` | boolean |
//! | `storage_envelope_cutover_index` | integer, 64 bits; in version 2 only |
//! | `raft_envelope_cutover_index` | integer, 64 bits |
//! | `active` | `{"storage": id, "raft": id}`; 0 means none |
//! | `keys` | id (decimal, as a string) to `{"purpose": "storage" or "raft", "wrapped": base64, "created": text, "local_epoch": integer, 16 bits}` |
//!
//! Reading is deliberately stricter than Go's decoder, which accepts field names in any case, takes the last of two
//! equal fields, drops unknown fields, and accepts base64 with stray bits at its end. Here each of these is an error
//! with line and column: a file that is damaged, or of a later version, must not be misread and then overwritten. White
//! space is ignored. `"keys": null` and `"wrapped": null`, which Go writes for a nil map and a nil slice, are read as
//! no keys and zero bytes. An open [`SidecarStore`] writes them back with its next change as `"keys": {}` and
//! `"wrapped": ""`, which is how Go writes an empty map and an empty slice. `null` is an error everywhere else. (Go
//! before 1.22 escapes U+0008 and U+000C differently; everything else is the same.)
//!
//! There is no checksum: a bit that flips inside a number goes unnoticed.
//!
//! # On the disk
//!
//! A write creates `<path>.tmp` with mode 0600, replacing any file of that name, writes it, syncs and closes it,
//! renames it over the file and syncs the directory. If the file is a symbolic link, a write replaces the link and a
//! read refuses it. The directory must exist. There is one writer per directory: it holds a lock (`flock(2)`) on
//! `.ringbolt-sidecar.lock`. Programs that do not take this lock are not kept out; but a store does not overwrite a
//! file that another program changed while the store had it open.

mod decode;
mod encode;
mod error;
mod file;
mod id;
mod json;
mod key;
mod location;
mod options;
mod store;

use std::collections::BTreeMap;
use std::path::Path;

pub use error::SidecarError;
pub use id::KeyId;
pub use key::{ActiveKeys, Purpose, SidecarKey, WrappedKey};
pub use location::Location;
pub use options::SidecarOptions;
pub use store::SidecarStore;

/// The maximum size of the file: 1 MiB, for writing and for reading.
pub const FILE_MAX: usize = 1 << 20;

/// The content of `keys.json`.
///
/// The types rule out an id of 0, an unknown purpose and a wrong version. [`validate`](Sidecar::validate) checks the
/// rest, before every write and after every read.
///
/// ```
/// use ringbolt::sidecar::{KeyId, Purpose, Sidecar, SidecarKey};
///
/// let id = KeyId::new(305_419_896).unwrap();
/// let key = SidecarKey {
///     purpose: Purpose::Storage,
///     wrapped: vec![1, 2, 3, 4].into(),
///     created: "2026-04-29T10:00:00Z".into(),
///     local_epoch: 7,
/// };
/// let mut sidecar = Sidecar { keys: [(id, key)].into(), ..Sidecar::default() };
/// sidecar.set_active(Purpose::Storage, Some(id)).unwrap();
/// let error = sidecar.set_active(Purpose::Raft, Some(id)).unwrap_err();
/// assert_eq!(error.to_string(), "active.raft is 305419896, which is a storage key; use a raft key, or 0 for none");
/// assert_eq!(Sidecar::from_json(&sidecar.to_json().unwrap()).unwrap(), sidecar);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// The last Raft index that this file reflects.
    pub raft_applied_index: u64,
    /// Whether stored data is written in the envelope.
    pub storage_envelope_active: bool,
    /// The index from which stored data is in the envelope. With it, the file has version 2; without it, version 1.
    pub storage_envelope_cutover_index: Option<u64>,
    /// The index from which Raft entries are in the envelope.
    pub raft_envelope_cutover_index: u64,
    /// The keys that encrypt new data.
    pub active: ActiveKeys,
    /// All keys that some data may still need.
    pub keys: BTreeMap<KeyId, SidecarKey>,
}

impl Sidecar {
    /// The format version of the file: 1 or 2.
    pub fn version(&self) -> u32 {
        if self.storage_envelope_cutover_index.is_some() { 2 } else { 1 }
    }

    /// Converts to version 2, with this storage cutover index. If it already is version 2, its index is kept.
    pub fn upgrade(&mut self, storage_envelope_cutover_index: u64) {
        self.storage_envelope_cutover_index.get_or_insert(storage_envelope_cutover_index);
    }

    /// Sets the active key of a purpose; `None` for none.
    ///
    /// # Errors
    ///
    /// The key does not exist or has the other purpose. Nothing is changed then.
    pub fn set_active(&mut self, purpose: Purpose, id: Option<KeyId>) -> Result<(), SidecarError> {
        let before = self.active;
        self.active.set(purpose, id);
        self.check_active(purpose).inspect_err(|_| self.active = before)
    }

    /// The active key of a purpose, and its id.
    pub fn active_key(&self, purpose: Purpose) -> Option<(KeyId, &SidecarKey)> {
        let id = self.active.get(purpose)?;
        self.keys.get(&id).map(|key| (id, key))
    }

    /// Checks that each active id is that of a key with the same purpose.
    ///
    /// # Errors
    ///
    /// [`SidecarError::ActiveMissing`], [`SidecarError::ActivePurpose`].
    pub fn validate(&self) -> Result<(), SidecarError> {
        Purpose::ALL.into_iter().try_for_each(|purpose| self.check_active(purpose))
    }

    fn check_active(&self, purpose: Purpose) -> Result<(), SidecarError> {
        let Some(id) = self.active.get(purpose) else { return Ok(()) };
        let at = Location::default();
        match self.keys.get(&id) {
            None => Err(SidecarError::ActiveMissing { at, purpose, id }),
            Some(key) if key.purpose != purpose => {
                Err(SidecarError::ActivePurpose { at, purpose, id, found: key.purpose })
            }
            Some(_) => Ok(()),
        }
    }

    /// Parses JSON, by the strict rules of the [format](self#the-format).
    ///
    /// # Errors
    ///
    /// The first violation, with line and column; [`SidecarError::TooLarge`] if it is longer than [`FILE_MAX`] bytes.
    pub fn from_json(json: &[u8]) -> Result<Sidecar, SidecarError> {
        decode::sidecar(json, true)
    }

    /// Serializes to the bytes of the file.
    ///
    /// # Errors
    ///
    /// As [`validate`](Sidecar::validate), and [`SidecarError::TooLarge`] if there are more than [`FILE_MAX`] bytes.
    pub fn to_json(&self) -> Result<Vec<u8>, SidecarError> {
        encode::sidecar(self)
    }

    /// Reads a file, with the defaults of [`SidecarOptions`].
    ///
    /// # Errors
    ///
    /// As [`SidecarOptions::read`].
    pub fn read(path: impl AsRef<Path>) -> Result<Sidecar, SidecarError> {
        SidecarOptions::new().read(path)
    }

    /// Writes a file durably, replacing any existing one, with the defaults of [`SidecarOptions`]. To change an
    /// existing file, use a [`SidecarStore`].
    ///
    /// # Errors
    ///
    /// As [`SidecarOptions::write`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), SidecarError> {
        SidecarOptions::new().write(path, self)
    }
}
