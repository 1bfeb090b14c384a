//! The engine of plain system calls: one job on the caller's thread, many on a few more.

use super::pool::Pool;
use super::{Done, Interpreter, Job, calls};

#[derive(Debug, Default)]
pub(super) struct Portable {
    pool: Pool,
}

impl Interpreter for Portable {
    fn run(&self, job: Job) -> Done {
        calls::run_job(job)
    }

    fn run_all(&self, jobs: Vec<Job>) -> Vec<Done> {
        self.pool.map(jobs, calls::run_job)
    }

    fn links(&self) -> bool {
        false
    }
}
