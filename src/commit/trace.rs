//! Events for `tracing`. Without that feature, these functions do nothing.

#[cfg(feature = "tracing")]
pub(crate) use on::*;

#[cfg(not(feature = "tracing"))]
pub(crate) use off::*;

#[cfg(feature = "tracing")]
mod on {
    use std::path::Path;
    use std::time::Duration;

    use crate::commit::barrier::BarrierKind;
    use crate::error::{Error, Outcome};

    /// A batch was committed.
    pub(crate) fn batch(store: &Path, barrier: BarrierKind, changes: usize, failed: usize, took: Duration) {
        tracing::debug!(store = %store.display(), %barrier, changes, failed, ?took, "batch committed");
    }

    /// The barrier changed.
    pub(crate) fn barrier(store: &Path, barrier: BarrierKind, reason: &str) {
        tracing::info!(store = %store.display(), %barrier, reason, "barrier changed");
    }

    /// A change failed.
    pub(crate) fn failed(error: &Error) {
        match error.outcome() {
            Outcome::Unchanged => tracing::debug!(%error, step = ?error.step(), "change failed"),
            Outcome::Unknown => tracing::error!(%error, step = ?error.step(), "durability of a change is unknown"),
        }
    }

    /// A store was opened.
    pub(crate) fn opened(store: &Path, clean: bool, took: Duration) {
        tracing::debug!(store = %store.display(), clean, ?took, "store opened");
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use std::path::Path;
    use std::time::Duration;

    use crate::commit::barrier::BarrierKind;
    use crate::error::Error;

    pub(crate) fn batch(_: &Path, _: BarrierKind, _: usize, _: usize, _: Duration) {}

    pub(crate) fn barrier(_: &Path, _: BarrierKind, _: &str) {}

    pub(crate) fn failed(_: &Error) {}

    pub(crate) fn opened(_: &Path, _: bool, _: Duration) {}
}
