//! The environment of a directory: the kernel, io_uring, the filesystem and its devices, and what they mean for durability.
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
mod intent_log;
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
pub use intent_log::IntentLog;

/// The environment of a directory. `None` means unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The directory; its canonical path, if that can be determined.
    #[serde(serialize_with = "lossy")]
    pub directory: PathBuf,
    /// Why this process cannot keep a store here; `None` if it can.
    pub obstacle: Option<String>,
    /// The operating system and its release: `Linux 6.18.5`.
    pub kernel: String,
    /// The number of processors available to this process.
    pub processors: usize,
    /// Whether this process may write into the directory.
    pub writable: Option<bool>,
    /// The engine that a store here would use: `portable` or `uring`; `none` if no engine works.
    pub engine: String,
    /// Why it was chosen.
    pub engine_reason: String,
    /// The barrier that a store here would use by default; empty if none holds.
    pub barrier: String,
    /// Why it was chosen.
    pub barrier_reason: String,
    /// The barriers that hold here: `per-file`, `filesystem`, `journal`, `intent-log`.
    pub barriers: Vec<String>,
    /// Why the others do not hold.
    pub barriers_refused: Vec<String>,
    /// Whether io_uring works.
    pub io_uring: IoUring,
    /// The filesystem.
    pub filesystem: Filesystem,
    /// The filesystem's device, then the devices it is on, down to the disk. Empty if there is none or it is unknown.
    pub device: Vec<Device>,
    /// Whether the directory can be synced.
    pub directory_fsync: DirectoryFsync,
    /// The intent log of the store in the directory, if there is one.
    pub intent_log: Option<IntentLog>,
    /// Warnings, each with advice.
    pub warnings: Vec<Warning>,
}

/// The state of io_uring on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IoUring {
    /// Whether io_uring works.
    pub available: bool,
    /// Why it does not work, or what was found.
    pub reason: String,
    /// Whether a failing fsync cancels the requests linked after it; `None` if that could not be tested.
    pub failing_fsync_severs_links: Option<bool>,
    /// Operations that ringbolt needs and this kernel lacks.
    pub missing_operations: Vec<String>,
}

/// A mounted filesystem.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filesystem {
    /// The kind, such as `ext4`, `xfs` or `tmpfs`.
    pub kind: String,
    /// What is mounted, such as `/dev/vda1`.
    pub source: Option<String>,
    /// Where it is mounted.
    #[serde(serialize_with = "lossy_if_any")]
    pub mount_point: Option<PathBuf>,
    /// The mount options and the filesystem's own options.
    pub options: Vec<String>,
    /// Whether it has a journal, or an equivalent (a log, copies on write).
    pub journal: Option<bool>,
    /// Whether an ext4 uses fast commits.
    pub fast_commit: Option<bool>,
    /// Whether syncs flush the device: `false` with `nobarrier`.
    pub barriers: Option<bool>,
    /// Whether a power cut loses everything: tmpfs, overlayfs mounted with `volatile`, and anything on such a
    /// filesystem or on a RAM disk.
    pub volatile: bool,
    /// Whether it is on another machine.
    pub network: bool,
    /// Whether a user-space process serves it (FUSE).
    pub fuse: bool,
    /// Bytes available to this user.
    pub free_bytes: Option<u64>,
    /// Its size in bytes.
    pub total_bytes: Option<u64>,
    /// Whether it is mounted read-only.
    pub read_only: Option<bool>,
    /// The filesystem that stores this one's files: for an overlayfs, that of its upper directory.
    pub beneath: Option<Box<Filesystem>>,
}

/// A block device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// The name, such as `vda1` or `loop0`.
    pub name: String,
    /// `disk`, `partition`, `loop`, `device-mapper`, `raid`; `memory` (zram), `network` (nbd, rbd, drbd).
    pub kind: String,
    /// The model of a disk, the name of a mapping, or the level of a RAID.
    pub model: Option<String>,
    /// The file of a loop device.
    #[serde(serialize_with = "lossy_if_any")]
    pub backing_file: Option<PathBuf>,
    /// The filesystem of that file, if known.
    pub backing_filesystem: Option<Filesystem>,
    /// Its size in bytes.
    pub size_bytes: Option<u64>,
    /// Whether it is a rotating disk.
    pub rotational: Option<bool>,
    /// The I/O scheduler.
    pub scheduler: Option<String>,
    /// `write back` (a sync must flush it) or `write through`.
    pub write_cache: Option<String>,
    /// Whether it supports writes that bypass its cache (force unit access).
    pub fua: Option<bool>,
}

/// Whether the directory can be synced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DirectoryFsync {
    /// Whether the sync succeeded.
    pub works: bool,
    /// Why it failed.
    pub error: Option<String>,
}

/// A warning with advice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl Environment {
    /// Examines the environment of `directory`. What cannot be determined stays `None` or empty. Writes nothing.
    pub fn of(directory: impl AsRef<Path>) -> Environment {
        let directory = directory.as_ref();
        let mut environment = Environment {
            directory: directory.canonicalize().unwrap_or_else(|_| directory.to_owned()),
            kernel: kernel(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            ..Environment::default()
        };
        environment.look_at_engines();
        let mut incomplete = None;
        let path = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        match open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) {
            Ok(dir) => {
                let ground = ground::look(dir.as_fd(), path);
                (environment.filesystem, environment.device, incomplete) =
                    (ground.filesystem, ground.device, ground.incomplete);
                environment.look_at_space(&dir);
                environment.writable = Some(may_write(&dir));
                // Last, because it may wait for the disk.
                environment.look_at_syncs(&dir);
            }
            Err(errno) => {
                environment.directory_fsync.error = Some(format!("cannot open the directory: {}", errno.desc()));
                environment.filesystem.kind = kinds::UNKNOWN.into();
            }
        }
        environment.intent_log = intent_log::look(path);
        environment.obstacle = environment.find_obstacle();
        environment.warnings = warnings::of(&environment, incomplete.as_deref());
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
        (self.writable == Some(false)).then(|| "this process has no permission to write to the directory".into())
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

    fn look_at_space(&mut self, dir: impl AsFd) {
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
            self.directory_fsync.error = Some(format!("cannot sync the directory: {}", errno.desc()));
            self.barriers_refused.push("no barrier holds where a directory cannot be synced".into());
            return;
        }
        self.directory_fsync.works = true;
        self.barriers.push("per-file".into());
        self.barrier = "auto".into();
        self.barrier_reason = "per-file, because no other barrier for concurrent changes holds here".into();
        match sys::no_syncfs(&dir) {
            None => {
                self.barriers.push("filesystem".into());
                self.barrier_reason =
                    "per-file for a single change; per-file or filesystem, whichever is faster, for concurrent changes"
                        .into();
            }
            Some(why) => self.barriers_refused.push(format!("the filesystem barrier does not hold here: {why}")),
        }
        match sys::no_journal(&dir) {
            None => self.barriers.push("journal".into()),
            Some(why) => self.barriers_refused.push(why),
        }
        match sys::no_intent_log(&dir) {
            None => self.barriers.push("intent-log".into()),
            Some(why) => self.barriers_refused.push(format!("the intent log does not hold here: {why}")),
        }
    }
}

/// The value of [`Environment::engine`] if no engine works.
const NO_ENGINE: &str = "none";

/// Serializes a path; bytes that are not UTF-8 are replaced.
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
