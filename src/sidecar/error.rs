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
    #[error("{path:?} is {found}, not a regular file; name one")]
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
    /// The file belongs to somebody else, who could not read what this process would write in its place.
    #[error("{path:?} belongs to user {owner}, and this is user {user}, who would take it over; run this as that user")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// Somebody has replaced or changed the file while it was open here, in spite of the lock.
    #[error("{path:?} was changed by somebody else while it was open here, and was left alone; open it anew")]
    ChangedBehind {
        /// The file.
        path: PathBuf,
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
    #[error("{at}field {field:?} is there twice; keep the right one, or restore the file from a copy")]
    DuplicateField {
        /// Where the second one is.
        at: Location,
        /// The field, as `keys.7.purpose`.
        field: String,
    },
    /// A field that is not there.
    #[error("{at}field {field:?} is missing; {}", missing_text(.field))]
    MissingField {
        /// Where the object begins that should have it.
        at: Location,
        /// The field, as `keys.7.purpose`.
        field: String,
    },
    /// A value of another type than the field's, or a number that is too large for it.
    #[error("{at}{field:?} must be {expected}, found {found}; correct it, or restore the file from a copy")]
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
    #[error("{at}{found} is not the id of a key: {why}")]
    BadKeyId {
        /// Where.
        at: Location,
        /// The text in quotes; of one that could be a wrapped key, how long it is.
        found: String,
        /// What an id must be.
        why: &'static str,
    },
    /// The id 0.
    #[error("{at}key id 0 is reserved, it stands for \"none\"; restore the file from a copy")]
    ReservedKeyId {
        /// Where.
        at: Location,
    },
    /// Two keys with one id.
    #[error("{at}there are two keys {id}; keep the one that unwraps, or restore the file from a copy")]
    DuplicateKeyId {
        /// Where the second one is.
        at: Location,
        /// Their id.
        id: KeyId,
    },
    /// A purpose that is none.
    #[error("{at}key {id} has the purpose {found}, which must be \"storage\" or \"raft\"")]
    UnknownPurpose {
        /// Where.
        at: Location,
        /// The key.
        id: KeyId,
        /// Its purpose in quotes; of a text that could be a wrapped key, how long it is.
        found: String,
    },
    /// A wrapped key that is not base64.
    #[error("{at}the wrapped key of {id} is not standard padded base64: {why}; restore the file from a copy")]
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
    /// There is, or was, a key of that id already, perhaps with another purpose.
    #[error("there is a key {id} already, or was; give another id")]
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
            NotFound { .. } | NotAFile { .. } | Exposed { .. } | Owner { .. } | ChangedBehind { .. } | Io(_) => None,
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
        None => "the version is missing, which is 1 or 2; restore the file from a copy".to_owned(),
    }
}

fn missing_text(field: &str) -> &'static str {
    if field == SINCE_2 { "add it, or make the file version 1" } else { "add it, or restore the file from a copy" }
}

/// A text in quotes, as far as an error should repeat it. One in the wrong place could be a wrapped key, whole or in part; then only
/// its length is told. A wrapped key of 16 bytes, than which none is shorter, has 24 characters, and no underscores.
pub(super) fn quoted(text: &str) -> String {
    match text.chars().count() {
        len if is_harmless(text, len) => format!("{text:?}"),
        len => format!("a text of {len} characters"),
    }
}

/// The same without quotes, for names of fields.
pub(super) fn named(text: &str) -> String {
    match text.chars().count() {
        len if is_harmless(text, len) => text.to_owned(),
        len => format!("({len} characters)"),
    }
}

fn is_harmless(text: &str, len: usize) -> bool {
    let word = |part: &str| part.len() <= 16 && part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let words = text.contains('_') && text.split('_').all(word);
    len <= 16 || (len <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())) || (len <= 40 && words)
}

impl From<SidecarError> for std::io::Error {
    fn from(error: SidecarError) -> std::io::Error {
        use std::io::ErrorKind;
        match error {
            SidecarError::Io(error) => error.into(),
            SidecarError::NotFound { .. } => std::io::Error::new(ErrorKind::NotFound, error),
            SidecarError::Exposed { .. } | SidecarError::Owner { .. } => {
                std::io::Error::new(ErrorKind::PermissionDenied, error)
            }
            error if error.location().is_some() => std::io::Error::new(ErrorKind::InvalidData, error),
            error => std::io::Error::other(error),
        }
    }
}
