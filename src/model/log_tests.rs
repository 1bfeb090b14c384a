//! The real committer with an intent log: what recovery makes of every crash state, at every moment.

use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;

use super::commit_tests::{Do, Rig, guard, rig, sound, tell};
use super::disk::{Content, Filesystem};
use super::engine::{Fault, Model};
use super::promise::Standing;
use crate::PutOptions;
use crate::commit::barrier::BarrierKind;
use crate::engine::{EngineKind, Mutant};
use crate::fs::buffer::AlignedBuffer;
use crate::log::layout::Layout;
use crate::log::memory::Memory;
use crate::log::record::Change;
use crate::log::scan::scan;
use crate::log::storage::Storage;
use crate::log::superblocks::Superblocks;
use crate::log::writer::Log;
use crate::protocol::{Call, Version};

/// A log whose every write is a moment of the model.
#[derive(Debug)]
struct Observed {
    disk: Memory,
    model: Arc<Model>,
}

impl Storage for Observed {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn inode(&self) -> u64 {
        self.disk.inode()
    }

    fn kind(&self) -> EngineKind {
        self.disk.kind()
    }

    fn read(&self, offset: u64, len: usize) -> nix::Result<AlignedBuffer> {
        self.disk.read(offset, len)
    }

    fn write(&self, bytes: &AlignedBuffer, offset: u64) -> nix::Result<()> {
        let written = self.disk.write(bytes, offset);
        self.model.set_logged(&format!("the log is written at {offset}: {written:?}"), live(&self.disk));
        written
    }
}

/// What recovery would write: the last change of each key that the log holds.
fn live(disk: &Memory) -> Vec<(String, Option<Content>)> {
    let mut last: Vec<(String, Option<Content>)> = Vec::new();
    for record in scan(disk).expect("no write of a test damages the log").records {
        for entry in &record.entries {
            last.retain(|(key, _)| *key != entry.key);
            match &entry.change {
                Change::Put(put) => {
                    let bytes = disk.read(record.header.position.offset, record.len as usize).unwrap();
                    let content = Content::of(&bytes[put.value.clone()]);
                    let version = Some(Version::from_nanos(put.version));
                    last.push((entry.key.clone(), Some(Content { version, mode: put.mode, ..content })));
                }
                Change::Delete => last.push((entry.key.clone(), None)),
                Change::FileRules => {}
            }
        }
    }
    last
}

/// A committer with a log. The write of the log with this number, if any, fails after so many blocks.
fn logged(filesystem: Filesystem, fault: Fault, mutant: Option<Mutant>, failing: Option<(usize, usize)>) -> Rig {
    let rig = rig(filesystem, BarrierKind::IntentLog, fault, mutant);
    let disk = Memory::new(4096, 256 << 10);
    let superblocks = Superblocks::create(&disk, Layout::new(4096, 256 << 10).unwrap(), [1; 16]).unwrap();
    let storage = Box::new(Observed { disk: disk.clone(), model: Arc::clone(&rig.model) });
    let log = Log::begin(storage, superblocks, 4, Version::MIN).unwrap();
    if let Some((write, blocks)) = failing {
        disk.fail(disk.writes() + write, blocks);
    }
    let filesystem = rig.committer.core().dirs.root().open_beneath("").unwrap();
    rig.committer.begin_log(log, Arc::new(filesystem)).unwrap();
    rig
}

/// Every kind of change by a lone caller and in batches, with guards beside the log and checkpoints among them.
fn everything(rig: &Rig) -> Vec<Standing> {
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

#[test]
fn mutants_with_a_log_are_caught() {
    // Without a file sync, a checkpoint moves the start before the files are durable.
    for mutant in [Mutant::NoFileSync, Mutant::UnloggedDelete, Mutant::NoFileRules] {
        for filesystem in Filesystem::ALL {
            let rig = logged(filesystem, sound(), Some(mutant), None);
            everything(&rig);
            rig.committer.drain();
            assert!(rig.model.history().check().is_err(), "{mutant} on {filesystem:?}");
        }
    }
}

/// A failed checkpoint whose sync is made again, and believed.
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
