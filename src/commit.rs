//! Group commit: changes that meet share the syncs of their directories, and with [`Barrier::Filesystem`] one sync for all
//! their files.
//!
//! Each caller writes its own temporary file on its own thread; then one of those that are waiting leads: it makes the
//! files durable (if they are not), changes the names in the order in which they came, syncs each directory once, and tells
//! each caller what became of its own change. A caller who is alone does it all by the strict plan, and pays for nothing.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use nix::errno::Errno;

use crate::dir::Dir;
use crate::engine::Job;
use crate::error::Result;
use crate::plan::{Call, Plan};
use crate::put_options::PutOptions;
use crate::queue::Queue;
use crate::report::{Fate, Report};
use crate::writer::Writer;

/// How many changes one leader makes at once.
const BATCH_MAX: usize = 256;

/// How the files of puts that meet are made durable before their names change.
///
/// Either way each directory is synced once for all, and a put that is alone goes by the strict protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Barrier {
    /// Every file is synced by itself, all at the same time: the filesystem merges what it can. Holds everywhere.
    #[default]
    PerFile,
    /// One `syncfs` for all: far fewer flushes of the device when many puts meet, but it writes back everybody's data on
    /// that filesystem, too. Linux 5.17 or later (before, syncfs(2) did not report every error), on ext4, btrfs, and xfs without a
    /// realtime device; anywhere else the store does not open.
    Filesystem,
}

/// A writer whose changes meet those of others.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) writer: Writer,
    barrier: Barrier,
    root: Arc<Dir>,
    queue: Queue<Change, Report>,
    /// Changes that have begun and not ended.
    active: AtomicUsize,
    /// How many barriers have failed.
    failures: AtomicUsize,
}

/// A change of a name in one directory, ready to be made.
#[derive(Debug)]
struct Change {
    call: Call,
    job: Job,
    /// How far the file behind it is.
    file: Staged,
}

/// How far the file behind a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Staged {
    Durable,
    /// In the page cache, since a moment when so many barriers had failed. A barrier that failed after that moment has used
    /// up the error of its pages, too: no later one can vouch for them.
    Written {
        failures: usize,
    },
}

impl Committer {
    pub(crate) fn new(writer: Writer, barrier: Barrier, root: Arc<Dir>) -> Committer {
        Committer {
            writer,
            barrier,
            root,
            queue: Queue::new(BATCH_MAX),
            active: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
        }
    }

    /// One durable replace of `name` in `dir`.
    pub(crate) fn put(&self, dir: &Arc<Dir>, name: &CStr, bytes: Bytes, options: PutOptions) -> Result<()> {
        let (_active, alone) = self.begin();
        if alone {
            return self.writer.put(dir, name, bytes, options);
        }
        // The barrier is for the root's filesystem; another may be mounted within.
        let file = if self.barrier == Barrier::PerFile || dir.device() != self.root.device() {
            Staged::Durable
        } else {
            Staged::Written { failures: self.failures.load(Ordering::Acquire) }
        };
        let temp = self.writer.stage(dir, name, bytes, options, file == Staged::Durable)?;
        self.publish(dir, name, temp, options, file)
    }

    /// Publishes a temporary file that is written and still open.
    pub(crate) fn commit(
        &self,
        dir: &Arc<Dir>,
        name: &CStr,
        temp: CString,
        file: OwnedFd,
        options: PutOptions,
    ) -> Result<()> {
        let (_active, alone) = self.begin();
        if alone {
            return self.writer.complete(dir, name, &temp, file, Plan::commit(options));
        }
        self.writer.complete(dir, name, &temp, file, Plan::finish(options))?;
        self.publish(dir, name, temp, options, Staged::Durable)
    }

    /// Durably removes `name` from `dir`.
    pub(crate) fn delete(&self, dir: &Arc<Dir>, name: &CStr) -> Result<()> {
        let (_active, alone) = self.begin();
        if alone {
            return self.writer.delete(dir, name);
        }
        let job = Job { name: name.into(), ..self.writer.job(Plan::empty(), dir) };
        let report = self.join(Change { call: Call::Unlink, job, file: Staged::Durable });
        self.writer.settle_in_place(&report, dir, name)
    }

    /// Counts a change in, and tells whether it is alone.
    fn begin(&self) -> (Active<'_>, bool) {
        let others = self.active.fetch_add(1, Ordering::AcqRel);
        (Active(self), others == 0)
    }

    fn publish(&self, dir: &Arc<Dir>, name: &CStr, temp: CString, options: PutOptions, file: Staged) -> Result<()> {
        let job = Job { name: name.into(), temp: temp.clone(), ..self.writer.job(Plan::empty(), dir) };
        let call = Call::Publish { existing: options.existing };
        let report = self.join(Change { call, job, file });
        self.writer.settle(self.writer.judge(&report), dir, name, &temp)
    }

    fn join(&self, change: Change) -> Report {
        self.queue.join(change, |batch| self.lead(batch)).unwrap_or_else(Report::lost)
    }

    /// Makes the changes of a batch. What fails, fails for its own caller; but without the barrier nothing is published
    /// that needs it, and a directory that cannot be synced fails all that changed in it.
    fn lead(&self, mut batch: Vec<Change>) -> Vec<Report> {
        let run = |call: &Call, job: &mut Job| self.writer.engine.interpreter.call(call, job);
        let now = self.failures.load(Ordering::Acquire);
        let covered = |change: &Change| change.file == Staged::Written { failures: now };
        let barrier = batch.iter().any(covered).then(|| {
            let mut job = self.writer.job(Plan::empty(), &self.root);
            let fate = run(&Call::SyncFilesystem, &mut job);
            if !matches!(fate, Fate::Done(_)) {
                self.failures.fetch_add(1, Ordering::AcqRel);
            }
            fate
        });
        let mut logs: Vec<Vec<(Call, Fate)>> = Vec::with_capacity(batch.len());
        for change in &mut batch {
            let mut log = Vec::with_capacity(4);
            if change.file != Staged::Durable {
                let fate = barrier.clone().filter(|_| covered(change)).unwrap_or(Fate::Failed(Errno::EIO));
                let holds = matches!(fate, Fate::Done(_));
                log.push((Call::SyncFilesystem, fate));
                if !holds {
                    logs.push(log);
                    continue;
                }
            }
            let fate = run(&change.call, &mut change.job);
            let by_link = change.call == Call::REFUSE && fate == Fate::Failed(Errno::EINVAL);
            log.push((change.call.clone(), fate));
            if by_link {
                log.push((Call::PublishByLink, run(&Call::PublishByLink, &mut change.job)));
            }
            logs.push(log);
        }
        // A directory is synced after all its changes, and once. Its descriptor is what it is known by, not its path.
        let mut synced: Vec<(Arc<Dir>, Fate)> = Vec::new();
        for (change, log) in batch.iter_mut().zip(&mut logs) {
            if !log.last().is_some_and(|(call, fate)| call.is_visible() && matches!(fate, Fate::Done(_))) {
                continue;
            }
            let known = synced.iter().find(|(dir, _)| Arc::ptr_eq(dir, &change.job.dir)).map(|(_, fate)| fate.clone());
            let fate = known.unwrap_or_else(|| {
                let fate = run(&Call::SyncDir, &mut change.job);
                synced.push((Arc::clone(&change.job.dir), fate.clone()));
                fate
            });
            log.push((Call::SyncDir, fate));
            if log.iter().any(|(call, _)| *call == Call::PublishByLink) {
                log.push((Call::RemoveTemp, run(&Call::RemoveTemp, &mut change.job)));
            }
        }
        logs.into_iter().map(Report::of).collect()
    }
}

/// A change that has begun; dropped when it ends, however it ends.
struct Active<'a>(&'a Committer);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nobody knows how far it came.
            self.0.writer.poison();
        }
        self.0.active.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
