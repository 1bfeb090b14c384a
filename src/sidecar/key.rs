//! Keys, their purposes, and the active keys.

use std::fmt;

use super::id::KeyId;

/// One data-encryption key, wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarKey {
    /// What it encrypts.
    pub purpose: Purpose,
    /// The key, encrypted with another key that is not in this file.
    pub wrapped: WrappedKey,
    /// When it was created: ISO 8601, such as `2026-04-29T10:00:00Z`. Kept as text and never parsed, so that a new time
    /// format cannot break an old reader.
    pub created: String,
    /// How often this node has started to use the key. It is part of nonces, so no two starts may have the same number.
    pub local_epoch: u16,
}

/// What a key encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Stored data.
    Storage,
    /// Raft entries.
    Raft,
}

impl Purpose {
    /// Both purposes, in the order of the file.
    pub const ALL: [Purpose; 2] = [Purpose::Storage, Purpose::Raft];

    /// The purpose with this name.
    ///
    /// ```
    /// use ringbolt::sidecar::Purpose;
    ///
    /// assert_eq!(Purpose::from_name("raft"), Some(Purpose::Raft));
    /// assert_eq!(Purpose::from_name("Raft"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.as_str() == name)
    }

    /// Its name in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Purpose::Storage => "storage",
            Purpose::Raft => "raft",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of the active key of each purpose, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveKeys {
    /// The key for stored data.
    pub storage: Option<KeyId>,
    /// The key for Raft entries.
    pub raft: Option<KeyId>,
}

impl ActiveKeys {
    /// The active key of this purpose.
    pub const fn get(&self, purpose: Purpose) -> Option<KeyId> {
        match purpose {
            Purpose::Storage => self.storage,
            Purpose::Raft => self.raft,
        }
    }

    pub(super) fn set(&mut self, purpose: Purpose, id: Option<KeyId>) {
        match purpose {
            Purpose::Storage => self.storage = id,
            Purpose::Raft => self.raft = id,
        }
    }
}

/// A wrapped key, of any length (in practice, 16 bytes or more). Its bytes never appear in `Debug` output or errors.
///
/// ```
/// use ringbolt::sidecar::WrappedKey;
///
/// let wrapped = WrappedKey::from(vec![0x5a; 60]);
/// assert_eq!(format!("{wrapped:?}"), "WrappedKey(60 bytes)");
/// assert_eq!(wrapped.as_bytes(), [0x5a; 60]);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WrappedKey(Vec<u8>);

impl WrappedKey {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for WrappedKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for WrappedKey {
    fn from(bytes: Vec<u8>) -> WrappedKey {
        WrappedKey(bytes)
    }
}

impl From<&[u8]> for WrappedKey {
    fn from(bytes: &[u8]) -> WrappedKey {
        WrappedKey(bytes.to_vec())
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} bytes)", self.0.len())
    }
}
