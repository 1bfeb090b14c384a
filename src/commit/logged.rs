//! A change on its way through the intent log: what is decided before its record, and what its record says.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{getegid, geteuid};

use super::in_flight::{InFlight, Origin};
use super::intent::IntentLog;
use super::{ChangeResult, Core};
use crate::engine::Payload;
use crate::error::{Error, Outcome, Result, Step};
use crate::fs::{Key, regular, sys};
use crate::log::record::{self, Change, Entry, Put};
use crate::protocol::{Call, Fate, Names, Owner, Phase, Plan, Version};

impl InFlight {
    /// Makes a change that has been staged durable through the log, on this thread. `failed_syncs` is [`IntentLog::failed_syncs`] from
    /// before its file was written.
    pub(super) fn finish_by_log(mut self, core: &Core, log: &IntentLog, failed_syncs: u64) -> ChangeResult {
        let turn = match log.turn(core, self.record_len(log)) {
            Ok(turn) => turn,
            Err(error) => {
                self.cancel(core);
                return Err(error);
            }
        };
        if let Err(error) = self.admit(core, log, failed_syncs) {
            self.cancel(core);
            return Err(error);
        }
        turn.log(core, &mut [&mut self]);
        if self.is_logged() {
            self.run_plainly(core, Phase::SyncDirs);
        } else {
            self.job = core.writer.run(self.job, Phase::SyncDirs);
        }
        let result = self.settle(core);
        turn.published();
        result
    }

    /// Decides whether the change can be made. `failed_syncs` is [`IntentLog::failed_syncs`] from before its file was written. After an
    /// error, no name of the change has been touched.
    pub(super) fn admit(&mut self, core: &Core, log: &IntentLog, failed_syncs: u64) -> Result<()> {
        self.check_staged(core, log, failed_syncs)?;
        self.run_plainly(core, Phase::Barrier);
        if self.job.run.front() == Some(&Call::SyncPresent) {
            if let Some(moved) = self.moved(core, log) {
                self.log_rename(core, moved);
            } else {
                let keys: Vec<&str> = self.keys().into_iter().flatten().collect();
                if keys.len() > 1 {
                    let sync = |key: &&str| core.again_if_moved(&[], || core.sync_new_dirs(&Key::parse(key)?));
                    keys.iter().try_for_each(sync)?;
                }
                if !keys.iter().any(|key| log.holds(key)) {
                    // The log holds nothing of the keys that recovery could bring back.
                    self.job.run.share(Fate::Done(0));
                    self.job.run.share(Fate::Done(0));
                }
            }
        }
        self.run_plainly(core, Phase::Admit);
        Ok(())
    }

    /// Fails if the sync of a checkpoint has failed since the file was written: it may be lost, and no record has its content yet.
    fn check_staged(&self, core: &Core, log: &IntentLog, failed_syncs: u64) -> Result<()> {
        let relies_on_file = matches!(self.origin, Origin::Put(_)) && self.job.run.will(&Call::LogChange);
        if relies_on_file && log.failed_syncs() != failed_syncs {
            let path = core.dirs.root().path().join(&self.key);
            return Err(Error::from_errno(Errno::EIO, Step::SyncFilesystem, path).with_outcome(Outcome::Unchanged));
        }
        Ok(())
    }

    /// For a rename, the file that it moves, if a record can hold that: then the rename needs no sync.
    fn moved(&self, core: &Core, log: &IntentLog) -> Option<Moved> {
        let (source, name) = self.job.source.as_ref()?;
        let device = core.dirs.root().device();
        if source.device() != device || self.job.dir.device() != device {
            return None;
        }
        // Whatever stands in the way, the rename without a record finds it again and reports it.
        let open = |flags| openat(source.fd(), &**name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
        let (mut file, found) = regular::open(open, &source.path_of(name)).ok()?;
        let len = usize::try_from(found.len()).ok().filter(|len| log.takes(*len))?;
        // Recovery gives the file its owner and group again, which only root may do for others.
        let is_ours = (found.uid(), found.gid()) == (geteuid().as_raw(), getegid().as_raw());
        if !is_ours && !geteuid().is_root() {
            return None;
        }
        // Recovery makes a new file: it would not be one with other names of this one, and would not have its attributes.
        if found.nlink() != 1 || !sys::attributes(&file).ok()?.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(len + 1);
        read_at_most(&mut file, len, &mut bytes)?;
        let stat = fstat(&file).ok()?;
        let owner = Owner { uid: found.uid(), gid: found.gid() };
        Some(Moved { version: Version::of(&stat), mode: found.mode() & 0o7777, owner, bytes: bytes.into() })
    }

    /// Lets a record hold the rename: a put under the new key, and a delete of the old one.
    fn log_rename(&mut self, core: &Core, moved: Moved) {
        let plan = Plan::rename(false, Names::Logged);
        let job = core.writer.job(plan, &self.job.dir);
        self.job.run = job.run;
        self.job.described = Some((moved.mode, moved.owner));
        self.job.bytes = moved.bytes;
        if let Origin::Rename { version, .. } = &mut self.origin {
            *version = Some(moved.version);
        }
    }

    /// Whether a record holds the change: then its name changes, whatever happens.
    pub(super) fn is_logged(&self) -> bool {
        self.job.run.report().fate_of(&Call::LogChange) == Fate::Done(0)
    }

    /// The keys that it reads or changes.
    pub(super) fn keys(&self) -> [Option<&str>; 2] {
        let from = if let Origin::Rename { from, .. } = &self.origin { Some(from.as_str()) } else { None };
        [Some(&self.key), from]
    }

    /// What a record says of it, when its plan has come to the record.
    pub(super) fn entries(&self) -> Vec<Entry<Payload>> {
        let entry = |key: &str, change| Entry { key: key.to_owned(), change };
        let put = |version: Version| {
            let (mode, owner) = self.job.described.expect("described before its record");
            entry(
                &self.key,
                Change::Put(Put { version: version.as_nanos(), mode, owner, value: self.job.bytes.clone() }),
            )
        };
        match (self.job.run.front(), &self.origin) {
            (Some(Call::LogFileRules), _) => {
                self.keys().into_iter().flatten().map(|key| entry(key, Change::FileRules)).collect()
            }
            (_, Origin::Put(version)) => vec![put(*version)],
            (_, Origin::Rename { from, version }) => {
                let version = version.expect("a rename that is logged has read its file");
                // In this order: of a rename onto itself the put is the last change.
                vec![entry(from, Change::Delete), put(version)]
            }
            (_, Origin::Delete | Origin::Guard(_)) => vec![entry(&self.key, Change::Delete)],
        }
    }

    /// At least as many bytes as its entries take in a record. The file of a rename is read later.
    pub(super) fn record_len(&self, log: &IntentLog) -> u64 {
        let keys: usize = self.keys().into_iter().flatten().map(|key| key.len() + record::CHANGE_MAX).sum();
        let value = if let Origin::Rename { .. } = self.origin { log.value_max() } else { self.job.bytes.len() };
        (keys + value) as u64
    }
}

/// A file that a rename moves.
struct Moved {
    version: Version,
    mode: u32,
    owner: Owner,
    bytes: Payload,
}

/// Reads a file of `len` bytes; `None` if it is longer or shorter, or cannot be read.
fn read_at_most(file: &mut File, len: usize, bytes: &mut Vec<u8>) -> Option<()> {
    file.take(len as u64 + 1).read_to_end(bytes).ok()?;
    (bytes.len() == len).then_some(())
}
