//! Block devices to test and measure `ringbolt` on. For its developers: never published, Linux only, needs root.
//!
//! [`Image`] is one file, in memory, served over FUSE. A loop device over it is a disk of which every write and every
//! flush passes through this process, which can therefore make flushes take their time (the `slow-device` command):
//!
//! ```text
//! filesystem -> loop device -> file "image" on FUSE -> Image -> Chunks
//! ```
//!
//! What a loop device asks of its file, the image sees:
//!
//! | device | file | FUSE |
//! |---|---|---|
//! | read, write | `read`, `write` | the same, past the page cache |
//! | flush | `fsync` | `fsync`, answered after the delay |
//! | discard, write zeroes | `fallocate` | the same: whole chunks are freed |
//!
//! The image answers reads and writes while a flush is waiting, but Linux does not send it all of them. FUSE holds the
//! file's lock during `fsync`, which keeps writes back; and a loop device handles the requests of one cgroup in turn, so
//! that behind it reads wait for the flush before them, too. A real disk would serve them. Flushes do not pile up: the
//! block layer sends one at a time, for all who wait.

mod chunks;
pub mod crash;
mod disk;
mod flusher;
mod image;

pub use chunks::Chunks;
pub use disk::{Counts, Disk, Record, Refuse};
pub use image::{IMAGE, Image, Mounted};
