//! The engine of plain system calls: one job on the caller's thread, many on a few more.

use super::{Done, Interpreter, Job, calls};
use crate::plan::Plan;
use crate::pool::Pool;
use crate::run::Run;

/// The most threads that wait for the device beside the caller's own. Past a few dozen, more syncs at once did not help
/// (`benches/load`).
const THREADS_MAX: usize = 31;

#[derive(Debug)]
pub(super) struct Portable {
    pool: Pool,
}

impl Portable {
    pub(super) fn new() -> Portable {
        Portable { pool: Pool::new("ringbolt-sync", THREADS_MAX) }
    }
}

impl Interpreter for Portable {
    fn run(&self, job: Job) -> Done {
        run_job(job)
    }

    fn run_all(&self, jobs: Vec<Job>) -> Vec<Done> {
        self.pool.map(jobs, run_job)
    }

    fn links(&self) -> bool {
        false
    }
}

/// Runs a whole plan on this thread.
fn run_job(mut job: Job) -> Done {
    let mut run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
    while let Some(stage) = run.next_stage() {
        let fates = calls::run_stage(&stage, &mut job);
        run.record(stage, fates);
    }
    Done { report: run.finish(), file: job.file }
}
