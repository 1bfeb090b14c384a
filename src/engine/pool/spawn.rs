//! A future for one task of a pool.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::lock;

/// Resolves to the task's result. If the task panicked, resumes the panic. Dropping this cancels a task that has not begun.
#[derive(Debug)]
#[must_use = "dropping it cancels the task"]
pub(crate) struct SpawnedTask<T> {
    state: Arc<Mutex<TaskState<T>>>,
}

/// The task's side: sets the result that the future waits for.
pub(super) struct Promise<T> {
    state: Arc<Mutex<TaskState<T>>>,
}

#[derive(Debug)]
enum TaskState<T> {
    /// Not finished. Wakes this waker when it is.
    Pending(Option<Waker>),
    Finished(Result<T, Box<dyn Any + Send>>),
    /// The future has returned the result, or was dropped.
    Taken,
}

/// A future and its promise.
pub(super) fn pair<T>() -> (Promise<T>, SpawnedTask<T>) {
    let state = Arc::new(Mutex::new(TaskState::Pending(None)));
    (Promise { state: Arc::clone(&state) }, SpawnedTask { state })
}

impl<T> Promise<T> {
    /// Runs `act`, unless the future has been dropped.
    pub(super) fn fulfil(self, act: impl FnOnce() -> T) {
        if matches!(&*lock(&self.state), TaskState::Taken) {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(act));
        self.settle(result);
    }

    fn settle(&self, result: Result<T, Box<dyn Any + Send>>) {
        let mut state = lock(&self.state);
        let TaskState::Pending(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = TaskState::Finished(result);
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Fails the future of a task that was dropped without running. Does nothing once there is a result.
impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.settle(Err(Box::new("a task of a thread pool was dropped before it ran")));
    }
}

impl<T> Future for SpawnedTask<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = lock(&self.state);
        match &mut *state {
            TaskState::Pending(waker) => {
                match waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => *waker = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            TaskState::Taken => panic!("polled after completion"),
            TaskState::Finished(_) => {}
        }
        let finished = std::mem::replace(&mut *state, TaskState::Taken);
        drop(state);
        match finished {
            TaskState::Finished(Ok(value)) => Poll::Ready(value),
            TaskState::Finished(Err(panic)) => resume_unwind(panic),
            TaskState::Pending(_) | TaskState::Taken => Poll::Pending,
        }
    }
}

impl<T> Drop for SpawnedTask<T> {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *lock(&self.state), TaskState::Taken);
        // Dropping a waker or a result can run foreign code, so do it outside the lock.
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
    fn threads_start_on_demand_and_each_future_gets_its_result() {
        let pool = Pool::new("test", 3);
        assert_eq!(pool.threads(), 0);
        for n in 0..20 {
            assert_eq!(block_on(pool.spawn(move || n * 2).unwrap()), n * 2);
        }
        // Three tasks that wait for one another need three threads. A fourth is never started.
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
    fn a_future_dropped_before_its_task_begins_cancels_it() {
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
    fn a_task_that_is_dropped_fails_its_future() {
        let (promise, spawned) = super::pair::<()>();
        let waits = thread::spawn(move || block_on(spawned));
        drop(promise);
        assert!(waits.join().is_err());
    }

    /// Dropping the pool runs the tasks that are still queued.
    #[test]
    fn dropping_the_pool_finishes_its_tasks() {
        let pool = Pool::new("test", 2);
        let spawned: Vec<_> = (0..100).map(|n| pool.spawn(move || n).unwrap()).collect();
        let waits = thread::spawn(move || spawned.into_iter().map(block_on).sum::<i32>());
        drop(pool);
        assert_eq!(waits.join().unwrap(), 4950);
    }
}
