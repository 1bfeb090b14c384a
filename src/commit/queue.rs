//! The bounded queue of the group commit: first come, first served, one worker. It does no I/O.
//!
//! A caller submits work and waits for the result, blocking or as a future. Work that is admitted while the worker is busy
//! becomes the worker's next batch. When the queue is full, callers wait in line, in order: that is the back-pressure. A
//! caller that finds the queue idle may take the solo path and do its work itself: [`Queue::try_solo`].

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::load::Load;
use crate::fs::process::Process;

#[cfg(ringbolt_model)]
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
#[cfg(not(ringbolt_model))]
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Work of many callers, in the order in which it came.
#[derive(Debug)]
pub(crate) struct Queue<T, R> {
    state: Mutex<QueueState<T, R>>,
    /// Wakes the worker: work was admitted, the solo caller has finished, or the queue was closed.
    wake_worker: Condvar,
    limit: Load,
    process: Process,
}

#[derive(Debug)]
struct QueueState<T, R> {
    /// Admitted, and not yet taken by the worker.
    admitted: VecDeque<QueuedWork<T, R>>,
    /// The load of what is admitted or in the current batch.
    load: Load,
    /// Work that the queue has no room for yet, by ticket number: in the order in which it came.
    line: BTreeMap<u64, QueuedWork<T, R>>,
    next_ticket: u64,
    /// The worker has a batch.
    busy: bool,
    /// The worker waits until so much work is admitted; 0 if it does not wait.
    wanted: usize,
    /// A caller is on the solo path.
    solo: bool,
    /// The number of changes in the last batch.
    last_batch: usize,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Open,
    /// Takes no more work. The worker still does what the queue holds.
    Closed,
    /// The worker is gone.
    WorkerLost,
}

/// A piece of work for the worker. If it is dropped without a result, its caller learns that the work was lost.
#[derive(Debug)]
pub(crate) struct QueuedWork<T, R> {
    pub(crate) work: T,
    pub(crate) load: Load,
    pub(crate) reply: ReplyTo<R>,
}

/// Sends a result to the caller that waits for it.
#[derive(Debug)]
pub(crate) struct ReplyTo<R>(Arc<Ticket<R>>);

/// What a piece of work and its caller share.
#[derive(Debug)]
struct Ticket<R> {
    number: u64,
    state: Mutex<TicketState<R>>,
}

#[derive(Debug)]
enum TicketState<R> {
    /// No result yet. Wakes this waker when there is one.
    Pending(Option<Waker>),
    Done(R),
    /// There will be no result, and it is unknown how far the work came.
    Lost,
}

/// A queue as its callers and its worker share it.
pub(crate) type Handle<T, R> = Arc<Queue<T, R>>;

impl<T, R> Queue<T, R> {
    pub(crate) fn new(limit: Load) -> Handle<T, R> {
        let state = QueueState {
            admitted: VecDeque::new(),
            load: Load::default(),
            line: BTreeMap::new(),
            next_ticket: 0,
            busy: false,
            wanted: 0,
            solo: false,
            last_batch: 0,
            status: Status::Open,
        };
        Arc::new(Queue { state: Mutex::new(state), wake_worker: Condvar::new(), limit, process: Process::current() })
    }

    /// Enters the solo path, if the queue is idle and the last batch was not larger than one. Until the guard is dropped the
    /// worker publishes nothing.
    pub(crate) fn try_solo(&self) -> Option<SoloGuard<'_, T, R>> {
        let mut state = self.lock();
        let contended = state.busy || state.solo || !state.admitted.is_empty() || state.last_batch > 1;
        if contended || state.status != Status::Open {
            return None;
        }
        state.solo = true;
        Some(SoloGuard(self))
    }

    /// The load of what is admitted or in the current batch, and the number of callers in line.
    pub(crate) fn depth(&self) -> (Load, usize) {
        let state = self.lock();
        (state.load, state.line.len())
    }

    /// Takes no more work. The worker does what the queue holds, then ends.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.status == Status::Open {
            state.status = Status::Closed;
        }
        self.wake_worker.notify_one();
    }

    /// Admits work, or puts it in line. `None` if the queue takes no more.
    fn enter(&self, work: T, load: Load) -> Option<Arc<Ticket<R>>> {
        let mut state = self.lock();
        if state.status != Status::Open {
            return None;
        }
        let number = state.next_ticket;
        state.next_ticket += 1;
        let ticket = Arc::new(Ticket { number, state: Mutex::new(TicketState::Pending(None)) });
        state.line.insert(number, QueuedWork { work, load, reply: ReplyTo(Arc::clone(&ticket)) });
        self.admit(&mut state);
        Some(ticket)
    }

    /// Admits work from the line, in order, while there is room.
    fn admit(&self, state: &mut QueueState<T, R>) {
        while let Some(first) = state.line.first_entry() {
            if !self.has_room(state.load, first.get().load) {
                break;
            }
            let queued = first.remove();
            state.load = state.load.saturating_add(queued.load);
            state.admitted.push_back(queued);
            if state.wanted > 0 && state.admitted.len() >= state.wanted {
                state.wanted = 0;
                self.wake_worker.notify_one();
            }
        }
    }

    /// Removes abandoned work from the line. Admitted work stays.
    fn leave(&self, ticket: &Arc<Ticket<R>>) {
        if !self.process.is_current() {
            // In a forked child, another thread may have held the lock at the fork.
            return;
        }
        let mut state = self.lock();
        let queued = state.line.remove(&ticket.number);
        self.admit(&mut state);
        drop((state, queued));
    }

    /// A load larger than the limit is admitted when the queue is empty.
    fn has_room(&self, current: Load, load: Load) -> bool {
        current == Load::default() || current.saturating_add(load).is_within(self.limit)
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T, R>> {
        lock(&self.state)
    }
}

/// The worker's side.
impl<T, R> Queue<T, R> {
    /// Waits for work and takes a batch of it, up to `budget`. The first piece is taken even if it is larger. `None` when the
    /// queue is closed and empty.
    pub(crate) fn take_batch(&self, budget: Load) -> Option<Vec<QueuedWork<T, R>>> {
        let mut state = self.lock();
        let first = loop {
            if let Some(first) = state.admitted.pop_front() {
                break first;
            }
            if state.status != Status::Open {
                return None;
            }
            state.wanted = 1;
            state = self.wake_worker.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            state.wanted = 0;
        };
        state.busy = true;
        let mut taken = vec![first];
        taken.append(&mut take(&mut state, budget.saturating_sub(taken[0].load)));
        Some(taken)
    }

    /// Takes what was admitted since, up to `budget`, for the same batch.
    pub(crate) fn take_more(&self, budget: Load) -> Vec<QueuedWork<T, R>> {
        take(&mut self.lock(), budget)
    }

    /// The same, after waiting until so many pieces of work are there, but no longer than `patience`.
    pub(crate) fn gather(&self, wanted: usize, budget: Load, patience: Duration) -> Vec<QueuedWork<T, R>> {
        let begin = Instant::now();
        let mut state = self.lock();
        // Those in line wait for room, which the batch frees at its end.
        while state.admitted.len() < wanted && state.line.is_empty() && state.status == Status::Open {
            let rest = patience.saturating_sub(begin.elapsed());
            if rest.is_zero() {
                break;
            }
            state.wanted = wanted;
            state = self.wake_worker.wait_timeout(state, rest).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
            state.wanted = 0;
        }
        take(&mut state, budget)
    }

    /// Blocks until the solo caller finishes. No other can start until the batch ends.
    pub(crate) fn wait_for_solo(&self) {
        let mut state = self.lock();
        while state.solo {
            state = self.wake_worker.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// The number of changes in the last batch.
    pub(crate) fn last_batch(&self) -> usize {
        self.lock().last_batch
    }

    /// Ends the batch and frees its room. Call this before sending the results, so that a caller which submits again at once
    /// finds the room.
    pub(crate) fn finish_batch(&self, changes: usize, load: Load) {
        let mut state = self.lock();
        state.busy = false;
        state.last_batch = changes;
        state.load = state.load.sub(load);
        self.admit(&mut state);
    }

    /// Marks the worker as gone. Drops all work in the queue, so that no caller waits any longer.
    pub(crate) fn lose_worker(&self) {
        let mut state = self.lock();
        state.status = Status::WorkerLost;
        state.busy = false;
        let lost = (mem::take(&mut state.admitted), mem::take(&mut state.line));
        drop(state);
        drop(lost);
    }
}

fn take<T, R>(state: &mut QueueState<T, R>, budget: Load) -> Vec<QueuedWork<T, R>> {
    let mut taken = Vec::new();
    let mut load = Load::default();
    while state.admitted.front().is_some_and(|next| load.saturating_add(next.load).is_within(budget)) {
        let next = state.admitted.pop_front().expect("just seen");
        load = load.saturating_add(next.load);
        taken.push(next);
    }
    taken
}

impl<R> ReplyTo<R> {
    pub(crate) fn send(self, result: R) {
        self.0.settle(TicketState::Done(result));
    }
}

impl<R> Drop for ReplyTo<R> {
    fn drop(&mut self) {
        if matches!(*lock(&self.0.state), TicketState::Pending(_)) {
            self.0.settle(TicketState::Lost);
        }
    }
}

impl<R> Ticket<R> {
    fn settle(&self, state: TicketState<R>) {
        // Wake outside the lock: the task that wakes takes it at once.
        let before = mem::replace(&mut *lock(&self.state), state);
        if let TicketState::Pending(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// A caller on the solo path. See [`Queue::try_solo`].
#[derive(Debug)]
pub(crate) struct SoloGuard<'a, T, R>(&'a Queue<T, R>);

impl<T, R> Drop for SoloGuard<'_, T, R> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.solo = false;
        // Only the worker waits for this, and only while it has a batch.
        if state.busy {
            self.0.wake_worker.notify_one();
        }
    }
}

/// A future for the result of a piece of work. It resolves to `None` if the worker is gone, when it is unknown how far the
/// work came.
///
/// Nothing happens before the first poll. If this is dropped while the work is in line, the work is not done; if it is
/// dropped later, the work is done and its result is discarded.
#[derive(Debug)]
pub(crate) struct Submission<T, R> {
    queue: Handle<T, R>,
    state: SubmissionState<T, R>,
}

#[derive(Debug)]
enum SubmissionState<T, R> {
    New(T, Load),
    /// In line, admitted, or in a batch.
    Queued(Arc<Ticket<R>>),
    Finished,
}

impl<T, R> Submission<T, R> {
    pub(crate) fn new(queue: &Handle<T, R>, work: T, load: Load) -> Submission<T, R> {
        Submission { queue: Arc::clone(queue), state: SubmissionState::New(work, load) }
    }
}

// Nothing in it is pinned.
impl<T, R> Unpin for Submission<T, R> {}

impl<T, R> Future for Submission<T, R> {
    type Output = Option<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<R>> {
        let ticket = match mem::replace(&mut self.state, SubmissionState::Finished) {
            SubmissionState::New(work, load) => match self.queue.enter(work, load) {
                Some(ticket) => ticket,
                None => return Poll::Ready(None),
            },
            SubmissionState::Queued(ticket) => ticket,
            SubmissionState::Finished => panic!("polled after completion"),
        };
        let mut state = lock(&ticket.state);
        match mem::replace(&mut *state, TicketState::Lost) {
            TicketState::Pending(_) => {
                *state = TicketState::Pending(Some(context.waker().clone()));
                drop(state);
                self.state = SubmissionState::Queued(ticket);
                Poll::Pending
            }
            TicketState::Done(result) => Poll::Ready(Some(result)),
            TicketState::Lost => Poll::Ready(None),
        }
    }
}

impl<T, R> Drop for Submission<T, R> {
    fn drop(&mut self) {
        if let SubmissionState::Queued(ticket) = &self.state {
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
