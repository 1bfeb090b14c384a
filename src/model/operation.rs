//! The operations of the crate, with its own plans.

use nix::errno::Errno;

use super::disk::{BLOCKS, Content, Disk, FileId, Filesystem, Name, Operands, Place};
use super::machine::{Batched, Program};
use super::promise::Effect;
use crate::engine::Mutant;
use crate::protocol::{Call, Existing, Fate, Medium, Names, Owner, Plan, PutOptions, Replace, Version};

/// An operation: its plans, operands and effects.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) label: String,
    pub(super) program: Program,
    pub(super) operands: Vec<Operands>,
    /// The effects, with their groups.
    pub(super) effects: Vec<(usize, Effect)>,
    /// Whether it changes names one at a time, as everything in a store does: two such operations never overlap.
    pub(super) locked: bool,
    /// Whether its temporary file exists before it starts, written through a guard.
    pub(super) guard: bool,
}

/// The options of a put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Put {
    pub(super) existing: Existing,
    pub(super) mode: Option<u32>,
    pub(super) stamp: Option<Version>,
    pub(super) medium: Medium,
    pub(super) one_chain: bool,
    /// The owner to copy, with attributes.
    pub(super) like: Option<Owner>,
}

pub(super) const PUT: Put =
    Put { existing: Existing::Replace, mode: None, stamp: None, medium: Medium::FSYNC, one_chain: false, like: None };

/// Another user than the writer.
pub(super) const OWNER: Owner = Owner { uid: 7, gid: 7 };

impl Put {
    fn options(self) -> PutOptions {
        PutOptions { mode: self.mode, existing: self.existing }
    }

    fn replace(self) -> Replace {
        Replace {
            len: BLOCKS,
            options: self.options(),
            stamp: self.stamp,
            medium: self.medium,
            one_chain: self.one_chain,
        }
    }

    /// The content that it writes.
    fn content(self, bytes: [u8; BLOCKS]) -> Content {
        let whole = Content::of(&bytes);
        let (owner, attributes) = (self.like.map(|owner| owner.uid), self.like.is_some());
        Content { version: self.stamp, mode: self.mode.unwrap_or(whole.mode), owner, attributes, ..whole }
    }
}

/// A distinct version for each number.
pub(super) fn version(n: u64) -> Version {
    Version::at(0_u64, n)
}

fn operands(to: Place, id: u8) -> Operands {
    // The initial files have smaller numbers.
    Operands { to, temp: Name::Temp(id), source: None, bytes: [b'a' + id, b'A' + id], file: FIRST + id }
}

/// The number of the first file that an operation creates.
const FIRST: FileId = 16;

impl Operation {
    fn new(label: String, operands: Vec<Operands>, plan: Plan, effect: Effect) -> Operation {
        let program = Program { plans: vec![plan], batch: None, cleans: false };
        Operation { label, program, operands, effects: vec![(0, effect)], locked: false, guard: false }
    }

    /// `id` distinguishes its content and temporary file.
    pub(super) fn put(id: u8, to: Place, put: Put) -> Operation {
        let operands = operands(to, id);
        let effect = Effect::Put { place: to, content: put.content(operands.bytes), existing: put.existing };
        let plan = match put.like {
            Some(owner) => Plan::replace_like(put.replace(), owner),
            None => Plan::replace(put.replace()),
        };
        let mut operation = Operation::new(format!("put{id} {to:?}"), vec![operands], plan, effect);
        operation.program.cleans = true;
        // Only a store compares versions.
        operation.locked = matches!(put.existing, Existing::Match(_));
        operation
    }

    /// The operation in a store, where an empty directory gives way.
    pub(super) fn clearing(mut self) -> Operation {
        self.program.plans.iter_mut().for_each(|plan| plan.clears_names = true);
        // A store changes names one at a time.
        self.locked = true;
        self
    }

    /// A file that was written through a guard.
    pub(super) fn commit(id: u8, to: Place, put: Put) -> Operation {
        let plan = match put.like {
            Some(owner) => Plan::commit_like(put.options(), owner, put.medium),
            None => Plan::commit(put.options(), put.stamp, put.medium),
        };
        let mut operation = Operation::put(id, to, put);
        operation.label = format!("commit{id} {to:?}");
        operation.program.plans = vec![plan];
        operation.guard = true;
        operation
    }

    pub(super) fn delete(place: Place, expected: Option<Version>) -> Operation {
        let plan = Plan::delete(expected, Names::Synced);
        let mut operation =
            Operation::new(format!("delete {place:?}"), vec![operands(place, 15)], plan, Effect::Delete { place });
        operation.locked = expected.is_some();
        operation
    }

    pub(super) fn rename(from: Place, to: Place) -> Operation {
        let operands = Operands { source: Some(from), ..operands(to, 15) };
        let plan = Plan::rename(from.dir != to.dir, Names::Synced);
        Operation::new(format!("rename {from:?} to {to:?}"), vec![operands], plan, Effect::Rename { from, to })
    }

    /// Puts in groups, committed together.
    pub(super) fn batch(groups: &[&[(u8, Place)]], medium: Medium) -> Operation {
        let put = Put { medium, ..PUT };
        let items: Vec<(usize, u8, Place)> =
            (0..).zip(groups).flat_map(|(group, items)| items.iter().map(move |(id, to)| (group, *id, *to))).collect();
        let plans = items.iter().map(|_| Plan::replace(put.replace())).collect();
        let dirs = items.iter().map(|(.., to)| to.dir).collect();
        let batch = Batched { groups: groups.iter().map(|group| group.len()).collect(), dirs };
        let operands: Vec<Operands> = items.iter().map(|(_, id, to)| operands(*to, *id)).collect();
        let effect = |operands: &Operands| Effect::Put {
            place: operands.to,
            content: put.content(operands.bytes),
            existing: put.existing,
        };
        let effects = items.iter().zip(&operands).map(|((group, ..), operands)| (*group, effect(operands))).collect();
        let program = Program { plans, batch: Some(batch), cleans: false };
        Operation { label: format!("batch by {medium:?}"), program, operands, effects, locked: false, guard: false }
    }

    /// The same by a wrong protocol; `None` if that makes no difference.
    pub(super) fn mutated(&self, mutant: Mutant) -> Option<Operation> {
        let plans: Vec<Plan> = self.program.plans.iter().map(|plan| mutant.plan(plan.clone())).collect();
        let calls = |plans: &[Plan]| -> Vec<Call> { plans.iter().flat_map(|plan| plan.calls().cloned()).collect() };
        let differs = calls(&plans) != calls(&self.program.plans);
        let program = Program { plans, ..self.program.clone() };
        differs.then(|| Operation { label: format!("{} with {mutant}", self.label), program, ..self.clone() })
    }

    /// Adds what must exist before it starts.
    pub(super) fn prepare(&self, disk: &mut Disk) {
        for operands in self.operands.iter().filter(|_| self.guard) {
            let temp = Place { dir: operands.to.dir, name: operands.temp };
            disk.add(temp, operands.file, Content::of(&operands.bytes));
        }
    }
}

/// The ways in which a call may fail, and whether it takes effect all the same.
pub(super) fn faults(call: &Call) -> Vec<(Fate, bool)> {
    let mut faults = vec![(Fate::Failed(Errno::EIO), false)];
    match call {
        Call::Write { range, sync } => {
            faults.push((Fate::Failed(Errno::ENOSPC), false));
            faults.push((Fate::Failed(Errno::EINTR), false));
            if range.len() > 1 {
                faults.push((Fate::Done(1), true));
            }
            if *sync {
                faults.push((Fate::Failed(Errno::EOPNOTSUPP), false));
            }
        }
        Call::CreateTemp { .. } => {
            faults.extend([(Fate::Failed(Errno::ENOSPC), false), (Fate::Failed(Errno::EIO), true)])
        }
        call if call.is_visible() => {
            faults.extend([(Fate::Failed(Errno::ENOSPC), false), (Fate::Failed(Errno::EIO), true)]);
            if *call == Call::REFUSE {
                faults.push((Fate::Failed(Errno::EINVAL), false));
            }
        }
        _ => {}
    }
    faults
}

/// The places of the tests: two existing files and two free names.
pub(super) const A: Place = Place { dir: 0, name: Name::Key(0) };
pub(super) const B: Place = Place { dir: 1, name: Name::Key(1) };
pub(super) const FREE: Place = Place { dir: 0, name: Name::Key(7) };
pub(super) const BETWEEN: Place = Place { dir: 1, name: Name::Key(7) };

/// Two directories, each with a file of a known version.
pub(super) fn disk(filesystem: Filesystem) -> Disk {
    let old = |bytes, n| Content { version: Some(version(n)), ..Content::of(bytes) };
    Disk::new(filesystem).with(A, 0, old(b"o0", 1)).with(B, 1, old(b"o1", 2))
}
