//! Files and directories as the kernel sees them: directories held open, names, locks, and what differs between systems.
//!
//! May use [`crate::error`] and the plain values of [`crate::protocol`]. Everything above works through it.

pub(crate) mod buffer;
pub(crate) mod dir;
pub(crate) mod empty_dirs;
pub(crate) mod key;
pub(crate) mod link;
pub(crate) mod lock;
pub(crate) mod path;
pub(crate) mod preserved;
pub(crate) mod process;
pub(crate) mod regular;
pub(crate) mod scan;
pub(crate) mod sys;
pub(crate) mod temp;

pub(crate) use dir::{Dir, make_in};
pub(crate) use key::Key;
pub(crate) use temp::Maker;
