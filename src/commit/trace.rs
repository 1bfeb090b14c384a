//! Events for `tracing`. Without that feature, these functions do nothing.
#![cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "nothing records the events"))]

use std::path::Path;
use std::time::Duration;

use super::barrier::BarrierKind;
use super::checkpoint::Made;
use crate::error::Error;
#[cfg(feature = "tracing")]
use crate::error::Outcome;

/// A batch was committed.
pub(crate) fn batch(store: &Path, barrier: BarrierKind, changes: usize, failed: usize, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::debug!(store = %store.display(), %barrier, changes, failed, ?took, "batch committed");
}

/// The barrier changed.
pub(crate) fn barrier(store: &Path, barrier: BarrierKind, reason: &str) {
    #[cfg(feature = "tracing")]
    tracing::info!(store = %store.display(), %barrier, reason, "barrier changed");
}

/// The changes in the intent log were brought into the files.
pub(crate) fn recovered(store: &Path, changes: usize, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::info!(store = %store.display(), changes, ?took, "recovered from the intent log");
}

/// A checkpoint has moved the start of the intent log behind the record `through`.
pub(super) fn checkpoint(store: &Path, through: u64, made: Made, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::debug!(store = %store.display(), through, ?made, ?took, "checkpoint");
}

/// A change failed.
pub(crate) fn failed(error: &Error) {
    #[cfg(feature = "tracing")]
    match error.outcome() {
        Outcome::Unchanged => tracing::debug!(%error, step = ?error.step(), "change failed"),
        Outcome::Unknown => tracing::error!(%error, step = ?error.step(), "durability of a change is unknown"),
    }
}

/// A store was opened.
pub(crate) fn opened(store: &Path, clean: bool, took: Duration) {
    #[cfg(feature = "tracing")]
    tracing::debug!(store = %store.display(), clean, ?took, "store opened");
}
