//! Key ids.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::Location;
use super::error::{SidecarError, quoted};

/// The id of a key: a 32-bit integer other than 0, which means "none". Displayed and parsed as decimal.
///
/// ```
/// use ringbolt::sidecar::KeyId;
///
/// let id: KeyId = "305419896".parse().unwrap();
/// assert_eq!((id.get(), id.to_string().as_str()), (305_419_896, "305419896"));
/// assert!(KeyId::new(0).is_none());
/// assert!("010".parse::<KeyId>().is_err() && "+1".parse::<KeyId>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(NonZeroU32);

impl KeyId {
    /// Returns `None` for 0.
    pub const fn new(id: u32) -> Option<KeyId> {
        match NonZeroU32::new(id) {
            Some(id) => Some(KeyId(id)),
            None => None,
        }
    }

    /// The id as a number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl From<NonZeroU32> for KeyId {
    fn from(id: NonZeroU32) -> KeyId {
        KeyId(id)
    }
}

impl TryFrom<u32> for KeyId {
    type Error = SidecarError;

    /// Fails with [`SidecarError::ReservedKeyId`] for 0.
    fn try_from(id: u32) -> Result<KeyId, SidecarError> {
        KeyId::new(id).ok_or_else(|| SidecarError::ReservedKeyId { at: Location::default() })
    }
}

impl From<KeyId> for u32 {
    fn from(id: KeyId) -> u32 {
        id.get()
    }
}

impl FromStr for KeyId {
    type Err = SidecarError;

    /// Accepts one text per id: no sign, spaces or leading zeros.
    fn from_str(text: &str) -> Result<KeyId, SidecarError> {
        let at = Location::default();
        let why = match text.as_bytes() {
            b"0" => return Err(SidecarError::ReservedKeyId { at }),
            [] => "it is empty",
            digits if !digits.iter().all(u8::is_ascii_digit) => "digits only",
            [b'0', ..] => "no leading zeros",
            _ => match text.parse().ok().and_then(KeyId::new) {
                Some(id) => return Ok(id),
                None => "the largest id is 4294967295",
            },
        };
        Err(SidecarError::BadKeyId { at, found: quoted(text), why })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
