//! `keys.json`: the wrapped data-encryption keys of one storage node, in one small file that survives a power cut.
//!
//! A [`Sidecar`] is the value, [`SidecarStore`] the one writer of its file. A node keeps the store open and changes the
//! value through it:
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
//! let id = store.rotate(Purpose::Storage, vec![0x5a; 60])?; // a new key, and the active one, in one write
//! let epoch = store.bump_local_epoch(id)?; // durable when this returns
//! store.update(|sidecar| sidecar.raft_applied_index += 1)?;
//! assert_eq!((epoch, store.get().raft_applied_index), (1, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # The format
//!
//! One JSON object, in this order of fields; byte for byte what Go's `json.MarshalIndent(v, "", "  ")` writes (keys of the map
//! in the order of their bytes, `<`, `>`, `&`, U+2028 and U+2029 escaped, no newline at the end).
//!
//! | field | type |
//! |---|---|
//! | `version` | 1, or 2 with a storage cutover index: it follows from the data |
//! | `raft_applied_index` | integer, 64 bits |
//! | `storage_envelope_active` | boolean |
//! | `storage_envelope_cutover_index` | integer, 64 bits; in version 2 only |
//! | `raft_envelope_cutover_index` | integer, 64 bits |
//! | `active` | `{"storage": id, "raft": id}`; 0 is none |
//! | `keys` | id (decimal, as a string) to `{"purpose": "storage" or "raft", "wrapped": base64, "created": text, "local_epoch": integer, 16 bits}` |
//!
//! Reading is stricter than Go's decoder, on purpose. That takes names of fields in any case, the last of two equal
//! fields, and drops fields that it does not know; it takes base64 with stray bits at its end. Here all of that is an error that
//! names line and column: a file that is damaged, or of a later version, must not be taken for something else and written back
//! as that. White space is ignored. `"keys": null` and `"wrapped": null`, which Go writes for a nil map and a nil slice, are read as no keys
//! and as zero bytes. They are written back as Go writes an empty map and an empty slice that are not nil: `"keys": {}` and `"wrapped": ""`.
//! An open [`SidecarStore`] writes that with its next change. `null` is an error everywhere else.
//! (Go before 1.22 writes two control characters in another way, U+0008 and U+000C; all else is the same.)
//!
//! There is no checksum: a bit that flips in the middle of a number is not noticed. A file like this is as good as its disk.
//!
//! # On the disk
//!
//! A write makes `<path>.tmp` (mode 0600, whatever was there), writes it, syncs and closes it, renames it over the file and
//! syncs the directory. A symbolic link in the file's place is replaced by a write, and refused by a read. The directory
//! must exist. One writer a directory: while somebody writes, `.ringbolt-sidecar.lock` in it is locked (`flock(2)`). Programs that
//! do not ask for that lock are not kept out; a file that one of them has changed under an open store is not overwritten.

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

/// The longest file in bytes: 1 MiB, as a writer and as a reader.
pub const FILE_MAX: usize = 1 << 20;

/// What a node keeps in `keys.json`.
///
/// An id is never 0, a purpose is one of two, and the version follows from the data: such errors cannot be built. What a
/// type cannot see, [`validate`](Sidecar::validate) checks, before every write and after every read.
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
/// assert_eq!(error.to_string(), "active.raft is 305419896, which is a storage key; name a raft key, or 0 for none");
/// assert_eq!(Sidecar::from_json(&sidecar.to_json().unwrap()).unwrap(), sidecar);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// The last Raft index that this file reflects.
    pub raft_applied_index: u64,
    /// Whether what is stored is written in the envelope.
    pub storage_envelope_active: bool,
    /// The index from which what is stored is in the envelope. With it the file is of version 2, without it of version 1.
    pub storage_envelope_cutover_index: Option<u64>,
    /// The index from which Raft entries are in the envelope.
    pub raft_envelope_cutover_index: u64,
    /// The keys that new data is encrypted with.
    pub active: ActiveKeys,
    /// Every key that some data may still need.
    pub keys: BTreeMap<KeyId, SidecarKey>,
}

impl Sidecar {
    /// The version of the format that it is written in: 1 or 2.
    pub fn version(&self) -> u32 {
        if self.storage_envelope_cutover_index.is_some() { 2 } else { 1 }
    }

    /// Makes it version 2, with this storage cutover index. One that is version 2 already keeps its own index.
    pub fn upgrade(&mut self, storage_envelope_cutover_index: u64) {
        self.storage_envelope_cutover_index.get_or_insert(storage_envelope_cutover_index);
    }

    /// Makes a key the active one of its purpose, or none.
    ///
    /// # Errors
    ///
    /// The key is not there, or has the other purpose; nothing is changed then.
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

    /// Checks what the types cannot: that each active id is that of a key with the same purpose.
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

    /// Takes a JSON text apart, by the strict rules of the [format](self#the-format).
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it, by line and column; [`SidecarError::TooLarge`] if it is longer than [`FILE_MAX`] bytes.
    pub fn from_json(json: &[u8]) -> Result<Sidecar, SidecarError> {
        decode::sidecar(json, true)
    }

    /// The bytes of its file.
    ///
    /// # Errors
    ///
    /// As [`validate`](Sidecar::validate), and [`SidecarError::TooLarge`] if they are more than [`FILE_MAX`].
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

    /// Durably writes it to a file, whatever is there, with the defaults of [`SidecarOptions`]. To change what is there, use a
    /// [`SidecarStore`].
    ///
    /// # Errors
    ///
    /// As [`SidecarOptions::write`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), SidecarError> {
        SidecarOptions::new().write(path, self)
    }
}
