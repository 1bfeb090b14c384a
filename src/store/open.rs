//! Opening a store: the lock, the proof that the filesystem can keep the promise, and the recovery of what an interrupted
//! writer has left.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, futimens};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::reader::Reader;
use super::tree::{Tree, Visit};
use super::{Shared, StoreBuilder};
use crate::commit::{Committer, Setup};
use crate::dir::Dir;
use crate::dirs::Dirs;
use crate::engine::select;
use crate::error::{Error, Kind, Result, Step};
use crate::lock::Lock;
use crate::plan::FileSync;
use crate::put_options::PutOptions;
use crate::temp::{self, Maker};
use crate::version::{Clock, Version};
use crate::write::make_in;
use crate::writer::{Content, Writer};
use crate::{sys, trace};

/// Our own directory in the root.
pub(super) const OWN: &str = ".ringbolt";

/// What `.ringbolt/format` holds. It is the first file that a store makes, through the whole protocol.
const FORMAT: &str = "ringbolt store 1\n";
const FORMAT_NAME: &CStr = c"format";

/// There while no writer has the store, if the last one left nothing to recover. Its time of modification is the last version
/// that was given.
const CLEAN: &CStr = c"clean";
const CLEAN_NEW: &CStr = c"clean.new";

/// After a kill, what can be seen may be less than the last version by the kernel's tick: it has stamped the directory of a
/// deleted file with a time of its own.
const TICK: Duration = Duration::from_millis(20);

/// By how much a session whose versions were ahead of the clock may have left behind what can be seen: ten million versions.
const UNSEEN: Duration = Duration::from_secs(10);

/// A writer's hold on the store. Dropping it says that the store was left in order, if it was, and gives up the lock.
#[derive(Debug)]
pub(super) struct Session {
    own: Arc<Dir>,
    /// A forked child has no part in it.
    lock: Lock,
}

impl Session {
    /// Whether a file here keeps a version exactly. Who may not set times on the lock, which another user made, is believed
    /// that it does.
    fn keeps_versions(&self, version: Version) -> bool {
        let time = version.to_time();
        match futimens(&*self.lock, &time, &time) {
            Ok(()) => fstat(&*self.lock).is_ok_and(|stat| Version::of(&stat) == version),
            Err(errno) => errno == Errno::EPERM,
        }
    }

    /// Says in what order the store is left, and which version was the last.
    pub(super) fn end(&self, tidy: bool, last: Version) {
        if !tidy || !self.lock.is_ours() {
            return;
        }
        // Not synced: without it, the next open only takes longer. It cannot become durable before what it stands for, since
        // all that has been acknowledged is durable by now. It gets its name when it is whole.
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let marker = || {
            let file = openat(self.own.fd(), CLEAN_NEW, flags, Mode::from_bits_truncate(0o600))?;
            futimens(&file, &last.to_time(), &last.to_time())?;
            renameat(self.own.fd(), CLEAN_NEW, self.own.fd(), CLEAN)
        };
        let _: nix::Result<()> = marker();
    }
}

pub(super) fn open(builder: StoreBuilder) -> Result<Shared> {
    let begin = Instant::now();
    let StoreBuilder { path, engine, barrier, queue, create } = builder;
    let root = Arc::new(open_root(&path, create)?);
    let allowed = barrier.resolve(&root)?;
    let own = match open_own(&root) {
        Err(error) if error.is_not_found() => {
            // Refuse before anything is created.
            root.sync()?;
            root.make(OWN.as_ref(), 0o700)?;
            open_own(&root)?
        }
        result => result?,
    };
    let lock = Lock::take(&own, c"lock", root.path())?;
    let format = read_format(&own)?;
    if let Some(format) = format.as_ref().filter(|format| *format != FORMAT) {
        return Err(Error::new(Kind::UnknownFormat(format.clone()), Step::Check, root.path()));
    }
    let writer = Writer::new(select(engine)?, Maker::Store);
    let session = Session { own, lock };
    let own = &session.own;
    let clean = find_marker(own)?;
    if let Some(last) = clean {
        remember(own, last);
        remove_marker(own)?;
    }
    // Durably gone before the first change; and where this succeeds, the filesystem can sync a directory.
    own.sync()?;
    let floor = match clean {
        Some(last) => last,
        None => {
            let seen = recover(&root)?;
            // Where the format is missing, no version has been given yet.
            if format.is_some() { beyond(seen) } else { Version::MIN }
        }
    };
    let clock = Clock::above(floor);
    let keeps_versions = session.keeps_versions(clock.next());
    if format.is_none() {
        initialise(&root, own, &writer)?;
    }
    remember(own, clock.last());
    let dirs = Dirs::new(Arc::clone(&root));
    let setup = Setup { writer, dirs, clock, keeps_versions, barrier: (barrier, allowed), limit: queue };
    trace::opened(root.path(), clean.is_some(), begin.elapsed());
    Ok(Shared { committer: Committer::new(setup), reader: Reader::new(root), session })
}

/// The last version that was given before an orderly end, if there was one.
fn find_marker(own: &Dir) -> Result<Option<Version>> {
    match fstatat(own.fd(), CLEAN, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Version::of(&stat))),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::from_errno(errno, Step::Sweep, own.path_of(CLEAN))),
    }
}

fn remove_marker(own: &Dir) -> Result<()> {
    unlinkat(own.fd(), CLEAN, UnlinkatFlags::NoRemoveDir)
        .map_err(|errno| Error::from_errno(errno, Step::Sweep, own.path_of(CLEAN)))
}

/// Keeps a version for the recovery after a kill, as the format's time of modification, which nothing else changes. Durably only
/// where versions are ahead of the clock: else the clock will do.
fn remember(own: &Dir, version: Version) {
    let keep = || {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = openat(own.fd(), FORMAT_NAME, flags, Mode::empty())?;
        futimens(&file, &version.to_time(), &version.to_time())?;
        if version > Version::now() { sys::sync_file(&file) } else { Ok(()) }
    };
    // There is none yet, or another user made it: then there is less to see.
    let _: nix::Result<()> = keep();
}

/// A version that is not less than any that a killed session has given, by the greatest that can be seen. While the clock goes on,
/// it sees to that itself, once the kernel's tick is over; where it was set back, what cannot be seen is guessed.
fn beyond(seen: Version) -> Version {
    if seen > Version::now() {
        return seen.plus(UNSEEN);
    }
    while seen.plus(TICK) > Version::now() {
        std::thread::sleep(Duration::from_millis(1));
    }
    seen
}

fn open_root(path: &Path, create: bool) -> Result<Dir> {
    match Dir::open(path) {
        Err(error) if error.is_not_found() && create => {}
        result => return result,
    }
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
        make_in(&Dir::open(parent)?, name.as_ref(), 0o777)?;
    }
    Dir::open(path)
}

fn open_own(root: &Dir) -> Result<Arc<Dir>> {
    let own = root.open_beneath(OWN).map_err(|errno| Error::from_errno(errno, Step::OpenDir, root.path().join(OWN)))?;
    Ok(Arc::new(own))
}

fn read_format(own: &Dir) -> Result<Option<String>> {
    let fail = |errno| Error::from_errno(errno, Step::Read, own.path_of(FORMAT_NAME));
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = match openat(own.fd(), FORMAT_NAME, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(fail(errno)),
    };
    let mut bytes = Vec::new();
    file.take(64)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::from_io(error, Step::Read, own.path_of(FORMAT_NAME)))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The first open, or one that was cut short: makes the root itself and our directory in it durable, and runs the whole
/// protocol once, with the engine that will run it, before anybody's data depends on it. The format file comes last, so
/// where it is, all this has been done.
fn initialise(root: &Dir, own: &Arc<Dir>, writer: &Writer) -> Result<()> {
    root.sync_parent()?;
    root.sync()?;
    let bytes = Bytes::from_static(FORMAT.as_bytes());
    let content = Content { bytes: bytes.into(), options: PutOptions::new(), stamp: None, sync: FileSync::Fsync };
    writer.put(own, FORMAT_NAME, &content)
}

/// Removes what an interrupted writer has left, and makes durable what it has left half durable: a name that it has made
/// or taken away, but whose directory it has not synced any more, can be seen, and must not change its mind. So every
/// directory is synced; one without changes costs little.
///
/// No temporary is in use, because the lock is held. (Those of single writes have names of their own.)
///
/// Returns the greatest version that can be seen: of the files that are there, of the format for the beginning of the session,
/// and for files that are not any more, of the directories that they were in.
fn recover(root: &Arc<Dir>) -> Result<Version> {
    let mut last = Version::MIN;
    let mut see = |stat: nix::Result<FileStat>| {
        last = stat.map_or(last, |stat| last.max(Version::of(&stat).plausible()));
    };
    for visit in Tree::new(Arc::clone(root)) {
        let Visit { dir, path, files } = visit.map_err(|error| error.at_step(Step::Sweep))?;
        // Of our own directory only the format tells: the rest was changed just now.
        let own = path.ends_with(OWN);
        if !own {
            see(fstat(&dir));
        }
        for name in files {
            if !temp::is_swept(&name) {
                if !own || *name == *FORMAT_NAME {
                    see(fstatat(&dir, &*name, AtFlags::AT_SYMLINK_NOFOLLOW));
                }
                continue;
            }
            match unlinkat(&dir, &*name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(Error::from_errno(errno, Step::Sweep, path.join(OsStr::from_bytes(name.to_bytes()))));
                }
            }
        }
        sys::sync_dir(&dir).map_err(|errno| Error::from_errno(errno, Step::SyncDir, path))?;
    }
    Ok(last)
}
