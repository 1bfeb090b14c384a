//! Wrong protocols, made from the right one by leaving out or moving a step: a test that does not catch them proves nothing.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::{Done, Interpreter, Job};
use crate::dir::Dir;
use crate::error::Result;
use crate::plan::{Call, Plan, Stage};
use crate::report::Fate;

/// A protocol that loses data when the power goes. Never in a build of the library: only under test, and with
/// `--cfg ringbolt_mutants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mutant {
    /// No directory is synced.
    NoDirSync,
    /// Neither a file nor the filesystem is synced.
    NoFileSync,
    /// A file is synced only after it has its name, and that is durable.
    LateFileSync,
    /// A file is written out, not synced, whatever the filesystem.
    RangeForFileSync,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 4] =
        [Mutant::NoDirSync, Mutant::NoFileSync, Mutant::LateFileSync, Mutant::RangeForFileSync];

    /// Runs `act` with this protocol in every engine that is selected on this thread meanwhile.
    pub fn within<T>(self, act: impl FnOnce() -> T) -> T {
        let before = CHOSEN.replace(Some(self));
        let result = act();
        CHOSEN.set(before);
        result
    }

    /// An engine that runs this protocol on another.
    #[cfg(test)]
    pub(crate) fn over(self, engine: Arc<dyn Interpreter>) -> Arc<dyn Interpreter> {
        Arc::new(Mutated { mutant: self, engine })
    }

    /// The same plan by this protocol.
    pub(crate) fn plan(self, plan: Plan) -> Plan {
        let Plan { stages, clears_names } = plan;
        let calls: Vec<Call> = stages.into_iter().flatten().collect();
        let publishes = calls.iter().any(|call| matches!(call, Call::Publish { .. }));
        let mut stages: VecDeque<Stage> = VecDeque::new();
        let mut late = Vec::new();
        for call in calls {
            let call = match (self, call) {
                // A sync in the same request as the write is taken apart: without one, with one of another kind.
                (_, Call::Write { range, sync: true }) => {
                    stages.push_back(vec![Call::Write { range, sync: false }]);
                    Call::SyncFile
                }
                (_, call) => call,
            };
            match (self, call) {
                (Mutant::LateFileSync, call @ (Call::SyncFile | Call::SyncRange | Call::CloseFile)) if publishes => {
                    late.push(vec![call]);
                }
                (_, call) => stages.extend(self.call(&call).map(|call| vec![call])),
            }
        }
        stages.extend(late);
        Plan { stages, clears_names }
    }

    /// What becomes of a call by this protocol; `None` if it is left out.
    pub(crate) fn call(self, call: &Call) -> Option<Call> {
        match (self, call) {
            (Mutant::NoDirSync, Call::SyncDir | Call::SyncSourceDir) => None,
            (Mutant::NoFileSync, Call::StartSync | Call::SyncFile | Call::SyncRange | Call::SyncFilesystem) => None,
            (Mutant::RangeForFileSync, Call::SyncFile) => Some(Call::SyncRange),
            (Mutant::RangeForFileSync, Call::SyncFilesystem) => None,
            (_, call) => Some(call.clone()),
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mutant::NoDirSync => "no directory fsync",
            Mutant::NoFileSync => "no file fsync",
            Mutant::LateFileSync => "file fsync after the rename",
            Mutant::RangeForFileSync => "sync_file_range for fsync",
        })
    }
}

thread_local! {
    static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// The engine, or a mutant of it, if one was chosen on this thread.
pub(super) fn of(engine: Arc<dyn Interpreter>) -> Arc<dyn Interpreter> {
    match CHOSEN.get() {
        Some(mutant) => Arc::new(Mutated { mutant, engine }),
        None => engine,
    }
}

/// An engine that is given other plans than it was meant to have.
#[derive(Debug)]
struct Mutated {
    mutant: Mutant,
    engine: Arc<dyn Interpreter>,
}

impl Mutated {
    /// The job by the wrong protocol, and the calls that it does without.
    fn job(&self, job: Job) -> (Job, Vec<Call>) {
        let left_out = job.plan.stages.iter().flatten().filter(|call| self.mutant.call(call).is_none());
        let left_out = left_out.cloned().collect();
        (Job { plan: self.mutant.plan(job.plan), ..job }, left_out)
    }
}

/// Says that what was left out was done: a batch asks what became of the sync of a directory.
fn lie(mut done: Done, left_out: Vec<Call>) -> Done {
    done.report.pretend(left_out);
    done
}

impl Interpreter for Mutated {
    fn run(&self, job: Job) -> Done {
        let (job, left_out) = self.job(job);
        lie(self.engine.run(job), left_out)
    }

    fn run_all(&self, jobs: Vec<Job>) -> Vec<Done> {
        let (jobs, left_out): (Vec<Job>, Vec<Vec<Call>>) = jobs.into_iter().map(|job| self.job(job)).unzip();
        self.engine.run_all(jobs).into_iter().zip(left_out).map(|(done, left_out)| lie(done, left_out)).collect()
    }

    fn call(&self, call: &Call, job: &mut Job) -> Fate {
        match self.mutant.call(call) {
            Some(call) => self.engine.call(&call, job),
            None => Fate::Done(0),
        }
    }

    fn open_dir(&self, root: &Dir, path: &str) -> nix::Result<Dir> {
        self.engine.open_dir(root, path)
    }

    fn make_dir(&self, parent: &Dir, name: &Path) -> Result<()> {
        self.engine.make_dir(parent, name)
    }

    fn links(&self) -> bool {
        self.engine.links()
    }
}
