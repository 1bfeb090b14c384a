//! Opening a store: the lock, the proof that the filesystem can keep the promise, and the recovery of what an interrupted
//! writer has left.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Shared;
use super::dirs::Dirs;
use super::reader::Reader;
use super::tree::{Tree, Visit};
use crate::dir::Dir;
use crate::engine::{Engine, select};
use crate::error::{Error, Kind, Result, Step};
use crate::put_options::PutOptions;
use crate::sys;
use crate::temp;
use crate::write::make_in;
use crate::writer::Writer;

/// Our own directory in the root.
const OWN: &str = ".ringbolt";

/// What `.ringbolt/format` holds. It is the first file that a store makes, through the whole protocol.
const FORMAT: &str = "ringbolt store 1\n";

/// The writer's lock, held until dropped.
pub(super) type Lock = Flock<File>;

pub(super) fn open(path: &Path, engine: Engine, create: bool) -> Result<Shared> {
    let root = Arc::new(open_root(path, create)?);
    // Refuse before anything is created. It also makes durable what an interrupted writer may have created here.
    root.sync()?;
    let own = open_own(&root)?;
    let lock = lock(&own)?;
    let writer = Writer::new(select(engine)?);
    recover(&root)?;
    match read_format(&own)? {
        Some(format) if format == FORMAT => {}
        Some(format) => return Err(Error::new(Kind::UnknownFormat(format), Step::Check, root.path())),
        None => initialise(&root, &own, &writer)?,
    }
    Ok(Shared { writer, dirs: Dirs::new(Arc::clone(&root)), reader: Reader::new(root), _lock: lock })
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
    root.make(OWN.as_ref(), 0o700)?;
    let own = root.open_beneath(OWN).map_err(|errno| Error::from_errno(errno, Step::OpenDir, root.path().join(OWN)))?;
    Ok(Arc::new(own))
}

fn lock(own: &Dir) -> Result<Lock> {
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
    match openat(root.fd(), "..", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(parent) => {
            sys::sync_dir(parent).map_err(|errno| Error::from_errno(errno, Step::SyncDir, root.path().join("..")))?
        }
        // Who may not read the parent did not create the root in it.
        Err(Errno::EACCES | Errno::EPERM) => {}
        Err(errno) => return Err(Error::from_errno(errno, Step::OpenDir, root.path().join(".."))),
    }
    root.sync()?;
    writer.put(own, c"format", Bytes::from_static(FORMAT.as_bytes()), PutOptions::new())
}

/// Removes what an interrupted writer has left, and makes durable what it may have left half durable: a directory that
/// was created, but whose parent was not synced any more, holds nothing acknowledged yet, but may soon. (The root has been
/// synced by now.)
///
/// Safe beside other writers' temporaries because there are none: the lock is held.
fn recover(root: &Arc<Dir>) -> Result<()> {
    for visit in Tree::new(Arc::clone(root)) {
        let Visit { dir, path, files, has_dirs } = visit.map_err(|error| error.at_step(Step::Sweep))?;
        for name in files.iter().filter(|name| temp::is_temp(name)) {
            match unlinkat(&dir, &**name, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(Error::from_errno(errno, Step::Sweep, path.join(OsStr::from_bytes(name.to_bytes()))));
                }
            }
        }
        if has_dirs && path != root.path() {
            sys::sync_dir(&dir).map_err(|errno| Error::from_errno(errno, Step::SyncDir, path))?;
        }
    }
    Ok(())
}
