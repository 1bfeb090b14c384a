//! The ring, and everything the kernel may touch through it: the one file with `unsafe`.
//!
//! [`Ring`] owns every buffer, path and descriptor that is in flight. A [`Passage`] goes in by value and comes out only
//! when the kernel has posted a completion for each of its requests; dropping the ring waits for the same, and leaks
//! what is still in flight if that wait fails.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{EnterFlags, IoUring, opcode, types};
use nix::errno::Errno;
use nix::libc;
use nix::sys::eventfd::EventFd;

use super::Answer;
#[cfg(test)]
use super::faults::Faults;
use super::request::{has_request, request};
use crate::engine::Job;
use crate::protocol::plan::Stage;
use crate::protocol::{Call, Fate};

/// How many plans can be in flight at once, each with a slot of the file table.
pub(super) const SLOTS: u32 = 64;

/// The requests that wake the ring's thread: a read of the event descriptor and no-ops linked behind it, so that one
/// wake-up satisfies a wait for as many completions as a chain has, and a chain in flight costs one wake-up, not five.
const WAKE_REQUESTS: usize = 6;

/// Between two attempts to submit when the kernel has no memory for requests.
const RETRY_PAUSE: Duration = Duration::from_millis(1);

/// Marks the user data of the wake-up's requests.
const WAKE: u64 = 1 << 63;

/// A job on its way through the ring, and where it goes afterwards.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) job: Job,
    pub(super) reply: SyncSender<Answer>,
}

/// A passage whose requests are in flight.
struct Flight {
    passage: Passage,
    stage: Stage,
    fates: Vec<Option<Fate>>,
    /// Requests without a completion yet.
    outstanding: usize,
    /// Whether the flight's slot of the file table holds a file.
    slot_open: bool,
    /// Whether the stage is only the close of a slot that a broken chain left open.
    closing: bool,
}

pub(super) struct Ring {
    io: IoUring,
    /// By slot. Boxed, so that what the kernel points to stays where it is.
    flights: Vec<Option<Box<Flight>>>,
    free: Vec<u32>,
    /// User data of what is pushed and not yet submitted, in order.
    pushed: VecDeque<u64>,
    wake: Arc<EventFd>,
    /// What the kernel reads the event descriptor into.
    wake_count: Box<[u8; 8]>,
    /// Requests of the wake-up in flight.
    wake_outstanding: usize,
    /// Why nothing more may be submitted.
    retired: bool,
    #[cfg(test)]
    faults: Arc<Faults>,
}

impl Ring {
    /// Takes a ring whose file table has [`SLOTS`] empty slots.
    pub(super) fn new(io: IoUring, wake: Arc<EventFd>) -> Ring {
        Ring {
            io,
            flights: (0..SLOTS).map(|_| None).collect(),
            free: (0..SLOTS).rev().collect(),
            pushed: VecDeque::new(),
            wake,
            wake_count: Box::new([0; 8]),
            wake_outstanding: 0,
            retired: false,
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_faults(mut self, faults: &Arc<Faults>) -> Ring {
        faults.watch(self.io.as_raw_fd());
        self.faults = Arc::clone(faults);
        self
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

    /// Takes a passage on board and pushes its first stage. The caller has seen that there is room.
    pub(super) fn admit(&mut self, mut passage: Passage) {
        let stage = match passage.job.run.next_stage() {
            Some(stage) if !self.retired => stage,
            Some(stage) => {
                passage.job.run.put_back(stage);
                return answer(passage, true);
            }
            None => return answer(passage, false),
        };
        let slot = self.free.pop().expect("the caller has seen that there is room");
        let flight =
            Flight { passage, stage: Vec::new(), fates: Vec::new(), outstanding: 0, slot_open: false, closing: false };
        self.flights[slot as usize] = Some(Box::new(flight));
        self.launch(slot, stage, false);
    }

    /// Submits what is pushed and waits until some passage may have come to the end of its stage, or a wake-up came.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        if self.wake_outstanding == 0 && !self.retired {
            self.arm_wake();
        }
        let nearest = self.flights.iter().flatten().map(|flight| flight.outstanding).min().unwrap_or(1);
        // While a wake-up is half reaped, the other half could be all that still comes: don't ask for more.
        let wake_is_whole = self.wake_outstanding == WAKE_REQUESTS;
        self.enter(if wake_is_whole { nearest.clamp(1, WAKE_REQUESTS) } else { 1 })
    }

    fn arm_wake(&mut self) {
        let count = self.wake_count.as_mut_ptr();
        let read = opcode::Read::new(types::Fd(self.wake.as_raw_fd()), count, 8).build();
        let mut entries = vec![read];
        entries.resize_with(WAKE_REQUESTS, || opcode::Nop::new().build());
        self.push_chain(entries, |i| WAKE | i as u64);
        self.wake_outstanding = WAKE_REQUESTS;
    }

    fn launch(&mut self, slot: u32, stage: Stage, closing: bool) {
        let flight = self.flights[slot as usize].as_mut().expect("launched in its own slot");
        let entries: Vec<Entry> = stage.iter().map(|call| request(call, &flight.passage.job, slot)).collect();
        flight.fates = vec![None; stage.len()];
        flight.outstanding = stage.len();
        flight.stage = stage;
        flight.closing = closing;
        #[cfg(not(test))]
        let tag = |i: usize| u64::from(slot) << 8 | i as u64;
        #[cfg(test)]
        let (entries, tag) = self.faults.inject(slot, &flight.stage, &flight.passage.job, entries);
        self.push_chain(entries, tag);
    }

    /// Pushes requests linked to one another, all of them or none, so that no submit can fall into their midst.
    fn push_chain(&mut self, mut entries: Vec<Entry>, tag: impl Fn(usize) -> u64) {
        let last = entries.len() - 1;
        for (i, entry) in entries.iter_mut().enumerate() {
            let links = if i < last { Flags::IO_LINK } else { Flags::empty() };
            *entry = entry.clone().flags(links).user_data(tag(i));
            self.pushed.push_back(tag(i));
        }
        // SAFETY: every pointer in these entries leads into `self.wake_count`, or into the job of a flight in
        // `self.flights`: heap memory owned by this ring, neither moved, changed nor freed until the kernel has posted
        // the completion of every request of the chain (`reap` counts them), or for ever (`drop` leaks it). The
        // descriptors belong to the same owners. The queue has room: see `QUEUE` in setup.rs.
        unsafe { self.io.submission().push_multiple(&entries) }.expect("the queue holds all that can be in flight");
    }

    /// One `io_uring_enter`: submits everything pushed and waits for `want` completions.
    fn enter(&mut self, want: usize) -> io::Result<()> {
        #[cfg(test)]
        self.faults.enters()?;
        let result = if self.retired {
            // SAFETY: no request is submitted and no argument is passed; the call only waits.
            unsafe { self.io.submitter().enter::<libc::sigset_t>(0, want as u32, EnterFlags::GETEVENTS.bits(), None) }
                .map(|_| 0)
        } else {
            self.io.submit_and_wait(want)
        };
        match result {
            Ok(submitted) => {
                self.pushed.drain(..submitted);
            }
            // Interrupted, or with completions to reap first: nothing was submitted; go round again.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => return Ok(()),
            // The kernel is short of memory: go round again, but not at full speed.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                std::thread::sleep(RETRY_PAUSE);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if !self.pushed.is_empty() {
            self.retire();
        }
        Ok(())
    }

    /// The kernel took part of what was pushed, which may be part of a chain. The rest must never be submitted: it
    /// would run without the part that it depends on.
    fn retire(&mut self) {
        self.retired = true;
        for tag in std::mem::take(&mut self.pushed) {
            self.complete(tag, -libc::ECANCELED);
        }
    }

    /// Moves every passage on as far as its completions allow, and answers those that are through.
    pub(super) fn reap(&mut self) {
        let completions: Vec<(u64, i32)> =
            self.io.completion().map(|completion| (completion.user_data(), completion.result())).collect();
        #[cfg(test)]
        let completions = self.faults.told(completions);
        // First what makes others' successes worthless, then those.
        for (tag, result) in &completions {
            if let Some((flight, index)) = self.flight(*tag) {
                flight.passage.job.watch(&flight.stage[index], *result < 0 && *result != -libc::ECANCELED);
            }
        }
        for (tag, result) in completions {
            self.complete(tag, result);
        }
    }

    /// The flight, and the place in its stage, that a request belongs to; none for the wake-up.
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
        let fate = match (&flight.stage[index], fate(result)) {
            // As for a plain close: the descriptor is gone, and its data was synced before. (close(2)) What is linked behind it was
            // cancelled, though.
            (Call::CloseFile, Fate::Failed(Errno::EINTR)) if index + 1 == flight.stage.len() => Fate::Done(0),
            (_, fate) => fate,
        };
        match (&flight.stage[index], &fate) {
            (Call::CreateTemp { .. }, Fate::Done(_)) => flight.slot_open = true,
            // Whatever a close that ran says, the descriptor is gone.
            (Call::CloseFile, Fate::Done(_) | Fate::Failed(_)) => {
                flight.slot_open = false;
                if let Some(file) = flight.passage.job.file.take() {
                    let _closed_by_the_kernel = file.into_raw_fd();
                }
            }
            _ => {}
        }
        flight.fates[index] = Some(fate);
        flight.outstanding -= 1;
        if flight.outstanding == 0 {
            self.end_stage((tag >> 8) as u32);
        }
    }

    fn end_stage(&mut self, slot: u32) {
        let retired = self.retired;
        let flight = self.flights[slot as usize].as_mut().expect("ended in its own slot");
        if !flight.closing {
            let stage = std::mem::take(&mut flight.stage);
            let fates = flight.fates.drain(..).map(|fate| fate.expect("every request has completed")).collect();
            flight.passage.job.run.record(stage, fates);
            if !retired {
                let Job { run, bytes, .. } = &mut flight.passage.job;
                if let Some(stage) = run.next_stage_if(|stage| has_request(stage, bytes)) {
                    return self.launch(slot, stage, false);
                }
                if flight.slot_open {
                    return self.launch(slot, vec![Call::CloseFile], true);
                }
            }
        }
        let flight = self.flights[slot as usize].take().expect("ended in its own slot");
        self.free.push(slot);
        answer(flight.passage, retired);
    }

    /// Whether a failure of the first request cancels one that is linked behind it. For the self-test: the ring has
    /// nothing in flight. `fd` is what the first request fails on.
    pub(super) fn failure_breaks_link(&mut self, first: TestRequest, fd: BorrowedFd<'_>) -> io::Result<bool> {
        static BYTE: [u8; 1] = [0];
        let fd = types::Fd(fd.as_raw_fd());
        let first = match first {
            TestRequest::Write => opcode::Write::new(fd, BYTE.as_ptr(), 1).build(),
            TestRequest::Fsync => opcode::Fsync::new(fd).build(),
        };
        let entries = [first.flags(Flags::IO_LINK).user_data(0), opcode::Nop::new().build().user_data(1)];
        // SAFETY: the only pointer leads to a static. The descriptor is borrowed for longer than this function, which
        // waits for both completions.
        unsafe { self.io.submission().push_multiple(&entries) }.map_err(io::Error::other)?;
        let mut results = [None; 2];
        while results.contains(&None) {
            match self.io.submit_and_wait(1) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for completion in self.io.completion() {
                results[completion.user_data() as usize] = Some(completion.result());
            }
        }
        if results[0].is_some_and(|result| result >= 0) {
            return Err(io::Error::other("a request that must fail succeeded"));
        }
        Ok(results[1] == Some(-libc::ECANCELED))
    }
}

/// A request of the self-test.
#[derive(Clone, Copy, Debug)]
pub(super) enum TestRequest {
    Write,
    Fsync,
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A write to an event descriptor fails only when its counter is full, and then the read has long completed.
        let _ = self.wake.write(1);
        while !self.is_idle() || self.wake_outstanding > 0 {
            // After a panic, completions may have been taken that nobody counted: they could be waited for in vain.
            if std::thread::panicking() || self.enter(1).is_err() {
                // The kernel may still use what is in flight: leave it where it is, for ever. Whoever waits for an
                // answer is told that there will be none: the reply's sender goes.
                for flight in self.flights.drain(..).flatten() {
                    let Flight { passage: Passage { job, reply }, .. } = *flight;
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

fn fate(result: i32) -> Fate {
    match result {
        n @ 0.. => Fate::Done(n as usize),
        n if n == -libc::ECANCELED => Fate::Skipped,
        n => Fate::Failed(Errno::from_raw(-n)),
    }
}

/// Hands a passage back. A caller that is gone has no more use for it.
pub(super) fn answer(passage: Passage, retired: bool) {
    let Passage { job, reply } = passage;
    let _ = reply.send(Answer { job, retired });
}
