//! What a [`LogReader`] shows: the superblock, records and changes of an intent log.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::log_reader::LogReader;
use crate::error::Result;
use crate::log::record::{Change, Entry, Put, Record};
use crate::log::superblock::State;
use crate::protocol::Version;

/// What an intent log says of itself: [`LogReader::superblock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSuperblock {
    /// What the log is in the middle of.
    pub state: LogState,
    /// The length of the log file, in bytes.
    pub len: u64,
    /// The unit of every write, in bytes.
    pub block_len: u32,
    /// How often the superblock has changed.
    pub generation: u64,
    /// The random number of the session that last wrote records; 0 before the first.
    pub epoch: u64,
    /// The sequence number of the first live record, or of the next one if none is live.
    pub start_sequence: u64,
    /// Where that record is, in bytes from the beginning of the file.
    pub start_offset: u64,
    /// At least the greatest version that was given before this superblock was written.
    pub version_floor: Version,
}

/// What an intent log is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogState {
    /// The last writer has closed the store: every change is in its file.
    Clean,
    /// The last writer was interrupted.
    Running,
    /// A recovery was interrupted.
    Recovering,
}

/// A commit in an intent log. Its changes took effect together: [`LogReader::records`].
#[derive(Clone, Copy)]
pub struct LogRecord<'a> {
    pub(super) log: &'a LogReader,
    pub(super) record: &'a Record,
}

/// A change of one key in an intent log: [`LogRecord::changes`].
#[derive(Clone, Copy)]
pub struct LogChange<'a> {
    pub(super) log: &'a LogReader,
    pub(super) record: &'a Record,
    pub(super) entry: &'a Entry<Range<usize>>,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogChangeKind {
    /// The key has new content.
    Put(LogPut),
    /// The key was removed.
    Delete,
    /// The file of the key was made durable, and then changed without the log: a recovery leaves it alone.
    FileRules,
}

/// The new content of a key and what the file has beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogPut {
    /// The length of the content, in bytes.
    pub len: u64,
    /// The version.
    pub version: Version,
    /// The permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl LogState {
    pub(super) fn of(state: State) -> LogState {
        match state {
            State::Clean => LogState::Clean,
            State::Running => LogState::Running,
            State::Recovering { .. } => LogState::Recovering,
        }
    }
}

impl fmt::Display for LogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogState::Clean => "clean",
            LogState::Running => "running",
            LogState::Recovering => "recovering",
        })
    }
}

impl<'a> LogRecord<'a> {
    /// The sequence number: one more than that of the record before it.
    pub fn sequence(&self) -> u64 {
        self.record.header.position.sequence
    }

    /// Where the record is, in bytes from the beginning of the file.
    pub fn offset(&self) -> u64 {
        self.record.header.position.offset
    }

    /// The bytes that the record takes in the file.
    pub fn len(&self) -> u64 {
        self.record.len
    }

    /// Whether it holds no changes: each session begins with such a record.
    pub fn is_empty(&self) -> bool {
        self.record.entries.is_empty()
    }

    /// The changes, in the order in which they were made.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = LogChange<'a>> + use<'a> {
        let LogRecord { log, record } = *self;
        record.entries.iter().map(move |entry| LogChange { log, record, entry })
    }
}

impl<'a> LogChange<'a> {
    /// The key.
    pub fn key(&self) -> &'a str {
        &self.entry.key
    }

    /// The sequence number of the record that holds the change.
    pub fn sequence(&self) -> u64 {
        self.record.header.position.sequence
    }

    /// What becomes of the key.
    pub fn kind(&self) -> LogChangeKind {
        match &self.entry.change {
            Change::Put(put) => LogChangeKind::Put(LogPut::of(put)),
            Change::Delete => LogChangeKind::Delete,
            Change::FileRules => LogChangeKind::FileRules,
        }
    }

    /// Reads the new content; `None` unless the change is a put.
    ///
    /// # Errors
    ///
    /// The log cannot be read.
    pub fn value(&self) -> Result<Option<Bytes>> {
        match &self.entry.change {
            Change::Put(put) => self.log.value(self.record, &self.entry.key, put.value.clone()).map(Some),
            Change::Delete | Change::FileRules => Ok(None),
        }
    }
}

impl LogPut {
    fn of(put: &Put<Range<usize>>) -> LogPut {
        LogPut {
            len: put.value.len() as u64,
            version: Version::from_nanos(put.version),
            mode: put.mode,
            uid: put.owner.uid,
            gid: put.owner.gid,
        }
    }
}

impl fmt::Debug for LogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogRecord").field("sequence", &self.sequence()).field("offset", &self.offset()).finish()
    }
}

impl fmt::Debug for LogChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogChange").field("key", &self.key()).field("kind", &self.kind()).finish()
    }
}
