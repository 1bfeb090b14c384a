//! The engine of plain system calls, on the caller's thread.

use super::{Interpreter, Job, calls};
use crate::plan::{Plan, Run};
use crate::report::Report;

#[derive(Debug)]
pub(super) struct Portable;

impl Interpreter for Portable {
    fn run(&self, mut job: Job) -> Report {
        let mut run = Run::new(std::mem::replace(&mut job.plan, Plan::empty()));
        while let Some(stage) = run.next_stage() {
            let fates = calls::run_stage(&stage, &mut job);
            run.record(stage, fates);
        }
        run.finish()
    }

    fn links(&self) -> bool {
        false
    }
}
