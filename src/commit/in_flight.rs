//! A change on its way through the phases of a commit.
//!
//! A change that its caller makes alone passes them all at once ([`Start::solo`]). In a batch it stops after each
//! ([`Start::stage`], then [`super::round`]). Both start it here, from the same plans, and settle it here.

use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::barrier::BarrierKind;
use super::intent::IntentLog;
use super::{Action, Applied, Change, ChangeResult, Core, WrittenFile};
use crate::engine::Job;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::file::Content;
use crate::fs::{Dir, Key};
use crate::protocol::{Existing, Medium, Phase, Plan, Version};

/// A change whose plan has begun.
pub(super) struct InFlight {
    pub(super) job: Job,
    pub(super) origin: Origin,
    /// The key that changes; for a rename, the new one.
    pub(super) key: String,
}

/// What a plan was made for, to turn its report into the result.
pub(super) enum Origin {
    Put(Version),
    /// Content that was written through a guard: it is kept for a retry if only its name was refused.
    Guard(Version),
    Delete,
    Rename {
        from: String,
        /// The version of the file, if a record holds it.
        version: Option<Version>,
    },
}

/// A change that has passed some phases: what remains of it, or its result if nothing remains.
pub(super) enum Progress {
    InFlight(Box<InFlight>),
    Over(Applied),
}

/// A change that is to be started: by its caller alone, or for a batch by whichever thread stages it.
pub(super) struct Start {
    core: Arc<Core>,
    way: Way,
    /// The version of a put, if it was taken before.
    version: Option<Result<Version>>,
    change: Change,
}

/// How a change is made.
#[derive(Clone, Copy)]
enum Way {
    /// By its caller alone.
    Solo,
    /// By syncs of its own, whether the store has a log or not.
    Strict,
    Batch {
        kind: BarrierKind,
        /// Whether it is the first change that is staged, so that no earlier one can affect it.
        is_first: bool,
    },
}

impl Start {
    /// Makes a change on the caller's thread.
    pub(super) fn solo(core: &Arc<Core>, change: Change) -> ChangeResult {
        let solo = Start { core: Arc::clone(core), way: Way::Solo, version: None, change };
        let failed_syncs = core.log().map_or(0, IntentLog::failed_syncs);
        let until = if core.log().is_some() { Phase::Barrier } else { Phase::SyncDirs };
        match (solo.run(until)?, core.log()) {
            (Progress::Over(applied), _) => Ok(applied),
            (Progress::InFlight(change), Some(log)) => change.finish_by_log(core, log, failed_syncs),
            (Progress::InFlight(change), None) => unreachable!("every phase was allowed: {:?}", change.job.run),
        }
    }

    /// Makes a change on this thread that the log holds already.
    pub(super) fn strictly(core: &Arc<Core>, change: Change) -> ChangeResult {
        let strict = Start { core: Arc::clone(core), way: Way::Strict, version: None, change };
        match strict.run(Phase::SyncDirs)? {
            Progress::Over(applied) => Ok(applied),
            Progress::InFlight(change) => unreachable!("every phase was allowed: {:?}", change.job.run),
        }
    }

    /// A change for a batch. Takes the version of a put at once: of two puts of a key, the later has the greater version.
    pub(super) fn in_batch(core: &Arc<Core>, kind: BarrierKind, is_first: bool, change: Change) -> Start {
        let version = change.is_put().then(|| core.version());
        Start { core: Arc::clone(core), way: Way::Batch { kind, is_first }, version, change }
    }

    /// Writes the file, as far as that can be done before the barrier.
    pub(super) fn stage(self) -> Result<Progress> {
        self.core.check()?;
        self.run(Phase::Write)
    }

    /// Whether it can be staged beside others, in any order. A delete or a rename may need a directory that a change before it
    /// creates, and so may a put that expects a version, unless its directory exists already.
    pub(super) fn is_independent(&self) -> bool {
        match (&self.change.action, &self.change.key) {
            (Action::Put { options, .. }, Ok(key)) if matches!(options.existing, Existing::Match(_)) => {
                Key::parse(key).is_ok_and(|key| self.core.find(&key).is_ok())
            }
            (action, _) => matches!(action, Action::Put { .. } | Action::Restore { .. }),
        }
    }

    /// Starts the plan of the change and runs it through the phase `until`.
    fn run(self, until: Phase) -> Result<Progress> {
        let Start { core, way, version, change } = self;
        let core = &*core;
        let text = change.key?;
        let key = Key::parse(&text)?;
        let name = key.name();
        let writer = &core.writer;
        match change.action {
            Action::Put { bytes, options } => {
                core.supports(options)?;
                let version = version.transpose()?;
                let start = || {
                    let dir = core.directory(&key, options)?;
                    let version = version.map_or_else(|| core.version(), Ok)?;
                    let medium = medium(core, way, &key, &dir, Some(bytes.len()))?;
                    let content = Content { bytes: bytes.clone(), options, stamp: Some(version), medium };
                    let job = writer.write(&dir, &name, &content, None, Plan::replace, until);
                    InFlight { job, origin: Origin::Put(version), key: text.clone() }.advanced(core)
                };
                core.again_if_moved(&[&key], start)
            }
            Action::Restore { bytes, options, version, owner } => {
                let start = || {
                    let dir = core.ensure(&key)?;
                    let medium = medium(core, way, &key, &dir, None)?;
                    let content = Content { bytes: bytes.clone(), options, stamp: Some(version), medium };
                    let job = writer.write(&dir, &name, &content, None, |replace| Plan::restore(replace, owner), until);
                    InFlight { job, origin: Origin::Put(version), key: text.clone() }.advanced(core)
                };
                core.again_if_moved(&[&key], start)
            }
            Action::Publish { file, options } => {
                let version = version.unwrap_or_else(|| core.version()).map_err(Error::with_content_kept)?;
                let WrittenFile { dir, temp, file } = file;
                // The file was written before the batch opened its descriptor, so the batch's syncfs might miss its write error: use an
                // fsync.
                let medium = medium(core, way, &key, &dir, None).map_err(Error::with_content_kept)?;
                let medium = Some(medium).filter(|medium| *medium != Medium::FILESYSTEM_BATCH);
                let plan = Plan::commit(options, Some(version), medium.unwrap_or(Medium::PER_FILE_BATCH));
                let job = Job { name, temp, file: Some(file), ..writer.job(plan, &dir) };
                InFlight { job, origin: Origin::Guard(version), key: text }.run(core, until)
            }
            Action::Delete { expected } => core.again_if_moved(&[&key], || {
                core.keeps(expected)?;
                let dir = core.find(&key).map_err(|error| explain_missing(error, expected))?;
                let names = medium(core, way, &key, &dir, Some(0))?.names;
                let job = Job { name: name.clone(), ..writer.job(Plan::delete(expected, names), &dir) };
                InFlight { job, origin: Origin::Delete, key: text.clone() }.run(core, until)
            }),
            Action::Rename { to } => {
                let to = to?;
                let to = Key::parse(&to)?;
                core.again_if_moved(&[&key, &to], || {
                    let source = core.find(&key)?;
                    // Check the source before creating the target's directory; the plan checks again in its turn. Only the first
                    // change can be checked: an earlier one in the batch may create the source.
                    if matches!(way, Way::Solo | Way::Strict | Way::Batch { is_first: true, .. }) {
                        look(&source, &key)?;
                    }
                    let dir = core.ensure(&to)?;
                    // A record may hold it. Its new directories are synced if none does.
                    let names = medium_in(core, way, &dir, None).names;
                    let plan = Plan::rename(!Arc::ptr_eq(&source, &dir), names);
                    let job = Job { name: to.name(), source: Some((source, name.clone())), ..writer.job(plan, &dir) };
                    InFlight {
                        job,
                        origin: Origin::Rename { from: text.clone(), version: None },
                        key: to.as_str().to_owned(),
                    }
                    .run(core, until)
                })
            }
        }
    }
}

/// How a change of a key in a directory becomes durable. If that is not by a record of the log, the key's new directories are synced
/// here.
fn medium(core: &Core, way: Way, key: &Key<'_>, dir: &Dir, logged: Option<usize>) -> Result<Medium> {
    match medium_in(core, way, dir, logged) {
        Medium::LOGGED => Ok(Medium::LOGGED),
        medium => core.sync_new_dirs(key).map(|()| medium),
    }
}

/// How a change in a directory becomes durable. No shortcut holds where another filesystem is mounted within the store. `logged`
/// is the length of the value, for a change that an intent log may hold.
fn medium_in(core: &Core, way: Way, dir: &Dir, logged: Option<usize>) -> Medium {
    let within = dir.device() == core.dirs.root().device();
    match (way, core.log()) {
        (Way::Strict, _) => Medium::FSYNC,
        (_, Some(log)) if within && logged.is_some_and(|len| log.takes(len)) => Medium::LOGGED,
        (_, Some(_)) => Medium::BESIDE_LOG,
        (Way::Solo, None) if within && core.is_journal => Medium::JOURNAL,
        (Way::Solo, None) => Medium::FSYNC,
        (Way::Batch { kind, .. }, None) => match kind {
            BarrierKind::Journal if within => Medium::JOURNAL_BATCH,
            BarrierKind::Filesystem if within => Medium::FILESYSTEM_BATCH,
            BarrierKind::PerFile | BarrierKind::Filesystem => Medium::PER_FILE_BATCH,
            BarrierKind::Journal | BarrierKind::IntentLog => Medium::PER_FILE_BATCH,
        },
    }
}

impl InFlight {
    /// Runs the plan through the phase `until`, as the engine does best.
    fn run(mut self, core: &Core, until: Phase) -> Result<Progress> {
        self.job = core.writer.run(self.job, until);
        self.advanced(core)
    }

    /// Runs the plan through the phase `until` by plain calls. Renames measured slower through a ring.
    pub(super) fn run_plainly(&mut self, core: &Core, until: Phase) {
        self.job.run.allow(until);
        core.writer.engine.interpreter.run_plainly(&mut self.job);
    }

    /// Settles the change if its plan is over.
    pub(super) fn advanced(self, core: &Core) -> Result<Progress> {
        match self.job.run.is_over() {
            true => self.settle(core).map(Progress::Over),
            false => Ok(Progress::InFlight(Box::new(self))),
        }
    }

    /// The same after the change was staged, when its directory may have given way to a key of the same batch.
    pub(super) fn advanced_in_batch(self: Box<Self>, core: &Core) -> Result<Progress> {
        if !self.job.run.is_over() {
            return Ok(Progress::InFlight(self));
        }
        let (key, any_step) = match &self.origin {
            Origin::Delete => (self.key.clone(), true),
            Origin::Rename { from, .. } => (from.clone(), false),
            Origin::Put(_) | Origin::Guard(_) => (String::new(), false),
        };
        self.settle(core).map(Progress::Over).map_err(|error| {
            let is_gone = error.is_directory_removed() && (any_step || error.step() == Step::OpenFile);
            if is_gone && key.contains('/') { error.with_kind(ErrorKind::NotFound) } else { error }
        })
    }

    /// Gives up a change whose name has not changed.
    pub(super) fn cancel(self, core: &Core) {
        core.count(&self.job);
        if matches!(self.origin, Origin::Put(_) | Origin::Guard(_)) {
            core.writer.remove_temp(&self.job.dir, &self.job.temp);
        }
    }

    pub(super) fn settle(self, core: &Core) -> ChangeResult {
        let InFlight { job, origin, key } = self;
        let writer = &core.writer;
        core.count(&job);
        match origin {
            Origin::Put(version) => writer.settle(&job).map(|()| Applied::Put(version)),
            Origin::Guard(version) => writer.settle_guard(&job).map(|()| Applied::Put(version)),
            Origin::Rename { .. } => writer.settle_in_place(&job).map(|()| Applied::Renamed),
            Origin::Delete => {
                let settled = writer.settle_in_place(&job).map(|()| Applied::Deleted);
                settled.map_err(|error| explain_delete(error, &job.dir, &key))
            }
        }
    }
}

/// If the directory is missing, the key has no version: a mismatch.
pub(super) fn has_no_version(error: Error) -> Error {
    if error.is_not_found() { Error::from_errno(Errno::ESTALE, Step::Compare, error.path()) } else { error }
}

fn explain_missing(error: Error, expected: Option<Version>) -> Error {
    if expected.is_some() { has_no_version(error) } else { error }
}

/// For the unlink of a directory, POSIX and macOS report EPERM where Linux reports EISDIR.
fn explain_delete(error: Error, dir: &Dir, key: &str) -> Error {
    match (error.raw_os_error(), Key::parse(key)) {
        (Some(errno), Ok(key)) if errno == Errno::EPERM as i32 => look(dir, &key).err().unwrap_or(error),
        _ => error,
    }
}

/// Fails unless there is something under the key that is not a directory.
fn look(dir: &Dir, key: &Key<'_>) -> Result<()> {
    let name = key.name();
    let fail = |errno| Error::from_errno(errno, Step::OpenFile, dir.path_of(&name));
    match dir.look(&name) {
        Ok(SFlag::S_IFDIR) => Err(fail(Errno::EISDIR)),
        Ok(_) => Ok(()),
        Err(Errno::ENOENT) => Err(fail(Errno::ENOENT).with_kind(dir.not_found())),
        Err(errno) => Err(fail(errno)),
    }
}
