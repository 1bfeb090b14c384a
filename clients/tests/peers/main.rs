//! The system calls that ringbolt and other crates make to replace files: the evidence for `docs/comparison.md`.
//!
//! A call is written as `sync d/k`. The path is relative to the test's directory (`.` is that directory itself), and
//! `TEMP` is a name chosen by the crate. The lists are complete: a test fails if a version makes more or fewer calls.

mod atomic_write_file;
mod atomicwrites;
mod object_store;
mod opendal;
mod ringbolt;
mod ringbolt_objects;
mod tempfile;
mod trace;
