//! Ways to make something durable that are not a replace: the floor beneath it, and the other methods of writing.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::turn::{Latencies, MOST, Pace, Subject};
use crate::fs::dir::Dir;
use crate::fs::sys;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Overwrites a block of a file that has it already, `fdatasync`: no name and no size changes.
    OverwriteFdatasync,
    /// `fsync` of a file that nobody has changed.
    CleanFsync,
    /// A new file: create, write, `fsync`, `fsync` of the directory.
    Create,
    /// A file that grows: write at its end, `fdatasync`.
    Append,
    /// The same into blocks that are allocated and not written yet.
    Preallocated,
    /// Overwrites past the page cache, `fdatasync`.
    Direct,
    /// Overwrites a file opened with `O_DSYNC`.
    OpenDsync,
    /// Overwrites by a write that carries `RWF_DSYNC`.
    WriteDsync,
    /// Removes a file, `fsync` of the directory.
    Unlink,
    /// Overwrites, `syncfs`.
    Syncfs,
}

impl Method {
    /// The floor, and what the profiles ask for.
    pub(super) const ALWAYS: [Method; 4] =
        [Method::OverwriteFdatasync, Method::CleanFsync, Method::Append, Method::Preallocated];

    pub(super) const OTHERS: [Method; 6] =
        [Method::Create, Method::Direct, Method::OpenDsync, Method::WriteDsync, Method::Unlink, Method::Syncfs];

    pub(super) fn name(self) -> &'static str {
        match self {
            Method::OverwriteFdatasync => "floor/overwrite-fdatasync",
            Method::CleanFsync => "floor/clean-fsync",
            Method::Create => "method/create-fsync",
            Method::Append => "method/append-fdatasync",
            Method::Preallocated => "method/preallocated-fdatasync",
            Method::Direct => "method/o_direct-fdatasync",
            Method::OpenDsync => "method/o_dsync",
            Method::WriteDsync => "method/rwf_dsync",
            Method::Unlink => "method/unlink",
            Method::Syncfs => "method/syncfs",
        }
    }

    fn flags(self) -> OFlag {
        match self {
            Method::OpenDsync => OFlag::O_DSYNC,
            #[cfg(target_os = "linux")]
            Method::Direct => OFlag::O_DIRECT,
            _ => OFlag::empty(),
        }
    }
}

/// How far a file grows before it begins anew, in operations; and how many new files there are at once.
pub(super) fn blocks(len: usize) -> u64 {
    (4_u64 << 20).checked_div(len as u64).unwrap_or(0).clamp(4, 1024)
}

/// What `O_DIRECT` wants of addresses and lengths, on any disk.
const ALIGNMENT: usize = 4096;

/// A method at work.
pub(super) struct Writing {
    method: Method,
    dir: Dir,
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    /// Where in `bytes` the content begins: aligned.
    begin: usize,
    len: usize,
    /// How many blocks were written, or files made or removed.
    done: u64,
}

impl Writing {
    pub(super) fn new(method: Method, path: &Path, len: usize) -> Result<Writing, String> {
        let text = |error: std::io::Error| error.to_string();
        let len = if method == Method::Direct { len.next_multiple_of(ALIGNMENT) } else { len };
        let bytes = vec![0x5a; len + ALIGNMENT];
        let begin = bytes.as_ptr().align_offset(ALIGNMENT);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, method.flags().bits());
        let file = options.open(path.join("file")).map_err(text)?;
        let dir = super::replace::open(path)?;
        let this = Writing { method, dir, path: path.to_owned(), file, bytes, begin, len, done: 0 };
        match method {
            Method::Preallocated => this.allocate()?,
            Method::Unlink | Method::Append | Method::Create => {}
            _ => this.file.write_all_at(this.content(), 0).map_err(text)?,
        }
        if method == Method::WriteDsync {
            this.write_dsync()?;
        }
        if method == Method::Syncfs
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

    /// What an operation needs and is not part of.
    fn prepare(&mut self) -> std::io::Result<()> {
        match self.method {
            Method::Append | Method::Preallocated if self.done > 0 && self.done.is_multiple_of(blocks(self.len)) => {
                self.file.set_len(0)?;
                if self.method == Method::Preallocated {
                    self.allocate().map_err(std::io::Error::other)?;
                }
                self.file.sync_all()
            }
            // As many as a turn may remove at once would take long: one is made for each.
            Method::Unlink => {
                fs::write(self.path.join(name(self.done)), b"")?;
                sys::sync_dir(self.dir.fd()).map_err(Into::into)
            }
            Method::Create if self.done >= blocks(self.len) => {
                match fs::remove_file(self.path.join(name(self.done - blocks(self.len)))) {
                    // The turn before was over when this had been prepared.
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
            Method::OverwriteFdatasync | Method::Direct => {
                write(0)?;
                self.file.sync_data().map_err(io)
            }
            Method::CleanFsync => sys::sync_file(&self.file).map_err(errno),
            Method::Append | Method::Preallocated => {
                write(block)?;
                self.file.sync_data().map_err(io)
            }
            Method::OpenDsync => write(0),
            Method::WriteDsync => self.write_dsync(),
            Method::Syncfs => {
                write(0)?;
                sys::sync_filesystem(self.dir.fd()).map_err(errno)
            }
            Method::Unlink => {
                unlinkat(self.dir.fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir).map_err(errno)?;
                sys::sync_dir(self.dir.fd()).map_err(errno)
            }
            Method::Create => {
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

impl Subject for Writing {
    fn series(&self) -> Vec<(String, bool)> {
        // What prepares an operation is counted, too: no matter if it comes once in a thousand.
        let counted = match self.method {
            Method::Create | Method::Unlink => false,
            Method::Append | Method::Preallocated => blocks(self.len) >= 1024,
            _ => true,
        };
        vec![(self.method.name().to_owned(), counted)]
    }

    fn turn(&mut self, mut pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
        for _ in 0..MOST {
            let prepared = Instant::now();
            self.prepare().map_err(|error| error.to_string())?;
            let name = CString::new(name(self.done)).expect("no NUL");
            latencies.aside += prepared.elapsed();
            let Some(start) = pace.next() else { break };
            self.operate(&name)?;
            latencies.note(start);
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

    /// Many turns, through every place where a file begins anew or an old one is removed.
    #[test]
    fn every_method_goes_on_from_turn_to_turn() {
        const LEN: usize = 1 << 20;
        for method in Method::ALWAYS.into_iter().chain(Method::OTHERS) {
            let dir = tempfile::tempdir().unwrap();
            let mut writing = match Writing::new(method, dir.path(), LEN) {
                Ok(writing) => writing,
                Err(why) => {
                    use Method::{Direct, Preallocated, Syncfs, WriteDsync};
                    assert!([Direct, WriteDsync, Syncfs, Preallocated].contains(&method), "{}: {why}", method.name());
                    continue;
                }
            };
            let mut latencies = Latencies::new(1, MOST);
            while writing.done < 3 * blocks(LEN) {
                latencies.clear();
                writing.turn(Pace::new(Duration::ZERO, None), &mut latencies).unwrap();
                assert_eq!((latencies.operations, latencies.of[0].len()), (1, 1));
            }
            let files = fs::read_dir(dir.path()).unwrap().count() as u64;
            assert!(files <= blocks(LEN) + 2, "{} {files}", method.name());
        }
    }
}
