//! The places in a log file.

/// The offsets of the two superblock slots. They are far enough apart that no device writes both at once.
pub(crate) const SLOTS: [u64; 2] = [0, 64 << 10];

/// The offset of the area of records.
pub(crate) const AREA: u64 = 128 << 10;

/// The smallest and the largest block, in bytes.
pub(crate) const BLOCKS: std::ops::RangeInclusive<u32> = 4 << 10..=64 << 10;

/// The shortest log file, in bytes.
pub(crate) const LEN_MIN: u64 = 256 << 10;

/// The least that the longest record may have, in bytes: room for two keys of the greatest length.
const RECORD_MIN: u64 = 16 << 10;

/// The longest log file, in bytes: the length of a record fits into 32 bits.
pub(crate) const LEN_MAX: u64 = 16 << 30;

/// The sequence numbers that a superblock may name. No log comes to the last of them.
const SEQUENCES: std::ops::RangeInclusive<u64> = 1..=1 << 62;

/// The block size and the length of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// In bytes. Every write begins and ends at a multiple of it: the device must be able to write a block without touching its
    /// neighbours.
    pub(crate) block: u32,
    /// In bytes, a multiple of the block size.
    pub(crate) len: u64,
}

/// Where a record is, and its number. Sequence numbers rise by one from record to record and never start again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
}

impl Layout {
    /// `None` if no log file has this layout.
    pub(crate) fn new(block: u32, len: u64) -> Option<Layout> {
        let valid = block.is_power_of_two()
            && BLOCKS.contains(&block)
            && (LEN_MIN..=LEN_MAX).contains(&len)
            && len.is_multiple_of(block.into());
        Some(Layout { block, len }).filter(|layout| valid && layout.record_max() >= RECORD_MIN)
    }

    /// Whether a record can begin at this position, or the next one after a full area has it.
    pub(crate) fn allows(self, position: Position) -> bool {
        let Position { offset, sequence } = position;
        (AREA..=self.len).contains(&offset) && offset.is_multiple_of(self.block.into()) && SEQUENCES.contains(&sequence)
    }

    /// The length of the longest record: an eighth of the area, so that a checkpoint can free room for the next while the log
    /// is in use.
    pub(crate) fn record_max(self) -> u64 {
        let eighth = (self.len - AREA) / 8;
        eighth - eighth % u64::from(self.block)
    }

    /// The length of a record whose header and changes take `len` bytes.
    pub(crate) fn padded(self, len: u64) -> u64 {
        len.next_multiple_of(self.block.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_layouts_are_refused() {
        assert!(Layout::new(4096, 64 << 20).is_some() && Layout::new(64 << 10, 1 << 20).is_some());
        assert!(Layout::new(4096, LEN_MIN).is_some() && Layout::new(64 << 10, LEN_MIN).is_none());
        for (block, len) in [
            (512, 64 << 20),
            (128 << 10, 64 << 20),
            (5000, 64 << 20),
            (4096, 4096),
            (4096, (64 << 20) + 1),
            (4096, 1 << 40),
        ] {
            assert_eq!(Layout::new(block, len), None, "{block} {len}");
        }
    }

    #[test]
    fn the_longest_record_fits_eight_times() {
        for block in [4 << 10, 64 << 10] {
            let layout = Layout::new(block, 1 << 20).unwrap();
            assert!(layout.record_max() * 8 <= layout.len - AREA && layout.record_max() >= 64 << 10);
            assert_eq!(layout.padded(layout.record_max()), layout.record_max());
        }
    }
}
