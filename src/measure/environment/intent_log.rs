//! The intent log of the store in a directory, if it is one.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::store::LogReader;

/// The intent log of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntentLog {
    /// `clean`, `in use`, `pending`, `damaged` or `unknown`.
    pub state: String,
    /// How many changes wait for recovery; `None` if the log could not be read.
    pub pending_changes: Option<u64>,
    /// What that means, and what to do about it.
    pub what: String,
}

/// The log of the store in a directory; `None` if it has none or is no store.
pub(super) fn look(directory: &Path) -> Option<IntentLog> {
    let found =
        |state: &str, pending_changes, what: String| Some(IntentLog { state: state.into(), pending_changes, what });
    match LogReader::open(directory) {
        Ok(None) => None,
        Ok(Some(log)) => match log.pending() as u64 {
            0 => found("clean", Some(0), "clean: no change waits for recovery".into()),
            1 => found("pending", Some(1), format!("1 change waits for recovery; {OPEN}")),
            pending => found("pending", Some(pending), format!("{pending} changes wait for recovery; {OPEN}")),
        },
        Err(error) if error.is_locked() => found("in use", None, "in use: a writer has the store open".into()),
        Err(error) if error.is_damaged_log() => found("damaged", None, format!("damaged: {error}")),
        Err(error) if error.is_not_a_store() || error.is_not_found() => None,
        Err(error) => found("unknown", None, format!("unknown: {error}")),
    }
}

const OPEN: &str = "open the store for writing, or run `ringbolt recover`";
