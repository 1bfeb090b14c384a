//! A lock that excludes all other writers, and that forked children do not release.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::Mode;

use super::dir::Dir;
use super::process::Process;
use crate::error::{Error, ErrorKind, Result, Step};

/// An exclusive `flock(2)` on a file, held until this is dropped. A child forked meanwhile shares the lock and does not
/// release it.
///
/// The file is never removed, so that no process locks a file without a name. It is private (0600): any process that can open a
/// file can lock it and keep all writers out. For that reason the lock is not on the directory itself; also, NFS does not
/// lock directories across machines.
#[derive(Debug)]
pub(crate) struct Lock {
    held: Option<Flock<File>>,
    process: Process,
}

impl Lock {
    /// Locks the file `name` in `dir`, and creates it if need be. If another process holds the lock, the error names `what`,
    /// the thing that the lock protects.
    pub(crate) fn take(dir: &Dir, name: &CStr, what: &Path) -> Result<Lock> {
        let fail = |errno| Error::from_errno(errno, Step::Lock, dir.path_of(name));
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(dir.fd(), name, flags, Mode::from_bits_truncate(0o600)).map_err(fail)?);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => {
                // The process id is for the error message of another writer. It is only a hint and may be missing.
                let _ = held.set_len(0).and_then(|()| write!(&*held, "{}", std::process::id()));
                Ok(Lock { held: Some(held), process: Process::current() })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(16).read_to_string(&mut holder));
                let holder = holder.parse::<u32>().map_or_else(|_| String::new(), |pid| pid.to_string());
                Err(Error::new(ErrorKind::Locked, Step::Lock, what).with_detail(holder))
            }
            Err((_, errno)) => Err(fail(errno)),
        }
    }

    /// Whether this process took the lock, and is not a forked child of the one that did.
    pub(crate) fn is_ours(&self) -> bool {
        self.process.is_current()
    }
}

impl Deref for Lock {
    type Target = File;

    fn deref(&self) -> &File {
        self.held.as_ref().expect("held until it is dropped")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_ours() {
            // Releasing the lock would release the parent's.
            std::mem::forget(self.held.take());
        }
    }
}
