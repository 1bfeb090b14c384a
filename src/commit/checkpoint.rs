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
use crate::protocol::{Call, Phase, Plan, Verdict};

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
        let made = match if log.is_covered() { Ok(None) } else { make(core, log, through).map(Some) } {
            Ok(made) => made,
            Err(error) => {
                // The records stay, and the next open replays them. Until then nobody knows what is durable.
                core.writer.poison();
                return trace::failed(&error);
            }
        };
        if let Some(rewritten) = made {
            trace::checkpoint(core.dirs.root().path(), through, rewritten, begin.elapsed());
        }
        let mut work = lock(&log.work);
        work.served = asked;
        work.done.count += u64::from(made.is_some());
        work.done.rewritten += u64::from(made == Some(true));
        drop(work);
        log.changed.notify_all();
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

/// Makes the changes up to the record `through` durable in their files. Returns whether they had to be written again.
fn make(core: &Arc<Core>, log: &IntentLog, through: u64) -> Result<bool> {
    // A change whose name could not be changed has closed the store before it counted as published. Its record stays.
    core.check()?;
    let sync = || {
        let job = core.writer.job(Plan::of([Call::SyncFilesystem]), &log.filesystem);
        core.writer.run(job, Phase::SyncDirs).run.report().verdict() == Verdict::Durable
    };
    if is_mutant!(EarlyStart, core.writer.engine) {
        finish(core, log, through)?;
    }
    if sync() || is_mutant!(RepeatedSync, core.writer.engine) && sync() {
        let through = if is_mutant!(LateCover, core.writer.engine) { log.published() } else { through };
        return finish(core, log, through).map(|()| false);
    }
    // The kernel has forgotten the pages that it could not write: another sync would succeed and prove nothing. The log has them.
    let _stopped = log.stop_turns();
    core.check()?;
    let through = log.published();
    rewrite(core, log)?;
    finish(core, log, through).map(|()| true)
}

fn finish(core: &Core, log: &IntentLog, through: u64) -> Result<()> {
    log.log.advance(through).map_err(|errno| Error::from_errno(errno, Step::WriteLog, core.dirs.root().path()))?;
    log.forget(through);
    Ok(())
}

/// Writes the last change of every live key again, from the log into a new file. A delete cannot be made again: if the kernel has
/// lost it, the name is gone in memory only, and no later sync says so. Then this fails, and the next open decides.
fn rewrite(core: &Arc<Core>, log: &IntentLog) -> Result<()> {
    let fail = |errno| Error::from_errno(errno, Step::ReadLog, core.dirs.root().path());
    let records: Vec<Record> = log.log.records().map_err(fail)?;
    if restore::last_changes(&records).iter().any(|(_, entry)| entry.change == record::Change::Delete) {
        return Err(Error::from_errno(Errno::EIO, Step::SyncFilesystem, core.dirs.root().path()));
    }
    let read = |record: &Record, value: Range<usize>| log.log.value(record, value);
    let strictly = |changes: ChangeGroups| {
        changes.groups.into_iter().flatten().map(|change| Start::strictly(core, change)).collect()
    };
    restore::all(core, &records, read, strictly, |_, _| ())
}

/// Lets nobody wait for a thread that has ended.
struct FailAtEnd<'a>(&'a IntentLog);

impl Drop for FailAtEnd<'_> {
    fn drop(&mut self) {
        lock(&self.0.work).failed = true;
        self.0.changed.notify_all();
    }
}
