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
use super::{Done, Interpreter, Job, calls};
use crate::plan::{Call, Plan, Stage};
use crate::process::Process;
use crate::report::Report;
use crate::run::Run;
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

/// What comes back from the ring: the run as far as it got, and the job.
#[derive(Debug)]
pub(super) struct Answer {
    run: Run,
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

    /// Runs what needs no ring, and sends the job on its way through it. What comes back first is told by the receiver.
    fn depart(&self, mut run: Run, mut job: Job) -> Way {
        while let Some(stage) = run.next_stage() {
            // What the ring opens, only the ring can use, and it closes it in the end.
            let opens = stage.iter().any(|call| matches!(call, Call::CreateTemp { .. }));
            let on_ring = |stage: &Stage| has_request(stage, &job.bytes);
            if on_ring(&stage) && (!opens || run.closes_before(|stage| !on_ring(stage), &stage)) {
                run.put_back(stage);
                let (reply, answer) = sync_channel(1);
                return match self.inbox.put(Passage { run, job, reply }) {
                    Ok(()) => Way::Under(answer),
                    Err(passage) => Way::Through(Done { report: passage.run.abandon(), file: passage.job.file }),
                };
            }
            let fates = calls::run_stage(&stage, &mut job);
            run.record(stage, fates);
        }
        Way::Through(Done { report: run.finish(), file: job.file })
    }

    /// Follows a job to its end, passage by passage.
    fn follow(&self, mut way: Way) -> Done {
        loop {
            let answer = match way {
                Way::Through(done) => return done,
                Way::Under(answer) => answer,
            };
            way = match answer.recv() {
                Ok(Answer { run, job, retired: false }) => self.depart(run, job),
                Ok(Answer { run, job, retired: true }) => Way::Through(Done { report: run.abandon(), file: job.file }),
                // The ring was lost with the job in flight.
                Err(_) => Way::Through(Done { report: Report::lost(), file: None }),
            };
        }
    }
}

/// How far a job is.
enum Way {
    /// In the ring, which will answer.
    Under(Receiver<Answer>),
    Through(Done),
}

impl Interpreter for Uring {
    fn run(&self, mut job: Job) -> Done {
        let run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
        self.follow(self.depart(run, job))
    }

    /// All are sent off before the first is waited for: up to as many chains in flight as the ring has slots.
    fn run_all(&self, jobs: Vec<Job>) -> Vec<Done> {
        let depart = |mut job: Job| {
            let run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
            self.depart(run, job)
        };
        let under: Vec<Way> = jobs.into_iter().map(depart).collect();
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
