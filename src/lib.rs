//! Crash-durable files: a `put` that returned `Ok` survives a power cut, and one that did not leaves the old file whole.
//!
//! | you have | use |
//! |---|---|
//! | one file to replace | [`write()`], or [`WriteOptions`] for its mode, owner and links |
//! | one large file, written piece by piece | [`AtomicFile`] |
//! | many small files, written by many threads or tasks | a [`Store`]: a directory with one writer, group commit, compare and swap |
//! | files to read beside that writer, in this process or another | a [`Reader`] |
//! | several changes that belong together | a [`Batch`], with groups that become durable in order |
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let tmp = tempfile::tempdir()?;
//! # let dir = tmp.path().join("demo");
//! use ringbolt::{ErrorKind, ListOptions, Store};
//!
//! // `Store::create` makes a store in a missing or empty directory, `Store::open` opens one; this does whichever is needed.
//! let store = Store::builder(&dir).create_if_missing(true).open()?;
//!
//! let first = store.put("volumes/7/meta", "size=10")?; // durable when this returns
//! let second = store.put_if("volumes/7/meta", first, "size=20")?; // compare and swap
//!
//! for entry in store.list_with(ListOptions::new().prefix("volumes/").limit(1000))?.with_metadata() {
//!     let entry = entry?;
//!     println!("{} {} bytes, version {:?}", entry.key, entry.metadata.len, entry.metadata.version);
//! }
//! assert_eq!(store.get_range("volumes/7/meta", 5..)?, "20");
//!
//! match store.put_if("volumes/7/meta", first, "size=30") {
//!     Ok(version) => println!("now {version}"),
//!     Err(error) => match error.kind() {
//!         ErrorKind::VersionMismatch => assert_eq!(store.metadata("volumes/7/meta")?.version, Some(second)),
//!         ErrorKind::StorageFull => eprintln!("{error}; the old content is still there"),
//!         ErrorKind::Poisoned => eprintln!("{error}"), // reopen the store
//!         _ => return Err(error.into()),
//!     },
//! }
//! store.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! A replace writes a temporary file beside the target, syncs it, closes it, renames it over the target and syncs the directory;
//! the rename happens only if every step before it has succeeded. When a change returns `Ok`, a power cut at any later moment leaves it in place. When it
//! returns an [`Error`], [`Error::outcome`] says which of two worlds you are in:
//!
//! - [`Outcome::Unchanged`]: the target is what it was. The temporary file was removed, or [`Error::leftover`] names it.
//! - [`Outcome::Unknown`]: the change happened or may have happened, and is not known to be durable. The store refuses further
//!   writes until it is reopened. (Only a reboot or a remount proves what is on the disk: after a failed write of its metadata, a filesystem
//!   may show names that only its cache has.)
//!
//! A failed sync is never retried: after one, the kernel may have marked the unwritten pages clean (fsync(2)).
//! Power cuts were simulated on ext4, xfs and btrfs. Nothing is promised on tmpfs, on a disk that lies about its cache, or on a
//! filesystem mounted without barriers.
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `uring` (default) | the io_uring engine, on Linux: [`Engine::Uring`] |
//! | `portable` (default) | the engine of plain system calls: [`Engine::Portable`]. Written for every Unix, run only on Linux |
//! | `object_store` | the store as an `ObjectStore` of the crate object_store |
//! | `tracing` | events of commits, failures and barriers |
//! | `sidecar` | `keys.json`, a storage node's wrapped encryption keys |
//! | `bench` | measuring what a durable write costs on a disk, and what is beneath a directory |
//! | `tokio-uring` | durable replaces on a tokio-uring runtime that the program has already |
//! | `cli` | the command `ringbolt` |
//!
//! Versions need a filesystem that keeps time stamps to the microsecond (ext4 with 256-byte inodes, xfs, btrfs, APFS). A process
//! that was forked with a store open may read from it, and nothing else.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../docs/operations.md")]
struct Operations;

#[cfg(doctest)]
#[doc = include_str!("../docs/sidecar.md")]
struct SidecarPage;

use std::sync::{Mutex, MutexGuard, PoisonError};

mod commit;
mod engine;
mod error;
mod file;
mod fs;
mod log;
#[cfg(feature = "bench")]
mod measure;
#[cfg(test)]
mod model;
#[cfg(feature = "object_store")]
pub mod object_store;
mod protocol;
#[cfg(feature = "sidecar")]
pub mod sidecar;
mod store;

pub use commit::Applied;
pub use commit::barrier::{Barrier, BarrierKind};
pub use commit::stats::{BarrierStats, Latencies, Latency, LogStats, QueueStats, Stats, Syncs};
#[cfg(any(test, ringbolt_mutants))]
pub use engine::Mutant;
#[cfg(ringbolt_mutants)]
pub use engine::assume_fua;
pub use engine::{Engine, EngineInfo, EngineKind, Payload, probe_uring};
pub use error::{Error, ErrorKind, Outcome, Rejected, Result, Step};
pub use file::atomic_file::AtomicFile;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub use file::tokio_uring;
pub use file::write::{WriteOptions, write};
pub use fs::key::{COMPONENT_MAX, KEY_MAX, check_key};
#[cfg(feature = "bench")]
pub use measure::{bench, environment};
pub use protocol::options::PutOptions;
pub use protocol::version::{ParseVersionError, Version};
pub use store::batch::{Batch, Committed};
pub use store::{
    Entries, Entry, List, ListOptions, LogChange, LogChangeKind, LogPut, LogReader, LogRecord, LogState, LogSuperblock,
    Metadata, Reader, Store, StoreBuilder, StoreFile,
};

/// Locks a mutex, even if a thread panicked while it held the lock: no critical section of this crate leaves its data half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
