use bytes::Bytes;
use proptest::prelude::*;

use super::layout::{AREA, Layout, Position, SLOTS};
use super::memory::Memory;
use super::record::{Change, Entry, Put};
use super::scan::{Contents, Fault, scan};
use super::storage::Storage;
use super::superblock::{State, Superblock};
use super::superblocks::Superblocks;
use super::writer::{Log, Refused};
use crate::engine::{Mutant, Payload};
use crate::protocol::{Owner, Version};

const LEN: usize = 1 << 20;

/// A new, clean log.
fn fresh() -> Memory {
    let disk = Memory::new(4096, LEN);
    Superblocks::create(&disk, Layout::new(4096, LEN as u64).unwrap(), [3; 16]).unwrap();
    disk
}

/// A session with this epoch in a clean log.
fn begin(disk: &Memory, epoch: u64) -> nix::Result<Log> {
    let contents = scan(disk).unwrap();
    Log::begin(Box::new(disk.clone()), Superblocks::of(&contents), epoch, Version::from_nanos(epoch))
}

/// A put of about so many blocks, whose key is a number.
fn put(number: u64, blocks: usize) -> [Entry<Payload>; 1] {
    let value = Bytes::from(vec![number as u8; blocks * 4096 - 200]).into();
    let owner = Owner { uid: 0, gid: 0 };
    [Entry { key: number.to_string(), change: Change::Put(Put { version: number, mode: 0o600, owner, value }) }]
}

/// The keys of the live records.
fn keys(contents: &Contents) -> Vec<u64> {
    contents.records.iter().flat_map(|record| &record.entries).map(|entry| entry.key.parse().unwrap()).collect()
}

fn scanned(disk: &Memory) -> Vec<u64> {
    keys(&scan(disk).unwrap())
}

/// Every record that was acknowledged and not yet freed is found, after a power cut in the middle of any write: of a record, of
/// either superblock, at the beginning of a session or its end. The disk keeps the first blocks of the write.
#[test]
fn a_power_cut_in_any_write_loses_nothing() {
    proptest!(ProptestConfig::with_cases(12), |(
        steps in prop::collection::vec((1_usize..25, prop::bool::weighted(0.2)), 1..40),
        kept in 0_usize..26,
    )| {
        // Counts the writes of a run without a fault.
        let run = |disk: &Memory| -> (Vec<u64>, Option<u64>) {
            let mut acknowledged = Vec::new();
            let Ok(log) = begin(disk, 9) else { return (acknowledged, None) };
            for (blocks, checkpoints) in &steps {
                // The next record has this sequence number: it is also its key.
                let next = log.last() + 1;
                match log.append(&put(next, *blocks), Version::from_nanos(next)) {
                    Ok(sequence) => acknowledged.push(sequence),
                    Err(Refused::Failed(_)) => return (acknowledged, Some(next)),
                    Err(Refused::Full) => {}
                }
                if *checkpoints || log.fill().used > log.fill().capacity / 2 {
                    let through = log.last().saturating_sub(2);
                    // Freed or not, if this fails.
                    let freed = log.advance(through);
                    acknowledged.retain(|key| *key > through);
                    if freed.is_err() {
                        return (acknowledged, None);
                    }
                }
            }
            if log.end().is_ok() {
                acknowledged.clear();
            }
            (acknowledged, None)
        };
        let whole = fresh();
        run(&whole);
        for write in 0..whole.writes() - 2 {
            let disk = fresh();
            disk.fail(disk.writes() + write, kept);
            let (acknowledged, in_flight) = run(&disk);
            let contents = scan(&disk).unwrap();
            let found = keys(&contents);
            // What was freed just before, and the one in flight, may be there as well. At a clean end nothing needs to be.
            let is_right = contents.superblock.state == State::Clean
                || found.windows(2).all(|pair| pair[0] + 1 == pair[1])
                    && acknowledged.iter().all(|key| found.contains(key))
                    && found.last().is_none_or(|last| acknowledged.last().is_none_or(|key| key <= last) || in_flight == Some(*last));
            prop_assert!(is_right, "write {}: {:?} {:?}, found {:?}", write, acknowledged, in_flight, found);
        }
    });
}

#[test]
fn records_are_found_round_the_ring() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    for turn in 0..200 {
        let next = log.last() + 1;
        log.append(&put(next, 1 + turn % 24), Version::from_nanos(next)).unwrap();
        assert_eq!(scanned(&disk).last(), Some(&next));
        log.advance(next.saturating_sub(4)).unwrap();
        let live: Vec<u64> = (next.saturating_sub(3).max(2)..=next).collect();
        assert_eq!(scanned(&disk), live);
    }
}

#[test]
fn a_full_log_takes_nothing_before_the_start_has_moved() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    let full = loop {
        let next = log.last() + 1;
        match log.append(&put(next, 27), Version::from_nanos(1)) {
            Ok(_) => {}
            Err(refused) => break refused,
        }
    };
    assert_eq!((full, scanned(&disk).len()), (Refused::Full, 8));
    log.advance(log.last()).unwrap();
    assert!(scanned(&disk).is_empty());
    log.append(&put(log.last() + 1, 27), Version::from_nanos(1)).unwrap();
}

/// What an earlier session had in flight is no record of this one, although it continues the sequence.
#[test]
fn a_ghost_of_an_earlier_session_is_not_live() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    log.append(&put(2, 1), Version::from_nanos(1)).unwrap();
    log.end().unwrap();
    // The same records of another epoch: written by a process that was killed, and landing only now.
    let ghost = disk.copy();
    let (log, dead) = (begin(&disk, 2).unwrap(), begin(&ghost, 1).unwrap());
    log.append(&put(4, 1), Version::from_nanos(1)).unwrap();
    for key in 4..7 {
        dead.append(&put(key, 1), Version::from_nanos(1)).unwrap();
    }
    let next = AREA as usize + 4 * 4096;
    let landed = ghost.read(next as u64, 2 * 4096).unwrap();
    disk.damage(|bytes| bytes[next..next + 2 * 4096].copy_from_slice(&landed));
    assert_eq!(scanned(&disk), [4]);
    assert_eq!(Mutant::AnyEpoch.within(|| scanned(&disk)), [4, 5, 6]);
}

/// A value of an earlier lap may hold the bytes of a record, with the id, epoch and sequence number of the next one: it was made
/// for another place.
#[test]
fn a_record_within_a_value_is_not_live() {
    let (disk, other) = (fresh(), fresh());
    let [log, longer] = [&disk, &other].map(|disk| begin(disk, 1).unwrap());
    log.append(&put(2, 1), Version::from_nanos(1)).unwrap();
    longer.append(&put(2, 2), Version::from_nanos(1)).unwrap();
    longer.append(&put(3, 1), Version::from_nanos(1)).unwrap();
    let next = AREA as usize + 2 * 4096;
    let record = other.read(next as u64 + 4096, 4096).unwrap();
    disk.damage(|bytes| bytes[next..next + 4096].copy_from_slice(&record));
    assert_eq!(scanned(&disk), [2]);
    assert_eq!(Mutant::AnyOffset.within(|| scanned(&disk)), [2, 3]);
}

#[test]
fn a_gap_with_a_durable_record_behind_it_is_damage() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    for key in 2..6 {
        log.append(&put(key, 1), Version::from_nanos(1)).unwrap();
    }
    let rot = |record: usize| {
        let disk = disk.copy();
        disk.damage(|bytes| bytes[AREA as usize + record * 4096 + 300] ^= 1);
        scan(&disk)
    };
    // The last record may be torn; no other can be, and the first was durable before the superblock.
    assert_eq!(keys(&rot(4).unwrap()), [2, 3, 4]);
    for record in 1..4 {
        let damaged = Position { offset: AREA + record as u64 * 4096, sequence: record as u64 + 1 };
        assert_eq!(rot(record), Err(Fault::Damaged(damaged)));
    }
    disk.damage(|bytes| bytes[AREA as usize + 20] ^= 1);
    assert!(matches!(scan(&disk), Err(Fault::Damaged(_))));
}

#[test]
fn the_range_of_a_recovery_is_whole_or_damaged() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    for key in 2..5 {
        log.append(&put(key, 1), Version::from_nanos(1)).unwrap();
    }
    let contents = scan(&disk).unwrap();
    let end = contents.head;
    let mark = |superblock: &mut Superblock| superblock.state = State::Recovering { end };
    Superblocks::of(&contents).change(&disk, mark).unwrap();
    assert_eq!(scanned(&disk), [2, 3, 4]);
    // The record behind the range is not part of it.
    log.append(&put(5, 1), Version::from_nanos(1)).unwrap();
    assert_eq!(scanned(&disk), [2, 3, 4]);
    disk.damage(|bytes| bytes[AREA as usize + 3 * 4096 + 50] ^= 1);
    assert_eq!(scan(&disk), Err(Fault::Damaged(Position { offset: AREA + 3 * 4096, sequence: 4 })));
}

#[test]
fn a_rotten_superblock_costs_nothing_and_two_are_an_error() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    for key in 2..5 {
        log.append(&put(key, 1), Version::from_nanos(1)).unwrap();
    }
    log.advance(3).unwrap();
    for slot in SLOTS {
        let disk = disk.copy();
        disk.damage(|bytes| bytes[slot as usize + 40] ^= 1);
        let contents = scan(&disk).unwrap();
        assert_eq!(keys(&contents), [4]);
        // The next change begins with the bad slot: the good one is not at risk before that.
        assert_eq!(SLOTS[contents.first_slot], slot);
        disk.fail(disk.writes(), 0);
        Superblocks::of(&contents).clean(&disk, contents.head).unwrap_err();
        assert_eq!(scanned(&disk), [4]);
    }
    disk.damage(|bytes| SLOTS.iter().for_each(|slot| bytes[*slot as usize + 40] ^= 1));
    assert_eq!(scan(&disk), Err(Fault::NoSuperblock));
}

/// A slot that was torn within its block is the old one, the new one, or none.
#[test]
fn a_torn_superblock_costs_nothing() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    for key in 2..5 {
        log.append(&put(key, 1), Version::from_nanos(1)).unwrap();
    }
    let old = SLOTS.map(|slot| disk.read(slot, 4096).unwrap().to_vec());
    log.advance(3).unwrap();
    let new = SLOTS.map(|slot| disk.read(slot, 4096).unwrap().to_vec());
    for (written, torn) in [(0, 0), (1, 1)] {
        for len in 0..256 {
            let disk = disk.copy();
            disk.damage(|bytes| {
                for slot in 0..2 {
                    let at = SLOTS[slot] as usize;
                    bytes[at..at + 4096].copy_from_slice(if slot < written { &new[slot] } else { &old[slot] });
                }
                let at = SLOTS[torn] as usize;
                bytes[at..at + len].copy_from_slice(&new[torn][..len]);
            });
            let live = scanned(&disk);
            assert!(live == [4] || (written == 0 && live == [2, 3, 4]), "slot {torn}, {len} bytes: {live:?}");
        }
    }
}

/// On a disk with large blocks everything fills whole blocks, and is found.
#[test]
fn a_log_with_large_blocks_is_read() {
    for block in [8 << 10, 16 << 10, 64 << 10] {
        let disk = Memory::new(block as usize, LEN);
        Superblocks::create(&disk, Layout::new(block, LEN as u64).unwrap(), [3; 16]).unwrap();
        let log = begin(&disk, 1).unwrap();
        for key in 2..5 {
            log.append(&put(key, 1), Version::from_nanos(1)).unwrap();
        }
        log.advance(2).unwrap();
        for slot in SLOTS {
            let disk = disk.copy();
            // The last byte that counts, and then the block behind.
            disk.damage(|bytes| bytes[slot as usize + 255] ^= 1);
            let contents = scan(&disk).unwrap();
            assert_eq!(keys(&contents), [3, 4]);
            let offsets: Vec<u64> = contents.records.iter().map(|record| record.header.position.offset).collect();
            assert_eq!(offsets, [2, 3].map(|at| AREA + at * u64::from(block)));
        }
    }
}

/// A restart finds a superblock that only the cache of the device has: it is written again before the other slot is touched.
#[test]
fn the_superblock_that_counts_is_confirmed_in_its_own_slot() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    log.append(&put(2, 1), Version::from_nanos(1)).unwrap();
    // The first slot is written, the second is not.
    disk.fail(disk.writes() + 1, 0);
    log.advance(2).unwrap_err();
    let contents = scan(&disk).unwrap();
    let superblocks = Superblocks::of(&contents);
    assert_eq!(contents.first_slot, 1);
    let lost = SLOTS[0] as usize;
    disk.damage(|bytes| bytes[lost..lost + 4096].fill(0));
    superblocks.confirm(&disk).unwrap();
    assert_eq!(scan(&disk).unwrap().superblock, contents.superblock);
}

/// Two faults: a superblock was lost, and the other is older than the records.
#[test]
fn a_superblock_that_is_older_than_its_records_is_refused() {
    let disk = fresh();
    let old = disk.read(SLOTS[0], 4096).unwrap();
    let log = begin(&disk, 1).unwrap();
    log.append(&put(2, 1), Version::from_nanos(1)).unwrap();
    disk.damage(|bytes| {
        bytes[..4096].copy_from_slice(&old);
        bytes[SLOTS[1] as usize] ^= 1;
    });
    assert!(matches!(scan(&disk), Err(Fault::Stale(_))));
}

#[test]
fn a_log_that_is_cut_copied_or_of_a_later_format_is_refused() {
    let disk = fresh();
    let log = begin(&disk, 1).unwrap();
    log.append(&put(2, 1), Version::from_nanos(1)).unwrap();
    let cut = disk.copy();
    cut.damage(|bytes| bytes.truncate(LEN - 4096));
    assert_eq!(scan(&cut), Err(Fault::Length { wanted: LEN as u64, found: LEN as u64 - 4096 }));
    cut.damage(|bytes| bytes.truncate(100));
    assert_eq!(scan(&cut), Err(Fault::NoSuperblock));
    let copied = disk.copy();
    copied.set_inode(6);
    assert_eq!(scan(&copied).unwrap().copied_from, Some(5));
    // A clean copy is bound to its new file.
    log.end().unwrap();
    let copied = disk.copy();
    copied.set_inode(6);
    begin(&copied, 2).unwrap();
    assert_eq!(scan(&copied).unwrap().superblock.inode, 6);
}

#[test]
fn after_a_failed_write_nothing_more_is_written() {
    for blocks in 0..3 {
        let disk = fresh();
        let log = begin(&disk, 1).unwrap();
        log.append(&put(2, 1), Version::from_nanos(1)).unwrap();
        disk.fail(disk.writes(), blocks);
        assert!(matches!(log.append(&put(3, 2), Version::from_nanos(1)), Err(Refused::Failed(_))));
        let writes = disk.writes();
        assert!(matches!(log.append(&put(3, 1), Version::from_nanos(1)), Err(Refused::Failed(_))));
        assert_eq!(disk.writes(), writes);
        // Whole on the disk or not: nobody was told that it is.
        let found = scanned(&disk);
        assert!(found == [2] || (blocks == 2 && found == [2, 3]), "{found:?}");
    }
}

/// Each value is read from the blocks that hold it, wherever it is in its record.
#[test]
fn every_value_of_a_long_record_is_read() {
    let disk = fresh();
    let log = begin(&disk, 9).unwrap();
    let value = |n: usize| vec![n as u8 + 1; n * 977 % 9000];
    let entries: Vec<Entry<Payload>> = (0..20)
        .map(|n| {
            let owner = Owner { uid: 0, gid: 0 };
            let put = Put { version: 1, mode: 0o600, owner, value: Bytes::from(value(n)).into() };
            Entry { key: n.to_string(), change: Change::Put(put) }
        })
        .collect();
    log.append(&entries, Version::from_nanos(1)).unwrap();
    let contents = scan(&disk).unwrap();
    let record = contents.records.last().unwrap();
    assert!(record.len > 64 << 10, "{}", record.len);
    for (n, entry) in record.entries.iter().enumerate() {
        let Change::Put(put) = &entry.change else { panic!("{entry:?}") };
        let found = super::scan::value(&disk, record, put.value.clone()).unwrap();
        assert_eq!(found.chunks().concat(), value(n), "{n}");
    }
}
