//! The intent log: one file in which a commit becomes durable with a single device write.
//!
//! [`layout`], [`superblock`], [`record`] and [`scan`] are the format, without any I/O but reading; [`space`] says where the next
//! record goes. [`mod@file`] is the file behind [`storage`]. [`superblocks`], [`writer`] and [`recovery`] change the log. May use [`crate::engine`],
//! [`crate::fs`] and what is below them. [`crate::commit`] writes records, and [`crate::store`] recovers from them.

mod bytes;
pub(crate) mod file;
pub(crate) mod image;
pub(crate) mod layout;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod scan;
mod space;
pub(crate) mod storage;
pub(crate) mod superblock;
pub(crate) mod superblocks;
pub(crate) mod writer;

#[cfg(test)]
mod scan_tests;
#[cfg(test)]
mod writer_tests;
