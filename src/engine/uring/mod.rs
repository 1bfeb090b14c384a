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

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

#[cfg(feature = "bench")]
use super::select::Examined;
use super::select::NoEngine;
use super::{Done, Interpreter, Job, calls};
use crate::plan::{Call, Plan, Stage};
use crate::process::Process;
use crate::report::Report;
use crate::run::Run;
use flight::ChainJob;
#[cfg(feature = "bench")]
use refusal::Refusal;
use request::has_request;
use ring::{Kernel, Queues};
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

/// A job that comes back from the ring, and its run as far as it got.
#[derive(Debug)]
pub(super) struct Reply {
    run: Run,
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
    fn submit(&self, mut run: Run, mut job: Job) -> Submitted {
        while let Some(stage) = run.next_stage() {
            // A file that the ring opens is in its file table. Only the ring can use it, so only the ring can close it.
            let opens = stage.iter().any(|call| matches!(call, Call::CreateTemp { .. }));
            let on_ring = |stage: &Stage| has_request(stage, &job.bytes);
            if on_ring(&stage) && (!opens || run.closes_before(|stage| !on_ring(stage), &stage)) {
                run.put_back(stage);
                let (reply, receiver) = sync_channel(1);
                return match self.inbox.push(ChainJob { run, job, reply }) {
                    Ok(()) => Submitted::InFlight(receiver),
                    Err(refused) => Submitted::Finished(Done { report: refused.run.abandon(), file: refused.job.file }),
                };
            }
            let fates = calls::run_stage(&stage, &mut job);
            run.record(stage, fates);
        }
        Submitted::Finished(Done { report: run.finish(), file: job.file })
    }

    /// Waits for a job to finish. Submits it again whenever it comes back from the ring with stages left.
    fn wait_done(&self, mut submitted: Submitted) -> Done {
        loop {
            let receiver = match submitted {
                Submitted::Finished(done) => return done,
                Submitted::InFlight(receiver) => receiver,
            };
            submitted = match receiver.recv() {
                Ok(Reply { run, job, retired: false }) => self.submit(run, job),
                Ok(Reply { run, job, retired: true }) => {
                    Submitted::Finished(Done { report: run.abandon(), file: job.file })
                }
                // The ring was lost with the job in flight.
                Err(_) => Submitted::Finished(Done { report: Report::lost(), file: None }),
            };
        }
    }
}

/// A job after [`Uring::submit`].
enum Submitted {
    /// In the ring, which will reply.
    InFlight(Receiver<Reply>),
    Finished(Done),
}

impl Interpreter for Uring {
    fn run(&self, mut job: Job) -> Done {
        let run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
        self.wait_done(self.submit(run, job))
    }

    /// Submits all jobs before it waits for the first, so that as many chains are in flight as the ring has slots.
    fn run_all(&self, jobs: Vec<Job>) -> Vec<Done> {
        let submit = |mut job: Job| {
            let run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
            self.submit(run, job)
        };
        let submitted: Vec<Submitted> = jobs.into_iter().map(submit).collect();
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
