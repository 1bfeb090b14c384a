#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod atomic_file;
mod commit;
mod dir;
mod engine;
mod error;
mod key;
mod kind;
mod plan;
mod put_options;
mod queue;
mod report;
mod store;
mod sys;
mod temp;
mod write;
mod writer;

pub use atomic_file::AtomicFile;
pub use commit::Barrier;
pub use engine::{Engine, EngineInfo, EngineKind};
pub use error::{Error, Outcome, Result, Step};
pub use key::{COMPONENT_MAX, KEY_MAX, check_key};
pub use put_options::PutOptions;
pub use store::{List, Metadata, Reader, Store, StoreBuilder};
pub use write::{WriteOptions, write};
