//! The file that holds a log.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rustix::fs::{FlockOperation, flock};

use super::layout::{AREA, BLOCKS, Layout};
use super::storage::Storage;
use super::superblocks::Superblocks;
use crate::engine::EngineKind;
use crate::engine::durable::{DurableWriter, plain_writer};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::fs::buffer::AlignedBuffer;
use crate::fs::{Dir, sys};
use crate::lock;

/// The log of a store, in the store's own directory.
pub(crate) const NAME: &CStr = c"log";

/// A log that is being made. Whatever interrupts that, the log has no name yet.
const NEW: &CStr = c"log.new";

/// How long an open waits for the last write of a process that was killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open log file, locked. It bypasses the page cache where the filesystem allows that.
///
/// The lock is on the open file description that writes the log: a process that was killed may have a write in flight, and holds
/// the lock until that has ended. The lock ends with the last descriptor, so a forked child cannot release it early.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    len: u64,
    inode: u64,
    writer: Mutex<Box<dyn DurableWriter>>,
    kind: EngineKind,
}

/// What [`LogFile::peek`] finds.
#[derive(Debug)]
pub(crate) enum Peek {
    Missing,
    /// A writer has the log open: it may recover, or be in its session.
    InUse(LogFile),
    Open(LogFile),
}

impl LogFile {
    /// Opens the log in the store's own directory; `None` if there is none.
    pub(crate) fn open(own: &Dir) -> Result<Option<LogFile>> {
        // What an interrupted creation has left. If it cannot be removed, the next creation fails, and says why.
        let _ = unlinkat(own.fd(), NEW, UnlinkatFlags::NoRemoveDir);
        match open(own, NAME, OFlag::empty()) {
            Ok(file) => LogFile::lock(file, own).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::from_errno(errno, Step::OpenLog, own.path_of(NAME))),
        }
    }

    /// Opens the log for reading. While the file is open, a writer waits for it.
    pub(crate) fn peek(own: &Dir) -> Result<Peek> {
        let fail = |errno| Error::from_errno(errno, Step::OpenLog, own.path_of(NAME));
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let file = match sys::open_direct(own.fd(), NAME, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(Peek::Missing),
            Err(errno) => return Err(fail(errno)),
        };
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => LogFile::of(file, own).map(Peek::Open),
            Err(rustix::io::Errno::WOULDBLOCK) => LogFile::of(file, own).map(Peek::InUse),
            Err(errno) => Err(fail(Errno::from_raw(errno.raw_os_error()))),
        }
    }

    /// Lets readers know that every file is as it was acknowledged, as long as this writer lives.
    pub(crate) fn begin_session(&self) -> nix::Result<()> {
        sys::lock_first_byte(&self.file)
    }

    /// Whether a writer has begun its session in this log, and lives.
    pub(crate) fn is_in_session(&self) -> nix::Result<bool> {
        sys::is_first_byte_locked(&self.file)
    }

    /// Makes a clean log of about `len` bytes, durably.
    pub(crate) fn create(own: &Dir, len: u64) -> Result<(LogFile, Superblocks)> {
        let fail = |errno| Error::from_errno(errno, Step::WriteLog, own.path_of(NEW));
        match unlinkat(own.fd(), NEW, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(fail(errno)),
        }
        let made = LogFile::make(own, len);
        if made.is_err() {
            // What there is of it may take the last room of a full disk.
            let _ = unlinkat(own.fd(), NEW, UnlinkatFlags::NoRemoveDir);
        }
        made
    }

    fn make(own: &Dir, len: u64) -> Result<(LogFile, Superblocks)> {
        let fail = |errno| Error::from_errno(errno, Step::WriteLog, own.path_of(NEW));
        let file = open(own, NEW, OFlag::O_CREAT | OFlag::O_EXCL).map_err(fail)?;
        let block = sys::write_unit(&file).next_power_of_two().clamp(*BLOCKS.start(), *BLOCKS.end());
        // Long enough for eight records of the least length that the longest must have.
        let len = (len - len % u64::from(block)).max(AREA + 8 * u64::from(block).max(16 << 10));
        let layout = Layout::new(block, len).ok_or_else(|| fail(Errno::EINVAL))?;
        fill(&file, len).map_err(fail)?;
        // Blocks, length and all, so that no write of the log has any of that to make durable.
        sys::sync_file(&file).map_err(fail)?;
        let log = LogFile::lock(file, own)?;
        let superblocks = Superblocks::create(&log, layout, random().map_err(fail)?).map_err(fail)?;
        renameat(own.fd(), NEW, own.fd(), NAME).map_err(fail)?;
        own.sync()?;
        Ok((log, superblocks))
    }

    fn lock(file: OwnedFd, own: &Dir) -> Result<LogFile> {
        let fail = |errno| Error::from_errno(errno, Step::OpenLog, own.path_of(NAME));
        let begin = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::new(ErrorKind::Locked, Step::OpenLog, own.path_of(NAME)));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(fail(Errno::from_raw(errno.raw_os_error()))),
            }
        }
        LogFile::of(file, own)
    }

    fn of(file: OwnedFd, own: &Dir) -> Result<LogFile> {
        let stat = fstat(&file).map_err(|errno| Error::from_errno(errno, Step::OpenLog, own.path_of(NAME)))?;
        let (len, inode) = (stat.st_size.try_into().unwrap_or(0), stat.st_ino);
        let (writer, kind) = (Mutex::new(plain_writer()), EngineKind::Portable);
        Ok(LogFile { file: file.into(), len, inode, writer, kind })
    }

    /// The same file, with its writes made by `writer`.
    pub(crate) fn written_by(self, writer: Box<dyn DurableWriter>) -> LogFile {
        LogFile { kind: writer.kind(), writer: Mutex::new(writer), ..self }
    }

    /// Whether every block of the file is allocated: a hole would make a write of the log change the filesystem's metadata.
    pub(crate) fn is_allocated(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512 >= self.len)
    }
}

fn open(own: &Dir, name: &CStr, flags: OFlag) -> nix::Result<OwnedFd> {
    let flags = flags | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    sys::open_direct(own.fd(), name, flags, Mode::from_bits_truncate(0o600))
}

/// Fills a file with noise. Zeros would become holes on storage that compresses or is thinly provisioned, and blocks that are
/// only reserved (`fallocate`) cost a commit of the filesystem's journal when they are first written.
fn fill(file: &OwnedFd, len: u64) -> nix::Result<()> {
    const CHUNK: usize = 1 << 20;
    let mut state = u64::from_le_bytes(random()?);
    let mut noise = AlignedBuffer::zeroed(CHUNK, *BLOCKS.end());
    let mut offset = 0;
    while offset < len {
        for word in noise.chunks_exact_mut(8) {
            // SplitMix64 (Steele, Lea and Flood 2014): noise that does not compress, not secrets.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
        }
        let end = CHUNK.min((len - offset) as usize);
        let mut written = 0;
        while written < end {
            match nix::sys::uio::pwrite(file, &noise[written..end], (offset + written as u64) as _) {
                Ok(0) => return Err(Errno::EIO),
                Ok(more) => written += more,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        offset += end as u64;
    }
    Ok(())
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> nix::Result<[u8; N]> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
    }
}

impl Storage for LogFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn inode(&self) -> u64 {
        self.inode
    }

    fn kind(&self) -> EngineKind {
        self.kind
    }

    fn read(&self, offset: u64, len: usize) -> nix::Result<AlignedBuffer> {
        let mut buffer = AlignedBuffer::zeroed(len, *BLOCKS.end());
        let read = self.file.read_exact_at(&mut buffer, offset);
        read.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        Ok(buffer)
    }

    fn write(&self, bytes: &AlignedBuffer, offset: u64) -> nix::Result<()> {
        let mut writer = lock(&self.writer);
        loop {
            match writer.write(self.file.as_fd(), bytes, offset) {
                Ok(written) if written == bytes.len() => return Ok(()),
                // It is unknown why, and what is durable of the rest.
                Ok(_) => return Err(Errno::EIO),
                // Nothing was written.
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
