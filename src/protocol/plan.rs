//! The calls of one change, in order, and their division into stages.

use std::collections::VecDeque;
use std::ops::Range;

use super::call::{Call, Condition, Existing, Owner, STAGE_MAX, WRITE_MAX, may_follow};
use super::medium::{Medium, Names};
use super::options::PutOptions;
use super::version::Version;

/// The mode of a temporary file before it gets its own.
const TEMP_MODE: u32 = 0o600;

/// Calls that an engine may submit at once, linked in order. It checks all of their results before the next stage.
pub(crate) type Stage = Vec<Call>;

/// The calls of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) stages: VecDeque<Stage>,
    /// Whether an empty directory gives way to a file of its name. In a store, such a directory is what deleted keys left.
    pub(crate) clears_names: bool,
}

/// One replace of a file's content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replace {
    /// The length of the content in bytes.
    pub(crate) len: usize,
    pub(crate) options: PutOptions,
    /// The version of the content, in a store.
    pub(crate) stamp: Option<Version>,
    pub(crate) medium: Medium,
    /// Whether one chain may carry everything: the engine links calls, and the filesystem honours `RWF_SYNC`.
    pub(crate) one_chain: bool,
}

impl Plan {
    /// Creates, writes, syncs and closes a temporary file, renames it over the target, syncs the directory.
    pub(crate) fn replace(replace: Replace) -> Plan {
        let Replace { len, options: PutOptions { mode, existing }, stamp, medium, one_chain } = replace;
        // An empty file has no write that could carry the sync; and no io_uring request sets a mode or a time stamp.
        let is_plain = mode.is_none() && stamp.is_none() && !matches!(existing, Existing::Match(_));
        if one_chain && is_plain && medium == Medium::FSYNC && (1..=WRITE_MAX).contains(&len) {
            let write = Call::Write { range: 0..len, sync: true };
            let calls = [Call::CreateTemp { mode: TEMP_MODE }, write, Call::CloseFile];
            return Plan::of(calls.into_iter().chain(publish(existing, medium.names)));
        }
        Plan::of(write(replace).chain(harden(medium)).chain(publish(existing, medium.names)))
    }

    /// The same for a file that takes over the owner and attributes of another: private until it is written.
    pub(crate) fn replace_like(replace: Replace, owner: Owner) -> Plan {
        let private = PutOptions { mode: None, ..replace.options };
        let write = write(Replace { options: private, ..replace });
        Plan::of(write.chain(finish_like(replace.options, owner, replace.medium)))
    }

    /// The same for a file that gets an owner, a mode and a version that it had before: from the intent log.
    pub(crate) fn restore(replace: Replace, owner: Owner) -> Plan {
        let private = PutOptions { mode: None, ..replace.options };
        let written = write(Replace { options: private, stamp: None, ..replace }).chain([Call::SetOwner(owner)]);
        Plan::of(written.chain(finish(replace.options, replace.stamp, replace.medium)))
    }

    /// Makes a temporary file durable that was written through a guard, and publishes it.
    pub(crate) fn commit(options: PutOptions, stamp: Option<Version>, medium: Medium) -> Plan {
        Plan::of(finish(options, stamp, medium))
    }

    /// The same with the owner and attributes of another file.
    pub(crate) fn commit_like(options: PutOptions, owner: Owner, medium: Medium) -> Plan {
        Plan::of(finish_like(options, owner, medium))
    }

    /// Removes a file, if it has the version `expected`.
    pub(crate) fn delete(expected: Option<Version>, names: Names) -> Plan {
        if names == Names::Logged {
            return Plan::of([Call::Admit(Condition::Delete(expected)), Call::LogChange, Call::Unlink]);
        }
        let compare = expected.map(|expected| Call::Compare { expected });
        Plan::of(hand_over(names).chain(compare).chain([Call::Unlink, Call::SyncDir]))
    }

    /// Renames a file within one directory, or between two. The directory that gains the name is synced first: if the power
    /// fails between the two syncs, the file has two names rather than none. So a rename between directories does not wait for
    /// syncs that it could share: both directories are synced before the next name changes.
    pub(crate) fn rename(between_dirs: bool, names: Names) -> Plan {
        if names == Names::Logged {
            return Plan::of([Call::Admit(Condition::Put(Existing::Replace)), Call::LogChange, Call::Move]);
        }
        let source = between_dirs.then_some(Call::SyncSourceDir);
        Plan::of(hand_over(names).chain([Call::CheckSource, Call::Move, Call::SyncDir]).chain(source))
    }

    /// Durably gives an open file another time stamp, and closes it.
    pub(crate) fn stamp(version: Version) -> Plan {
        Plan::of([Call::Stamp { version }, Call::SyncFile, Call::CloseFile])
    }

    /// Removes a temporary file.
    pub(crate) fn remove_temp() -> Plan {
        Plan::of([Call::RemoveTemp])
    }

    /// No call at all.
    pub(crate) fn empty() -> Plan {
        Plan::of([])
    }

    /// These calls, in stages as long as is safe.
    pub(crate) fn of(calls: impl IntoIterator<Item = Call>) -> Plan {
        Plan { stages: stages(calls), clears_names: false }
    }

    /// These calls, each in a stage of its own.
    #[cfg(any(test, ringbolt_mutants, feature = "bench"))]
    pub(crate) fn one_by_one(calls: impl IntoIterator<Item = Call>) -> Plan {
        Plan { stages: calls.into_iter().map(|call| vec![call]).collect(), clears_names: false }
    }

    /// All calls, in order.
    #[cfg(any(test, ringbolt_mutants))]
    pub(crate) fn calls(&self) -> impl Iterator<Item = &Call> {
        self.stages.iter().flatten()
    }
}

/// Creates and writes a temporary file, which stays open.
fn write(replace: Replace) -> impl Iterator<Item = Call> {
    let Replace { len, options: PutOptions { mode, .. }, stamp, medium, .. } = replace;
    let create = Call::CreateTemp { mode: mode.map_or(TEMP_MODE, |mode| mode & TEMP_MODE) };
    let set_mode = mode.map(|mode| Call::SetMode { mode });
    // A write takes the set-id bits off a file again (write(2), without CAP_FSETID).
    let again = mode.filter(|mode| mode & 0o6000 != 0).map(|mode| Call::SetMode { mode });
    let stamp = stamp.map(|version| Call::Stamp { version });
    let written = [create].into_iter().chain(set_mode).chain(writes(0..len));
    written.chain(again).chain(stamp).chain(medium.after_write.iter().cloned())
}

/// Makes a temporary file durable, and closes it.
fn harden(medium: Medium) -> impl Iterator<Item = Call> {
    let close = [Call::CloseFile];
    medium.before_close.iter().cloned().chain(close).chain(medium.barrier.iter().cloned())
}

/// Gives a temporary file its name.
fn publish(existing: Existing, names: Names) -> impl Iterator<Item = Call> {
    // Once the record is durable, the name must change, whatever another program has done to it meanwhile.
    let logged =
        [Call::Admit(Condition::Put(existing)), Call::LogChange, Call::Publish { existing: Existing::Replace }];
    let (compare, existing) = match existing {
        Existing::Match(expected) => (Some(Call::Compare { expected }), Existing::Replace),
        existing => (None, existing),
    };
    let synced = hand_over(names).chain(compare).chain([Call::Publish { existing }, Call::SyncDir]);
    let is_logged = names == Names::Logged;
    is_logged.then_some(logged).into_iter().flatten().chain((!is_logged).then_some(synced).into_iter().flatten())
}

/// What comes before a change that a store with an intent log makes without it.
fn hand_over(names: Names) -> impl Iterator<Item = Call> {
    let calls = (names == Names::BesideLog).then_some([Call::SyncPresent, Call::LogFileRules]);
    calls.into_iter().flatten()
}

fn finish(options: PutOptions, stamp: Option<Version>, medium: Medium) -> impl Iterator<Item = Call> {
    let mode = options.mode.map(|mode| Call::SetMode { mode });
    let stamp = stamp.map(|version| Call::Stamp { version });
    mode.into_iter().chain(stamp).chain(harden(medium)).chain(publish(options.existing, medium.names))
}

/// The owner comes first: from then on the mode, which is still 0600, applies to the new owner. Then the attributes: a change of
/// owner and a write each take capabilities off a file, and an access control list changes the mode. The mode comes last, since
/// a change of owner takes off set-id bits. All of it comes before the sync.
fn finish_like(options: PutOptions, owner: Owner, medium: Medium) -> impl Iterator<Item = Call> {
    [Call::SetOwner(owner), Call::SetAttributes].into_iter().chain(finish(options, None, medium))
}

/// The writes of a range of the content.
pub(super) fn writes(range: Range<usize>) -> impl Iterator<Item = Call> {
    let end = range.end;
    range.step_by(WRITE_MAX).map(move |start| Call::Write { range: start..end.min(start + WRITE_MAX), sync: false })
}

/// Divides calls into stages, each as long as is safe.
pub(super) fn stages(calls: impl IntoIterator<Item = Call>) -> VecDeque<Stage> {
    let mut stages: VecDeque<Stage> = VecDeque::with_capacity(STAGE_MAX);
    for call in calls {
        match stages.back_mut() {
            Some(stage) if may_follow(stage, &call) => stage.push(call),
            _ => {
                let mut stage = Vec::with_capacity(STAGE_MAX);
                stage.push(call);
                stages.push_back(stage);
            }
        }
    }
    stages
}
