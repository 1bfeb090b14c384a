//! Converts errors to those of the trait.

use std::io;

use ::object_store::Error as TheirError;
use ::object_store::path::Path;

use crate::Error;
use crate::ErrorKind;
use crate::Outcome;
use crate::Step;
use crate::Store;

pub(super) const STORE: &str = "ringbolt";

/// Converts an error. The source is the original, with step, path and outcome.
pub(super) fn explain(error: Error, location: &Path) -> TheirError {
    let path = location.to_string();
    let (kind, outcome) = (error.kind(), error.outcome());
    let source = Box::new(error);
    if outcome == Outcome::Unknown {
        return TheirError::Generic { store: STORE, source };
    }
    match kind {
        ErrorKind::NotFound => TheirError::NotFound { path, source },
        ErrorKind::AlreadyExists => TheirError::AlreadyExists { path, source },
        ErrorKind::VersionMismatch => TheirError::Precondition { path, source },
        ErrorKind::PermissionDenied => TheirError::PermissionDenied { path, source },
        // Paths and operations that the trait allows but a filesystem cannot represent.
        ErrorKind::InvalidKey | ErrorKind::IsADirectory | ErrorKind::NotADirectory | ErrorKind::UnsupportedVersion => {
            TheirError::NotSupported { source }
        }
        // These last until the store is reopened. Clients treat `Generic` as transient: SlateDB would retry forever.
        ErrorKind::Poisoned | ErrorKind::Forked => TheirError::NotSupported { source },
        _ => TheirError::Generic { store: STORE, source },
    }
}

/// Like [`explain`], for an operation that looks up an object. A directory counts as not found.
pub(super) fn explain_source(error: Error, location: &Path) -> TheirError {
    if error.is_a_directory() && error.step() != Step::Rename {
        return TheirError::NotFound { path: location.to_string(), source: Box::new(error) };
    }
    explain(error, location)
}

/// Like [`explain`], for an operation that must not replace an object. A directory in its place is not an existing object.
pub(super) fn explain_create(store: &Store, error: Error, location: &Path) -> TheirError {
    if error.is_already_exists()
        && let Err(found) = store.reader().file(location.as_ref())
        && found.is_a_directory()
    {
        return explain(found, location);
    }
    explain(error, location)
}

/// The error for a failed read or write of an open file.
pub(super) fn of_io(error: io::Error, location: &Path) -> TheirError {
    let error = io::Error::new(error.kind(), format!("{location}: {error}"));
    TheirError::Generic { store: STORE, source: Box::new(error) }
}

/// The error for any change through a read-only store.
pub(super) fn read_only(what: &str) -> TheirError {
    TheirError::NotSupported { source: format!("{what}: this store is read-only").into() }
}

pub(super) fn precondition(location: &Path, why: &'static str) -> TheirError {
    TheirError::Precondition { path: location.to_string(), source: why.into() }
}

pub(super) fn not_implemented(what: &str) -> TheirError {
    TheirError::NotImplemented { operation: what.to_owned(), implementer: "RingboltStore".to_owned() }
}

/// The error for an update on a filesystem that does not keep versions, so there is nothing to compare.
pub(super) fn unsupported_version(root: &std::path::Path, location: &Path) -> TheirError {
    explain(Error::new(ErrorKind::UnsupportedVersion, Step::Compare, root), location)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first failure is `Generic`, with outcome `Unknown`. Later changes are `NotSupported`, so that clients do not
    /// retry them.
    #[test]
    fn a_store_that_takes_no_more_writes_is_not_tried_again() {
        let unknown = Error::new(ErrorKind::Io, Step::SyncDir, "d").with_outcome(Outcome::Unknown);
        assert!(matches!(explain(unknown, &"d/k".into()), TheirError::Generic { .. }));
        let refused = explain(Error::new(ErrorKind::Poisoned, Step::Check, "d"), &"d/k".into());
        assert!(matches!(&refused, TheirError::NotSupported { .. }), "{refused}");
        assert!(refused.to_string().contains("reopen the store"), "{refused}");
    }
}
