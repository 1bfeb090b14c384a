//! The intent log: one file in which a commit becomes durable with a single device write.
//!
//! [`layout`], [`superblock`], [`record`] and [`scan`] are the format, as `docs/log-format.md` describes it, without any I/O;
//! [`space`] says where the next record goes. [`storage`] is where it is stored, [`mod@file`] the file that does
//! that, and [`writer`] the log in use. May use [`crate::fs`] and what is below it. [`crate::commit`] writes records, and
//! [`crate::store`] recovers from them.

mod buffer;
mod bytes;
pub(crate) mod file;
pub(crate) mod image;
pub(crate) mod layout;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod record;
pub(crate) mod scan;
mod space;
pub(crate) mod storage;
pub(crate) mod superblock;
pub(crate) mod superblocks;
pub(crate) mod writer;

#[cfg(test)]
mod scan_tests;
