//! Applies the changes of a log to the files: durably, each key to its last change.

use std::collections::HashMap;
use std::ops::Range;

use super::core::Core;
use super::waves::{Member, waves};
use super::{Action, Change, ChangeGroups, ChangeResult};
use crate::engine::{Payload, is_mutant};
use crate::error::{Error, Result, Step};
use crate::log::record::{self, Entry, Record};
use crate::protocol::{Existing, PutOptions, Version};

/// The most bytes of changes that are in memory at the same time, except for a single longer one.
const BYTES_MAX: u64 = 8 << 20;

/// Applies these changes, no two of which are of the same key. `read` returns bytes of a record, `commit` makes changes of unrelated
/// keys durable together, and `progress` learns how many keys are done, of how many.
///
/// A directory that exists already, or a name that is gone already, may be so in memory only. The caller makes that durable.
pub(super) fn all(
    core: &Core,
    changes: &[LastChange<'_>],
    read: impl Fn(&Record, Range<usize>) -> nix::Result<Payload>,
    commit: impl Fn(ChangeGroups) -> Vec<ChangeResult>,
    progress: impl Fn(usize, usize),
) -> Result<()> {
    progress(0, changes.len());
    let members = changes.iter().map(|(_, entry)| {
        let keys = [Some(entry.key.as_str()), None];
        Some(Member { keys, group: 0, bytes: value_len(entry), is_logged: true })
    });
    let mut rest = changes;
    for size in waves(members, BYTES_MAX) {
        let (wave, behind) = rest.split_at(size);
        rest = behind;
        let made = wave.iter().map(|(record, entry)| change(core, record, entry, &read)).collect::<Result<Vec<_>>>()?;
        let made: Vec<Change> = made.into_iter().flatten().collect();
        if !made.is_empty() {
            let deletes: Vec<bool> = made.iter().map(|change| matches!(change.action, Action::Delete { .. })).collect();
            let results = commit(ChangeGroups::of(vec![made]));
            assert_eq!(results.len(), deletes.len(), "a result for each change, in order");
            for (result, is_delete) in results.into_iter().zip(deletes) {
                match result {
                    // The file is gone, or its name is a directory, which holds later keys.
                    Err(error) if is_delete && (error.is_not_found() || error.is_a_directory()) => {}
                    result => _ = result?,
                }
            }
        }
        progress(changes.len() - rest.len(), changes.len());
    }
    Ok(())
}

fn value_len(entry: &Entry<Range<usize>>) -> u64 {
    if let record::Change::Put(put) = &entry.change { put.value.len() as u64 } else { 0 }
}

/// The change that brings an entry of a record into its file.
fn change(
    core: &Core,
    record: &Record,
    Entry { key, change }: &Entry<Range<usize>>,
    read: impl Fn(&Record, Range<usize>) -> nix::Result<Payload>,
) -> Result<Option<Change>> {
    let action = match change {
        record::Change::Put(put) => {
            if is_mutant!(TrustedStamp, core.writer.engine) && stamp(core, key) >= Some(put.version) {
                return Ok(None);
            }
            let bytes = read(record, put.value.clone())
                .map_err(|errno| Error::from_errno(errno, Step::ReadLog, core.dirs.root().path().join(key)))?;
            let options = PutOptions { mode: Some(put.mode), existing: Existing::Replace };
            Action::Restore { bytes, options, version: Version::from_nanos(put.version), owner: put.owner }
        }
        record::Change::Delete => Action::Delete { expected: None },
        record::Change::FileRules => return Ok(None),
    };
    Ok(Some(Change { key: Ok(key.clone()), action }))
}

/// A change, and the record that it is in.
pub(crate) type LastChange<'a> = (&'a Record, &'a Entry<Range<usize>>);

/// The version that the file of this key has now.
fn stamp(core: &Core, key: &str) -> Option<u64> {
    let stat = nix::sys::stat::stat(&core.dirs.root().path().join(key)).ok()?;
    Some(Version::of(&stat).as_nanos())
}

/// The last change of each key, in the order of the log.
pub(crate) fn last_changes(records: &[Record]) -> Vec<LastChange<'_>> {
    let changes = || records.iter().flat_map(|record| record.entries.iter().map(move |entry| (record, entry)));
    let last: HashMap<&str, usize> = changes().enumerate().map(|(at, (_, entry))| (&*entry.key, at)).collect();
    changes().enumerate().filter(|(at, (_, entry))| last[&*entry.key] == *at).map(|(_, change)| change).collect()
}
