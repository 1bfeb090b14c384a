//! A disk that filesystems can be mounted from, and whose content can be put back to what it was at any moment.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::server::Server;
use crate::{Chunks, Disk};

/// The least that holds an xfs and a btrfs; what is not written takes no memory.
const DISK_SIZE: u64 = 320 << 20;

/// How long an unmount may find the filesystem in use: what a closed ring held is let go of a moment later.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// A filesystem of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filesystem {
    /// With a journal, `data=ordered`.
    Ext4,
    /// As mkfs makes it.
    Xfs,
    /// As mkfs makes it.
    Btrfs,
}

impl Filesystem {
    /// Those that the crate is tried on.
    pub const ALL: [Filesystem; 3] = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs];

    fn make(self, device: &Path) -> io::Result<()> {
        let mut command = match self {
            Filesystem::Ext4 => {
                let mut command = Command::new("mkfs.ext4");
                // Small, and with its tables written at once, not in the background of what is recorded.
                command.args(["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"]).arg(device).arg("96M");
                command
            }
            Filesystem::Xfs => {
                let mut command = Command::new("mkfs.xfs");
                command.args(["-q", "-f"]).arg(device);
                command
            }
            Filesystem::Btrfs => {
                let mut command = Command::new("mkfs.btrfs");
                command.args(["-q", "-f"]).arg(device);
                command
            }
        };
        run(&mut command)
    }
}

impl fmt::Display for Filesystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Filesystem::Ext4 => "ext4",
            Filesystem::Xfs => "xfs",
            Filesystem::Btrfs => "btrfs",
        })
    }
}

/// A disk in memory behind a loop device, and a directory to mount it on.
#[derive(Debug)]
pub struct Lab {
    device: PathBuf,
    /// Detaches the loop device when we are gone, whichever way.
    detach: Child,
    mountpoint: PathBuf,
    server: Server,
}

impl Lab {
    /// Sets one up in an empty directory, for this thread and those that it starts later. Needs root; the mounts should be in a
    /// namespace of their own, so that they go with the process.
    pub fn new(dir: &Path) -> io::Result<Lab> {
        let (served, mountpoint) = (dir.join("disk"), dir.join("mnt"));
        fs::create_dir(&served)?;
        fs::create_dir(&mountpoint)?;
        let server = Server::start(&served, DISK_SIZE)?;
        let output = Command::new("losetup").args(["--find", "--show"]).arg(server.file()).output()?;
        let device = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if !output.status.success() {
            return Err(io::Error::other(format!("losetup: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        // It reads until its input ends, which is when we let go of it or die. What kills our process group spares it.
        let mut detach = Command::new("sh");
        detach.args(["-c", "read _; exec losetup -d \"$0\""]).arg(&device).stdin(Stdio::piped()).process_group(0);
        let detach = detach.spawn().inspect_err(|_| drop(run(Command::new("losetup").arg("-d").arg(&device))))?;
        Ok(Lab { device, detach, mountpoint, server })
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<Disk> {
        self.server.disk()
    }

    /// Makes a filesystem, on what was an empty disk.
    pub fn make(&self, filesystem: Filesystem) -> io::Result<()> {
        self.load(Chunks::new(DISK_SIZE))?;
        filesystem.make(&self.device)
    }

    /// Puts something else on the disk, which must not be mounted: EBUSY.
    ///
    /// First all of it is discarded, for that makes the kernel drop every page it has of the device. Nothing less does: a last
    /// close drops them too, but is not the last while anybody else looks at the device; and `posix_fadvise` and `BLKFLSBUF` are
    /// taken as advice. With either, a mount now and then saw blocks of an earlier disk, and cried that they were lost.
    pub fn load(&self, content: Chunks) -> io::Result<()> {
        let device = fs::File::options().write(true).open(&self.device)?;
        let discard = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(device, discard, 0, DISK_SIZE as i64)?;
        self.disk().load(content);
        Ok(())
    }

    /// Mounts it, which is when a filesystem recovers.
    pub fn mount(&self, filesystem: Filesystem, options: &str) -> io::Result<Mount<'_>> {
        let name = filesystem.to_string();
        let options = (!options.is_empty()).then_some(options);
        mount(Some(&self.device), &self.mountpoint, Some(name.as_str()), MsFlags::empty(), options)?;
        Ok(Mount { lab: self, mounted: true })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.detach.stdin.take());
        let _ = self.detach.wait();
    }
}

/// A filesystem that is mounted.
#[derive(Debug)]
pub struct Mount<'a> {
    lab: &'a Lab,
    mounted: bool,
}

impl Mount<'_> {
    /// Its root.
    pub fn path(&self) -> &Path {
        &self.lab.mountpoint
    }

    /// Unmounts it.
    pub fn unmount(mut self) -> io::Result<()> {
        self.mounted = false;
        let begin = Instant::now();
        loop {
            match umount2(self.path(), MntFlags::empty()) {
                Err(Errno::EBUSY) if begin.elapsed() < BUSY_MAX => thread::sleep(Duration::from_millis(1)),
                result => return Ok(result?),
            }
        }
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if self.mounted {
            let _ = umount2(self.path(), MntFlags::MNT_DETACH);
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| io::Error::new(e.kind(), format!("{name}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
