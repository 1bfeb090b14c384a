//! The ring's thread, and the inbox through which callers reach it.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use nix::sys::eventfd::EventFd;
use nix::sys::signal::SigSet;

use super::flight::ChainJob;
use super::ring::{Kernel, Queues, Ring};
use super::setup::{self, Facts, Failure};
use crate::lock;

/// Jobs that wait for the ring's thread, and the means to wake it.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
    parked: Condvar,
    wake: Arc<EventFd>,
}

#[derive(Debug)]
struct InboxState {
    queue: VecDeque<ChainJob>,
    thread: ThreadState,
    /// The inbox takes no more jobs.
    closed: bool,
}

/// What the ring's thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThreadState {
    /// Awake. It looks at the inbox before it sleeps.
    Running,
    /// Asleep on the condition variable, with nothing in flight.
    Parked,
    /// Asleep in the kernel until a request completes. The event descriptor wakes it, too.
    InKernel,
    Ended,
}

impl Inbox {
    /// Queues a job. Gives it back if the ring takes no more.
    pub(super) fn push(&self, chain_job: ChainJob) -> Result<(), Box<ChainJob>> {
        let mut state = lock(&self.state);
        if state.closed || state.thread == ThreadState::Ended {
            return Err(Box::new(chain_job));
        }
        state.queue.push_back(chain_job);
        self.wake(state);
        Ok(())
    }

    /// Takes no more jobs. The thread finishes those that it has, then ends.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, InboxState>) {
        match std::mem::replace(&mut state.thread, ThreadState::Running) {
            ThreadState::Running => {}
            ThreadState::Parked => self.parked.notify_one(),
            ThreadState::InKernel => {
                drop(state);
                // A write fails only when the counter is full, and then the thread has been woken already.
                let _ = self.wake.write(1);
            }
            ThreadState::Ended => state.thread = ThreadState::Ended,
        }
    }
}

/// Starts the thread and waits until it has built its ring. The ring works on what `wrap` makes of the kernel's queues:
/// the queues themselves, except in unit tests.
pub(super) fn spawn<Q: Queues>(
    wrap: impl FnOnce(Kernel) -> Q + Send + 'static,
) -> Result<(Arc<Inbox>, JoinHandle<()>, Facts), Failure> {
    let wake = Arc::new(setup::wake_fd()?);
    let state = InboxState { queue: VecDeque::new(), thread: ThreadState::Running, closed: false };
    let inbox = Arc::new(Inbox { state: Mutex::new(state), parked: Condvar::new(), wake });
    let (sender, receiver) = sync_channel(1);
    let thread = thread::Builder::new().name("ringbolt-uring".into()).spawn({
        let inbox = Arc::clone(&inbox);
        move || {
            // The application's signals are for its own threads. An error here is impossible (EINVAL for a bad `how`),
            // and would only mean interrupted waits, which are resumed.
            let _ = SigSet::all().thread_block();
            match setup::build() {
                Ok((kernel, facts)) => {
                    let ring = Ring::new(wrap(kernel), Arc::clone(&inbox.wake));
                    let _ = sender.send(Ok(facts));
                    work(&inbox, ring);
                }
                Err(failure) => _ = sender.send(Err(failure)),
            }
        }
    })?;
    match receiver.recv() {
        Ok(Ok(facts)) => Ok((inbox, thread, facts)),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Error(io::Error::other("the thread of the ring ended before the ring was built"))),
    }
}

/// The thread's main loop: admits jobs, waits for the ring, and sleeps when there is nothing to do.
fn work<Q: Queues>(inbox: &Inbox, mut ring: Ring<Q>) {
    let _mark_ended = MarkEnded(inbox);
    loop {
        let mut state = lock(&inbox.state);
        while ring.has_room() && !ring.is_retired() {
            let Some(chain_job) = state.queue.pop_front() else { break };
            ring.admit(chain_job);
        }
        if ring.is_idle() {
            if ring.is_retired() || (state.closed && state.queue.is_empty()) {
                return;
            }
            state.thread = ThreadState::Parked;
            while state.thread == ThreadState::Parked {
                state = inbox.parked.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            continue;
        }
        state.thread = ThreadState::InKernel;
        drop(state);
        let waited = ring.wait();
        // Before any job is sent back: a caller that submits the next one need not wake a thread that is awake.
        lock(&inbox.state).thread = ThreadState::Running;
        if waited.is_err() {
            // The ring is lost. Its drop waits for what is in flight or leaks it; either way every caller gets an answer.
            return;
        }
        ring.reap();
    }
}

/// Marks the inbox when the thread ends, also by a panic, and sends back the jobs that still wait in it.
struct MarkEnded<'a>(&'a Inbox);

impl Drop for MarkEnded<'_> {
    fn drop(&mut self) {
        let queue = {
            let mut state = lock(&self.0.state);
            state.thread = ThreadState::Ended;
            std::mem::take(&mut state.queue)
        };
        for chain_job in queue {
            chain_job.send_back(true);
        }
    }
}
