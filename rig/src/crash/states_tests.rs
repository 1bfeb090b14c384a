//! Tests of the crash states of a log.

use std::sync::Arc;

use super::*;

fn write(offset: u64, len: usize) -> Record {
    Record::Write { offset, bytes: Arc::from(vec![offset as u8 + 1; len]) }
}

#[test]
fn windows_lie_between_flushes() {
    let log = [write(0, 512), Record::Flush, Record::Flush, write(1, 512), write(2, 512), Record::Flush];
    let found: Vec<_> = windows(&log).into_iter().map(|window| (window.writes, window.end)).collect();
    assert_eq!(found, [(0..1, 1), (2..2, 2), (3..5, 5), (6..6, 6)]);
}

#[test]
fn every_subset_of_a_few_and_some_of_many() {
    let mut rng = Rng::with_seed(1);
    for count in 0..9 {
        let log: Vec<Record> = (0..count).map(|n| write(n, 512)).collect();
        let window = &windows(&log)[0];
        let mut found = states(window, &log, &mut rng);
        assert!(found.iter().all(|state| state.torn.is_none()), "one sector cannot be torn");
        assert!(found[0].kept.is_empty() && found.iter().any(|state| state.kept.len() == count as usize));
        found.dedup();
        match count {
            0..=4 => assert_eq!(found.len(), 1 << count),
            _ => assert!(found.len() > 12),
        }
    }
}

#[test]
fn a_torn_write_keeps_whole_sectors() {
    let log = [write(0, 4096)];
    for seed in 0..100 {
        let all = states(&windows(&log)[0], &log, &mut Rng::with_seed(seed));
        let torn = all.iter().find(|state| state.torn.is_some()).unwrap();
        let mut chunks = Chunks::new(4096);
        torn.apply(&log, &mut chunks);
        let sectors: Vec<Vec<u8>> = (0..8).map(|n| chunks.read(n * 512, 512)).collect();
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        let kept = sectors.iter().filter(|sector| sector[0] == 1).count();
        assert!((1..8).contains(&kept), "{torn}: {kept}");
    }
}

#[test]
fn a_torn_write_keeps_any_of_its_blocks() {
    let log = [write(0, 4 * 4096)];
    let mut seen = std::collections::HashSet::new();
    for seed in 0..500 {
        let all = states(&windows(&log)[0], &log, &mut Rng::with_seed(seed));
        let in_blocks = |state: &&State| state.torn.as_ref().is_some_and(|torn| torn.in_blocks);
        let torn = all.iter().find(in_blocks).unwrap();
        let mut chunks = Chunks::new(4 * 4096);
        torn.apply(&log, &mut chunks);
        let blocks: Vec<Vec<u8>> = (0..4).map(|n| chunks.read(n * 4096, 4096)).collect();
        assert!(blocks.iter().all(|block| block.iter().all(|byte| *byte == block[0])));
        seen.insert(blocks.iter().map(|block| block[0]).collect::<Vec<_>>());
    }
    assert_eq!(seen.len(), 14, "every subset except none and all");
}

#[test]
fn forced_unit_access_makes_one_write_durable_and_no_other() {
    let log =
        [write(0, 512), write(1, 512), Record::Forced, write(2, 512), write(3, 512), Record::Forced, Record::Flush];
    let all = windows(&log);
    let found: Vec<_> = all.iter().map(|window| (window.writes.clone(), window.forced.clone(), window.end)).collect();
    assert_eq!(found, [(0..2, vec![], 2), (0..5, vec![1], 5), (0..6, vec![1, 4], 6), (7..7, vec![], 7)]);
    let kept = |window| states(window, &log, &mut Rng::with_seed(1)).into_iter().map(|state| state.kept);
    let kept: Vec<Vec<Vec<usize>>> = all.iter().map(|window| kept(window).collect()).collect();
    assert!(kept[0].contains(&vec![]) && kept[0].contains(&vec![0, 1]));
    assert!(kept[1].iter().all(|kept| kept.contains(&1)) && kept[1].contains(&vec![1]));
    assert_eq!(kept[2], [vec![1, 4], vec![0, 1, 4], vec![1, 3, 4], vec![0, 1, 3, 4]]);
    assert_eq!(kept[3], [Vec::<usize>::new()]);
}

#[test]
fn rot_changes_bytes_of_the_disk_and_not_of_the_log() {
    let log = [write(0, 512)];
    let rot = Some(Rot { offset: 3, flips: vec![1, 0x80] });
    let state = State { window: windows(&log)[0].clone(), kept: vec![0], torn: None, rot };
    let mut chunks = Chunks::new(512);
    state.apply(&log, &mut chunks);
    assert_eq!(chunks.read(2, 4), [1, 0, 0x81, 1]);
}
