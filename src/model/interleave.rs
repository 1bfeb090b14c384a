//! Every order of the calls of several operations, with a power cut and a kill at every point.

use std::collections::BTreeSet;
use std::fmt;

use super::crash::Tree;
use super::disk::{DirId, Disk, Filesystem};
use super::machine::{Links, Machine, Next, StateId};
use super::numbered::{Number, Numbered, QuickMap, QuickSet};
use super::operation::{Operation, faults};
use super::promise::{Effect, Progress, Standing, Unit, allowed};
use super::recovery::{self, ORDERS, recover, recover_tree};
use crate::protocol::{Call, Fate, Verdict};

/// What to explore.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) disk: Disk,
    pub(super) links: Links,
    pub(super) operations: Vec<Operation>,
    /// Whether each call fails in turn, in each way.
    pub(super) fails: bool,
    /// The orders in which a recovery may visit the directories.
    pub(super) orders: Vec<[DirId; 2]>,
}

/// What was explored.
#[derive(Clone, Debug, Default)]
pub(super) struct Summary {
    /// Orders of all calls.
    pub(super) interleavings: u128,
    /// Distinct states of the disk and the operations.
    pub(super) points: usize,
    /// States after a power cut.
    pub(super) crashes: usize,
    /// The distinct trees among them.
    pub(super) trees: BTreeSet<Tree>,
}

/// A promise that was not kept.
#[derive(Debug)]
pub(super) struct Violation {
    filesystem: Filesystem,
    steps: Vec<String>,
    cut: String,
    visible: Tree,
    found: Tree,
    allowed: Vec<Tree>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "on {:?}, after these calls:", self.filesystem)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step}"))?;
        writeln!(f, "and {}\n  before it: {:?}\n  left:      {:?}", self.cut, self.visible, self.found)?;
        for place in self.visible.0.iter().chain(&self.found.0).map(|(place, _)| *place).collect::<BTreeSet<_>>() {
            let may: BTreeSet<_> = self.allowed.iter().map(|tree| tree.at(place)).collect();
            if !place.is_temp() && !may.contains(&self.found.at(place)) {
                writeln!(f, "  {place:?}: found {:?}, allowed {may:?}", self.found.at(place))?;
            }
        }
        write!(f, "  allowed:   {:?}", self.allowed)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Now => f.write_str("the power goes"),
            Cut::In(step) => write!(f, "a kill; recovery {step}; the power goes"),
            Cut::After(order) => write!(f, "a kill; recovery {order:?} is over; the power goes"),
            Cut::Twice => f.write_str("the power goes; in the recovery it goes again"),
            Cut::None => f.write_str("it is read, without any cut"),
        }
    }
}

impl Scenario {
    pub(super) fn new(disk: &Disk, operations: Vec<Operation>) -> Scenario {
        Scenario { disk: disk.clone(), links: Links::Checked, operations, fails: false, orders: ORDERS.to_vec() }
    }

    pub(super) fn explore(&self) -> Result<Summary, Box<Violation>> {
        let mut disk = self.disk.clone();
        self.operations.iter().for_each(|operation| operation.prepare(&mut disk));
        let units = self.operations.iter().enumerate().flat_map(|(op, operation)| {
            operation.effects.iter().map(move |(group, effect)| Unit { op, batch: op, group: *group, effect: *effect })
        });
        let units: Vec<Unit> = units.collect();
        // The two halves of a rename between directories have two syncs; only a journal makes them one change.
        let halves = disk.filesystem != Filesystem::Journaled
            && units.iter().any(|unit| matches!(unit.effect, Effect::Rename { from, to } if from.dir != to.dir));
        let count = self.operations.len();
        let initial = disk.visible().keys();
        let (mut disks, mut progresses) = (Numbered::new(), Numbered::new());
        let start = Point {
            disk: disks.number(disk),
            at: vec![Machine::START; count],
            progress: progresses.number(Progress::new(count)),
            distrusted: 0,
            poisoned: false,
            may_fail: self.fails,
        };
        let mut search = Search {
            scenario: self,
            initial,
            units,
            halves,
            machines: self.operations.iter().map(|op| Machine::new(op.program.clone(), self.links)).collect(),
            disks,
            progresses,
            promises: Numbered::new(),
            promised: QuickMap::default(),
            paths: QuickMap::default(),
            checked: QuickSet::default(),
            cut: QuickSet::default(),
            steps: Vec::new(),
            summary: Summary::default(),
        };
        search.summary.interleavings = search.visit(&start)?;
        search.summary.points = search.paths.len();
        Ok(search.summary)
    }
}

/// The state of the whole exploration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Point {
    disk: Number,
    at: Vec<StateId>,
    progress: Number,
    /// Directories with a failed sync, one bit each.
    distrusted: u8,
    /// No operation may start any more.
    poisoned: bool,
    may_fail: bool,
}

struct Search<'a> {
    scenario: &'a Scenario,
    initial: Tree,
    units: Vec<Unit>,
    halves: bool,
    machines: Vec<Machine>,
    disks: Numbered<Disk>,
    progresses: Numbered<Progress>,
    promises: Numbered<BTreeSet<Tree>>,
    /// The promises at each progress.
    promised: QuickMap<Number, Number>,
    /// The number of paths from a point.
    paths: QuickMap<Point, u128>,
    /// Disks that were checked, with their promises: for a cut and a kill, and for a cut alone.
    checked: QuickSet<(Number, Number)>,
    cut: QuickSet<(Number, Number)>,
    steps: Vec<Step>,
    summary: Summary,
}

#[derive(Clone, Debug)]
struct Step {
    op: usize,
    call: Call,
    fate: Fate,
    /// The result of the operation, if this was its last call.
    end: Option<Standing>,
}

/// When the power goes.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Now,
    /// After the process was killed, in the middle of a recovery.
    In(recovery::Step),
    /// After the whole recovery.
    After([DirId; 2]),
    /// After another cut and a recovery.
    Twice,
    /// Not at all.
    None,
}

type Checked<T> = Result<T, Box<Violation>>;

impl Search<'_> {
    /// Explores a point and everything after it. Returns the number of paths.
    fn visit(&mut self, point: &Point) -> Checked<u128> {
        if let Some(known) = self.paths.get(point) {
            return Ok(*known);
        }
        let promise = self.promise(point.progress);
        if self.checked.insert((point.disk, promise)) {
            self.check(point.disk, promise)?;
        }
        let mut ways = 0;
        for op in 0..point.at.len() {
            let Next::Call { operands, call } = self.machines[op].next(point.at[op]).clone() else { continue };
            if !self.may_go_on(point, op) {
                continue;
            }
            ways += self.step(point, op, operands, &call, None)?;
            if point.may_fail {
                for fault in faults(&call) {
                    ways += self.step(point, op, operands, &call, Some(fault))?;
                }
            }
        }
        let ways = ways.max(1);
        self.paths.insert(point.clone(), ways);
        Ok(ways)
    }

    fn may_go_on(&self, point: &Point, op: usize) -> bool {
        let progress = self.progresses.value(point.progress);
        let holds = |other: usize| {
            other != op && self.scenario.operations[other].locked && progress.standings[other] == Standing::Pending
        };
        let kept_out = self.scenario.operations[op].locked && (0..point.at.len()).any(holds);
        let too_late = point.poisoned && progress.standings[op] == Standing::Waiting;
        !too_late && !kept_out
    }

    fn step(
        &mut self,
        point: &Point,
        op: usize,
        operands: usize,
        call: &Call,
        fault: Option<(Fate, bool)>,
    ) -> Checked<u128> {
        let mut point = point.clone();
        let mut progress = (*self.progresses.value(point.progress)).clone();
        let mut disk = (*self.disks.value(point.disk)).clone();
        let operation = &self.scenario.operations[op];
        let operands = &operation.operands[operands];
        if progress.standings[op] == Standing::Waiting {
            progress.begin(op);
        }
        point.may_fail &= fault.is_none();
        let fate = match fault {
            None => disk.apply(call, operands).map_or_else(Fate::Failed, Fate::Done),
            Some((fate, done)) => {
                match (&fate, call) {
                    (Fate::Done(n), Call::Write { range, sync }) => {
                        let part = Call::Write { range: range.start..range.start + n, sync: *sync };
                        let _ = disk.apply(&part, operands);
                    }
                    (Fate::Failed(errno), _) if !done => disk.fail(call, operands, *errno),
                    _ => _ = disk.apply(call, operands),
                }
                fate
            }
        };
        let synced = match call {
            Call::SyncDir => Some(operands.to.dir),
            Call::SyncSourceDir => operands.source.map(|source| source.dir),
            _ => None,
        };
        if let (Some(dir), Fate::Failed(_)) = (synced, &fate) {
            point.distrusted |= 1 << dir;
            point.poisoned = true;
        }
        point.at[op] = self.machines[op].advance(point.at[op], &fate);
        let mut end = None;
        if let Next::Over(verdict) = self.machines[op].next(point.at[op]) {
            let doubtful = || operation.operands.iter().any(|operands| point.distrusted >> operands.to.dir & 1 == 1);
            let standing = match verdict {
                Verdict::Durable if doubtful() => Standing::Unknown,
                Verdict::Durable => Standing::Durable,
                Verdict::Unchanged { .. } => Standing::Unchanged,
                Verdict::Unknown { .. } => Standing::Unknown,
            };
            point.poisoned |= standing == Standing::Unknown;
            progress.standings[op] = standing;
            end = Some(standing);
        }
        point.disk = self.disks.number(disk);
        point.progress = self.progresses.number(progress);
        self.steps.push(Step { op, call: call.clone(), fate, end });
        let ways = self.visit(&point)?;
        self.steps.pop();
        Ok(ways)
    }

    /// The promises at this progress.
    fn promise(&mut self, progress: Number) -> Number {
        let Search { progresses, promises, initial, units, halves, .. } = self;
        *self.promised.entry(progress).or_insert_with(|| {
            let trees = allowed(initial, units, &progresses.value(progress), *halves);
            promises.number(trees.into_iter().collect())
        })
    }

    fn check(&mut self, number: Number, promise: Number) -> Checked<()> {
        let (disk, trees) = (self.disks.value(number), self.promises.value(promise));
        let visible = disk.visible();
        if !trees.contains(&visible.keys()) {
            return Err(self.violation(&disk, Cut::None, visible, &trees));
        }
        self.cut(number, Cut::Now, promise)?;
        for order in &self.scenario.orders {
            let mut left = (*disk).clone();
            let is_sound = left.is_sound();
            recover(&mut left, *order, |left, step| {
                let number = self.disks.number(left.clone());
                self.cut(number, Cut::In(step), promise)
            })?;
            // What was visible after the recovery must not change, and no temporary file may be left.
            let seen = left.visible();
            if is_sound && let Some(other) = left.crashes(|_| true).find(|tree| *tree != seen || tree.has_temporaries())
            {
                return Err(self.violation(&left, Cut::After(*order), other, &BTreeSet::from([seen.keys()])));
            }
        }
        Ok(())
    }

    /// Checks what a power cut leaves here.
    fn cut(&mut self, number: Number, cut: Cut, promise: Number) -> Checked<()> {
        if !self.cut.insert((number, promise)) {
            return Ok(());
        }
        let (disk, promise) = (self.disks.value(number), self.promises.value(promise));
        for tree in disk.crashes(|_| true) {
            self.summary.crashes += 1;
            if !promise.contains(&tree.keys()) {
                return Err(self.violation(&disk, cut, tree, &promise));
            }
            match recover_tree(disk.filesystem, &tree, true) {
                Ok(count) => self.summary.crashes += count,
                Err(found) => return Err(self.violation(&disk, Cut::Twice, found, &BTreeSet::from([tree.keys()]))),
            }
            self.summary.trees.insert(tree);
        }
        Ok(())
    }

    fn violation(&self, disk: &Disk, cut: Cut, found: Tree, promise: &BTreeSet<Tree>) -> Box<Violation> {
        let steps = self.steps.iter().map(|Step { op, call, fate, end }| {
            let end = end.map_or(String::new(), |end| format!(" => {end:?}"));
            format!("{}: {call:?} -> {fate:?}{end}", self.scenario.operations[*op].label)
        });
        Box::new(Violation {
            filesystem: disk.filesystem,
            steps: steps.collect(),
            cut: cut.to_string(),
            visible: disk.visible(),
            found,
            allowed: promise.iter().cloned().collect(),
        })
    }
}
