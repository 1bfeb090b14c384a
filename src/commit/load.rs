//! How much work is queued, or may be.

/// An amount of work, in files and bytes: of one piece of work, of a batch, or the limit of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) files: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) fn saturating_add(self, other: Load) -> Load {
        Load { files: self.files.saturating_add(other.files), bytes: self.bytes.saturating_add(other.bytes) }
    }

    pub(crate) fn saturating_sub(self, other: Load) -> Load {
        Load { files: self.files.saturating_sub(other.files), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    /// The difference; `other` must not be larger.
    pub(super) fn sub(self, other: Load) -> Load {
        Load { files: self.files - other.files, bytes: self.bytes - other.bytes }
    }

    pub(super) fn is_within(self, limit: Load) -> bool {
        self.files <= limit.files && self.bytes <= limit.bytes
    }
}
