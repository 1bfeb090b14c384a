//! The memory of an image: sparse, and copies share unchanged chunks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const CHUNK: usize = 64 * 1024;

/// A fixed number of bytes, initially zero. Clones are cheap: they share chunks until one of them is written to.
#[derive(Clone)]
pub struct Chunks {
    size: u64,
    chunks: BTreeMap<u64, Arc<[u8; CHUNK]>>,
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunks({} of {} bytes)", self.allocated(), self.size)
    }
}

impl Chunks {
    /// `size` zeroes.
    pub fn new(size: u64) -> Self {
        Self { size, chunks: BTreeMap::new() }
    }

    /// The length in bytes, which is fixed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The memory used, in bytes.
    pub fn allocated(&self) -> u64 {
        (self.chunks.len() * CHUNK) as u64
    }

    /// Reads up to `len` bytes at `offset`; fewer at the end.
    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.within(offset, len as u64) as usize);
        for part in self.parts(offset, len as u64) {
            match self.chunks.get(&part.chunk) {
                Some(chunk) => bytes.extend_from_slice(&chunk[part.start..part.end]),
                None => bytes.resize(bytes.len() + part.end - part.start, 0),
            }
        }
        bytes
    }

    /// Writes as much as fits, and returns the number of bytes.
    pub fn write(&mut self, offset: u64, mut bytes: &[u8]) -> usize {
        let fits = self.within(offset, bytes.len() as u64) as usize;
        for part in self.parts(offset, fits as u64) {
            let (now, later) = bytes.split_at(part.end - part.start);
            let chunk = self.chunks.entry(part.chunk).or_insert_with(|| Arc::new([0; CHUNK]));
            Arc::make_mut(chunk)[part.start..part.end].copy_from_slice(now);
            bytes = later;
        }
        fits
    }

    /// Zeroes `len` bytes, and frees chunks that are covered completely.
    pub fn discard(&mut self, offset: u64, len: u64) {
        let last = offset + self.within(offset, len);
        // Skip chunks that were never written, so that discarding the whole device is fast.
        let touched: Vec<u64> = match last {
            last if last > offset => {
                let range = offset / CHUNK as u64..=(last - 1) / CHUNK as u64;
                self.chunks.range(range).map(|(&chunk, _)| chunk).collect()
            }
            _ => Vec::new(),
        };
        for number in touched {
            let base = number * CHUNK as u64;
            let start = offset.saturating_sub(base) as usize;
            let end = (last - base).min(CHUNK as u64) as usize;
            if (start, end) == (0, CHUNK) {
                self.chunks.remove(&number);
            } else if let Some(chunk) = self.chunks.get_mut(&number) {
                Arc::make_mut(chunk)[start..end].fill(0);
            }
        }
    }

    /// Writes it to a file, with holes where nothing was written.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        file.set_len(self.size)?;
        for (number, chunk) in &self.chunks {
            let base = number * CHUNK as u64;
            file.write_all_at(&chunk[..self.within(base, CHUNK as u64) as usize], base)?;
        }
        Ok(())
    }

    /// The number of bytes in range, of `len` bytes at `offset`.
    fn within(&self, offset: u64, len: u64) -> u64 {
        len.min(self.size.saturating_sub(offset))
    }

    /// Splits a range at chunk boundaries, and cuts it at the end.
    fn parts(&self, offset: u64, len: u64) -> impl Iterator<Item = Part> + use<> {
        let last = offset + self.within(offset, len);
        let mut at = offset;
        std::iter::from_fn(move || {
            let start = (at % CHUNK as u64) as usize;
            let step = (last - at).min((CHUNK - start) as u64);
            let part = Part { chunk: at / CHUNK as u64, start, end: start + step as usize };
            at += step;
            (step > 0).then_some(part)
        })
    }
}

/// Part of a chunk: its number, and the bytes in it.
struct Part {
    chunk: u64,
    start: usize,
    end: usize,
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Chunks};

    #[test]
    fn reads_what_was_written_across_chunks() {
        let mut chunks = Chunks::new(10 * CHUNK as u64);
        let bytes: Vec<u8> = (0..3 * CHUNK).map(|n| n as u8 | 1).collect();
        let offset = 2 * CHUNK as u64 - 7;
        assert_eq!(chunks.write(offset, &bytes), bytes.len());
        assert_eq!(chunks.read(offset, bytes.len()), bytes);
        assert_eq!(chunks.read(offset - 2, 4), [0, 0, bytes[0], bytes[1]]);
        assert_eq!(chunks.allocated(), 4 * CHUNK as u64);
    }

    #[test]
    fn ends_where_it_ends() {
        let mut chunks = Chunks::new(CHUNK as u64 + 10);
        assert_eq!(chunks.write(CHUNK as u64 + 4, &[7; 100]), 6);
        assert_eq!(chunks.read(CHUNK as u64 + 3, 100), [0, 7, 7, 7, 7, 7, 7]);
        assert_eq!(chunks.write(CHUNK as u64 + 10, &[7]), 0);
        assert_eq!(chunks.write(u64::MAX, &[7]), 0);
        assert!(chunks.read(u64::MAX, 10).is_empty());
    }

    #[test]
    fn a_discard_zeroes_and_frees() {
        let size = 4 * CHUNK as u64;
        let mut chunks = Chunks::new(size);
        chunks.write(0, &vec![7; size as usize]);
        chunks.discard(CHUNK as u64 - 1, CHUNK as u64 + 2);
        assert_eq!(chunks.read(CHUNK as u64 - 2, 2), [7, 0]);
        assert_eq!(chunks.read(2 * CHUNK as u64 - 1, 3), [0, 0, 7]);
        assert_eq!(chunks.allocated(), 3 * CHUNK as u64);
        chunks.discard(0, u64::MAX);
        chunks.discard(u64::MAX, 1);
        chunks.discard(size, 1);
        assert_eq!(chunks.allocated(), 0);
    }
}
