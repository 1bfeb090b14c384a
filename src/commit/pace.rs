//! How fast commits may fill the log while a checkpoint makes room.
//!
//! Without this, commits would go on at full speed until the log is full, and then all wait for the end of the checkpoint. With it,
//! each waits a little, so that the room that is left lasts until then.

use std::time::Duration;

use crate::log::writer::Fill;

/// Up to this part of the log nobody waits. A checkpoint begins at one half.
const FREELY: f64 = 0.75;
/// Once a checkpoint has taken longer than the one before, the rest is estimated as this part of its time so far.
const OVERTIME: f64 = 0.25;

/// How long the commit of a record of `len` bytes should wait. The checkpoint has taken the time `elapsed` so far, the one before
/// took `last` in all.
///
/// The wait is to the rest of the checkpoint's time as the record is to the rest of the room. Both shrink at the same rate then, and
/// come to their end together.
pub(super) fn pause(fill: Fill, len: u64, elapsed: Duration, last: Duration) -> Duration {
    // As much as a record may be lost at the end of the area.
    let room = fill.capacity.saturating_sub(fill.used).saturating_sub(2 * len);
    if (fill.used as f64) < fill.capacity as f64 * FREELY || room == 0 {
        return Duration::ZERO;
    }
    let rest = last.saturating_sub(elapsed).max(elapsed.mul_f64(OVERTIME));
    rest.mul_f64((len as f64 / room as f64).min(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPACITY: u64 = 64 << 20;

    fn at(used: u64, len: u64) -> Duration {
        let fill = Fill { used, capacity: CAPACITY };
        pause(fill, len, Duration::ZERO, Duration::from_secs(1))
    }

    #[test]
    fn nobody_waits_while_there_is_room_or_when_there_is_none() {
        assert_eq!(at(CAPACITY / 2, 1 << 20), Duration::ZERO);
        assert_eq!(at(CAPACITY, 4096), Duration::ZERO, "that wait ends with the checkpoint");
        assert!(at(CAPACITY / 4 * 3, 8192) > at(CAPACITY / 4 * 3, 4096));
        assert!(at(CAPACITY / 8 * 7, 4096) > at(CAPACITY / 4 * 3, 4096));
    }

    #[test]
    fn a_checkpoint_that_takes_longer_than_the_last_still_slows_commits() {
        let fill = Fill { used: CAPACITY / 8 * 7, capacity: CAPACITY };
        let pause = |elapsed| pause(fill, 4096, Duration::from_secs(elapsed), Duration::from_secs(1));
        assert!(pause(4) > Duration::ZERO);
        assert!(pause(40) > pause(4));
    }

    /// Commits that take no time themselves never meet the end of the log if the checkpoint takes as long as the one before.
    #[test]
    fn the_room_lasts_as_long_as_the_checkpoint() {
        proptest!(|(lens in prop::collection::vec(4096..=(256u64 << 10), 1..50), last in 1u64..5000)| {
            let last = Duration::from_millis(last);
            let mut used = (CAPACITY as f64 * FREELY) as u64;
            let mut elapsed = Duration::ZERO;
            for len in lens.iter().cycle() {
                if elapsed.as_secs_f64() > last.as_secs_f64() * 0.95 {
                    break;
                }
                prop_assert!(used + 2 * len < CAPACITY, "full after {elapsed:?} of {last:?}");
                elapsed += pause(Fill { used, capacity: CAPACITY }, *len, elapsed, last);
                used += len;
            }
        });
    }
}
