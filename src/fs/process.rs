//! The process that a value belongs to.

use std::process;

/// The process that created a value. A forked child has a copy of the value, but not its threads, and must not change what is
/// on disk. It must not take locks that another thread may have held at the fork, join threads, or clean up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Process {
        Process(process::id())
    }

    /// Another process than this one.
    #[cfg(test)]
    pub(crate) fn other() -> Process {
        Process(0)
    }

    /// Whether this is still that process, and not a forked child.
    pub(crate) fn is_current(self) -> bool {
        self.0 == process::id()
    }
}
