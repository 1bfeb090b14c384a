//! Group commit: concurrent changes are made durable together.
//!
//! A solo caller makes its change on its own thread ([`in_flight`]). All others put theirs in the [`queue`]; the committing
//! thread takes what has queued up and commits it in [`round`]s. May use the rooms below: [`crate::file`], [`crate::engine`],
//! [`crate::fs`] and [`crate::protocol`]. [`crate::store`] calls it.

mod auto;
pub(crate) mod barrier;
pub(crate) mod block;
mod change;
mod checkpoint;
mod core;
pub(crate) mod dirs;
mod in_flight;
mod intent;
pub(crate) mod load;
mod logged;
mod new_dirs;
mod pace;
pub(crate) mod queue;
mod restore;
mod round;
mod round_log;
mod scout;
pub(crate) mod stats;
pub(crate) mod trace;
mod versions;
mod waves;

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use self::block::block_on;
pub(crate) use self::change::{Action, Change, ChangeGroups, WrittenFile};
use self::core::PoisonOnPanic;
pub(crate) use self::core::{Core, Setup};
use self::in_flight::Start;
use self::intent::IntentLog;
use self::queue::Submission;
pub(crate) use self::restore::last_changes;
use self::stats::{Part, QueueStats, Stats};
pub(crate) use self::versions::Versions;
use crate::engine::Payload;
use crate::error::{Error, ErrorKind, Outcome, Result, Step};
use crate::fs::Dir;
use crate::lock;
use crate::log::record::Record;
use crate::log::writer::Log;
use crate::protocol::Version;

/// What a successful change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Applied {
    /// A put: the version of the new content.
    Put(Version),
    /// A delete.
    Deleted,
    /// A rename.
    Renamed,
}

impl Applied {
    /// The version of the new content, if this was a put.
    pub fn version(self) -> Option<Version> {
        match self {
            Applied::Put(version) => Some(version),
            Applied::Deleted | Applied::Renamed => None,
        }
    }
}

/// The result of one change.
pub(crate) type ChangeResult = Result<Applied>;

/// Commits changes: the entrance for callers.
#[derive(Debug)]
pub(crate) struct Committer {
    core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
    checkpointer: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    pub(crate) fn new(setup: Setup) -> Committer {
        Committer { core: Arc::new(Core::new(setup)), thread: Mutex::default(), checkpointer: Mutex::default() }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Applies the changes of a log to the files, durably. `read` returns bytes of a record; `progress` learns how many keys are done,
    /// of how many.
    pub(crate) fn restore(
        &self,
        records: &[Record],
        read: impl Fn(&Record, Range<usize>) -> nix::Result<Payload>,
        progress: impl Fn(usize, usize),
    ) -> Result<()> {
        let begin = Instant::now();
        let core = &self.core;
        core.prime();
        // Opened before the first change: its sync reports every error since. It covers directories and deletes that are there
        // already, perhaps only in memory.
        let filesystem = Arc::new(core.dirs.root().open_again()?);
        let restored = restore::all(core, &last_changes(records), read, |changes| self.commit(changes), progress)
            .and_then(|()| core.sync_filesystem(&filesystem));
        // No caller has made these changes.
        core.recorder.reset();
        core.auto().reset_counts();
        if restored.is_ok() {
            let changes = records.iter().map(|record| record.entries.len()).sum::<usize>();
            core.recovered.store(changes as u64, Ordering::Relaxed);
            trace::recovered(core.dirs.root().path(), changes, begin.elapsed());
        }
        restored
    }

    /// Makes what was acknowledged durable in the files. Does nothing where there is no log.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let core = &self.core;
        core.check()?;
        match core.log() {
            Some(log) if !log.checkpoint() => {
                core.check()?;
                Err(Error::new(ErrorKind::EngineLost, Step::WriteLog, core.dirs.root().path()))
            }
            _ => Ok(()),
        }
    }

    /// Makes every change durable through this log from now on. `filesystem` is a descriptor of its own for the syncs of
    /// checkpoints.
    pub(crate) fn begin_log(&self, log: Log, filesystem: Arc<Dir>) -> Result<()> {
        self.core.set_log(IntentLog::new(log, filesystem));
        let core = Arc::clone(&self.core);
        let started = thread::Builder::new().name("ringbolt-checkpoint".into()).spawn(move || checkpoint::work(&core));
        *lock(&self.checkpointer) = Some(started.map_err(|error| self.core.error_at_root(error))?);
        Ok(())
    }

    /// Makes one change. Returns when it is durable or has failed.
    pub(crate) fn make(&self, change: Change) -> ChangeResult {
        let core = &self.core;
        core.check()?;
        let Some(alone) = core.queue.try_solo() else {
            return self.commit(ChangeGroups::one(change)).remove(0);
        };
        let begin = Instant::now();
        let guard = PoisonOnPanic::new(core);
        let bytes = change.content_len();
        let result = Start::solo(core, change);
        drop((guard, alone));
        core.recorder.alone.add(1);
        core.note(&result, bytes);
        core.recorder.times([(Part::Change, begin.elapsed())]);
        result
    }

    /// Commits changes together. Returns a result for each, in their order, when they are durable or have failed.
    pub(crate) fn commit(&self, unit: ChangeGroups) -> Vec<ChangeResult> {
        block_on(self.commit_async(unit))
    }

    /// [`commit`](Committer::commit) as a future.
    pub(crate) async fn commit_async(&self, unit: ChangeGroups) -> Vec<ChangeResult> {
        let count = unit.len();
        match self.submit(unit) {
            Ok(submission) => submission.await.unwrap_or_else(|| self.lost(count)),
            Err(error) => refused(&error, count),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let (held, in_line) = self.core.queue.depth();
        let queue = QueueStats { changes: held.files, bytes: held.bytes, in_line };
        let log = self
            .core
            .log()
            .filter(|_| self.core.writer.is_ours())
            .map(|log| log.stats(self.core.recovered.load(Ordering::Relaxed)));
        self.core.recorder.stats(queue, self.core.auto().stats(), log)
    }

    fn submit(&self, unit: ChangeGroups) -> Result<Submission<ChangeGroups, Vec<ChangeResult>>> {
        self.core.check()?;
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let core = Arc::clone(&self.core);
            let started = thread::Builder::new().name("ringbolt-commit".into()).spawn(move || work(&core));
            *thread = Some(started.map_err(|error| self.core.error_at_root(error))?);
        }
        drop(thread);
        let load = unit.load();
        Ok(Submission::new(&self.core.queue, unit, load))
    }

    /// The results after the committing thread has ended: it is unknown how far it came.
    fn lost(&self, count: usize) -> Vec<ChangeResult> {
        let path = self.core.dirs.root().path();
        let lost = || Error::new(ErrorKind::EngineLost, Step::Rename, path).with_outcome(Outcome::Unknown);
        (0..count).map(|_| Err(lost())).collect()
    }
}

/// The same error for each change: none was attempted.
fn refused(error: &Error, count: usize) -> Vec<ChangeResult> {
    (0..count).map(|_| Err(error.again())).collect()
}

impl Committer {
    /// Commits what is queued and accepts nothing more.
    pub(crate) fn drain(&self) {
        if !self.core.writer.is_ours() {
            return;
        }
        self.core.queue.close();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            if thread.thread().id() == thread::current().id() {
                // A waker dropped the store on the committing thread itself.
                serve(&self.core);
            } else {
                // A panic of the thread was reported to every waiting caller.
                let _ = thread.join();
            }
        }
        self.core.scout.end();
        if let Some(log) = self.core.log() {
            log.close();
            if let Some(thread) = lock(&self.checkpointer).take() {
                let _ = thread.join();
            }
            log.end(&self.core);
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        if !self.core.writer.is_ours() {
            // A forked child does not have this thread and can neither join nor detach it.
            for thread in [self.thread.get_mut(), self.checkpointer.get_mut()] {
                std::mem::forget(thread.unwrap_or_else(PoisonError::into_inner).take());
            }
        }
    }
}

/// The committing thread.
fn work(core: &Arc<Core>) {
    let _lose = LoseAtEnd(core);
    let _poison = PoisonOnPanic::new(core);
    serve(core);
}

/// Commits until the queue is closed and empty.
fn serve(core: &Arc<Core>) {
    while let Some(entries) = core.queue.take_batch(round::ROUND_MAX) {
        round::run(core, entries);
    }
}

/// Fails every waiting caller when the thread ends.
struct LoseAtEnd<'a>(&'a Core);

impl Drop for LoseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.queue.lose_worker();
    }
}

#[cfg(test)]
mod tests;
