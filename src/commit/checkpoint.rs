//! Checkpoints: what is in the log is made durable in the files, and the log's start moves behind it.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::core::{Core, PoisonOnPanic};
use super::in_flight::Start;
use super::intent::IntentLog;
use super::{ChangeGroups, restore, trace};
use crate::engine::is_mutant;
use crate::error::{Error, Result, Step};
use crate::lock;
use crate::log::record::{self, Record};

/// The longest time between a change and the checkpoint that covers it.
const INTERVAL: Duration = Duration::from_secs(5);

/// The checkpointing thread: works until the log is closed, and makes a last checkpoint then.
pub(super) fn work(core: &Arc<Core>) {
    let Some(log) = core.log() else { return };
    let _fail = FailAtEnd(log);
    let _poison = PoisonOnPanic::new(core);
    loop {
        let (asked, closed) = next(log);
        let through = log.published();
        let begin = Instant::now();
        lock(&log.work).began = Some(begin);
        let is_durable = log.is_covered() && !core.dirs.has_new();
        let made = match if is_durable { Ok(None) } else { make(core, log, through).map(Some) } {
            Ok(made) => made,
            Err(error) => {
                // The records stay, and the next open replays them. Until then nobody knows what is durable.
                core.writer.poison();
                return trace::failed(&error);
            }
        };
        let mut work = lock(&log.work);
        work.began = None;
        if let Some(made) = made {
            work.last = begin.elapsed();
            work.done.note(made);
        }
        work.served = asked;
        drop(work);
        log.changed.notify_all();
        if let Some(made) = made {
            trace::checkpoint(core.dirs.root().path(), through, made, begin.elapsed());
        }
        if closed {
            return;
        }
    }
}

/// Waits for a request, the close, or the interval. Returns how many requests the checkpoint serves, and whether it is the last.
fn next(log: &IntentLog) -> (u64, bool) {
    let mut work = lock(&log.work);
    let mut end: Option<Instant> = None;
    while work.asked == work.served && !work.closed {
        if log.is_covered() {
            end = None;
            work = log.changed.wait(work).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let rest = end.get_or_insert_with(|| Instant::now() + INTERVAL).saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        work = log.changed.wait_timeout(work, rest).unwrap_or_else(PoisonError::into_inner).0;
    }
    (work.asked, work.closed)
}

/// How a checkpoint has made the changes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// By a sync of the filesystem.
    Synced,
    /// By writing and syncing each file again, since that has failed.
    Rewritten,
}

/// Makes the changes up to the record `through` durable in their files.
fn make(core: &Arc<Core>, log: &IntentLog, through: u64) -> Result<Made> {
    // A change whose name could not be changed has closed the store before it counted as published. Its record stays.
    core.check()?;
    let (made_until, had_new) = (core.dirs.made_until(), core.dirs.has_new());
    let sync = || core.sync_filesystem(&log.filesystem).is_ok();
    if is_mutant!(EarlyStart, core.writer.engine) {
        finish(core, log, through)?;
    }
    if sync() || is_mutant!(RepeatedSync, core.writer.engine) && sync() {
        core.dirs.names_are_durable(made_until);
        let through = if is_mutant!(LateCover, core.writer.engine) { log.published() } else { through };
        finish(core, log, through)?;
        return Ok(Made::Synced);
    }
    // The kernel has forgotten the pages that it could not write: another sync would succeed and prove nothing. The log has them.
    let _stopped = log.stop_turns();
    log.note_failed_sync();
    core.check()?;
    let through = log.published();
    rewrite(core, log, had_new || core.dirs.has_new())?;
    finish(core, log, through).map(|()| Made::Rewritten)
}

fn finish(core: &Core, log: &IntentLog, through: u64) -> Result<()> {
    let fail = |errno| Error::from_errno(errno, Step::WriteLog, core.dirs.root().path());
    #[cfg(any(test, ringbolt_mutants))]
    if is_mutant!(LogAsFlush, core.writer.engine) {
        log.log.confirm().map_err(fail)?;
    }
    log.log.advance(through).map_err(fail)?;
    log.forget(through);
    Ok(())
}

/// Writes the last change of every live key again, from the log into a new file. A delete cannot be made again: if the kernel has
/// lost it, the name is gone in memory only, and no later sync says so. Nor can a directory that has files. Then this fails, and
/// the next open decides.
fn rewrite(core: &Arc<Core>, log: &IntentLog, has_new_dirs: bool) -> Result<()> {
    let fail = |errno| Error::from_errno(errno, Step::ReadLog, core.dirs.root().path());
    let records: Vec<Record> = log.log.records().map_err(fail)?;
    let changes = restore::last_changes(&records);
    if has_new_dirs || changes.iter().any(|(_, entry)| entry.change == record::Change::Delete) {
        return Err(Error::from_errno(Errno::EIO, Step::SyncFilesystem, core.dirs.root().path()));
    }
    let read = |record: &Record, value: Range<usize>| log.log.value(record, value);
    let strictly = |changes: ChangeGroups| {
        changes.groups.into_iter().flatten().map(|change| Start::strictly(core, change)).collect()
    };
    restore::all(core, &changes, read, strictly, |_, _| ())
}

/// Lets nobody wait for a thread that has ended.
struct FailAtEnd<'a>(&'a IntentLog);

impl Drop for FailAtEnd<'_> {
    fn drop(&mut self) {
        let mut work = lock(&self.0.work);
        (work.failed, work.began) = (true, None);
        drop(work);
        self.0.changed.notify_all();
    }
}
