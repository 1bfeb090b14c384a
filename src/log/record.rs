//! Records: the changes of one commit, as they are in the log.

use std::ops::Range;

use super::bytes::{Fields, Filler, checksum};
use super::layout::{Layout, Position};
use super::superblock::LogId;
use crate::engine::{Payload, is_mutant};
use crate::fs::Key;
use crate::fs::buffer::AlignedBuffer;
use crate::protocol::Owner;

const MAGIC: [u8; 8] = *b"RBLTREC\n";

/// The length of a record before its first change, in bytes.
pub(crate) const HEADER: usize = 104;

/// The length of a change before its key.
const CHANGE: usize = 8;

/// The length of what a put has before its key in addition.
const PUT: usize = 24;

/// The most bytes that a change takes beside its key and value.
pub(crate) const CHANGE_MAX: usize = CHANGE + PUT;

/// What a record says of itself and of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: LogId,
    pub(crate) epoch: u64,
    pub(crate) position: Position,
    /// The first live record when this one was written.
    pub(crate) start: Position,
    /// Every record up to this sequence number was durable when this one was written.
    pub(crate) durable: u64,
    /// The greatest version that the store had given, in nanoseconds since 1970; 0 for none.
    pub(crate) version_floor: u64,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<V> {
    pub(crate) key: String,
    pub(crate) change: Change<V>,
}

/// What becomes of a key. A value is a [`Payload`] on its way to the log, and a range of bytes of a record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<V> {
    Put(Put<V>),
    Delete,
    /// Every earlier change of this key is in its file, durably. The file may have changed since without the log.
    FileRules,
}

/// A file's new content, and what the file has beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put<V> {
    /// The version, in nanoseconds since 1970.
    pub(crate) version: u64,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    pub(crate) value: V,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) header: Header,
    /// In bytes, with the padding.
    pub(crate) len: u64,
    pub(crate) entries: Vec<Entry<Range<usize>>>,
}

/// The lengths at the front of what may be a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// With the header, without the padding.
    body: usize,
    /// With the padding.
    pub(crate) padded: usize,
}

impl Entry<Payload> {
    /// The bytes that it takes in a record.
    pub(crate) fn len(&self) -> u64 {
        let put = if let Change::Put(put) = &self.change { PUT + put.value.len() } else { 0 };
        (CHANGE + self.key.len() + put) as u64
    }
}

/// The length of a record with these changes, with the padding.
pub(crate) fn padded_len(layout: Layout, entries: &[Entry<Payload>]) -> u64 {
    layout.padded(HEADER as u64 + entries.iter().map(Entry::len).sum::<u64>())
}

/// A record with these changes. It must not be longer than [`Layout::record_max`].
pub(crate) fn encode(layout: Layout, header: &Header, entries: &[Entry<Payload>]) -> AlignedBuffer {
    let body = HEADER + entries.iter().map(|entry| entry.len() as usize).sum::<usize>();
    let padded = layout.padded(body as u64);
    assert!(padded <= layout.record_max(), "the caller has checked the length");
    let mut buffer = AlignedBuffer::zeroed(padded as usize, layout.block);
    let mut fields = Filler::new(&mut buffer[16..]);
    let Header { id, epoch, position, start, durable, version_floor } = header;
    fields.u32(body as u32).u32(padded as u32).put(id).u64(*epoch).u64(position.sequence).u64(position.offset);
    fields.u64(start.sequence).u64(start.offset).u64(*durable).u64(*version_floor).u32(entries.len() as u32).u32(0);
    for Entry { key, change } in entries {
        let (kind, len) = match change {
            Change::Put(put) => (1, put.value.len()),
            Change::Delete => (2, 0),
            Change::FileRules => (3, 0),
        };
        fields.put([kind, 0]).u16(key.len() as u16).u32(len as u32);
        if let Change::Put(Put { version, mode, owner, .. }) = change {
            fields.u64(*version).u32(*mode).u32(owner.uid).u32(owner.gid).u32(0);
        }
        fields.put(key);
        if let Change::Put(put) = change {
            put.value.chunks().iter().for_each(|chunk| _ = fields.put(chunk));
        }
    }
    assert_eq!(16 + fields.filled(), body, "the lengths add up");
    let sum = checksum(&buffer[16..body]);
    Filler::new(&mut buffer).put(MAGIC).u64(sum);
    buffer
}

/// The lengths of the record that this block may begin, of a log with this id, at this offset. Its checksum is not checked. What a
/// value has within it is no record of this log: its writer cannot know the id. So nobody can make a scan read much for nothing.
pub(crate) fn lengths(layout: Layout, id: LogId, offset: u64, block: &[u8]) -> Option<Lengths> {
    let mut fields = Fields(block);
    if fields.array() != Some(MAGIC) {
        return None;
    }
    let _sum = fields.u64()?;
    let (body, padded) = (fields.u32()?, fields.u32()?);
    let (found_id, _epoch, found) = (fields.array()?, fields.u64()?, position(&mut fields)?);
    if found_id != id || (found.offset != offset && !is_mutant!(AnyOffset)) {
        return None;
    }
    let fits = body as usize >= HEADER && u64::from(padded) == layout.padded(body.into());
    (fits && u64::from(padded) <= layout.record_max())
        .then_some(Lengths { body: body as usize, padded: padded as usize })
}

/// Decodes a record. `None` if it is not one, was torn, or is damaged: of a log with this id, at this offset.
pub(crate) fn decode(layout: Layout, id: LogId, offset: u64, bytes: &[u8]) -> Option<Record> {
    let Lengths { body, padded } = lengths(layout, id, offset, bytes)?;
    let bytes = bytes.get(..body)?;
    let mut fields = Fields(bytes);
    let _magic = fields.u64()?;
    if fields.u64()? != checksum(&bytes[16..]) {
        return None;
    }
    let _lengths = fields.u64()?;
    let header = Header {
        id: fields.array()?,
        epoch: fields.u64()?,
        position: position(&mut fields)?,
        start: position(&mut fields)?,
        durable: fields.u64()?,
        version_floor: fields.u64()?,
    };
    let (count, _zero) = (fields.u32()?, fields.u32()?);
    let entries = (0..count).map(|_| entry(&mut fields, body)).collect::<Option<_>>()?;
    fields.0.is_empty().then_some(Record { header, len: padded as u64, entries })
}

fn position(fields: &mut Fields<'_>) -> Option<Position> {
    let sequence = fields.u64()?;
    Some(Position { sequence, offset: fields.u64()? })
}

/// Takes one change off a record of `body` bytes.
fn entry(fields: &mut Fields<'_>, body: usize) -> Option<Entry<Range<usize>>> {
    let (kind, _zero, key_len, len) = (fields.u8()?, fields.u8()?, fields.u16()?, fields.u32()?);
    let put = match kind {
        1 => {
            let (version, mode) = (fields.u64()?, fields.u32()?);
            let owner = Owner { uid: fields.u32()?, gid: fields.u32()? };
            let _zero = fields.u32()?;
            Some((version, mode, owner))
        }
        2 | 3 if len == 0 => None,
        _ => return None,
    };
    let key = std::str::from_utf8(fields.bytes(key_len.into())?).ok()?;
    Key::parse(key).ok()?;
    let begin = body - fields.0.len();
    fields.bytes(len as usize)?;
    let change = match (kind, put) {
        (_, Some((version, mode, owner))) => {
            Change::Put(Put { version, mode, owner, value: begin..begin + len as usize })
        }
        (2, None) => Change::Delete,
        _ => Change::FileRules,
    };
    Some(Entry { key: key.to_owned(), change })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const ID: LogId = [7; 16];

    fn layout() -> Layout {
        Layout::new(4096, 1 << 20).unwrap()
    }

    fn header() -> Header {
        let position = Position { offset: 132 << 10, sequence: 8 };
        let start = Position { offset: 128 << 10, sequence: 7 };
        Header { id: ID, epoch: 5, position, start, durable: 7, version_floor: 99 }
    }

    fn entries() -> impl Strategy<Value = Vec<Entry<Payload>>> {
        let put = |(version, mode, uid, gid, chunks): (u64, u32, u32, u32, Vec<Vec<u8>>)| {
            let value: Payload = chunks.into_iter().map(Bytes::from).collect();
            Change::Put(Put { version, mode, owner: Owner { uid, gid }, value })
        };
        let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..4);
        let puts = (any::<u64>(), 0..0o10000_u32, any::<u32>(), any::<u32>(), chunks).prop_map(put);
        let change = prop_oneof![puts, Just(Change::Delete), Just(Change::FileRules)];
        prop::collection::vec(
            ("[a-z]{1,9}(/[a-z]{1,9}){0,2}", change).prop_map(|(key, change)| Entry { key, change }),
            0..6,
        )
    }

    /// The entries of a record, with their values.
    fn contents(record: &Record, bytes: &[u8]) -> Vec<Entry<Vec<u8>>> {
        let whole = |Entry { key, change }: &Entry<Range<usize>>| {
            let change = match change {
                Change::Put(Put { version, mode, owner, value }) => {
                    let value = bytes[value.clone()].to_vec();
                    Change::Put(Put { version: *version, mode: *mode, owner: *owner, value })
                }
                Change::Delete => Change::Delete,
                Change::FileRules => Change::FileRules,
            };
            Entry { key: key.clone(), change }
        };
        record.entries.iter().map(whole).collect()
    }

    #[test]
    fn a_record_is_read_back_and_no_byte_of_it_may_change() {
        proptest!(ProptestConfig::with_cases(64), |(entries in entries(), at in any::<prop::sample::Index>())| {
            let buffer = encode(layout(), &header(), &entries);
            prop_assert_eq!(buffer.len() as u64, padded_len(layout(), &entries));
            let offset = header().position.offset;
            let record = decode(layout(), ID, offset, &buffer).unwrap();
            prop_assert_eq!(record.header, header());
            prop_assert_eq!(record.len as usize, buffer.len());
            let written = entries.iter().map(|Entry { key, change }| {
                let change = match change {
                    Change::Put(Put { version, mode, owner, value }) => {
                        Change::Put(Put { version: *version, mode: *mode, owner: *owner, value: value.chunks().concat() })
                    }
                    Change::Delete => Change::Delete,
                    Change::FileRules => Change::FileRules,
                };
                Entry { key: key.clone(), change }
            });
            prop_assert_eq!(contents(&record, &buffer), written.collect::<Vec<_>>());

            let Lengths { body, .. } = lengths(layout(), ID, offset, &buffer).unwrap();
            let mut bad = buffer.to_vec();
            let at = at.index(body);
            bad[at] ^= 1;
            prop_assert_eq!(decode(layout(), ID, offset, &bad), None, "byte {}", at);
            // Torn: the last block is old.
            if buffer.len() > 4096 {
                let torn = buffer.len() - 4096;
                let mut torn = buffer[..torn].to_vec();
                torn.resize(buffer.len(), 0xee);
                prop_assert_eq!(decode(layout(), ID, offset, &torn), None);
            }
        });
    }

    #[test]
    fn a_record_of_another_place_or_log_is_none() {
        let buffer = encode(layout(), &header(), &[]);
        let offset = header().position.offset;
        assert!(decode(layout(), ID, offset, &buffer).is_some());
        assert!(lengths(layout(), ID, offset, &buffer).is_some());
        assert_eq!(lengths(layout(), ID, offset + 4096, &buffer), None);
        assert_eq!(lengths(layout(), [8; 16], offset, &buffer), None);
        assert_eq!(decode(layout(), ID, offset + 4096, &buffer), None);
        assert_eq!(decode(layout(), [8; 16], offset, &buffer), None);
        assert_eq!(decode(layout(), ID, offset, &buffer[..HEADER - 1]), None);
    }

    #[test]
    fn a_key_that_no_store_has_is_refused() {
        for key in ["../up", ".ringbolt/format", ""] {
            let entry = Entry { key: key.to_owned(), change: Change::Delete };
            let buffer = encode(layout(), &header(), &[entry]);
            assert_eq!(decode(layout(), ID, header().position.offset, &buffer), None, "{key:?}");
        }
    }
}
