//! The protocol as data: which calls, in which stages, and what their results mean.
//!
//! Nothing here does I/O. A [`Plan`] is a list of stages; an engine runs the calls of one stage in order and says
//! what became of each; [`Run`] decides what comes next. The rule that makes a replace safe stands in one place,
//! [`stage_is_safe`]: within a stage, nothing may sit behind a sync or a rename that must not run when that fails.
//! (On Linux a linked `fsync` or `renameat` that fails does *not* cancel the request behind it.)

use std::collections::VecDeque;
use std::ops::Range;

use nix::errno::Errno;

use crate::error::Step;
use crate::put_options::PutOptions;
use crate::report::{Fate, Report, is_failed_sync, unwritten};

/// The most that one write call is asked to take. Linux stops at 0x7ffff000 bytes, macOS at `INT_MAX`.
pub(crate) const WRITE_MAX: usize = 1 << 30;

/// The most calls of one stage, so that an engine's queue can hold any stage whole.
pub(crate) const STAGE_MAX: usize = 8;

/// One call to the kernel. What it works on (directories, names, bytes, the open file) is in the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `openat(dir, temp, O_CREAT|O_EXCL|O_NOFOLLOW|O_WRONLY, mode)`
    CreateTemp { mode: u32 },
    /// `fchmod(file, mode)`: exact, whatever the umask.
    SetMode { mode: u32 },
    /// `pwrite` of this range of the bytes at the same offset; `sync` makes it durable in the same call (`RWF_SYNC`).
    Write { range: Range<usize>, sync: bool },
    /// `fsync(file)`
    SyncFile,
    /// `syncfs(dir)`: every file on the filesystem of the directory.
    SyncFilesystem,
    /// `close(file)`
    CloseFile,
    /// `renameat(dir, temp, dir, name)`
    Publish { existing: Existing },
    /// `linkat(dir, temp, dir, name)`: publishes without replacing where `renameat` cannot. The temporary name goes
    /// afterwards.
    PublishByLink,
    /// `renameat(source dir, source name, dir, name)`
    Move,
    /// `unlinkat(dir, name)`
    Unlink,
    /// `fsync(dir)`
    SyncDir,
    /// `fsync(source dir)`
    SyncSourceDir,
    /// `unlinkat(dir, temp)`
    RemoveTemp,
}

/// What becomes of a file that already has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Refuse,
}

impl Call {
    /// A rename that refuses to replace. Where there is none, it fails with EINVAL.
    pub(crate) const REFUSE: Call = Call::Publish { existing: Existing::Refuse };

    /// The step of the protocol as a caller knows it.
    pub(crate) fn step(&self) -> Step {
        match self {
            Call::CreateTemp { .. } => Step::CreateTemp,
            Call::SetMode { .. } => Step::SetMode,
            Call::Write { .. } => Step::Write,
            Call::SyncFile => Step::SyncFile,
            Call::SyncFilesystem => Step::SyncFilesystem,
            Call::CloseFile => Step::Close,
            Call::Publish { .. } | Call::PublishByLink | Call::Move => Step::Rename,
            Call::Unlink => Step::Unlink,
            Call::SyncDir | Call::SyncSourceDir => Step::SyncDir,
            Call::RemoveTemp => Step::RemoveTemp,
        }
    }

    /// Whether a failure of this call cancels the calls linked behind it in io_uring.
    ///
    /// Source: `io_uring/sync.c` and `io_uring/fs.c` complete a failed request without marking it failed, against
    /// what `io_uring_linked_requests(7)` says; measured on Linux 6.18.
    fn severs(&self) -> bool {
        matches!(self, Call::CreateTemp { .. } | Call::Write { .. } | Call::CloseFile)
    }

    /// Whether it does no harm to run this call although an earlier one of its stage has failed.
    fn harmless_after_failure(&self) -> bool {
        matches!(self, Call::CloseFile | Call::SyncDir | Call::SyncSourceDir)
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
    stages: VecDeque<Stage>,
}

/// What one replace is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replace {
    /// The length of the content in bytes.
    pub(crate) len: usize,
    pub(crate) options: PutOptions,
    /// Whether one chain may carry it all: the engine links calls, and the filesystem honours `RWF_SYNC`.
    pub(crate) fuse: bool,
}

impl Plan {
    /// Creates, writes, syncs and closes a temporary file, renames it over the target, syncs the directory.
    pub(crate) fn replace(replace: Replace) -> Plan {
        let Replace { len, options: PutOptions { mode, existing }, fuse } = replace;
        let create = Call::CreateTemp { mode: mode.unwrap_or(0o600) & 0o600 };
        // An empty file has no write that could carry the sync.
        if fuse && mode.is_none() && (1..=WRITE_MAX).contains(&len) {
            return Plan::of([vec![
                create,
                Call::Write { range: 0..len, sync: true },
                Call::CloseFile,
                Call::Publish { existing },
                Call::SyncDir,
            ]]);
        }
        let mut calls = vec![create];
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
        calls.extend([Call::SyncFile, Call::CloseFile]);
        stages.extend(split(calls));
        stages.push_back(vec![Call::Publish { existing }, Call::SyncDir]);
        Plan { stages }
    }

    /// Creates, writes and closes a temporary file, durably if `sync`; not yet visible.
    pub(crate) fn stage(replace: Replace, sync: bool) -> Plan {
        let fused = replace.fuse && sync;
        let mut plan = Plan::replace(Replace { fuse: fused, ..replace });
        for stage in &mut plan.stages {
            stage.retain(|call| match call {
                Call::Publish { .. } | Call::SyncDir => false,
                Call::SyncFile => sync,
                _ => true,
            });
        }
        plan.stages.retain(|stage| !stage.is_empty());
        plan
    }

    /// Syncs and closes a temporary file that was written through a guard.
    pub(crate) fn finish(options: PutOptions) -> Plan {
        let mut plan = Plan::commit(options);
        plan.stages.pop_back();
        plan
    }

    /// Makes a temporary file that was written through a guard durable and publishes it.
    pub(crate) fn commit(PutOptions { mode, existing }: PutOptions) -> Plan {
        let mode = mode.map(|mode| vec![Call::SetMode { mode }]);
        let rest = [vec![Call::SyncFile, Call::CloseFile], vec![Call::Publish { existing }, Call::SyncDir]];
        Plan::of(mode.into_iter().chain(rest))
    }

    pub(crate) fn delete() -> Plan {
        Plan::of([vec![Call::Unlink, Call::SyncDir]])
    }

    /// A rename within one directory, or between two. The directory that gains the name is synced first: if the
    /// power goes between the two syncs, the file has two names rather than none.
    pub(crate) fn rename(between_dirs: bool) -> Plan {
        let mut plan = Plan::of([vec![Call::Move, Call::SyncDir]]);
        if between_dirs {
            plan.stages.push_back(vec![Call::SyncSourceDir]);
        }
        plan
    }

    pub(crate) fn remove_temp() -> Plan {
        Plan::of([vec![Call::RemoveTemp]])
    }

    pub(crate) fn empty() -> Plan {
        Plan::of([])
    }

    fn of(stages: impl IntoIterator<Item = Stage>) -> Plan {
        Plan { stages: stages.into_iter().collect() }
    }

    #[cfg(test)]
    pub(crate) fn stages(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter()
    }
}

/// A plan being executed: hands out stages, takes what became of them, decides what is next.
#[derive(Debug)]
pub(crate) struct Run {
    stages: VecDeque<Stage>,
    log: Vec<(Call, Fate)>,
}

impl Run {
    pub(crate) fn new(plan: Plan) -> Run {
        debug_assert!(plan.stages.iter().all(|stage| stage_is_safe(stage)), "{plan:?}");
        Run { stages: plan.stages, log: Vec::new() }
    }

    /// The calls to run now, in order; `None` when the plan is finished or has failed.
    pub(crate) fn next_stage(&mut self) -> Option<Stage> {
        self.stages.pop_front()
    }

    /// Takes what became of the calls of `stage`, one fate a call.
    pub(crate) fn record(&mut self, stage: Stage, fates: Vec<Fate>) {
        debug_assert_eq!(stage.len(), fates.len());
        let mut outcomes = stage.into_iter().zip(fates).collect::<VecDeque<_>>();
        while let Some((call, fate)) = outcomes.pop_front() {
            let visible =
                outcomes.iter().any(|(call, fate)| call.is_visible() && matches!(fate, Fate::Done(_) | Fate::Lost));
            match (unwritten(&call, &fate), fate) {
                // A rename behind a write that is not whole: the chain did not hold. Say so, whatever the write says.
                (Some(_), _) if visible => self.log.push((call, Fate::Failed(Errno::EIO))),
                (Some(rest), fate) => {
                    self.log.push((call, fate));
                    return self.finish_write(rest, outcomes.into_iter().map(|(call, _)| call));
                }
                (None, Fate::Done(0)) if matches!(&call, Call::Write { range, .. } if !range.is_empty()) => {
                    // A file that takes no more bytes and gives no reason.
                    self.log.push((call, Fate::Failed(Errno::EIO)));
                }
                (None, fate @ Fate::Done(_)) => {
                    self.log.push((call, fate));
                    continue;
                }
                (None, Fate::Failed(Errno::EINVAL)) if call == Call::REFUSE && !outcomes.iter().any(is_failed_sync) => {
                    // This filesystem, or this system, has no rename that refuses to replace; a link refuses.
                    self.log.push((call, Fate::Failed(Errno::EINVAL)));
                    self.stages = [vec![Call::PublishByLink], vec![Call::SyncDir], vec![Call::RemoveTemp]].into();
                    return;
                }
                (None, fate) => self.log.push((call, fate)),
            }
            // A failure ends the plan. What ran behind it is kept: a rename that happened is never forgotten.
            self.log.extend(outcomes);
            return self.stages.clear();
        }
    }

    /// Puts what is left of a stage whose write was cut short in front of the remaining stages, taken apart so that
    /// an explicit fsync covers every byte before anything is renamed.
    fn finish_write(&mut self, rest: Range<usize>, behind: impl Iterator<Item = Call>) {
        let mut calls: Vec<Call> = writes(rest).collect();
        let mut published = Vec::new();
        for call in behind {
            match call {
                Call::CloseFile if !calls.contains(&Call::SyncFile) => calls.extend([Call::SyncFile, Call::CloseFile]),
                Call::Publish { .. } | Call::SyncDir => published.push(call),
                other => calls.push(other),
            }
        }
        if !published.is_empty() {
            self.stages.push_front(published);
        }
        for stage in split(calls).into_iter().rev() {
            self.stages.push_front(stage);
        }
    }

    pub(crate) fn finish(self) -> Report {
        Report::of(self.log)
    }
}

fn writes(range: Range<usize>) -> impl Iterator<Item = Call> {
    let end = range.end;
    range.step_by(WRITE_MAX).map(move |start| Call::Write { range: start..end.min(start + WRITE_MAX), sync: false })
}

fn split(calls: Vec<Call>) -> Vec<Stage> {
    calls.chunks(STAGE_MAX).map(<[Call]>::to_vec).collect()
}

/// What an engine needs that hands jobs to another thread, which can be lost.
#[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
impl Run {
    /// The same, if `can` says that the caller can run it.
    pub(crate) fn next_stage_if(&mut self, can: impl Fn(&Stage) -> bool) -> Option<Stage> {
        if self.stages.front().is_some_and(can) { self.stages.pop_front() } else { None }
    }

    /// Gives back a stage of which nothing ran.
    pub(crate) fn put_back(&mut self, stage: Stage) {
        self.stages.push_front(stage);
    }

    /// Ends a run whose engine was lost before the plan was finished: nothing more will be submitted.
    pub(crate) fn abandon(mut self) -> Report {
        if let Some(call) = self.next_stage().and_then(|stage| stage.into_iter().next()) {
            self.log.push((call, Fate::Skipped));
        }
        self.finish()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
