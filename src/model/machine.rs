//! A real `Run` as a state machine: the next call, given the results of all before. States are numbered, so that the exploration
//! can return to any of them.

use nix::errno::Errno;

use super::disk::DirId;
use super::numbered::QuickMap;
use crate::file::writer::{Temp, perhaps_renamed};
use crate::protocol::{Call, Fate, Phase, Plan, Run, Verdict, schedule, shared_calls};

/// How an engine runs the calls of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// Plain calls, up to the first that fails.
    Checked,
    /// io_uring: a failure cancels what is linked behind it only if it severs the chain.
    Kernel,
}

/// The plans of an operation, one for each set of operands.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) plans: Vec<Plan>,
    /// How the plans are committed together; `None` to run them one after the other.
    pub(super) batch: Option<Batched>,
    /// Whether the temporary file is removed after a failure.
    pub(super) cleans: bool,
}

/// What the schedule of a batch needs.
#[derive(Clone, Debug)]
pub(super) struct Batched {
    /// The sizes of the groups, in order.
    pub(super) groups: Vec<usize>,
    /// The directory of each plan.
    pub(super) dirs: Vec<DirId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Call { operands: usize, call: Call },
    Over(Verdict),
}

pub(super) type StateId = u16;

#[derive(Debug)]
pub(super) struct Machine {
    program: Program,
    links: Links,
    /// The results of the calls so far, and what comes next.
    states: Vec<(Vec<Fate>, Next)>,
    edges: QuickMap<(StateId, i64), StateId>,
}

impl Machine {
    pub(super) const START: StateId = 0;

    pub(super) fn new(program: Program, links: Links) -> Machine {
        let next = replay(&program, links, &[]);
        Machine { program, links, states: vec![(Vec::new(), next)], edges: QuickMap::default() }
    }

    pub(super) fn next(&self, state: StateId) -> &Next {
        &self.states[usize::from(state)].1
    }

    /// The state after the next call had this result.
    pub(super) fn advance(&mut self, state: StateId, fate: &Fate) -> StateId {
        let key = (state, code(fate));
        if let Some(known) = self.edges.get(&key) {
            return *known;
        }
        let mut fates = self.states[usize::from(state)].0.clone();
        fates.push(fate.clone());
        let next = replay(&self.program, self.links, &fates);
        self.states.push((fates, next));
        let new = StateId::try_from(self.states.len() - 1).expect("not so many states");
        self.edges.insert(key, new);
        new
    }
}

fn code(fate: &Fate) -> i64 {
    match fate {
        Fate::Done(n) => i64::try_from(*n).expect("a few bytes"),
        Fate::Failed(errno) => -1 - i64::from(*errno as i32),
        Fate::Skipped | Fate::Lost => i64::MIN,
    }
}

/// Runs a program again with these results. Returns what comes next.
fn replay(program: &Program, links: Links, fates: &[Fate]) -> Next {
    let mut fates = fates.iter();
    let mut runs: Vec<Run> = program.plans.iter().cloned().map(Run::unchecked).collect();
    let phases: Vec<_> = match &program.batch {
        Some(batch) => schedule(&batch.groups).collect(),
        None => vec![(Phase::SyncDirs, 0..runs.len())],
    };
    for (phase, operands) in phases {
        if let Some(Batched { dirs, .. }) = &program.batch {
            let waiting = operands.clone().filter_map(|at| {
                let call = runs[at].front().filter(|call| call.is_shared() && call.phase() <= phase)?.clone();
                let place = (call == Call::SyncDir).then_some(dirs[at]);
                Some((at, call, place))
            });
            for (call, waiting) in shared_calls(waiting) {
                let Some(fate) = fates.next() else { return Next::Call { operands: waiting[0], call } };
                waiting.into_iter().for_each(|at| runs[at].share(fate.clone()));
            }
        }
        for at in operands {
            if let Some(call) = pass(&mut runs[at], phase, links, &mut fates) {
                return Next::Call { operands: at, call };
            }
            if !runs[at].is_over() {
                continue;
            }
            match runs[at].report().verdict() {
                Verdict::Durable => {}
                Verdict::Unchanged { step, errno, temp_left: true } if program.cleans => {
                    let Some(fate) = fates.next() else { return Next::Call { operands: at, call: Call::RemoveTemp } };
                    let removed = match fate {
                        Fate::Done(_) => Temp::Gone,
                        Fate::Failed(Errno::ENOENT) => Temp::WasGone,
                        _ => Temp::Stuck,
                    };
                    return Next::Over(match perhaps_renamed(step, errno, removed) {
                        true => Verdict::Unknown { step, errno },
                        false => Verdict::Unchanged { step, errno, temp_left: removed == Temp::Stuck },
                    });
                }
                verdict => return Next::Over(verdict),
            }
        }
    }
    debug_assert!(runs.iter().all(Run::is_over));
    Next::Over(Verdict::Durable)
}

/// Runs one plan through a phase. Returns the first call without a result.
fn pass<'a>(run: &mut Run, phase: Phase, links: Links, fates: &mut impl Iterator<Item = &'a Fate>) -> Option<Call> {
    run.allow(phase);
    while let Some(stage) = run.next_stage() {
        let (mut done, mut stopped) = (Vec::new(), false);
        for call in &stage {
            if stopped {
                done.push(Fate::Skipped);
                continue;
            }
            let Some(fate) = fates.next() else { return Some(call.clone()) };
            stopped = !is_whole(call, fate) && (links == Links::Checked || call.severs());
            done.push(fate.clone());
        }
        run.record(stage, done);
    }
    None
}

fn is_whole(call: &Call, fate: &Fate) -> bool {
    match (call, fate) {
        (Call::Write { range, .. }, Fate::Done(n)) => *n == range.len(),
        (_, fate) => matches!(fate, Fate::Done(_)),
    }
}
