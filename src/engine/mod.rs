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

use crate::dir::{Dir, make_in};
use crate::error::Result;
use crate::payload::Payload;
use crate::plan::{Call, Plan};
use crate::report::{Fate, Report};
use crate::sys;

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

/// Interprets plans.
pub(crate) trait Interpreter: Send + Sync + fmt::Debug {
    /// Runs the plan to its end.
    fn run(&self, job: Job) -> Done;

    /// Runs many plans that know nothing of one another, all at the same time as far as it can: what waits for the device
    /// waits together. The results are in the order of the jobs.
    fn run_all(&self, jobs: Vec<Job>) -> Vec<Done>;

    /// Runs a single call of a batch. Plain calls on the caller's thread, whatever the engine: renames and syncs of
    /// directories through a ring measured slower.
    fn call(&self, call: &Call, job: &mut Job) -> Fate {
        calls::run_one(call, job)
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
    fn links(&self) -> bool;
}

/// What became of a job.
#[derive(Debug)]
pub(crate) struct Done {
    /// What happened, call by call.
    pub(crate) report: Report,
    /// The temporary file, if it is still open.
    pub(crate) file: Option<OwnedFd>,
}

/// A plan and everything it works on. Whoever runs it owns it: nothing in it is borrowed from a caller, who may be
/// gone before the kernel has finished.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plan: Plan,
    pub(crate) dir: Arc<Dir>,
    /// The target's name in `dir`.
    pub(crate) name: CString,
    /// The temporary file's name in `dir`.
    pub(crate) temp: CString,
    /// Where a file is moved from.
    pub(crate) source: Option<(Arc<Dir>, CString)>,
    pub(crate) bytes: Payload,
    /// The extended attributes that it is to have.
    pub(crate) attributes: Arc<sys::Attributes>,
    /// The open temporary file, where it exists before the plan begins.
    pub(crate) file: Option<OwnedFd>,
    /// Set as soon as the sync of a directory is seen to fail, before anyone else can be told of a success.
    pub(crate) poisoned: Arc<AtomicBool>,
}

impl Job {
    pub(crate) fn new(plan: Plan, dir: &Arc<Dir>, poisoned: &Arc<AtomicBool>) -> Job {
        Job {
            plan,
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
