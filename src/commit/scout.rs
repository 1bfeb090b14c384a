//! Looking ahead of a `syncfs`: how long one takes now, found out on a thread of its own, before anybody waits for one.
//!
//! On a filesystem that others keep busy, a `syncfs` can take as long as it takes to write back all that they have written. The
//! commits go on meanwhile. It has a descriptor of its own: an error is reported once for each open file (`errseq_t` in the
//! kernel), and the batches must be told of theirs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::fs::dir::Dir;
use crate::fs::process::Process;
use crate::fs::sys;

#[derive(Debug)]
pub(super) struct Scout {
    root: Arc<Dir>,
    news: Arc<Mutex<News>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    process: Process,
}

#[derive(Clone, Copy, Debug)]
enum News {
    /// None was sent out.
    None,
    Away,
    Back {
        took: Duration,
        at: Instant,
    },
}

/// After a long one, the next is sent out when so many times its duration have gone by.
const REST: u32 = 20;

const UNKNOWN: Duration = Duration::from_secs(1);

impl Scout {
    pub(super) fn new(root: Arc<Dir>) -> Scout {
        Scout { root, news: Arc::new(Mutex::new(News::None)), thread: Mutex::default(), process: Process::current() }
    }

    /// Whether a `syncfs` has just taken no longer than this. If nobody knows, it is being found out, and the answer is no.
    pub(super) fn finds_quiet(&self, patience: Duration) -> bool {
        let mut news = lock(&self.news);
        match *news {
            News::Away => return false,
            News::Back { took, .. } if took <= patience => {
                *news = News::None;
                return true;
            }
            News::Back { took, at } if at.elapsed() < took.saturating_mul(REST) => return false,
            News::None | News::Back { .. } => {}
        }
        let (root, tell) = (Arc::clone(&self.root), Arc::clone(&self.news));
        let go = move || {
            let begin = Instant::now();
            let own = root.open_beneath("");
            // Without a descriptor nothing was found out: as if it had taken long.
            let took = own.map_or(UNKNOWN, |own| {
                let _ = sys::sync_filesystem(own.fd());
                begin.elapsed()
            });
            *lock(&tell) = News::Back { took, at: Instant::now() };
        };
        if let Ok(thread) = thread::Builder::new().name("ringbolt-scout".into()).spawn(go) {
            *news = News::Away;
            *lock(&self.thread) = Some(thread);
        }
        false
    }

    /// Waits for the thread, which holds a descriptor: the filesystem can be unmounted afterwards.
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sent_out_and_heard_once() {
        let dir = tempfile::tempdir().unwrap();
        let scout = Scout::new(Arc::new(Dir::open(dir.path()).unwrap()));
        assert!(!scout.finds_quiet(Duration::MAX));
        while matches!(*lock(&scout.news), News::Away) {
            thread::yield_now();
        }
        assert!(scout.finds_quiet(Duration::MAX));
        assert!(matches!(*lock(&scout.news), News::None));
        // Its thread, and the descriptor that it holds, do not outlive the store.
        assert!(!scout.finds_quiet(Duration::ZERO));
        scout.end();
        assert!(!matches!(*lock(&scout.news), News::Away) && lock(&scout.thread).is_none());
        // One that took too long is not heard, and no other follows at once.
        let now = Instant::now();
        *lock(&scout.news) = News::Back { took: Duration::from_secs(100), at: now };
        assert!(!scout.finds_quiet(Duration::from_secs(1)));
        assert!(matches!(*lock(&scout.news), News::Back { .. }));
    }
}
