//! The threads on which futures read.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result, Step};
use crate::pool::Pool;

/// How many reads of one reader and its clones run at the same time. Others wait in line.
const THREADS_MAX: usize = 8;

/// Threads that read for futures: started when they are first needed, ended with the last reader and future that use them.
#[derive(Debug)]
pub(super) struct Threads {
    pool: Pool,
    /// Whose threads they are: a forked child has none.
    process: u32,
}

impl Threads {
    pub(super) fn new() -> Threads {
        Threads { pool: Pool::new("ringbolt-read", THREADS_MAX), process: std::process::id() }
    }

    /// Does `work` on one of the threads once the future is polled. `path` is for messages.
    pub(super) fn run<T: Send + 'static, W: FnOnce() -> Result<T> + Send + 'static>(
        self: &Arc<Threads>,
        path: PathBuf,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<T, W> {
        let threads = Arc::clone(self);
        async move {
            let spawned = match threads.process == std::process::id() {
                true => threads.pool.spawn(work),
                false => {
                    Err(io::Error::other("a forked child has none of its parent's threads; open a reader of its own"))
                }
            };
            match spawned {
                Ok(spawned) => spawned.await,
                Err(error) => Err(Error::from_io(error, Step::Read, path)),
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The last future can end on one of the threads, if waking its task drops it; no thread can wait for itself.
        if self.process == std::process::id() && self.pool.is_own_thread() {
            self.pool.detach();
        }
    }
}
