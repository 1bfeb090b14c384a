//! One batch: stage all files, one barrier, change the names group by group, sync each directory once, answer everybody.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::auto::Choice;
use super::staged::{File, Made, Need};
use super::work::Work;
use super::{Answer, Applied, Core, PoisonOnPanic, Unit};
use crate::barrier::BarrierKind;
use crate::dir::Dir;
use crate::engine::{Done, Job};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::plan::{Call, Plan};
use crate::queue::{Load, QueuedWork, ReplyTo};
use crate::report::{Fate, Report};
use crate::stats::Part;
use crate::{sys, trace};

/// The most that is committed at once; a caller's own batch may be larger.
pub(super) const MOST: Load = Load { files: 1024, bytes: 64 << 20 };

/// From so many changes on, or so many bytes, more than one thread writes the files.
const SHARED_FROM: Load = Load { files: 8, bytes: 256 << 10 };

/// Commits what has queued up, and what comes while it is being written.
pub(super) fn run(core: &Arc<Core>, first: Vec<QueuedWork<Unit, Vec<Answer>>>) {
    let last = core.queue.last_batch();
    let expected = core.queue.depth().0.files.max(last);
    let choice = core.auto().choose(expected, |patience| core.scout.finds_quiet(patience));
    if choice.kind == BarrierKind::Filesystem {
        core.prime();
    }
    let begin = Instant::now();
    let mut batch = Batch::new(core, choice.kind);
    batch.add(first);
    loop {
        let more = core.queue.take_more(MOST.saturating_sub(batch.load));
        if more.is_empty() {
            break;
        }
        batch.add(more);
    }
    batch.commit(begin, choice);
}

struct Batch<'a> {
    /// First, so that nobody hears of a panic before the store is closed to further writes.
    _poison: PoisonOnPanic<'a>,
    core: &'a Arc<Core>,
    kind: BarrierKind,
    items: Vec<Item>,
    entries: Vec<Pending>,
    load: Load,
    /// Items whose file is open.
    open: usize,
    last_group: usize,
    /// A descriptor from before the first file was written: it is told of every error since (`errseq_t` in the kernel).
    filesystem: Arc<Dir>,
}

/// Who waits for the answers to some items.
struct Pending {
    reply: ReplyTo<Vec<Answer>>,
    since: Instant,
    /// The first group in which something has failed: later ones are not attempted.
    failed: Option<usize>,
}

/// A change, and how far it is.
struct Item {
    place: Place,
    state: State,
}

/// Where a change belongs.
#[derive(Clone, Copy)]
struct Place {
    entry: usize,
    group: usize,
    bytes: usize,
}

enum State {
    Made(Box<Made>),
    Over(Answer),
    /// In hand: only within a function.
    Taken,
}

impl<'a> Batch<'a> {
    fn new(core: &'a Arc<Core>, kind: BarrierKind) -> Batch<'a> {
        let root = core.dirs.root();
        let filesystem = match kind {
            // Where none is left, that of the root is as good, but for errors of others that came before.
            BarrierKind::Filesystem => root.open_beneath("").map_or_else(|_| Arc::clone(root), Arc::new),
            _ => Arc::clone(root),
        };
        Batch {
            _poison: PoisonOnPanic::new(core),
            core,
            kind,
            items: Vec::new(),
            entries: Vec::new(),
            load: Load::default(),
            open: 0,
            last_group: 0,
            filesystem,
        }
    }

    /// Stages what some callers want.
    fn add(&mut self, entries: Vec<QueuedWork<Unit, Vec<Answer>>>) {
        let mut todo = Vec::new();
        for QueuedWork { work: Unit { groups, since }, load, reply } in entries {
            self.load = self.load.saturating_add(load);
            let entry = self.entries.len();
            self.entries.push(Pending { reply, since, failed: None });
            // The groups of later callers are not before those of earlier ones: changes of a key keep their order.
            let first = self.last_group;
            self.last_group += groups.len() - 1;
            for (group, changes) in (first..).zip(groups) {
                // In order: of two puts of a key, the later has the greater version.
                todo.extend(changes.into_iter().map(|change| {
                    let bytes = change.content_len();
                    (Place { entry, group, bytes }, Work::new(self.core, self.kind, change))
                }));
            }
        }
        while !todo.is_empty() {
            let rest = todo.split_off(todo.len().min(self.core.open_max - self.open));
            let (places, work): (Vec<Place>, Vec<Work>) = std::mem::replace(&mut todo, rest).into_iter().unzip();
            let bytes: usize = places.iter().map(|place| place.bytes).sum();
            let shared = work.len() >= SHARED_FROM.files || (work.len() > 1 && bytes >= SHARED_FROM.bytes);
            let staged: Vec<Result<Made>> = match shared {
                true => self.stage_shared(work),
                false => work.into_iter().map(Work::stage).collect(),
            };
            assert_eq!(staged.len(), places.len(), "an answer for each change");
            for (place, made) in places.into_iter().zip(staged) {
                let state = match made {
                    Ok(made) => State::Made(Box::new(made)),
                    Err(error) => self.fail(place, error),
                };
                self.open += usize::from(matches!(&state, State::Made(made) if matches!(made.file, File::Open(..))));
                self.items.push(Item { place, state });
            }
            if self.open >= self.core.open_max {
                self.harden();
            }
        }
    }

    /// Stages what is independent on several threads, then the rest in order.
    fn stage_shared(&self, work: Vec<Work>) -> Vec<Result<Made>> {
        // Asked once of each: the answer depends on the directories of the moment.
        let independent: Vec<bool> = work.iter().map(Work::is_independent).collect();
        let (mut beside, mut rest) = (Vec::new(), Vec::new());
        for (work, independent) in work.into_iter().zip(&independent) {
            if *independent { &mut beside } else { &mut rest }.push(work);
        }
        let mut beside = self.core.stagers.map(beside, Work::stage).into_iter();
        let mut rest = rest.into_iter().map(Work::stage);
        let staged = independent.into_iter().map(|independent| if independent { beside.next() } else { rest.next() });
        staged.map(|made| made.expect("as many results as changes, in both parts")).collect()
    }

    /// Makes the open files durable, all at the same time.
    fn harden(&mut self) {
        self.open = 0;
        let core = self.core;
        let engine = &core.writer.engine.interpreter;
        // Of those that are only written out, writeback has begun: waiting for each in turn is as good as for all at once.
        let mut done = Vec::new();
        let (mut jobs, mut whose) = (Vec::new(), Vec::new());
        for (i, item) in self.items.iter_mut().enumerate() {
            let State::Made(made) = &mut item.state else { continue };
            let (plan, need) = match std::mem::replace(&mut made.file, File::Durable) {
                File::Open(plan, need) => (plan, need),
                file => {
                    made.file = file;
                    continue;
                }
            };
            let mut job = Job { plan, file: made.job.file.take(), ..core.writer.job(Plan::empty(), &made.job.dir) };
            if need != Need::Range {
                // Where all are written out before the first is synced, one commit of a journal serves them all. Here that saves
                // time and no more, so a sandbox may refuse it.
                let fate = if sys::WRITES_OUT { engine.call(&Call::SyncRange, &mut job) } else { Fate::Done(0) };
                if !matches!(fate, Fate::Done(_) | Fate::Failed(Errno::ENOSYS | Errno::EPERM)) {
                    done.push((i, Done { report: Report::of(vec![(Call::SyncRange, fate)]), file: None }));
                    continue;
                }
            }
            match need {
                Need::Fsync => {
                    jobs.push(job);
                    whose.push(i);
                    continue;
                }
                Need::Filesystem => made.file = File::Written,
                Need::Range => core.recorder.ranges.add(1),
            }
            done.push((i, engine.run(job)));
        }
        core.recorder.files.add(jobs.len());
        done.extend(whose.into_iter().zip(engine.run_all(jobs)));
        for (i, done) in done {
            let State::Made(made) = &self.items[i].state else { continue };
            let verdict = core.writer.judge(&done.report);
            if let Err(error) = core.writer.settle(verdict, &made.job.dir, &made.job.name, &made.job.temp) {
                self.items[i].state = self.fail(self.items[i].place, error);
            }
        }
    }

    /// One sync for every file that waits for it. If it fails, nobody's file is trusted, and none is published.
    fn sync_filesystem(&mut self) {
        let core = self.core;
        let waits = |item: &Item| matches!(&item.state, State::Made(made) if made.file == File::Written);
        if !self.items.iter().any(waits) {
            return;
        }
        let mut job = core.writer.job(Plan::empty(), &self.filesystem);
        let fate = core.writer.engine.interpreter.call(&Call::SyncFilesystem, &mut job);
        core.recorder.filesystems.add(1);
        for i in 0..self.items.len() {
            let State::Made(made) = &mut self.items[i].state else { continue };
            if std::mem::replace(&mut made.file, File::Durable) != File::Written {
                continue;
            }
            let report = Report::of(vec![(Call::SyncFilesystem, fate.clone())]);
            if let Err(error) = core.writer.settle(report.verdict(), &made.job.dir, &made.job.name, &made.job.temp) {
                self.items[i].state = self.fail(self.items[i].place, error);
            }
        }
    }

    fn commit(mut self, begin: Instant, choice: Choice) {
        let core = self.core;
        let staged = Instant::now();
        self.harden();
        self.sync_filesystem();
        let hardened = Instant::now();
        core.queue.wait_for_solo();
        let mut publishing = Duration::ZERO;
        let mut syncing = Duration::ZERO;
        let mut end = 0;
        while end < self.items.len() {
            // Changes are in the order of their groups.
            let (begin, group) = (Instant::now(), self.items[end].place.group);
            let first = end;
            end += self.items[first..].iter().take_while(|item| item.place.group == group).count();
            self.publish(first..end);
            let published = Instant::now();
            self.sync_dirs(first..end);
            self.settle(first..end);
            publishing += published - begin;
            syncing += published.elapsed();
        }
        let took = begin.elapsed();
        // What failed, or put no file, tells nothing of what files cost.
        let all_put = self.items.iter().all(|item| matches!(item.state, State::Over(Ok(Applied::Put(_)))));
        let mut auto = core.auto();
        if auto.learn(choice, all_put.then_some(self.items.len()), took) {
            trace::barrier(core.dirs.root().path(), self.kind, &auto.reason());
        }
        drop(auto);
        let times = [
            (Part::Stage, staged - begin),
            (Part::Barrier, hardened - staged),
            (Part::Publish, publishing),
            (Part::SyncDirs, syncing),
        ];
        self.answer(times, took);
    }

    /// Changes the names of a group, in order, on this thread: more threads measured no faster, since a directory lets in
    /// one at a time.
    fn publish(&mut self, group: Range<usize>) {
        let core = self.core;
        for item in &mut self.items[group] {
            let State::Made(made) = &mut item.state else { continue };
            let refused = if self.entries[item.place.entry].failed.is_some_and(|failed| failed < item.place.group) {
                Err(Error::new(ErrorKind::NotAttempted, Step::Check, made.job.dir.path_of(&made.job.name)))
            } else {
                core.check()
            };
            if let Err(error) = refused {
                if made.stamp.is_some() {
                    core.writer.remove_temp(&made.job.dir, &made.job.temp);
                }
                item.state = State::Over(Err(error));
                continue;
            }
            made.publish(core);
        }
    }

    /// Syncs each directory once, after all its changes. Its descriptor is what it is known by, not its path.
    fn sync_dirs(&mut self, group: Range<usize>) {
        let core = self.core;
        let mut numbers: HashMap<*const Dir, usize> = HashMap::new();
        let mut jobs = Vec::new();
        let mut waiting = Vec::new();
        for at in group {
            let State::Made(made) = &self.items[at].state else { continue };
            if !made.needs_sync() {
                continue;
            }
            let number = *numbers.entry(Arc::as_ptr(&made.job.dir)).or_insert_with(|| {
                jobs.push(core.writer.job(Plan::sync_dir(), &made.job.dir));
                jobs.len() - 1
            });
            waiting.push((at, number));
        }
        core.recorder.directories.add(jobs.len());
        let done = core.writer.engine.interpreter.run_all(jobs);
        for (at, number) in waiting {
            let State::Made(made) = &mut self.items[at].state else { continue };
            made.log.push((Call::SyncDir, done[number].report.fate_of(&Call::SyncDir)));
            if made.log.iter().any(|(call, _)| *call == Call::PublishByLink) {
                let fate = core.writer.engine.interpreter.call(&Call::RemoveTemp, &mut made.job);
                made.log.push((Call::RemoveTemp, fate));
            }
        }
    }

    fn settle(&mut self, group: Range<usize>) {
        for at in group {
            let item = &mut self.items[at];
            let place = item.place;
            match std::mem::replace(&mut item.state, State::Taken) {
                State::Made(made) => {
                    self.items[at].state = match made.settle(self.core) {
                        Ok(applied) => State::Over(Ok(applied)),
                        Err(error) => self.fail(place, error),
                    };
                }
                state => item.state = state,
            }
        }
    }

    fn fail(&mut self, place: Place, error: Error) -> State {
        let failed = &mut self.entries[place.entry].failed;
        *failed = Some(failed.map_or(place.group, |earlier| earlier.min(place.group)));
        State::Over(Err(error))
    }

    /// Tells everybody; first what a caller may look at when it is told.
    fn answer(self, times: [(Part, Duration); 4], took: Duration) {
        let Batch { core, kind, items, entries, load, .. } = self;
        let mut answers: Vec<Vec<Answer>> = entries.iter().map(|_| Vec::new()).collect();
        let (count, mut failed) = (items.len(), 0);
        for item in items {
            let answer = match item.state {
                State::Over(answer) => answer,
                State::Made(_) | State::Taken => {
                    Err(Error::new(ErrorKind::EngineLost, Step::Check, core.dirs.root().path()))
                }
            };
            failed += usize::from(answer.is_err());
            core.note(&answer, item.place.bytes);
            answers[item.place.entry].push(answer);
        }
        let recorder = &core.recorder;
        recorder.batches.add(1);
        recorder.batched.add(count);
        recorder.largest_batch.raise(count);
        recorder.times(times.into_iter().chain(entries.iter().map(|entry| (Part::Change, entry.since.elapsed()))));
        trace::batch(core.dirs.root().path(), kind, count, failed, took);
        core.queue.finish_batch(count, load);
        for (entry, answers) in entries.into_iter().zip(answers) {
            entry.reply.send(answers);
        }
    }
}
