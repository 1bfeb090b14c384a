//! How the changes in an intent log are brought into the files.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::log::record::Record;

/// Called with how many keys are done, and how many there are.
type Progress = Arc<dyn Fn(usize, usize) + Send + Sync>;

/// What the caller of an open wants of its recovery.
#[derive(Clone, Default)]
pub(super) struct Replay {
    pub(super) discard: BTreeSet<String>,
    pub(super) accepts_copy: bool,
    pub(super) progress: Option<Progress>,
}

impl Replay {
    /// The records without the changes that are to be left out.
    pub(super) fn kept<'a>(&self, records: &'a [Record]) -> Cow<'a, [Record]> {
        if self.discard.is_empty() {
            return Cow::Borrowed(records);
        }
        let mut kept = records.to_vec();
        kept.iter_mut().for_each(|record| record.entries.retain(|entry| !self.discard.contains(&entry.key)));
        Cow::Owned(kept)
    }

    pub(super) fn report(&self, done: usize, all: usize) {
        if let Some(progress) = &self.progress {
            progress(done, all);
        }
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("discard", &self.discard).finish_non_exhaustive()
    }
}
