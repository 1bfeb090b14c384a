//! Wrong protocols, made from the right one by leaving out or moving a step. A test that does not catch them proves nothing.

use std::cell::Cell;
use std::fmt;

use crate::protocol::{Call, Condition, Existing, Plan};

/// A protocol that loses data in a power cut. Exists only under test and with `--cfg ringbolt_mutants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mutant {
    /// No directory is synced.
    NoDirSync,
    /// Neither a file nor the filesystem is synced.
    NoFileSync,
    /// A file is synced only after its name has changed and is durable.
    LateFileSync,
    /// A file is written out instead of synced, on every filesystem.
    RangeForFileSync,
    /// A record of the intent log is written, and not flushed.
    UnsyncedLog,
    /// A delete has no record in the intent log.
    UnloggedDelete,
    /// A change that goes beside the intent log leaves the older records of its key live.
    NoFileRules,
    /// Such a change takes the write of its record for the sync of what is there.
    UnsyncedPresent,
    /// Names change before the record of the change is durable.
    EarlyPublish,
    /// A condition is decided by a change whose record is not durable yet.
    EarlyRefusal,
    /// The start of the intent log moves before the files are synced.
    EarlyStart,
    /// A checkpoint covers what was published while its sync ran.
    LateCover,
    /// The failed sync of a checkpoint is made again, and believed.
    RepeatedSync,
    /// A record of another session is live.
    AnyEpoch,
    /// A record with another sequence number is live.
    AnySequence,
    /// A record that was written for another place is live.
    AnyOffset,
    /// A recovery begins before the end of the live records is fixed.
    OpenEnd,
    /// A recovery fixes the end, and leaves the last record as the interrupted writer has left it.
    OldTail,
    /// A recovery takes the superblock that it finds for durable.
    CachedSuperblock,
    /// A recovery leaves a file alone that has the version of the record, or a later one.
    TrustedStamp,
    /// Names change, and are synced, before the record of the change is written: as when a commit of the filesystem's journal comes
    /// at the worst moment.
    SyncedEarly,
    /// A checkpoint takes a write of the log for the last flush of its sync. Whoever records this must leave that flush out.
    LogAsFlush,
    /// A change of the intent log's superblock is written to one of its slots only.
    OneSlot,
}

impl Mutant {
    /// Those that lose data without an intent log.
    pub const ALL: [Mutant; 4] =
        [Mutant::NoDirSync, Mutant::NoFileSync, Mutant::LateFileSync, Mutant::RangeForFileSync];

    /// Runs `act`. Every engine that is selected on this thread meanwhile uses this protocol.
    pub fn within<T>(self, act: impl FnOnce() -> T) -> T {
        let before = CHOSEN.replace(Some(self));
        let result = act();
        CHOSEN.set(before);
        result
    }

    /// Whether this one is chosen on this thread.
    pub(crate) fn is_chosen(self) -> bool {
        CHOSEN.get() == Some(self)
    }

    /// The mutant chosen on this thread.
    pub(crate) fn chosen() -> Option<Mutant> {
        CHOSEN.get()
    }

    /// The same plan by this protocol.
    pub(crate) fn plan(self, plan: Plan) -> Plan {
        let clears_names = plan.clears_names;
        let deletes = plan.calls().any(|call| *call == Call::Unlink);
        let publishes = plan.calls().any(|call| matches!(call, Call::Publish { .. }));
        let (mut calls, mut late) = (Vec::new(), Vec::new());
        for call in plan.stages.into_iter().flatten() {
            let call = match call {
                // A write that syncs becomes a write and a sync, so that the sync can be left out or changed.
                Call::Write { range, sync: true } => {
                    calls.push(Call::Write { range, sync: false });
                    Call::SyncFile
                }
                call => call,
            };
            match (self, call) {
                (
                    Mutant::LateFileSync,
                    call @ (Call::SyncFile | Call::SyncRange | Call::CloseFile | Call::SyncFilesystem),
                ) if publishes => {
                    late.push(call);
                }
                (Mutant::UnloggedDelete, Call::LogChange) if deletes => {}
                (_, call) => calls.extend(self.call(&call)),
            }
        }
        if self == Mutant::EarlyPublish {
            calls = publish_early(calls);
        }
        Plan { clears_names, ..Plan::one_by_one(calls.into_iter().chain(late)) }
    }

    /// The call that this protocol makes instead; `None` if it is left out.
    fn call(self, call: &Call) -> Option<Call> {
        match (self, call) {
            (Mutant::NoDirSync, Call::SyncDir | Call::SyncSourceDir) => None,
            (Mutant::NoFileSync, call) if call.hardens() => None,
            (Mutant::RangeForFileSync, Call::SyncFile) => Some(Call::SyncRange),
            (Mutant::RangeForFileSync, Call::SyncFilesystem) => None,
            (Mutant::UnsyncedPresent, Call::SyncPresent) => None,
            (Mutant::NoFileRules, Call::SyncPresent | Call::LogFileRules) => None,
            (_, call) => Some(call.clone()),
        }
    }
}

/// Moves the change of a name before its record.
fn publish_early(mut calls: Vec<Call>) -> Vec<Call> {
    let Some(record) = calls.iter().position(|call| *call == Call::LogChange) else { return calls };
    let last = calls.len() - 1;
    calls[record..=last].rotate_left(1);
    // What is admitted runs up to the last condition: this one is always met.
    calls.insert(last, Call::Admit(Condition::Put(Existing::Replace)));
    calls
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mutant::NoDirSync => "no directory fsync",
            Mutant::NoFileSync => "no file fsync",
            Mutant::LateFileSync => "file fsync after the rename",
            Mutant::RangeForFileSync => "sync_file_range for fsync",
            Mutant::UnsyncedLog => "log without flush",
            Mutant::UnloggedDelete => "delete not logged",
            Mutant::NoFileRules => "no record that the file rules",
            Mutant::UnsyncedPresent => "record for the sync of a file",
            Mutant::EarlyPublish => "names before the record",
            Mutant::EarlyRefusal => "refusal before the record",
            Mutant::EarlyStart => "start before the sync",
            Mutant::LateCover => "checkpoint of what came after its sync",
            Mutant::RepeatedSync => "failed sync made again",
            Mutant::AnyEpoch => "record of another session",
            Mutant::AnySequence => "record of another lap",
            Mutant::AnyOffset => "record of another place",
            Mutant::OpenEnd => "recovery without an end",
            Mutant::OldTail => "recovery from a cached record",
            Mutant::CachedSuperblock => "recovery from a cached superblock",
            Mutant::TrustedStamp => "time stamps believed",
            Mutant::SyncedEarly => "names synced before the record",
            Mutant::LogAsFlush => "checkpoint flushed by the log",
            Mutant::OneSlot => "one superblock slot written",
        })
    }
}

thread_local! {
    static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
}
