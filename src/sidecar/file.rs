//! Reads the file of a sidecar, and locks its directory to write it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::geteuid;

use super::error::SidecarError;
use super::{FILE_MAX, Location, Sidecar, decode};
use crate::engine::Selected;
use crate::error::{Error, ErrorKind, Step};
use crate::file::{Content, Writer};
use crate::fs::lock::Lock;
use crate::fs::temp::{self, Maker};
use crate::fs::{Dir, key, path, regular, sys};
use crate::lock;
use crate::protocol::{Existing, Medium, PutOptions};

/// Which defects to accept when reading a file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leniency {
    /// Group or others may read or write the file.
    pub(super) shared: bool,
    /// An active id has no matching key.
    pub(super) active: bool,
}

/// A file that was read.
struct LoadedFile {
    sidecar: Sidecar,
    file: File,
    /// Whether writing the same value would produce the same bytes and mode.
    canonical: bool,
}

/// The lock file of a directory: it admits one writer of sidecars.
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

fn read_in(dir: &Dir, name: &CStr, path: &Path, leniency: Leniency) -> Result<LoadedFile, SidecarError> {
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
    // Read one byte more than allowed, because the file may have grown since.
    let read = (&mut file).take(FILE_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::from_io(error, Step::Read, path))?;
    if bytes.len() > FILE_MAX {
        let (at, len) = (Location::default(), found.len().max(bytes.len() as u64));
        return Err(SidecarError::TooLarge { at, len }.in_file(path));
    }
    let sidecar = decode::sidecar(&bytes, !leniency.active).map_err(|error| error.in_file(path))?;
    let canonical = !exposed && sidecar.to_json().is_ok_and(|json| json == bytes);
    Ok(LoadedFile { sidecar, file, canonical })
}

/// A file whose directory is locked, so that no other writer can change it.
#[derive(Debug)]
pub(super) struct LockedFile {
    path: PathBuf,
    dir: Arc<Dir>,
    name: CString,
    writer: Writer,
    #[expect(dead_code, reason = "held for as long as this lives")]
    lock: Lock,
    /// The identity of the file as last read or written.
    known: Mutex<Option<Identity>>,
}

/// Inode, modification time and length, to detect changes by other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    modified: (i64, i64),
    len: i64,
}

impl Identity {
    fn of(stat: &FileStat) -> Identity {
        // The types of these fields differ between systems.
        Identity {
            inode: stat.st_ino as _,
            modified: (stat.st_mtime as _, stat.st_mtime_nsec as _),
            len: stat.st_size as _,
        }
    }
}

impl LockedFile {
    /// Locks the directory of `path`, after syncing it to prove that the filesystem supports that.
    pub(super) fn take(path: &Path, engine: Selected) -> Result<LockedFile, SidecarError> {
        let name = path::file_name(path)?;
        let invalid = |why| Err(Error::new(ErrorKind::InvalidKey, Step::Check, path).with_detail(why).into());
        if name.as_bytes().len() + temp::SUFFIX.len() > key::COMPONENT_MAX {
            return invalid("the name with `.tmp` appended is longer than 255 bytes");
        }
        // It could be the temporary file of another sidecar, whose writer would remove it.
        if name.as_bytes().ends_with(temp::SUFFIX.as_bytes()) {
            return invalid("names that end in `.tmp` are reserved for temporary files");
        }
        let dir = Arc::new(Dir::open(path::parent(path))?);
        dir.sync()?;
        let lock = Lock::take(&dir, LOCK, dir.path())?;
        let writer = Writer::new(engine, Maker::Locked);
        Ok(LockedFile { path: path.to_owned(), dir, name, writer, lock, known: Mutex::default() })
    }

    /// Makes the directory itself durable: it may have been created just before.
    pub(super) fn sync_parent(&self) -> Result<(), SidecarError> {
        Ok(self.dir.sync_parent()?)
    }

    /// Reads the file and syncs it, because another program may have written it without a sync. Also returns whether it
    /// is canonical.
    pub(super) fn read(&self, leniency: Leniency) -> Result<(Sidecar, bool), SidecarError> {
        let LoadedFile { sidecar, file, canonical } = read_in(&self.dir, &self.name, &self.path, leniency)?;
        let stat = fstat(&file).map_err(|errno| Error::from_errno(errno, Step::OpenFile, &self.path))?;
        let user = geteuid().as_raw();
        if stat.st_uid != user {
            return Err(SidecarError::Owner { path: self.path.clone(), owner: stat.st_uid, user });
        }
        sys::sync_file(&file).map_err(|errno| Error::from_errno(errno, Step::SyncFile, &self.path))?;
        self.dir.sync()?;
        *lock(&self.known) = Some(Identity::of(&stat));
        Ok((sidecar, canonical))
    }

    /// Fails if this process must not write.
    pub(super) fn check(&self) -> Result<(), SidecarError> {
        Ok(self.writer.check(&self.dir)?)
    }

    /// Replaces the file durably.
    pub(super) fn write(&self, sidecar: &Sidecar, existing: Existing) -> Result<(), SidecarError> {
        self.check()?;
        let bytes = sidecar.to_json().map_err(|error| error.in_file(&self.path))?.into();
        let mut known = lock(&self.known);
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

    /// The identity of the file that has the name now.
    fn identity(&self) -> Option<Identity> {
        let stat = fstatat(self.dir.fd(), &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.ok().as_ref().map(Identity::of)
    }
}
