//! Versions of keys, and the clock that generates them.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;
use nix::sys::time::TimeSpec;

use crate::lock;

/// Versions are this many nanoseconds apart, so that filesystems with coarser time stamps (100 ns, 1 µs) keep them exactly.
const STEP_NS: u64 = 1_000;

/// Identifies the content of a key. Every put returns a version, and [`Store::put_if`](crate::Store::put_if) compares it.
///
/// The store sets it as the modification time of the file before the file's sync: nanoseconds since 1970, always greater than
/// every version that this store has given before, even if the clock is set back or the store was killed. (The kernel's own time
/// stamp moves in ticks of up to 4 ms, within which a store replaces a file many times, and follows the clock when that is set
/// back.) After a kill or a power cut, versions start up to ten seconds ahead of the clock.
///
/// The same version of a key means the same content. The order of versions is the order in which they were given, not that in
/// which puts took effect: of two concurrent puts, the one with the smaller version may win. A rename keeps the version, so content that is renamed away and back has the same version again. The
/// text form is a decimal number.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = ringbolt::Store::create(dir.path())?;
/// let first = store.put("vote", "term 1")?;
/// let second = store.put_if("vote", first, "term 2")?;
/// assert!(store.put_if("vote", first, "term 3").unwrap_err().is_version_mismatch());
/// assert_eq!(store.metadata("vote")?.version, Some(second));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// Less than every version that is given.
    #[cfg(test)]
    pub(crate) const MIN: Version = Version(0);

    /// The year 2200, near the limit of filesystems. A later ceiling must have been set by another program, and is clamped.
    const CAP: Version = Version(230 * 365 * 86_400 * 1_000_000_000);

    /// The current time.
    pub(crate) fn now() -> Version {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Version(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2))
    }

    /// Whether the time stamp of a store's format file shows that the filesystem keeps times finely enough for versions.
    pub(crate) fn tells_fine_times(self) -> bool {
        !self.0.is_multiple_of(1_000_000)
    }

    /// The version of a file.
    pub(crate) fn of(stat: &FileStat) -> Version {
        Version::at(stat.st_mtime, stat.st_mtime_nsec)
    }

    /// From seconds and nanoseconds since 1970.
    pub(crate) fn at(seconds: impl TryInto<u64>, nanoseconds: impl TryInto<u64>) -> Version {
        let seconds: u64 = seconds.try_into().unwrap_or(0);
        Version(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.try_into().unwrap_or(0)))
    }

    /// Nanoseconds since 1970.
    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }

    /// The version of this many nanoseconds since 1970.
    pub(crate) fn from_nanos(nanos: u64) -> Version {
        Version(nanos)
    }

    pub(crate) fn to_time(self) -> TimeSpec {
        TimeSpec::from_duration(Duration::from_nanos(self.0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error of parsing a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version: a version is a decimal number")]
pub struct ParseVersionError(());

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Version, ParseVersionError> {
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseVersionError(()));
        }
        text.parse().map(Version).map_err(|_| ParseVersionError(()))
    }
}

/// Generates versions, each greater than all before and none above a durable ceiling.
///
/// The ceiling makes versions rise across sessions, however the last one ended: the next session starts at it. So it is durably
/// raised before the first version above it is given, once every [`HEADROOM`] of use.
#[derive(Debug)]
pub(crate) struct Clock {
    last: AtomicU64,
    ceiling: AtomicU64,
    raising: Mutex<()>,
}

/// How far the ceiling is raised above the version that needs it. Also how far versions run ahead of the time of day after a
/// crash, at most.
const HEADROOM: Duration = Duration::from_secs(10);

/// Every ceiling ends in this many nanoseconds within its millisecond. Time stamps that lost them are too coarse for versions.
const MARK_NS: u64 = STEP_NS;

impl Clock {
    /// A clock whose versions are all greater than `ceiling`, which is durable.
    pub(crate) fn above(ceiling: Version) -> Clock {
        Clock::between(ceiling, ceiling)
    }

    /// A clock of a new store, and the ceiling that is to be made durable before the first version is given.
    pub(crate) fn fresh() -> (Clock, Version) {
        let now = Version::now();
        let ceiling = ceiling_above(now.0);
        (Clock::between(now, ceiling), ceiling)
    }

    fn between(last: Version, ceiling: Version) -> Clock {
        let limit = |version: Version| AtomicU64::new(version.min(Version::CAP).0);
        Clock { last: limit(last), ceiling: limit(ceiling), raising: Mutex::new(()) }
    }

    /// The next version. `raise` makes a higher ceiling durable if one is needed; its error is returned.
    pub(crate) fn next<E>(&self, raise: impl FnOnce(Version) -> Result<(), E>) -> Result<Version, E> {
        self.after(Version::now().0, raise)
    }

    fn after<E>(&self, now: u64, raise: impl FnOnce(Version) -> Result<(), E>) -> Result<Version, E> {
        if let Some(version) = self.below_ceiling(now) {
            return Ok(version);
        }
        let _raising = lock(&self.raising);
        // Another thread may have raised it meanwhile.
        if let Some(version) = self.below_ceiling(now) {
            return Ok(version);
        }
        let version = greater(self.last.load(Ordering::Acquire), now);
        let ceiling = ceiling_above(version);
        raise(ceiling)?;
        self.ceiling.store(ceiling.0, Ordering::Release);
        Ok(self.below_ceiling(now).expect("fewer threads than versions below the ceiling"))
    }

    fn below_ceiling(&self, now: u64) -> Option<Version> {
        let next = |last| Some(greater(last, now)).filter(|next| *next <= self.ceiling.load(Ordering::Acquire));
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Version(greater(last, now)))
    }

    /// A bound on all versions given so far, rounded up to a valid ceiling.
    pub(crate) fn bound(&self) -> Version {
        marked(self.last.load(Ordering::Acquire))
    }
}

fn greater(last: u64, now: u64) -> u64 {
    (now / STEP_NS).max(last / STEP_NS + 1) * STEP_NS
}

fn ceiling_above(version: u64) -> Version {
    marked(version.saturating_add(u64::try_from(HEADROOM.as_nanos()).unwrap_or(u64::MAX)))
}

/// The next version from this one on that ends in the mark.
fn marked(version: u64) -> Version {
    let millisecond = version / 1_000_000 * 1_000_000 + MARK_NS;
    Version(if millisecond < version { millisecond + 1_000_000 } else { millisecond })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(_: Version) -> Result<(), ()> {
        Ok(())
    }

    #[test]
    fn versions_rise_whatever_the_clock_does() {
        let clock = Clock::above(Version::MIN);
        let mut last = Version::MIN;
        for now in [5_000_000, 5_000_001, 5_000_999, 5_001_000, 9_999_999, 3, 0, 10_000_000] {
            let version = clock.after(now, free).unwrap();
            assert!(version > last && version.0.is_multiple_of(STEP_NS), "{version} after {last}");
            last = version;
        }
        assert!(clock.bound() >= last);
        assert!(Clock::above(Version(7_000_000_500)).after(0, free).unwrap() > Version(7_000_000_500));
        assert!(clock.next(free).unwrap() > last);
        // A ceiling at the end of time does not stop the clock.
        let clock = Clock::above(Version(u64::MAX));
        assert!(clock.next(free).unwrap() < clock.next(free).unwrap());
    }

    #[test]
    fn no_version_is_above_the_durable_ceiling() {
        let clock = Clock::above(Version(1_000_000_000));
        let durable = std::cell::Cell::new(1_000_000_000);
        let mut raised = 0;
        for second in 1..100 {
            let now = second * 1_000_000_000;
            let version = clock.after(now, |ceiling| {
                assert!(ceiling.0 > durable.get() && ceiling.tells_fine_times());
                durable.set(ceiling.0);
                raised += 1;
                Ok::<(), ()>(())
            });
            assert!(version.unwrap().0 <= durable.get());
        }
        assert!((9..=11).contains(&raised), "{raised}");
        assert!(clock.bound().0 <= durable.get());
        // What cannot be raised gives no version, and the next one tries again.
        let late = durable.get() + 10 * STEP_NS;
        assert_eq!(clock.after(late, |_| Err("full")), Err("full"));
        assert!(clock.after(late, |_| Ok::<(), ()>(())).unwrap().0 >= late / STEP_NS * STEP_NS);
    }

    #[test]
    fn a_ceiling_tells_whether_times_are_kept() {
        for version in [0, 1, 999, 1_000, 1_001, 999_999, 1_000_000, 1_790_000_000_123_456_000] {
            let marked = marked(version);
            assert!(marked.0 >= version && marked.tells_fine_times(), "{version}");
            // Kept to 1 ms, 10 ms, 1 s and 2 s.
            for coarse in [1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000] {
                assert!(!Version(marked.0 / coarse * coarse).tells_fine_times(), "{version} {coarse}");
            }
        }
    }

    #[test]
    fn text_and_time_keep_them() {
        let version = Version(1_790_000_000_123_456_000);
        assert_eq!(version.to_string().parse(), Ok(version));
        let time = version.to_time();
        assert_eq!(Version::at(time.tv_sec(), time.tv_nsec()), version);
        assert_eq!(Version::at(-5, 7), Version(7));
        for bad in ["", "x", "-1", "+1", "1.0", "99999999999999999999999"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
