//! What is beneath a directory: the kernel, io_uring, the filesystem, the device; and what that means for durability.
//!
//! ```
//! let environment = ringbolt::environment::Environment::of(".");
//! println!("{}: {}", environment.filesystem.kind, environment.engine_reason);
//! for warning in &environment.warnings {
//!     println!("{} {}", warning.what, warning.advice);
//! }
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything that is known of the place where a directory lies. `None` where nobody tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The directory that was looked at.
    pub directory: PathBuf,
    /// The operating system and its release: `Linux 6.18.5`.
    pub kernel: String,
    /// How many processors this process may use.
    pub processors: usize,
    /// The engine that a store here would use: `portable` or `uring`.
    pub engine: String,
    /// Why that one.
    pub engine_reason: String,
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
    pub mount_point: Option<PathBuf>,
    /// The options of the mount and of the filesystem.
    pub options: Vec<String>,
    /// Whether it has a journal, or an equivalent (a log, copies on write).
    pub journal: Option<bool>,
    /// Whether an ext4 commits to its journal in the fast way.
    pub fast_commit: Option<bool>,
    /// Whether syncs flush the device: `false` with `nobarrier`.
    pub barriers: Option<bool>,
    /// Whether it forgets everything when the power goes: tmpfs, overlayfs mounted `volatile`.
    pub volatile: bool,
    /// Whether it is on another machine.
    pub network: bool,
    /// Whether a process serves it.
    pub fuse: bool,
    /// Bytes that are free for this user.
    pub free_bytes: Option<u64>,
}

/// A block device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// `vda1`, `loop0`.
    pub name: String,
    /// `disk`, `partition`, `loop`, `device-mapper`, `raid`.
    pub kind: String,
    /// What the disk calls itself.
    pub model: Option<String>,
    /// The file that a loop device is on.
    pub backing_file: Option<PathBuf>,
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
        Environment { directory: directory.as_ref().to_owned(), ..Environment::default() }
    }
}
