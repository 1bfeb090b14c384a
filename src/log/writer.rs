//! A log in use: appends records, and moves its start when they are in their files.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;

use nix::errno::Errno;

use super::layout::{Layout, Position};
use super::record::{self, Entry, Header, Record};
use super::scan;
use super::space::Space;
use super::storage::Storage;
use super::superblock::{LogId, State};
use super::superblocks::Superblocks;
use crate::engine::{EngineKind, Payload};
use crate::lock;
use crate::protocol::Version;

/// The log of an open store.
#[derive(Debug)]
pub(crate) struct Log {
    storage: Box<dyn Storage>,
    layout: Layout,
    id: LogId,
    epoch: u64,
    /// Held while the superblock changes; then `tail` only briefly, so that records are appended meanwhile.
    superblocks: Mutex<Superblocks>,
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    space: Space,
    /// The positions of the live records.
    live: VecDeque<Position>,
    /// The error of a write, after which nobody knows what is durable, and nothing more is written.
    failed: Option<Errno>,
}

/// Why no record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The log has no room before its start: a checkpoint must move that first. Nothing was written.
    Full,
    /// It is unknown whether the record is durable. Nothing more can be written.
    Failed(Errno),
}

/// How full a log is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) used: u64,
    pub(crate) capacity: u64,
}

impl Log {
    /// Begins a session in a clean log: writes the first record of a new epoch, then names it in the superblock. Where the
    /// superblock names an epoch, its first record is therefore durable, and a log without it is damaged.
    pub(crate) fn begin(
        storage: Box<dyn Storage>,
        mut superblocks: Superblocks,
        epoch: u64,
        floor: Version,
    ) -> nix::Result<Log> {
        let clean = *superblocks.current();
        assert_eq!(clean.state, State::Clean, "what is live is recovered first");
        let (layout, id) = (clean.layout, clean.id);
        let mut space = Space::empty(layout, clean.start);
        let len = record::padded_len(layout, &[]);
        let position = space.place(len).expect("an empty log has room");
        let durable = position.sequence - 1;
        let header = Header { id, epoch, position, start: position, durable, version_floor: floor.as_nanos() };
        storage.write(&record::encode(layout, &header, &[]), position.offset)?;
        space.take(position, len);
        let inode = storage.inode();
        superblocks.change(&*storage, |superblock| {
            superblock.state = State::Running;
            superblock.epoch = epoch;
            superblock.first = position.sequence;
            superblock.start = position;
            superblock.inode = inode;
            superblock.version_floor = superblock.version_floor.max(floor.as_nanos());
        })?;
        let tail = Tail { space, live: VecDeque::from([position]), failed: None };
        Ok(Log { storage, layout, id, epoch, superblocks: Mutex::new(superblocks), tail: Mutex::new(tail) })
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Appends a record with these changes, and returns its sequence number when it is durable. `floor` is at least the greatest
    /// version that the store has given.
    pub(crate) fn append(&self, entries: &[Entry<Payload>], floor: Version) -> Result<u64, Refused> {
        let mut tail = lock(&self.tail);
        if let Some(errno) = tail.failed {
            return Err(Refused::Failed(errno));
        }
        let (layout, id, epoch) = (self.layout, self.id, self.epoch);
        let len = record::padded_len(layout, entries);
        let position = tail.space.place(len).ok_or(Refused::Full)?;
        let (start, durable) = (tail.space.start(), position.sequence - 1);
        let header = Header { id, epoch, position, start, durable, version_floor: floor.as_nanos() };
        let bytes = record::encode(layout, &header, entries);
        // Before the write: should it unwind, nobody knows what it has written.
        tail.failed = Some(Errno::EIO);
        let written = self.storage.write(&bytes, position.offset);
        tail.failed = written.err();
        written.map_err(Refused::Failed)?;
        tail.space.take(position, len);
        tail.live.push_back(position);
        Ok(position.sequence)
    }

    /// Whether there is room for a record of this length.
    pub(crate) fn has_room(&self, len: u64) -> bool {
        lock(&self.tail).space.place(len).is_some()
    }

    /// The live records, read from the device.
    pub(crate) fn records(&self) -> nix::Result<Vec<Record>> {
        let live: Vec<Position> = lock(&self.tail).live.iter().copied().collect();
        live.iter().map(|position| scan::record_at(&*self.storage, self.layout, self.id, *position)).collect()
    }

    /// Bytes of a record.
    pub(crate) fn value(&self, record: &Record, value: Range<usize>) -> nix::Result<Payload> {
        scan::value(&*self.storage, record, value)
    }

    /// How the log is written.
    pub(crate) fn kind(&self) -> EngineKind {
        self.storage.kind()
    }

    /// The sequence number of the last record.
    pub(crate) fn last(&self) -> u64 {
        lock(&self.tail).space.head().sequence - 1
    }

    /// Moves the start behind the record `through`: it and all before it are in their files, durably. Frees their room once both
    /// superblocks say so.
    pub(crate) fn advance(&self, through: u64) -> nix::Result<()> {
        let mut superblocks = lock(&self.superblocks);
        let start = lock(&self.tail).first_behind(through);
        superblocks.change(&*self.storage, |superblock| superblock.start = start)?;
        let mut tail = lock(&self.tail);
        tail.live.retain(|position| position.sequence > through);
        // Again: the first record behind it may have been written meanwhile, at the beginning of the area.
        let start = tail.first_behind(through);
        tail.space.free(start);
        Ok(())
    }

    /// Ends the session: every record is in its files, durably.
    pub(crate) fn end(&self) -> nix::Result<()> {
        let mut superblocks = lock(&self.superblocks);
        let head = lock(&self.tail).space.head();
        superblocks.clean(&*self.storage, head)
    }

    pub(crate) fn fill(&self) -> Fill {
        let tail = lock(&self.tail);
        Fill { used: tail.space.used(), capacity: tail.space.capacity() }
    }
}

impl Tail {
    /// The position of the first record behind `through`, or of the next one.
    fn first_behind(&self, through: u64) -> Position {
        self.live.iter().find(|position| position.sequence > through).copied().unwrap_or(self.space.head())
    }
}
