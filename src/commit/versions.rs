//! The versions that a store gives.

use std::fmt;

use crate::error::Result;
use crate::file::Writer;
use crate::protocol::{Clock, Version};

/// Durably raises the ceiling of a store's versions.
type Raise = Box<dyn Fn(&Writer, Version) -> Result<()> + Send + Sync>;

/// Gives versions below a durable ceiling, and raises the ceiling when it is reached.
pub(crate) struct Versions {
    pub(crate) clock: Clock,
    /// Whether the filesystem's time stamps are fine enough to hold versions.
    pub(crate) are_kept: bool,
    raise: Raise,
}

impl Versions {
    pub(crate) fn new(
        clock: Clock,
        are_kept: bool,
        raise: impl Fn(&Writer, Version) -> Result<()> + Send + Sync + 'static,
    ) -> Versions {
        Versions { clock, are_kept, raise: Box::new(raise) }
    }

    /// Versions without a ceiling.
    #[cfg(test)]
    pub(crate) fn without_ceiling() -> Versions {
        Versions::new(Clock::above(Version::MIN), true, |_, _| Ok(()))
    }

    /// The next version. It may be used at once: no later session gives it again.
    pub(super) fn next(&self, writer: &Writer) -> Result<Version> {
        self.clock.next(|ceiling| (self.raise)(writer, ceiling))
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").field("clock", &self.clock).field("are_kept", &self.are_kept).finish_non_exhaustive()
    }
}
