//! The bytes of a log in memory, to be read.

use nix::errno::Errno;

use super::layout::BLOCKS;
use super::storage::Storage;
use crate::engine::EngineKind;
use crate::fs::buffer::AlignedBuffer;

/// A log that is in memory as a whole, as a file with this inode number.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) inode: u64,
}

impl Storage for Image {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn inode(&self) -> u64 {
        self.inode
    }

    fn kind(&self) -> EngineKind {
        EngineKind::Portable
    }

    fn read(&self, offset: u64, len: usize) -> nix::Result<AlignedBuffer> {
        let begin = usize::try_from(offset).map_err(|_| Errno::EIO)?;
        let found = self.bytes.get(begin..).and_then(|rest| rest.get(..len)).ok_or(Errno::EIO)?;
        let mut buffer = AlignedBuffer::zeroed(len, *BLOCKS.end());
        buffer.copy_from_slice(found);
        Ok(buffer)
    }

    fn write(&self, _bytes: &AlignedBuffer, _offset: u64) -> nix::Result<()> {
        Err(Errno::EROFS)
    }
}
