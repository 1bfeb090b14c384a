//! The metadata of a key.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;

use crate::protocol::Version;

/// The metadata of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// Length in bytes.
    pub len: u64,
    /// When this content was written: the version as a time. Later than that if the clock was set back.
    pub modified: SystemTime,
    /// Permission bits (`0o7777`).
    pub mode: u32,
    /// Identifies the content. For a file that was not put by a store, its modification time.
    ///
    /// `None` if the filesystem's time stamps are so coarse that two contents could share a version: ext4 with 128-byte inodes
    /// keeps whole seconds, for example. See [`Reader::open`](crate::Reader::open) for how a reader finds out.
    pub version: Option<Version>,
}

impl Metadata {
    /// From fstat(2).
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ between systems")]
    pub(super) fn of(stat: &FileStat, keeps_versions: bool) -> Metadata {
        Metadata {
            len: u64::try_from(stat.st_size).unwrap_or(0),
            modified: time(i64::from(stat.st_mtime), stat.st_mtime_nsec as i64),
            mode: stat.st_mode as u32 & 0o7777,
            version: keeps_versions.then(|| Version::of(stat)),
        }
    }

    /// The same of an open file.
    pub(super) fn of_file(found: &fs::Metadata, keeps_versions: bool) -> Metadata {
        Metadata {
            len: found.len(),
            modified: time(found.mtime(), found.mtime_nsec()),
            mode: found.mode() & 0o7777,
            version: version(found, keeps_versions),
        }
    }
}

/// The version of an open file.
pub(super) fn version(found: &fs::Metadata, keeps_versions: bool) -> Option<Version> {
    keeps_versions.then(|| Version::at(found.mtime(), found.mtime_nsec()))
}

/// Seconds and nanoseconds since 1970, or before.
fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(whole),
        _ => SystemTime::UNIX_EPOCH.checked_sub(whole),
    };
    second.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_nanos(nanoseconds.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("f")).unwrap();
        file.set_len(5).unwrap();
        let second = Duration::from_secs(1);
        for time in [SystemTime::now(), SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH - second / 4 - second] {
            file.set_modified(time).unwrap();
            let found = Metadata::of_file(&file.metadata().unwrap(), true);
            assert_eq!(found, Metadata::of(&nix::sys::stat::fstat(&file).unwrap(), true));
            assert_eq!((found.len, found.modified), (5, file.metadata().unwrap().modified().unwrap()));
            assert!(found.version.is_some());
            assert_eq!(Metadata::of_file(&file.metadata().unwrap(), false).version, None);
        }
    }
}
