//! The engine of plain system calls: one job on the caller's thread, many on a few more.

use super::pool::Pool;
use super::{Interpreter, Job, calls, drive};

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
    fn run_all(&self, jobs: Vec<Job>) -> Vec<Job> {
        self.pool.map(jobs, |mut job| {
            drive(&mut job, calls::run);
            job
        })
    }
}
