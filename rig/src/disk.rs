//! The disk behind an image: its bytes, its request log, and injected faults.

use std::collections::HashSet;
use std::ops::Range;
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
    /// Forced unit access: the write before it is durable, and nothing else.
    Forced,
}

impl Record {
    /// Applies the request to `chunks`.
    pub fn apply(&self, chunks: &mut Chunks) {
        match self {
            Record::Write { offset, bytes } => _ = chunks.write(*offset, bytes),
            Record::Zero { offset, len } => chunks.discard(*offset, *len),
            Record::Flush | Record::Forced => {}
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

/// The beginning of a content, by which a write of it is recognised.
pub type Head = [u8; 16];

/// Contents begin at blocks of the filesystem, which are not smaller.
const BLOCK: usize = 1024;

/// A write that fails with EIO, once.
#[derive(Clone, Debug, Default)]
struct FailingWrite {
    /// It holds a content with one of these beginnings.
    heads: HashSet<Head>,
    /// How many such writes succeed before it.
    left: usize,
    /// The log position at which it failed.
    failed: Option<usize>,
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
    /// Writes within one of these ranges are made with forced unit access.
    forced: Vec<Range<u64>>,
    failing: Option<FailingWrite>,
}

impl Disk {
    /// A disk of `size` zeroes.
    pub fn new(size: u64) -> Arc<Disk> {
        Arc::new(Disk {
            state: Mutex::new(DiskState {
                chunks: Chunks::new(size),
                log: None,
                refuse: Refuse::default(),
                forced: Vec::new(),
                failing: None,
            }),
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

    /// Takes every write within one of these ranges for one with forced unit access, from now on.
    pub fn force(&self, ranges: Vec<Range<u64>>) {
        self.state().forced = ranges;
    }

    /// While it records, fails one write of a content that is [due](Disk::is_due) when it is written, after this many others. `None`:
    /// fails none.
    pub fn fail_write(&self, after: Option<usize>) {
        self.state().failing = after.map(|left| FailingWrite { left, ..FailingWrite::default() });
    }

    /// A content with this beginning counts from now on.
    pub fn is_due(&self, head: Head) {
        if let Some(failing) = &mut self.state().failing {
            failing.heads.insert(head);
        }
    }

    /// The log position at which a write failed.
    pub fn failed_at(&self) -> Option<usize> {
        self.state().failing.as_ref()?.failed
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
        if state.refuses(Refuse::Writes) || state.fails(bytes) {
            return None;
        }
        let written = state.chunks.write(offset, bytes);
        state.note(|| Record::Write { offset, bytes: bytes[..written].into() });
        let end = offset + written as u64;
        if state.forced.iter().any(|range| range.start <= offset && end <= range.end) {
            state.note(|| Record::Forced);
        }
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

    /// Whether the one write that fails is this one.
    fn fails(&mut self, bytes: &[u8]) -> bool {
        let Some(position) = self.log.as_ref().map(Vec::len) else { return false };
        let Some(failing) = self.failing.as_mut().filter(|failing| failing.failed.is_none()) else { return false };
        let is_due = |block: &[u8]| block.first_chunk().is_some_and(|head: &Head| failing.heads.contains(head));
        if !bytes.chunks(BLOCK).any(is_due) {
            return false;
        }
        if failing.left > 0 {
            failing.left -= 1;
            return false;
        }
        failing.failed = Some(position);
        true
    }

    fn note(&mut self, record: impl FnOnce() -> Record) {
        if let Some(log) = &mut self.log {
            log.push(record());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: u8) -> Vec<u8> {
        let mut block = vec![7; 4096];
        block[0] = first;
        block
    }

    #[test]
    fn forced_unit_access_is_noted_of_writes_in_its_ranges_only() {
        let disk = Disk::new(1 << 20);
        disk.force(vec![8192..16_384, 65_536..69_632]);
        disk.record();
        for (offset, len) in [(8192, 8192), (4096, 8192), (12_288, 8192), (0, 512)] {
            disk.write(offset, &vec![1; len]);
        }
        let forced: Vec<bool> = disk.recorded().iter().map(|record| matches!(record, Record::Forced)).collect();
        assert_eq!(forced, [false, true, false, false, false]);
    }

    #[test]
    fn one_write_of_a_content_that_is_due_fails() {
        let disk = Disk::new(1 << 20);
        disk.fail_write(Some(1));
        for first in [1, 2] {
            disk.is_due(*block(first).first_chunk().unwrap());
        }
        assert_eq!(disk.write(0, &block(1)), Some(4096), "nothing fails before the recording");
        disk.record();
        let long = [block(3), block(2)].concat();
        let written = [block(3), block(1), long.clone(), long].map(|bytes| disk.write(0, &bytes));
        assert_eq!(written, [Some(4096), Some(4096), None, Some(8192)], "the second that is due, and only once");
        assert_eq!((disk.failed_at(), disk.recorded().len()), (Some(2), 3));
        disk.fail_write(None);
        assert_eq!(disk.failed_at(), None);
    }
}
