//! Forced unit access, for tests of power cuts.
//!
//! On a device that has it, Linux makes one request of a direct write with `RWF_DSYNC` to blocks that are allocated and were written
//! before, and flushes nothing (`fs/iomap/direct-io.c`). On a device without it, such as a loop device, the same write becomes a
//! write and a flush, which makes everything else durable as well and hides that somebody relied on that.

use std::cell::Cell;

thread_local! {
    static ASSUMED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `act`. Every intent log that is opened on this thread meanwhile is written without `RWF_DSYNC`, so without a flush. The test must
/// take each of its writes for durable, and for nothing more. Exists only with `--cfg ringbolt_mutants`.
pub fn assume_fua<T>(act: impl FnOnce() -> T) -> T {
    let before = ASSUMED.replace(true);
    let result = act();
    ASSUMED.set(before);
    result
}

pub(super) fn is_assumed() -> bool {
    ASSUMED.get()
}
