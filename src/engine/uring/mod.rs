//! The io_uring engine: a thread owns the ring, callers hand it jobs and wait.

mod refusal;
mod request;
mod ring;
mod setup;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use super::select::NoEngine;
use super::{Interpreter, Job, calls};
use crate::plan::{Plan, Run};
use crate::report::Report;
use request::has_request;
use ring::Passage;
use setup::Failure;
use worker::Inbox;

/// A ring and its thread.
#[derive(Debug)]
pub(super) struct Uring {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
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
        let (inbox, thread, facts) = worker::spawn().map_err(|failure| match failure {
            Failure::Refused(refusal) => NoEngine::Refused(refusal.to_string()),
            Failure::Error(error) => NoEngine::Failed(error),
        })?;
        let mut found = "io_uring works here".to_owned();
        if facts.restricted {
            found += ", restricted to the eight kinds of requests that ringbolt makes";
        }
        if !facts.fsync_breaks_link {
            found += "; this kernel goes on after a failed fsync in a chain, so none is relied on";
        }
        Ok((Uring { inbox, thread: Some(thread) }, found))
    }

    /// One passage through the ring; `None` when the ring was lost with the job in flight.
    fn pass(&self, run: Run, job: Job) -> Option<Answer> {
        let (reply, answer) = sync_channel(1);
        match self.inbox.put(Passage { run, job, reply }) {
            Ok(()) => answer.recv().ok(),
            Err(passage) => Some(Answer { run: passage.run, job: passage.job, retired: true }),
        }
    }
}

impl Interpreter for Uring {
    fn run(&self, mut job: Job) -> Report {
        let mut run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
        while let Some(stage) = run.next_stage() {
            if !has_request(&stage) {
                let fates = calls::run_stage(&stage, &mut job);
                run.record(stage, fates);
                continue;
            }
            run.put_back(stage);
            let Some(answer) = self.pass(run, job) else { return Report::lost() };
            if answer.retired {
                return answer.run.abandon();
            }
            Answer { run, job, .. } = answer;
        }
        run.finish()
    }

    fn links(&self) -> bool {
        true
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.inbox.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was an error for everyone who waited for it; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
