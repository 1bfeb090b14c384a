//! Applies the changes of a log to the files: durably, each key to its last change.

use std::collections::HashMap;
use std::ops::Range;

use super::core::Core;
use crate::engine::{Job, Payload};
use crate::error::{Error, Result, Step};
use crate::file::Content;
use crate::fs::Key;
use crate::log::record::{Change, Entry, Put, Record};
use crate::protocol::{Existing, Medium, Names, Phase, Plan, PutOptions, Version};

/// Applies the last change of every key in `records`, in the order of the log. `read` returns bytes of a record; `progress` learns
/// how many keys are done, of how many.
pub(super) fn all(
    core: &Core,
    records: &[Record],
    read: impl Fn(&Record, Range<usize>) -> nix::Result<Payload>,
    progress: impl Fn(usize, usize),
) -> Result<()> {
    let changes = last_changes(records);
    let count = changes.len();
    progress(0, count);
    for (done, (record, entry)) in changes.into_iter().enumerate() {
        match &entry.change {
            Change::Put(put) => {
                let bytes = read(record, put.value.clone()).map_err(|errno| failed(core, errno, entry))?;
                restore(core, &entry.key, put, bytes)?;
            }
            Change::Delete => delete(core, &entry.key)?,
            Change::FileRules => {}
        }
        progress(done + 1, count);
    }
    Ok(())
}

/// The last change of each key, in the order of the log.
pub(crate) fn last_changes(records: &[Record]) -> Vec<(&Record, &Entry<Range<usize>>)> {
    let changes = || records.iter().flat_map(|record| record.entries.iter().map(move |entry| (record, entry)));
    let last: HashMap<&str, usize> = changes().enumerate().map(|(at, (_, entry))| (&*entry.key, at)).collect();
    changes().enumerate().filter(|(at, (_, entry))| last[&*entry.key] == *at).map(|(_, change)| change).collect()
}

fn failed(core: &Core, errno: nix::errno::Errno, entry: &Entry<Range<usize>>) -> Error {
    Error::from_errno(errno, Step::ReadLog, core.dirs.root().path().join(&entry.key))
}

fn restore(core: &Core, key: &str, put: &Put<Range<usize>>, bytes: Payload) -> Result<()> {
    let key = Key::parse(key)?;
    let dir = core.ensure(&key)?;
    let options = PutOptions { mode: Some(put.mode), existing: Existing::Replace };
    let stamp = Some(Version::from_nanos(put.version));
    let content = Content { bytes, options, stamp, medium: Medium::FSYNC };
    core.writer.put_by(&dir, &key.name(), &content, |replace| Plan::restore(replace, put.owner))
}

/// Removes a file. If there is none, the removal may not be durable yet: the directory is synced in any case.
fn delete(core: &Core, key: &str) -> Result<()> {
    let key = Key::parse(key)?;
    let dir = match core.find(&key) {
        Ok(dir) => dir,
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error),
    };
    let job = Job { name: key.name(), ..core.writer.job(Plan::delete(None, Names::Synced), &dir) };
    match core.writer.settle_in_place(&core.writer.run(job, Phase::SyncDirs)) {
        // A directory of the name holds later keys.
        Err(error) if error.is_not_found() || error.is_a_directory() => dir.sync(),
        result => result,
    }
}
