//! Group commit: callers queue up, one of them leads and works for all that are waiting, then hands the lead on.
//!
//! No thread of its own: a caller who is alone leads a batch of one on its own thread, and pays for no hand-over. What
//! queues up while a leader works is the next batch. Nothing here does I/O.

use std::collections::VecDeque;

#[cfg(loom)]
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Work of many callers, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Queue<T, R> {
    state: Mutex<State<T, R>>,
    /// The most that one leader takes at once.
    batch_max: usize,
}

#[derive(Debug)]
struct State<T, R> {
    waiting: VecDeque<(T, Arc<Ticket<R>>)>,
    /// Somebody leads, or has been told to.
    led: bool,
}

/// One caller's place in the queue.
#[derive(Debug)]
struct Ticket<R> {
    news: Mutex<News<R>>,
    told: Condvar,
}

#[derive(Debug)]
enum News<R> {
    None,
    /// Its work is the next in the queue, and it is to lead.
    Lead,
    Done(R),
    /// The leader panicked over it.
    Lost,
}

impl<T, R> Queue<T, R> {
    pub(crate) fn new(batch_max: usize) -> Queue<T, R> {
        Queue { state: Mutex::new(State { waiting: VecDeque::new(), led: false }), batch_max }
    }

    /// Has `work` done, by whoever leads: `run` is called with a batch, in order, and returns one result for each. `None` if
    /// the leader panicked, and nobody knows how far it came.
    pub(crate) fn join(&self, work: T, run: impl FnOnce(Vec<T>) -> Vec<R>) -> Option<R> {
        let ticket = Arc::new(Ticket { news: Mutex::new(News::None), told: Condvar::new() });
        let leads = {
            let mut state = lock(&self.state);
            state.waiting.push_back((work, Arc::clone(&ticket)));
            !std::mem::replace(&mut state.led, true)
        };
        let news = if leads { News::Lead } else { ticket.wait() };
        match news {
            News::Done(result) => Some(result),
            News::Lost => None,
            News::Lead | News::None => {
                self.lead(run);
                // The leader's own work was at the head of the queue, and so in its batch.
                match ticket.wait() {
                    News::Done(result) => Some(result),
                    News::Lost | News::Lead | News::None => None,
                }
            }
        }
    }

    fn lead(&self, run: impl FnOnce(Vec<T>) -> Vec<R>) {
        let (batch, tickets): (Vec<T>, VecDeque<_>) = {
            let mut state = lock(&self.state);
            let len = state.waiting.len().min(self.batch_max);
            state.waiting.drain(..len).unzip()
        };
        // Whatever happens in `run`, somebody leads on, and nobody is left waiting.
        let mut led = Led { queue: self, tickets };
        let results = run(batch);
        assert_eq!(results.len(), led.tickets.len(), "one result for each");
        for result in results {
            let ticket = led.tickets.pop_front().expect("just counted");
            ticket.tell(News::Done(result));
        }
    }

    /// Gives the lead to whoever has waited longest.
    fn hand_on(&self) {
        let mut state = lock(&self.state);
        match state.waiting.front() {
            Some((_, next)) => next.tell(News::Lead),
            None => state.led = false,
        }
    }
}

impl<R> Ticket<R> {
    fn wait(&self) -> News<R> {
        let mut news = lock(&self.news);
        while matches!(*news, News::None) {
            news = self.told.wait(news).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        std::mem::replace(&mut *news, News::None)
    }

    fn tell(&self, what: News<R>) {
        *lock(&self.news) = what;
        self.told.notify_one();
    }
}

/// A batch that is being worked on, and who waits for it.
struct Led<'a, T, R> {
    queue: &'a Queue<T, R>,
    tickets: VecDeque<Arc<Ticket<R>>>,
}

impl<T, R> Drop for Led<'_, T, R> {
    fn drop(&mut self) {
        // Those left have got no result: the leader panicked.
        for ticket in self.tickets.drain(..) {
            ticket.tell(News::Lost);
        }
        self.queue.hand_on();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
