//! Little-endian numbers in a buffer, one behind the other, and the checksum.

use twox_hash::XxHash3_64;

/// Every checksum of the format: XXH3, 64 bits, seed 0.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

/// Takes fields off the front of a buffer. A field that is not there is `None`.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(field)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Writes fields one behind the other into a buffer that is long enough.
pub(super) struct Filler<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Filler<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Filler<'a> {
        Filler { buffer, at: 0 }
    }

    pub(super) fn put(&mut self, field: impl AsRef<[u8]>) -> &mut Self {
        let field = field.as_ref();
        self.buffer[self.at..self.at + field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }

    pub(super) fn u16(&mut self, number: u16) -> &mut Self {
        self.put(number.to_le_bytes())
    }

    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.put(number.to_le_bytes())
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.put(number.to_le_bytes())
    }

    /// How many bytes are filled.
    pub(super) fn filled(&self) -> usize {
        self.at
    }
}
