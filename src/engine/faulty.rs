//! An engine that fails where a test wants it to: the portable one, with an answer of its own at some calls.

use std::sync::Mutex;

use nix::errno::Errno;

use super::{Done, Interpreter, Job, calls};
use crate::plan::{Call, Plan};
use crate::report::Fate;
use crate::run::Run;

/// Decides of the n-th call (from 0) whether it fails, and how: it does not run then.
type Fault = dyn FnMut(usize, &Call) -> Option<Errno> + Send;

pub(crate) struct Faulty {
    state: Mutex<State>,
}

struct State {
    fault: Box<Fault>,
    ran: Vec<Call>,
}

impl Faulty {
    pub(crate) fn new(fault: impl FnMut(usize, &Call) -> Option<Errno> + Send + 'static) -> Faulty {
        Faulty { state: Mutex::new(State { fault: Box::new(fault), ran: Vec::new() }) }
    }

    /// Every call so far, also those that failed.
    pub(crate) fn ran(&self) -> Vec<Call> {
        self.state.lock().unwrap().ran.clone()
    }
}

impl Interpreter for Faulty {
    fn run(&self, mut job: Job) -> Done {
        let mut run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
        while let Some(stage) = run.next_stage() {
            let mut fates: Vec<Fate> = Vec::new();
            for call in &stage {
                let failed = fates.last().is_some_and(|fate| !matches!(fate, Fate::Done(_)));
                fates.push(if failed { Fate::Skipped } else { self.call(call, &mut job) });
            }
            run.record(stage, fates);
        }
        Done { report: run.finish(), file: job.file }
    }

    fn run_all(&self, jobs: Vec<Job>) -> Vec<Done> {
        jobs.into_iter().map(|job| self.run(job)).collect()
    }

    fn call(&self, call: &Call, job: &mut Job) -> Fate {
        let mut state = self.state.lock().unwrap();
        let n = state.ran.len();
        state.ran.push(call.clone());
        match (state.fault)(n, call) {
            Some(errno) => {
                job.watch(call, true);
                Fate::Failed(errno)
            }
            None => calls::run_one(call, job),
        }
    }

    fn links(&self) -> bool {
        false
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}
