//! The versions that a store gives.

use std::sync::Arc;

use crate::dir::Dir;
use crate::error::Result;
use crate::format;
use crate::version::{Clock, Version};
use crate::writer::Writer;

/// Gives versions below a durable ceiling, and raises that.
#[derive(Debug)]
pub(crate) struct Versions {
    pub(crate) clock: Clock,
    /// The store's own directory, whose format file keeps the ceiling. None under test: nothing is raised then.
    pub(crate) own: Option<Arc<Dir>>,
    /// Whether the filesystem's time stamps are fine enough to hold versions.
    pub(crate) are_kept: bool,
}

impl Versions {
    /// Versions without a ceiling.
    #[cfg(test)]
    pub(crate) fn without_ceiling() -> Versions {
        Versions { clock: Clock::above(Version::MIN), own: None, are_kept: true }
    }

    /// The next version. It may be used at once: no later session will give it again.
    pub(super) fn next(&self, writer: &Writer) -> Result<Version> {
        self.clock.next(|ceiling| match &self.own {
            Some(own) => format::raise(writer, own, ceiling),
            None => Ok(()),
        })
    }
}
