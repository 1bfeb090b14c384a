//! Measuring what durability costs on a disk, and describing what is beneath a directory.
//!
//! May use everything but the command.

pub mod bench;
pub mod environment;
