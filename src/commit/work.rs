//! A change on its way to be staged, by whichever thread does it.

use std::sync::Arc;

use super::staged::Made;
use super::{Change, Core, What};
use crate::barrier::BarrierKind;
use crate::error::Result;
use crate::key::Key;
use crate::plan::Existing;
use crate::version::Version;

/// A change that is to be staged.
pub(super) struct Work {
    core: Arc<Core>,
    kind: BarrierKind,
    /// The version of what it puts.
    version: Option<Result<Version>>,
    change: Change,
}

impl Work {
    pub(super) fn new(core: &Arc<Core>, kind: BarrierKind, change: Change) -> Work {
        let version = change.is_put().then(|| core.version());
        Work { core: Arc::clone(core), kind, version, change }
    }

    pub(super) fn stage(self) -> Result<Made> {
        Made::stage(&self.core, self.kind, self.version, self.change)
    }

    /// Whether it can be staged beside others, in any order. A delete or a rename may look for a directory that a change before it
    /// makes, and so may a put that expects a version, unless its directory is there already.
    pub(super) fn is_independent(&self) -> bool {
        match (&self.change.what, &self.change.key) {
            (What::Put { options, .. }, Ok(key)) if matches!(options.existing, Existing::Match(_)) => {
                Key::parse(key).is_ok_and(|key| self.core.find(&key).is_ok())
            }
            (what, _) => matches!(what, What::Put { .. }),
        }
    }
}
