//! Errors of a sidecar: one variant per rule.

use std::path::{Path, PathBuf};

use super::decode::V2_FIELD;
use super::id::KeyId;
use super::key::Purpose;
use super::{FILE_MAX, Location};
use crate::error::{Error, Outcome};

/// Why a sidecar cannot be read or written. Neither the error nor its text contains a wrapped key.
///
/// ```
/// use ringbolt::sidecar::{Sidecar, SidecarError};
///
/// let error = Sidecar::from_json(b"{\n  \"version\": 3\n}").unwrap_err();
/// assert!(matches!(error, SidecarError::UnknownVersion { .. }));
/// assert_eq!(error.to_string(), "line 2, column 14: unsupported version 3 (supported: 1 and 2); a later ringbolt may support it");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// The file does not exist, for example on the first boot. See [`is_not_found`](SidecarError::is_not_found).
    #[error("{path:?} does not exist")]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// The path is not a regular file.
    #[error("{path:?} is {found}, not a regular file; give the path of a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Group or others may read or write the file.
    #[error("{path:?} has mode {mode:04o}, so other users may access it; run chmod 600 on it, or allow it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to another user, who could not read the file that this process would write.
    #[error(
        "{path:?} belongs to user {owner}, but this process runs as user {user} and would take it over; run it as user {owner}"
    )]
    Owner {
        /// The file.
        path: PathBuf,
        /// The user id of the owner.
        owner: u32,
        /// The effective user id of this process.
        user: u32,
    },
    /// Another program replaced or changed the file while this store had it open, ignoring the lock.
    #[error("{path:?} was changed by another program while this store had it open; nothing was written; reopen it")]
    ChangedBehind {
        /// The file.
        path: PathBuf,
    },
    /// Longer than [`FILE_MAX`].
    #[error("{at}the file has {len} bytes, but at most {max} are allowed; remove keys that are no longer needed", max = FILE_MAX)]
    TooLarge {
        /// Which file.
        at: Location,
        /// Its length in bytes.
        len: u64,
    },
    /// Not JSON, or not UTF-8.
    #[error("{at}{what}")]
    Syntax {
        /// Where.
        at: Location,
        /// What is wrong, and what to do about it.
        what: String,
    },
    /// A field that this version of the format does not have.
    #[error("{at}there is no field {field:?} in version {version}; {}", unknown_text(.field))]
    UnknownField {
        /// Where.
        at: Location,
        /// The field, such as `keys.7.purpose`.
        field: String,
        /// The version of the file.
        version: u32,
    },
    /// A field that occurs twice.
    #[error("{at}field {field:?} occurs twice; keep the right one, or restore the file from a copy")]
    DuplicateField {
        /// Where the second one is.
        at: Location,
        /// The field, such as `keys.7.purpose`.
        field: String,
    },
    /// A missing field.
    #[error("{at}field {field:?} is missing; {}", missing_text(.field))]
    MissingField {
        /// Where the object that should have it begins.
        at: Location,
        /// The field, such as `keys.7.purpose`.
        field: String,
    },
    /// A value of the wrong type, or a number that is too large.
    #[error("{at}{field:?} must be {expected}, found {found}; correct it, or restore the file from a copy")]
    WrongType {
        /// Where.
        at: Location,
        /// The field, such as `keys.7.purpose`.
        field: String,
        /// What is expected.
        expected: &'static str,
        /// What was found: a number, or the type of anything else.
        found: String,
    },
    /// The version is missing, or neither 1 nor 2.
    #[error("{at}{}", version_text(.found.as_deref()))]
    UnknownVersion {
        /// Where.
        at: Location,
        /// The number, if there is one.
        found: Option<String>,
    },
    /// A text that is not an id.
    #[error("{at}{found} is not the id of a key: {why}")]
    BadKeyId {
        /// Where.
        at: Location,
        /// The text in quotes; only its length if it could be a wrapped key.
        found: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The id 0.
    #[error("{at}key id 0 is reserved: it means \"none\"; restore the file from a copy")]
    ReservedKeyId {
        /// Where.
        at: Location,
    },
    /// Two keys with the same id.
    #[error("{at}two keys have id {id}; keep the one that unwraps, or restore the file from a copy")]
    DuplicateKeyId {
        /// Where the second one is.
        at: Location,
        /// Their id.
        id: KeyId,
    },
    /// An unknown purpose.
    #[error("{at}key {id} has an unknown purpose: {found}; it must be \"storage\" or \"raft\"")]
    UnknownPurpose {
        /// Where.
        at: Location,
        /// The key.
        id: KeyId,
        /// The purpose in quotes; only its length if it could be a wrapped key.
        found: String,
    },
    /// A wrapped key that is not base64.
    #[error("{at}the wrapped key of {id} is not standard padded base64: {why}; restore the file from a copy")]
    BadBase64 {
        /// Where.
        at: Location,
        /// The key.
        id: KeyId,
        /// What is wrong, without the text itself.
        why: String,
    },
    /// An active id without a key.
    #[error("{at}active.{purpose} is {id}, but there is no such key; use the id of an existing key, or 0 for none")]
    ActiveMissing {
        /// Where.
        at: Location,
        /// The purpose whose active id is wrong.
        purpose: Purpose,
        /// The id.
        id: KeyId,
    },
    /// An active id whose key has the other purpose.
    #[error("{at}active.{purpose} is {id}, which is a {found} key; use a {purpose} key, or 0 for none")]
    ActivePurpose {
        /// Where.
        at: Location,
        /// The purpose whose active id is wrong.
        purpose: Purpose,
        /// The id.
        id: KeyId,
        /// The purpose of the key.
        found: Purpose,
    },
    /// A change would lower a value that may only increase.
    #[error("{field} may only increase: it is {current}, and the change would set it to {asked}")]
    Backwards {
        /// The field, such as `keys.7.local_epoch`.
        field: String,
        /// The current value.
        current: u64,
        /// The value that was refused.
        asked: u64,
    },
    /// The local epoch of a key has reached 65,535.
    #[error("the local epoch of key {id} is 65535, the maximum; rotate to a new key")]
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
    /// A key with this id exists, or existed, perhaps with another purpose.
    #[error("key {id} already exists, or existed before; use another id")]
    KeyExists {
        /// The id.
        id: KeyId,
    },
    /// The file could not be read or written. [`outcome`](SidecarError::outcome) says whether it changed.
    #[error(transparent)]
    Io(#[from] Error),
}

/// The location of an error, as a shared or exclusive reference.
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
    /// Whether the file does not exist, as on a node's first boot.
    pub fn is_not_found(&self) -> bool {
        matches!(self, SidecarError::NotFound { .. })
    }

    /// Whether the file is unchanged, or its state unknown ([`Outcome::Unknown`]: the directory could not be synced).
    pub fn outcome(&self) -> Outcome {
        match self {
            SidecarError::Io(error) => error.outcome(),
            _ => Outcome::Unchanged,
        }
    }

    /// The file and position, for errors in its text.
    pub fn location(&self) -> Option<&Location> {
        located!(self)
    }

    /// Adds a line and column.
    pub(super) fn at(mut self, (line, column): (usize, usize)) -> SidecarError {
        if let Some(at) = located!(&mut self) {
            at.set_position(line, column);
        }
        self
    }

    /// Adds a path.
    pub(super) fn in_file(mut self, path: &Path) -> SidecarError {
        if let Some(at) = located!(&mut self) {
            at.set_path(path);
        }
        self
    }
}

fn unknown_text(field: &str) -> &'static str {
    if field == V2_FIELD { "make the file version 2, or remove it" } else { "remove it" }
}

fn version_text(found: Option<&str>) -> String {
    match found {
        Some(found) => format!("unsupported version {found} (supported: 1 and 2); a later ringbolt may support it"),
        None => "the version (1 or 2) is missing; restore the file from a copy".to_owned(),
    }
}

fn missing_text(field: &str) -> &'static str {
    if field == V2_FIELD { "add it, or make the file version 1" } else { "add it, or restore the file from a copy" }
}

/// Quotes a text for an error message. A text in the wrong place could be (part of) a wrapped key; then gives only its
/// length. The shortest wrapped key, of 16 bytes, has 24 base64 characters and no underscores.
pub(super) fn quoted(text: &str) -> String {
    match text.chars().count() {
        len if is_harmless(text, len) => format!("{text:?}"),
        len => format!("a text of {len} characters"),
    }
}

/// Like [`quoted`], but without quotes, for field names.
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
