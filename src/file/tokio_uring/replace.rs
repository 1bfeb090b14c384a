//! One replace: runs a plan of this crate, awaiting each call.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::tokio_uring::fs::{File, OpenOptions, rename};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::engine::Payload;
use crate::error::{Error, ErrorKind, Outcome, Result, Step};
use crate::file::writer::{NAME_ATTEMPTS, Temp, perhaps_renamed, unchanged};
use crate::fs::Dir;
use crate::fs::temp::{self, Maker};
use crate::protocol::{Call, Existing, Fate, Medium, Plan, PutOptions, Replace, Run, Verdict, certainly_not_created};

/// The descriptors of this process as paths, because `tokio-uring` accepts only paths.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Replaces `name` in `dir` durably.
pub(crate) async fn replace(dir: &Arc<Dir>, name: &CStr, bytes: &Payload, options: PutOptions) -> Result<()> {
    for attempt in 1.. {
        let plan = Replace { len: bytes.len(), options, stamp: None, medium: Medium::FSYNC, one_chain: false };
        let temp = Temporary { dir: Arc::clone(dir), name: temp::name(Maker::Single, name, attempt), to_remove: false };
        let mut job = ReplaceJob { temp, file: None, name, bytes };
        let verdict = job.run(Plan::replace(plan)).await;
        let taken =
            matches!(verdict, Verdict::Unchanged { step: Step::CreateTemp, errno: Errno::EEXIST | Errno::EINTR, .. });
        let result = job.settle(verdict);
        let stuck = result.as_ref().is_err_and(|error| error.leftover().is_some());
        if attempt >= NAME_ATTEMPTS || !taken || stuck {
            return result;
        }
    }
    unreachable!("the last attempt returns")
}

/// A temporary file, removed on drop unless it was renamed. Names are never reused, so this cannot remove another file.
struct Temporary {
    dir: Arc<Dir>,
    name: CString,
    /// Whether it may exist.
    to_remove: bool,
}

impl Temporary {
    /// Removes the file with a plain call, because `drop` cannot await.
    fn remove(&mut self) -> Temp {
        self.to_remove = false;
        match unlinkat(self.dir.fd(), &*self.name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Temp::Gone,
            Err(Errno::ENOENT) => Temp::WasGone,
            Err(_) => Temp::Stuck,
        }
    }

    /// The path of an entry of the open directory, even if the directory was moved.
    fn path_of(&self, name: &CStr) -> PathBuf {
        descriptor(&self.dir.fd()).join(OsStr::from_bytes(name.to_bytes()))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.to_remove {
            self.remove();
        }
    }
}

fn descriptor(fd: &impl AsRawFd) -> PathBuf {
    Path::new(DESCRIPTORS).join(fd.as_raw_fd().to_string())
}

/// The state of one replace: what the calls of its plan use.
struct ReplaceJob<'a> {
    temp: Temporary,
    file: Option<File>,
    name: &'a CStr,
    bytes: &'a Payload,
}

impl ReplaceJob<'_> {
    async fn run(&mut self, plan: Plan) -> Verdict {
        let mut run = Run::new(plan);
        while let Some(call) = run.next_call() {
            run.complete(match self.call(&call).await {
                Ok(done) => Fate::Done(done),
                Err(errno) => Fate::Failed(errno),
            });
        }
        run.report().verdict()
    }

    async fn call(&mut self, call: &Call) -> nix::Result<usize> {
        match call {
            Call::CreateTemp { mode } => {
                self.file = Some(self.create(*mode).await?);
                Ok(0)
            }
            Call::SetMode { mode } => {
                let file = self.file.as_ref().ok_or(Errno::EBADF)?;
                let exact = fs::Permissions::from_mode(*mode);
                fs::set_permissions(descriptor(file), exact).map(|()| 0).map_err(errno)
            }
            Call::Write { range, sync: false } => {
                let file = self.file.as_ref().ok_or(Errno::EBADF)?;
                let offset = range.start as u64;
                let result = match self.bytes.contiguous() {
                    Some(bytes) => file.write_at(bytes.slice(range.clone()), offset).submit().await.0,
                    None => file.writev_at(self.bytes.buffers(range.clone()), offset).await.0,
                };
                result.map_err(errno)
            }
            Call::SyncFile => done(self.file.as_ref().ok_or(Errno::EBADF)?.sync_all().await),
            // close releases the descriptor even if it fails with EINTR (close(2)), and the data is already synced: ignore EINTR.
            Call::CloseFile => match done(self.file.take().ok_or(Errno::EBADF)?.close().await) {
                Err(Errno::EINTR) => Ok(0),
                result => result,
            },
            Call::Publish { existing: Existing::Replace } => {
                let renamed = rename(self.temp.path_of(&self.temp.name), self.temp.path_of(self.name)).await;
                self.temp.to_remove = renamed.is_err();
                done(renamed)
            }
            Call::SyncDir => {
                // Duplicate the descriptor: a duplicate shares the open file description, and so reports the same
                // writeback errors.
                let dir = self.temp.dir.fd().try_clone_to_owned().map_err(errno)?;
                done(File::from_std(dir.into()).sync_all().await)
            }
            // The plan of a single replacing write contains no other calls.
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Creates the temporary file in a separate task. If the future of the open were dropped before it completes, the descriptor
    /// would leak, and the file would be created after its removal. If nobody awaits the task any more, the task drops the file.
    async fn create(&mut self, mode: u32) -> nix::Result<File> {
        let Temporary { dir, name, .. } = &self.temp;
        let mut temp = Temporary { dir: Arc::clone(dir), name: name.clone(), to_remove: false };
        let task = ::tokio_uring::spawn(async move {
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(mode).custom_flags(OFlag::O_NOFOLLOW.bits());
            let created = options.open(temp.path_of(&temp.name)).await.map_err(errno);
            temp.to_remove = created.as_ref().map_or_else(|errno| !certainly_not_created(*errno), |_| true);
            (created, temp)
        });
        match task.await {
            Ok((created, temp)) => {
                self.temp = temp;
                created
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(Errno::ECANCELED),
            },
        }
    }

    fn settle(mut self, verdict: Verdict) -> Result<()> {
        let dir = Arc::clone(&self.temp.dir);
        let (step, errno) = match verdict {
            Verdict::Durable => return Ok(()),
            Verdict::Unknown { step, errno } => return Err(unknown(step, errno, &dir)),
            Verdict::Unchanged { step, errno, .. } => (step, errno),
        };
        let removed = if self.temp.to_remove { self.temp.remove() } else { Temp::Gone };
        if perhaps_renamed(step, errno, removed) {
            return Err(unknown(step, errno, &dir));
        }
        if (step, errno) == (Step::CreateTemp, Errno::ENOENT) && !Path::new(DESCRIPTORS).exists() {
            let why = format!("tokio-uring accepts only paths, so {DESCRIPTORS} is needed: mount /proc");
            return Err(Error::new(ErrorKind::EngineUnavailable, Step::CreateTemp, dir.path()).with_detail(why));
        }
        Err(unchanged((step, errno), removed, &dir, self.name, &self.temp.name))
    }
}

fn unknown(step: Step, errno: Errno, dir: &Dir) -> Error {
    Error::from_errno(errno, step, dir.path()).with_outcome(Outcome::Unknown)
}

fn done(result: io::Result<()>) -> nix::Result<usize> {
    result.map(|()| 0).map_err(errno)
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
#[path = "replace_tests.rs"]
mod tests;
