//! One task of a pool, awaited by a future.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::lock;

/// Resolves to what the task returns. Resumes the panic of a task that panicked. Dropping it cancels a task that has not begun.
#[derive(Debug)]
#[must_use = "dropping it cancels the task"]
pub(crate) struct Spawned<T> {
    state: Arc<Mutex<State<T>>>,
}

/// The task's end: settles the result that the future waits for.
pub(super) struct Promise<T> {
    state: Arc<Mutex<State<T>>>,
}

#[derive(Debug)]
enum State<T> {
    /// Not finished, and the task to wake then.
    Pending(Option<Waker>),
    Finished(Result<T, Box<dyn Any + Send>>),
    /// The future has returned the result, or was dropped.
    Over,
}

/// A future and its promise.
pub(super) fn pair<T>() -> (Promise<T>, Spawned<T>) {
    let state = Arc::new(Mutex::new(State::Pending(None)));
    (Promise { state: Arc::clone(&state) }, Spawned { state })
}

impl<T> Promise<T> {
    /// Does the work, unless nobody awaits it any more.
    pub(super) fn fulfil(self, work: impl FnOnce() -> T) {
        if matches!(&*lock(&self.state), State::Over) {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(work));
        self.settle(result);
    }

    fn settle(&self, result: Result<T, Box<dyn Any + Send>>) {
        let mut state = lock(&self.state);
        let State::Pending(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = State::Finished(result);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A task that was thrown away without having run must not leave its future waiting. After a result, this does nothing.
impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Err(Box::new("a task of a thread pool was thrown away")));
    }
}

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Pending(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            State::Over => panic!("polled after it was ready"),
            State::Finished(_) => {}
        }
        let finished = std::mem::replace(&mut *state, State::Over);
        drop(state);
        match finished {
            State::Finished(Ok(value)) => Poll::Ready(value),
            State::Finished(Err(panic)) => resume_unwind(panic),
            State::Pending(_) | State::Over => Poll::Pending,
        }
    }
}

impl<T> Drop for Spawned<T> {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *lock(&self.state), State::Over);
        // A waker and a result can run code of others: not under the lock.
        drop(state);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::thread;

    use crate::commit::block::block_on;
    use crate::engine::pool::Pool;

    #[test]
    fn threads_start_as_they_are_needed_and_results_find_their_futures() {
        let pool = Pool::new("test", 3);
        assert_eq!(pool.threads(), 0);
        for n in 0..20 {
            assert_eq!(block_on(pool.spawn(move || n * 2).unwrap()), n * 2);
        }
        // Three that wait for one another need three threads; a fourth is never started.
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(3));
        let spawned: Vec<_> = (0..30)
            .map(|n| {
                let barrier = std::sync::Arc::clone(&barrier);
                pool.spawn(move || (barrier.wait(), n).1).unwrap()
            })
            .collect();
        for (n, spawned) in spawned.into_iter().enumerate() {
            assert_eq!(block_on(spawned), n);
        }
        assert_eq!(pool.threads(), 3);
    }

    #[test]
    fn a_panic_is_resumed_by_the_future_and_the_thread_goes_on() {
        let pool = Pool::new("test", 1);
        let spawned = pool.spawn(|| panic!("on purpose")).unwrap();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on::<()>(spawned))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
        assert_eq!(block_on(pool.spawn(|| 7).unwrap()), 7);
    }

    #[test]
    fn what_is_dropped_before_it_begins_is_not_done() {
        static DONE: AtomicUsize = AtomicUsize::new(0);
        let pool = Pool::new("test", 1);
        let (go, wait) = channel::<()>();
        let first = pool.spawn(move || wait.recv()).unwrap();
        let dropped: Vec<_> = (0..10).map(|_| pool.spawn(|| DONE.fetch_add(1, Ordering::SeqCst)).unwrap()).collect();
        let kept = pool.spawn(|| DONE.fetch_add(100, Ordering::SeqCst)).unwrap();
        drop(dropped);
        go.send(()).unwrap();
        block_on(first).unwrap();
        block_on(kept);
        assert_eq!(DONE.load(Ordering::SeqCst), 100);
    }

    #[test]
    fn a_task_that_is_thrown_away_leaves_nobody_waiting() {
        let (promise, spawned) = super::pair::<()>();
        let waits = thread::spawn(move || block_on(spawned));
        drop(promise);
        assert!(waits.join().is_err());
    }

    /// What waits when the pool goes is still done: nobody is left waiting.
    #[test]
    fn a_pool_that_goes_finishes_first() {
        let pool = Pool::new("test", 2);
        let spawned: Vec<_> = (0..100).map(|n| pool.spawn(move || n).unwrap()).collect();
        let waits = thread::spawn(move || spawned.into_iter().map(block_on).sum::<i32>());
        drop(pool);
        assert_eq!(waits.join().unwrap(), 4950);
    }
}
