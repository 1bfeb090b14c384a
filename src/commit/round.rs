//! One round of the committing thread: the changes that have queued up are committed together.
//!
//! The order of phases comes from [`schedule`], the calls of each phase from the plans of the changes. This file runs independent
//! calls at the same time, makes shared calls once, and answers the callers.

use std::collections::HashMap;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::auto::Choice;
use super::barrier::BarrierKind;
use super::in_flight::{InFlight, Progress, Start};
use super::intent::{IntentLog, Turn};
use super::load::Load;
use super::queue::{QueuedWork, ReplyTo};
use super::stats::Part;
use super::trace;
use super::{Applied, ChangeGroups, ChangeResult, Core, PoisonOnPanic};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::Dir;
use crate::protocol::{Call, Phase, Plan, schedule, shared_calls};

/// The maximum load of a round. A single batch of a caller may be larger.
pub(super) const ROUND_MAX: Load = Load { files: 1024, bytes: 64 << 20 };

/// From this many changes on, or this many bytes, more than one thread writes the files.
const PARALLEL_FROM: Load = Load { files: 8, bytes: 256 << 10 };

/// A single slow record, as on a frozen filesystem, must not make the next one wait long.
const PATIENCE_MAX: Duration = Duration::from_millis(5);

/// Commits what has queued up, and what arrives while it is being written.
pub(super) fn run(core: &Arc<Core>, first: Vec<QueuedWork<ChangeGroups, Vec<ChangeResult>>>) {
    let last = core.queue.last_batch();
    let expected = core.queue.depth().0.files.max(last);
    let choice = core.auto().choose(expected, |patience| core.scout.finds_quiet(patience));
    if choice.kind == BarrierKind::Filesystem {
        core.prime();
    }
    let begin = Instant::now();
    let mut round = Round::new(core, choice.kind);
    round.add(first);
    loop {
        let budget = ROUND_MAX.saturating_sub(round.load);
        let mut more = core.queue.take_more(budget);
        if more.is_empty() {
            more = round.gather(budget);
        }
        if more.is_empty() {
            break;
        }
        round.add(more);
    }
    round.commit(begin, choice);
}

pub(super) struct Round<'a> {
    /// First, so that nobody learns of a panic before the store is closed to further writes.
    _poison: PoisonOnPanic<'a>,
    pub(super) core: &'a Arc<Core>,
    kind: BarrierKind,
    /// In the order of their groups.
    pub(super) items: Vec<Item>,
    callers: Vec<WaitingCaller>,
    load: Load,
    /// Items whose file is open.
    open: usize,
    /// The items before this one have passed `Phase::Harden`: a batch with more files than may be open passes it in parts.
    hardened: usize,
    last_group: usize,
    has_gathered: bool,
    /// How many syncs of checkpoints had failed before the first file was written.
    pub(super) failed_syncs: u64,
    /// Opened before the first file was written, so that its syncfs reports every error since (`errseq_t` in the kernel).
    filesystem: Arc<Dir>,
}

/// A caller that waits for the results of some items.
struct WaitingCaller {
    reply: ReplyTo<Vec<ChangeResult>>,
    since: Instant,
    /// The first group in which a change failed: later groups are not attempted.
    failed: Option<usize>,
}

/// A change, and how far it is.
pub(super) struct Item {
    pub(super) position: Position,
    pub(super) in_flight: Option<Box<InFlight>>,
    pub(super) result: Option<ChangeResult>,
}

/// Where a change belongs.
#[derive(Clone, Copy)]
pub(super) struct Position {
    caller: usize,
    pub(super) group: usize,
    bytes: usize,
}

impl<'a> Round<'a> {
    fn new(core: &'a Arc<Core>, kind: BarrierKind) -> Round<'a> {
        let root = core.dirs.root();
        let filesystem = match kind {
            // Where no descriptor is left, the root's works as well, but may report errors that others caused earlier.
            BarrierKind::Filesystem => root.open_beneath("").map_or_else(|_| Arc::clone(root), Arc::new),
            BarrierKind::PerFile | BarrierKind::Journal | BarrierKind::IntentLog => Arc::clone(root),
        };
        Round {
            _poison: PoisonOnPanic::new(core),
            core,
            kind,
            items: Vec::new(),
            callers: Vec::new(),
            load: Load::default(),
            open: 0,
            hardened: 0,
            last_group: 0,
            has_gathered: false,
            failed_syncs: core.log().map_or(0, IntentLog::failed_syncs),
            filesystem,
        }
    }

    /// Stages the changes of some callers.
    fn add(&mut self, callers: Vec<QueuedWork<ChangeGroups, Vec<ChangeResult>>>) {
        let mut todo = Vec::new();
        for QueuedWork { work: ChangeGroups { groups, since }, load, reply } in callers {
            self.load = self.load.saturating_add(load);
            let caller = self.callers.len();
            self.callers.push(WaitingCaller { reply, since, failed: None });
            // A later caller's groups do not come before an earlier one's, so changes of a key keep their order.
            let first = self.last_group;
            self.last_group += groups.len() - 1;
            for (group, changes) in (first..).zip(groups) {
                for change in changes {
                    let is_first = self.items.is_empty() && todo.is_empty();
                    let position = Position { caller, group, bytes: change.content_len() };
                    todo.push((position, Start::in_batch(self.core, self.kind, is_first, change)));
                }
            }
        }
        while !todo.is_empty() {
            let rest = todo.split_off(todo.len().min(self.core.open_max - self.open));
            let (positions, work): (Vec<Position>, Vec<Start>) = std::mem::replace(&mut todo, rest).into_iter().unzip();
            let bytes: usize = positions.iter().map(|position| position.bytes).sum();
            let parallel = work.len() >= PARALLEL_FROM.files || (work.len() > 1 && bytes >= PARALLEL_FROM.bytes);
            let staged: Vec<Result<Progress>> = match parallel {
                true => self.stage_in_parallel(work),
                false => work.into_iter().map(Start::stage).collect(),
            };
            assert_eq!(staged.len(), positions.len(), "a result for each change");
            for (position, progress) in positions.into_iter().zip(staged) {
                self.items.push(Item { position, in_flight: None, result: None });
                self.note(self.items.len() - 1, progress);
            }
            let is_open = |item: &Item| item.in_flight.as_ref().is_some_and(|change| change.job.file.is_some());
            self.open = self.items[self.hardened..].iter().filter(|item| is_open(item)).count();
            if self.open >= self.core.open_max {
                self.pass(Phase::WriteOut);
                self.pass(Phase::Harden);
            }
        }
    }

    /// Waits for the callers of the last round that have not come back yet: for a tenth of the time of a record at most. Without
    /// them, the next record would be theirs alone, and callers would split into two halves that wait for each other.
    fn gather(&mut self, budget: Load) -> Vec<QueuedWork<ChangeGroups, Vec<ChangeResult>>> {
        let missing = self.core.last_callers.load(Ordering::Relaxed).saturating_sub(self.callers.len());
        match self.core.log() {
            Some(log) if missing > 0 && !mem::replace(&mut self.has_gathered, true) => {
                self.core.queue.gather(missing, budget, (log.record_time() / 10).min(PATIENCE_MAX))
            }
            _ => Vec::new(),
        }
    }

    /// Stages independent changes on several threads, then the rest in order.
    fn stage_in_parallel(&self, work: Vec<Start>) -> Vec<Result<Progress>> {
        // Asked once of each: the answer depends on the directories of the moment.
        let independent: Vec<bool> = work.iter().map(Start::is_independent).collect();
        let (mut beside, mut rest) = (Vec::new(), Vec::new());
        for (work, independent) in work.into_iter().zip(&independent) {
            if *independent { &mut beside } else { &mut rest }.push(work);
        }
        let mut beside = self.core.stagers.map(beside, Start::stage).into_iter();
        let mut rest = rest.into_iter().map(Start::stage);
        let staged = independent.into_iter().map(|independent| if independent { beside.next() } else { rest.next() });
        staged.map(|progress| progress.expect("as many results as changes, in both parts")).collect()
    }

    fn commit(mut self, begin: Instant, choice: Choice) {
        let core = self.core;
        let groups = match core.log() {
            Some(log) => self.waves(log),
            None => self.items.chunk_by(|a, b| a.position.group == b.position.group).map(<[Item]>::len).collect(),
        };
        let mut turn = None;
        let mut times = HashMap::from([(Part::Stage, begin.elapsed())]);
        for (phase, items) in schedule(&groups) {
            let begin = Instant::now();
            let part = match phase {
                Phase::Write => Part::Stage,
                Phase::WriteOut | Phase::Harden => {
                    self.pass(phase);
                    Part::Barrier
                }
                Phase::Barrier => {
                    self.share(phase, items);
                    Part::Barrier
                }
                Phase::Admit => {
                    core.queue.wait_for_solo();
                    if let Some(log) = core.log() {
                        match log.turn(core, self.record_len(items.clone(), log)) {
                            Ok(taken) => turn = Some(taken),
                            Err(error) => self.refuse(items.clone(), &error),
                        }
                        self.admit(items, log);
                    }
                    Part::Publish
                }
                Phase::Log => {
                    if let Some(turn) = &turn {
                        self.log(items, turn);
                    }
                    Part::Barrier
                }
                Phase::Publish => {
                    self.publish(items);
                    Part::Publish
                }
                Phase::SyncDirs => {
                    self.share(phase, items);
                    turn.take().into_iter().for_each(Turn::published);
                    Part::SyncDirs
                }
            };
            *times.entry(part).or_default() += begin.elapsed();
        }
        let took = begin.elapsed();
        // A change that failed, or wrote no file, says nothing about the cost of files.
        let all_put = self.items.iter().all(|item| matches!(item.result, Some(Ok(Applied::Put(_)))));
        let mut auto = core.auto();
        if auto.learn(choice, all_put.then_some(self.items.len()), took) {
            trace::barrier(core.dirs.root().path(), self.kind, &auto.reason());
        }
        drop(auto);
        self.reply(times, took);
    }

    /// Lets all items pass a phase whose calls are independent. Files that are synced one by one wait for the device at the same
    /// time. Everything else runs in turn on this thread: writeback of all files has begun, so waiting in turn takes no longer.
    fn pass(&mut self, phase: Phase) {
        let core = self.core;
        let (mut jobs, mut origins) = (Vec::new(), Vec::new());
        for at in self.hardened..self.items.len() {
            let Some(mut change) = self.items[at].in_flight.take() else { continue };
            if phase == Phase::Harden && change.job.run.will(&Call::SyncFile) {
                change.job.run.allow(phase);
                let InFlight { job, origin, key } = *change;
                jobs.push(job);
                origins.push((at, origin, key));
                continue;
            }
            change.run_plainly(core, phase);
            self.advance(at, change);
        }
        let done = core.writer.engine.interpreter.run_all(jobs);
        for ((at, origin, key), job) in origins.into_iter().zip(done) {
            self.advance(at, Box::new(InFlight { job, origin, key }));
        }
        if phase == Phase::Harden {
            self.open = 0;
            self.hardened = self.items.len();
        }
    }

    /// Makes each shared call of a phase once, for all items that wait for it. If it fails, it has failed for all of them.
    fn share(&mut self, phase: Phase, items: Range<usize>) {
        let core = self.core;
        // A directory is known by its descriptor, not by its path.
        let waiting = items.clone().filter_map(|at| {
            let job = &self.items[at].in_flight.as_ref()?.job;
            let call = job.run.front().filter(|call| call.is_shared() && call.phase() <= phase)?.clone();
            let place = (call == Call::SyncDir).then_some(Arc::as_ptr(&job.dir));
            Some((at, call, place))
        });
        let calls = shared_calls(waiting);
        let jobs = calls.iter().map(|(call, waiting)| {
            let dir = match (call, &self.items[waiting[0]].in_flight) {
                (Call::SyncDir, Some(change)) => &change.job.dir,
                _ => &self.filesystem,
            };
            core.writer.job(Plan::of([call.clone()]), dir)
        });
        let jobs: Vec<_> = jobs.collect();
        core.recorder.filesystems.add(calls.iter().filter(|(call, _)| *call == Call::SyncFilesystem).count());
        core.recorder.directories.add(calls.iter().filter(|(call, _)| *call == Call::SyncDir).count());
        let done = core.writer.engine.interpreter.run_all(jobs);
        for ((call, waiting), job) in calls.into_iter().zip(done) {
            let fate = job.run.report().fate_of(&call);
            for at in waiting {
                if let Some(change) = &mut self.items[at].in_flight {
                    change.job.run.share(fate.clone());
                }
            }
        }
        for at in items {
            let Some(mut change) = self.items[at].in_flight.take() else { continue };
            change.run_plainly(core, phase);
            self.advance(at, change);
        }
    }

    /// Changes names, in order, on this thread: more threads measured no faster, since a directory lets in one at a time.
    fn publish(&mut self, items: Range<usize>) {
        let core = self.core;
        for at in items {
            if let Some(mut change) = self.take_unless_refused(at) {
                change.run_plainly(core, Phase::Publish);
                // Settled after the directories are synced: an ambiguous failure poisons the store, and must not stop the others.
                self.items[at].in_flight = Some(change);
            }
        }
    }

    /// Takes out a change, or ends it if it must not go on.
    pub(super) fn take_unless_refused(&mut self, at: usize) -> Option<Box<InFlight>> {
        let core = self.core;
        let position = self.items[at].position;
        let change = self.items[at].in_flight.take()?;
        let refused = match self.callers[position.caller].failed {
            _ if change.is_logged() => Ok(()),
            Some(failed) if failed < position.group => {
                let path = change.job.dir.path_of(&change.job.name);
                Err(Error::new(ErrorKind::NotAttempted, Step::Check, path))
            }
            _ => core.check(),
        };
        let Err(error) = refused else { return Some(change) };
        change.cancel(core);
        self.items[at].result = Some(Err(error));
        None
    }

    /// Puts back a change that has passed a phase, or its result.
    pub(super) fn advance(&mut self, at: usize, change: Box<InFlight>) {
        let progress = change.advanced_in_batch(self.core);
        self.note(at, progress);
    }

    pub(super) fn note(&mut self, at: usize, progress: Result<Progress>) {
        let item = &mut self.items[at];
        match progress {
            Ok(Progress::InFlight(change)) => item.in_flight = Some(change),
            Ok(Progress::Over(applied)) => item.result = Some(Ok(applied)),
            Err(error) => {
                let failed = &mut self.callers[item.position.caller].failed;
                *failed = Some(failed.map_or(item.position.group, |earlier| earlier.min(item.position.group)));
                item.result = Some(Err(error));
            }
        }
    }

    /// Sends each caller its results. Statistics and the queue are updated first, so that a caller sees them when it wakes.
    fn reply(mut self, times: HashMap<Part, Duration>, took: Duration) {
        let core = self.core;
        let mut results: Vec<Vec<ChangeResult>> = self.callers.iter().map(|_| Vec::new()).collect();
        let (count, mut failed) = (self.items.len(), 0);
        for item in std::mem::take(&mut self.items) {
            let result = item.result.expect("a plan ends in its last phase");
            failed += usize::from(result.is_err());
            core.note(&result, item.position.bytes);
            results[item.position.caller].push(result);
        }
        let recorder = &core.recorder;
        recorder.batches.add(1);
        recorder.batched.add(count);
        recorder.largest_batch.raise(count);
        let waited = self.callers.iter().map(|caller| (Part::Change, caller.since.elapsed()));
        recorder.times(times.into_iter().chain(waited));
        trace::batch(core.dirs.root().path(), self.kind, count, failed, took);
        core.last_callers.store(self.callers.len(), Ordering::Relaxed);
        core.queue.finish_batch(count, self.load);
        // If a waker panics, the callers that are left are dropped with the round, which poisons the store first.
        self.callers.reverse();
        for results in results {
            let Some(caller) = self.callers.pop() else { break };
            caller.reply.send(results);
        }
    }
}
