//! A log in memory, for tests: with failing writes, and with what a power cut leaves of a write.

use std::sync::{Arc, Mutex};

use nix::errno::Errno;

use super::storage::Storage;
use crate::engine::EngineKind;
use crate::fs::buffer::AlignedBuffer;
use crate::lock;

/// A disk whose content survives the log that is on it.
#[derive(Clone, Debug)]
pub(crate) struct Memory(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    bytes: Vec<u8>,
    inode: u64,
    block: usize,
    /// The writes so far.
    writes: usize,
    /// The write with this number fails, after this many of its blocks.
    fault: Option<(usize, usize)>,
}

impl Memory {
    pub(crate) fn new(block: usize, len: usize) -> Memory {
        // Not zeros: a new log is filled with noise.
        let bytes = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
        Memory(Arc::new(Mutex::new(Disk { bytes, inode: 5, block, writes: 0, fault: None })))
    }

    /// Lets the write with this number, from 0, fail after some blocks of it are on the disk.
    pub(crate) fn fail(&self, write: usize, blocks: usize) {
        lock(&self.0).fault = Some((write, blocks));
    }

    pub(crate) fn writes(&self) -> usize {
        lock(&self.0).writes
    }

    /// A copy of the disk on which nothing fails.
    pub(crate) fn copy(&self) -> Memory {
        let Disk { bytes, inode, block, .. } = &*lock(&self.0);
        let disk = Disk { bytes: bytes.clone(), inode: *inode, block: *block, writes: 0, fault: None };
        Memory(Arc::new(Mutex::new(disk)))
    }

    /// Changes the disk behind the log's back.
    pub(crate) fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut lock(&self.0).bytes);
    }

    pub(crate) fn set_inode(&self, inode: u64) {
        lock(&self.0).inode = inode;
    }
}

impl Storage for Memory {
    fn len(&self) -> u64 {
        lock(&self.0).bytes.len() as u64
    }

    fn inode(&self) -> u64 {
        lock(&self.0).inode
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Portable
    }

    fn read(&self, offset: u64, len: usize) -> nix::Result<AlignedBuffer> {
        let disk = lock(&self.0);
        // Nothing else can be read from a device directly.
        assert!((offset as usize).is_multiple_of(disk.block) && len.is_multiple_of(disk.block), "not whole blocks");
        let mut buffer = AlignedBuffer::zeroed(len, disk.block as u32);
        buffer.copy_from_slice(disk.bytes.get(offset as usize..offset as usize + len).ok_or(Errno::EIO)?);
        Ok(buffer)
    }

    fn write(&self, bytes: &AlignedBuffer, offset: u64) -> nix::Result<()> {
        let mut disk = lock(&self.0);
        let (number, block) = (disk.writes, disk.block);
        disk.writes += 1;
        assert!((offset as usize).is_multiple_of(block) && bytes.len().is_multiple_of(block), "not whole blocks");
        let len = match disk.fault {
            Some((write, blocks)) if write == number => bytes.len().min(blocks * block),
            _ => bytes.len(),
        };
        disk.bytes[offset as usize..offset as usize + len].copy_from_slice(&bytes[..len]);
        if disk.fault.is_some_and(|(write, _)| write == number) { Err(Errno::EIO) } else { Ok(()) }
    }
}
