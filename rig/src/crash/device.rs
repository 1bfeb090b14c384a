//! The disks that a promise is tested on.

use std::fmt;

use ringbolt::Barrier;

use super::cell::Cell;
use super::operation::Operation;

/// How a disk treats writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// With a volatile cache.
    Cache,
    /// The same with forced unit access: a write of the intent log makes itself durable, and flushes nothing.
    Fua,
    /// With a volatile cache. Once, it fails to write back a change that was acknowledged.
    FailedWrite,
}

impl Device {
    /// All of them.
    pub const ALL: [Device; 3] = [Device::Cache, Device::Fua, Device::FailedWrite];

    /// Whether a promise is tested on it. Without `--cfg ringbolt_mutants` a store cannot be made to leave flushes out.
    pub(super) fn matters(self, cell: &Cell) -> bool {
        use Operation::{Batch, Crowd, Groups, Put};
        let has_log = cell.barrier == Barrier::IntentLog;
        match self {
            Device::Cache => true,
            Device::Fua => has_log && cfg!(ringbolt_mutants),
            // The others leave no contents that a checkpoint has to write back.
            Device::FailedWrite => has_log && [Put, Batch, Groups, Crowd].contains(&cell.operation),
        }
    }

    /// Runs `act`. A store that is opened meanwhile writes its log as it does on this device.
    pub(super) fn within<T>(self, act: impl FnOnce() -> T) -> T {
        #[cfg(ringbolt_mutants)]
        if self == Device::Fua {
            return ringbolt::assume_fua(act);
        }
        act()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Device::Cache => "cache",
            Device::Fua => "FUA",
            Device::FailedWrite => "failed write",
        })
    }
}
