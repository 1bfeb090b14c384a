//! What can be wrong with a sidecar: one variant a rule.

use std::path::{Path, PathBuf};

use super::decode::SINCE_2;
use super::id::KeyId;
use super::key::Purpose;
use super::{FILE_MAX, Location};
use crate::error::{Error, Outcome};

/// Why a sidecar cannot be read or written. No wrapped key is in it or in its text.
///
/// ```
/// use ringbolt::sidecar::{Sidecar, SidecarError};
///
/// let error = Sidecar::from_json(b"{\n  \"version\": 3\n}").unwrap_err();
/// assert!(matches!(error, SidecarError::UnknownVersion { .. }));
/// assert_eq!(error.to_string(), "line 2, column 14: version 3 is not known, only 1 and 2 are; a later ringbolt may know it");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// There is no such file: the first boot, perhaps. See [`is_not_found`](SidecarError::is_not_found).
    #[error("{path:?} does not exist")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// Something else has its name.
    #[error("{path:?} is {found}, not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Group or others may read or write the file.
    #[error("{path:?} has mode {mode:04o}: it is open to others than its owner; chmod 600 it, or allow that")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than [`FILE_MAX`].
    #[error("{at}{len} bytes are too many, a sidecar has {max} at most; remove keys that nothing needs", max = FILE_MAX)]
    TooLarge {
        /// Which file.
        at: Location,
        /// Its length in bytes.
        len: u64,
    },
    /// Not JSON, or not text.
    #[error("{at}{what}")]
    Syntax {
        /// Where.
        at: Location,
        /// What is wrong, and what to do about it.
        what: String,
    },
    /// A field that the format does not have, or not in this version.
    #[error("{at}there is no field {field:?} in version {version}; {}", unknown_text(.field))]
    UnknownField {
        /// Where.
        at: Location,
        /// The field, as `keys.7.purpose`.
        field: String,
        /// The version of the file.
        version: u32,
    },
    /// A field that is there twice.
    #[error("{at}field {field:?} is there twice; remove one")]
    DuplicateField {
        /// Where the second one is.
        at: Location,
        /// The field, as `keys.7.purpose`.
        field: String,
    },
    /// A field that is not there.
    #[error("{at}field {field:?} is missing")]
    MissingField {
        /// Where the object begins that should have it.
        at: Location,
        /// The field, as `keys.7.purpose`.
        field: String,
    },
    /// A value of another type than the field's, or a number that is too large for it.
    #[error("{at}{field:?} must be {expected}, found {found}")]
    WrongType {
        /// Where.
        at: Location,
        /// The field, as `keys.7.purpose`.
        field: String,
        /// What belongs there.
        expected: &'static str,
        /// What is there: a number, or the type of anything else.
        found: String,
    },
    /// A version that is not 1 or 2, or none.
    #[error("{at}{}", version_text(.found.as_deref()))]
    UnknownVersion {
        /// Where.
        at: Location,
        /// The number, if there is one.
        found: Option<String>,
    },
    /// A text that is no id.
    #[error("{at}{found:?} is not the id of a key: {why}")]
    BadKeyId {
        /// Where.
        at: Location,
        /// The text.
        found: String,
        /// What an id must be.
        why: &'static str,
    },
    /// The id 0.
    #[error("{at}key id 0 is reserved, it stands for \"none\"; give the key another id")]
    ReservedKeyId {
        /// Where.
        at: Location,
    },
    /// Two keys with one id.
    #[error("{at}there are two keys {id}; remove one")]
    DuplicateKeyId {
        /// Where the second one is.
        at: Location,
        /// Their id.
        id: KeyId,
    },
    /// A purpose that is none.
    #[error("{at}key {id} has the purpose {found:?}, which must be \"storage\" or \"raft\"")]
    UnknownPurpose {
        /// Where.
        at: Location,
        /// The key.
        id: KeyId,
        /// Its purpose.
        found: String,
    },
    /// A wrapped key that is not base64.
    #[error("{at}the wrapped key of {id} is not standard padded base64: {why}")]
    BadBase64 {
        /// Where.
        at: Location,
        /// The key.
        id: KeyId,
        /// What is wrong; without the text.
        why: String,
    },
    /// An active id that no key has.
    #[error("{at}active.{purpose} is {id}, and there is no such key; name one that is there, or 0 for none")]
    ActiveMissing {
        /// Where.
        at: Location,
        /// Which of the two.
        purpose: Purpose,
        /// The id.
        id: KeyId,
    },
    /// An active id whose key has the other purpose.
    #[error("{at}active.{purpose} is {id}, which is a {found} key; name a {purpose} key, or 0 for none")]
    ActivePurpose {
        /// Where.
        at: Location,
        /// Which of the two.
        purpose: Purpose,
        /// The id.
        id: KeyId,
        /// The purpose of the key.
        found: Purpose,
    },
    /// A change that would take back what only moves forward.
    #[error("{field} only moves forward: it is {current}, and was to become {asked}")]
    Backwards {
        /// The field, as `keys.7.local_epoch`.
        field: String,
        /// What it is.
        current: u64,
        /// What it was to become.
        asked: u64,
    },
    /// The local epoch of a key has reached 65,535.
    #[error("the local epoch of key {id} is 65535, the last there is; rotate to a new key")]
    EpochExhausted {
        /// The key.
        id: KeyId,
    },
    /// There is no such key.
    #[error("there is no key {id}")]
    NoSuchKey {
        /// The id that was asked for.
        id: KeyId,
    },
    /// There is a key of that id already.
    #[error("there is a key {id} already")]
    KeyExists {
        /// The id.
        id: KeyId,
    },
    /// The file could not be read or written. [`outcome`](SidecarError::outcome) tells what is true now.
    #[error(transparent)]
    Io(#[from] Error),
}

/// The location in a shared or exclusive reference to an error.
macro_rules! located {
    ($error:expr) => {{
        use SidecarError::*;
        match $error {
            TooLarge { at, .. }
            | Syntax { at, .. }
            | UnknownField { at, .. }
            | DuplicateField { at, .. }
            | MissingField { at, .. }
            | WrongType { at, .. }
            | UnknownVersion { at, .. }
            | BadKeyId { at, .. }
            | ReservedKeyId { at }
            | DuplicateKeyId { at, .. }
            | UnknownPurpose { at, .. }
            | BadBase64 { at, .. }
            | ActiveMissing { at, .. }
            | ActivePurpose { at, .. } => Some(at),
            NotFound { .. } | NotAFile { .. } | Exposed { .. } | Io(_) => None,
            Backwards { .. } | EpochExhausted { .. } | NoSuchKey { .. } | KeyExists { .. } => None,
        }
    }};
}

impl SidecarError {
    /// The file does not exist: a node's first boot.
    pub fn is_not_found(&self) -> bool {
        matches!(self, SidecarError::NotFound { .. })
    }

    /// Whether the file is what it was, or nobody knows ([`Outcome::Unknown`]: the directory could not be synced).
    pub fn outcome(&self) -> Outcome {
        match self {
            SidecarError::Io(error) => error.outcome(),
            _ => Outcome::Unchanged,
        }
    }

    /// Where in which file, for whatever is wrong with its text.
    pub fn location(&self) -> Option<&Location> {
        located!(self)
    }

    /// The same, at this line and column.
    pub(super) fn at(mut self, (line, column): (usize, usize)) -> SidecarError {
        if let Some(at) = located!(&mut self) {
            at.set_position(line, column);
        }
        self
    }

    /// The same, in this file.
    pub(super) fn in_file(mut self, path: &Path) -> SidecarError {
        if let Some(at) = located!(&mut self) {
            at.set_path(path);
        }
        self
    }
}

fn unknown_text(field: &str) -> &'static str {
    if field == SINCE_2 { "make the file version 2, or remove it" } else { "remove it" }
}

fn version_text(found: Option<&str>) -> String {
    match found {
        Some(found) => format!("version {found} is not known, only 1 and 2 are; a later ringbolt may know it"),
        None => "the version is missing; 1 and 2 are known".to_owned(),
    }
}

/// So much of a text as an error should repeat.
pub(super) fn cut(text: &str) -> String {
    const MAX: usize = 32;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
