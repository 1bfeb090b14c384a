//! Engines: each runs the calls of a plan, stage by stage, and reports what became of them.

#[cfg(not(unix))]
compile_error!("ringbolt needs a Unix: it works through directory descriptors and fsync on directories");

#[cfg(all(unix, not(feature = "portable"), not(all(feature = "uring", target_os = "linux"))))]
compile_error!(
    "ringbolt has no engine for this target: the feature `uring` works on Linux only; enable the feature `portable`"
);

mod calls;
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

use self::payload::Payload;
use crate::error::Result;
use crate::fs::dir::{Dir, make_in};
use crate::fs::sys;
use crate::protocol::{Call, Fate, Run};

#[cfg(test)]
pub(crate) use faulty::Faulty;
#[cfg(any(test, ringbolt_mutants))]
pub use mutant::Mutant;
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
    /// What measured best for the operations of this version: [`Portable`](Engine::Portable), or
    /// [`Uring`](Engine::Uring) in a build without it. [`EngineInfo::reason`] tells why, and whether io_uring would run.
    #[default]
    Auto,
    /// Linked requests of an io_uring, submitted on a thread of its own; an error where io_uring is refused. A single
    /// [`write`](crate::write()) is one chain, by one `io_uring_enter`. In a store, whose files carry a version that no request
    /// can set, files are created and written by plain calls; what waits for the device goes through the ring: the syncs, with
    /// what is chained to them, of 64 files at once. Not for use in a child that was forked without `exec`: threads stay behind
    /// in the parent.
    Uring,
    /// Plain system calls: on the caller's thread where it is alone; the files of a commit are synced by up to 32 threads.
    Portable,
}

/// An engine that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineKind {
    /// Chained operations on an io_uring, owned by a thread of its own.
    Uring,
    /// Plain system calls on the caller's thread.
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

/// Which engine runs, and why that one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineInfo {
    /// The engine that runs.
    pub kind: EngineKind,
    /// Why, in words a person can act on: where io_uring is refused, by what, and what to change.
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

    /// Runs jobs that are independent of one another. What waits for the device waits together, as far as the engine can. The
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

    /// Makes a directory in another, and makes it durable there.
    fn make_dir(&self, parent: &Dir, name: &Path) -> Result<()> {
        make_in(parent, name, 0o777)
    }

    /// Whether it submits a whole stage at once, so that one chain can carry a replace.
    fn links(&self) -> bool {
        false
    }
}

/// Runs the calls that a job's run allows, one by one.
pub(crate) fn drive(job: &mut Job, mut call: impl FnMut(&Call, &mut Job) -> Fate) {
    while let Some(next) = job.run.next_call() {
        let fate = call(&next, job);
        job.run.complete(fate);
    }
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
    /// The extended attributes for the temporary file.
    pub(crate) attributes: Arc<sys::Attributes>,
    /// The open temporary file, where it exists before the plan begins.
    pub(crate) file: Option<OwnedFd>,
    /// Set as soon as the sync of a directory is seen to fail, before anyone else can be told of a success.
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
            attributes: Arc::default(),
            file: None,
            poisoned: Arc::clone(poisoned),
        }
    }

    /// The same job as it is known when its engine was lost with it: nobody knows what it did.
    #[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
    pub(crate) fn if_lost(&self) -> Job {
        let (name, temp, source) = (self.name.clone(), self.temp.clone(), self.source.clone());
        Job { name, temp, source, ..Job::new(Run::lost(), &self.dir, &self.poisoned) }
    }

    /// Notices a failed sync of a directory.
    pub(crate) fn watch(&self, call: &Call, failed: bool) {
        let dir = match call {
            Call::SyncDir => Some(&self.dir),
            Call::SyncSourceDir => self.source.as_ref().map(|(dir, _)| dir),
            _ => None,
        };
        if let (Some(dir), true) = (dir, failed) {
            dir.distrust();
            self.poisoned.store(true, Ordering::Release);
        }
    }
}
