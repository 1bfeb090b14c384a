use nix::errno::Errno;

use super::commit_tests::{Do, Rig, guard, sound};
use super::disk::Filesystem;
use super::engine::Fault;
use super::log_tests::{RECORDS, everything, logged, round};
use crate::PutOptions;
use crate::engine::Mutant;
use crate::protocol::Call;

/// Fails if a power cut at some moment breaks a promise.
fn check(rig: &Rig) -> Result<(), String> {
    rig.committer.drain();
    rig.model.history().check().map(|_| ())
}

/// The right protocol holds on every filesystem, and the wrong one on none.
fn caught(mutant: Mutant, run: impl Fn(Filesystem, Option<Mutant>) -> Rig) {
    for filesystem in Filesystem::ALL {
        check(&run(filesystem, None)).unwrap_or_else(|text| panic!("without {mutant}: {text}"));
        assert!(check(&run(filesystem, Some(mutant))).is_err(), "{mutant} on {filesystem:?}");
    }
}

#[test]
fn mutants_with_a_log_are_caught() {
    for mutant in [
        // A checkpoint moves the start before the files are durable.
        Mutant::NoFileSync,
        Mutant::EarlyStart,
        Mutant::UnloggedDelete,
        Mutant::NoFileRules,
        Mutant::UnsyncedPresent,
        Mutant::UnsyncedLog,
        Mutant::EarlyPublish,
    ] {
        for filesystem in Filesystem::ALL {
            let rig = logged(filesystem, sound(), Some(mutant), None);
            everything(&rig);
            // A name that changes early does no harm where nothing is written before a sync.
            let holds = mutant == Mutant::EarlyPublish && filesystem == Filesystem::Lazy;
            assert_eq!(check(&rig).is_ok(), holds, "{mutant} on {filesystem:?}");
        }
    }
}

/// Records of an earlier lap lie behind the last one.
#[test]
fn a_record_of_an_earlier_lap_that_is_accepted_is_caught() {
    caught(Mutant::AnySequence, |filesystem, mutant| round(filesystem, RECORDS, mutant));
}

/// A create is refused because of a put in the same batch, whose record fails.
#[test]
fn a_refusal_that_was_decided_on_a_lost_record_is_caught() {
    for block in [0, 1] {
        caught(Mutant::EarlyRefusal, |filesystem, mutant| {
            let rig = logged(filesystem, sound(), mutant, Some((0, block)));
            rig.commit(&[&[Do::Put("a/k7", 0), Do::Create("a/k7", 1)]]);
            rig
        });
    }
}

/// The first sync of a checkpoint fails.
fn failing_once() -> Fault {
    let mut syncs = 0;
    Box::new(move |_, call: &Call| {
        syncs += usize::from(*call == Call::SyncFilesystem);
        (*call == Call::SyncFilesystem && syncs == 1).then_some(Errno::EIO)
    })
}

#[test]
fn a_failed_sync_that_is_made_again_and_believed_is_caught() {
    caught(Mutant::RepeatedSync, |filesystem, mutant| {
        let rig = logged(filesystem, failing_once(), mutant, None);
        rig.make(Do::Put("a/k0", 0));
        let _ = rig.committer.checkpoint();
        rig
    });
}

/// What commits in the middle of a checkpoint.
const CHANGES: [fn(&Rig); 4] = [
    |rig| _ = rig.make(Do::Put("a/k0", 4)),
    |rig| _ = rig.make(Do::Delete("b/k0")),
    |rig| _ = rig.commit(&[&[Do::Create("b/k7", 5)], &[Do::Rename("a/k1", "b/k1")]]),
    |rig| guard(rig, "a/k0", 6, PutOptions::new()),
];

/// A put, a checkpoint with a change after so many of its steps, and another put; and whether the checkpoint has so many steps.
fn interrupted(filesystem: Filesystem, mutant: Option<Mutant>, change: fn(&Rig), steps: usize) -> (Rig, bool) {
    let rig = logged(filesystem, sound(), mutant, None);
    rig.make(Do::Put("a/k0", 0));
    let committing = rig.clone();
    rig.model.set_meanwhile(steps, move || change(&committing));
    rig.committer.checkpoint().unwrap();
    let reached = !rig.model.forget_meanwhile();
    rig.make(Do::Put("a/k1", 1));
    (rig, reached)
}

/// Changes go on while a checkpoint syncs and moves the start.
#[test]
fn commits_at_every_step_of_a_checkpoint_are_recovered() {
    for (change, filesystem) in CHANGES.into_iter().flat_map(|change| Filesystem::ALL.map(|disk| (change, disk))) {
        let mut steps = 0;
        loop {
            let (rig, reached) = interrupted(filesystem, None, change, steps);
            check(&rig).unwrap_or_else(|text| panic!("after {steps} steps: {text}"));
            if !reached {
                break;
            }
            steps += 1;
        }
        // Before and after the sync, and each write of a superblock.
        assert_eq!(steps, 6);
    }
}

/// A checkpoint must not cover what commits while its sync runs: then it overtakes the next one.
#[test]
fn a_checkpoint_of_what_came_after_its_sync_is_caught() {
    for change in CHANGES.into_iter().take(3) {
        caught(Mutant::LateCover, |filesystem, mutant| interrupted(filesystem, mutant, change, 1).0);
    }
}
