//! Turns the reports of an engine into results, cleans up after failures, and decides when further writes are refused.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use crate::engine::{Job, Payload, Selected};
use crate::error::{Error, ErrorKind, Outcome, Result, Step};
use crate::fs::Dir;
use crate::fs::preserved::Preserved;
use crate::fs::process::Process;
use crate::fs::sys::Attributes;
use crate::fs::temp::{self, Maker};
use crate::protocol::{Medium, Phase, Plan, PutOptions, Replace, Verdict, Version, is_ambiguous};

/// How many names for a temporary file are tried. Names are random, so a second one should never be needed.
pub(crate) const NAME_ATTEMPTS: usize = 8;

/// The content of a file, and how it becomes durable.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Payload,
    pub(crate) options: PutOptions,
    pub(crate) stamp: Option<Version>,
    pub(crate) medium: Medium,
}

/// An engine, and whether writes through it are still allowed.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) engine: Selected,
    pub(crate) maker: Maker,
    /// Set when a failure leaves unknown what is durable: every further write is then refused.
    poisoned: Arc<AtomicBool>,
    /// Set when a temporary file could not be removed: the next opening of the store must sweep.
    stuck: AtomicBool,
    process: Process,
}

impl Writer {
    pub(crate) fn new(engine: Selected, maker: Maker) -> Writer {
        Writer { engine, maker, poisoned: Arc::default(), stuck: AtomicBool::new(false), process: Process::current() }
    }

    /// Fails in a forked child, and if the writer is poisoned. Every write starts with this check. `place` is the path in the error.
    pub(crate) fn check(&self, place: &Dir) -> Result<()> {
        if !self.is_ours() {
            return Err(Error::new(ErrorKind::Forked, Step::Check, place.path()));
        }
        self.check_poison(place)
    }

    /// Fails if the writer is poisoned.
    pub(crate) fn check_poison(&self, place: &Dir) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Poisoned, Step::Check, place.path()));
        }
        Ok(())
    }

    /// Whether this process created the writer; false in a forked child.
    pub(crate) fn is_ours(&self) -> bool {
        self.process.is_current()
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Whether the writes so far leave nothing for a recovery.
    pub(crate) fn is_tidy(&self) -> bool {
        !self.poisoned.load(Ordering::Acquire) && !self.stuck.load(Ordering::Acquire)
    }

    /// Poisons the writer if a directory sync outside of a plan failed.
    pub(crate) fn latch(&self, error: &Error) {
        if error.step() == Step::SyncDir {
            self.poison();
        }
    }

    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// Durably replaces `name` in `dir`.
    pub(crate) fn put(&self, dir: &Arc<Dir>, name: &CStr, content: &Content) -> Result<()> {
        self.put_by(dir, name, content, Plan::replace)
    }

    /// The same with the owner, mode and attributes of another file.
    pub(crate) fn put_like(&self, dir: &Arc<Dir>, name: &CStr, content: &Content, like: &Preserved) -> Result<()> {
        let content = Content { options: like.options(content.options), ..content.clone() };
        let plan = |replace| Plan::replace_like(replace, like.owner);
        self.settle(&self.write(dir, name, &content, Some(&like.attributes), plan, Phase::SyncDirs))
    }

    /// The same by the caller's plan.
    pub(crate) fn put_by(
        &self,
        dir: &Arc<Dir>,
        name: &CStr,
        content: &Content,
        plan: impl Fn(Replace) -> Plan,
    ) -> Result<()> {
        self.settle(&self.write(dir, name, content, None, plan, Phase::SyncDirs))
    }

    /// Runs a plan that begins with a temporary file, through the phase `until`. Tries another name if the first is taken.
    pub(crate) fn write(
        &self,
        dir: &Arc<Dir>,
        name: &CStr,
        content: &Content,
        attributes: Option<&Arc<Attributes>>,
        plan: impl Fn(Replace) -> Plan,
        until: Phase,
    ) -> Job {
        let Content { bytes, options, stamp, medium } = content;
        for attempt in 1.. {
            // A ring has no request that writes several chunks.
            let one_chain = self.engine.interpreter.links() && dir.sync_writes() && bytes.contiguous().is_some();
            let plan = plan(Replace { len: bytes.len(), options: *options, stamp: *stamp, medium: *medium, one_chain });
            let job = Job {
                name: name.into(),
                temp: temp::name(self.maker, name, attempt),
                bytes: bytes.clone(),
                attributes: attributes.cloned(),
                ..self.job(plan, dir)
            };
            let job = self.run(job, until);
            if job.run.report().sync_write_refused() {
                dir.refuse_sync_writes();
            }
            if attempt >= NAME_ATTEMPTS || !self.is_worth_another_try(&job) {
                return job;
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Runs the calls of a job through the phase `until`.
    pub(crate) fn run(&self, mut job: Job, until: Phase) -> Job {
        job.run.allow(until);
        self.engine.interpreter.run(job)
    }

    /// Publishes a file that was written through a guard and is still open, by [`Plan::commit`] or [`Plan::commit_like`].
    pub(crate) fn complete(
        &self,
        dir: &Arc<Dir>,
        (name, temp): (&CStr, &CStr),
        file: OwnedFd,
        attributes: Option<&Arc<Attributes>>,
        plan: Plan,
    ) -> Result<()> {
        let (name, temp, attributes) = (name.into(), temp.into(), attributes.cloned());
        let job = Job { name, temp, attributes, file: Some(file), ..self.job(plan, dir) };
        self.settle_guard(&self.run(job, Phase::SyncDirs))
    }

    /// Durably sets the time stamp of an open file. If the sync fails, it is unknown which stamp the file has after a crash.
    pub(crate) fn stamp(&self, dir: &Arc<Dir>, name: &CStr, file: OwnedFd, version: Version) -> Result<()> {
        let job = Job { name: name.into(), file: Some(file), ..self.job(Plan::stamp(version), dir) };
        match self.run(job, Phase::SyncDirs).run.report().verdict() {
            Verdict::Durable => Ok(()),
            Verdict::Unchanged { step, errno, .. } | Verdict::Unknown { step, errno } => {
                if step != Step::Stamp {
                    self.poison();
                }
                Err(Error::from_errno(errno, step, dir.path_of(name)))
            }
        }
    }

    /// Turns the report of a delete or a rename into the caller's result.
    pub(crate) fn settle_in_place(&self, job: &Job) -> Result<()> {
        let Job { dir, name, source, .. } = job;
        match job.run.report().verdict() {
            Verdict::Durable => {
                self.confirm(dir)?;
                source.as_ref().map_or(Ok(()), |(source, _)| self.confirm(source))
            }
            Verdict::Unchanged { step, errno, .. } => {
                let (dir, name) = match source {
                    Some((dir, name)) if step == Step::OpenFile => (dir, name),
                    _ => (dir, name),
                };
                let error = Error::from_errno(errno, step, dir.path_of(name));
                Err(if errno == Errno::ENOENT { error.with_kind(dir.not_found()) } else { error })
            }
            Verdict::Unknown { step, errno } => Err(self.unknown(step, errno, dir)),
        }
    }

    /// [`settle`](Writer::settle) for a file that was written through a guard. If only its name was refused, the content is
    /// whole, and stays for another try.
    pub(crate) fn settle_guard(&self, job: &Job) -> Result<()> {
        match job.run.report().verdict() {
            // With an ambiguous error only the removal of the temporary file shows whether the rename happened.
            Verdict::Unchanged { step: step @ (Step::Compare | Step::Rename), errno, .. }
                if !is_ambiguous(errno) && job.dir.has(&job.temp) =>
            {
                Err(unchanged((step, errno), Temp::Kept, &job.dir, &job.name, &job.temp))
            }
            _ => self.settle(job),
        }
    }

    /// Turns the report of a put into the caller's result. A failure before the rename leaves nothing behind; after the rename
    /// nothing is undone, since the target is then the only copy.
    pub(crate) fn settle(&self, job: &Job) -> Result<()> {
        let Job { dir, name, temp, .. } = job;
        let report = job.run.report();
        if report.left_temp() {
            self.stuck.store(true, Ordering::Release);
        }
        let (step, errno, temp_left) = match report.verdict() {
            Verdict::Durable => return self.confirm(dir),
            Verdict::Unknown { step, errno } => return Err(self.unknown(step, errno, dir)),
            Verdict::Unchanged { step, errno, temp_left } => (step, errno, temp_left),
        };
        let removed = if temp_left { self.remove_temp(dir, temp) } else { Temp::Gone };
        if perhaps_renamed(step, errno, removed) {
            return Err(self.unknown(step, errno, dir));
        }
        Err(unchanged((step, errno), removed, dir, name, temp))
    }

    /// Whether to retry under another name: this one is taken, or an interrupted create may have left a file.
    fn is_worth_another_try(&self, job: &Job) -> bool {
        let is_free = || self.remove_temp(&job.dir, &job.temp) != Temp::Stuck;
        match job.run.report().verdict() {
            Verdict::Unchanged { step: Step::CreateTemp, errno: Errno::EEXIST, .. } => {
                self.maker != Maker::Locked || is_free()
            }
            Verdict::Unchanged { step: Step::CreateTemp, errno: Errno::EINTR, .. } => is_free(),
            _ => false,
        }
    }

    pub(crate) fn remove_temp(&self, dir: &Arc<Dir>, temp: &CStr) -> Temp {
        let job = Job { temp: temp.into(), ..self.job(Plan::remove_temp(), dir) };
        match self.run(job, Phase::SyncDirs).run.report().verdict() {
            Verdict::Durable => Temp::Gone,
            Verdict::Unchanged { errno: Errno::ENOENT, .. } => Temp::WasGone,
            _ => {
                self.stuck.store(true, Ordering::Release);
                Temp::Stuck
            }
        }
    }

    pub(crate) fn job(&self, plan: Plan, dir: &Arc<Dir>) -> Job {
        let plan = Plan { clears_names: self.maker == Maker::Store, ..plan };
        Job::new(self.engine.start(plan), dir, &self.poisoned)
    }

    /// Fails if another sync of this directory has failed. An engine marks the directory as soon as it sees the failure, before
    /// it reports any success. (A second plain fsync can return between the failure and the mark. ext4, xfs and btrfs fail that
    /// one too: after an error in their journal they fail every sync.)
    pub(crate) fn confirm(&self, dir: &Dir) -> Result<()> {
        dir.confirm().map_err(|error| error.with_outcome(Outcome::Unknown))
    }

    fn unknown(&self, step: Step, errno: Errno, dir: &Dir) -> Error {
        self.poison();
        Error::from_errno(errno, step, dir.path()).with_outcome(Outcome::Unknown)
    }
}

/// Whether a rename that reported an error may have happened. If the temporary file is gone, it did; if it could not be removed,
/// it may have.
pub(crate) fn perhaps_renamed(step: Step, errno: Errno, removed: Temp) -> bool {
    let moved = removed == Temp::WasGone && errno != Errno::ENOENT;
    step == Step::Rename && (moved || (removed == Temp::Stuck && is_ambiguous(errno)))
}

/// The error of a replace that failed before the name changed.
pub(crate) fn unchanged((step, errno): (Step, Errno), removed: Temp, dir: &Dir, name: &CStr, temp: &CStr) -> Error {
    let at = match step {
        Step::Compare | Step::Rename => dir.path_of(name),
        Step::SyncFilesystem => dir.path().to_owned(),
        _ => dir.path_of(temp),
    };
    let mut error = Error::from_errno(errno, step, at);
    if errno == Errno::ENOENT {
        error = error.with_kind(dir.not_found());
    }
    match removed {
        Temp::Stuck => error.with_leftover(dir.path_of(temp)),
        Temp::Kept => error.with_content_kept(),
        Temp::Gone | Temp::WasGone => error,
    }
}

/// The result of removing a temporary file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temp {
    Gone,
    /// It did not exist.
    WasGone,
    /// It could not be removed.
    Stuck,
    /// It is complete, and was left in place for another try.
    Kept,
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
