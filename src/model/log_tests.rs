//! The real committer with an intent log: what recovery makes of every crash state, at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use nix::errno::Errno;

use super::commit_tests::{Do, Rig, guard, rig, sound, tell};
use super::disk::Filesystem;
use super::engine::Fault;
use super::observed::Observed;
use super::promise::Standing;
use crate::PutOptions;
use crate::commit::barrier::BarrierKind;
use crate::engine::Mutant;
use crate::lock;
use crate::log::layout::{AREA, Layout};
use crate::log::memory::Memory;
use crate::log::record::{Change, Entry, Put};
use crate::log::scan::scan;
use crate::log::superblocks::Superblocks;
use crate::log::writer::Log;
use crate::protocol::{Call, Owner, Version};

/// The blocks of the logs: every record has one, and eight of them fill the log.
const BLOCK: u32 = 16 << 10;
const LEN: u64 = 256 << 10;
pub(super) const RECORDS: u64 = (LEN - AREA) / BLOCK as u64;

/// A clean log with a record of an earlier session in every place. The next record goes behind this one, from 1 to the last.
pub(super) fn used_log(place: u64) -> Memory {
    static MADE: Mutex<BTreeMap<u64, Memory>> = Mutex::new(BTreeMap::new());
    lock(&MADE).entry(place).or_insert_with(|| make_used_log(place)).copy()
}

fn make_used_log(place: u64) -> Memory {
    let disk = Memory::new(BLOCK as usize, LEN as usize);
    let mut superblocks = Superblocks::create(&disk, Layout::new(BLOCK, LEN).unwrap(), [1; 16]).unwrap();
    for lap in [RECORDS, place] {
        let log = Log::begin(Box::new(disk.clone()), superblocks, lap + 1, Version::MIN).unwrap();
        // One is the first of the session.
        for _ in 1..lap {
            let owner = Owner { uid: 0, gid: 0 };
            let put = Put { version: 1, mode: 0o600, owner, value: Bytes::from_static(b"zz").into() };
            log.append(&[Entry { key: "a/k0".into(), change: Change::Put(put) }], Version::MIN).unwrap();
            log.advance(log.last()).unwrap();
        }
        log.end().unwrap();
        superblocks = Superblocks::of(&scan(&disk).unwrap());
    }
    disk
}

/// A committer with a log. The write of the log with this number, if any, fails after so many blocks.
pub(super) fn logged(
    filesystem: Filesystem,
    fault: Fault,
    mutant: Option<Mutant>,
    failing: Option<(usize, usize)>,
) -> Rig {
    let disk = used_log(RECORDS);
    if let Some((write, blocks)) = failing {
        // The first three begin the session.
        disk.fail(disk.writes() + 3 + write, blocks);
    }
    logged_on(&disk, rig(filesystem, BarrierKind::IntentLog, fault, mutant), mutant)
}

/// Begins a session in a clean log.
pub(super) fn logged_on(disk: &Memory, rig: Rig, mutant: Option<Mutant>) -> Rig {
    let superblocks = Superblocks::of(&scan(disk).unwrap());
    let storage = Box::new(Observed::durable(disk, &rig.model, mutant));
    let log = Log::begin(storage, superblocks, 99, Version::MIN).unwrap();
    let filesystem = rig.committer.core().dirs.root().open_beneath("").unwrap();
    rig.committer.begin_log(log, Arc::new(filesystem)).unwrap();
    rig
}

/// Every kind of change by a lone caller and in batches, with guards beside the log and checkpoints among them.
pub(super) fn everything(rig: &Rig) -> Vec<Standing> {
    let mut told = rig.make(Do::Put("a/k0", 0));
    told.extend(rig.commit(&[&[Do::Put("a/k1", 1), Do::Create("b/k7", 2)], &[Do::Delete("b/k0"), Do::Put("a/k0", 3)]]));
    guard(rig, "a/k0", 4, PutOptions::new());
    told.extend(rig.make(Do::Rename("a/k1", "b/k0")));
    let _ = rig.committer.checkpoint();
    told.extend(rig.make(Do::Put("a/k0", 5)));
    told.extend(rig.make(Do::Delete("b/k7")));
    told
}

#[test]
fn every_crash_is_recovered_from_the_log() {
    let (mut count, begin) = (0, Instant::now());
    for filesystem in Filesystem::ALL {
        let rig = logged(filesystem, sound(), None, None);
        assert!(everything(&rig).iter().all(|standing| *standing == Standing::Durable));
        rig.committer.drain();
        count += rig.model.history().check().unwrap_or_else(|text| panic!("{text}"));
    }
    tell("a log", count, begin);
}

/// Twice round the log, from each of its places: a record is never taken for one of another lap.
#[test]
fn every_crash_is_recovered_in_every_place_of_the_log() {
    let (mut count, begin, mut wraps) = (0, Instant::now(), 0);
    let mut places = BTreeMap::new();
    for place in 1..=RECORDS {
        let rig = round(Filesystem::Posix, place, None);
        let history = rig.model.history();
        count += history.check().unwrap_or_else(|text| panic!("from place {place}: {text}"));
        let mut logs: Vec<_> = history.moments.iter().filter_map(|moment| moment.log.clone()).collect();
        logs.dedup_by_key(|log| Arc::as_ptr(log));
        for log in logs {
            let offsets: Vec<u64> =
                scan(&log.disk).unwrap().records.iter().map(|record| record.header.position.offset).collect();
            wraps += usize::from(!offsets.is_sorted());
            offsets.iter().for_each(|offset| *places.entry(*offset).or_insert(0) += 1);
        }
    }
    let all: BTreeSet<u64> = (0..RECORDS).map(|place| AREA + place * u64::from(BLOCK)).collect();
    assert_eq!(places.keys().copied().collect::<BTreeSet<_>>(), all, "{places:?}");
    assert!(wraps > 10, "{wraps}");
    tell("round the log", count, begin);
}

/// Twice round a log, from the place behind this one.
pub(super) fn round(filesystem: Filesystem, place: u64, mutant: Option<Mutant>) -> Rig {
    let rig = logged_on(&used_log(place), rig(filesystem, BarrierKind::IntentLog, sound(), mutant), mutant);
    for turn in 0..6 {
        rig.make(Do::Put("a/k0", turn * 2));
        rig.make(if turn % 2 == 0 { Do::Create("b/k7", turn * 2 + 1) } else { Do::Delete("b/k7") });
        rig.make(Do::Put("a/k0", 12 + turn));
        rig.committer.checkpoint().unwrap();
    }
    rig.committer.drain();
    rig
}

/// Parts of it, each short enough to fail at every call.
const PARTS: [fn(&Rig); 3] = [
    |rig| {
        rig.make(Do::Put("a/k0", 0));
        guard(rig, "a/k0", 1, PutOptions::new());
        let _ = rig.committer.checkpoint();
    },
    |rig| {
        rig.commit(&[&[Do::Put("a/k1", 0), Do::Create("a/k7", 1)], &[Do::Delete("a/k1")]]);
        let _ = rig.committer.checkpoint();
        rig.make(Do::Put("a/k1", 2));
    },
    |rig| {
        rig.make(Do::Rename("a/k1", "b/k0"));
        let _ = rig.committer.checkpoint();
        rig.make(Do::Delete("b/k0"));
    },
];

/// Each call fails in turn, and each write of the log: the results are true, and stay true after every cut and its recovery.
#[test]
fn every_failure_with_a_log_is_told_truly() {
    let (mut count, begin) = (0, Instant::now());
    for (part, filesystem) in (0..PARTS.len()).flat_map(|part| Filesystem::ALL.map(|filesystem| (part, filesystem))) {
        let mut check = |rig: Rig, what: &dyn Fn() -> String| {
            PARTS[part](&rig);
            rig.committer.drain();
            let checked = rig.model.history().check();
            count += checked.unwrap_or_else(|text| panic!("part {part}, {}: {text}", what()));
            rig.model.calls().len()
        };
        for errno in [Errno::EIO, Errno::ENOSPC] {
            for failing in 0.. {
                let rig = logged(filesystem, Box::new(move |n, _: &_| (n == failing).then_some(errno)), None, None);
                if failing >= check(rig, &|| format!("{errno} at call {failing}")) {
                    break;
                }
            }
        }
        for (write, blocks) in (0..8).flat_map(|write| [(write, 0), (write, 1)]) {
            let rig = logged(filesystem, sound(), None, Some((write, blocks)));
            check(rig, &|| format!("write {write} of the log fails after {blocks} blocks"));
        }
    }
    tell("a log with failures", count, begin);
}

/// A failed checkpoint writes the files again.
#[test]
fn a_second_sync_after_a_failed_one_proves_nothing() {
    for filesystem in [Filesystem::Posix, Filesystem::Lazy] {
        let mut syncs = 0;
        let fault = Box::new(move |_, call: &Call| {
            syncs += usize::from(*call == Call::SyncFilesystem);
            (*call == Call::SyncFilesystem && syncs == 1).then_some(Errno::EIO)
        });
        let rig = logged(filesystem, fault, None, None);
        rig.make(Do::Put("a/k0", 0));
        rig.committer.checkpoint().unwrap();
        rig.committer.drain();
        // The right protocol wrote the file again: more than the one put.
        let published = rig.model.calls().iter().filter(|call| matches!(call, Call::Publish { .. })).count();
        assert_eq!(published, 2);
        rig.model.history().check().unwrap_or_else(|text| panic!("{text}"));
    }
}
