//! The threads on which futures read.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::engine::pool::Pool;
use crate::error::{Error, Result, Step};
use crate::fs::process::Process;

/// How many reads of one reader and its clones run at the same time. The others wait.
const THREADS_MAX: usize = 8;

/// Threads that read for futures. They start on first use and end with the last reader and future that use them.
#[derive(Debug)]
pub(super) struct Threads {
    pool: Pool,
    /// The process that the threads belong to: a forked child has none of them.
    process: Process,
}

impl Threads {
    pub(super) fn new() -> Threads {
        Threads { pool: Pool::new("ringbolt-read", THREADS_MAX), process: Process::current() }
    }

    /// Runs `work` on one of the threads once the future is polled. `path` is for messages.
    pub(super) fn run<T: Send + 'static, W: FnOnce() -> Result<T> + Send + 'static>(
        self: &Arc<Threads>,
        path: PathBuf,
        work: W,
    ) -> impl Future<Output = Result<T>> + Send + 'static + use<T, W> {
        let threads = Arc::clone(self);
        async move {
            let spawned = match threads.process.is_current() {
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
        // If waking a task drops the last future, this runs on one of the threads, which cannot join itself.
        if self.process.is_current() && self.pool.is_own_thread() {
            self.pool.detach();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::{Context, Wake, Waker};

    use super::*;

    type Task = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    /// Wakes its task by dropping it.
    struct Ends {
        task: Mutex<Option<Task>>,
        ended: Sender<bool>,
    }

    impl Wake for Ends {
        fn wake(self: Arc<Ends>) {
            let task = self.task.lock().unwrap().take();
            let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(task)));
            self.ended.send(dropped.is_ok()).unwrap();
        }
    }

    /// A thread cannot join itself: that would be an error or a deadlock.
    #[test]
    fn the_last_future_may_end_on_one_of_the_threads() {
        let threads = Arc::new(Threads::new());
        let (go, wait): (Sender<()>, Receiver<()>) = channel();
        let mut task: Task = Box::pin(threads.run("".into(), move || {
            wait.recv().unwrap();
            Ok(())
        }));
        let gone = Arc::downgrade(&threads);
        drop(threads);
        let (ended, ends) = channel();
        let waker = Arc::new(Ends { task: Mutex::new(None), ended });
        let polled = task.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&waker))));
        assert!(polled.is_pending());
        *waker.task.lock().unwrap() = Some(task);
        go.send(()).unwrap();
        assert!(ends.recv().unwrap());
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn a_forked_child_is_refused_instead_of_left_waiting() {
        let mut threads = Threads::new();
        threads.process = Process::other();
        let threads = Arc::new(threads);
        let read = pin!(threads.run("d/k".into(), || Ok(())));
        let error = crate::commit::block::block_on(read).unwrap_err();
        assert!(error.to_string().contains("forked child"), "{error}");
    }
}
