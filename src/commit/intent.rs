//! The intent log of a store, as its commits use it.
//!
//! A commit takes its [`Turn`], decides the conditions of its changes, writes their record, and changes their names. Turns follow
//! one another, so a condition is decided when everything logged before it is in the files, and records have the order of the
//! changes that readers see.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::checkpoint::Made;
use super::core::Core;
use super::in_flight::InFlight;
use super::pace;
use super::stats::LogStats;
use crate::engine::{Payload, is_mutant};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::Dir;
use crate::fs::key::KEY_MAX;
use crate::lock;
use crate::log::record::{self, Entry};
use crate::log::writer::{Fill, Log, Refused};
use crate::protocol::{Fate, Phase, Version};

/// Values longer than this are not logged: writing them twice costs more than the syncs of their file.
const VALUE_MAX: usize = 256 << 10;

/// The log, what it holds, and what has become of that.
#[derive(Debug)]
pub(crate) struct IntentLog {
    pub(super) log: Log,
    turn: Mutex<()>,
    /// The greatest sequence number whose changes all have their names.
    published: AtomicU64,
    /// The sequence number of the session's first record, which holds no change.
    first: u64,
    /// The hashes of the keys with a record that no checkpoint has covered, and the sequence number of the last one. Two keys with
    /// one hash do no harm: the second is taken for live as well.
    live: Mutex<HashMap<u64, u64>>,
    hasher: RandomState,
    pub(super) work: Mutex<Work>,
    /// Something in `work` has changed.
    pub(super) changed: Condvar,
    /// For the `syncfs` of checkpoints. It was opened before the first record: the kernel reports an error of writeback to each
    /// open file once, and only if it was open before.
    pub(super) filesystem: Arc<Dir>,
    failed_syncs: AtomicU64,
    /// How long the last record took.
    record_nanos: AtomicU64,
    value_max: usize,
}

/// What the checkpointing thread has to do, and has done.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// How many checkpoints were asked for, and how many of those requests are served.
    pub(super) asked: u64,
    pub(super) served: u64,
    /// Why nothing more can be served.
    pub(super) failed: bool,
    pub(super) closed: bool,
    /// The superblock says that the log is clean.
    pub(super) ended: bool,
    /// When the checkpoint began that is being made.
    pub(super) began: Option<Instant>,
    /// How long the last one took.
    pub(super) last: Duration,
    pub(super) done: Checkpoints,
    /// How long commits have waited for room, in all.
    waited: Duration,
}

/// The checkpoints so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Checkpoints {
    count: u64,
    rewritten: u64,
}

impl Checkpoints {
    pub(super) fn note(&mut self, made: Made) {
        self.count += 1;
        self.rewritten += u64::from(made == Made::Rewritten);
    }
}

/// The right to write the next record and to publish its changes.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    log: &'a IntentLog,
    _held: MutexGuard<'a, ()>,
}

impl IntentLog {
    pub(super) fn new(log: Log, filesystem: Arc<Dir>) -> IntentLog {
        // Beside it in a record: the header, and two changes with the longest keys, for a rename.
        let room = log.layout().record_max() as usize - record::HEADER - 2 * (record::CHANGE_MAX + KEY_MAX);
        IntentLog {
            published: AtomicU64::new(log.last()),
            first: log.last(),
            value_max: room.min(VALUE_MAX),
            log,
            turn: Mutex::default(),
            live: Mutex::default(),
            hasher: RandomState::new(),
            work: Mutex::default(),
            changed: Condvar::new(),
            filesystem,
            failed_syncs: AtomicU64::new(0),
            record_nanos: AtomicU64::new(0),
        }
    }

    /// How long the last record took.
    pub(super) fn record_time(&self) -> Duration {
        Duration::from_nanos(self.record_nanos.load(Ordering::Relaxed))
    }

    /// How many syncs of checkpoints have failed. A file that was written before one of them, and has no record yet, may be lost: the
    /// kernel may have dropped its pages, and no later sync says so.
    pub(super) fn failed_syncs(&self) -> u64 {
        self.failed_syncs.load(Ordering::Acquire)
    }

    /// Notes that the sync of a checkpoint has failed. The caller has [stopped the turns](IntentLog::stop_turns).
    pub(super) fn note_failed_sync(&self) {
        self.failed_syncs.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a value of this length goes into the log.
    pub(super) fn takes(&self, len: usize) -> bool {
        len <= self.value_max
    }

    /// The length of the longest value that goes into the log.
    pub(super) fn value_max(&self) -> usize {
        self.value_max
    }

    /// The most bytes that the changes of one record may take.
    pub(super) fn record_max(&self) -> u64 {
        self.log.layout().record_max() - record::HEADER as u64
    }

    /// Waits for the turn, and for room for a record whose changes take `bytes` at most. Fails if the store is poisoned.
    pub(super) fn turn(&self, core: &Core, bytes: u64) -> Result<Turn<'_>> {
        let layout = self.log.layout();
        let len = layout.padded(record::HEADER as u64 + bytes).min(layout.record_max());
        self.slow_down(len);
        loop {
            let has_checkpoints = self.wait_for_room(len);
            let held = lock(&self.turn);
            core.check()?;
            if self.log.has_room(len) {
                return Ok(Turn { log: self, _held: held });
            }
            if !has_checkpoints {
                return Err(Error::new(ErrorKind::EngineLost, Step::WriteLog, core.dirs.root().path()));
            }
        }
    }

    /// Waits a little if a checkpoint is being made that may not end before the log is full.
    fn slow_down(&self, len: u64) {
        let mut work = lock(&self.work);
        let mut since: Option<Instant> = None;
        while let Some(began) = work.began {
            let pause = pace::pause(self.log.fill(), len, began.elapsed(), work.last);
            let waited = since.map_or(Duration::ZERO, |since| since.elapsed());
            let Some(rest) = pause.checked_sub(waited).filter(|rest| !rest.is_zero()) else { break };
            since.get_or_insert_with(Instant::now);
            work = self.changed.wait_timeout(work, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        work.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// Returns whether checkpoints still make room.
    fn wait_for_room(&self, len: u64) -> bool {
        if self.log.has_room(len) {
            return true;
        }
        let begin = Instant::now();
        let mut work = lock(&self.work);
        while !self.log.has_room(len) && !work.failed {
            if work.asked == work.served {
                work.asked += 1;
                self.changed.notify_all();
            }
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.waited += begin.elapsed();
        !work.failed
    }

    /// The greatest sequence number whose changes all have their names.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Excludes every commit.
    pub(super) fn stop_turns(&self) -> MutexGuard<'_, ()> {
        lock(&self.turn)
    }

    /// Whether the log may hold a change of this key that no checkpoint has covered.
    pub(super) fn holds(&self, key: &str) -> bool {
        lock(&self.live).contains_key(&self.hasher.hash_one(key))
    }

    /// Ends the session in the log if a checkpoint covers every change, and every new directory: the next session takes those that it
    /// finds for durable.
    pub(super) fn end(&self, core: &Core) {
        if core.writer.is_poisoned() || !self.is_covered() || core.dirs.has_new() {
            return;
        }
        match self.log.end() {
            Ok(()) => lock(&self.work).ended = true,
            Err(_) => core.writer.poison(),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.work).ended
    }

    /// Whether every change is covered by a checkpoint.
    pub(super) fn is_covered(&self) -> bool {
        lock(&self.live).is_empty()
    }

    /// Forgets the keys whose last record a checkpoint has covered.
    pub(super) fn forget(&self, through: u64) {
        lock(&self.live).retain(|_, last| *last > through);
    }

    pub(super) fn stats(&self, recovered: u64) -> LogStats {
        let Fill { used, capacity } = self.log.fill();
        let Work { done, waited, .. } = *lock(&self.work);
        LogStats {
            engine: self.log.kind(),
            used,
            capacity,
            records: self.log.last() - self.first,
            checkpoints: done.count,
            rewritten: done.rewritten,
            waited,
            recovered,
        }
    }

    /// Lets the checkpointing thread make a last checkpoint and end.
    pub(super) fn close(&self) {
        lock(&self.work).closed = true;
        self.changed.notify_all();
    }

    /// Asks for a checkpoint, and waits for it. Returns whether everything that was acknowledged before is in its file, durably.
    pub(super) fn checkpoint(&self) -> bool {
        let mut work = lock(&self.work);
        work.asked += 1;
        let mine = work.asked;
        self.changed.notify_all();
        while work.served < mine && !work.failed {
            work = self.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.served >= mine
    }
}

impl Turn<'_> {
    /// Writes one record for the changes that have come to it. A failure closes the store: it is unknown then what is durable.
    pub(super) fn log(&self, core: &Core, changes: &mut [&mut InFlight]) {
        let waits = |change: &&mut InFlight| change.job.run.front().is_some_and(|call| call.phase() == Phase::Log);
        let entries: Vec<_> =
            changes.iter().filter(|change| waits(change)).flat_map(|change| change.entries()).collect();
        if entries.is_empty() {
            return;
        }
        if is_mutant!(SyncedEarly, core.writer.engine) {
            for change in changes.iter_mut().filter(|change| waits(change)) {
                change.job.run.share(Fate::Done(0));
                change.run_plainly(core, Phase::SyncDirs);
                let _ = change.job.dir.sync();
            }
            if self.append(&entries, core.versions.clock.bound()) != Fate::Done(0) {
                core.writer.poison();
            }
            return;
        }
        let fate = self.append(&entries, core.versions.clock.bound());
        if fate != Fate::Done(0) {
            core.writer.poison();
        }
        changes.iter_mut().filter(|change| waits(change)).for_each(|change| change.job.run.share(fate.clone()));
    }

    fn append(&self, entries: &[Entry<Payload>], floor: Version) -> Fate {
        let log = self.log;
        let begin = Instant::now();
        let appended = log.log.append(entries, floor);
        log.record_nanos.store(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        match appended {
            Ok(sequence) => {
                let mut live = lock(&log.live);
                let was_empty = live.is_empty();
                live.extend(entries.iter().map(|entry| (log.hasher.hash_one(entry.key.as_str()), sequence)));
                drop(live);
                if was_empty {
                    // The interval of the next checkpoint begins.
                    let _work = lock(&log.work);
                    log.changed.notify_all();
                }
                Fate::Done(0)
            }
            Err(Refused::Full) => unreachable!("only who has the turn writes records, and there was room"),
            Err(Refused::Failed(errno)) => Fate::Failed(errno),
        }
    }

    /// The changes of the records so far have their names.
    pub(super) fn published(self) {
        let log = self.log;
        log.published.store(log.log.last(), Ordering::Release);
        drop(self);
        let Fill { used, capacity } = log.log.fill();
        if used > capacity / 2 {
            let mut work = lock(&log.work);
            if work.asked == work.served {
                work.asked += 1;
                log.changed.notify_all();
            }
        }
    }
}
