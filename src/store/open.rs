//! Opening a store: the lock, the proof that the filesystem can keep the promise, and the recovery of what an interrupted
//! writer has left.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dirs::Dirs;
use super::reader::Reader;
use super::tree::{Tree, Visit};
use super::{Shared, StoreBuilder};
use crate::commit::{Barrier, Committer};
use crate::dir::Dir;
use crate::engine::select;
use crate::error::{Error, Kind, Result, Step};
use crate::put_options::PutOptions;
use crate::sys;
use crate::temp::{self, Maker};
use crate::write::make_in;
use crate::writer::Writer;

/// Our own directory in the root.
pub(super) const OWN: &str = ".ringbolt";

/// What `.ringbolt/format` holds. It is the first file that a store makes, through the whole protocol.
const FORMAT: &str = "ringbolt store 1\n";

/// There while no writer has the store, if the last one left nothing to recover.
const CLEAN: &CStr = c"clean";

/// A writer's hold on the store. Dropping it says that the store was left in order, if it was, and gives up the lock.
#[derive(Debug)]
pub(super) struct Session {
    own: Arc<Dir>,
    /// Something may have been left to recover.
    untidy: AtomicBool,
    lock: Option<Flock<File>>,
    /// Whose session it is: a forked child has no part in it.
    process: u32,
}

impl Session {
    /// The next open must look through the whole store.
    pub(super) fn leave_untidy(&self) {
        self.untidy.store(true, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // The lock is shared with the parent: giving it up would take it from there.
            return std::mem::forget(self.lock.take());
        }
        if !self.untidy.load(Ordering::Relaxed) {
            // Not synced: without it, the next open only takes longer. And it cannot become durable before what it stands
            // for, since all that has been acknowledged is durable by now.
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let _ = openat(self.own.fd(), CLEAN, flags, Mode::from_bits_truncate(0o600));
        }
    }
}

pub(super) fn open(builder: StoreBuilder) -> Result<Shared> {
    let StoreBuilder { path, engine, barrier, create } = builder;
    let root = Arc::new(open_root(&path, create)?);
    if barrier == Barrier::Filesystem && !(root.sync_writes() && sys::syncfs_tells_errors()) {
        return Err(Error::new(Kind::UnsupportedBarrier, Step::Check, path));
    }
    let own = match open_own(&root) {
        Err(error) if error.is_not_found() => {
            // Refuse before anything is created.
            root.sync()?;
            root.make(OWN.as_ref(), 0o700)?;
            open_own(&root)?
        }
        result => result?,
    };
    let lock = lock(&own)?;
    let format = read_format(&own)?;
    if let Some(format) = format.as_ref().filter(|format| *format != FORMAT) {
        return Err(Error::new(Kind::UnknownFormat(format.clone()), Step::Check, root.path()));
    }
    let writer = Writer::new(select(engine)?, Maker::Store);
    let session = Session { own, untidy: AtomicBool::new(true), lock: Some(lock), process: std::process::id() };
    let own = &session.own;
    let clean = match unlinkat(own.fd(), CLEAN, UnlinkatFlags::NoRemoveDir) {
        Ok(()) => true,
        Err(Errno::ENOENT) => false,
        Err(errno) => return Err(Error::from_errno(errno, Step::Sweep, own.path_of(CLEAN))),
    };
    // Durably gone before the first change; and where this succeeds, the filesystem can sync a directory.
    own.sync()?;
    if !clean {
        recover(&root)?;
    }
    if format.is_none() {
        initialise(&root, own, &writer)?;
    }
    if barrier == Barrier::Filesystem {
        // An error of somebody else's that nobody has been told of yet must not fail our first batch.
        let _ = sys::sync_filesystem(root.fd());
    }
    session.untidy.store(false, Ordering::Relaxed);
    let committer = Committer::new(writer, barrier, Arc::clone(&root));
    Ok(Shared { committer, dirs: Dirs::new(Arc::clone(&root)), reader: Reader::new(root), session })
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

fn lock(own: &Dir) -> Result<Flock<File>> {
    let fail = |errno| Error::from_errno(errno, Step::Lock, own.path_of(c"lock"));
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = File::from(openat(own.fd(), c"lock", flags, Mode::from_bits_truncate(0o600)).map_err(fail)?);
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            // Who holds it is told to whoever finds it held. A hint: it may be missing, nothing depends on it.
            let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(16).read_to_string(&mut holder));
            let root = own.path().parent().unwrap_or(own.path());
            Err(Error::new(Kind::Locked(holder.parse().ok()), Step::Lock, root))
        }
        Err((_, errno)) => Err(fail(errno)),
    }
}

fn read_format(own: &Dir) -> Result<Option<String>> {
    let fail = |errno| Error::from_errno(errno, Step::Read, own.path_of(c"format"));
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = match openat(own.fd(), c"format", flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(fail(errno)),
    };
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes).map_err(|error| Error::from_io(error, Step::Read, own.path_of(c"format")))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The first open, or one that was cut short: makes the root itself and our directory in it durable, and runs the whole
/// protocol once, with the engine that will run it, before anybody's data depends on it. The format file comes last, so
/// where it is, all this has been done.
fn initialise(root: &Dir, own: &Arc<Dir>, writer: &Writer) -> Result<()> {
    root.sync_parent()?;
    root.sync()?;
    writer.put(own, c"format", Bytes::from_static(FORMAT.as_bytes()), PutOptions::new())
}

/// Removes what an interrupted writer has left, and makes durable what it has left half durable: a name that it has made
/// or taken away, but whose directory it has not synced any more, can be seen, and must not change its mind. So every
/// directory is synced; one without changes costs little.
///
/// No temporary is in use, because the lock is held. (Those of single writes have names of their own.)
fn recover(root: &Arc<Dir>) -> Result<()> {
    for visit in Tree::new(Arc::clone(root)) {
        let Visit { dir, path, files } = visit.map_err(|error| error.at_step(Step::Sweep))?;
        for name in files.iter().filter(|name| temp::is_swept(name)) {
            match unlinkat(&dir, &**name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(Error::from_errno(errno, Step::Sweep, path.join(OsStr::from_bytes(name.to_bytes()))));
                }
            }
        }
        sys::sync_dir(&dir).map_err(|errno| Error::from_errno(errno, Step::SyncDir, path))?;
    }
    Ok(())
}
