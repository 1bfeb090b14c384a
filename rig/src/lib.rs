//! Block devices for testing and measuring `ringbolt`. For its developers: not published, Linux only, needs root.
//!
//! [`Image`] is one file in memory, served over FUSE. A loop device over it is a disk whose writes and flushes all pass
//! through this process, which can therefore delay flushes (the command `slow-device`):
//!
//! ```text
//! filesystem -> loop device -> file "image" on FUSE -> Image -> Chunks
//! ```
//!
//! The image sees the requests of the loop device as follows:
//!
//! | device | file | FUSE |
//! |---|---|---|
//! | read, write | `read`, `write` | the same, past the page cache |
//! | flush | `fsync` | `fsync`, answered after the delay |
//! | discard, write zeroes | `fallocate` | the same: whole chunks are freed |
//!
//! The image serves reads and writes while a flush is pending, but Linux does not send all of them. FUSE holds the
//! file's lock during `fsync`, which blocks writes; and a loop device handles the requests of a cgroup in order, so
//! reads wait for the flush before them, too. A real disk would serve them. Flushes do not pile up: the block layer
//! sends one at a time, for all waiters.

mod chunks;
pub mod crash;
mod disk;
mod flusher;
mod image;

pub use chunks::Chunks;
pub use disk::{Counts, Disk, Head, Record, Refuse};
pub use image::{IMAGE, Image, Mounted};
