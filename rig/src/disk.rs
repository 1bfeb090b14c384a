//! What is behind an image: its bytes, what was asked of it, and what it is to refuse.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chunks::Chunks;

/// Something that a disk was asked for and that changes what is on it, or makes that durable.
#[derive(Clone, Debug)]
pub enum Record {
    /// Bytes, and where they begin.
    Write {
        /// In bytes from the beginning of the disk.
        offset: u64,
        /// What was written.
        bytes: Arc<[u8]>,
    },
    /// Zeroes, or a discard, which leaves zeroes here.
    Zero {
        /// In bytes from the beginning of the disk.
        offset: u64,
        /// In bytes.
        len: u64,
    },
    /// A flush of the disk's cache: what is before it is durable.
    Flush,
}

impl Record {
    /// Applies it to some bytes.
    pub fn apply(&self, chunks: &mut Chunks) {
        match self {
            Record::Write { offset, bytes } => _ = chunks.write(*offset, bytes),
            Record::Zero { offset, len } => chunks.discard(*offset, *len),
            Record::Flush => {}
        }
    }
}

/// What was asked of a disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes, without discards.
    pub writes: u64,
    /// Discards and ranges of zeroes.
    pub discards: u64,
    /// Flushes.
    pub flushes: u64,
}

/// What a disk answers with EIO. Nothing of a write that it refuses is on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refuse {
    /// Nothing.
    #[default]
    Nothing,
    /// Writes, zeroes and discards.
    Writes,
    /// Flushes.
    Flushes,
    /// One request that changes something or flushes, after so many others; then nothing more.
    One(usize),
}

/// A disk in memory, shared by who serves it and who looks on.
#[derive(Debug)]
pub struct Disk {
    state: Mutex<State>,
    reads: AtomicU64,
    writes: AtomicU64,
    discards: AtomicU64,
    flushes: AtomicU64,
}

#[derive(Debug)]
struct State {
    chunks: Chunks,
    log: Option<Vec<Record>>,
    refuse: Refuse,
}

impl Disk {
    /// A disk of `size` zeroes.
    pub fn new(size: u64) -> Arc<Disk> {
        Arc::new(Disk {
            state: Mutex::new(State { chunks: Chunks::new(size), log: None, refuse: Refuse::default() }),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            discards: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
        })
    }

    /// What is on it now, whether durable or not.
    pub fn content(&self) -> Chunks {
        self.state().chunks.clone()
    }

    /// Puts something else on it. Whoever has a cache of what was there must let go of it.
    pub fn load(&self, content: Chunks) {
        self.state().chunks = content;
    }

    /// Begins to record, with an empty log, from what is on it now.
    pub fn record(&self) -> Chunks {
        let mut state = self.state();
        state.log = Some(Vec::new());
        state.chunks.clone()
    }

    /// How much was recorded so far: the place in the log of what comes next.
    pub fn position(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    /// Ends the recording, and hands out the log.
    pub fn recorded(&self) -> Vec<Record> {
        self.state().log.take().unwrap_or_default()
    }

    /// Refuses this from now on.
    pub fn refuse(&self, refuse: Refuse) {
        self.state().refuse = refuse;
    }

    /// What it still refuses: after the one request that it was to refuse, nothing.
    pub fn refuses(&self) -> Refuse {
        self.state().refuse
    }

    /// What was asked of it so far.
    pub fn counts(&self) -> Counts {
        let Disk { reads, writes, discards, flushes, .. } = self;
        let [reads, writes, discards, flushes] =
            [reads, writes, discards, flushes].map(|count| count.load(Ordering::Relaxed));
        Counts { reads, writes, discards, flushes }
    }

    pub(crate) fn size(&self) -> u64 {
        self.state().chunks.size()
    }

    pub(crate) fn allocated(&self) -> u64 {
        self.state().chunks.allocated()
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.state().chunks.read(offset, len)
    }

    /// Writes what fits; `None` if it refuses.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Option<usize> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if state.refuses(Refuse::Writes) {
            return None;
        }
        let written = state.chunks.write(offset, bytes);
        state.note(|| Record::Write { offset, bytes: bytes[..written].into() });
        Some(written)
    }

    pub(crate) fn zero(&self, offset: u64, len: u64) -> Option<()> {
        self.discards.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if state.refuses(Refuse::Writes) {
            return None;
        }
        state.chunks.discard(offset, len);
        state.note(|| Record::Zero { offset, len });
        Some(())
    }

    pub(crate) fn flush(&self) -> Option<()> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if state.refuses(Refuse::Flushes) {
            return None;
        }
        state.note(|| Record::Flush);
        Some(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Bytes have no invariant that a panic could have broken.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a request is refused, of a kind that could be.
    fn refuses(&mut self, kind: Refuse) -> bool {
        match self.refuse {
            Refuse::One(0) => {
                self.refuse = Refuse::Nothing;
                true
            }
            Refuse::One(left) => {
                self.refuse = Refuse::One(left - 1);
                false
            }
            refused => refused == kind,
        }
    }

    fn note(&mut self, record: impl FnOnce() -> Record) {
        if let Some(log) = &mut self.log {
            log.push(record());
        }
    }
}
