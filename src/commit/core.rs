//! The state that callers and the committing thread share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread;

use nix::sys::resource::{Resource, getrlimit};

use super::auto::Auto;
use super::barrier::{Allowed, Barrier, BarrierKind};
use super::change::ChangeGroups;
use super::dirs::{Dirs, SyncName};
use super::in_flight::has_no_version;
use super::intent::IntentLog;
use super::load::Load;
use super::queue::{Handle, Queue};
use super::scout::Scout;
use super::stats::Recorder;
use super::versions::Versions;
use super::{ChangeResult, trace};
use crate::engine::pool::Pool;
use crate::engine::{Interpreter, Job};
use crate::error::{Error, ErrorKind, Outcome, Result, Step};
use crate::file::Writer;
use crate::fs::{Dir, Key, sys};
use crate::lock;
use crate::protocol::{Call, Existing, Phase, Plan, PutOptions, Verdict, Version};

/// The state that callers and the committing thread share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) writer: Writer,
    pub(crate) dirs: Dirs,
    pub(crate) versions: Versions,
    /// Set before the first change of callers.
    log: OnceLock<IntentLog>,
    /// Whether solo puts use the journal barrier.
    pub(super) is_journal: bool,
    pub(super) queue: Handle<ChangeGroups, Vec<ChangeResult>>,
    pub(super) auto: Mutex<Auto>,
    /// The maximum number of files of a batch that are open at the same time.
    pub(super) open_max: usize,
    /// Threads that help the committing thread to write files.
    pub(super) stagers: Pool,
    pub(super) scout: Scout,
    /// Whether a `syncfs` has consumed earlier errors: see [`Core::prime`].
    pub(super) primed: AtomicBool,
    pub(super) recorder: Recorder,
    /// How many callers the last round has answered.
    pub(super) last_callers: AtomicUsize,
    /// How many changes a recovery has brought from the log into the files.
    pub(super) recovered: AtomicU64,
}

/// Everything a committer is made from.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) writer: Writer,
    pub(crate) dirs: Dirs,
    pub(crate) versions: Versions,
    pub(crate) barrier: (Barrier, Allowed),
    pub(crate) limit: Load,
}

#[cfg(test)]
impl Setup {
    /// A committer in the directory `root`, with this barrier and no ceiling of versions.
    pub(crate) fn for_test(root: &std::path::Path, engine: crate::engine::Selected, kind: BarrierKind) -> Setup {
        Setup {
            writer: Writer::new(engine, crate::fs::temp::Maker::Store),
            dirs: Dirs::new(Arc::new(Dir::open(root).unwrap())),
            versions: Versions::without_ceiling(),
            barrier: (Barrier::Auto, Allowed::Only(kind)),
            limit: Load { files: 1000, bytes: 1 << 20 },
        }
    }
}

impl Core {
    pub(super) fn new(setup: Setup) -> Core {
        let Setup { writer, dirs, versions, barrier: (configured, allowed), limit } = setup;
        let scout = Scout::new(Arc::clone(dirs.root()));
        Core {
            writer,
            dirs,
            versions,
            log: OnceLock::new(),
            is_journal: allowed == Allowed::Only(BarrierKind::Journal),
            queue: Queue::new(limit),
            auto: Mutex::new(Auto::new(configured, allowed)),
            stagers: Pool::new("ringbolt-stage", stagers()),
            open_max: open_max(),
            scout,
            primed: AtomicBool::new(false),
            recorder: Recorder::default(),
            last_callers: AtomicUsize::new(0),
            recovered: AtomicU64::new(0),
        }
    }

    /// Whether no log was used, or the one that was is clean.
    pub(crate) fn leaves_no_log(&self) -> bool {
        self.log().is_none_or(IntentLog::has_ended)
    }

    /// The intent log, if the store has one open.
    pub(super) fn log(&self) -> Option<&IntentLog> {
        self.log.get()
    }

    pub(super) fn set_log(&self, log: IntentLog) {
        self.log.set(log).expect("a session has one log");
    }

    /// Whether the session used an intent log, and has ended it.
    pub(crate) fn log_ended(&self) -> bool {
        self.log().is_some_and(IntentLog::has_ended)
    }

    /// Fails in a forked child, and if the store is poisoned.
    pub(crate) fn check(&self) -> Result<()> {
        self.writer.check(self.dirs.root())
    }

    pub(super) fn check_poison(&self) -> Result<()> {
        self.writer.check_poison(self.dirs.root())
    }

    /// The directory of a key, created if it is missing. In a store with a log its name is durable only after
    /// [`sync_new_dirs`](Core::sync_new_dirs), or a checkpoint.
    pub(crate) fn ensure(&self, key: &Key<'_>) -> Result<Arc<Dir>> {
        let sync_name = if self.log().is_some() { SyncName::Later } else { SyncName::AtOnce };
        self.dirs.ensure(self.engine(), key, sync_name, |error| self.writer.latch(error), || self.check_poison())
    }

    /// Syncs the names of a key's new directories, for a change that no record of the log holds.
    pub(super) fn sync_new_dirs(&self, key: &Key<'_>) -> Result<()> {
        match self.log() {
            Some(_) => self.dirs.sync_new(self.engine(), key, |error| self.writer.latch(error)),
            None => Ok(()),
        }
    }

    /// The directory of a key, if it exists.
    pub(crate) fn find(&self, key: &Key<'_>) -> Result<Arc<Dir>> {
        self.dirs.find(self.engine(), key)
    }

    pub(super) fn engine(&self) -> &dyn Interpreter {
        &*self.writer.engine.interpreter
    }

    /// A version for a put. If raising the ceiling has failed, the put has not begun, whatever became of the ceiling.
    pub(super) fn version(&self) -> Result<Version> {
        let next = self.again_if_moved(&[], || self.versions.next(&self.writer));
        next.map_err(|error| error.with_outcome(Outcome::Unchanged))
    }

    /// The directory for a put. A put that expects a version fails if the directory is missing, and does not create it.
    pub(crate) fn directory(&self, key: &Key<'_>, options: PutOptions) -> Result<Arc<Dir>> {
        match options.existing {
            Existing::Match(_) => {
                let dir = self.find(key).map_err(has_no_version)?;
                self.check_poison().map(|()| dir)
            }
            Existing::Replace | Existing::Refuse => self.ensure(key),
        }
    }

    /// Refuses conditions on versions where versions are not kept.
    pub(crate) fn supports(&self, options: PutOptions) -> Result<()> {
        self.keeps(if let Existing::Match(version) = options.existing { Some(version) } else { None })
    }

    pub(super) fn keeps(&self, expected: Option<Version>) -> Result<()> {
        if expected.is_some() && !self.versions.are_kept {
            return Err(Error::new(ErrorKind::UnsupportedVersion, Step::Compare, self.dirs.root().path()));
        }
        Ok(())
    }

    /// Counts the syncs that were made for this change alone.
    pub(super) fn count(&self, job: &Job) {
        let made = job.run.report().syncs_made();
        self.recorder.files.add(made.files);
        self.recorder.ranges.add(made.ranges);
        self.recorder.directories.add(made.directories);
    }

    /// Runs `act`, which works in the directories of `keys`. Runs it again if a cached directory was removed meanwhile, or if the
    /// cached directories leave no descriptor.
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

    /// Makes everything on the filesystem of this directory durable.
    pub(super) fn sync_filesystem(&self, dir: &Arc<Dir>) -> Result<()> {
        let sync = self.writer.job(Plan::of([Call::SyncFilesystem]), dir);
        match self.writer.run(sync, Phase::SyncDirs).run.report().verdict() {
            Verdict::Durable => Ok(()),
            Verdict::Unchanged { errno, .. } | Verdict::Unknown { errno, .. } => {
                Err(Error::from_errno(errno, Step::SyncFilesystem, dir.path()))
            }
        }
    }

    /// Consumes a pending writeback error from before this session, so that it does not fail the first batch.
    pub(super) fn prime(&self) {
        if !self.primed.swap(true, Ordering::AcqRel) {
            let _ = sys::sync_filesystem(self.dirs.root().fd());
        }
    }

    pub(super) fn note(&self, result: &ChangeResult, bytes: usize) {
        match result {
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

    pub(super) fn auto(&self) -> MutexGuard<'_, Auto> {
        lock(&self.auto)
    }

    pub(super) fn error_at_root(&self, error: std::io::Error) -> Error {
        Error::from_io(error, Step::StartEngine, self.dirs.root().path())
    }
}

/// One for each further processor, but at most three: files that are created in one directory wait for each other.
fn stagers() -> usize {
    thread::available_parallelism().map_or(0, |n| n.get() - 1).min(3)
}

/// A small part of the process's descriptor limit: the rest belongs to the application.
fn open_max() -> usize {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((256, 256));
    usize::try_from(soft / 8).unwrap_or(128).clamp(4, 128)
}

/// Poisons the store if a panic unwinds through it: it is unknown how far the change came. Ignores a panic that was in progress
/// before, when the change is made in a destructor.
pub(super) struct PoisonOnPanic<'a> {
    core: &'a Core,
    was_panicking: bool,
}

impl<'a> PoisonOnPanic<'a> {
    pub(super) fn new(core: &'a Core) -> PoisonOnPanic<'a> {
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
