//! The protocol as data: which calls, in which stages, and what their results mean.
//!
//! Nothing here does I/O. A [`Plan`] is a list of stages; an engine runs the calls of one stage in order and says
//! what became of each; [`Run`](crate::run::Run) decides what comes next. The rule that makes a replace safe stands in one place,
//! [`stage_is_safe`]: within a stage, nothing may sit behind a sync or a rename that must not run when that fails.
//! (On Linux a linked `fsync` or `renameat` that fails does *not* cancel the request behind it.)

use std::collections::VecDeque;
use std::ops::Range;

use nix::errno::Errno;

use crate::error::Step;
use crate::put_options::PutOptions;
use crate::version::Version;

/// The most that one write call is asked to take. Linux stops at 0x7ffff000 bytes, macOS at `INT_MAX`.
pub(crate) const WRITE_MAX: usize = 1 << 30;

/// What a temporary file has before its mode is set.
const TEMP_MODE: u32 = 0o600;

/// The most calls of one stage, so that an engine's queue can hold any stage whole.
pub(crate) const STAGE_MAX: usize = 8;

/// One call to the kernel. What it works on (directories, names, bytes, the open file) is in the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `openat(dir, temp, O_CREAT|O_EXCL|O_NOFOLLOW|O_WRONLY, mode)`
    CreateTemp { mode: u32 },
    /// `fchown(file, uid, gid)`, if it has others. It may clear set-id bits.
    SetOwner(Owner),
    /// `fsetxattr(file)`: the extended attributes in the job.
    SetAttributes,
    /// `fchmod(file, mode)`: exact, whatever the umask.
    SetMode { mode: u32 },
    /// `pwrite` of this range of the bytes at the same offset; `sync` makes it durable in the same call (`RWF_SYNC`).
    Write { range: Range<usize>, sync: bool },
    /// `futimens(file)`: the version of what was written.
    Stamp { version: Version },
    /// `sync_file_range(file, WRITE)`: begins to write it back.
    StartSync,
    /// `fsync(file)`
    SyncFile,
    /// `sync_file_range(file, WAIT_BEFORE|WRITE|WAIT_AFTER)`: its data is on the device, though perhaps in its cache.
    SyncRange,
    /// `syncfs(dir)`: every file on the filesystem of the directory.
    SyncFilesystem,
    /// `close(file)`
    CloseFile,
    /// `fstatat(dir, name)`: fails unless the file there has this version.
    Compare { expected: Version },
    /// `renameat(dir, temp, dir, name)`
    Publish { existing: Existing },
    /// `linkat(dir, temp, dir, name)`: publishes without replacing where `renameat` cannot. The temporary name goes
    /// afterwards.
    PublishByLink,
    /// `renameat(source dir, source name, dir, name)`
    Move,
    /// `rmdir` of the target's name and of every directory beneath it: empty directories do not keep a name from a key. EISDIR
    /// if there is anything but directories, EEXIST if it is a file that must not be replaced.
    ClearName { existing: Existing },
    /// `unlinkat(dir, name)`
    Unlink,
    /// `fsync(dir)`
    SyncDir,
    /// `fsync(source dir)`
    SyncSourceDir,
    /// `unlinkat(dir, temp)`
    RemoveTemp,
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What becomes of a file that already has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Refuse,
    /// Replaced if it has this version; nothing happens if it has another, or is not there.
    Match(Version),
}

impl Existing {
    /// The calls that change the name: all but the last only look.
    pub(crate) fn publish(self) -> (Option<Call>, Call) {
        match self {
            Existing::Match(expected) => {
                (Some(Call::Compare { expected }), Call::Publish { existing: Existing::Replace })
            }
            existing => (None, Call::Publish { existing }),
        }
    }
}

/// How the content of a file is made durable before its name changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSync {
    Fsync,
    /// Only written out to the device: the sync of the directory carries the rest. Not everywhere (`Barrier::Journal`).
    Range,
}

impl FileSync {
    fn call(self) -> Call {
        match self {
            FileSync::Fsync => Call::SyncFile,
            FileSync::Range => Call::SyncRange,
        }
    }
}

impl Call {
    /// A rename that refuses to replace. Where there is none, it fails with EINVAL.
    pub(crate) const REFUSE: Call = Call::Publish { existing: Existing::Refuse };

    /// The step of the protocol as a caller knows it.
    pub(crate) fn step(&self) -> Step {
        match self {
            Call::CreateTemp { .. } => Step::CreateTemp,
            Call::SetOwner(_) => Step::SetOwner,
            Call::SetAttributes => Step::SetAttributes,
            Call::SetMode { .. } => Step::SetMode,
            Call::Write { .. } => Step::Write,
            Call::Stamp { .. } => Step::Stamp,
            Call::StartSync | Call::SyncFile | Call::SyncRange => Step::SyncFile,
            Call::Compare { .. } => Step::Compare,
            Call::SyncFilesystem => Step::SyncFilesystem,
            Call::CloseFile => Step::Close,
            Call::Publish { .. } | Call::PublishByLink | Call::Move | Call::ClearName { .. } => Step::Rename,
            Call::Unlink => Step::Unlink,
            Call::SyncDir | Call::SyncSourceDir => Step::SyncDir,
            Call::RemoveTemp => Step::RemoveTemp,
        }
    }

    /// Whether a failure of this call cancels the calls linked behind it in io_uring.
    ///
    /// Source: `io_uring/sync.c` and `io_uring/fs.c` complete a failed request without marking it failed, against
    /// what `io_uring_linked_requests(7)` says; measured on Linux 6.18.
    pub(crate) fn severs(&self) -> bool {
        matches!(self, Call::CreateTemp { .. } | Call::Write { .. } | Call::CloseFile)
    }

    /// Whether it does no harm to run this call although an earlier one of its stage has failed.
    fn harmless_after_failure(&self) -> bool {
        matches!(self, Call::Stamp { .. } | Call::StartSync | Call::CloseFile | Call::SyncDir | Call::SyncSourceDir)
    }

    /// Whether this failure means that the target's name may be taken by a directory.
    pub(crate) fn meets_directory(&self, errno: Errno) -> bool {
        match self {
            Call::Publish { existing: Existing::Refuse } | Call::PublishByLink => errno == Errno::EEXIST,
            Call::Publish { .. } | Call::Move => errno == Errno::EISDIR,
            _ => false,
        }
    }

    /// What takes an empty directory out of the way of this call.
    pub(crate) fn clear_name(&self) -> Call {
        let existing = match self {
            Call::Publish { existing: Existing::Refuse } | Call::PublishByLink => Existing::Refuse,
            _ => Existing::Replace,
        };
        Call::ClearName { existing }
    }

    /// Whether this call changes what a reader sees under the target's name.
    pub(crate) fn is_visible(&self) -> bool {
        matches!(self, Call::Publish { .. } | Call::PublishByLink | Call::Move | Call::Unlink)
    }
}

/// The invariant of every stage: a call that must not run after a failure never follows a call whose failure does
/// not cancel it; and a rename in the same stage as its write follows *one* write that syncs what it wrote.
pub(crate) fn stage_is_safe(stage: &[Call]) -> bool {
    let links_hold =
        stage.iter().enumerate().all(|(i, call)| call.harmless_after_failure() || stage[..i].iter().all(Call::severs));
    let publishes = stage.iter().any(|call| matches!(call, Call::Publish { .. }));
    let writes = stage.iter().filter(|call| matches!(call, Call::Write { .. })).count();
    let synced = stage.iter().any(|call| matches!(call, Call::Write { sync: true, .. }));
    links_hold && (!publishes || writes == 0 || (writes == 1 && synced)) && stage.len() <= STAGE_MAX
}

pub(crate) type Stage = Vec<Call>;

/// Stages in order; each is checked before the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) stages: VecDeque<Stage>,
    /// Whether an empty directory gives way to a file of its name: in a store, where it is what deleted keys have left.
    pub(crate) clears_names: bool,
}

/// What one replace is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replace {
    /// The length of the content in bytes.
    pub(crate) len: usize,
    pub(crate) options: PutOptions,
    /// The version that it is to have, if it has any.
    pub(crate) stamp: Option<Version>,
    pub(crate) sync: FileSync,
    /// Whether one chain may carry it all: the engine links calls, and the filesystem honours `RWF_SYNC`.
    pub(crate) fuse: bool,
}

impl Plan {
    /// Creates, writes, syncs and closes a temporary file, renames it over the target, syncs the directory.
    pub(crate) fn replace(replace: Replace) -> Plan {
        let Replace { len, options: PutOptions { mode, existing }, stamp, sync, fuse } = replace;
        let (compare, publish) = existing.publish();
        // An empty file has no write that could carry the sync; and there is no request that stamps a file.
        let plain = mode.is_none() && stamp.is_none() && compare.is_none() && sync == FileSync::Fsync;
        if fuse && plain && (1..=WRITE_MAX).contains(&len) {
            return Plan::of([vec![
                Call::CreateTemp { mode: TEMP_MODE },
                Call::Write { range: 0..len, sync: true },
                Call::CloseFile,
                publish,
                Call::SyncDir,
            ]]);
        }
        let mut plan = Plan::stage(replace);
        // What breaks the chain when it fails may share a stage with the sync.
        let joins = plan.stages.back().is_some_and(|stage| stage.iter().all(Call::severs));
        let mut last = if joins { plan.stages.pop_back().unwrap_or_default() } else { Stage::new() };
        last.extend([sync.call(), Call::CloseFile]);
        plan.stages.extend(split(last));
        plan.publish(existing)
    }

    /// The same for a file that takes over owner and attributes: private until it is written.
    pub(crate) fn replace_like(replace: Replace, owner: Owner) -> Plan {
        let options = PutOptions { mode: None, ..replace.options };
        let mut plan = Plan::stage(Replace { options, ..replace });
        plan.stages.append(&mut Plan::commit_like(replace.options, owner, replace.sync).stages);
        plan
    }

    /// Creates and writes a temporary file, which stays open.
    pub(crate) fn stage(replace: Replace) -> Plan {
        let Replace { len, options: PutOptions { mode, .. }, stamp, .. } = replace;
        let mut calls = vec![Call::CreateTemp { mode: mode.map_or(TEMP_MODE, |mode| mode & TEMP_MODE) }];
        let mut stages = VecDeque::new();
        if let Some(mode) = mode {
            calls.push(Call::SetMode { mode });
            stages.push_back(std::mem::take(&mut calls));
        }
        calls.extend(writes(0..len));
        // A write takes the set-id bits off a file again (write(2), without CAP_FSETID).
        if let Some(mode) = mode.filter(|mode| mode & 0o6000 != 0) {
            stages.extend(split(std::mem::take(&mut calls)));
            stages.push_back(vec![Call::SetMode { mode }]);
        }
        calls.extend(stamp.map(|version| Call::Stamp { version }));
        stages.extend(split(calls));
        Plan { stages, clears_names: false }
    }

    /// Syncs and closes a temporary file that is written.
    pub(crate) fn harden(sync: FileSync) -> Plan {
        Plan::of([vec![sync.call(), Call::CloseFile]])
    }

    /// The same for one that was written through a guard.
    pub(crate) fn finish(PutOptions { mode, .. }: PutOptions, stamp: Option<Version>, sync: FileSync) -> Plan {
        let mode = mode.map(|mode| vec![Call::SetMode { mode }]);
        let stamp = stamp.map(|version| vec![Call::Stamp { version }]);
        Plan::of(mode.into_iter().chain(stamp).chain([vec![sync.call(), Call::CloseFile]]))
    }

    /// Makes a temporary file that was written through a guard durable and publishes it.
    pub(crate) fn commit(options: PutOptions, stamp: Option<Version>, sync: FileSync) -> Plan {
        Plan::finish(options, stamp, sync).publish(options.existing)
    }

    /// The same, with owner and attributes of another. The owner comes first: from then on the mode, which is still 0600, is for him.
    /// Then the attributes: a change of owner and a write each take capabilities off a file, and an access control list changes the
    /// mode. The mode comes last, since a change of owner takes off set-id bits. All of it is before the sync.
    pub(crate) fn commit_like(options: PutOptions, owner: Owner, sync: FileSync) -> Plan {
        let mut plan = Plan::of([vec![Call::SetOwner(owner)], vec![Call::SetAttributes]]);
        plan.stages.append(&mut Plan::commit(options, None, sync).stages);
        plan
    }

    fn publish(mut self, existing: Existing) -> Plan {
        let (compare, publish) = existing.publish();
        self.stages.extend(compare.map(|call| vec![call]));
        self.stages.push_back(vec![publish, Call::SyncDir]);
        self
    }

    /// Removes a file, if it has the version `expected`.
    pub(crate) fn delete(expected: Option<Version>) -> Plan {
        let compare = expected.map(|expected| vec![Call::Compare { expected }]);
        Plan::of(compare.into_iter().chain([vec![Call::Unlink, Call::SyncDir]]))
    }

    pub(crate) fn close() -> Plan {
        Plan::of([vec![Call::CloseFile]])
    }

    pub(crate) fn sync_dir() -> Plan {
        Plan::of([vec![Call::SyncDir]])
    }

    /// Gives an open file another time stamp, durably.
    pub(crate) fn stamp(version: Version) -> Plan {
        Plan::of([vec![Call::Stamp { version }], vec![Call::SyncFile, Call::CloseFile]])
    }

    /// A rename within one directory, or between two. The directory that gains the name is synced first: if the
    /// power goes between the two syncs, the file has two names rather than none.
    pub(crate) fn rename(between_dirs: bool) -> Plan {
        let source = between_dirs.then(|| vec![Call::SyncSourceDir]);
        Plan::of([vec![Call::Move, Call::SyncDir]].into_iter().chain(source))
    }

    pub(crate) fn remove_temp() -> Plan {
        Plan::of([vec![Call::RemoveTemp]])
    }

    pub(crate) fn empty() -> Plan {
        Plan::of([])
    }

    fn of(stages: impl IntoIterator<Item = Stage>) -> Plan {
        Plan { stages: stages.into_iter().collect(), clears_names: false }
    }

    /// The same calls, each in a stage of its own.
    #[cfg(feature = "bench")]
    pub(crate) fn one_by_one(self) -> Plan {
        Plan::of(self.stages.into_iter().flatten().map(|call| vec![call]))
    }

    #[cfg(test)]
    pub(crate) fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter()
    }
}

pub(crate) fn writes(range: Range<usize>) -> impl Iterator<Item = Call> {
    let end = range.end;
    range.step_by(WRITE_MAX).map(move |start| Call::Write { range: start..end.min(start + WRITE_MAX), sync: false })
}

pub(crate) fn split(calls: Vec<Call>) -> Vec<Stage> {
    calls.chunks(STAGE_MAX).map(<[Call]>::to_vec).collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
