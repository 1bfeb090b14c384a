//! One writer: an engine, and what it has learnt to distrust. Each operation goes down once, as a plan and what it works
//! on, and comes up once, as a verdict; what the verdict means for the caller is settled here.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use nix::errno::Errno;

use crate::dir::Dir;
use crate::engine::{Job, Selected};
use crate::error::{Error, Kind, Outcome, Result, Step};
use crate::plan::{Existing, Plan, Replace, Report, Verdict};
use crate::put_options::PutOptions;
use crate::temp;

/// How often a name for a temporary file may be taken before we give up: each is random, so one is more than enough.
pub(crate) const NAME_ATTEMPTS: usize = 8;

/// An engine and the latch of the writes that go through it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) engine: Selected,
    /// A directory sync failed: what is durable is not known any more.
    poisoned: AtomicBool,
}

impl Writer {
    pub(crate) fn new(engine: Selected) -> Writer {
        Writer { engine, poisoned: AtomicBool::new(false) }
    }

    /// Refuses when an earlier directory sync has failed. `place` is named in the error.
    pub(crate) fn check(&self, place: &Dir) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::new(Kind::Poisoned, Step::Check, place.path()));
        }
        Ok(())
    }

    /// Passes a result of syncing a directory on, and latches if it failed.
    pub(crate) fn latch<T>(&self, result: Result<T>) -> Result<T> {
        if matches!(&result, Err(error) if error.step() == Step::SyncDir) {
            self.poison();
        }
        result
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    /// One durable replace of `name` in `dir`.
    pub(crate) fn put(&self, dir: &Arc<Dir>, name: &CStr, bytes: Bytes, options: PutOptions) -> Result<()> {
        let PutOptions { mode, existing } = options;
        for attempt in 1.. {
            let fuse = self.engine.interpreter.links() && dir.sync_writes();
            let plan = Plan::replace(Replace { len: bytes.len(), mode, existing, fuse });
            let temp = temp::fresh();
            let job = Job { name: name.into(), temp: temp.clone(), bytes: bytes.clone(), ..Job::new(plan, dir) };
            let report = self.engine.interpreter.run(job);
            if report.sync_write_refused() {
                dir.refuse_sync_writes();
            }
            match report.verdict() {
                Verdict::Unchanged { step: Step::CreateTemp, errno: Errno::EEXIST, .. } if attempt < NAME_ATTEMPTS => {}
                verdict => return self.settle(verdict, dir, name, &temp),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Publishes a temporary file that is written and still open.
    pub(crate) fn commit(
        &self,
        dir: &Arc<Dir>,
        name: &CStr,
        temp: &CStr,
        file: OwnedFd,
        existing: Existing,
    ) -> Result<()> {
        let job =
            Job { name: name.into(), temp: temp.into(), file: Some(file), ..Job::new(Plan::commit(existing), dir) };
        let report = self.engine.interpreter.run(job);
        self.settle(report.verdict(), dir, name, temp)
    }

    /// Durably removes `name` from `dir`.
    pub(crate) fn delete(&self, dir: &Arc<Dir>, name: &CStr) -> Result<()> {
        let job = Job { name: name.into(), ..Job::new(Plan::delete(), dir) };
        self.settle_in_place(&self.engine.interpreter.run(job), dir, name)
    }

    /// Durably renames `source` to `name` in `dir`, replacing what is there.
    pub(crate) fn rename(&self, source: (Arc<Dir>, CString), dir: &Arc<Dir>, name: &CStr) -> Result<()> {
        let plan = Plan::rename(!Arc::ptr_eq(&source.0, dir));
        let job = Job { name: name.into(), source: Some(source), ..Job::new(plan, dir) };
        self.settle_in_place(&self.engine.interpreter.run(job), dir, name)
    }

    fn settle_in_place(&self, report: &Report, dir: &Dir, name: &CStr) -> Result<()> {
        match report.verdict() {
            Verdict::Durable => self.confirm(dir),
            Verdict::Unchanged { step, errno, .. } => Err(Error::from_errno(errno, step, dir.path_of(name))),
            Verdict::Unknown { step, errno } => Err(self.unknown(step, errno, dir)),
        }
    }

    /// Turns a verdict into the caller's result. A failure before the rename leaves nothing behind; a failure after it
    /// touches nothing, since the target is then the only copy.
    fn settle(&self, verdict: Verdict, dir: &Arc<Dir>, name: &CStr, temp: &CStr) -> Result<()> {
        match verdict {
            Verdict::Durable => self.confirm(dir),
            Verdict::Unknown { step, errno } => Err(self.unknown(step, errno, dir)),
            Verdict::Unchanged { step, errno, temp_left } => {
                let at = if step == Step::Rename { name } else { temp };
                let mut error = Error::from_errno(errno, step, dir.path_of(at));
                if temp_left && !self.remove_temp(dir, temp) {
                    error = error.with_leftover(dir.path_of(temp));
                }
                Err(error)
            }
        }
    }

    /// Removes a temporary file; true if it is gone.
    pub(crate) fn remove_temp(&self, dir: &Arc<Dir>, temp: &CStr) -> bool {
        let job = Job { temp: temp.into(), ..Job::new(Plan::remove_temp(), dir) };
        let verdict = self.engine.interpreter.run(job).verdict();
        matches!(verdict, Verdict::Durable | Verdict::Unchanged { errno: Errno::ENOENT, .. })
    }

    /// A sync that succeeded beside another writer's that failed proves nothing: an error is reported once an open file,
    /// and the directory's descriptor is shared.
    fn confirm(&self, dir: &Dir) -> Result<()> {
        self.check(dir).map_err(|error| error.with_outcome(Outcome::Unknown))
    }

    fn unknown(&self, step: Step, errno: Errno, dir: &Dir) -> Error {
        self.poison();
        Error::from_errno(errno, step, dir.path()).with_outcome(Outcome::Unknown)
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
