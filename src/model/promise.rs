//! What may be found after a power cut: durable linearizability. Some order of the operations must explain it. The order contains
//! all acknowledged operations and no refused one, and an operation that ended before another began precedes it.

use std::collections::HashSet;

use super::crash::Tree;
use super::disk::{Content, Place};
use crate::protocol::Existing;

/// The atomic effect of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Put { place: Place, content: Content, existing: Existing },
    Delete { place: Place },
    Rename { from: Place, to: Place },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) op: usize,
    /// All earlier groups of a batch take effect before any later one.
    pub(super) batch: usize,
    pub(super) group: usize,
    pub(super) effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    Waiting,
    /// Started: old or new.
    Pending,
    /// Acknowledged: new.
    Durable,
    /// Refused: old.
    Unchanged,
    /// Refused because of what is there, or is not. That must be durable: it may not vanish behind the answer.
    Refused,
    /// Old or new.
    Unknown,
}

/// The progress of the operations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) standings: Vec<Standing>,
    /// For each operation, the others that had ended when it began.
    before: Vec<u64>,
}

impl Progress {
    pub(super) fn new(operations: usize) -> Progress {
        Progress { standings: vec![Standing::Waiting; operations], before: vec![0; operations] }
    }

    pub(super) fn begin(&mut self, op: usize) {
        let over = |standing: &Standing| !matches!(standing, Standing::Waiting | Standing::Pending);
        self.before[op] = self.standings.iter().enumerate().filter(|(_, s)| over(s)).map(|(i, _)| 1 << i).sum();
        self.standings[op] = Standing::Pending;
    }

    fn precedes(&self, first: usize, second: usize) -> bool {
        self.before[second] >> first & 1 == 1
    }
}

/// Every tree that some order of the operations explains. `halves`: an unacknowledged rename may have left both names.
pub(super) fn allowed(initial: &Tree, units: &[Unit], progress: &Progress, halves: bool) -> HashSet<Tree> {
    let usable: Vec<Unit> = units
        .iter()
        .filter(|unit| !matches!(progress.standings[unit.op], Standing::Waiting | Standing::Unchanged))
        .copied()
        .collect();
    let mut found = HashSet::new();
    let mut order = Order { units: &usable, progress, halves, placed: vec![false; usable.len()], found: &mut found };
    order.extend(initial);
    found
}

struct Order<'a> {
    units: &'a [Unit],
    progress: &'a Progress,
    halves: bool,
    placed: Vec<bool>,
    found: &'a mut HashSet<Tree>,
}

impl Order<'_> {
    fn extend(&mut self, tree: &Tree) {
        let standing = |unit: &Unit| self.progress.standings[unit.op];
        if self.units.iter().zip(&self.placed).all(|(unit, placed)| *placed || !is_told(standing(unit))) {
            self.found.insert(tree.clone());
        }
        for i in 0..self.units.len() {
            if self.placed[i] || !self.may_follow(i) {
                continue;
            }
            let unit = self.units[i];
            self.placed[i] = true;
            match (standing(&unit), after(tree, unit.effect)) {
                (Standing::Refused, None) => self.extend(tree),
                (Standing::Refused, Some(_)) | (_, None) => {}
                (_, Some(tree)) => self.extend(&tree),
            }
            if let (Effect::Rename { from, to }, true, false) = (unit.effect, self.halves, is_told(standing(&unit))) {
                let mut both = tree.clone();
                both.set(to, tree.at(from));
                self.extend(&both);
            }
            self.placed[i] = false;
        }
    }

    fn may_follow(&self, i: usize) -> bool {
        let unit = self.units[i];
        self.units.iter().zip(&self.placed).all(|(other, placed)| {
            let due = !placed
                && match other.batch == unit.batch {
                    true => other.group < unit.group,
                    false => is_told(self.progress.standings[other.op]) && self.progress.precedes(other.op, unit.op),
                };
            let late = *placed && self.progress.precedes(unit.op, other.op);
            !due && !late
        })
    }
}

/// Whether the caller knows what became of it, for good.
fn is_told(standing: Standing) -> bool {
    matches!(standing, Standing::Durable | Standing::Refused)
}

/// The tree after an operation; `None` if it would be refused.
fn after(tree: &Tree, effect: Effect) -> Option<Tree> {
    let mut tree = tree.clone();
    match effect {
        Effect::Put { place, content, existing } => {
            let found = tree.at(place);
            let fits = match existing {
                Existing::Replace => true,
                Existing::Refuse => found.is_none(),
                Existing::Match(version) => found.is_some_and(|found| found.version == Some(version)),
            };
            if !fits {
                return None;
            }
            tree.set(place, Some(content));
        }
        Effect::Delete { place } => {
            tree.at(place)?;
            tree.set(place, None);
        }
        Effect::Rename { from, to } => {
            let content = tree.at(from)?;
            tree.set(from, None);
            tree.set(to, Some(content));
        }
    }
    Some(tree)
}
