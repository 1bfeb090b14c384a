//! Engines make the calls of plans and report the results.

#[cfg(not(unix))]
compile_error!("ringbolt needs a Unix: it works through directory descriptors and fsync on directories");

#[cfg(all(unix, not(feature = "portable"), not(all(feature = "uring", target_os = "linux"))))]
compile_error!(
    "ringbolt has no engine for this target: the feature `uring` works on Linux only; enable the feature `portable`"
);

mod calls;
pub(crate) mod durable;
#[cfg(test)]
mod faulty;
#[cfg(any(test, ringbolt_mutants))]
mod mutant;
pub(crate) mod payload;
pub(crate) mod pool;
#[cfg(feature = "portable")]
mod portable;
mod select;
#[cfg(all(feature = "uring", target_os = "linux"))]
mod uring;

use std::ffi::CString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::fs::{Dir, sys};
use crate::protocol::{Call, Fate, Owner, Run};

#[cfg(test)]
pub(crate) use faulty::Faulty;
#[cfg(any(test, ringbolt_mutants))]
pub use mutant::Mutant;

/// Whether a test wants this wrong protocol, on this thread or of this engine. Never outside of tests.
#[cfg(any(test, ringbolt_mutants))]
macro_rules! is_mutant {
    ($mutant:ident) => {
        crate::engine::Mutant::$mutant.is_chosen()
    };
    ($mutant:ident, $engine:expr) => {
        $engine.mutant() == Some(crate::engine::Mutant::$mutant)
    };
}
#[cfg(not(any(test, ringbolt_mutants)))]
macro_rules! is_mutant {
    ($mutant:ident) => {
        false
    };
    ($mutant:ident, $engine:expr) => {
        false
    };
}
pub(crate) use is_mutant;
pub use payload::Payload;
#[cfg(feature = "bench")]
pub(crate) use select::examine_uring;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub(crate) use select::no_ring;
pub use select::probe_uring;
pub(crate) use select::{Selected, select};

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// The engine that measured fastest: [`Portable`](Engine::Portable), or [`Uring`](Engine::Uring) if `portable` is not compiled in.
    /// An intent log is written through a ring where io_uring works.
    /// [`EngineInfo::reason`] says why.
    #[default]
    Auto,
    /// Linked io_uring requests, submitted by a thread of its own. An error where io_uring is refused. A single
    /// [`write`](crate::write()) is one chain and one `io_uring_enter`. A store creates and writes its files with plain calls,
    /// because no request can set their version; syncs and the calls linked to them go through the ring, 64 files at a time. Cannot
    /// be used after a fork without `exec`: the ring's thread exists only in the parent.
    Uring,
    /// Plain system calls. A solo caller makes them on its own thread; up to 32 threads sync the files of a batch.
    Portable,
}

/// A running engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// Linked requests on an io_uring that a thread of its own owns.
    Uring,
    /// Plain system calls, on the caller's thread or on threads that sync the files of a batch.
    Portable,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineKind::Uring => "uring",
            EngineKind::Portable => "portable",
        })
    }
}

/// Which engine runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineInfo {
    /// The engine that runs.
    pub kind: EngineKind,
    /// The reason. Where io_uring is refused, it says by what and what to change.
    pub reason: String,
}

impl fmt::Display for EngineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.reason)
    }
}

/// Runs the calls of plans.
pub(crate) trait Interpreter: Send + Sync + fmt::Debug {
    /// Runs the calls that the job's run allows.
    fn run(&self, mut job: Job) -> Job {
        self.run_plainly(&mut job);
        job
    }

    /// Runs jobs that are independent of one another. Their waits for the device overlap where the engine can do that. The
    /// results are in the order of the jobs.
    fn run_all(&self, jobs: Vec<Job>) -> Vec<Job> {
        jobs.into_iter().map(|job| self.run(job)).collect()
    }

    /// Runs a job on the caller's thread by plain system calls, whatever the engine.
    fn run_plainly(&self, job: &mut Job) {
        drive(job, |call, job| self.call(call, job));
    }

    /// Makes a single plain system call on the caller's thread.
    fn call(&self, call: &Call, job: &mut Job) -> Fate {
        calls::run(call, job)
    }

    /// Opens a directory beneath another.
    fn open_dir(&self, root: &Dir, path: &str) -> nix::Result<Dir> {
        root.open_beneath(path)
    }

    /// Makes a directory in another, unless it is there.
    fn make_dir(&self, parent: &Dir, name: &Path) -> Result<()> {
        parent.make(name, 0o777)
    }

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Dir) -> Result<()> {
        dir.sync()
    }

    /// Whether it submits a whole stage at once, so that one chain can carry a replace.
    fn links(&self) -> bool {
        false
    }
}

/// Runs the calls that a job's run allows, one by one. This is the only such loop, beside that of `tokio_uring`, which awaits.
pub(crate) fn drive(job: &mut Job, mut call: impl FnMut(&Call, &mut Job) -> Fate) {
    while drive_stage(job, &mut call) {}
}

/// Runs one stage. Returns whether there was one.
pub(crate) fn drive_stage(job: &mut Job, mut call: impl FnMut(&Call, &mut Job) -> Fate) -> bool {
    while let Some(next) = job.run.next_call() {
        let fate = call(&next, job);
        job.run.complete(fate);
        if job.run.is_between_stages() {
            return true;
        }
    }
    false
}

/// A run and everything its calls work on. The engine that runs it owns it: nothing is borrowed from the caller, which may be
/// gone before the kernel has finished.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) run: Run,
    pub(crate) dir: Arc<Dir>,
    /// The target's name in `dir`.
    pub(crate) name: CString,
    /// The temporary file's name in `dir`.
    pub(crate) temp: CString,
    /// The directory and name that a file is moved from.
    pub(crate) source: Option<(Arc<Dir>, CString)>,
    pub(crate) bytes: Payload,
    /// The mode and owner of the temporary file, after [`Call::Describe`].
    pub(crate) described: Option<(u32, Owner)>,
    /// The extended attributes for the temporary file.
    pub(crate) attributes: Option<Arc<sys::Attributes>>,
    /// The open temporary file, if there is one.
    pub(crate) file: Option<OwnedFd>,
    /// Set as soon as a directory sync fails, before any success is reported to anyone.
    pub(crate) poisoned: Arc<AtomicBool>,
}

impl Job {
    pub(crate) fn new(run: Run, dir: &Arc<Dir>, poisoned: &Arc<AtomicBool>) -> Job {
        Job {
            run,
            dir: Arc::clone(dir),
            name: CString::default(),
            temp: CString::default(),
            source: None,
            bytes: Payload::new(),
            described: None,
            attributes: None,
            file: None,
            poisoned: Arc::clone(poisoned),
        }
    }

    /// What is left of the job if its engine is lost with it: it is unknown which calls ran.
    #[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
    pub(crate) fn if_lost(&self) -> Job {
        let (name, temp, source) = (self.name.clone(), self.temp.clone(), self.source.clone());
        Job { name, temp, source, ..Job::new(Run::lost(), &self.dir, &self.poisoned) }
    }

    /// The job with its run ended, because its engine takes no more calls.
    #[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
    pub(crate) fn abandoned(mut self) -> Job {
        if !self.run.allowed_stage().is_empty() {
            self.run.abandon();
        }
        self
    }

    /// Marks the directory and the writer if a directory sync failed.
    pub(crate) fn watch(&self, call: &Call, failed: bool) {
        let dir = match call {
            Call::SyncDir => Some(&self.dir),
            Call::SyncSourceDir => self.source.as_ref().map(|(dir, _)| dir),
            // What is there was acknowledged, and it is unknown now whether it is durable.
            Call::SyncPresent => Some(&self.dir),
            _ => None,
        };
        if let (Some(dir), true) = (dir, failed) {
            dir.distrust();
            self.poisoned.store(true, Ordering::Release);
        }
    }
}
