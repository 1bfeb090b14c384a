//! The queue of the group commit: bounded, first come first served, one worker. Nothing here does I/O.
//!
//! A caller hands in work and waits, blocking or as a future, for its result. What queues up while the worker is busy is its
//! next batch. Where the queue is full, callers stand in line, in order. A caller that finds nobody else may work for itself:
//! [`Queue::alone`].

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::fs::process::Process;

#[cfg(ringbolt_model)]
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
#[cfg(not(ringbolt_model))]
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How much of something: the limits of a queue, and what a piece of work takes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) files: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) fn plus(self, other: Load) -> Load {
        Load { files: self.files + other.files, bytes: self.bytes.saturating_add(other.bytes) }
    }

    /// What is left of this, if anything.
    pub(crate) fn left(self, other: Load) -> Load {
        Load { files: self.files.saturating_sub(other.files), bytes: self.bytes.saturating_sub(other.bytes) }
    }

    fn minus(self, other: Load) -> Load {
        Load { files: self.files - other.files, bytes: self.bytes - other.bytes }
    }

    fn within(self, limit: Load) -> bool {
        self.files <= limit.files && self.bytes <= limit.bytes
    }
}

/// Work of many callers, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Queue<T, R> {
    state: Mutex<State<T, R>>,
    /// For the worker: there is work, or whoever worked alone has finished.
    news: Condvar,
    limit: Load,
    process: Process,
}

#[derive(Debug)]
struct State<T, R> {
    waiting: VecDeque<Entry<T, R>>,
    /// Waiting or being worked on.
    held: Load,
    /// What there is no room for yet, by the numbers of its tickets: in the order in which it came.
    line: BTreeMap<u64, Entry<T, R>>,
    next_ticket: u64,
    /// The worker has a batch in hand.
    busy: bool,
    /// The worker waits for work.
    asleep: bool,
    /// A caller works for itself.
    alone: bool,
    /// How many pieces of work the last batch had.
    last_batch: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    None,
    /// What is there is still done.
    Closed,
    /// The worker is gone.
    Lost,
}

/// A piece of work in the worker's hands. Dropping it without an answer tells its caller that it was lost.
#[derive(Debug)]
pub(crate) struct Entry<T, R> {
    pub(crate) work: T,
    pub(crate) load: Load,
    pub(crate) answer: Answer<R>,
}

/// Where a result goes.
#[derive(Debug)]
pub(crate) struct Answer<R>(Arc<Ticket<R>>);

#[derive(Debug)]
struct Ticket<R> {
    number: u64,
    news: Mutex<News<R>>,
}

#[derive(Debug)]
enum News<R> {
    None(Option<Waker>),
    Done(R),
    /// There will be no result, and nobody knows how far the work came.
    Lost,
}

/// A queue as its callers and its worker share it.
pub(crate) type Handle<T, R> = Arc<Queue<T, R>>;

impl<T, R> Queue<T, R> {
    pub(crate) fn new(limit: Load) -> Handle<T, R> {
        let state = State {
            waiting: VecDeque::new(),
            held: Load::default(),
            line: BTreeMap::new(),
            next_ticket: 0,
            busy: false,
            asleep: false,
            alone: false,
            last_batch: 0,
            end: End::None,
        };
        Arc::new(Queue { state: Mutex::new(state), news: Condvar::new(), limit, process: Process::current() })
    }

    /// The right to work for oneself, if nobody else is here and nobody was a moment ago. Until it is dropped the worker
    /// publishes nothing.
    pub(crate) fn alone(&self) -> Option<Alone<'_, T, R>> {
        let mut state = self.lock();
        let others = state.busy || state.alone || !state.waiting.is_empty() || state.last_batch > 1;
        if others || state.end != End::None {
            return None;
        }
        state.alone = true;
        Some(Alone(self))
    }

    /// How much is waiting or being worked on, and how many callers stand in line.
    pub(crate) fn depth(&self) -> (Load, usize) {
        let state = self.lock();
        (state.held, state.line.len())
    }

    /// Lets the worker do what is there, and then end.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.end == End::None {
            state.end = End::Closed;
        }
        self.news.notify_one();
    }

    /// Takes work in, or puts it in line.
    fn enter(&self, work: T, load: Load) -> Option<Arc<Ticket<R>>> {
        let mut state = self.lock();
        if state.end != End::None {
            return None;
        }
        let number = state.next_ticket;
        state.next_ticket += 1;
        let ticket = Arc::new(Ticket { number, news: Mutex::new(News::None(None)) });
        state.line.insert(number, Entry { work, load, answer: Answer(Arc::clone(&ticket)) });
        self.admit(&mut state);
        Some(ticket)
    }

    /// Lets in from the line, in order, what there is room for. More than the limit goes when nothing else is held.
    fn admit(&self, state: &mut State<T, R>) {
        while let Some(first) = state.line.first_entry() {
            if !self.has_room(state.held, first.get().load) {
                break;
            }
            let entry = first.remove();
            state.held = state.held.plus(entry.load);
            state.waiting.push_back(entry);
            if mem::replace(&mut state.asleep, false) {
                self.news.notify_one();
            }
        }
    }

    /// Takes out of the line what its caller has given up; what is further stays.
    fn leave(&self, ticket: &Arc<Ticket<R>>) {
        if !self.process.is_current() {
            // In a forked child, where another thread may have held the lock.
            return;
        }
        let mut state = self.lock();
        let entry = state.line.remove(&ticket.number);
        self.admit(&mut state);
        drop((state, entry));
    }

    fn has_room(&self, held: Load, load: Load) -> bool {
        held == Load::default() || held.plus(load).within(self.limit)
    }

    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        lock(&self.state)
    }
}

/// What the worker does.
impl<T, R> Queue<T, R> {
    /// Waits for work, and takes it, up to this much, though what is larger by itself is taken alone; `None` when the queue is
    /// closed and empty.
    pub(crate) fn wait(&self, most: Load) -> Option<Vec<Entry<T, R>>> {
        let mut state = self.lock();
        let first = loop {
            if let Some(first) = state.waiting.pop_front() {
                break first;
            }
            if state.end != End::None {
                return None;
            }
            state.asleep = true;
            state = self.news.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            state.asleep = false;
        };
        state.busy = true;
        let mut taken = vec![first];
        taken.append(&mut take(&mut state, most.left(taken[0].load)));
        Some(taken)
    }

    /// What has come meanwhile, up to this much.
    pub(crate) fn more(&self, most: Load) -> Vec<Entry<T, R>> {
        take(&mut self.lock(), most)
    }

    /// Waits until nobody works for himself. Nobody will, before the batch is over.
    pub(crate) fn wait_for_alone(&self) {
        let mut state = self.lock();
        while state.alone {
            state = self.news.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// How many pieces of work the last batch had.
    pub(crate) fn last_batch(&self) -> usize {
        self.lock().last_batch
    }

    /// The batch is over: its room is free. To be called before its callers are told, so that they find it.
    pub(crate) fn over(&self, pieces: usize, load: Load) {
        let mut state = self.lock();
        state.busy = false;
        state.last_batch = pieces;
        state.held = state.held.minus(load);
        self.admit(&mut state);
    }

    /// The worker is gone: nobody waits for it any longer.
    pub(crate) fn lose(&self) {
        let mut state = self.lock();
        state.end = End::Lost;
        state.busy = false;
        let lost = (mem::take(&mut state.waiting), mem::take(&mut state.line));
        drop(state);
        drop(lost);
    }
}

fn take<T, R>(state: &mut State<T, R>, most: Load) -> Vec<Entry<T, R>> {
    let mut taken = Vec::new();
    let mut load = Load::default();
    while state.waiting.front().is_some_and(|next| load.plus(next.load).within(most)) {
        let next = state.waiting.pop_front().expect("just seen");
        load = load.plus(next.load);
        taken.push(next);
    }
    taken
}

impl<R> Answer<R> {
    pub(crate) fn tell(self, result: R) {
        self.0.tell(News::Done(result));
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        if matches!(*lock(&self.0.news), News::None(_)) {
            self.0.tell(News::Lost);
        }
    }
}

impl<R> Ticket<R> {
    fn tell(&self, news: News<R>) {
        // Woken outside of the lock: what is woken takes it at once.
        let before = mem::replace(&mut *lock(&self.news), news);
        if let News::None(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// See [`Queue::alone`].
#[derive(Debug)]
pub(crate) struct Alone<'a, T, R>(&'a Queue<T, R>);

impl<T, R> Drop for Alone<'_, T, R> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.alone = false;
        // Nobody but the worker can be waiting for that, and only if it has work.
        if state.busy {
            self.0.news.notify_one();
        }
    }
}

/// Work on its way: a place in the line, then one in the queue, then the result. `None` if the worker is gone, and nobody
/// knows how far it came.
///
/// Nothing happens before it is first polled. Dropped while it stands in line, the work is not done; dropped later, it is
/// done, and its result is forgotten.
#[derive(Debug)]
pub(crate) struct Submission<T, R> {
    queue: Handle<T, R>,
    stage: Stage<T, R>,
}

#[derive(Debug)]
enum Stage<T, R> {
    New(T, Load),
    Under(Arc<Ticket<R>>),
    Over,
}

impl<T, R> Submission<T, R> {
    pub(crate) fn new(queue: &Handle<T, R>, work: T, load: Load) -> Submission<T, R> {
        Submission { queue: Arc::clone(queue), stage: Stage::New(work, load) }
    }
}

// Nothing in it is pinned.
impl<T, R> Unpin for Submission<T, R> {}

impl<T, R> Future for Submission<T, R> {
    type Output = Option<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        let ticket = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::New(work, load) => match self.queue.enter(work, load) {
                Some(ticket) => ticket,
                None => return Poll::Ready(None),
            },
            Stage::Under(ticket) => ticket,
            Stage::Over => panic!("polled after it was ready"),
        };
        let mut news = lock(&ticket.news);
        match mem::replace(&mut *news, News::Lost) {
            News::None(_) => {
                *news = News::None(Some(context.waker().clone()));
                drop(news);
                self.stage = Stage::Under(ticket);
                Poll::Pending
            }
            News::Done(result) => Poll::Ready(Some(result)),
            News::Lost => Poll::Ready(None),
        }
    }
}

impl<T, R> Drop for Submission<T, R> {
    fn drop(&mut self) {
        if let Stage::Under(ticket) = &self.stage {
            self.queue.leave(ticket);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
