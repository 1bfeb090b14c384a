//! Group commit: changes that meet are made durable together.
//!
//! A caller who finds nobody else makes its change by the strict plan on its own thread, and pays for nothing. All others
//! hand theirs to the queue; one thread takes what has queued up, writes the files, makes them durable with one barrier,
//! changes the names in the order in which they came, syncs each directory once, and tells each caller what became of its own
//! change.

mod auto;
mod batch;
mod change;
mod scout;
mod staged;
mod versions;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit};

use crate::barrier::{Allowed, Barrier, BarrierKind};
use crate::block::block_on;
use crate::dir::Dir;
use crate::dirs::Dirs;
use crate::engine::Interpreter;
use crate::error::{Error, ErrorKind, Outcome, Result, Step};
use crate::key::Key;
use crate::plan::{Existing, FileSync};
use crate::pool::Pool;
use crate::put_options::PutOptions;
use crate::queue::{Handle, Load, Queue, Submission};
use crate::stats::{Part, QueueStats, Recorder, Stats};
use crate::version::Version;
use crate::writer::Writer;
use crate::{sys, trace};
use auto::Auto;
use change::has_no_version;
pub(crate) use change::{Change, Unit, What, Written};
use scout::Scout;
pub(crate) use versions::Versions;

/// What a change did: what its caller is told of it.
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

/// What a caller is told of one change.
pub(crate) type Answer = Result<Applied>;

/// A writer whose changes meet those of others.
#[derive(Debug)]
pub(crate) struct Committer {
    core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the callers and the thread share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) writer: Writer,
    pub(crate) dirs: Dirs,
    pub(crate) versions: Versions,
    /// Whether the journal's shortcut holds, also for a put that is alone.
    is_journal: bool,
    queue: Handle<Unit, Vec<Answer>>,
    auto: Mutex<Auto>,
    /// How many files of a batch are open at the same time.
    open_max: usize,
    /// Threads that write files beside the committing one.
    stagers: Pool,
    scout: Scout,
    /// Whether a `syncfs` was made for which nobody waited.
    primed: AtomicBool,
    recorder: Recorder,
}

/// How a committer is made.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) writer: Writer,
    pub(crate) dirs: Dirs,
    pub(crate) versions: Versions,
    pub(crate) barrier: (Barrier, Allowed),
    pub(crate) limit: Load,
}

impl Committer {
    pub(crate) fn new(setup: Setup) -> Committer {
        let Setup { writer, dirs, versions, barrier: (configured, allowed), limit } = setup;
        let root = Arc::clone(dirs.root());
        let core = Core {
            writer,
            dirs,
            versions,
            is_journal: allowed == Allowed::Only(BarrierKind::Journal),
            queue: Queue::new(limit),
            auto: Mutex::new(Auto::new(configured, allowed)),
            stagers: Pool::new("ringbolt-stage", stagers()),
            open_max: open_max(),
            scout: Scout::new(root),
            primed: AtomicBool::new(false),
            recorder: Recorder::default(),
        };
        Committer { core: Arc::new(core), thread: Mutex::new(None) }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// Makes one change, and waits until it is durable.
    pub(crate) fn make(&self, change: Change) -> Answer {
        let core = &*self.core;
        core.check()?;
        let Some(alone) = core.queue.try_solo() else {
            return self.commit(Unit::one(change)).remove(0);
        };
        let begin = Instant::now();
        let guard = PoisonOnPanic::new(core);
        let bytes = change.content_len();
        let answer = core.make_alone(change);
        drop((guard, alone));
        core.recorder.alone.add(1);
        core.note(&answer, bytes);
        core.recorder.times([(Part::Change, begin.elapsed())]);
        answer
    }

    /// Commits changes together, and waits until they are durable: an answer to each, in their order.
    pub(crate) fn commit(&self, unit: Unit) -> Vec<Answer> {
        let count = unit.len();
        match self.submit(unit) {
            Ok(submission) => block_on(submission).unwrap_or_else(|| self.lost(count)),
            Err(error) => refused(&error, count),
        }
    }

    /// The same for a task.
    pub(crate) async fn commit_async(&self, unit: Unit) -> Vec<Answer> {
        let count = unit.len();
        match self.submit(unit) {
            Ok(submission) => submission.await.unwrap_or_else(|| self.lost(count)),
            Err(error) => refused(&error, count),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let (held, in_line) = self.core.queue.depth();
        let queue = QueueStats { changes: held.files, bytes: held.bytes, in_line };
        self.core.recorder.stats(queue, self.core.auto().stats())
    }

    fn submit(&self, unit: Unit) -> Result<Submission<Unit, Vec<Answer>>> {
        self.core.check()?;
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let core = Arc::clone(&self.core);
            let started = thread::Builder::new().name("ringbolt-commit".into()).spawn(move || work(&core));
            *thread = Some(started.map_err(|error| self.core.error_at_root(error))?);
        }
        drop(thread);
        let load = unit.load();
        Ok(Submission::new(&self.core.queue, unit, load))
    }

    /// The thread is gone, and nobody knows how far it came.
    fn lost(&self, count: usize) -> Vec<Answer> {
        let path = self.core.dirs.root().path();
        let lost = || Error::new(ErrorKind::EngineLost, Step::Rename, path).with_outcome(Outcome::Unknown);
        (0..count).map(|_| Err(lost())).collect()
    }
}

/// One error for many: none of the changes was attempted.
fn refused(error: &Error, count: usize) -> Vec<Answer> {
    (0..count).map(|_| Err(error.again())).collect()
}

impl Committer {
    /// Commits what is queued, and takes nothing more.
    pub(crate) fn drain(&self) {
        if !self.core.writer.is_ours() {
            return;
        }
        self.core.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            if thread.thread().id() == thread::current().id() {
                // A waker has brought us here, on that thread itself.
                serve(&self.core);
            } else {
                // A panic of the thread was an error for everyone who waited for it.
                let _ = thread.join();
            }
        }
        self.core.scout.end();
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        if !self.core.writer.is_ours() {
            // A forked child does not have this thread: it can neither join nor detach it.
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// As many as there are processors beside the committing thread's; but files that are created in one directory wait for one
/// another, so not many.
fn stagers() -> usize {
    thread::available_parallelism().map_or(0, |n| n.get() - 1).min(3)
}

/// A small part of the descriptors that the process may have: they are the application's.
fn open_max() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((256, 256));
    usize::try_from(soft / 8).unwrap_or(128).clamp(4, 128)
}

/// The life of the thread.
fn work(core: &Arc<Core>) {
    let _lose = LoseAtEnd(core);
    let _poison = PoisonOnPanic::new(core);
    serve(core);
}

/// Commits what comes, until the queue is closed and empty.
fn serve(core: &Arc<Core>) {
    while let Some(entries) = core.queue.take_batch(batch::MOST) {
        batch::run(core, entries);
    }
}

/// Whoever still waits when the thread ends is told so.
struct LoseAtEnd<'a>(&'a Core);

impl Drop for LoseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.queue.lose_worker();
    }
}

/// Poisons the store if a panic unwinds through it: nobody knows how far a change came. A panic that was under way before (the
/// change is made in a destructor) is none of its business.
struct PoisonOnPanic<'a> {
    core: &'a Core,
    was_panicking: bool,
}

impl<'a> PoisonOnPanic<'a> {
    fn new(core: &'a Core) -> PoisonOnPanic<'a> {
        PoisonOnPanic { core, was_panicking: thread::panicking() }
    }
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !self.was_panicking {
            self.core.writer.poison();
        }
    }
}

impl Core {
    /// Refuses in a forked child, and after a directory sync has failed.
    pub(crate) fn check(&self) -> Result<()> {
        self.writer.check(self.dirs.root())
    }

    fn check_poison(&self) -> Result<()> {
        self.writer.check_poison(self.dirs.root())
    }

    /// The directory of a key, created if need be.
    pub(crate) fn ensure(&self, key: &Key<'_>) -> Result<Arc<Dir>> {
        self.dirs.ensure(self.engine(), key, |error| self.writer.latch(error), || self.check_poison())
    }

    /// The directory of a key, if it exists.
    pub(crate) fn find(&self, key: &Key<'_>) -> Result<Arc<Dir>> {
        self.dirs.find(self.engine(), key)
    }

    fn engine(&self) -> &dyn Interpreter {
        &*self.writer.engine.interpreter
    }

    /// A version for a put.
    fn version(&self) -> Result<Version> {
        self.again_if_moved(&[], || self.versions.next(&self.writer))
    }

    /// The directory of a key that is to be put. One that is to have a version already is not there where its directory is not;
    /// and none is made for it, which would stay.
    pub(crate) fn directory(&self, key: &Key<'_>, options: PutOptions) -> Result<Arc<Dir>> {
        match options.existing {
            Existing::Match(_) => {
                let dir = self.find(key).map_err(has_no_version)?;
                self.check_poison().map(|()| dir)
            }
            Existing::Replace | Existing::Refuse => self.ensure(key),
        }
    }

    /// How files in a directory are made durable: not by the journal's shortcut where another filesystem is mounted within.
    fn file_sync(&self, dir: &Dir) -> FileSync {
        if self.is_journal && dir.device() == self.dirs.root().device() { FileSync::Range } else { FileSync::Fsync }
    }

    /// Does something in the directories of `keys`. Once more if one of them was held open and has been removed in the
    /// meantime, or if the directories held open are what leaves no descriptor.
    pub(crate) fn again_if_moved<T>(&self, keys: &[&Key<'_>], act: impl Fn() -> Result<T>) -> Result<T> {
        match act() {
            Err(error) if error.outcome() == Outcome::Unknown => Err(error),
            Err(error) if error.is_directory_removed() && keys.iter().any(|key| !key.parent().is_empty()) => {
                self.recorder.fallbacks.add(1);
                keys.iter().for_each(|key| self.dirs.forget(key));
                act()
            }
            Err(error) if error.is_too_many_open_files() => {
                self.recorder.fallbacks.add(1);
                self.dirs.release();
                act()
            }
            result => result,
        }
    }

    /// An error of somebody else's that nobody has been told of yet must not fail our first batch.
    fn prime(&self) {
        if !self.primed.swap(true, Ordering::AcqRel) {
            let _ = sys::sync_filesystem(self.dirs.root().fd());
        }
    }

    fn note(&self, answer: &Answer, bytes: usize) {
        match answer {
            Ok(_) => {
                self.recorder.changes.add(1);
                self.recorder.bytes.add(bytes);
            }
            Err(error) => {
                self.recorder.failed.add(1);
                trace::failed(error);
            }
        }
    }

    fn auto(&self) -> MutexGuard<'_, Auto> {
        self.auto.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error_at_root(&self, error: std::io::Error) -> Error {
        Error::from_io(error, Step::StartEngine, self.dirs.root().path())
    }
}

#[cfg(test)]
mod tests;
