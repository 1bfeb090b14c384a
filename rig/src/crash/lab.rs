//! A disk for mounting filesystems, whose content can be replaced by an earlier state.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::server::Server;
use crate::{Chunks, Disk};

/// The minimum size for xfs and btrfs. Unwritten parts take no memory.
const DISK_SIZE: u64 = 320 << 20;

/// How long to retry an unmount while the filesystem is busy: a closed ring releases its files with a delay.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// A filesystem to test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filesystem {
    /// With a journal, `data=ordered`.
    Ext4,
    /// With the defaults of mkfs.
    Xfs,
    /// With the defaults of mkfs.
    Btrfs,
}

impl Filesystem {
    /// All filesystems to test.
    pub const ALL: [Filesystem; 3] = [Filesystem::Ext4, Filesystem::Xfs, Filesystem::Btrfs];

    fn make(self, device: &Path) -> io::Result<()> {
        let mut command = match self {
            Filesystem::Ext4 => {
                let mut command = Command::new("mkfs.ext4");
                // Small, and with its tables written now, so that they are not written during the recording.
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

/// A disk in memory behind a loop device, and a mount point.
#[derive(Debug)]
pub struct Lab {
    device: PathBuf,
    /// Detaches the loop device when this process ends, however it ends.
    detach: Child,
    mountpoint: PathBuf,
    server: Server,
    /// New filesystems, made once each.
    made: Mutex<HashMap<Filesystem, Chunks>>,
}

impl Lab {
    /// Sets up a lab in an empty directory, for this thread and threads it starts later. Needs root. Use a separate
    /// mount namespace, so that the mounts end with the process.
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
        // It waits for the end of its input, that is until we close it or die. It is in another process group, so that
        // a signal to ours does not kill it.
        let mut detach = Command::new("sh");
        detach.args(["-c", "read _; exec losetup -d \"$0\""]).arg(&device).stdin(Stdio::piped()).process_group(0);
        let detach = detach.spawn().inspect_err(|_| drop(run(Command::new("losetup").arg("-d").arg(&device))))?;
        Ok(Lab { device, detach, mountpoint, server, made: Mutex::default() })
    }

    /// The disk.
    pub fn disk(&self) -> &Arc<Disk> {
        self.server.disk()
    }

    /// Makes a filesystem on the empty disk.
    pub fn make(&self, filesystem: Filesystem) -> io::Result<()> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = made.get(&filesystem) {
            return self.load(content.clone());
        }
        self.load(Chunks::new(DISK_SIZE))?;
        filesystem.make(&self.device)?;
        made.insert(filesystem, self.disk().content());
        Ok(())
    }

    /// Replaces the content of the disk. Fails with EBUSY if it is mounted.
    ///
    /// Discards the whole device first, which makes the kernel drop all cached pages of it. Nothing less is reliable:
    /// the last close drops them too, but another process may have the device open; `posix_fadvise` and `BLKFLSBUF` are
    /// only hints. With those, a mount sometimes saw blocks of an earlier disk and reported false losses.
    pub fn load(&self, content: Chunks) -> io::Result<()> {
        let device = fs::File::options().write(true).open(&self.device)?;
        let discard = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(device, discard, 0, DISK_SIZE as i64)?;
        self.disk().load(content);
        Ok(())
    }

    /// Mounts the disk, so that the filesystem recovers.
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

/// A mounted filesystem.
#[derive(Debug)]
pub struct Mount<'a> {
    lab: &'a Lab,
    mounted: bool,
}

impl Mount<'_> {
    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.lab.mountpoint
    }

    /// Unmounts the filesystem.
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
