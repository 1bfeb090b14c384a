//! What other crates that replace files ask of the kernel, and ringbolt beside them: the evidence for
//! `docs/comparison.md`.
//!
//! A call is written as `sync d/k`, where the path is beneath a directory of the test's own (`.` is that directory
//! itself) and `TEMP` is a name that the crate has chosen. The lists are complete: a version that asks for more, or for
//! less, fails.

mod atomic_write_file;
mod atomicwrites;
mod object_store;
mod opendal;
mod ringbolt;
mod ringbolt_objects;
mod tempfile;
mod trace;
