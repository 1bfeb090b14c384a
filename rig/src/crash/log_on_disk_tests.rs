//! Tests of what is known about the log's writes.

use std::sync::Arc;

use super::super::states::windows;
use super::*;

const SAID: &str = "Filesystem type is: ef53
File size of /mnt/store/.ringbolt/log is 262144 (512 blocks of 512 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..     255:      16384..     16639:    256:
   1:      256..     511:      72000..     72255:    256:      16640: last,eof
/mnt/store/.ringbolt/log: 2 extents found
";

/// The blocks that are written.
const BLOCK: u64 = 4096;

fn on_disk() -> LogOnDisk {
    LogOnDisk { extents: SAID.lines().filter_map(extent).collect() }
}

fn write(block: u64, bytes: Vec<u8>) -> Record {
    Record::Write { offset: block * BLOCK, bytes: Arc::from(bytes) }
}

fn superblock(block: u64, start: u8) -> Record {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(SUPERBLOCK);
    bytes[START].fill(start);
    write(block, bytes)
}

#[test]
fn extents_are_found() {
    assert_eq!(on_disk().ranges(), [2048 * BLOCK..2080 * BLOCK, 9000 * BLOCK..9032 * BLOCK]);
    assert_eq!((on_disk().slot(0), on_disk().slot(1)), (Some(2048 * BLOCK), Some(2064 * BLOCK)));
    assert!(on_disk().is_written(&write(9031, vec![0])) && !on_disk().is_written(&write(9032, vec![0])));
}

#[test]
fn windows_around_a_checkpoint_and_a_wrap_are_found() {
    let record = |block: u64| [write(9000 + block, vec![0; 4096]), Record::Flush];
    // A record, the end of the area, the wrap; five that are neither; both superblocks; one more record.
    let mut log: Vec<Record> = [1, 31, 0, 1, 2, 3, 4, 5].into_iter().flat_map(record).collect();
    log.extend([superblock(2048, 7), Record::Flush, superblock(2064, 7), Record::Flush, superblock(2048, 7)]);
    let base = Chunks::new(10_000 * BLOCK);
    assert_eq!(on_disk().starts_moved(&base, &log), [16, 18], "the third does not move the start");
    let around = on_disk().around(&base, &log, &windows(&log));
    let at = |is: fn(&Around) -> bool| (0..around.len()).filter(|n| is(&around[*n])).collect::<Vec<_>>();
    assert_eq!(at(|around| around.wrap), [1, 2, 3]);
    assert_eq!(at(|around| around.checkpoint), [7, 8, 9, 10]);
}

#[test]
fn only_a_superblock_rots() {
    let mut content = Chunks::new(10_000 * BLOCK);
    assert!(on_disk().rot(&content, &mut Rng::with_seed(1)).is_err());
    for block in [2048, 2064] {
        superblock(block, 1).apply(&mut content);
    }
    let mut slots = [0; 2];
    for seed in 0..100 {
        let Rot { offset, flips } = on_disk().rot(&content, &mut Rng::with_seed(seed)).unwrap();
        let slot =
            [2048_u64, 2064].iter().position(|block| (block * BLOCK..block * BLOCK + 256).contains(&offset)).unwrap();
        slots[slot] += 1;
        assert!(flips.iter().all(|flip| *flip != 0));
    }
    assert!(slots.iter().all(|count| *count > 20));
}

#[test]
fn the_last_flush_of_a_sync_is_left_out_and_no_other() {
    let (record, other) = (|| write(9000, vec![0; 4096]), || write(1, vec![0; 4096]));
    let base = Chunks::new(10_000 * BLOCK);
    let flushes = |mut log: Vec<Record>| {
        on_disk().leave_out_flushes(&base, &mut log);
        (0..log.len()).filter(|at| matches!(log[*at], Record::Flush)).collect::<Vec<_>>()
    };
    let superblocks = || [superblock(2048, 7), Record::Flush, superblock(2064, 7), Record::Flush];
    let synced = [other(), Record::Flush, other(), Record::Flush, record(), Record::Flush];
    assert_eq!(flushes(synced.into_iter().chain(superblocks()).collect()), [1, 5, 7, 9]);
    // It may be the flush of the record that nobody waited for before.
    let shared = [other(), Record::Flush, record(), other(), Record::Flush];
    assert_eq!(flushes(shared.into_iter().chain(superblocks()).collect()), [1, 4, 6, 8]);
    let forced = [other(), Record::Flush, record(), Record::Forced, other(), Record::Flush, record(), Record::Forced];
    assert_eq!(flushes(forced.into_iter().chain(superblocks()).collect()), [1, 9, 11]);
}
