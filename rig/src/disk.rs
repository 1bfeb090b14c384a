//! The disk behind an image: its bytes, its request log, and injected faults.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::chunks::Chunks;

/// A request that changes the disk, or flushes it.
#[derive(Clone, Debug)]
pub enum Record {
    /// A write.
    Write {
        /// The offset in bytes.
        offset: u64,
        /// The bytes written.
        bytes: Arc<[u8]>,
    },
    /// Zeroes, or a discard, which zeroes here.
    Zero {
        /// The offset in bytes.
        offset: u64,
        /// The length in bytes.
        len: u64,
    },
    /// A flush: everything before it is durable.
    Flush,
}

impl Record {
    /// Applies the request to `chunks`.
    pub fn apply(&self, chunks: &mut Chunks) {
        match self {
            Record::Write { offset, bytes } => _ = chunks.write(*offset, bytes),
            Record::Zero { offset, len } => chunks.discard(*offset, *len),
            Record::Flush => {}
        }
    }
}

/// Counts of requests.
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

/// Which requests fail with EIO. A failed write changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refuse {
    /// Nothing.
    #[default]
    Nothing,
    /// Writes, zeroes and discards.
    Writes,
    /// Flushes.
    Flushes,
    /// One write, discard or flush, after this many others; then no more.
    One(usize),
}

/// A disk in memory, shared by the server and the test.
#[derive(Debug)]
pub struct Disk {
    state: Mutex<DiskState>,
    reads: AtomicU64,
    writes: AtomicU64,
    discards: AtomicU64,
    flushes: AtomicU64,
}

#[derive(Debug)]
struct DiskState {
    chunks: Chunks,
    log: Option<Vec<Record>>,
    refuse: Refuse,
}

impl Disk {
    /// A disk of `size` zeroes.
    pub fn new(size: u64) -> Arc<Disk> {
        Arc::new(Disk {
            state: Mutex::new(DiskState { chunks: Chunks::new(size), log: None, refuse: Refuse::default() }),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            discards: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
        })
    }

    /// The current content, durable or not.
    pub fn content(&self) -> Chunks {
        self.state().chunks.clone()
    }

    /// Replaces the content. Caches of the old content must be dropped.
    pub fn load(&self, content: Chunks) {
        self.state().chunks = content;
    }

    /// Starts recording, with an empty log and the current content.
    pub fn record(&self) -> Chunks {
        let mut state = self.state();
        state.log = Some(Vec::new());
        state.chunks.clone()
    }

    /// The log position of the next request.
    pub fn position(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    /// Stops recording and returns the log.
    pub fn recorded(&self) -> Vec<Record> {
        self.state().log.take().unwrap_or_default()
    }

    /// Sets which requests fail from now on.
    pub fn refuse(&self, refuse: Refuse) {
        self.state().refuse = refuse;
    }

    /// Which requests still fail. After a single injected fault, none.
    pub fn refuses(&self) -> Refuse {
        self.state().refuse
    }

    /// The counts of requests so far.
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

    /// Writes as much as fits; `None` if the request fails.
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

    fn state(&self) -> MutexGuard<'_, DiskState> {
        // A panic cannot break an invariant of plain bytes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiskState {
    /// Whether a request of a kind that can fail does fail.
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
