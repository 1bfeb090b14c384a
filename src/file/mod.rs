//! Durable writes of single files, with or without a store around them.
//!
//! [`writer::Writer`] is the one place that turns a report of an engine into a caller's result: it removes temporary files, and
//! refuses writes after a directory sync has failed. May use [`crate::engine`], [`crate::fs`] and [`crate::protocol`].

pub(crate) mod atomic_file;
pub(crate) mod draft;
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub mod tokio_uring;
pub(crate) mod write;
pub(crate) mod writer;

pub(crate) use writer::{Content, Writer};
