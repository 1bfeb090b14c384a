//! The filesystem: a directory with one file, the image.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::fcntl::FallocateFlags;

use crate::disk::{Counts, Disk};
use crate::flusher::Flusher;

/// The name of the file.
pub const IMAGE: &str = "image";

const ROOT: INodeNo = INodeNo::ROOT;
const FILE: INodeNo = INodeNo(2);
const BLOCK: u32 = 4096;
/// How long the kernel may cache attributes: long, because only the kernel changes them.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);

/// A file of fixed size in memory, with a slow `fsync`.
#[derive(Debug)]
pub struct Image {
    disk: Arc<Disk>,
    flusher: Flusher,
    made: SystemTime,
}

impl Image {
    /// An image of `size` zeroes. A flush takes `flush_delay` plus the system's own overhead.
    pub fn new(size: u64, flush_delay: Duration) -> io::Result<Self> {
        Ok(Self { disk: Disk::new(size), flusher: Flusher::start(flush_delay)?, made: SystemTime::now() })
    }

    /// Mounts it on a directory, as the file [`IMAGE`], and serves it on a thread.
    pub fn mount(self, dir: &Path) -> io::Result<Mounted> {
        let file = dir.join(IMAGE);
        let disk = Arc::clone(&self.disk);
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("ringbolt-rig".into()), MountOption::NoSuid, MountOption::NoDev];
        // A single thread serves, so that requests are ordered. fuser's default write size is the maximum that Linux
        // sends.
        let session = fuser::spawn_mount(self, dir, &config)?;
        Ok(Mounted { session, file, disk })
    }

    fn attr(&self, ino: INodeNo) -> Option<FileAttr> {
        let (kind, perm, nlink, size, used) = match ino {
            ROOT => (FileType::Directory, 0o700, 2, 0, 0),
            FILE => (FileType::RegularFile, 0o600, 1, self.disk.size(), self.disk.allocated()),
            _ => return None,
        };
        Some(FileAttr {
            ino,
            size,
            blocks: used / 512,
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            crtime: self.made,
            kind,
            perm,
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        })
    }

    fn reply_attr(&self, ino: INodeNo, reply: ReplyAttr) {
        match self.attr(ino) {
            Some(attr) => reply.attr(&FOREVER, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }
}

impl Filesystem for Image {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attr(FILE) {
            Some(attr) if parent == ROOT && name == IMAGE => reply.entry(&FOREVER, &attr, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.reply_attr(ino, reply);
    }

    /// Succeeds without effect, like truncating a block device.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.reply_attr(ino, reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match ino {
            // Bypass the page cache: the loop device has its own. So every byte is in memory once, and writes arrive
            // here immediately, not some time before the next flush. A close does not flush.
            FILE => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH),
            _ => reply.error(Errno::EISDIR),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(&self.disk.read(offset, size as usize));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.disk.write(offset, data) {
            None => reply.error(Errno::EIO),
            Some(0) if !data.is_empty() => reply.error(Errno::ENOSPC),
            Some(written) => reply.written(written as u32),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // FUSE's name for close(2); sent by kernels without FOPEN_NOFLUSH.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        match self.disk.flush() {
            Some(()) => self.flusher.answer(reply),
            None => reply.error(Errno::EIO),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode);
        if !mode.intersects(FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_ZERO_RANGE) {
            return reply.error(Errno::EOPNOTSUPP);
        }
        match self.disk.zero(offset, length) {
            Some(()) => reply.ok(),
            None => reply.error(Errno::EIO),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if ino != ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let entries =
            [(ROOT, FileType::Directory, "."), (ROOT, FileType::Directory, ".."), (FILE, FileType::RegularFile, IMAGE)];
        // An entry's offset is where the next one starts.
        for (next, (ino, kind, name)) in (1..).zip(entries).skip(offset as usize) {
            if reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        // A loop device uses this block size as the granularity of discards.
        let blocks = self.disk.size() / u64::from(BLOCK);
        reply.statfs(blocks, 0, 0, 2, 0, BLOCK, 255, BLOCK);
    }
}

/// A mounted image. Dropping it unmounts it, unless it is in use.
#[derive(Debug)]
pub struct Mounted {
    session: BackgroundSession,
    file: PathBuf,
    disk: Arc<Disk>,
}

impl Mounted {
    /// The path of the image.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The counts of requests so far.
    pub fn counts(&self) -> Counts {
        self.disk.counts()
    }

    /// The disk behind the image.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Serves it until it was unmounted externally and is no longer in use.
    pub fn join(self) -> io::Result<()> {
        self.session.join()
    }

    /// Unmounts it. Fails if it is in use.
    pub fn unmount(self) -> io::Result<()> {
        self.session.umount_and_join()
    }
}
