//! A change whose file is written, on its way through a batch: publishing it, and what that comes to for its caller.

use std::sync::Arc;

use nix::errno::Errno;

use super::change::{explain_delete, explain_missing, look};
use super::{Answer, Applied, Change, Core, What};
use crate::barrier::BarrierKind;
use crate::dir::Dir;
use crate::engine::Job;
use crate::error::{ErrorKind, Result};
use crate::key::Key;
use crate::plan::{Call, FileSync, Plan};
use crate::report::{Fate, Report};
use crate::version::Version;
use crate::writer::{Content, Writer};

/// A change that is ready to be published, or will be after the barrier.
pub(super) struct Made {
    pub(super) job: Job,
    /// What changes the name, behind what looks whether it may.
    pub(super) compare: Option<Call>,
    pub(super) call: Call,
    pub(super) stamp: Option<Version>,
    pub(super) file: File,
    /// The content was written through a guard: where only its name is refused, it stays.
    is_guard: bool,
    key: String,
    pub(super) log: Vec<(Call, Fate)>,
}

/// How durable the file behind a change is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum File {
    /// There is none, or it is.
    Durable,
    /// Open; the plan closes it, and does what is needed before.
    Open(Plan, Need),
    /// Written out to the device and closed; the sync of the filesystem makes it durable.
    Written,
}

/// What makes an open file durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A sync of its own.
    Fsync,
    /// To be written out to the device; the sync of its directory does the rest.
    Range,
    /// To be written out to the device; the sync of the filesystem does the rest. (That would write it out itself, but
    /// then ext4 needs two commits of its journal, and tells nobody when it finds no room for a block that it has promised.)
    Filesystem,
}

impl Need {
    /// In a batch of this kind, for a file in this directory: neither shortcut holds where another filesystem is mounted within.
    fn of(kind: BarrierKind, dir: &Dir, core: &Core) -> Need {
        match kind {
            _ if dir.device() != core.dirs.root().device() => Need::Fsync,
            BarrierKind::PerFile => Need::Fsync,
            BarrierKind::Journal => Need::Range,
            BarrierKind::Filesystem => Need::Filesystem,
        }
    }

    fn plan(self) -> Plan {
        match self {
            Need::Fsync | Need::Range => Plan::harden(self.sync()),
            Need::Filesystem => Plan::close(),
        }
    }

    fn sync(self) -> FileSync {
        match self {
            Need::Fsync => FileSync::Fsync,
            Need::Range | Need::Filesystem => FileSync::Range,
        }
    }
}

impl Made {
    /// Writes the file of a change, as far as it can be done before the barrier.
    pub(super) fn stage(
        core: &Core,
        kind: BarrierKind,
        version: Option<Result<Version>>,
        change: Change,
    ) -> Result<Made> {
        core.check()?;
        let version = || version.unwrap_or_else(|| core.version());
        let text = change.key?;
        let key = Key::parse(&text)?;
        let name = key.name();
        let made = |job: Job, compare, call, stamp, file| Made {
            job: Job { name: name.clone(), ..job },
            compare,
            call,
            stamp,
            file,
            is_guard: false,
            key: text.clone(),
            log: Vec::new(),
        };
        match change.what {
            What::Put { bytes, options } => {
                core.supports(options)?;
                let version = version()?;
                let stage = || {
                    let dir = core.directory(&key, options)?;
                    let need = Need::of(kind, &dir, core);
                    let content = Content { bytes: bytes.clone(), options, stamp: Some(version), sync: need.sync() };
                    let (temp, file) = core.writer.stage(&dir, &name, &content)?;
                    Ok((dir, temp, file, need))
                };
                let (dir, temp, file, need) = core.again_if_moved(&[&key], stage)?;
                let job = Job { temp, file: Some(file), ..core.writer.job(Plan::empty(), &dir) };
                let (compare, publish) = options.existing.publish();
                made(job, compare, publish, Some(version), File::Open(need.plan(), need)).wrote(core)
            }
            What::Publish { file, options } => {
                let (version, file) = file.with(version())?;
                let (dir, temp, file) = file.take();
                // Written before this batch began: what its syncfs would tell may have been told already.
                let need = if kind == BarrierKind::Filesystem { Need::Fsync } else { Need::of(kind, &dir, core) };
                let plan = Plan::finish(options, Some(version), need.sync());
                let job = Job { temp, file, ..core.writer.job(Plan::empty(), &dir) };
                let (compare, publish) = options.existing.publish();
                let made = made(job, compare, publish, Some(version), File::Open(plan, need));
                Ok(Made { is_guard: true, ..made })
            }
            What::Delete { expected } => {
                core.keeps(expected)?;
                let find = || core.find(&key).map_err(|error| explain_missing(error, expected));
                let dir = core.again_if_moved(&[&key], find)?;
                let compare = expected.map(|expected| Call::Compare { expected });
                Ok(made(core.writer.job(Plan::empty(), &dir), compare, Call::Unlink, None, File::Durable))
            }
            What::Rename { to } => {
                let to = to?;
                let to = Key::parse(&to)?;
                let find = || Ok((core.find(&key)?, core.ensure(&to)?));
                let (source, dir) = core.again_if_moved(&[&key, &to], find)?;
                let job = Job { source: Some((source, name.clone())), ..core.writer.job(Plan::empty(), &dir) };
                let made = made(job, None, Call::Move, None, File::Durable);
                Ok(Made { job: Job { name: to.name(), ..made.job }, ..made })
            }
        }
    }

    /// Begins to write the file back, without waiting.
    fn wrote(mut self, core: &Core) -> Result<Made> {
        let fate = core.writer.engine.interpreter.call(&Call::StartSync, &mut self.job);
        let verdict = Report::of(vec![(Call::StartSync, fate)]).verdict();
        core.writer.settle(verdict, &self.job.dir, &self.job.name, &self.job.temp)?;
        Ok(self)
    }

    /// Changes the name, if it may.
    pub(super) fn publish(&mut self, core: &Core) {
        let engine = &core.writer.engine.interpreter;
        if let Some(compare) = &self.compare {
            let fate = engine.call(compare, &mut self.job);
            let matches = matches!(fate, Fate::Done(_));
            self.log.push((compare.clone(), fate));
            if !matches {
                return;
            }
        }
        // A rename of a directory would succeed, and move every key in it. Nobody but this batch changes names now.
        if let (Call::Move, Some((source, _)), Ok(key)) = (&self.call, &self.job.source, Key::parse(&self.key))
            && let Err(error) = look(source, &key)
        {
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            return self.log.push((Call::Move, Fate::Failed(errno)));
        }
        self.change_name(core, self.call.clone());
        self.leave_source(core);
    }

    /// Changes the name; by a link where a rename cannot refuse to replace, and once more if an empty directory was in the way.
    fn change_name(&mut self, core: &Core, call: Call) {
        let engine = &core.writer.engine.interpreter;
        let fate = engine.call(&call, &mut self.job);
        self.log.push((call.clone(), fate.clone()));
        match fate {
            Fate::Failed(Errno::EINVAL) if call == Call::REFUSE => self.change_name(core, Call::PublishByLink),
            Fate::Failed(errno) if call.meets_directory(errno) => {
                if self.log.iter().any(|(call, _)| matches!(call, Call::ClearName { .. })) {
                    return;
                }
                let cleared = engine.call(&call.clear_name(), &mut self.job);
                self.log.push((call.clear_name(), cleared.clone()));
                if matches!(cleared, Fate::Done(_)) {
                    self.change_name(core, call);
                }
            }
            _ => {}
        }
    }

    /// A rename between two directories is made durable at once, the directory that gains the name first: if the power goes
    /// between the two syncs, the file has two names rather than none.
    fn leave_source(&mut self, core: &Core) {
        let between = self.job.source.as_ref().is_some_and(|(source, _)| !Arc::ptr_eq(source, &self.job.dir));
        if !between || !matches!(self.log.last(), Some((Call::Move, Fate::Done(_)))) {
            return;
        }
        for call in [Call::SyncDir, Call::SyncSourceDir] {
            let fate = core.writer.engine.interpreter.call(&call, &mut self.job);
            let done = matches!(fate, Fate::Done(_));
            self.log.push((call, fate));
            if !done {
                return;
            }
        }
        core.recorder.directories.add(2);
    }

    /// Whether its name was changed, and its directory is still to be synced.
    pub(super) fn needs_sync(&self) -> bool {
        matches!(self.log.last(), Some((call, Fate::Done(_))) if call.is_visible())
    }

    /// What it comes to for its caller.
    pub(super) fn settle(self: Box<Self>, core: &Core) -> Answer {
        let Made { job, call, stamp, is_guard, key, log, .. } = *self;
        let (writer, report) = (&core.writer, Report::of(log));
        if let Some(version) = stamp {
            let settle = if is_guard { Writer::settle_guard } else { Writer::settle };
            settle(writer, writer.judge(&report), &job.dir, &job.name, &job.temp)?;
            return Ok(Applied::Put(version));
        }
        let settled = writer.settle_in_place(&report, &job.dir, &job.name);
        if call == Call::Unlink {
            let key = Key::parse(&key)?;
            settled.map_err(|error| match error.is_directory_removed() && !key.parent().is_empty() {
                // Another change of this batch took the place of its directory, which was empty.
                true => error.with_kind(ErrorKind::NotFound),
                false => explain_delete(error, &job.dir, &key),
            })?;
            return Ok(Applied::Deleted);
        }
        settled?;
        job.source.map_or(Ok(()), |(source, _)| writer.confirm(&source))?;
        Ok(Applied::Renamed)
    }
}
