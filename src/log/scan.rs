//! Finds the live records of a log.
//!
//! A record is live if it continues the sequence from the start that the superblock names. The first one that is missing ends the
//! log: its write was cut short. But if a later record of the same session is whole, the missing one was durable once, since one
//! record is in flight at a time: then the log is damaged, and nothing of it may be believed.

use std::ops::Range;

use bytes::Bytes;
use nix::errno::Errno;

use super::layout::{AREA, BLOCKS, Layout, Position, SLOTS};
use super::record::{self, Header, Record};
use super::storage::Storage;
use super::superblock::{self, LogId, Slot, State, Superblock};
use crate::engine::{Payload, is_mutant};
use crate::fs::buffer::AlignedBuffer;

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The superblock that counts.
    pub(crate) superblock: Superblock,
    /// The slot that is to be written first when the superblock changes: the other one holds the superblock that counts.
    pub(crate) first_slot: usize,
    /// Whether that slot is invalid.
    pub(crate) is_lone: bool,
    /// The live records, in sequence.
    pub(crate) records: Vec<Record>,
    /// Behind the last live record.
    pub(crate) head: Position,
    /// The inode number of the file that it was copied from while records were live. They may be older than the files beside it, or
    /// newer.
    pub(crate) copied_from: Option<u64>,
}

/// Why the records of a log cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it cannot be read: {0}")]
    Io(#[source] Errno),
    #[error("neither of its superblocks is valid")]
    NoSuperblock,
    #[error("its format is version {0}; this version of ringbolt knows version {known}", known = superblock::VERSION)]
    Later(u32),
    #[error("it should have {wanted} bytes, and has {found}")]
    Length { wanted: u64, found: u64 },
    #[error("record {} at offset {} is damaged", .0.sequence, .0.offset)]
    Damaged(Position),
    #[error("its superblock is older than record {} at offset {}", .0.sequence, .0.offset)]
    Stale(Position),
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Fault {
        Fault::Io(errno)
    }
}

/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// Reads a log. Changes nothing.
pub(crate) fn scan(storage: &dyn Storage) -> Result<Contents, Fault> {
    let Newest { superblock, first_slot, is_lone } = newest(storage)?;
    let Superblock { layout, inode, start, state, .. } = superblock;
    let (found, found_inode) = (storage.len(), storage.inode());
    if found != layout.len {
        return Err(Fault::Length { wanted: layout.len, found });
    }
    // A clean copy is as good as the original: it is bound to its file when a session begins.
    let copied_from = (inode != found_inode && state != State::Clean).then_some(inode);
    let mut reader = Reader { storage, superblock, chunk: None };
    if is_lone {
        reader.refuse_stale()?;
    }
    let (records, head) = match state {
        State::Clean => (Vec::new(), start),
        State::Running | State::Recovering { .. } => reader.live()?,
    };
    Ok(Contents { superblock, first_slot, is_lone, records, head, copied_from })
}

/// The superblock that counts. Unlike the records, it can be read while a writer uses the log: it is in two places.
pub(crate) fn superblock(storage: &dyn Storage) -> Result<Superblock, Fault> {
    newest(storage).map(|newest| newest.superblock)
}

/// The record at this position. EIO if it is not there any more.
pub(crate) fn record_at(storage: &dyn Storage, layout: Layout, id: LogId, position: Position) -> nix::Result<Record> {
    let block = storage.read(position.offset, layout.block as usize)?;
    let lengths = record::lengths(layout, id, position.offset, &block).ok_or(Errno::EIO)?;
    let bytes = storage.read(position.offset, lengths.padded)?;
    let record = record::decode(layout, id, position.offset, &bytes);
    record.filter(|record| record.header.position == position).ok_or(Errno::EIO)
}

/// Bytes of a record, which has been checked. Reads only the blocks that hold them: a record may have thousands of values.
pub(crate) fn value(storage: &dyn Storage, record: &Record, value: Range<usize>) -> nix::Result<Payload> {
    // Whole blocks, whatever their length is: a record has whole blocks.
    let most = *BLOCKS.end() as usize;
    let begin = value.start - value.start % most;
    let end = value.end.next_multiple_of(most).min(record.len as usize);
    let len = end.checked_sub(begin).ok_or(Errno::EIO)?;
    let bytes = storage.read(record.header.position.offset + begin as u64, len)?;
    let found = bytes.get(value.start - begin..value.end - begin).ok_or(Errno::EIO)?;
    Ok(Bytes::copy_from_slice(found).into())
}

/// The valid superblock of the greatest generation.
struct Newest {
    superblock: Superblock,
    first_slot: usize,
    /// Whether the other slot is invalid.
    is_lone: bool,
}

fn newest(storage: &dyn Storage) -> Result<Newest, Fault> {
    if storage.len() < AREA {
        return Err(Fault::NoSuperblock);
    }
    let slot = |offset| storage.read(offset, *BLOCKS.end() as usize).map(|block| Slot::decode(&block));
    let (superblock, first_slot, is_lone) = match (slot(SLOTS[0])?, slot(SLOTS[1])?) {
        (Slot::Later(version), _) | (_, Slot::Later(version)) => return Err(Fault::Later(version)),
        (Slot::Invalid, Slot::Invalid) => return Err(Fault::NoSuperblock),
        (Slot::Valid(first), Slot::Valid(second)) if first.generation > second.generation => (first, 1, false),
        (Slot::Valid(_), Slot::Valid(second)) => (second, 0, false),
        (Slot::Valid(first), Slot::Invalid) => (first, 1, true),
        (Slot::Invalid, Slot::Valid(second)) => (second, 0, true),
    };
    Ok(Newest { superblock, first_slot, is_lone })
}

/// Reads records through a buffer.
struct Reader<'a> {
    storage: &'a dyn Storage,
    superblock: Superblock,
    /// What was read last, and its offset.
    chunk: Option<(u64, AlignedBuffer)>,
}

impl Reader<'_> {
    fn layout(&self) -> Layout {
        self.superblock.layout
    }

    /// `len` bytes at `offset`; `None` beyond the end of the log.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<Option<&[u8]>, Fault> {
        let end = offset + len as u64;
        if end > self.layout().len {
            return Ok(None);
        }
        let holds = |(begin, chunk): &(u64, AlignedBuffer)| *begin <= offset && end <= begin + chunk.len() as u64;
        if !self.chunk.as_ref().is_some_and(holds) {
            let most = usize::try_from(self.layout().len - offset).unwrap_or(usize::MAX);
            self.chunk = Some((offset, self.storage.read(offset, len.max(CHUNK).min(most))?));
        }
        let (begin, chunk) = self.chunk.as_ref().expect("just read");
        let at = (offset - begin) as usize;
        Ok(Some(&chunk[at..at + len]))
    }

    /// The record at `offset`, if one of this log is there.
    fn record(&mut self, offset: u64) -> Result<Option<Record>, Fault> {
        let (layout, id) = (self.layout(), self.superblock.id);
        let Some(block) = self.bytes(offset, layout.block as usize)? else { return Ok(None) };
        let Some(lengths) = record::lengths(layout, id, offset, block) else { return Ok(None) };
        let Some(bytes) = self.bytes(offset, lengths.padded)? else { return Ok(None) };
        Ok(record::decode(layout, id, offset, bytes))
    }

    /// Every whole record of this log, live or not.
    fn all(&mut self) -> Result<Vec<Record>, Fault> {
        let layout = self.layout();
        let mut found = Vec::new();
        let mut offset = AREA;
        while offset < layout.len {
            let record = self.record(offset)?;
            // Not over the record: what looks like one may be the content of a value, and hide another behind it.
            offset += u64::from(layout.block);
            found.extend(record);
        }
        Ok(found)
    }

    /// Refuses a superblock that is older than a record with changes. Both slots are written whenever the superblock changes, and
    /// only then may anything rely on it, so a slot that is torn or rotten leaves one that is right. This finds what two faults
    /// leave.
    fn refuse_stale(&mut self) -> Result<(), Fault> {
        let Superblock { epoch, start, .. } = self.superblock;
        let is_newer = |Record { header, entries, .. }: &Record| {
            let of_later_session = header.epoch != epoch && header.position.sequence >= start.sequence;
            !entries.is_empty() && (of_later_session || header.start.sequence > start.sequence)
        };
        match self.all()?.iter().find(|record| is_newer(record)) {
            Some(record) => Err(Fault::Stale(record.header.position)),
            None => Ok(()),
        }
    }

    /// The live records, and the position behind the last.
    fn live(&mut self) -> Result<(Vec<Record>, Position), Fault> {
        let Superblock { epoch, first, start, state, .. } = self.superblock;
        let mut records: Vec<Record> = Vec::new();
        let mut next = start;
        while let Some(record) = self.continues(next)? {
            let Record { header, len, .. } = &record;
            next = Position { offset: header.position.offset + len, sequence: next.sequence + 1 };
            records.push(record);
            if state == (State::Recovering { end: next }) {
                return Ok((records, next));
            }
        }
        // The first record of a session was durable before its superblock, and a recovery has written down where it ends.
        let expects_more = next.sequence == first || matches!(state, State::Recovering { .. });
        let is_later =
            |record: &Record| record.header.epoch == epoch && record.header.position.sequence > next.sequence;
        if expects_more || self.all()?.iter().any(is_later) {
            return Err(Fault::Damaged(next));
        }
        Ok((records, next))
    }

    /// The record with the sequence number of `next`: there, or at the beginning of the area if it did not fit there.
    fn continues(&mut self, next: Position) -> Result<Option<Record>, Fault> {
        let epoch = self.superblock.epoch;
        let continues = |Record { header: Header { epoch: found, position, .. }, .. }: &Record| {
            // Not back to the beginning, or it would go round for ever.
            let any_sequence = is_mutant!(AnySequence) && position.offset == next.offset;
            (*found == epoch || is_mutant!(AnyEpoch)) && (position.sequence == next.sequence || any_sequence)
        };
        for offset in [next.offset, AREA] {
            let record = self.record(offset)?.filter(continues);
            if record.is_some() {
                return Ok(record);
            }
        }
        Ok(None)
    }
}
