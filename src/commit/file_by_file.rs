//! A checkpoint that goes file by file. Where other programs write much, a sync of the whole filesystem waits for all of that.
//!
//! It does not sync the files that are there: an error of their writeback may have been reported already, or be forgotten. It
//! writes each again, from the log into a new file, as a recovery does. Writers go on meanwhile.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::core::Core;
use super::in_flight::{InFlight, Progress, Start};
use super::intent::IntentLog;
use super::{Action, Applied, Change, ChangeGroups, ChangeResult, restore};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::{Dir, Key};
use crate::log::record::Record;
use crate::protocol::{Call, Existing, Fate, Phase, Plan, PutOptions};

/// A sync of the filesystem that takes longer than this is compared with a checkpoint file by file.
const SLOW: Duration = Duration::from_millis(200);

/// After so many checkpoints file by file, a sync of the filesystem is tried again.
const AGAIN_AFTER: u32 = 8;

/// Chooses how the next checkpoint is made, by how long the last ones took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice {
    sync: Duration,
    file_by_file: Option<Duration>,
    in_a_row: u32,
}

impl Choice {
    pub(super) fn is_file_by_file(&self) -> bool {
        let is_faster = self.file_by_file.is_none_or(|took| took < self.sync);
        self.sync > SLOW && is_faster && self.in_a_row < AGAIN_AFTER
    }

    pub(super) fn synced(&mut self, took: Duration) {
        (self.sync, self.in_a_row) = (took, 0);
        if took <= SLOW {
            self.file_by_file = None;
        }
    }

    pub(super) fn went_file_by_file(&mut self, took: Duration) {
        self.file_by_file = Some(took);
        self.in_a_row += 1;
    }
}

/// Makes the changes up to the record `through` durable in their files. After an error nothing is known of them.
pub(super) fn make(core: &Arc<Core>, log: &IntentLog, through: u64) -> Result<()> {
    let fail = |errno| Error::from_errno(errno, Step::ReadLog, core.dirs.root().path());
    let records = log.log.records().map_err(fail)?;
    let mut changes = restore::last_changes(&records);
    // A key with a later record is left to that. So is one whose hash is that of a key with a later record.
    changes.retain(|(record, entry)| record.header.position.sequence <= through && log.last(&entry.key) <= through);
    let read = |record: &Record, value: Range<usize>| log.log.value(record, value);
    let commit = |changes: ChangeGroups| commit(core, log, through, changes);
    restore::all(core, &changes, read, commit, |_, _| ())
}

/// Makes changes durable that are in their files already, on this thread. The results are in no order.
fn commit(core: &Arc<Core>, log: &IntentLog, through: u64, changes: ChangeGroups) -> Vec<ChangeResult> {
    let changes: Vec<Change> = changes.groups.into_iter().flatten().collect();
    let mut results = Vec::new();
    let mut changes = changes.into_iter().peekable();
    while changes.peek().is_some() {
        let some: Vec<Change> = changes.by_ref().take(core.open_max).collect();
        results.append(&mut commit_some(core, log, through, some));
    }
    results
}

/// The same for as many as may have their files open.
fn commit_some(core: &Arc<Core>, log: &IntentLog, through: u64, changes: Vec<Change>) -> Vec<ChangeResult> {
    let mut results = Vec::new();
    let mut staged: Vec<InFlight> = Vec::new();
    for change in changes {
        match change.action {
            // It is gone, or there again by a later change: then it must stay.
            Action::Delete { .. } => results.push(change.key.and_then(|key| sync_parent(core, &key))),
            Action::Restore { bytes, options, version, owner } => {
                let options = PutOptions { existing: Existing::Match(version), ..options };
                let action = Action::Restore { bytes, options, version, owner };
                match Start::strict(core, Change { action, ..change }).stage() {
                    Ok(Progress::InFlight(change)) => staged.push(*change),
                    Ok(Progress::Over(applied)) => results.push(Ok(applied)),
                    Err(error) => results.push(Err(error)),
                }
            }
            _ => unreachable!("a log holds no other change of a file"),
        }
    }
    let mut staged = harden(core, staged);
    {
        let _turn = log.stop_turns();
        staged.iter_mut().for_each(|change| change.run_plainly(core, Phase::Publish));
    }
    sync_dirs(core, &mut staged);
    results.extend(staged.into_iter().map(|change| {
        let key = change.key.clone();
        match change.settle(core) {
            // The later change is in the log.
            Err(error) if error.is_version_mismatch() && log.last(&key) > through => Ok(Applied::Deleted),
            result => result,
        }
    }));
    results
}

/// Syncs the files, at the same time.
fn harden(core: &Core, changes: Vec<InFlight>) -> Vec<InFlight> {
    let (mut jobs, mut rest) = (Vec::new(), Vec::new());
    for InFlight { mut job, origin, key } in changes {
        job.run.allow(Phase::Barrier);
        jobs.push(job);
        rest.push((origin, key));
    }
    let done = core.writer.engine.interpreter.run_all(jobs);
    done.into_iter().zip(rest).map(|(job, (origin, key))| InFlight { job, origin, key }).collect()
}

/// Syncs each directory once.
fn sync_dirs(core: &Core, changes: &mut [InFlight]) {
    let mut fates: HashMap<*const Dir, Fate> = HashMap::new();
    for change in changes {
        if change.job.run.front() == Some(&Call::SyncDir) {
            let dir = Arc::clone(&change.job.dir);
            let fate = fates.entry(Arc::as_ptr(&dir)).or_insert_with(|| sync_dir(core, &dir));
            change.job.run.share(fate.clone());
        }
        change.run_plainly(core, Phase::SyncDirs);
    }
}

/// An error closes the store: the kernel does not report it again.
fn sync_dir(core: &Core, dir: &Arc<Dir>) -> Fate {
    let job = core.writer.job(Plan::of([Call::SyncDir]), dir);
    core.writer.run(job, Phase::SyncDirs).run.report().fate_of(&Call::SyncDir)
}

fn sync_parent(core: &Core, key: &str) -> ChangeResult {
    let key = Key::parse(key)?;
    match core.find(&key) {
        Ok(dir) => match sync_dir(core, &dir) {
            Fate::Done(_) => Ok(Applied::Deleted),
            Fate::Failed(errno) => Err(Error::from_errno(errno, Step::SyncDir, dir.path())),
            Fate::Skipped | Fate::Lost => Err(Error::new(ErrorKind::EngineLost, Step::SyncDir, dir.path())),
        },
        // A key took the place of the directory: it is in the log, too.
        Err(error) if error.is_not_found() => Ok(Applied::Deleted),
        Err(error) => Err(error),
    }
}
