//! Our errors as the trait's.

use std::io;

use ::object_store::Error as TheirError;
use ::object_store::path::Path;

use crate::{Error, Step, Store};

pub(super) const STORE: &str = "ringbolt";

/// The kind of error that the trait has for this one; our own, with step, path and outcome, is its source.
pub(super) fn explain(error: Error, location: &Path) -> TheirError {
    let path = location.to_string();
    let is = Kind::of(&error);
    let source = Box::new(error);
    match is {
        Kind::NotFound => TheirError::NotFound { path, source },
        Kind::AlreadyExists => TheirError::AlreadyExists { path, source },
        Kind::Precondition => TheirError::Precondition { path, source },
        Kind::PermissionDenied => TheirError::PermissionDenied { path, source },
        Kind::NotSupported => TheirError::NotSupported { source },
        Kind::Other => TheirError::Generic { store: STORE, source },
    }
}

/// The same for what looks for an object: where a directory is, there is none.
pub(super) fn explain_source(error: Error, location: &Path) -> TheirError {
    if error.is_a_directory() && error.step() != Step::Rename {
        return TheirError::NotFound { path: location.to_string(), source: Box::new(error) };
    }
    explain(error, location)
}

/// The same for what must not replace an object: a directory is in its way as well, and is none.
pub(super) fn explain_create(store: &Store, error: Error, location: &Path) -> TheirError {
    if error.is_already_exists()
        && let Err(found) = store.reader().file(location.as_ref())
        && found.is_a_directory()
    {
        return explain(found, location);
    }
    explain(error, location)
}

enum Kind {
    NotFound,
    AlreadyExists,
    Precondition,
    PermissionDenied,
    NotSupported,
    Other,
}

impl Kind {
    fn of(error: &Error) -> Kind {
        match error {
            _ if error.outcome() == crate::Outcome::Unknown => Kind::Other,
            _ if error.is_not_found() => Kind::NotFound,
            _ if error.is_already_exists() => Kind::AlreadyExists,
            _ if error.is_version_mismatch() => Kind::Precondition,
            _ if error.is_permission_denied() => Kind::PermissionDenied,
            // What the trait allows and a filesystem cannot hold.
            _ if error.is_invalid_key() || error.is_a_directory() || error.is_not_a_directory() => Kind::NotSupported,
            _ if error.is_unsupported_version() => Kind::NotSupported,
            // Until it is opened again. What is `Generic` is taken for a moment's trouble: SlateDB, for one, tries that for ever.
            _ if error.is_poisoned() => Kind::NotSupported,
            _ => Kind::Other,
        }
    }
}

/// A failed read or write of an open file.
pub(super) fn of_io(error: io::Error, location: &Path) -> TheirError {
    let error = io::Error::new(error.kind(), format!("{location}: {error}"));
    TheirError::Generic { store: STORE, source: Box::new(error) }
}

/// The error of every change through a read-only store.
pub(super) fn read_only(what: &str) -> TheirError {
    TheirError::NotSupported { source: format!("{what}: this store is read-only").into() }
}

pub(super) fn precondition(location: &Path, why: &'static str) -> TheirError {
    TheirError::Precondition { path: location.to_string(), source: why.into() }
}

pub(super) fn not_implemented(what: &str) -> TheirError {
    TheirError::NotImplemented { operation: what.to_owned(), implementer: "RingboltStore".to_owned() }
}

/// An update on a filesystem that does not keep versions: there is nothing to compare.
pub(super) fn unsupported_version(root: &std::path::Path, location: &Path) -> TheirError {
    explain(Error::new(crate::kind::Kind::UnsupportedVersion, Step::Compare, root), location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;
    use crate::kind::Kind as Ours;

    /// The first error tells what is not known, and may be asked about; those behind it that nothing is done any more.
    #[test]
    fn a_store_that_takes_no_more_writes_is_not_tried_again() {
        let unknown = Error::new(Ours::Io, Step::SyncDir, "d").with_outcome(Outcome::Unknown);
        assert!(matches!(explain(unknown, &"d/k".into()), TheirError::Generic { .. }));
        let refused = explain(Error::new(Ours::Poisoned, Step::Check, "d"), &"d/k".into());
        assert!(matches!(&refused, TheirError::NotSupported { .. }), "{refused}");
        assert!(refused.to_string().contains("reopen the store"), "{refused}");
    }
}
