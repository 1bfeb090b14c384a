//! Where the next record goes, and how much of the log is live.

use super::layout::{AREA, Layout, Position};

/// The live part of the area of records, which is used as a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    layout: Layout,
    /// The first live record, or the next one if none is live.
    start: Position,
    /// Behind the last record; the next one has this sequence number.
    head: Position,
}

impl Space {
    /// No record is live; the next one goes to `start` if it fits there.
    pub(crate) fn empty(layout: Layout, start: Position) -> Space {
        Space { layout, start, head: start }
    }

    pub(crate) fn start(&self) -> Position {
        self.start
    }

    pub(crate) fn head(&self) -> Position {
        self.head
    }

    /// Whether no record is live.
    pub(crate) fn is_empty(&self) -> bool {
        self.start.sequence == self.head.sequence
    }

    /// The position for a record of `len` bytes; `None` if there is no room before the start.
    pub(crate) fn place(&self, len: u64) -> Option<Position> {
        let Position { offset, sequence } = self.head;
        let at = if offset + len <= self.layout.len { offset } else { AREA };
        let end = at + len;
        // Live records are from the start up to the head, or to the end of the file and on from the beginning of the area.
        let is_free = if self.is_empty() {
            true
        } else if self.start.offset < offset {
            at == offset || end <= self.start.offset
        } else {
            at == offset && end <= self.start.offset
        };
        is_free.then_some(Position { offset: at, sequence })
    }

    /// Takes the room of a record that was placed.
    pub(crate) fn take(&mut self, position: Position, len: u64) {
        if self.is_empty() {
            self.start = position;
        }
        self.head = Position { offset: position.offset + len, sequence: position.sequence + 1 };
    }

    /// Frees the records before `start`, which the superblock now names durably. The start never moves back.
    pub(crate) fn free(&mut self, start: Position) {
        assert!(self.start.sequence <= start.sequence && start.sequence <= self.head.sequence, "{self:?} {start:?}");
        self.start = start;
    }

    /// Live bytes, including what was left at the end of the file.
    pub(crate) fn used(&self) -> u64 {
        let (start, head) = (self.start.offset, self.head.offset);
        if self.is_empty() {
            0
        } else if start < head {
            head - start
        } else {
            self.layout.len - start + head - AREA
        }
    }

    /// Bytes that records can have at most.
    pub(crate) fn capacity(&self) -> u64 {
        self.layout.len - AREA
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Against a list of live records: no record overlaps a live one, and room that is free is found.
    #[test]
    fn no_record_overwrites_a_live_one() {
        let layout = Layout::new(4096, 1 << 20).unwrap();
        proptest!(|(steps in prop::collection::vec((1_u64..28, any::<bool>()), 1..400))| {
            let mut space = Space::empty(layout, Position { offset: AREA, sequence: 1 });
            let mut live: VecDeque<(Position, u64)> = VecDeque::new();
            for (blocks, frees) in steps {
                let len = blocks * 4096;
                match space.place(len) {
                    Some(position) => {
                        prop_assert!(position.offset >= AREA && position.offset + len <= layout.len);
                        for (other, other_len) in &live {
                            let apart = position.offset + len <= other.offset || other.offset + other_len <= position.offset;
                            prop_assert!(apart, "{:?} {:?}", position, other);
                        }
                        if let Some((last, last_len)) = live.back() {
                            // No record wraps: one that does not fit before the end is at the beginning of the area.
                            let end = last.offset + last_len;
                            let offset = if end + len <= layout.len { end } else { AREA };
                            prop_assert_eq!(position, Position { offset, sequence: last.sequence + 1 });
                        }
                        space.take(position, len);
                        live.push_back((position, len));
                    }
                    None => prop_assert!(space.used() + 2 * len > space.capacity(), "there was room"),
                }
                if frees {
                    live.pop_front();
                    space.free(live.front().map_or(space.head(), |(position, _)| *position));
                }
                prop_assert_eq!(space.is_empty(), live.is_empty());
                prop_assert!(space.used() >= live.iter().map(|(_, len)| len).sum::<u64>());
                prop_assert!(space.used() <= space.capacity());
            }
        });
    }

    #[test]
    #[should_panic(expected = "Space")]
    fn the_start_never_moves_back() {
        let layout = Layout::new(4096, 1 << 20).unwrap();
        let mut space = Space::empty(layout, Position { offset: AREA, sequence: 5 });
        space.free(Position { offset: AREA, sequence: 4 });
    }
}
