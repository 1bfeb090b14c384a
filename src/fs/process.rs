//! Which process something belongs to.

use std::process;

/// The process that made something. A forked child has a copy of it, but neither the threads nor the right to change what is
/// on the disk: it must not take locks that another thread held at the fork, join threads, or clean up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Process {
        Process(process::id())
    }

    /// Not this one.
    #[cfg(test)]
    pub(crate) fn other() -> Process {
        Process(0)
    }

    /// Whether this is that process, and not a child that was forked from it.
    pub(crate) fn is_current(self) -> bool {
        self.0 == process::id()
    }
}
