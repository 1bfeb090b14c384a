//! Reads an intent log from untrusted bytes.
//!
//! An input is a list of places in a log and what is there; every other byte is zero. Checksums, the log's id and the places of
//! records can be corrected on the way, so that the fuzzer comes past them. No input may make the scan panic, loop or take more
//! memory than the log has. A log that is accepted has records in sequence within the file, with valid keys, and every value
//! can be read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ringbolt::{LogChangeKind, LogReader, LogState, check_key};
use twox_hash::XxHash3_64;

const BLOCK: usize = 4096;

/// The shortest log.
const LEN: usize = 256 << 10;

const AREA: usize = 128 << 10;

const ID: [u8; 16] = *b"the id of a log!";

const INODE: u64 = 5;

fuzz_target!(|data: &[u8]| {
    let image = image(data);
    match LogReader::of_image(image.clone(), INODE) {
        Ok(log) => taken(&log, &image),
        Err(error) => {
            let text = error.to_string();
            assert!(error.is_damaged_log() && !text.is_empty() && !text.contains(char::is_control), "{text:?}");
        }
    }
});

/// Each part of an input: a byte for the place, one for what is corrected, two for the length of the content, and the content.
fn image(mut data: &[u8]) -> Vec<u8> {
    let mut image = vec![0; LEN];
    while let [place, fixes, low, high, rest @ ..] = data {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, rest) = rest.split_at(len);
        data = rest;
        // The slots, then the blocks of the area.
        let at = match place {
            0 => 0,
            1 => 64 << 10,
            place => AREA + usize::from(place - 2) % ((LEN - AREA) / BLOCK) * BLOCK,
        };
        let len = len.min(LEN - at);
        image[at..at + len].copy_from_slice(&content[..len]);
        let structure = &mut image[at..];
        match place {
            0 | 1 => fix_superblock(structure, *fixes),
            _ => fix_record(structure, at, *fixes),
        }
    }
    image
}

fn set<const N: usize>(structure: &mut [u8], at: usize, field: [u8; N]) {
    structure[at..at + N].copy_from_slice(&field);
}

fn fix_superblock(slot: &mut [u8], fixes: u8) {
    if fixes & 1 != 0 {
        set(slot, 0, *b"RBLTLOG\n");
        set(slot, 16, 1_u32.to_le_bytes());
        set(slot, 20, (BLOCK as u32).to_le_bytes());
        set(slot, 24, ID);
        set(slot, 40, INODE.to_le_bytes());
        set(slot, 48, (LEN as u64).to_le_bytes());
    }
    if fixes & 2 != 0 {
        set(slot, 88, (AREA as u64).to_le_bytes());
    }
    if fixes & 4 != 0 {
        let sum = XxHash3_64::oneshot(&slot[16..256]);
        set(slot, 8, sum.to_le_bytes());
    }
}

fn fix_record(record: &mut [u8], at: usize, fixes: u8) {
    if fixes & 1 != 0 {
        set(record, 0, *b"RBLTREC\n");
        set(record, 24, ID);
        set(record, 56, (at as u64).to_le_bytes());
    }
    let body = u32::from_le_bytes(record[16..20].try_into().expect("four bytes"));
    if fixes & 2 != 0 {
        set(record, 20, body.checked_next_multiple_of(BLOCK as u32).unwrap_or(0).to_le_bytes());
    }
    if fixes & 4 != 0
        && let Some(body) = record.get(16..body as usize)
    {
        let sum = XxHash3_64::oneshot(body);
        set(record, 8, sum.to_le_bytes());
    }
}

fn taken(log: &LogReader, image: &[u8]) {
    let superblock = log.superblock();
    assert_eq!(superblock.len, image.len() as u64);
    assert!(superblock.state != LogState::Clean || log.records().len() == 0);
    let mut pending = 0;
    for (sequence, record) in (superblock.start_sequence..).zip(log.records()) {
        assert_eq!(record.sequence(), sequence);
        let (begin, end) = (record.offset() as usize, (record.offset() + record.len()) as usize);
        assert!(AREA <= begin && begin < end && end <= image.len(), "{record:?}");
        for change in record.changes() {
            pending += 1;
            check_key(change.key()).expect("a valid key");
            let value = change.value().expect("the value is in the log");
            match (change.kind(), value) {
                (LogChangeKind::Put(put), Some(value)) => {
                    assert_eq!(put.len, value.len() as u64);
                    // A value follows its key.
                    let both = [change.key().as_bytes(), &value].concat();
                    assert!(image[begin..end].windows(both.len()).any(|bytes| bytes == both), "{change:?}");
                }
                (LogChangeKind::Put(_), None) => panic!("a put without a value: {change:?}"),
                (_, value) => assert!(value.is_none(), "{change:?}"),
            }
        }
    }
    assert_eq!(log.pending(), pending);
    assert!(log.last_changes().len() <= pending);
}
