use super::*;

/// The kernel forgets the pages of a failed writeback: the next sync succeeds, and proves nothing.
#[test]
fn a_checkpoint_whose_sync_fails_writes_the_files_again() {
    let log = logged(fail(|call| *call == Call::SyncFilesystem, 0, 1, Errno::EIO));
    log.rig.batch(Existing::Replace).into_iter().for_each(|result| _ = result.unwrap());
    // What was not written back.
    fs::write(log.rig.path("a/k0"), "").unwrap();
    log.rig.committer.checkpoint().unwrap();
    assert_eq!(log.rig.contents(), [NEW; 4]);
    assert_eq!((log.rig.count(|call| *call == Call::SyncFile), log.records().len()), (4, 0));
    let stats = log.rig.committer.stats().log.unwrap();
    assert_eq!((stats.checkpoints, stats.rewritten, log.rig.is_poisoned()), (1, 1, false));
}

/// A name that is gone in memory only cannot be removed again.
#[test]
fn a_checkpoint_whose_sync_fails_on_a_delete_closes_the_store() {
    let log = logged(fail(|call| *call == Call::SyncFilesystem, 0, 1, Errno::EIO));
    log.make(small("a/k0")).unwrap();
    log.make(Change::delete("a/k1", None)).unwrap();
    assert!(log.rig.committer.checkpoint().unwrap_err().is_poisoned());
    log.rig.committer.drain();
    assert_eq!(log.records(), [["put a/k0"], ["delete a/k1"]]);
}

#[test]
fn a_checkpoint_that_fails_twice_closes_the_store_and_leaves_the_log() {
    for second in [Call::SyncFile, Call::SyncDir] {
        let wanted = second.clone();
        let (mut syncs, mut others) = (0, 0);
        let log = logged(Box::new(move |_, call| {
            syncs += usize::from(*call == Call::SyncFilesystem);
            others += usize::from(*call == wanted);
            (*call == Call::SyncFilesystem && syncs == 1 || *call == wanted && others == 2).then_some(Errno::EIO)
        }));
        log.rig.batch(Existing::Replace).into_iter().for_each(|result| _ = result.unwrap());
        assert!(log.rig.committer.checkpoint().unwrap_err().is_poisoned(), "{second:?}");
        assert!(log.make(small("a/k0")).unwrap_err().is_poisoned());
        log.rig.committer.drain();
        assert_eq!(log.records(), [KEYS.map(|key| format!("put {key}")).to_vec()]);
    }
}

/// Whichever write of the superblocks fails, the start has moved or it has not, and the store is closed.
#[test]
fn a_checkpoint_whose_superblock_fails_closes_the_store() {
    for (write, moved) in [(0, false), (1, true)] {
        let log = logged(Box::new(|_, _| None));
        log.make(small("a/k0")).unwrap();
        log.disk.fail(log.disk.writes() + write, 0);
        assert!(log.rig.committer.checkpoint().unwrap_err().is_poisoned());
        log.rig.committer.drain();
        assert_eq!(log.records().is_empty(), moved);
    }
}

/// Nobody knows what a checkpoint has done that ended in a panic. No caller waits for the next one.
#[test]
fn a_checkpoint_that_panics_closes_the_store_and_leaves_the_log() {
    let log = logged(Box::new(|_, call| {
        assert_ne!(*call, Call::SyncFilesystem, "a test lets the checkpoint panic");
        None
    }));
    log.make(small("a/k0")).unwrap();
    assert!(log.rig.committer.checkpoint().unwrap_err().is_poisoned());
    assert!(log.make(small("a/k1")).unwrap_err().is_poisoned());
    assert!(log.rig.committer.checkpoint().unwrap_err().is_poisoned());
    log.rig.committer.drain();
    assert!(!log.rig.committer.core().leaves_no_log(), "no marker of an orderly end");
    assert_eq!((log.records(), log.rig.is_poisoned()), (vec![vec!["put a/k0".to_owned()]], true));
    assert_eq!(scan(&log.disk).unwrap().superblock.state, State::Running);
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

/// The next session takes every directory that it finds after a clean end for durable.
#[test]
fn a_clean_end_leaves_no_new_directory_unsynced() {
    let log = logged(fail(|call| matches!(call, Call::CreateTemp { .. }), 0, 1, Errno::ENOSPC));
    log.make(small("n/k")).unwrap_err();
    assert!(log.rig.path("n").is_dir());
    assert_eq!(log.rig.count(|call| *call == Call::SyncFilesystem), 0);
    log.rig.committer.drain();
    assert_eq!(log.rig.count(|call| *call == Call::SyncFilesystem), 1);
    assert!(log.rig.committer.core().leaves_no_log());
}
