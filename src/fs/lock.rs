//! A lock that tells a writer from every other, and from its own forked children.

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

/// An exclusive `flock(2)` on a file, for as long as this lives. A child that was forked meanwhile shares it, and does not give it
/// up.
///
/// The file is never removed, so that nobody locks one that has no name any more. It is private (0600): whoever may open a file may
/// lock it, and keep everybody else out. Not the directory itself, for that reason, and because NFS locks no directories for
/// other machines.
#[derive(Debug)]
pub(crate) struct Lock {
    held: Option<Flock<File>>,
    process: Process,
}

impl Lock {
    /// Takes the lock on a file in `dir`, made if it is not there. `what` is locked thereby, and named in the error if another
    /// holds it.
    pub(crate) fn take(dir: &Dir, name: &CStr, what: &Path) -> Result<Lock> {
        let fail = |errno| Error::from_errno(errno, Step::Lock, dir.path_of(name));
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = File::from(openat(dir.fd(), name, flags, Mode::from_bits_truncate(0o600)).map_err(fail)?);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => {
                // Who holds it is told to whoever finds it held. A hint: it may be missing, nothing depends on it.
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

    /// Whether this is the process that took it, and not a child of it.
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
            // Giving it up would take it from the parent.
            std::mem::forget(self.held.take());
        }
    }
}
