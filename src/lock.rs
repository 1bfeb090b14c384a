//! A lock that tells a writer from every other, and from its own forked children.

use std::ops::Deref;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, Flockable};

/// An exclusive `flock(2)`, for as long as this lives. A child that was forked meanwhile shares it, and does not give it up.
#[derive(Debug)]
pub(crate) struct Lock<T: Flockable> {
    held: Option<Flock<T>>,
    process: u32,
}

impl<T: Flockable> Lock<T> {
    /// Takes the lock, or gives back what was to be locked: `Errno::EWOULDBLOCK` where another holds it.
    pub(crate) fn take(what: T) -> Result<Lock<T>, (T, Errno)> {
        let held = Flock::lock(what, FlockArg::LockExclusiveNonblock)?;
        Ok(Lock { held: Some(held), process: std::process::id() })
    }

    /// Whether this is the process that took it, and not a child of it.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<T: Flockable> Deref for Lock<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("held until it is dropped")
    }
}

impl<T: Flockable> Drop for Lock<T> {
    fn drop(&mut self) {
        if !self.is_ours() {
            // Giving it up would take it from the parent.
            std::mem::forget(self.held.take());
        }
    }
}
