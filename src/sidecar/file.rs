//! The file of a sidecar: reading it, and holding its directory to write it.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::error::SidecarError;
use super::{FILE_MAX, Location, Sidecar};
use crate::dir::Dir;
use crate::engine::Selected;
use crate::error::{Error, Kind, Step};
use crate::lock::Lock;
use crate::plan::{Existing, FileSync};
use crate::put_options::PutOptions;
use crate::temp::{self, Maker};
use crate::writer::{Content, Writer};
use crate::{key, regular, sys, write};

/// Reads the file at `path`. `shared`: also one that is open to others than its owner.
pub(super) fn read(path: &Path, shared: bool) -> Result<Sidecar, SidecarError> {
    let name = write::file_name(path)?;
    let dir = match Dir::open(write::parent(path)) {
        Err(error) if error.is_not_found() => return Err(SidecarError::NotFound { path: path.to_owned() }),
        dir => dir?,
    };
    read_in(&dir, &name, path, shared).map(|(sidecar, _)| sidecar)
}

fn read_in(dir: &Dir, name: &CStr, path: &Path, shared: bool) -> Result<(Sidecar, File), SidecarError> {
    let is = |found| SidecarError::NotAFile { path: path.to_owned(), found };
    let open = |flags| openat(dir.fd(), name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    let (mut file, found) = regular::open(open, path).map_err(|error| match error {
        error if error.is_not_found() => SidecarError::NotFound { path: path.to_owned() },
        error if error.is_a_directory() => is("a directory"),
        error if error.is_symlink() => is("a symbolic link"),
        error if error.is_not_a_file() => is("a FIFO, a socket or a device"),
        error => error.into(),
    })?;
    if found.mode() & 0o077 != 0 && !shared {
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
    let sidecar = Sidecar::from_json(&bytes).map_err(|error| error.in_file(path))?;
    Ok((sidecar, file))
}

/// A file that nobody else writes meanwhile.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    dir: Arc<Dir>,
    name: CString,
    writer: Writer,
    /// On the directory itself: one writer in each.
    lock: Lock<OwnedFd>,
}

impl Held {
    /// Takes the directory of `path`, and proves that its filesystem can make it durable; what is in it is durable then.
    pub(super) fn take(path: &Path, engine: Selected) -> Result<Held, SidecarError> {
        let name = write::file_name(path)?;
        if name.as_bytes().len() + temp::SUFFIX.len() > key::COMPONENT_MAX {
            let why = "with `.tmp` behind it, its name is longer than 255 bytes";
            return Err(Error::new(Kind::InvalidKey(why), Step::Check, path).into());
        }
        let dir = Dir::open(write::parent(path))?;
        let fail = |errno| Error::from_errno(errno, Step::Lock, dir.path());
        let lock = dir.fd().try_clone_to_owned().map_err(|error| Error::from_io(error, Step::Lock, dir.path()))?;
        let lock = Lock::take(lock).map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => Error::new(Kind::Locked(None), Step::Lock, dir.path()),
            errno => fail(errno),
        })?;
        dir.sync()?;
        let writer = Writer::new(engine, Maker::Locked);
        Ok(Held { path: path.to_owned(), dir: Arc::new(dir), name, writer, lock })
    }

    /// Reads the file, and makes sure that it stays what it was read as: somebody may have written it and not synced it.
    pub(super) fn read(&self, shared: bool) -> Result<Sidecar, SidecarError> {
        let (sidecar, file) = read_in(&self.dir, &self.name, &self.path, shared)?;
        sys::sync_file(&file).map_err(|errno| Error::from_errno(errno, Step::SyncFile, &self.path))?;
        Ok(sidecar)
    }

    /// One durable replace.
    pub(super) fn write(&self, sidecar: &Sidecar, existing: Existing) -> Result<(), SidecarError> {
        self.writer.check(&self.dir)?;
        if !self.lock.is_ours() {
            return Err(Error::new(Kind::Locked(None), Step::Check, &self.path).into());
        }
        let bytes = sidecar.to_json().map_err(|error| error.in_file(&self.path))?.into();
        let options = PutOptions { existing, ..PutOptions::new().mode(0o600) };
        let content = Content { bytes, options, stamp: None, sync: FileSync::Fsync };
        Ok(self.writer.put(&self.dir, &self.name, &content)?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
