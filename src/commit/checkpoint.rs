//! Checkpoints: what is in the log is made durable in the files, and the log's start moves behind it.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::core::Core;
use super::intent::IntentLog;
use super::{restore, trace};
use crate::error::{Error, Result, Step};
use crate::lock;
use crate::log::record::Record;
use crate::protocol::{Call, Fate, Plan};

/// The longest time between a change and the checkpoint that covers it.
const INTERVAL: Duration = Duration::from_secs(5);

/// The checkpointing thread: works until the log is closed, and makes a last checkpoint then.
pub(super) fn work(core: &Arc<Core>) {
    let Some(log) = &core.log else { return };
    let _fail = FailAtEnd(log);
    loop {
        let (asked, closed) = next(log);
        let through = log.published();
        let begin = Instant::now();
        let result = if log.is_covered() { Ok(None) } else { make(core, log, through).map(Some) };
        let mut work = lock(&log.work);
        match result {
            Ok(made) => {
                work.served = asked;
                if let Some(rewritten) = made {
                    work.done.count += 1;
                    work.done.rewritten += u64::from(rewritten);
                    trace::checkpoint(core.dirs.root().path(), through, rewritten, begin.elapsed());
                }
            }
            Err(error) => {
                // The records stay, and the next open replays them. Until then nobody knows what is durable.
                core.writer.poison();
                trace::failed(&error);
                return;
            }
        }
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
fn make(core: &Core, log: &IntentLog, through: u64) -> Result<bool> {
    // A change whose name could not be changed has closed the store before it counted as published. Its record stays.
    core.check()?;
    let mut job = core.writer.job(Plan::empty(), &log.filesystem);
    if let Fate::Done(_) = core.engine().call(&Call::SyncFilesystem, &mut job) {
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

/// Writes the last change of every live key again, from the log into a new file.
fn rewrite(core: &Core, log: &IntentLog) -> Result<()> {
    let fail = |errno| Error::from_errno(errno, Step::ReadLog, core.dirs.root().path());
    let records: Vec<Record> = log.log.records().map_err(fail)?;
    let read = |record: &Record, value: Range<usize>| log.log.value(record, value);
    restore::all(core, &records, read, |_, _| ())
}

/// Lets nobody wait for a thread that has ended.
struct FailAtEnd<'a>(&'a IntentLog);

impl Drop for FailAtEnd<'_> {
    fn drop(&mut self) {
        lock(&self.0.work).failed = true;
        self.0.changed.notify_all();
    }
}
