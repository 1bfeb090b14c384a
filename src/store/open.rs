//! Opening and creating a store: the lock, the check that directories can be synced, and recovery.

use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::builder::{At, StoreBuilder};
use super::format::{self, Format, OWN};
use super::log::StoredLog;
use super::reader::Reader;
use super::recovery::recover;
use super::session::Session;
use super::{Inner, Store};
use crate::commit::barrier::{Allowed, BarrierKind};
use crate::commit::dirs::Dirs;
use crate::commit::{Committer, Setup, Versions, trace};
use crate::engine::select;
use crate::error::{Error, ErrorKind, Result, Step};
use crate::file::Writer;
use crate::fs::scan::scan;
use crate::fs::{Dir, Maker, make_in};
use crate::protocol::Clock;

/// Whether a store must exist, must not, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Existing,
    New,
    Either,
}

pub(super) fn open(builder: StoreBuilder, wanted: Wanted) -> Result<Store> {
    let begin = Instant::now();
    let StoreBuilder { at, engine, barrier, queue, log_bytes, create_if_missing: _, adopt, replay } = builder;
    let root = Arc::new(open_root(&at, wanted)?);
    let allowed = barrier.resolve(&root)?;
    let own = own_directory(&root, wanted, adopt)?;
    let session = Session::begin(own, &root)?;
    let own = &session.own;
    // Again, under the lock: another process may have created the store, or be about to.
    let format = Format::read(own)?;
    check(format.as_ref(), &root, wanted)?;
    let mut log = StoredLog::open(own, format.as_ref(), &replay)?;
    let writer = Writer::new(select(engine)?, Maker::Store);
    let is_clean = session.take_marker()?;
    // Makes the removal of the marker durable before the first change. It also proves that the filesystem can sync a directory.
    own.sync()?;
    if !is_clean {
        recover(&root)?;
    }
    let clock = match &format {
        Some(format) => {
            Clock::above(log.as_ref().map_or(format.ceiling, |log| log.version_floor().max(format.ceiling)))
        }
        None => complete(&root, own, &writer)?,
    };
    let fine_times = Format::read(own)?.is_some_and(|format| format.ceiling.tells_fine_times());
    let are_kept = session.keeps_versions(clock.bound(), fine_times);
    let versions = Versions::new(clock, are_kept, {
        let own = Arc::clone(own);
        move |writer, ceiling| format::raise(writer, &own, ceiling)
    });
    let dirs = Dirs::new(Arc::clone(&root));
    let reader = Reader::new(Arc::clone(&root), are_kept);
    let is_logged = allowed == Allowed::Only(BarrierKind::IntentLog);
    let setup = Setup { writer, dirs, versions, barrier: (barrier, allowed), limit: queue };
    let committer = Committer::new(setup);
    let use_log = || {
        if let Some(log) = &mut log {
            log.recover(own, &committer, &replay)?;
        }
        match is_logged {
            true => StoredLog::begin(log, own, log_bytes, engine, &committer),
            // The log is clean: its file stays for a session that uses it.
            false => format::write(&committer.core().writer, own, false),
        }
    };
    if let Err(error) = use_log() {
        // A recovery has started its thread, which holds the directories.
        committer.drain();
        return Err(error);
    }
    trace::opened(root.path(), is_clean, begin.elapsed());
    Ok(Store { inner: Arc::new(Inner { committer, reader, session }) })
}

fn open_root(at: &At, wanted: Wanted) -> Result<Dir> {
    let path = match at {
        At::Dir(dir) => return Dir::reopen(dir.fd()),
        At::Path(path) => path,
    };
    match Dir::open(path) {
        Err(error) if error.is_not_found() && wanted != Wanted::Existing => {}
        result => return result,
    }
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        make_in(&Dir::open(parent)?, Path::new(name), 0o777)?;
    }
    Dir::open(path)
}

/// The directory of the store's own files, created with the store. Nothing is created in a directory that is refused.
fn own_directory(root: &Dir, wanted: Wanted, adopt: bool) -> Result<Arc<Dir>> {
    match open_own(root) {
        Err(error) if error.is_not_found() => {
            check(None, root, wanted)?;
            // If the store exists now, another process has just created it, and what was found is its own.
            if !adopt
                && let Err(error) = refuse_files(root)
                && open_own(root).is_err()
            {
                return Err(error);
            }
            // Nothing is created where a directory cannot be synced.
            root.sync()?;
            // Other users may look up the format file, by which a reader recognises a store. They may neither list nor read
            // anything.
            root.make(OWN.as_ref(), 0o711)?;
            open_own(root)
        }
        Err(error) => Err(error),
        Ok(own) => check(Format::read(&own)?.as_ref(), root, wanted).map(|()| own),
    }
}

fn check(format: Option<&Format>, root: &Dir, wanted: Wanted) -> Result<()> {
    match (format, wanted) {
        (Some(format), Wanted::Existing | Wanted::Either) => format.check(root),
        (Some(_), Wanted::New) => Err(Error::new(ErrorKind::AlreadyExists, Step::Check, root.path())),
        // This includes a store whose creation was interrupted: it never held anything.
        (None, Wanted::Existing) => Err(Error::new(ErrorKind::NotAStore, Step::Check, root.path())),
        (None, Wanted::New | Wanted::Either) => Ok(()),
    }
}

/// Refuses a directory with files: they may be unrelated.
fn refuse_files(root: &Dir) -> Result<()> {
    // `mkfs` creates it at the top of a volume.
    let foreign = |name: &CStr| name.to_bytes() != b"lost+found";
    match first_entry(root, foreign)? {
        None => Ok(()),
        Some(found) => {
            let found = found.to_string_lossy().into_owned();
            Err(Error::new(ErrorKind::DirectoryNotEmpty, Step::Check, root.path()).with_detail(found))
        }
    }
}

fn open_own(root: &Dir) -> Result<Arc<Dir>> {
    let own = root.open_beneath(OWN).map_err(|errno| Error::from_errno(errno, Step::OpenDir, root.path().join(OWN)))?;
    Ok(Arc::new(own))
}

/// Completes the creation of a store, at first or after an interruption. Makes the names of the root and of the store's own
/// directory durable, then writes the format file by the protocol, with the store's engine. The format file comes last: where it
/// exists, everything before it is durable.
fn complete(root: &Dir, own: &Arc<Dir>, writer: &Writer) -> Result<Clock> {
    root.sync_parent()?;
    root.sync()?;
    let (clock, ceiling) = Clock::fresh();
    format::create(writer, own, ceiling)?;
    Ok(clock)
}

/// The first entry of a directory that is `wanted`.
fn first_entry(root: &Dir, wanted: impl Fn(&CStr) -> bool) -> Result<Option<CString>> {
    let mut first = None;
    let scanned = scan(root, "", |found| {
        if !wanted(found.name) {
            return ControlFlow::Continue(());
        }
        first = Some(found.name.to_owned());
        ControlFlow::Break(())
    });
    scanned.map_err(|errno| Error::from_errno(errno, Step::List, root.path()))?;
    Ok(first)
}
