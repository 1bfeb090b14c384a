//! What differs from one Unix to the next, in whole files: how a path is opened beneath a directory, how a file and a
//! directory are synced, how a rename refuses to replace, how extended attributes are read.

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(any(target_vendor = "apple", target_os = "linux"))]
mod attributes;
#[cfg(target_os = "linux")]
mod journal;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(any(target_vendor = "apple", target_os = "linux")))]
mod posix;
#[cfg(target_os = "linux")]
mod range;
mod walk;

#[cfg(target_vendor = "apple")]
pub(crate) use apple::*;
#[cfg(any(target_vendor = "apple", target_os = "linux"))]
pub(crate) use attributes::*;
#[cfg(all(feature = "bench", target_os = "linux"))]
pub(crate) use journal::{ext4_has_journal, fast_commits};
#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(any(target_vendor = "apple", target_os = "linux")))]
pub(crate) use posix::*;
