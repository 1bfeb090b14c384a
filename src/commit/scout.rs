//! Measures how long a `syncfs` takes now, on a separate thread, before a commit waits for one.
//!
//! On a filesystem that other programs keep busy, a `syncfs` can take as long as the write-back of all their data. Commits go on
//! meanwhile. The probe uses its own descriptor: the kernel reports an error once per open file (`errseq_t`), and the batches
//! must get theirs.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::fs::process::Process;
use crate::fs::{Dir, sys};
use crate::lock;

/// Runs one probe at a time.
#[derive(Debug)]
pub(super) struct Scout {
    root: Arc<Dir>,
    probe: Arc<Mutex<Probe>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    process: Process,
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    Idle,
    Running,
    /// It finished at `at`, and its result has not been used yet.
    Measured {
        took: Duration,
        at: Instant,
    },
}

/// After a probe that took too long, the next one starts when this many times its duration have passed.
const REST: u32 = 20;

/// The duration assumed for a probe that could not open its descriptor.
const UNKNOWN: Duration = Duration::from_secs(1);

impl Scout {
    pub(super) fn new(root: Arc<Dir>) -> Scout {
        Scout { root, probe: Arc::new(Mutex::new(Probe::Idle)), thread: Mutex::default(), process: Process::current() }
    }

    /// Whether a `syncfs` has just taken no longer than `patience`. If that is unknown, starts a probe and returns false.
    pub(super) fn finds_quiet(&self, patience: Duration) -> bool {
        let mut probe = lock(&self.probe);
        match *probe {
            Probe::Running => return false,
            Probe::Measured { took, .. } if took <= patience => {
                *probe = Probe::Idle;
                return true;
            }
            Probe::Measured { took, at } if at.elapsed() < took.saturating_mul(REST) => return false,
            Probe::Idle | Probe::Measured { .. } => {}
        }
        let (root, result) = (Arc::clone(&self.root), Arc::clone(&self.probe));
        let measure = move || {
            let begin = Instant::now();
            let own = root.open_beneath("");
            let took = own.map_or(UNKNOWN, |own| {
                let _ = sys::sync_filesystem(own.fd());
                begin.elapsed()
            });
            *lock(&result) = Probe::Measured { took, at: Instant::now() };
        };
        if let Ok(thread) = thread::Builder::new().name("ringbolt-scout".into()).spawn(measure) {
            *probe = Probe::Running;
            *lock(&self.thread) = Some(thread);
        }
        false
    }

    /// Waits for the thread, which holds a descriptor. Afterwards the filesystem can be unmounted.
    pub(super) fn end(&self) {
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // A forked child does not have this thread: it can neither join nor detach it.
            std::mem::forget(self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_used_once() {
        let dir = tempfile::tempdir().unwrap();
        let scout = Scout::new(Arc::new(Dir::open(dir.path()).unwrap()));
        assert!(!scout.finds_quiet(Duration::MAX));
        while matches!(*lock(&scout.probe), Probe::Running) {
            thread::yield_now();
        }
        assert!(scout.finds_quiet(Duration::MAX));
        assert!(matches!(*lock(&scout.probe), Probe::Idle));
        // The thread and its descriptor do not outlive the store.
        assert!(!scout.finds_quiet(Duration::ZERO));
        scout.end();
        assert!(!matches!(*lock(&scout.probe), Probe::Running) && lock(&scout.thread).is_none());
        // A result that took too long is not used, and no other probe starts at once.
        let now = Instant::now();
        *lock(&scout.probe) = Probe::Measured { took: Duration::from_secs(100), at: now };
        assert!(!scout.finds_quiet(Duration::from_secs(1)));
        assert!(matches!(*lock(&scout.probe), Probe::Measured { .. }));
    }
}
