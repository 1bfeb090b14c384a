//! The ring and everything that the kernel may touch through it: the one file with `unsafe`.
//!
//! [`Ring`] owns every buffer, path and descriptor in flight. A [`ChainJob`] goes in by value and comes out only after
//! the kernel has posted a completion for each of its requests. Dropping the ring waits for those completions; if the
//! wait fails, it leaks what is still in flight.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{EnterFlags, IoUring};
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use super::flight::{ChainJob, Flight};
use super::request::Request;
use crate::engine::Job;
use crate::fs::buffer::AlignedBuffer;
use crate::protocol::Call;
use crate::protocol::plan::Stage;

/// How many plans can be in flight at once. Each has a slot of the file table.
pub(super) const SLOTS: u32 = 64;

/// The requests of the wake-up: a read of the event descriptor, and no-ops linked behind it. One wake-up then satisfies
/// a wait for as many completions as a chain has, so a chain in flight costs one return from the kernel, not five.
const WAKE_REQUESTS: usize = 6;

/// The pause before the next attempt to submit when the kernel has no memory for requests.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// The largest block of a disk that direct writes are aligned to, in bytes.
const BLOCK_MAX: u32 = 64 << 10;

/// Marks the user data of the wake-up's requests.
const WAKE: u64 = 1 << 63;

/// The user data of a call's request: the slot of its job, and its index in the stage.
pub(super) fn tag(slot: u32, index: usize) -> u64 {
    u64::from(slot) << 8 | index as u64
}

/// A reference whose owner keeps the memory that requests point into (names, content, the wake-up's counter) in place,
/// allocated and unchanged until every request made from it has completed.
#[derive(Debug)]
pub(super) struct Kept<'a, T>(&'a T);

impl<T> Kept<'_, T> {
    /// # Safety
    ///
    /// The caller is or controls the owner, and keeps what the type says.
    unsafe fn new(value: &T) -> Kept<'_, T> {
        Kept(value)
    }
}

impl<T> Deref for Kept<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

/// The submission and completion queues of a ring. [`Kernel`] is the implementation that ships; unit tests wrap it to
/// replace requests and results (`faults.rs`). A wrapper must pass on each completion once, when the kernel has posted it.
pub(super) trait Queues {
    /// Queues the requests of a stage as one chain, each with its [`tag`].
    fn push_stage(&mut self, slot: u32, stage: &[Call], job: &Kept<'_, Job>);

    /// Queues requests linked to one another, all or none, so that no submit can split the chain.
    fn push(&mut self, chain: Vec<Request>);

    /// One `io_uring_enter`: submits what is queued and waits for `want` completions. It may return early. Returns the tags
    /// that the kernel did not take, which may split a chain; after that, these queues never submit again.
    fn enter(&mut self, want: usize) -> io::Result<Vec<u64>>;

    /// Takes the posted completions: tags and results.
    fn reap(&mut self) -> Vec<(u64, i32)>;
}

/// The queues that the kernel reads and fills.
pub(super) struct Kernel {
    io: IoUring,
    /// Tags of what is pushed and not yet submitted, in order.
    pushed: VecDeque<u64>,
    /// The kernel has left requests in the queue, and must never take them: they may point to memory freed since.
    retired: bool,
}

impl Kernel {
    pub(super) fn new(io: IoUring) -> Kernel {
        Kernel { io, pushed: VecDeque::new(), retired: false }
    }
}

impl AsRawFd for Kernel {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

impl Queues for Kernel {
    fn push_stage(&mut self, slot: u32, stage: &[Call], job: &Kept<'_, Job>) {
        let requests = stage.iter().enumerate();
        self.push(requests.map(|(i, call)| Request::of(call, job, slot).tagged(tag(slot, i))).collect());
    }

    fn push(&mut self, chain: Vec<Request>) {
        let last = chain.len() - 1;
        let mut entries = Vec::<Entry>::with_capacity(chain.len());
        for (i, request) in chain.into_iter().enumerate() {
            let entry = request.into_entry(if i < last { Flags::IO_LINK } else { Flags::empty() });
            self.pushed.push_back(entry.get_user_data());
            entries.push(entry);
        }
        // SAFETY: a `Request` points only into a static or into what it was made from, a `Kept` value, whose owner keeps
        // that memory valid until the request has completed. The constructors in request.rs are the only ones.
        unsafe { self.io.submission().push_multiple(&entries) }
            // See `QUEUE` in setup.rs.
            .expect("the queue holds all that can be in flight");
    }

    fn enter(&mut self, want: usize) -> io::Result<Vec<u64>> {
        let result = if self.retired {
            // SAFETY: the call submits no request and passes no argument. It only waits.
            unsafe { self.io.submitter().enter::<()>(0, want as u32, EnterFlags::GETEVENTS.bits(), None) }.map(|_| 0)
        } else {
            self.io.submit_and_wait(want)
        };
        match result.map_err(|error| (error.raw_os_error().map(Errno::from_raw), error)) {
            Ok(submitted) => {
                self.pushed.drain(..submitted);
                self.retired |= !self.pushed.is_empty();
                Ok(self.pushed.drain(..).collect())
            }
            // Interrupted, or completions must be reaped first. Nothing was submitted; the next call submits it.
            Err((Some(Errno::EINTR | Errno::EBUSY), _)) => Ok(Vec::new()),
            // The kernel is short of memory. Nothing was submitted; the next call tries again, after a pause.
            Err((Some(Errno::EAGAIN), _)) => {
                std::thread::sleep(RETRY_PAUSE);
                Ok(Vec::new())
            }
            Err((_, error)) => Err(error),
        }
    }

    fn reap(&mut self) -> Vec<(u64, i32)> {
        self.io.completion().map(|completion| (completion.user_data(), completion.result())).collect()
    }
}

pub(super) struct Ring<Q: Queues> {
    queues: Q,
    /// By slot. Boxed, so that a job stays where it is.
    flights: Vec<Option<Box<Flight>>>,
    free: Vec<u32>,
    wake: Arc<EventFd>,
    /// What the kernel reads the event descriptor into.
    wake_count: Box<AtomicU64>,
    /// Requests of the wake-up in flight.
    wake_outstanding: usize,
    /// The kernel has split a chain: nothing more may be submitted.
    retired: bool,
}

impl<Q: Queues> Ring<Q> {
    /// Takes the queues of a ring whose file table has [`SLOTS`] empty slots.
    pub(super) fn new(queues: Q, wake: Arc<EventFd>) -> Ring<Q> {
        Ring {
            queues,
            flights: (0..SLOTS).map(|_| None).collect(),
            free: (0..SLOTS).rev().collect(),
            wake,
            wake_count: Box::default(),
            wake_outstanding: 0,
            retired: false,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.flights.len()
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired
    }

    /// Takes a job and pushes its first stage. The caller has checked [`has_room`](Ring::has_room) and
    /// [`is_retired`](Ring::is_retired).
    pub(super) fn admit(&mut self, mut chain_job: ChainJob) {
        let Some(stage) = chain_job.job.run.next_stage() else { return chain_job.send_back(false) };
        let slot = self.free.pop().expect("the caller has checked that there is room");
        self.flights[slot as usize] = Some(Box::new(Flight::new(chain_job)));
        self.launch(slot, stage, false);
    }

    /// Submits what is pushed and waits until a stage may have ended or a wake-up has come.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        if self.wake_outstanding == 0 && !self.retired {
            self.arm_wake();
        }
        let nearest = self.flights.iter().flatten().map(|flight| flight.outstanding()).min().unwrap_or(1);
        // While a wake-up is half reaped, its other half may be all that is still to come: wait for one completion only.
        let wake_is_whole = self.wake_outstanding == WAKE_REQUESTS;
        self.enter(if wake_is_whole { nearest.clamp(1, WAKE_REQUESTS) } else { 1 })
    }

    fn arm_wake(&mut self) {
        // SAFETY: the counter is boxed. It is freed only after `complete` has counted every request of the wake-up
        // (`wake_outstanding`), or never: `drop` leaks it. Only the kernel writes to it.
        let count = unsafe { Kept::new(&*self.wake_count) };
        let mut chain = vec![Request::read_event(self.wake.as_fd(), &count)];
        chain.resize_with(WAKE_REQUESTS, Request::nop);
        let tagged = chain.into_iter().enumerate().map(|(i, request)| request.tagged(WAKE | i as u64));
        self.queues.push(tagged.collect());
        self.wake_outstanding = WAKE_REQUESTS;
    }

    fn launch(&mut self, slot: u32, stage: Stage, closing: bool) {
        let flight = self.flights[slot as usize].as_mut().expect("launched in its own slot");
        flight.begin(stage, closing);
        // SAFETY: this flight owns the job, and neither changes its names nor its content. `complete` lets the job go when
        // it has counted every request of the stage: those that the kernel has completed, and those that it did not
        // take, which it never will (`Kernel::retired`). If the ring is lost before, `drop` leaks the job.
        let job = unsafe { Kept::new(&flight.chain_job.job) };
        self.queues.push_stage(slot, &flight.stage, &job);
    }

    fn enter(&mut self, want: usize) -> io::Result<()> {
        // The kernel may take a part of a chain. The rest would run without the part that it depends on: it never runs.
        for tag in self.queues.enter(want)? {
            self.retired = true;
            self.complete(tag, -(Errno::ECANCELED as i32));
        }
        Ok(())
    }

    /// Moves every job on as far as its completions allow, and sends back those that have finished.
    pub(super) fn reap(&mut self) {
        let completions = self.queues.reap();
        // A failed sync of a directory makes the successes of others worthless: record it before they are sent.
        for (tag, result) in &completions {
            if let Some((flight, index)) = self.flight(*tag) {
                flight.watch(index, *result);
            }
        }
        for (tag, result) in completions {
            self.complete(tag, result);
        }
    }

    /// The flight of a request, and the request's index in the stage; `None` for the wake-up.
    fn flight(&mut self, tag: u64) -> Option<(&mut Flight, usize)> {
        if tag & WAKE != 0 {
            return None;
        }
        let flight = self.flights[(tag >> 8) as usize].as_mut();
        Some((flight.expect("a slot is freed only after its last completion"), (tag & 0xff) as usize))
    }

    fn complete(&mut self, tag: u64, result: i32) {
        let Some((flight, index)) = self.flight(tag) else {
            self.wake_outstanding -= 1;
            return;
        };
        if !flight.complete(index, result) {
            return;
        }
        let (slot, retired) = ((tag >> 8) as u32, self.retired);
        let flight = self.flights[slot as usize].as_mut().expect("it has just completed");
        if let Some((stage, closing)) = flight.end_stage(retired) {
            return self.launch(slot, stage, closing);
        }
        let flight = self.flights[slot as usize].take().expect("it has just ended");
        self.free.push(slot);
        flight.chain_job.send_back(retired);
    }
}

impl<Q: Queues> Drop for Ring<Q> {
    fn drop(&mut self) {
        // A write to an event descriptor fails only when its counter is full, and then the read has long completed.
        let _ = self.wake.write(1);
        while !self.is_idle() || self.wake_outstanding > 0 {
            // A panic may have lost completions that were already taken: a wait for them could last for ever.
            if std::thread::panicking() || self.enter(1).is_err() {
                // The kernel may still use what is in flight, so leak it. Dropping the reply's sender fails the caller.
                for flight in self.flights.drain(..).flatten() {
                    let ChainJob { job, reply } = flight.chain_job;
                    drop(reply);
                    std::mem::forget(job);
                }
                std::mem::forget(std::mem::take(&mut self.wake_count));
                std::mem::forget(Arc::clone(&self.wake));
                return;
            }
            self.reap();
        }
    }
}

/// A ring for one durable write at a time, which whoever has it submits and awaits.
pub(super) struct WriteRing {
    io: IoUring,
    /// The bytes of the write in flight. It grows to the longest write.
    bytes: AlignedBuffer,
    /// The result of a write could not be awaited: the kernel may still read `bytes`, and nothing more is submitted.
    lost: bool,
    /// Of each write.
    flags: i32,
}

impl WriteRing {
    pub(super) fn new(io: IoUring, flags: i32) -> WriteRing {
        WriteRing { io, bytes: AlignedBuffer::zeroed(0, 1), lost: false, flags }
    }

    /// One write with the flags of the ring. The result is that of `pwritev2`.
    pub(super) fn write(&mut self, file: BorrowedFd<'_>, bytes: &AlignedBuffer, offset: u64) -> nix::Result<usize> {
        if self.lost {
            return Err(Errno::EIO);
        }
        let len = bytes.len();
        if self.bytes.len() < len {
            self.bytes = AlignedBuffer::zeroed(len, BLOCK_MAX);
        }
        self.bytes[..len].copy_from_slice(bytes);
        // SAFETY: `self.bytes` is not touched again before the completion has been seen, and `drop` leaks it if that has not
        // happened. The kernel takes its own reference to the file when it takes the request.
        let bytes = unsafe { Kept::new(&self.bytes) };
        let entry = Request::write_at(file, &bytes, len, offset, self.flags).into_entry(Flags::empty());
        // Until the completion has been seen, whatever happens in between.
        self.lost = true;
        // SAFETY: as above: the request points into `self.bytes` only.
        unsafe { self.io.submission().push(&entry) }.expect("nothing else is in the queue");
        loop {
            match self.io.submit_and_wait(1) {
                Ok(_) => {}
                // Interrupted, or short of memory: what was not submitted is still in the queue.
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EINTR | Errno::EBUSY) => {}
                    Some(Errno::EAGAIN) => std::thread::sleep(RETRY_PAUSE),
                    _ => return Err(Errno::EIO),
                },
            }
            if let Some(completion) = self.io.completion().next() {
                self.lost = false;
                let result = completion.result();
                return usize::try_from(result).map_err(|_| Errno::from_raw(-result));
            }
        }
    }
}

impl Drop for WriteRing {
    fn drop(&mut self) {
        if self.lost {
            std::mem::forget(std::mem::replace(&mut self.bytes, AlignedBuffer::zeroed(0, 1)));
        }
    }
}

impl std::fmt::Debug for WriteRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteRing").field("lost", &self.lost).finish_non_exhaustive()
    }
}
