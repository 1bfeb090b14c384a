//! Reading the intent log of a store that no writer has open.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::errno::Errno;

use super::format::{Format, OWN};
use super::log::{failed, unusable};
use super::log_change::{LogChange, LogRecord, LogState, LogSuperblock};
use crate::commit;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::Dir;
use crate::log::file::{self, LogFile, Peek};
use crate::log::image::Image;
use crate::log::record::Record;
use crate::log::scan::{self, Contents};
use crate::log::storage::Storage;
use crate::protocol::Version;

/// The intent log of a store that no writer has open: what waits there for recovery. Changes nothing on the disk.
///
/// A store with [`Barrier::IntentLog`](crate::Barrier::IntentLog) has such a log. After its writer was interrupted, the log holds
/// the changes that may be missing from the files. [`Store::open`](crate::Store::open) brings them into the files; this shows
/// them first. While the value lives, no writer can open the store: its open waits for half a minute and fails then.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # ringbolt::Store::create(dir.path())?;
/// use ringbolt::LogReader;
///
/// if let Some(log) = LogReader::open(dir.path())? {
///     println!("{} changes wait for recovery", log.pending());
///     for change in log.records().flat_map(|record| record.changes()) {
///         println!("{} {:?}", change.key(), change.kind());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LogReader {
    storage: Box<dyn Storage>,
    contents: Contents,
    path: PathBuf,
}

impl LogReader {
    /// Opens and reads the log of the store in a directory; `None` if the store has none. Checks every live record, but reads no
    /// value before it is asked for.
    ///
    /// # Errors
    ///
    /// [`Locked`](ErrorKind::Locked) if a writer has the log open, [`DamagedLog`](ErrorKind::DamagedLog),
    /// [`NotAStore`](ErrorKind::NotAStore), [`UnknownFormat`](ErrorKind::UnknownFormat), or the directory or the log cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Option<LogReader>> {
        let root = Dir::open(path.as_ref())?;
        let no_store = || Error::new(ErrorKind::NotAStore, Step::Check, root.path());
        let own = root.open_beneath(OWN).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR => no_store(),
            errno => Error::from_errno(errno, Step::OpenDir, root.path().join(OWN)),
        })?;
        let format = Format::read(&own)?.ok_or_else(no_store)?;
        format.check(&root)?;
        match LogFile::peek(&own)? {
            Peek::Open(file) => {
                let contents = scan::scan(&file).map_err(|fault| failed(&own, &fault))?;
                Ok(Some(LogReader { storage: Box::new(file), contents, path: own.path_of(file::NAME) }))
            }
            Peek::InUse(_) => Err(Error::new(ErrorKind::Locked, Step::OpenLog, own.path_of(file::NAME))),
            Peek::Missing if format.needs_log() => Err(unusable(&own, "it is missing".into())),
            Peek::Missing => Ok(None),
        }
    }

    /// Reads a log whose bytes are in memory, as those of a file with this inode number. For tests of the format.
    ///
    /// # Errors
    ///
    /// [`DamagedLog`](ErrorKind::DamagedLog).
    #[doc(hidden)]
    pub fn of_image(bytes: Vec<u8>, inode: u64) -> Result<LogReader> {
        let image = Image { bytes, inode };
        let damaged =
            |fault: scan::Fault| Error::new(ErrorKind::DamagedLog, Step::ReadLog, "log").with_detail(fault.to_string());
        let contents = scan::scan(&image).map_err(damaged)?;
        Ok(LogReader { storage: Box::new(image), contents, path: "log".into() })
    }

    /// What the log says of itself.
    pub fn superblock(&self) -> LogSuperblock {
        let found = &self.contents.superblock;
        LogSuperblock {
            state: LogState::of(found.state),
            len: found.layout.len,
            block_len: found.layout.block,
            generation: found.generation,
            epoch: found.epoch,
            start_sequence: found.start.sequence,
            start_offset: found.start.offset,
            version_floor: Version::from_nanos(found.version_floor),
        }
    }

    /// Whether this is a copy of a log, made while changes were in it. Opening the store refuses it:
    /// [`StoreBuilder::accept_copied_log`](crate::StoreBuilder::accept_copied_log).
    pub fn is_copy(&self) -> bool {
        self.contents.copied_from.is_some()
    }

    /// The records whose changes may be missing from the files, in the order in which they were written.
    pub fn records(&self) -> impl ExactSizeIterator<Item = LogRecord<'_>> {
        self.contents.records.iter().map(|record| LogRecord { log: self, record })
    }

    /// The last change of each key, in the order of the log: what a recovery applies.
    pub fn last_changes(&self) -> impl ExactSizeIterator<Item = LogChange<'_>> {
        let changes = commit::last_changes(&self.contents.records).into_iter();
        changes.map(|(record, entry)| LogChange { log: self, record, entry })
    }

    /// How many changes wait for recovery.
    pub fn pending(&self) -> usize {
        self.contents.records.iter().map(|record| record.entries.len()).sum()
    }

    pub(super) fn value(&self, record: &Record, key: &str, value: Range<usize>) -> Result<Bytes> {
        let read = scan::value(&*self.storage, record, value);
        let value = read.map_err(|errno| {
            Error::from_errno(errno, Step::ReadLog, &self.path).with_detail(format!("the value of {key:?}"))
        })?;
        Ok(value.contiguous().cloned().expect("a value that was read is one chunk"))
    }
}
