//! Memory for direct I/O.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes whose address is a multiple of the block size, as `O_DIRECT` asks for (open(2)).
pub(crate) struct AlignedBuffer {
    bytes: Vec<u8>,
    begin: usize,
    len: usize,
}

impl AlignedBuffer {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize, block: u32) -> AlignedBuffer {
        let bytes = vec![0; len + block as usize];
        let begin = bytes.as_ptr().align_offset(block as usize);
        AlignedBuffer { bytes, begin, len }
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.begin..self.begin + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + self.len]
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}
