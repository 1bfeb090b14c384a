//! The io_uring engine: a thread owns the ring, callers hand it jobs and wait.

#[cfg(test)]
mod faults;
#[cfg(test)]
mod faults_tests;
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
use super::{Interpreter, Job};
use crate::fs::process::Process;
use crate::protocol::Call;
#[cfg(feature = "bench")]
use refusal::Refusal;
use request::has_request;
use ring::Passage;
use setup::{Facts, Failure};
use worker::Inbox;

/// A ring and its thread.
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

/// Why somebody else's ring could not be made.
#[cfg(feature = "tokio-uring")]
pub(super) fn refused(error: std::io::Error) -> NoEngine {
    Failure::from(error).into()
}

/// Starts a ring only to tell what was found.
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

/// What comes back from the ring: the job, whose run is as far as it got.
#[derive(Debug)]
pub(super) struct Answer {
    job: Job,
    /// The ring takes nothing more.
    retired: bool,
}

impl Uring {
    /// Starts the engine, and tells in words what was found.
    pub(super) fn start() -> Result<(Uring, String), NoEngine> {
        let (uring, facts) = Uring::build()?;
        Ok((uring, facts.to_string()))
    }

    fn build() -> Result<(Uring, Facts), Failure> {
        let (inbox, thread, facts) = worker::spawn()?;
        Ok((Uring { inbox, thread: Some(thread), process: Process::current() }, facts))
    }

    /// Runs what needs no ring, and submits the job to it. What comes back first is told by the receiver.
    fn depart(&self, mut job: Job) -> Way {
        loop {
            let stage = job.run.allowed_stage();
            if stage.is_empty() {
                return Way::Through(job);
            }
            let content = &job.bytes;
            let on_ring = |stage: &[Call]| has_request(stage, content);
            // What the ring opens, only the ring can use, and it closes it in the end.
            let opens = stage.iter().any(|call| matches!(call, Call::CreateTemp { .. }));
            if on_ring(stage) && (!opens || job.run.closes_before(|stage| !on_ring(stage))) {
                let (reply, answer) = sync_channel(1);
                let if_lost = job.if_lost();
                return match self.inbox.put(Passage { job, reply }) {
                    Ok(()) => Way::Under(answer, if_lost),
                    Err(mut passage) => {
                        passage.job.run.abandon();
                        Way::Through(passage.job)
                    }
                };
            }
            self.run_stage_plainly(&mut job);
        }
    }

    fn run_stage_plainly(&self, job: &mut Job) {
        while let Some(call) = job.run.next_call() {
            let fate = self.call(&call, job);
            job.run.complete(fate);
            if job.run.is_between_stages() {
                return;
            }
        }
    }

    /// Follows a job to its end, passage by passage.
    fn follow(&self, mut way: Way) -> Job {
        loop {
            let (answer, if_lost) = match way {
                Way::Through(job) => return job,
                Way::Under(answer, if_lost) => (answer, if_lost),
            };
            way = match answer.recv() {
                Ok(Answer { job, retired: false }) => self.depart(job),
                Ok(Answer { mut job, retired: true }) => {
                    if !job.run.allowed_stage().is_empty() {
                        job.run.abandon();
                    }
                    Way::Through(job)
                }
                // The ring was lost with the job in flight.
                Err(_) => Way::Through(if_lost),
            };
        }
    }
}

/// How far a job is.
enum Way {
    /// In the ring, which will answer.
    Under(Receiver<Answer>, Job),
    Through(Job),
}

impl Interpreter for Uring {
    fn run(&self, job: Job) -> Job {
        self.follow(self.depart(job))
    }

    /// All are sent off before the first is waited for: up to as many chains in flight as the ring has slots.
    fn run_all(&self, jobs: Vec<Job>) -> Vec<Job> {
        let under: Vec<Way> = jobs.into_iter().map(|job| self.depart(job)).collect();
        under.into_iter().map(|way| self.follow(way)).collect()
    }

    fn links(&self) -> bool {
        true
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // A forked child does not have this thread, which may have held the lock.
            return std::mem::forget(self.thread.take());
        }
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was an error for everyone who waited for it; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
