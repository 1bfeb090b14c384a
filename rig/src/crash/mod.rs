//! Power cuts: checks the crate's files on real filesystems, after the recovery of the filesystem and of the crate.
//!
//! ```text
//! workload (the crate) -> ext4 | xfs | btrfs -> loop device -> file on FUSE -> Disk -> log of every write and flush
//! ```
//!
//! A [`Cell`] is recorded once, with the log position where each operation began and was acknowledged. From that log,
//! the test builds disks as a disk with a volatile cache could have been left ([`states()`]). It mounts and opens each,
//! and compares it with the promises ([`History`]). Sometimes it cuts the power again during that recovery.
//!
//! A store with an intent log is also tested on other disks ([`Device`]), and with a superblock that has rotted ([`Rot`]).
//! For forced unit access, the store leaves `RWF_DSYNC` out when it writes the log (`ringbolt::assume_fua`), and the disk
//! takes each write to the log's blocks for durable. Had the store synced, the loop device would have made a write and a
//! flush of it, and the block layer makes one flush for all who wait for one: nobody could tell afterwards which flush
//! was the log's own, and which one belongs to a commit of the filesystem's journal.

mod cell;
mod cells;
mod device;
mod history;
mod hunt;
mod lab;
mod log_on_disk;
mod look;
mod mutant;
mod operation;
mod server;
mod states;
pub mod table;
mod workload;

pub use cell::{Cell, Tally};
pub use cells::{gate, promises};
pub use device::Device;
pub use history::{Contents, Effect, History, Notes, Op, Violation};
pub use hunt::{Trial, hunt};
pub use lab::{Filesystem, Lab, Mount};
pub use mutant::Mutant;
pub use operation::Operation;
pub use states::{Rot, State, Torn, Window, states, windows};
pub use workload::Setting;
