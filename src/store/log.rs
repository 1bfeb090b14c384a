//! The intent log over the sessions of a store: its recovery before the first change, a new session in it, and the end.

use std::sync::Arc;

use super::format::{self, Format};
use super::replay::Replay;
use crate::commit::Committer;
use crate::engine::Engine;
use crate::engine::durable::durable_writer;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::{Dir, sys};
use crate::log::file::{self, LogFile, Peek};
use crate::log::record::Record;
use crate::log::recovery;
use crate::log::scan::{self, Contents, Fault};
use crate::log::storage::Storage;
use crate::log::superblock::State;
use crate::log::superblocks::Superblocks;
use crate::log::writer::Log;
use crate::protocol::Version;

/// The log of a store that is being opened.
#[derive(Debug)]
pub(super) struct StoredLog {
    file: LogFile,
    contents: Contents,
}

impl StoredLog {
    /// Opens and reads the log; `None` if the store has none. A copy with live records is refused unless `replay` accepts it.
    pub(super) fn open(own: &Dir, format: Option<&Format>, replay: &Replay) -> Result<Option<StoredLog>> {
        let Some(file) = LogFile::open(own)? else {
            return match format {
                Some(format) if format.needs_log() => Err(missing(own)),
                _ => Ok(None),
            };
        };
        let contents = scan::scan(&file).map_err(|fault| failed(own, &fault))?;
        match contents.copied_from {
            None => {}
            // Nobody knows how much of the copy has reached the disk, the log included.
            Some(_) if replay.accepts_copy => sys::sync_filesystem(own.fd())
                .map_err(|errno| Error::from_errno(errno, Step::SyncFilesystem, own.path()))?,
            Some(_) => refuse_copy(own, &contents)?,
        }
        Ok(Some(StoredLog { file, contents }))
    }

    /// No version above this one is in the log.
    pub(super) fn version_floor(&self) -> Version {
        let records = self.contents.records.iter().map(|record| record.header.version_floor);
        Version::from_nanos(records.fold(self.contents.superblock.version_floor, u64::max))
    }

    /// Applies what is live in the log to the files, durably. The log is clean afterwards.
    ///
    /// Whatever interrupts this, the next open does the same again. What `replay` leaves out is lost when this returns, and not before.
    pub(super) fn recover(&mut self, own: &Dir, committer: &Committer, replay: &Replay) -> Result<()> {
        let StoredLog { file, contents } = self;
        let fail = |errno| Error::from_errno(errno, Step::WriteLog, own.path_of(file::NAME));
        recovery::recover(&*file, contents, fail, || {
            let records = replay.kept(&contents.records);
            let read = |record: &Record, value| scan::value(&*file, record, value);
            committer.restore(&records, read, |done, all| replay.report(done, all))
        })?;
        *contents = scan::scan(&*file).map_err(|fault| failed(own, &fault))?;
        Ok(())
    }

    /// Begins a session of `committer` in the log, which is made if there is none. The store's format says so before the first record
    /// is written.
    pub(super) fn begin(
        stored: Option<StoredLog>,
        own: &Arc<Dir>,
        len: u64,
        engine: Engine,
        committer: &Committer,
    ) -> Result<()> {
        let core = committer.core();
        let root = core.dirs.root();
        if own.device() != root.device() {
            let why = "the store's own directory is on another filesystem than the store, so no intent log holds";
            return Err(Error::new(ErrorKind::UnsupportedBarrier, Step::Check, root.path()).with_detail(why));
        }
        // A log of another length is made anew: it is clean. So is a copy, which may share its blocks with the original.
        let is_fit = |stored: &StoredLog| {
            let is_original = stored.contents.superblock.inode == stored.file.inode();
            is_original && stored.file.len().abs_diff(len) < 64 << 10 && stored.file.is_allocated()
        };
        let reused = stored.filter(is_fit);
        let (file, superblocks) = match reused {
            Some(StoredLog { file, contents }) => (file, Superblocks::of(&contents)),
            None => LogFile::create(own, len)?,
        };
        let file = file.written_by(durable_writer(engine)?);
        format::write(&core.writer, own, true)?;
        let fail = |errno| Error::from_errno(errno, Step::WriteLog, own.path_of(file::NAME));
        let filesystem = root.open_again()?;
        let epoch = u64::from_le_bytes(file::random().map_err(fail)?);
        file.begin_session().map_err(fail)?;
        let log = Log::begin(Box::new(file), superblocks, epoch, core.versions.clock.bound()).map_err(fail)?;
        committer.begin_log(log, Arc::new(filesystem))
    }
}

/// What a reader in another process may believe of the files of a store whose format names a log: everything while a writer is in
/// its session, or if the last one has closed the store.
pub(super) fn refuse_unrecovered(own: &Dir) -> Result<()> {
    let needed = |detail: String| {
        Err(Error::new(ErrorKind::RecoveryNeeded, Step::ReadLog, own.path_of(file::NAME)).with_detail(detail))
    };
    match LogFile::peek(own)? {
        Peek::Missing => Err(missing(own)),
        Peek::Open(file) => {
            let contents = scan::scan(&file).map_err(|fault| failed(own, &fault))?;
            refuse_copy(own, &contents)?;
            match contents.records.iter().map(|record| record.entries.len()).sum() {
                0_usize => Ok(()),
                changes => needed(format!("changes: {changes}")),
            }
        }
        Peek::InUse(file) => {
            let in_session = || {
                let fail = |errno| Error::from_errno(errno, Step::OpenLog, own.path_of(file::NAME));
                file.is_in_session().map_err(fail)
            };
            if in_session()? {
                return Ok(());
            }
            let superblock = scan::superblock(&file).map_err(|fault| failed(own, &fault))?;
            // Its session may have begun meanwhile: then that superblock says that it runs.
            if superblock.state == State::Clean || in_session()? {
                return Ok(());
            }
            needed("a writer is applying its intent log to its files".into())
        }
    }
}

fn refuse_copy(own: &Dir, contents: &Contents) -> Result<()> {
    if contents.copied_from.is_none() {
        return Ok(());
    }
    let why = "it is a copy that was made while records were live, so it may not match the files beside it; if all were copied \
               from one snapshot, `ringbolt recover --accept-copy` uses it";
    Err(unusable(own, why.into()))
}

fn missing(own: &Dir) -> Error {
    unusable(own, "it is missing".into())
}

pub(super) fn failed(own: &Dir, fault: &Fault) -> Error {
    match fault {
        Fault::Io(errno) => Error::from_errno(*errno, Step::ReadLog, own.path_of(file::NAME)),
        fault => unusable(own, fault.to_string()),
    }
}

pub(super) fn unusable(own: &Dir, why: String) -> Error {
    Error::new(ErrorKind::DamagedLog, Step::ReadLog, own.path_of(file::NAME)).with_detail(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The superblock has the bound of the session's beginning, each record that of its own.
    #[test]
    fn the_greatest_bound_on_versions_counts() {
        let at = tempfile::tempdir().unwrap();
        let own = Dir::open(at.path()).unwrap();
        let (file, superblocks) = LogFile::create(&own, 256 << 10).unwrap();
        let log = Log::begin(Box::new(file), superblocks, 1, Version::from_nanos(5)).unwrap();
        let floor = || StoredLog::open(&own, None, &Replay::default()).unwrap().unwrap().version_floor().as_nanos();
        for bound in [8, 7] {
            log.append(&[], Version::from_nanos(bound)).unwrap();
        }
        drop(log);
        assert_eq!(floor(), 8);
    }
}
