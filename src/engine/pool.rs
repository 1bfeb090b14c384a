//! Threads that work or wait in parallel: started when they are first needed, kept until the pool goes.

mod spawn;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::fs::process::Process;
pub(crate) use spawn::Spawned;

type Task = Box<dyn FnOnce() + Send>;

/// A few threads, and the tasks that wait for one.
pub(crate) struct Pool {
    name: &'static str,
    /// The most threads.
    most: usize,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    process: Process,
}

#[derive(Default)]
struct Shared {
    tasks: Mutex<Tasks>,
    news: Condvar,
}

#[derive(Default)]
struct Tasks {
    waiting: VecDeque<Task>,
    /// Threads that wait for a task, some of which may have been woken for one that is still in line.
    idle: usize,
    closed: bool,
}

/// One call of [`Pool::map`]: what is still to do, and what has been done.
struct Work<T, R> {
    state: Mutex<State<T, R>>,
    /// All is done, or a thread has panicked over it.
    over: Condvar,
}

struct State<T, R> {
    todo: VecDeque<(usize, T)>,
    done: Vec<Option<R>>,
    /// Not finished yet; the panicked are never finished.
    left: usize,
    panicked: bool,
}

impl Pool {
    /// A pool of up to so many threads, none of which is there yet.
    pub(crate) fn new(name: &'static str, most: usize) -> Pool {
        Pool { name, most, shared: Arc::default(), threads: Mutex::default(), process: Process::current() }
    }

    /// Applies `act` to each, as many at a time as there are threads, one of them the caller's. Results in order.
    ///
    /// # Panics
    ///
    /// If `act` panics.
    pub(crate) fn map<T: Send + 'static, R: Send + 'static>(&self, todo: Vec<T>, act: fn(T) -> R) -> Vec<R> {
        if todo.len() < 2 {
            return todo.into_iter().map(act).collect();
        }
        let left = todo.len();
        let done = todo.iter().map(|_| None).collect();
        let state = State { todo: todo.into_iter().enumerate().collect(), done, left, panicked: false };
        let work = Arc::new(Work { state: Mutex::new(state), over: Condvar::new() });
        self.help(left - 1, || {
            let work = Arc::clone(&work);
            Box::new(move || work.run(act))
        });
        work.run(act);
        let mut state = lock(&work.state);
        while state.left > 0 && !state.panicked {
            state = work.over.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        assert!(!state.panicked, "a helper panicked");
        state.done.drain(..).map(|done| done.expect("none is left")).collect()
    }

    /// Does `work` on one of the threads, and starts another where all are busy and there may be more.
    ///
    /// # Errors
    ///
    /// The system allows no thread at all.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Spawned<T>> {
        let (promise, spawned) = spawn::pair();
        let mut threads = lock(&self.threads);
        let mut tasks = lock(&self.shared.tasks);
        tasks.waiting.push_back(Box::new(move || promise.fulfil(work)));
        let are_busy = tasks.idle < tasks.waiting.len();
        drop(tasks);
        if are_busy && threads.len() < self.most {
            match self.start() {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => {
                    let task = lock(&self.shared.tasks).waiting.pop_back();
                    drop((threads, task));
                    return Err(error);
                }
                Err(_) => {}
            }
        }
        self.shared.news.notify_one();
        Ok(spawned)
    }

    /// Whether the caller runs on one of the threads.
    pub(crate) fn is_own_thread(&self) -> bool {
        let current = thread::current().id();
        lock(&self.threads).iter().any(|thread| thread.thread().id() == current)
    }

    /// Leaves the threads to themselves: dropping the pool still ends them, but does not wait for that.
    pub(crate) fn detach(&self) {
        lock(&self.threads).clear();
    }

    #[cfg(test)]
    fn threads(&self) -> usize {
        lock(&self.threads).len()
    }

    fn start(&self) -> io::Result<JoinHandle<()>> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name(self.name.into()).spawn(move || shared.serve())
    }

    /// Has up to so many threads lend a hand. Where the system allows no more threads, fewer do.
    fn help(&self, wanted: usize, task: impl Fn() -> Task) {
        let wanted = wanted.min(self.most);
        let mut threads = lock(&self.threads);
        while threads.len() < wanted {
            match self.start() {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        let helpers = wanted.min(threads.len());
        lock(&self.shared.tasks).waiting.extend((0..helpers).map(|_| task()));
        for _ in 0..helpers {
            self.shared.news.notify_one();
        }
    }
}

impl<T, R> Work<T, R> {
    fn run(&self, act: fn(T) -> R) {
        loop {
            let Some((i, job)) = lock(&self.state).todo.pop_front() else { return };
            let mut one = One { work: self, result: None };
            one.result = Some((i, act(job)));
        }
    }
}

/// A job in hand: tells of its end, however that comes.
struct One<'a, T, R> {
    work: &'a Work<T, R>,
    result: Option<(usize, R)>,
}

impl<T, R> Drop for One<'_, T, R> {
    fn drop(&mut self) {
        let mut state = lock(&self.work.state);
        match self.result.take() {
            Some((i, result)) => {
                state.done[i] = Some(result);
                state.left -= 1;
            }
            None => state.panicked = true,
        }
        if state.left == 0 || state.panicked {
            self.work.over.notify_one();
        }
    }
}

impl Shared {
    fn serve(&self) {
        loop {
            let mut tasks = lock(&self.tasks);
            let task = loop {
                match tasks.waiting.pop_front() {
                    Some(task) => break task,
                    None if tasks.closed => return,
                    None => {
                        tasks.idle += 1;
                        tasks = self.news.wait(tasks).unwrap_or_else(PoisonError::into_inner);
                        tasks.idle -= 1;
                    }
                }
            };
            drop(tasks);
            // Whoever waits for it is told by the job itself; this thread is as good as before.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(task));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // A forked child has none of these threads, and one of them may have held the lock.
            return std::mem::forget(std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner)));
        }
        lock(&self.shared.tasks).closed = true;
        self.shared.news.notify_all();
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn results_come_in_order_and_the_work_is_done_in_parallel() {
        static MEET: Barrier = Barrier::new(4);
        let pool = Pool::new("test", 7);
        // Each waits for three others: that ends only if four are at work at once.
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
    fn a_panic_is_the_callers_and_the_pool_goes_on() {
        let pool = Pool::new("test", 7);
        let bad = |n: u64| if n == 5 { panic!("on purpose") } else { n };
        assert!(std::panic::catch_unwind(|| pool.map((0..10).collect(), bad)).is_err());
        assert_eq!(pool.map((0..3).collect(), bad), [0, 1, 2]);
    }
}
