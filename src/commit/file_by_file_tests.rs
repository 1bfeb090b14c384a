use std::time::Duration;

use super::log::{LoggedRig, logged, small};
use super::*;
use crate::commit::file_by_file::Choice;

/// A store whose next checkpoint goes file by file, as after a slow sync of the filesystem.
fn busy(fault: Fault) -> LoggedRig {
    let log = logged(fault);
    log.rig.committer.go_file_by_file();
    log
}

impl LoggedRig {
    /// How many checkpoints were made, and how many of them file by file.
    fn checkpoints(&self) -> (u64, u64) {
        let stats = self.rig.committer.stats().log.unwrap();
        (stats.checkpoints, stats.file_by_file)
    }

    fn is_synced_at_once(&self) -> bool {
        self.rig.count(|call| *call == Call::SyncFilesystem) > 0
    }
}

#[test]
fn every_file_is_written_again_and_synced() {
    let log = busy(Box::new(|_, _| None));
    log.rig.batch(Existing::Replace).into_iter().for_each(|result| _ = result.unwrap());
    log.make(Change::put("a/k0", "newer", PutOptions::new().mode(0o640))).unwrap();
    log.make(Change::delete("b/k1", None)).unwrap();
    log.make(Change::rename("a/k1", "b/moved")).unwrap();
    let before = fs::metadata(log.rig.path("a/k0")).unwrap();
    let syncs = log.rig.count(|call| *call == Call::SyncFile);
    log.rig.committer.checkpoint().unwrap();
    assert_eq!((log.checkpoints(), log.records().len(), log.is_synced_at_once()), ((1, 1), 0, false));
    // `a/k0`, `b/k0` and `b/moved`; a directory each, and those of the two deletes.
    assert_eq!(log.rig.count(|call| *call == Call::SyncFile) - syncs, 3);
    assert_eq!(log.rig.contents(), [b"newer".to_vec(), vec![], b"new".to_vec(), vec![]]);
    assert_eq!(fs::read(log.rig.path("b/moved")).unwrap(), b"new");
    let after = fs::metadata(log.rig.path("a/k0")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_ne!(before.ino(), after.ino());
    assert_eq!((before.mode(), before.mtime_nsec()), (after.mode(), after.mtime_nsec()));
    assert_eq!((log.rig.temporaries(), log.rig.is_poisoned()), (0, false));
}

#[test]
fn the_directory_of_a_deleted_name_is_synced() {
    for fails in [false, true] {
        let log = busy(fail(Call::is_dir_sync, 0, usize::from(fails), Errno::EIO));
        log.make(Change::delete("a/k0", None)).unwrap();
        assert_eq!((log.rig.committer.checkpoint().is_err(), log.rig.is_poisoned()), (fails, fails));
        assert_eq!(log.rig.count(Call::is_dir_sync), 1);
        log.rig.committer.drain();
        assert_eq!(log.records().is_empty(), !fails);
    }
}

/// Changes that come while it writes: it must not bring back what they have replaced.
#[test]
fn later_changes_stay() {
    let log = busy(Box::new(|_, _| None));
    for key in ["a/k0", "a/k1", "b/k0"] {
        log.make(small(key)).unwrap();
    }
    log.make(Change::delete("b/k1", None)).unwrap();
    let checkpoint = log.rig.engine.hold(Call::SyncFile);
    thread::scope(|scope| {
        let done = scope.spawn(|| log.rig.committer.checkpoint());
        // Its files are written, and not synced yet.
        while log.rig.temporaries() < 3 {
            thread::yield_now();
        }
        log.make(Change::put("a/k0", "later", PutOptions::new())).unwrap();
        log.make(Change::delete("a/k1", None)).unwrap();
        log.make(small("b/k1")).unwrap();
        drop(checkpoint);
        done.join().unwrap().unwrap();
    });
    assert_eq!(log.rig.contents(), [b"later".to_vec(), vec![], b"new".to_vec(), b"new".to_vec()]);
    assert_eq!(log.records(), [["put a/k0"], ["delete a/k1"], ["put b/k1"]]);
    assert_eq!((log.checkpoints(), log.rig.temporaries(), log.rig.is_poisoned()), ((1, 1), 0, false));
}

/// A file that another program has touched is not written over. The filesystem is synced instead.
#[test]
fn a_file_that_others_have_changed_stays() {
    let log = busy(Box::new(|_, _| None));
    log.make(small("a/k0")).unwrap();
    log.make(small("a/k1")).unwrap();
    fs::write(log.rig.path("a/k0"), "by hand").unwrap();
    log.rig.committer.checkpoint().unwrap();
    assert_eq!(log.rig.contents()[..2], [b"by hand".to_vec(), b"new".to_vec()]);
    assert_eq!((log.checkpoints(), log.records().len(), log.is_synced_at_once()), ((1, 0), 0, true));
    assert_eq!((log.rig.temporaries(), log.rig.is_poisoned()), (0, false));
}

/// Where there is no room for another file, the filesystem is synced. An unknown state closes the store, and the log keeps all.
#[test]
fn what_fails_leaves_the_records() {
    type Is = fn(&Call) -> bool;
    let cases: [(Is, Errno, bool); 4] = [
        (|call| matches!(call, Call::CreateTemp { .. }), Errno::ENOSPC, false),
        (|call| *call == Call::SyncFile, Errno::EIO, false),
        (|call| matches!(call, Call::Publish { .. }), Errno::ENOSPC, false),
        (Call::is_dir_sync, Errno::EIO, true),
    ];
    for (case, (wanted, errno, closes)) in cases.into_iter().enumerate() {
        // The first call of this kind of the checkpoint: each put of the store makes one at most.
        let first = [2, 0, 2, 0][case];
        let log = busy(fail(wanted, first, first + 1, errno));
        log.make(small("a/k0")).unwrap();
        log.make(small("a/k1")).unwrap();
        let result = log.rig.committer.checkpoint();
        assert_eq!((result.is_err(), log.rig.is_poisoned()), (closes, closes), "{case}: {result:?}");
        if closes {
            log.rig.committer.drain();
            assert_eq!(log.records(), [["put a/k0"], ["put a/k1"]]);
        } else {
            assert_eq!((log.checkpoints(), log.records().len(), log.rig.temporaries()), ((1, 0), 0, 0), "{case}");
            assert!(log.is_synced_at_once());
        }
        assert_eq!(log.rig.contents()[..2], [b"new", b"new"], "{case}");
    }
}

#[test]
fn the_faster_way_is_taken_and_the_other_tried_again() {
    let seconds = Duration::from_secs;
    let mut choice = Choice::default();
    assert!(!choice.is_file_by_file());
    choice.synced(Duration::from_millis(10));
    assert!(!choice.is_file_by_file());
    choice.synced(seconds(2));
    assert!(choice.is_file_by_file());
    choice.went_file_by_file(seconds(3));
    assert!(!choice.is_file_by_file(), "slower");
    choice.synced(seconds(4));
    let mut count = 0;
    while choice.is_file_by_file() {
        choice.went_file_by_file(seconds(1));
        count += 1;
    }
    assert_eq!(count, 8, "the neighbour may have gone");
    choice.synced(Duration::from_millis(10));
    choice.synced(seconds(2));
    assert!(choice.is_file_by_file(), "what was measured before is old");
}

/// A checkpoint that fails while a file is written and has no record yet: the kernel may have dropped its pages, too.
#[test]
fn a_file_that_was_written_before_a_failed_sync_is_refused() {
    let put = |key| Change::put(key, "7 bytes", PutOptions::new());
    let alone = |log: &LoggedRig| vec![log.make(put("a/k0"))];
    let in_company = |log: &LoggedRig| log.rig.committer.commit(ChangeGroups::of(vec![vec![put("a/k0"), put("b/k0")]]));
    for (case, make) in
        [&alone as &(dyn Fn(&LoggedRig) -> Vec<ChangeResult> + Sync), &in_company].into_iter().enumerate()
    {
        let log = logged(fail(|call| *call == Call::SyncFilesystem, 0, 1, Errno::EIO));
        log.make(small("a/k1")).unwrap();
        let write = log.rig.engine.hold(Call::Write { range: 0..7, sync: false });
        let results = thread::scope(|scope| {
            let results = scope.spawn(|| make(&log));
            while log.rig.temporaries() == 0 {
                thread::yield_now();
            }
            log.rig.committer.checkpoint().unwrap();
            drop(write);
            results.join().unwrap()
        });
        for result in results {
            let error = result.unwrap_err();
            assert_eq!((error.step(), error.outcome()), (Step::SyncFilesystem, Outcome::Unchanged), "{case}: {error}");
        }
        assert_eq!((log.records().len(), log.rig.temporaries(), log.rig.is_poisoned()), (0, 0, false));
        assert_eq!(log.rig.contents(), [b"old", b"new", b"old", b"old"]);
        log.make(put("a/k0")).unwrap();
    }
}
