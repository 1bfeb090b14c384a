//! Power cuts: what is left of the crate's work on real filesystems, after their own recovery and the crate's.
//!
//! ```text
//! workload (the crate) -> ext4 | xfs | btrfs -> loop device -> file on FUSE -> Disk -> log of every write and flush
//! ```
//!
//! A [`Cell`] is recorded once, with a note in the log's own order of when each operation began and was acknowledged. Then
//! disks are made of that log, as a disk with a volatile cache could have been left ([`states()`]); each is mounted, opened and
//! compared with what was promised ([`History`]). Now and then the power goes again while that is being done.

mod cell;
mod cells;
mod history;
mod hunt;
mod lab;
mod look;
mod mutant;
mod server;
mod states;
pub mod table;
mod workload;

pub use cell::{Cell, Tally};
pub use cells::{gate, promises};
pub use history::{Effect, Found, History, Notes, Op, Violation};
pub use hunt::{Trial, hunt};
pub use lab::{Filesystem, Lab, Mount};
pub use mutant::Mutant;
pub use states::{State, Window, states, windows};
pub use workload::{Operation, Setting};
