//! What a log is stored on.

use crate::engine::EngineKind;
use crate::fs::buffer::AlignedBuffer;
use std::fmt;

/// A file, or memory in a test. Reads and writes are whole blocks.
pub(crate) trait Storage: Send + Sync + fmt::Debug {
    /// The length in bytes.
    fn len(&self) -> u64;

    /// The inode number.
    fn inode(&self) -> u64;

    /// How it is written.
    fn kind(&self) -> EngineKind;

    /// Reads `len` bytes from the device.
    fn read(&self, offset: u64, len: usize) -> nix::Result<AlignedBuffer>;

    /// Writes bytes. They are durable when this returns; nothing else is, for on a device that can write through its cache (force
    /// unit access) this flushes no other data. After an error it is unknown what of them is on the device.
    fn write(&self, bytes: &AlignedBuffer, offset: u64) -> nix::Result<()>;
}
