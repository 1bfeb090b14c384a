//! The io_uring engine. A thread owns the ring; callers send it jobs and wait for them.
//!
//! `ring.rs` owns the ring and all that is in flight, and is the only file with `unsafe`. `flight.rs` interprets the
//! completions of a job, `request.rs` builds requests, `worker.rs` is the thread and its inbox, `setup.rs` builds the
//! ring, `refusal.rs` says why there is none. `faults.rs` wraps the kernel's queues for unit tests.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod faults_tests;
mod flight;
mod refusal;
mod request;
mod ring;
mod setup;
mod worker;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::durable::{self, DurableWriter};
#[cfg(feature = "bench")]
use super::select::Examined;
use super::select::NoEngine;
use super::{EngineKind, Interpreter, Job, drive_stage};
use crate::fs::buffer::AlignedBuffer;
use crate::fs::process::Process;
use crate::protocol::Call;
use flight::ChainJob;
#[cfg(feature = "bench")]
use refusal::Refusal;
use request::has_request;
use ring::{Kernel, Queues, WriteRing};
use setup::{Facts, Failure};
use worker::Inbox;

/// A ring and its thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Uring {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    process: Process,
}

impl From<Failure> for NoEngine {
    fn from(failure: Failure) -> NoEngine {
        match failure {
            Failure::Refused(refusal) => NoEngine::Refused(refusal.to_string()),
            Failure::Error(error) => NoEngine::Failed(error),
        }
    }
}

/// The reason for which the application's own ring could not be built.
#[cfg(feature = "tokio-uring")]
pub(super) fn refused(error: std::io::Error) -> NoEngine {
    Failure::from(error).into()
}

/// A ring for the durable writes of one file.
pub(super) fn writer() -> Result<Box<dyn DurableWriter>, NoEngine> {
    let flags = if durable::is_durable_anyway() { 0 } else { nix::libc::RWF_DSYNC };
    Ok(Box::new(setup::build_writer(flags)?))
}

impl DurableWriter for WriteRing {
    fn write(&mut self, file: BorrowedFd<'_>, bytes: &AlignedBuffer, offset: u64) -> nix::Result<usize> {
        WriteRing::write(self, file, bytes, offset)
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Uring
    }
}

/// Starts a ring only to report what this kernel can do.
#[cfg(feature = "bench")]
pub(super) fn examine() -> Examined {
    match Uring::build() {
        Ok((_, facts)) => Examined {
            works: true,
            reason: facts.to_string(),
            failing_fsync_severs_links: Some(facts.fsync_breaks_link),
            missing: Vec::new(),
        },
        Err(failure) => {
            let missing = match &failure {
                Failure::Refused(Refusal::Opcodes(missing)) => missing.clone(),
                _ => Vec::new(),
            };
            Examined { missing, ..Examined::refused(failure.into()) }
        }
    }
}

/// A job that comes back from the ring. Its run is as far as it got.
#[derive(Debug)]
pub(super) struct Reply {
    job: Job,
    /// The ring takes no more jobs.
    retired: bool,
}

impl Uring {
    /// Starts the engine. Also returns what was found, in words.
    pub(super) fn start() -> Result<(Uring, String), NoEngine> {
        let (uring, facts) = Uring::build()?;
        Ok((uring, facts.to_string()))
    }

    fn build() -> Result<(Uring, Facts), Failure> {
        Uring::build_on(|kernel| kernel)
    }

    /// Builds the engine on the queues that `wrap` returns.
    fn build_on<Q: Queues>(wrap: impl FnOnce(Kernel) -> Q + Send + 'static) -> Result<(Uring, Facts), Failure> {
        let (inbox, thread, facts) = worker::spawn(wrap)?;
        Ok((Uring { inbox, thread: Some(thread), process: Process::current() }, facts))
    }

    /// Runs the stages that need no ring, up to the first that does, and submits the rest to the ring.
    fn submit(&self, mut job: Job) -> Submitted {
        loop {
            let stage = job.run.allowed_stage();
            if stage.is_empty() {
                return Submitted::Finished(job);
            }
            // A file that the ring opens is in its file table. Only the ring can use it, so only the ring can close it.
            let opens = stage.iter().any(|call| matches!(call, Call::CreateTemp { .. }));
            let on_ring = |stage: &[Call]| has_request(stage, &job.bytes);
            if on_ring(stage) && (!opens || job.run.closes_before(|stage| !on_ring(stage))) {
                let (reply, receiver) = sync_channel(1);
                let if_lost = job.if_lost();
                return match self.inbox.push(ChainJob { job, reply }) {
                    Ok(()) => Submitted::InFlight(receiver, if_lost),
                    Err(refused) => Submitted::Finished(refused.job.abandoned()),
                };
            }
            drive_stage(&mut job, |call, job| self.call(call, job));
        }
    }

    /// Waits for a job to finish. Submits it again whenever it comes back from the ring with stages left.
    fn wait_done(&self, mut submitted: Submitted) -> Job {
        loop {
            let (receiver, if_lost) = match submitted {
                Submitted::Finished(job) => return job,
                Submitted::InFlight(receiver, if_lost) => (receiver, if_lost),
            };
            submitted = match receiver.recv() {
                Ok(Reply { job, retired: false }) => self.submit(job),
                Ok(Reply { job, retired: true }) => Submitted::Finished(job.abandoned()),
                // The ring was lost with the job in flight.
                Err(_) => Submitted::Finished(if_lost),
            };
        }
    }
}

/// A job after [`Uring::submit`].
enum Submitted {
    /// In the ring, which will reply; and what is left of the job if the ring is lost.
    InFlight(Receiver<Reply>, Job),
    Finished(Job),
}

impl Interpreter for Uring {
    fn run(&self, job: Job) -> Job {
        self.wait_done(self.submit(job))
    }

    /// Submits all jobs before it waits for the first, so that as many chains are in flight as the ring has slots.
    fn run_all(&self, jobs: Vec<Job>) -> Vec<Job> {
        let submitted: Vec<Submitted> = jobs.into_iter().map(|job| self.submit(job)).collect();
        submitted.into_iter().map(|submitted| self.wait_done(submitted)).collect()
    }

    fn links(&self) -> bool {
        true
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // A forked child does not have this thread, which may have held the inbox's lock at the fork.
            return std::mem::forget(self.thread.take());
        }
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, every caller that waited for it got an error.
            let _ = thread.join();
        }
    }
}
