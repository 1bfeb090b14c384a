//! A real `Run` as a machine: which call comes next, given what became of all before. Its states are numbered, so that it can
//! be taken back to any of them.

use nix::errno::Errno;

use super::numbered::QuickMap;
use crate::plan::{Call, Plan};
use crate::report::{Fate, Verdict};
use crate::run::Run;
use crate::writer::{Temp, perhaps_renamed};

/// How an engine runs the calls of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Links {
    /// Plain calls: up to the first that fails.
    Checked,
    /// io_uring: a failure cancels what is linked behind it only if it severs the chain.
    Kernel,
}

/// Plans, each for a pair of hands, each begun when the one before is done.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) plans: Vec<(usize, Plan)>,
    /// Whether a temporary file is removed when nothing has come of it.
    pub(super) cleans: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Call { hands: usize, call: Call },
    Over(Verdict),
}

pub(super) type State = u16;

#[derive(Debug)]
pub(super) struct Machine {
    program: Program,
    links: Links,
    /// What became of the calls so far, and what follows from it.
    states: Vec<(Vec<Fate>, Next)>,
    edges: QuickMap<(State, i64), State>,
}

impl Machine {
    pub(super) const START: State = 0;

    pub(super) fn new(program: Program, links: Links) -> Machine {
        let next = follow(&program, links, &[]);
        Machine { program, links, states: vec![(Vec::new(), next)], edges: QuickMap::default() }
    }

    pub(super) fn next(&self, state: State) -> &Next {
        &self.states[usize::from(state)].1
    }

    /// The state after the next call came to this.
    pub(super) fn advance(&mut self, state: State, fate: &Fate) -> State {
        let key = (state, code(fate));
        if let Some(known) = self.edges.get(&key) {
            return *known;
        }
        let mut fates = self.states[usize::from(state)].0.clone();
        fates.push(fate.clone());
        let next = follow(&self.program, self.links, &fates);
        self.states.push((fates, next));
        let new = State::try_from(self.states.len() - 1).expect("not so many states");
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

/// Runs a program again with these fates, up to what comes next.
fn follow(program: &Program, links: Links, fates: &[Fate]) -> Next {
    let mut fates = fates.iter();
    for (hands, plan) in &program.plans {
        let mut run = Run::unchecked(plan.clone());
        while let Some(stage) = run.next_stage() {
            let (mut done, mut stopped) = (Vec::new(), false);
            for call in &stage {
                if stopped {
                    done.push(Fate::Skipped);
                    continue;
                }
                let Some(fate) = fates.next() else { return Next::Call { hands: *hands, call: call.clone() } };
                stopped = !is_whole(call, fate) && (links == Links::Checked || call.severs());
                done.push(fate.clone());
            }
            run.record(stage, done);
        }
        match run.finish().verdict() {
            Verdict::Durable => {}
            Verdict::Unchanged { step, errno, temp_left: true } if program.cleans => {
                let Some(fate) = fates.next() else { return Next::Call { hands: *hands, call: Call::RemoveTemp } };
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
    Next::Over(Verdict::Durable)
}

fn is_whole(call: &Call, fate: &Fate) -> bool {
    match (call, fate) {
        (Call::Write { range, .. }, Fate::Done(n)) => *n == range.len(),
        (_, fate) => matches!(fate, Fate::Done(_)),
    }
}
