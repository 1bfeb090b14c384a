//! A thread pool. Threads start when they are first needed and stay until the pool is dropped.

mod spawn;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::fs::process::Process;
use crate::lock;
pub(crate) use spawn::SpawnedTask;

/// A closure that a thread of the pool runs.
type PoolTask = Box<dyn FnOnce() + Send>;

/// A bounded number of threads, and the tasks that wait for one.
pub(crate) struct Pool {
    name: &'static str,
    threads_max: usize,
    tasks: Arc<TaskQueue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    process: Process,
}

/// What the pool shares with its threads.
#[derive(Default)]
struct TaskQueue {
    state: Mutex<TaskQueueState>,
    /// Signalled when a task is queued or the pool is dropped.
    changed: Condvar,
}

#[derive(Default)]
struct TaskQueueState {
    queued: VecDeque<PoolTask>,
    /// Threads that wait for a task. Some may have been woken for a task that is still queued.
    idle: usize,
    closed: bool,
}

/// One call of [`Pool::map`].
struct MapCall<T, R> {
    state: Mutex<MapState<T, R>>,
    /// Signalled when all inputs are done, or when one has panicked.
    finished: Condvar,
}

struct MapState<T, R> {
    /// The inputs that no thread has taken yet, with their indices.
    inputs: VecDeque<(usize, T)>,
    outputs: Vec<Option<R>>,
    /// Inputs without an output yet. One that panics never gets one.
    remaining: usize,
    panicked: bool,
}

impl Pool {
    /// A pool of up to `threads_max` threads. None is started yet.
    pub(crate) fn new(name: &'static str, threads_max: usize) -> Pool {
        Pool { name, threads_max, tasks: Arc::default(), threads: Mutex::default(), process: Process::current() }
    }

    /// Applies `act` to each input in parallel, on the pool's threads and the caller's. The outputs are in the order of the
    /// inputs.
    ///
    /// # Panics
    ///
    /// If `act` panics.
    pub(crate) fn map<T: Send + 'static, R: Send + 'static>(&self, inputs: Vec<T>, act: fn(T) -> R) -> Vec<R> {
        if inputs.len() < 2 {
            return inputs.into_iter().map(act).collect();
        }
        let remaining = inputs.len();
        let outputs = inputs.iter().map(|_| None).collect();
        let state = MapState { inputs: inputs.into_iter().enumerate().collect(), outputs, remaining, panicked: false };
        let call = Arc::new(MapCall { state: Mutex::new(state), finished: Condvar::new() });
        self.queue_helpers(remaining - 1, || {
            let call = Arc::clone(&call);
            Box::new(move || call.run(act))
        });
        call.run(act);
        let mut state = lock(&call.state);
        while state.remaining > 0 && !state.panicked {
            state = call.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        assert!(!state.panicked, "a helper panicked");
        state.outputs.drain(..).map(|output| output.expect("no input remains")).collect()
    }

    /// Runs `act` on a thread of the pool. Starts another thread if all are busy and the pool may grow.
    ///
    /// # Errors
    ///
    /// The pool has no thread and the system does not let it start one.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<SpawnedTask<T>> {
        let (promise, spawned) = spawn::pair();
        let mut threads = lock(&self.threads);
        let mut state = lock(&self.tasks.state);
        state.queued.push_back(Box::new(move || promise.fulfil(act)));
        let are_busy = state.idle < state.queued.len();
        drop(state);
        if are_busy && threads.len() < self.threads_max {
            match self.start() {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => {
                    let task = lock(&self.tasks.state).queued.pop_back();
                    drop((threads, task));
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        self.tasks.changed.notify_one();
        Ok(spawned)
    }

    /// Whether the caller runs on a thread of this pool.
    pub(crate) fn is_own_thread(&self) -> bool {
        let current = thread::current().id();
        lock(&self.threads).iter().any(|thread| thread.thread().id() == current)
    }

    /// Detaches the threads: dropping the pool still ends them, but does not wait for them.
    pub(crate) fn detach(&self) {
        lock(&self.threads).clear();
    }

    #[cfg(test)]
    fn threads(&self) -> usize {
        lock(&self.threads).len()
    }

    fn start(&self) -> io::Result<JoinHandle<()>> {
        let tasks = Arc::clone(&self.tasks);
        thread::Builder::new().name(self.name.into()).spawn(move || tasks.serve())
    }

    /// Queues a task for each of up to `wanted` threads, and starts threads for them. If the system does not allow so many
    /// threads, fewer help.
    fn queue_helpers(&self, wanted: usize, task: impl Fn() -> PoolTask) {
        let wanted = wanted.min(self.threads_max);
        let mut threads = lock(&self.threads);
        while threads.len() < wanted {
            match self.start() {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        let helpers = wanted.min(threads.len());
        lock(&self.tasks.state).queued.extend((0..helpers).map(|_| task()));
        for _ in 0..helpers {
            self.tasks.changed.notify_one();
        }
    }
}

impl<T, R> MapCall<T, R> {
    fn run(&self, act: fn(T) -> R) {
        loop {
            let Some((i, input)) = lock(&self.state).inputs.pop_front() else { return };
            let mut recorder = MapRecorder { call: self, output: None };
            recorder.output = Some((i, act(input)));
        }
    }
}

/// Records the output of one input when it is dropped, or that there is none because `act` panicked.
struct MapRecorder<'a, T, R> {
    call: &'a MapCall<T, R>,
    output: Option<(usize, R)>,
}

impl<T, R> Drop for MapRecorder<'_, T, R> {
    fn drop(&mut self) {
        let mut state = lock(&self.call.state);
        match self.output.take() {
            Some((i, output)) => {
                state.outputs[i] = Some(output);
                state.remaining -= 1;
            }
            None => state.panicked = true,
        }
        if state.remaining == 0 || state.panicked {
            self.call.finished.notify_one();
        }
    }
}

impl TaskQueue {
    /// The main loop of a thread.
    fn serve(&self) {
        loop {
            let mut state = lock(&self.state);
            let task = loop {
                match state.queued.pop_front() {
                    Some(task) => break task,
                    None if state.closed => return,
                    None => {
                        state.idle += 1;
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                        state.idle -= 1;
                    }
                }
            };
            drop(state);
            // The task itself reports a panic to its caller. This thread goes on.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // A forked child has none of these threads, and one of them may have held the lock at the fork.
            return std::mem::forget(std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner)));
        }
        lock(&self.tasks.state).closed = true;
        self.tasks.changed.notify_all();
        for thread in lock(&self.threads).drain(..) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &lock(&self.threads).len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn outputs_are_in_order_and_the_work_is_parallel() {
        static MEET: Barrier = Barrier::new(4);
        let pool = Pool::new("test", 7);
        // Each waits for three others, so this ends only if four run at once.
        let meet = |n: u64| {
            MEET.wait();
            n * 10
        };
        for _ in 0..3 {
            assert_eq!(pool.map((0..4).collect(), meet), [0, 10, 20, 30]);
        }
        assert_eq!(pool.map((0..1000).collect(), |n: u64| n + 1), (1..=1000).collect::<Vec<_>>());
        assert_eq!(pool.map(vec![7], |n: u64| n), [7]);
        assert!(lock(&pool.threads).len() <= 7);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new("test", 7);
        let bad = |n: u64| if n == 5 { panic!("on purpose") } else { n };
        assert!(std::panic::catch_unwind(|| pool.map((0..10).collect(), bad)).is_err());
        assert_eq!(pool.map((0..3).collect(), bad), [0, 1, 2]);
    }
}
