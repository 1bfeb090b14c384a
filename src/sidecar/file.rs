//! The file of a sidecar: reading it, and holding its directory to write it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::geteuid;

use super::error::SidecarError;
use super::{FILE_MAX, Location, Sidecar, decode};
use crate::engine::Selected;
use crate::error::{Error, ErrorKind, Step};
use crate::file::writer::{Content, Writer};
use crate::fs::dir::Dir;
use crate::fs::key;
use crate::fs::lock::Lock;
use crate::fs::path;
use crate::fs::regular;
use crate::fs::sys;
use crate::fs::temp::{self, Maker};
use crate::protocol::options::PutOptions;
use crate::protocol::{Existing, Medium};

/// What is put up with in a file that is read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leniency {
    /// Others than its owner may read or write it.
    pub(super) shared: bool,
    /// An active id is not that of a key.
    pub(super) active: bool,
}

/// What was read.
struct Found {
    sidecar: Sidecar,
    file: File,
    /// Whether a write of the same value would leave it as it is: its bytes, and its mode.
    tidy: bool,
}

/// The lock on a directory: one writer of sidecars in each.
const LOCK: &CStr = c".ringbolt-sidecar.lock";

/// Reads the file at `path`.
pub(super) fn read(path: &Path, leniency: Leniency) -> Result<Sidecar, SidecarError> {
    let name = path::file_name(path)?;
    let dir = match Dir::open(path::parent(path)) {
        Err(error) if error.is_not_found() => return Err(SidecarError::NotFound { path: path.to_owned() }),
        dir => dir?,
    };
    read_in(&dir, &name, path, leniency).map(|found| found.sidecar)
}

fn read_in(dir: &Dir, name: &CStr, path: &Path, leniency: Leniency) -> Result<Found, SidecarError> {
    let is = |found| SidecarError::NotAFile { path: path.to_owned(), found };
    let open = |flags| openat(dir.fd(), name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    let (mut file, found) = regular::open(open, path).map_err(|error| match error {
        error if error.is_not_found() => SidecarError::NotFound { path: path.to_owned() },
        error if error.is_a_directory() => is("a directory"),
        error if error.is_symlink() => is("a symbolic link"),
        error if error.is_not_a_file() => is("a FIFO, a socket or a device"),
        error => error.into(),
    })?;
    let exposed = found.mode() & 0o077 != 0;
    if exposed && !leniency.shared {
        return Err(SidecarError::Exposed { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    let mut bytes = Vec::new();
    // One more than are allowed: it may have grown since.
    let read = (&mut file).take(FILE_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::from_io(error, Step::Read, path))?;
    if bytes.len() > FILE_MAX {
        let (at, len) = (Location::default(), found.len().max(bytes.len() as u64));
        return Err(SidecarError::TooLarge { at, len }.in_file(path));
    }
    let sidecar = decode::sidecar(&bytes, !leniency.active).map_err(|error| error.in_file(path))?;
    let tidy = !exposed && sidecar.to_json().is_ok_and(|json| json == bytes);
    Ok(Found { sidecar, file, tidy })
}

/// A file that nobody else writes meanwhile.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    dir: Arc<Dir>,
    name: CString,
    writer: Writer,
    #[expect(dead_code, reason = "held for as long as this lives")]
    lock: Lock,
    /// The file as we have read or written it last.
    known: Mutex<Option<Identity>>,
}

/// Inode, time of modification and length: what tells one content of a name from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    modified: (i64, i64),
    len: i64,
}

impl Identity {
    fn of(stat: &FileStat) -> Identity {
        // The types of these differ from one system to the next.
        Identity {
            inode: stat.st_ino as _,
            modified: (stat.st_mtime as _, stat.st_mtime_nsec as _),
            len: stat.st_size as _,
        }
    }
}

impl Held {
    /// Takes the directory of `path`, and proves that its filesystem can make it durable.
    pub(super) fn take(path: &Path, engine: Selected) -> Result<Held, SidecarError> {
        let name = path::file_name(path)?;
        let invalid = |why| Err(Error::new(ErrorKind::InvalidKey, Step::Check, path).with_detail(why).into());
        if name.as_bytes().len() + temp::SUFFIX.len() > key::COMPONENT_MAX {
            return invalid("with `.tmp` behind it, its name is longer than 255 bytes");
        }
        // It could be the temporary file of another, who would remove it.
        if name.as_bytes().ends_with(temp::SUFFIX.as_bytes()) {
            return invalid("names that end in `.tmp` are for temporary files");
        }
        let dir = Arc::new(Dir::open(path::parent(path))?);
        dir.sync()?;
        let lock = Lock::take(&dir, LOCK, dir.path())?;
        let writer = Writer::new(engine, Maker::Locked);
        Ok(Held { path: path.to_owned(), dir, name, writer, lock, known: Mutex::default() })
    }

    /// Makes the directory itself durable, which may be as new as the file that is to be made in it.
    pub(super) fn settle(&self) -> Result<(), SidecarError> {
        Ok(self.dir.sync_parent()?)
    }

    /// Reads the file, and makes sure that it stays what it was read as: somebody may have written it and not synced it. Also
    /// whether a write of the same would leave it as it is.
    pub(super) fn read(&self, leniency: Leniency) -> Result<(Sidecar, bool), SidecarError> {
        let Found { sidecar, file, tidy } = read_in(&self.dir, &self.name, &self.path, leniency)?;
        let stat = fstat(&file).map_err(|errno| Error::from_errno(errno, Step::OpenFile, &self.path))?;
        let user = geteuid().as_raw();
        if stat.st_uid != user {
            return Err(SidecarError::Owner { path: self.path.clone(), owner: stat.st_uid, user });
        }
        sys::sync_file(&file).map_err(|errno| Error::from_errno(errno, Step::SyncFile, &self.path))?;
        self.dir.sync()?;
        *self.known() = Some(Identity::of(&stat));
        Ok((sidecar, tidy))
    }

    /// Whether this may write.
    pub(super) fn check(&self) -> Result<(), SidecarError> {
        Ok(self.writer.check(&self.dir)?)
    }

    /// One durable replace.
    pub(super) fn write(&self, sidecar: &Sidecar, existing: Existing) -> Result<(), SidecarError> {
        self.check()?;
        let bytes = sidecar.to_json().map_err(|error| error.in_file(&self.path))?.into();
        let mut known = self.known();
        if known.is_some() && *known != self.identity() {
            return Err(SidecarError::ChangedBehind { path: self.path.clone() });
        }
        let options = PutOptions { existing, ..PutOptions::new().mode(0o600) };
        let content = Content { bytes, options, stamp: None, medium: Medium::FSYNC };
        self.writer.put(&self.dir, &self.name, &content)?;
        *known = self.identity();
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What has the name now.
    fn identity(&self) -> Option<Identity> {
        let stat = fstatat(self.dir.fd(), &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.ok().as_ref().map(Identity::of)
    }

    fn known(&self) -> MutexGuard<'_, Option<Identity>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
