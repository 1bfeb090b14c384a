#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod atomic_file;
mod barrier;
mod batch;
#[cfg(feature = "bench")]
pub mod bench;
mod block;
mod commit;
mod dir;
mod dirs;
mod draft;
mod empty_dirs;
mod engine;
#[cfg(feature = "bench")]
pub mod environment;
mod error;
mod format;
mod key;
mod link;
mod lock;
#[cfg(test)]
mod model;
#[cfg(feature = "object_store")]
pub mod object_store;
mod payload;
mod plan;
mod pool;
mod preserved;
mod process;
mod put_options;
mod queue;
mod regular;
mod report;
mod run;
#[cfg(feature = "sidecar")]
pub mod sidecar;
mod stats;
mod store;
mod sys;
mod temp;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub mod tokio_uring;
mod trace;
mod version;
mod write;
mod writer;

pub use atomic_file::AtomicFile;
pub use barrier::{Barrier, BarrierKind};
pub use batch::{Batch, Committed};
pub use commit::Applied;
#[cfg(any(test, ringbolt_mutants))]
pub use engine::Mutant;
pub use engine::{Engine, EngineInfo, EngineKind, probe_uring};
pub use error::{Error, ErrorKind, Outcome, Rejected, Result, Step};
pub use key::{COMPONENT_MAX, KEY_MAX, check_key};
pub use payload::Payload;
pub use put_options::PutOptions;
pub use stats::{BarrierStats, Latencies, Latency, QueueStats, Stats, Syncs};
pub use store::{Entries, Entry, List, ListOptions, Metadata, Reader, Store, StoreBuilder, StoreFile};
pub use version::{ParseVersionError, Version};
pub use write::{WriteOptions, write};
