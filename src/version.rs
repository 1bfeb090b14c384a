//! Versions of keys, and the clock that gives them.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;
use nix::sys::time::TimeSpec;

/// Versions are this many nanoseconds apart, so that filesystems which keep times less exactly than others (100 ns, 1 µs)
/// keep them whole.
const STEP_NS: u64 = 1_000;

const MS_NS: u64 = 1_000_000;

/// Which content of a key this is: given by every put, asked for by [`Store::put_if`](crate::Store::put_if).
///
/// It is a stamp that the store gives to each file before its sync, and keeps as the file's time of modification: the
/// clock's time in nanoseconds since 1970, but always greater than every stamp that this store has given before. So it never
/// comes again, also where the clock is set back or the store is reopened. The time that the kernel would put there is not
/// enough: it moves in ticks of up to 4 ms, within which a store replaces a file many times, and it follows the clock
/// when that is set back.
///
/// Only equality means something, and it means the same content: of two puts that meet, the one with the smaller version may be
/// the one that stays. A rename takes the version along, so a content that is renamed away and back has its own again. The
/// text form is a decimal number.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let store = ringbolt::Store::open(dir.path())?;
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
    /// Less than any that is given.
    pub(crate) const MIN: Version = Version(0);

    /// The year 2200. What claims to come from a later time was put there by somebody else, and filesystems end soon after.
    const CAP: Version = Version(230 * 365 * 86_400 * 1_000_000_000);

    /// What the clock says.
    pub(crate) fn now() -> Version {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Version(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2))
    }

    /// One that is later by this.
    pub(crate) fn plus(self, time: Duration) -> Version {
        Version(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)))
    }

    /// This version, or one step later if it is a whole number of milliseconds. A reader tells from the part below a millisecond
    /// that the filesystem keeps versions.
    pub(crate) fn finer_than_ms(self) -> Version {
        if self.0.is_multiple_of(MS_NS) { Version(self.0.saturating_add(STEP_NS)) } else { self }
    }

    /// Whether it has a part below a millisecond.
    pub(crate) fn is_finer_than_ms(self) -> bool {
        !self.0.is_multiple_of(MS_NS)
    }

    /// Itself, if a store can have given it.
    pub(crate) fn plausible(self) -> Version {
        if self < Version::CAP { self } else { Version::MIN }
    }

    /// What a file says.
    pub(crate) fn of(stat: &FileStat) -> Version {
        Version::at(stat.st_mtime, stat.st_mtime_nsec)
    }

    /// Seconds and nanoseconds since 1970; none before.
    pub(crate) fn at(seconds: impl TryInto<u64>, nanoseconds: impl TryInto<u64>) -> Version {
        let seconds: u64 = seconds.try_into().unwrap_or(0);
        Version(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds.try_into().unwrap_or(0)))
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

/// A text that is no version.
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

/// Gives versions: each greater than all before.
#[derive(Debug)]
pub(crate) struct Clock {
    last: AtomicU64,
}

impl Clock {
    /// A clock whose versions are all greater than `floor`.
    pub(crate) fn above(floor: Version) -> Clock {
        Clock { last: AtomicU64::new(floor.min(Version::CAP).0) }
    }

    pub(crate) fn next(&self) -> Version {
        self.after(Version::now().0)
    }

    fn after(&self, now: u64) -> Version {
        let greater = |last: u64| (now / STEP_NS).max(last / STEP_NS + 1) * STEP_NS;
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(greater(last)));
        Version(greater(last.unwrap_or_else(|last| last)))
    }

    /// The greatest version given, or the floor.
    pub(crate) fn last(&self) -> Version {
        Version(self.last.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_whatever_the_clock_does() {
        let clock = Clock::above(Version::MIN);
        let mut last = Version::MIN;
        for now in [5_000_000, 5_000_001, 5_000_999, 5_001_000, 9_999_999, 3, 0, 10_000_000] {
            let version = clock.after(now);
            assert!(version > last && version.0.is_multiple_of(STEP_NS), "{version} after {last}");
            last = version;
        }
        assert_eq!(clock.last(), last);
        assert!(Clock::above(Version(7_000_000_500)).after(0) > Version(7_000_000_500));
        assert!(clock.next() > last);
        // A file from the end of time does not stop the clock.
        let clock = Clock::above(Version(u64::MAX));
        assert!(clock.next() < clock.next());
    }

    #[test]
    fn whole_milliseconds_are_moved_on() {
        for (version, fine) in [(0, 1_000), (5_000_000, 5_001_000), (5_001_000, 5_001_000), (5_999_000, 5_999_000)] {
            assert_eq!(Version(version).finer_than_ms(), Version(fine));
            assert!(Version(fine).is_finer_than_ms());
        }
        assert!(!Version(7_000_000_000).is_finer_than_ms() && !Version(7_002_000_000).is_finer_than_ms());
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
