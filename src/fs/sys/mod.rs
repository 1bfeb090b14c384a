//! System calls that differ between Unix systems, one file a system: opening a path beneath a directory, syncing a file or a
//! directory, a rename that refuses to replace, extended attributes.

#[cfg(not(target_os = "linux"))]
mod absent;
#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(any(target_vendor = "apple", target_os = "linux"))]
mod attributes;
#[cfg(target_os = "linux")]
mod direct;
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
#[cfg(target_os = "linux")]
pub(crate) use direct::*;
#[cfg(all(feature = "bench", target_os = "linux"))]
pub(crate) use journal::{ext4_has_journal, fast_commits};
#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(not(any(target_vendor = "apple", target_os = "linux")))]
pub(crate) use posix::*;
