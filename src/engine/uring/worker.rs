//! The ring's thread, and the inbox through which callers reach it.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::EventFd;
use nix::sys::signal::SigSet;

#[cfg(test)]
use super::faults::Faults;
use super::ring::{Passage, Ring};
use super::setup::{self, Facts, Failure};

/// Jobs on their way to the ring's thread, and what must be done to make it look.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    parked: Condvar,
    wake: Arc<EventFd>,
    #[cfg(test)]
    pub(super) faults: Arc<Faults>,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Passage>,
    thread: Thread,
    /// Nothing more may come in.
    closed: bool,
}

/// What the ring's thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thread {
    /// Awake; it looks before it sleeps.
    Running,
    /// Asleep without anything in flight: on the condition variable.
    Parked,
    /// Asleep in the kernel until something completes: on the event descriptor, too.
    InKernel,
    /// Gone.
    Ended,
}

impl Inbox {
    /// Queues a passage; gives it back where the ring takes nothing more.
    pub(super) fn put(&self, passage: Passage) -> Result<(), Box<Passage>> {
        let mut state = self.lock();
        if state.closed || state.thread == Thread::Ended {
            return Err(Box::new(passage));
        }
        state.queue.push_back(passage);
        self.rouse(state);
        Ok(())
    }

    /// Lets the thread finish what it has, and end.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.rouse(state);
    }

    fn rouse(&self, mut state: MutexGuard<'_, State>) {
        match std::mem::replace(&mut state.thread, Thread::Running) {
            Thread::Running => {}
            Thread::Parked => self.parked.notify_one(),
            Thread::InKernel => {
                drop(state);
                // It fails only when the counter is full, and then the thread has been woken already.
                let _ = self.wake.write(1);
            }
            Thread::Ended => state.thread = Thread::Ended,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Starts the thread and waits until it has built its ring.
pub(super) fn spawn() -> Result<(Arc<Inbox>, JoinHandle<()>, Facts), Failure> {
    let wake = Arc::new(setup::wake_fd()?);
    let state = State { queue: VecDeque::new(), thread: Thread::Running, closed: false };
    let inbox = Arc::new(Inbox {
        state: Mutex::new(state),
        parked: Condvar::new(),
        wake,
        #[cfg(test)]
        faults: Arc::default(),
    });
    let (tell, told) = sync_channel(1);
    let thread = thread::Builder::new().name("ringbolt-uring".into()).spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            // The application's signals are for its own threads. An error here is impossible (EINVAL for a bad `how`),
            // and would only mean interrupted waits, which are resumed.
            let _ = SigSet::all().thread_block();
            match setup::build(Arc::clone(&inbox.wake)) {
                Ok((ring, facts)) => {
                    #[cfg(test)]
                    let ring = ring.with_faults(&inbox.faults);
                    let _ = tell.send(Ok(facts));
                    work(&inbox, ring);
                }
                Err(failure) => _ = tell.send(Err(failure)),
            }
        }
    })?;
    match told.recv() {
        Ok(Ok(facts)) => Ok((inbox, thread, facts)),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Error(io::Error::other("the thread of the ring ended before it had begun"))),
    }
}

/// The life of the thread: take jobs on board, wait for the ring, sleep when there is nothing to do.
fn work(inbox: &Inbox, mut ring: Ring) {
    let _ended = Ended(inbox);
    loop {
        let mut state = inbox.lock();
        while ring.has_room() && !ring.is_retired() {
            let Some(passage) = state.queue.pop_front() else { break };
            ring.admit(passage);
        }
        if ring.is_idle() {
            if ring.is_retired() || (state.closed && state.queue.is_empty()) {
                return;
            }
            state.thread = Thread::Parked;
            while state.thread == Thread::Parked {
                state = inbox.parked.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            continue;
        }
        state.thread = Thread::InKernel;
        drop(state);
        let waited = ring.wait();
        // Before anyone is answered: who then has more to do need not wake a thread that is awake.
        inbox.lock().thread = Thread::Running;
        if waited.is_err() {
            // The ring is lost. Its drop waits for what is in flight, or leaks it; every caller is told.
            return;
        }
        ring.reap();
    }
}

/// Marks the inbox when the thread ends, also by a panic: whoever still waits in the queue is told so.
struct Ended<'a>(&'a Inbox);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let queue = {
            let mut state = self.0.lock();
            state.thread = Thread::Ended;
            std::mem::take(&mut state.queue)
        };
        for passage in queue {
            super::ring::answer(passage, true);
        }
    }
}
