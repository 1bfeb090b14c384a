//! What is beneath a directory: the kernel, io_uring, the filesystem, the device; and what that means for durability.
//!
//! ```
//! let environment = ringbolt::environment::Environment::of(".");
//! println!("{}: {}", environment.filesystem.kind, environment.engine_reason);
//! for warning in &environment.warnings {
//!     println!("{} {}", warning.what, warning.advice);
//! }
//! ```

#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod filesystem;
#[cfg(target_os = "linux")]
mod ground_linux;
#[cfg(not(target_os = "linux"))]
mod ground_other;
mod kinds;
#[cfg(target_os = "linux")]
mod mountinfo;
mod warnings;
#[cfg(test)]
mod warnings_tests;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::sys::utsname::uname;
use nix::unistd::{AccessFlags, faccessat};
use serde::{Deserialize, Serialize, Serializer};

use crate::engine::{Engine, examine_uring, select};
use crate::fs::sys;
#[cfg(target_os = "linux")]
use ground_linux as ground;
#[cfg(not(target_os = "linux"))]
use ground_other as ground;

/// Everything that is known of the place where a directory lies. `None` where nobody tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The directory that was looked at, by its canonical path if that can be told.
    #[serde(serialize_with = "lossy")]
    pub directory: PathBuf,
    /// Why this process could keep no store here; `None` if it could.
    pub obstacle: Option<String>,
    /// The operating system and its release: `Linux 6.18.5`.
    pub kernel: String,
    /// How many processors this process may use.
    pub processors: usize,
    /// Whether this process may write into the directory.
    pub writable: Option<bool>,
    /// The engine that a store here would use: `portable` or `uring`; `none` if none can run.
    pub engine: String,
    /// Why that one.
    pub engine_reason: String,
    /// The barrier that a store here would use by default; empty if there could be none.
    pub barrier: String,
    /// Why that one.
    pub barrier_reason: String,
    /// The barriers that hold here: `per-file`, `filesystem`, `journal`.
    pub barriers: Vec<String>,
    /// Why the others do not hold.
    pub barriers_refused: Vec<String>,
    /// Whether io_uring would work.
    pub io_uring: IoUring,
    /// The filesystem.
    pub filesystem: Filesystem,
    /// The device that the filesystem is on, then what that is on, down to the disk. Empty where there is none.
    pub device: Vec<Device>,
    /// Whether a directory can be synced.
    pub directory_fsync: DirectoryFsync,
    /// What to know, and what to do about it.
    pub warnings: Vec<Warning>,
}

/// Whether io_uring would work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IoUring {
    /// Whether it would.
    pub available: bool,
    /// Why not; or what was found.
    pub reason: String,
    /// Whether a request that is linked behind a failing fsync is cancelled; `None` if it could not be tried.
    pub failing_fsync_severs_links: Option<bool>,
    /// Operations that ringbolt needs and this kernel has not.
    pub missing_operations: Vec<String>,
}

/// A mounted filesystem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filesystem {
    /// `ext4`, `xfs`, `tmpfs`.
    pub kind: String,
    /// What is mounted: `/dev/vda1`.
    pub source: Option<String>,
    /// Where.
    #[serde(serialize_with = "lossy_if_any")]
    pub mount_point: Option<PathBuf>,
    /// The options of the mount and of the filesystem.
    pub options: Vec<String>,
    /// Whether it has a journal, or an equivalent (a log, copies on write).
    pub journal: Option<bool>,
    /// Whether an ext4 commits to its journal in the fast way.
    pub fast_commit: Option<bool>,
    /// Whether syncs flush the device: `false` with `nobarrier`.
    pub barriers: Option<bool>,
    /// Whether it forgets everything when the power goes: tmpfs, overlayfs mounted `volatile`, and whatever lies on such a
    /// filesystem or on a disk in memory.
    pub volatile: bool,
    /// Whether it is on another machine.
    pub network: bool,
    /// Whether a process serves it.
    pub fuse: bool,
    /// Bytes that are free for this user.
    pub free_bytes: Option<u64>,
    /// Its size in bytes.
    pub total_bytes: Option<u64>,
    /// Whether nothing can be written on it.
    pub read_only: Option<bool>,
    /// The filesystem that this one keeps its files on: of an overlayfs, that of its upper directory.
    pub beneath: Option<Box<Filesystem>>,
}

/// A block device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// `vda1`, `loop0`.
    pub name: String,
    /// `disk`, `partition`, `loop`, `device-mapper`, `raid`; `memory` (zram), `network` (nbd, rbd, drbd).
    pub kind: String,
    /// What it calls itself: the model of a disk, the name of a mapping, the level of a RAID.
    pub model: Option<String>,
    /// The file that a loop device is on.
    #[serde(serialize_with = "lossy_if_any")]
    pub backing_file: Option<PathBuf>,
    /// The filesystem that this file is on, if it can be told.
    pub backing_filesystem: Option<Filesystem>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// Whether it turns.
    pub rotational: Option<bool>,
    /// The scheduler of its requests.
    pub scheduler: Option<String>,
    /// `write back` (a sync must flush it) or `write through`.
    pub write_cache: Option<String>,
    /// Whether it can write past its cache (force unit access).
    pub fua: Option<bool>,
}

/// Whether a directory can be synced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectoryFsync {
    /// Whether it can.
    pub works: bool,
    /// Why not.
    pub error: Option<String>,
}

/// Something to know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// What.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Environment {
    /// Looks at the place where `directory` lies. What cannot be found out is left open; nothing is written.
    pub fn of(directory: impl AsRef<Path>) -> Environment {
        let directory = directory.as_ref();
        let mut environment = Environment {
            directory: directory.canonicalize().unwrap_or_else(|_| directory.to_owned()),
            kernel: kernel(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            ..Environment::default()
        };
        environment.look_at_engines();
        let mut untold = None;
        let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(dir) => {
                let ground = ground::look(dir.as_fd(), path);
                (environment.filesystem, environment.device, untold) =
                    (ground.filesystem, ground.device, ground.untold);
                environment.look_at_room(&dir);
                environment.writable = Some(may_write(&dir));
                // Last: it may wait for the disk.
                environment.look_at_syncs(&dir);
            }
            Err(errno) => {
                environment.directory_fsync.error = Some(format!("the directory cannot be opened: {}", errno.desc()));
                environment.filesystem.kind = kinds::UNKNOWN.into();
            }
        }
        environment.obstacle = environment.find_obstacle();
        environment.warnings = warnings::of(&environment, untold.as_deref());
        environment
    }

    fn find_obstacle(&self) -> Option<String> {
        if let Some(error) = &self.directory_fsync.error {
            return Some(error.clone());
        }
        if self.engine == NO_ENGINE {
            return Some(self.engine_reason.clone());
        }
        if self.filesystem.read_only == Some(true) {
            return Some("the filesystem is mounted read-only".into());
        }
        (self.writable == Some(false)).then(|| "this process may not write into the directory".into())
    }

    fn look_at_engines(&mut self) {
        let examined = examine_uring();
        self.io_uring = IoUring {
            available: examined.works,
            reason: examined.reason,
            failing_fsync_severs_links: examined.failing_fsync_severs_links,
            missing_operations: examined.missing.into_iter().map(String::from).collect(),
        };
        (self.engine, self.engine_reason) = match select(Engine::Auto) {
            Ok(selected) => (selected.info().kind.to_string(), selected.info().reason.clone()),
            Err(error) => (NO_ENGINE.into(), error.to_string()),
        };
    }

    fn look_at_room(&mut self, dir: impl AsFd) {
        let Ok(stat) = fstatvfs(dir) else { return };
        // The types of these fields differ from one system to the next.
        #[allow(clippy::unnecessary_cast)]
        let (fragment, blocks, free) =
            (stat.fragment_size() as u64, stat.blocks() as u64, stat.blocks_available() as u64);
        self.filesystem.free_bytes = Some(free.saturating_mul(fragment));
        self.filesystem.total_bytes = Some(blocks.saturating_mul(fragment));
        self.filesystem.read_only = Some(stat.flags().contains(FsFlags::ST_RDONLY));
    }

    fn look_at_syncs(&mut self, dir: impl AsFd) {
        if let Err(errno) = sys::sync_dir(&dir) {
            self.directory_fsync.error = Some(format!("the sync of the directory failed: {}", errno.desc()));
            self.barriers_refused.push("no barrier holds where a directory cannot be synced".into());
            return;
        }
        self.directory_fsync.works = true;
        self.barriers.push("per-file".into());
        self.barrier = "auto".into();
        self.barrier_reason = "one change alone: per-file; many at once: per-file, since no other holds".into();
        match sys::no_syncfs(&dir) {
            None => {
                self.barriers.push("filesystem".into());
                self.barrier_reason =
                    "one change alone: per-file; many at once: per-file or filesystem, whichever costs less".into();
            }
            Some(why) => self.barriers_refused.push(format!("the filesystem barrier does not hold here: {why}")),
        }
        match sys::no_journal(&dir) {
            None => self.barriers.push("journal".into()),
            Some(why) => self.barriers_refused.push(why),
        }
    }
}

/// What [`Environment::engine`] is where none can run.
const NO_ENGINE: &str = "none";

/// A path that is no text is shown as well as it can be.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn lossy_if_any<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

fn kernel() -> String {
    let name = uname().map(|name| (name.sysname().to_owned(), name.release().to_owned()));
    name.map_or_else(
        |_| std::env::consts::OS.to_owned(),
        |(system, release)| format!("{} {}", system.to_string_lossy(), release.to_string_lossy()),
    )
}

fn may_write(dir: impl AsFd) -> bool {
    let how = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(dir, ".", how, AtFlags::AT_EACCESS).is_ok()
}
