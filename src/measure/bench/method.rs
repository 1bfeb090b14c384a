//! Durable writes other than a replace: the floor (the least a sync can cost) and other methods.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::turn::{Latencies, OPERATIONS_MAX, Pace, Subject};
use crate::fs::{Dir, sys};

/// A way to make a write durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncMethod {
    /// Overwrite an existing block, then `fdatasync`: neither names nor sizes change.
    OverwriteFdatasync,
    /// `fsync` a file without changes.
    CleanFsync,
    /// Create a file, write it, `fsync` it, then `fsync` the directory.
    Create,
    /// Append to a file, then `fdatasync`.
    Append,
    /// Write blocks that are allocated but not yet written, then `fdatasync`.
    Preallocated,
    /// Overwrite with `O_DIRECT`, bypassing the page cache, then `fdatasync`.
    Direct,
    /// Overwrite a file opened with `O_DSYNC`.
    OpenDsync,
    /// Overwrite with `RWF_DSYNC`.
    WriteDsync,
    /// Remove a file, then `fsync` the directory.
    Unlink,
    /// Overwrite, then `syncfs`.
    Syncfs,
}

impl SyncMethod {
    /// Measured in every mode: the floor, and the methods that the profiles need.
    pub(super) const ALWAYS: [SyncMethod; 4] =
        [SyncMethod::OverwriteFdatasync, SyncMethod::CleanFsync, SyncMethod::Append, SyncMethod::Preallocated];

    /// Measured in full mode only.
    pub(super) const OTHERS: [SyncMethod; 6] = [
        SyncMethod::Create,
        SyncMethod::Direct,
        SyncMethod::OpenDsync,
        SyncMethod::WriteDsync,
        SyncMethod::Unlink,
        SyncMethod::Syncfs,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            SyncMethod::OverwriteFdatasync => "floor/overwrite-fdatasync",
            SyncMethod::CleanFsync => "floor/clean-fsync",
            SyncMethod::Create => "method/create-fsync",
            SyncMethod::Append => "method/append-fdatasync",
            SyncMethod::Preallocated => "method/preallocated-fdatasync",
            SyncMethod::Direct => "method/o_direct-fdatasync",
            SyncMethod::OpenDsync => "method/o_dsync",
            SyncMethod::WriteDsync => "method/rwf_dsync",
            SyncMethod::Unlink => "method/unlink",
            SyncMethod::Syncfs => "method/syncfs",
        }
    }

    fn flags(self) -> OFlag {
        match self {
            SyncMethod::OpenDsync => OFlag::O_DSYNC,
            #[cfg(target_os = "linux")]
            SyncMethod::Direct => OFlag::O_DIRECT,
            _ => OFlag::empty(),
        }
    }
}

/// The number of operations after which a growing file is truncated, and the number of created files kept at once.
pub(super) fn blocks(len: usize) -> u64 {
    (4_u64 << 20).checked_div(len as u64).unwrap_or(0).clamp(4, 1024)
}

/// The alignment of addresses and lengths that `O_DIRECT` needs, sufficient for any disk.
const ALIGNMENT: usize = 4096;

/// The benchmark of one method.
pub(super) struct MethodRun {
    method: SyncMethod,
    dir: Dir,
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    /// The aligned offset in `bytes` where the content begins.
    begin: usize,
    len: usize,
    /// The number of completed operations.
    done: u64,
}

impl MethodRun {
    pub(super) fn new(method: SyncMethod, path: &Path, len: usize) -> Result<MethodRun, String> {
        let text = |error: std::io::Error| error.to_string();
        let len = if method == SyncMethod::Direct { len.next_multiple_of(ALIGNMENT) } else { len };
        let bytes = vec![0x5a; len + ALIGNMENT];
        let begin = bytes.as_ptr().align_offset(ALIGNMENT);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, method.flags().bits());
        let file = options.open(path.join("file")).map_err(text)?;
        let dir = super::replace::open(path)?;
        let this = MethodRun { method, dir, path: path.to_owned(), file, bytes, begin, len, done: 0 };
        match method {
            SyncMethod::Preallocated => this.allocate()?,
            SyncMethod::Unlink | SyncMethod::Append | SyncMethod::Create => {}
            _ => this.file.write_all_at(this.content(), 0).map_err(text)?,
        }
        if method == SyncMethod::WriteDsync {
            this.write_dsync()?;
        }
        if method == SyncMethod::Syncfs
            && let Some(why) = sys::no_syncfs(this.dir.fd())
        {
            return Err(why);
        }
        this.file.sync_all().map_err(text)?;
        Ok(this)
    }

    fn content(&self) -> &[u8] {
        &self.bytes[self.begin..self.begin + self.len]
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self) -> Result<(), String> {
        let len = i64::try_from(blocks(self.len) * self.len as u64).map_err(|error| error.to_string())?;
        nix::fcntl::fallocate(&self.file, nix::fcntl::FallocateFlags::empty(), 0, len)
            .map_err(|errno| format!("fallocate: {}", errno.desc()))
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self) -> Result<(), String> {
        Err("fallocate exists on Linux only".to_owned())
    }

    #[cfg(target_os = "linux")]
    fn write_dsync(&self) -> Result<(), String> {
        // nix has no pwritev2.
        use rustix::io::{ReadWriteFlags, pwritev2};
        let written = pwritev2(&self.file, &[std::io::IoSlice::new(self.content())], 0, ReadWriteFlags::DSYNC);
        match written {
            Ok(written) if written == self.len => Ok(()),
            Ok(_) => Err("a short write".to_owned()),
            Err(errno) => Err(format!("pwritev2 with RWF_DSYNC: {errno}")),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn write_dsync(&self) -> Result<(), String> {
        Err("RWF_DSYNC exists on Linux only".to_owned())
    }

    /// Does what an operation needs beforehand, unmeasured.
    fn prepare(&mut self) -> std::io::Result<()> {
        match self.method {
            SyncMethod::Append | SyncMethod::Preallocated
                if self.done > 0 && self.done.is_multiple_of(blocks(self.len)) =>
            {
                self.file.set_len(0)?;
                if self.method == SyncMethod::Preallocated {
                    self.allocate().map_err(std::io::Error::other)?;
                }
                self.file.sync_all()
            }
            // Create one file per operation: creating enough for a whole turn would take long.
            SyncMethod::Unlink => {
                fs::write(self.path.join(name(self.done)), b"")?;
                sys::sync_dir(self.dir.fd()).map_err(Into::into)
            }
            SyncMethod::Create if self.done >= blocks(self.len) => {
                match fs::remove_file(self.path.join(name(self.done - blocks(self.len)))) {
                    // The previous turn ended after this had been prepared, so it is already removed.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                    result => result,
                }
            }
            _ => Ok(()),
        }
    }

    fn operate(&self, name: &CString) -> Result<(), String> {
        let io = |error: std::io::Error| error.to_string();
        let errno = |errno: nix::Error| errno.desc().to_owned();
        let write = |at: u64| self.file.write_all_at(self.content(), at).map_err(io);
        let block = (self.done % blocks(self.len)) * self.len as u64;
        match self.method {
            SyncMethod::OverwriteFdatasync | SyncMethod::Direct => {
                write(0)?;
                self.file.sync_data().map_err(io)
            }
            SyncMethod::CleanFsync => sys::sync_file(&self.file).map_err(errno),
            SyncMethod::Append | SyncMethod::Preallocated => {
                write(block)?;
                self.file.sync_data().map_err(io)
            }
            SyncMethod::OpenDsync => write(0),
            SyncMethod::WriteDsync => self.write_dsync(),
            SyncMethod::Syncfs => {
                write(0)?;
                sys::sync_filesystem(self.dir.fd()).map_err(errno)
            }
            SyncMethod::Unlink => {
                unlinkat(self.dir.fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir).map_err(errno)?;
                sys::sync_dir(self.dir.fd()).map_err(errno)
            }
            SyncMethod::Create => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
                let file = openat(self.dir.fd(), name.as_c_str(), flags, Mode::from_bits_truncate(0o600));
                let file = File::from(file.map_err(errno)?);
                file.write_all_at(self.content(), 0).map_err(io)?;
                sys::sync_file(&file).map_err(errno)?;
                drop(file);
                sys::sync_dir(self.dir.fd()).map_err(errno)
            }
        }
    }
}

impl Subject for MethodRun {
    fn series(&self) -> Vec<(String, bool)> {
        // The counters include `prepare`. That is negligible if it works only once in 1,024 operations.
        let counted = match self.method {
            SyncMethod::Create | SyncMethod::Unlink => false,
            SyncMethod::Append | SyncMethod::Preallocated => blocks(self.len) >= 1024,
            _ => true,
        };
        vec![(self.method.name().to_owned(), counted)]
    }

    fn turn(&mut self, mut pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
        for _ in 0..OPERATIONS_MAX {
            let prepared = Instant::now();
            self.prepare().map_err(|error| error.to_string())?;
            let name = CString::new(name(self.done)).expect("no NUL");
            latencies.excluded += prepared.elapsed();
            let Some(start) = pace.next() else { break };
            self.operate(&name)?;
            latencies.record(start);
            self.done += 1;
        }
        Ok(())
    }
}

fn name(number: u64) -> String {
    format!("file-{number}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Runs enough turns to pass every truncation and every removal of an old file.
    #[test]
    fn every_method_goes_on_from_turn_to_turn() {
        const LEN: usize = 1 << 20;
        for method in SyncMethod::ALWAYS.into_iter().chain(SyncMethod::OTHERS) {
            let dir = tempfile::tempdir().unwrap();
            let mut run = match MethodRun::new(method, dir.path(), LEN) {
                Ok(run) => run,
                Err(why) => {
                    use SyncMethod::{Direct, Preallocated, Syncfs, WriteDsync};
                    assert!([Direct, WriteDsync, Syncfs, Preallocated].contains(&method), "{}: {why}", method.name());
                    continue;
                }
            };
            let mut latencies = Latencies::new(1, OPERATIONS_MAX);
            while run.done < 3 * blocks(LEN) {
                latencies.clear();
                run.turn(Pace::new(Duration::ZERO, None), &mut latencies).unwrap();
                assert_eq!((latencies.operations, latencies.by_series[0].len()), (1, 1));
            }
            let files = fs::read_dir(dir.path()).unwrap().count() as u64;
            assert!(files <= blocks(LEN) + 2, "{} {files}", method.name());
        }
    }
}
