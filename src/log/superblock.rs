//! The superblock: what a log belongs to, and where its live records begin.
//!
//! Two slots hold it in turn, so that one of them is whole whenever the power fails.

use super::buffer::AlignedBuffer;
use super::bytes::{Fields, Filler, checksum};
use super::layout::{Layout, Position};

/// The version of the format that this crate writes, and the only one that it reads.
pub(crate) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"RBLTLOG\n";

/// The length of a superblock in its slot. The rest of the slot's block is zero.
pub(crate) const LEN: usize = 256;

/// Identifies a log file: random bytes, made with it.
pub(crate) type LogId = [u8; 16];

/// What a superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) layout: Layout,
    pub(crate) id: LogId,
    /// The inode number of the log file. A copy has another.
    pub(crate) inode: u64,
    /// Greater than in every superblock before it.
    pub(crate) generation: u64,
    pub(crate) state: State,
    /// A random number of the session that wrote this. Only records of the same epoch are live.
    pub(crate) epoch: u64,
    /// The sequence number of the first record of that session, which is durable.
    pub(crate) first: u64,
    /// The first live record, or where it will be.
    pub(crate) start: Position,
    /// The greatest version that the store has given, in nanoseconds since 1970; 0 for none.
    pub(crate) version_floor: u64,
}

/// What the log is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No record is live: every file is as it was acknowledged.
    Clean,
    /// A session writes records.
    Running,
    /// The records from the start to this position, exclusive, are being applied to the files.
    Recovering { end: Position },
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Valid(Superblock),
    /// Torn, rotten, or never written.
    Invalid,
    /// A later version of the format.
    Later(u32),
}

impl Superblock {
    /// The block to write into a slot.
    pub(crate) fn encode(&self) -> AlignedBuffer {
        let mut block = AlignedBuffer::zeroed(self.layout.block as usize, self.layout.block);
        let (state, end) = match self.state {
            State::Clean => (1, Position::default()),
            State::Running => (2, Position::default()),
            State::Recovering { end } => (3, end),
        };
        let mut fields = Filler::new(&mut block[16..LEN]);
        fields.u32(VERSION).u32(self.layout.block).put(self.id).u64(self.inode).u64(self.layout.len);
        fields.u64(self.generation).u32(state).u32(0).u64(self.epoch).u64(self.first);
        fields
            .u64(self.start.offset)
            .u64(self.start.sequence)
            .u64(end.offset)
            .u64(end.sequence)
            .u64(self.version_floor);
        let sum = checksum(&block[16..LEN]);
        Filler::new(&mut block).put(MAGIC).u64(sum);
        block
    }
}

impl Slot {
    /// Decodes the beginning of a slot.
    pub(crate) fn decode(block: &[u8]) -> Slot {
        let Some(block) = block.get(..LEN) else { return Slot::Invalid };
        let mut fields = Fields(block);
        if fields.array() != Some(MAGIC) || fields.u64() != Some(checksum(&block[16..])) {
            return Slot::Invalid;
        }
        match fields.u32() {
            Some(VERSION) => decode(&mut fields).map_or(Slot::Invalid, Slot::Valid),
            // A version that only a later ringbolt writes. Its checksum is in the same place, whatever else has changed.
            Some(version) => Slot::Later(version),
            None => Slot::Invalid,
        }
    }
}

fn decode(fields: &mut Fields<'_>) -> Option<Superblock> {
    let block = fields.u32()?;
    let id = fields.array()?;
    let inode = fields.u64()?;
    let layout = Layout::new(block, fields.u64()?)?;
    let generation = fields.u64()?;
    let (state, _zero) = (fields.u32()?, fields.u32()?);
    let (epoch, first) = (fields.u64()?, fields.u64()?);
    let mut position = || Some(Position { offset: fields.u64()?, sequence: fields.u64()? });
    let (start, end) = (position()?, position()?);
    let state = match state {
        1 => State::Clean,
        2 => State::Running,
        3 if layout.allows(end) => State::Recovering { end },
        _ => return None,
    };
    layout.allows(start).then_some(())?;
    Some(Superblock { layout, id, inode, generation, state, epoch, first, start, version_floor: fields.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(state: State) -> Superblock {
        Superblock {
            layout: Layout::new(8192, 1 << 20).unwrap(),
            id: *b"0123456789abcdef",
            inode: 12,
            generation: 7,
            state,
            epoch: u64::MAX - 1,
            first: 1,
            start: Position { offset: 128 << 10, sequence: 1 },
            version_floor: 1_700_000_000_000_000_000,
        }
    }

    #[test]
    fn a_superblock_is_read_back() {
        let end = Position { offset: 1 << 19, sequence: 9 };
        for state in [State::Clean, State::Running, State::Recovering { end }] {
            let block = superblock(state).encode();
            assert_eq!((block.len(), block.as_ptr().align_offset(8192)), (8192, 0));
            assert_eq!(Slot::decode(&block), Slot::Valid(superblock(state)));
        }
    }

    #[test]
    fn one_wrong_byte_makes_a_slot_invalid() {
        let good = superblock(State::Running).encode();
        for at in 0..LEN {
            let mut bad = good.to_vec();
            bad[at] ^= 0x40;
            assert_eq!(Slot::decode(&bad), Slot::Invalid, "byte {at}");
        }
        assert_eq!(Slot::decode(&good[..LEN - 1]), Slot::Invalid);
        assert_eq!(Slot::decode(&[0; LEN]), Slot::Invalid);
    }

    #[test]
    fn a_position_outside_the_area_makes_a_slot_invalid() {
        let refused = |offset, sequence| {
            let position = Position { offset, sequence };
            let start = Superblock { start: position, ..superblock(State::Clean) };
            let end = superblock(State::Recovering { end: position });
            assert_eq!(Slot::decode(&start.encode()), Slot::Invalid, "{position:?}");
            assert_eq!(Slot::decode(&end.encode()), Slot::Invalid, "{position:?}");
        };
        refused(0, 1);
        refused((128 << 10) + 4096, 1);
        refused((1 << 20) + 8192, 1);
        refused(!8191, 1);
        refused(128 << 10, 0);
        refused(128 << 10, u64::MAX);
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut block = superblock(State::Running).encode().to_vec();
        block[16..20].copy_from_slice(&2_u32.to_le_bytes());
        assert_eq!(Slot::decode(&block), Slot::Invalid, "its checksum is wrong");
        let sum = checksum(&block[16..LEN]);
        block[8..16].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Slot::decode(&block), Slot::Later(2));
    }
}
