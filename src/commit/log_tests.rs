use crate::log::layout::Layout;
use crate::log::memory::Memory;
use crate::log::record::Change as Logged;
use crate::log::scan::scan;
use crate::log::superblock::State;
use crate::log::superblocks::Superblocks;

use super::*;

const LEN: usize = 256 << 10;

/// A committer with a log in memory, and the disk of the log.
pub(super) struct LoggedRig {
    pub(super) rig: Rig,
    pub(super) disk: Memory,
}

pub(super) fn logged(fault: Fault) -> LoggedRig {
    let rig = rig(BarrierKind::IntentLog, fault);
    let disk = Memory::new(4096, LEN);
    let superblocks = Superblocks::create(&disk, Layout::new(4096, LEN as u64).unwrap(), [9; 16]).unwrap();
    let log = Log::begin(Box::new(disk.clone()), superblocks, 7, Version::MIN).unwrap();
    let own = rig.committer.core().dirs.root().open_beneath("").unwrap();
    rig.committer.begin_log(log, Arc::new(own)).unwrap();
    LoggedRig { rig, disk }
}

impl LoggedRig {
    /// The live records: each as its keys, with what becomes of them.
    pub(super) fn records(&self) -> Vec<Vec<String>> {
        let records = scan(&self.disk).unwrap().records;
        let entries = records.into_iter().map(|record| {
            let entry = |entry: crate::log::record::Entry<Range<usize>>| match entry.change {
                Logged::Put(_) => format!("put {}", entry.key),
                Logged::Delete => format!("delete {}", entry.key),
                Logged::FileRules => format!("file rules {}", entry.key),
            };
            record.entries.into_iter().map(entry).collect::<Vec<_>>()
        });
        entries.filter(|entries| !entries.is_empty()).collect()
    }

    pub(super) fn make(&self, change: Change) -> ChangeResult {
        self.rig.committer.make(change)
    }

    fn syncs(&self) -> usize {
        self.rig.count(|call| is_file_sync(call) || call.is_dir_sync() || *call == Call::SyncPresent)
    }
}

/// Longer than a record of this log takes.
fn large(key: &str) -> Change {
    Change::put(key, vec![1; LEN / 8], PutOptions::new())
}

pub(super) fn small(key: &str) -> Change {
    put(key, PutOptions::new())
}

#[test]
fn a_commit_is_one_write_of_the_log_and_no_sync() {
    let log = logged(Box::new(|_, _| None));
    let before = log.disk.writes();
    log.make(small("a/k0")).unwrap();
    assert_eq!(log.disk.writes(), before + 1);
    log.rig.batch(Existing::Replace).into_iter().for_each(|result| _ = result.unwrap());
    log.make(Change::delete("b/k1", None)).unwrap();
    assert_eq!((log.disk.writes(), log.syncs()), (before + 3, 0));
    assert_eq!(log.rig.contents(), [NEW, NEW, NEW, b""]);
    let batch = KEYS.map(|key| format!("put {key}")).to_vec();
    assert_eq!(log.records(), [vec!["put a/k0".to_owned()], batch, vec!["delete b/k1".into()]]);
    log.rig.committer.checkpoint().unwrap();
    assert_eq!((log.records().len(), log.rig.count(|call| *call == Call::SyncFilesystem)), (0, 1));
    log.rig.committer.drain();
    assert_eq!(scan(&log.disk).unwrap().superblock.state, State::Clean);
}

/// Nothing is published before its record is durable, and nobody can tell what a failed write of the log has left.
#[test]
fn a_record_that_fails_publishes_nothing_and_closes_the_store() {
    for blocks in [0, 1] {
        for solo in [true, false] {
            let log = logged(Box::new(|_, _| None));
            log.disk.fail(log.disk.writes(), blocks);
            let results = if solo { vec![log.make(small("a/k0"))] } else { log.rig.batch(Existing::Replace) };
            assert!(outcomes(&results).iter().all(|outcome| *outcome == UNKNOWN), "{results:?}");
            assert!(log.rig.contents().iter().all(|content| content == OLD) && log.rig.is_poisoned());
            assert_eq!(log.rig.count(is_publish), 0);
            // The log keeps what it has: the next open decides.
            log.rig.committer.drain();
            assert_eq!(scan(&log.disk).unwrap().superblock.state, State::Running);
        }
    }
}

#[test]
fn what_fails_before_the_record_is_not_in_it() {
    for (wanted, failed) in [
        (fail(|call| matches!(call, Call::CreateTemp { .. }), 1, 2, Errno::ENOSPC), 1),
        (fail(|call| matches!(call, Call::Write { .. }), 2, 3, Errno::ENOSPC), 2),
        (fail(|call| *call == Call::Describe, 0, 1, Errno::EIO), 0),
        (fail(|call| matches!(call, Call::Admit(_)), 3, 4, Errno::EIO), 3),
    ] {
        let log = logged(wanted);
        let results = log.rig.batch(Existing::Replace);
        let mut expected = [None; 4];
        expected[failed] = UNCHANGED;
        assert_eq!(outcomes(&results), expected);
        let keys: Vec<String> =
            KEYS.iter().enumerate().filter(|(at, _)| *at != failed).map(|(_, key)| format!("put {key}")).collect();
        assert_eq!((log.records(), log.rig.temporaries(), log.rig.is_poisoned()), (vec![keys], 0, false));
    }
}

/// After the record, a change only goes forward: if its name does not change, the next open changes it.
#[test]
fn a_rename_that_fails_after_the_record_is_unknown() {
    let log = logged(fail(is_publish, 1, 2, Errno::ENOSPC));
    assert_eq!(outcomes(&log.rig.batch(Existing::Replace)), [None, UNKNOWN, None, None]);
    assert!(log.rig.is_poisoned());
    log.rig.committer.drain();
    assert_eq!(log.records(), [KEYS.map(|key| format!("put {key}")).to_vec()]);
}

#[test]
fn conditions_are_decided_before_the_record() {
    let log = logged(Box::new(|_, _| None));
    let version = log.make(small("a/k0")).unwrap().version().unwrap();
    let put_if = |version| Change::put("a/k0", "newer", PutOptions::new().expect_version(version));
    log.make(put_if(version)).unwrap();
    assert!(log.make(put_if(version)).unwrap_err().is_version_mismatch());
    assert!(log.make(put("a/k1", PutOptions::new().create_new(true))).unwrap_err().is_already_exists());
    assert!(log.make(Change::delete("a/none", None)).unwrap_err().is_not_found());
    assert!(log.make(Change::delete("a/k0", Some(version))).unwrap_err().is_version_mismatch());
    assert!(log.make(Change::delete("a", None)).unwrap_err().is_a_directory());
    assert!(log.make(small("b")).unwrap_err().is_a_directory());
    assert_eq!(log.records(), [["put a/k0"], ["put a/k0"]]);
    assert_eq!((log.rig.temporaries(), log.rig.is_poisoned()), (0, false));
}

/// The second change of a key waits for the first: its condition is decided when that is in the file.
#[test]
fn changes_of_one_key_are_in_different_records() {
    let log = logged(Box::new(|_, _| None));
    let create = |key| put(key, PutOptions::new().create_new(true));
    let group = vec![create("a/x"), create("a/x"), Change::delete("a/x", None), create("a/x"), create("b/x")];
    let results = log.rig.committer.commit(ChangeGroups::of(vec![group]));
    assert_eq!(outcomes(&results), [None, UNCHANGED, None, None, None]);
    assert_eq!(log.records(), [vec!["put a/x"], vec!["delete a/x"], vec!["put a/x", "put b/x"]]);
}

#[test]
fn a_failed_condition_stops_the_later_groups() {
    let log = logged(Box::new(|_, _| None));
    let groups = vec![vec![small("a/x"), put("a/k0", PutOptions::new().create_new(true))], vec![small("b/x")]];
    let results = log.rig.committer.commit(ChangeGroups::of(groups));
    assert_eq!(outcomes(&results), [None, UNCHANGED, UNCHANGED]);
    assert!(results[2].as_ref().unwrap_err().is_not_attempted());
    assert_eq!(log.records(), [["put a/x"]]);
}

/// A change that goes beside the log: the log must not bring back what it holds of the key from before.
#[test]
fn what_goes_beside_the_log_ends_the_records_of_its_key() {
    let log = logged(Box::new(|_, _| None));
    log.make(large("a/k0")).unwrap();
    assert_eq!((log.records().len(), log.rig.count(|call| *call == Call::SyncPresent)), (0, 0), "nothing to end");
    log.make(small("a/k0")).unwrap();
    log.make(large("a/k0")).unwrap();
    log.make(small("a/k0")).unwrap();
    log.make(large("b/x")).unwrap();
    log.make(Change::rename("b/x", "a/k0")).unwrap();
    let moved = vec!["file rules a/k0", "file rules b/x"];
    assert_eq!(log.records(), [vec!["put a/k0"], vec!["file rules a/k0"], vec!["put a/k0"], moved]);
    // The present content was durable before its record said so.
    let calls = log.rig.engine.ran();
    let present = calls.iter().position(|call| *call == Call::SyncPresent).unwrap();
    assert!(calls[present..].iter().any(is_publish));
    // A checkpoint covers all: the next one has nothing to end.
    log.rig.committer.checkpoint().unwrap();
    log.make(large("a/k0")).unwrap();
    assert_eq!((log.records().len(), log.rig.is_poisoned()), (0, false));
}

/// The last change of the key is the put: recovery keeps the file.
#[test]
fn a_rename_onto_itself_keeps_the_file() {
    let log = logged(Box::new(|_, _| None));
    log.make(Change::rename("a/k0", "a/k0")).unwrap();
    assert_eq!(log.records(), [["delete a/k0", "put a/k0"]]);
}

/// Whatever the length of its key, the longest value that the log takes fits into a record.
#[test]
fn the_longest_value_with_the_longest_key_fits() {
    let log = logged(Box::new(|_, _| None));
    let long = ["x".repeat(250), "y".repeat(250)].map(|name| format!("a/{name}"));
    for len in (LEN / 16 - 10_000..LEN / 16 + 200).step_by(100) {
        log.make(Change::put(&long[0], vec![7; len], PutOptions::new())).unwrap();
        log.make(Change::rename(&long[0], &long[1])).unwrap();
    }
    // The shorter ones are logged, the longer ones synced.
    assert!(log.rig.committer.stats().log.unwrap().records > 10 && log.syncs() > 0);
}

#[test]
fn a_rename_is_a_record_if_that_can_hold_the_file() {
    let log = logged(Box::new(|_, _| None));
    let version = log.make(small("a/x")).unwrap().version().unwrap();
    log.make(Change::rename("a/x", "b/k1")).unwrap();
    assert_eq!(log.records(), [vec!["put a/x"], vec!["delete a/x", "put b/k1"]]);
    let moved = scan(&log.disk).unwrap().records.pop().unwrap();
    let Logged::Put(put) = &moved.entries[1].change else { panic!("{moved:?}") };
    assert_eq!((put.version, put.value.len(), put.mode), (version.as_nanos(), NEW.len(), 0o600));
    assert_eq!((fs::read(log.rig.path("b/k1")).unwrap(), log.syncs()), (NEW.to_vec(), 0));
    // A swap, in the log and in the files.
    for (from, to) in [("a/k0", "a/swap"), ("b/k1", "a/k0"), ("a/swap", "b/k1")] {
        log.make(Change::rename(from, to)).unwrap();
    }
    assert_eq!((log.rig.contents(), log.syncs()), (vec![NEW.to_vec(), OLD.into(), OLD.into(), OLD.into()], 0));
    // A file with two names, and one that is not there.
    fs::hard_link(log.rig.path("a/k1"), log.rig.path("a/other")).unwrap();
    log.make(Change::rename("a/k1", "a/third")).unwrap();
    assert!(log.syncs() > 0);
    assert!(log.make(Change::rename("a/none", "a/k0")).unwrap_err().is_not_found());
    assert!(log.make(Change::rename("a", "c")).unwrap_err().is_a_directory());
    assert!(!log.rig.is_poisoned());
}

#[test]
fn a_record_that_the_file_rules_that_fails_closes_the_store() {
    let log = logged(Box::new(|_, _| None));
    log.make(small("a/k0")).unwrap();
    log.disk.fail(log.disk.writes(), 0);
    assert_eq!(outcome(&log.make(large("a/k0"))), UNCHANGED);
    assert!(log.rig.is_poisoned());
    assert_eq!((fs::read(log.rig.path("a/k0")).unwrap(), log.rig.temporaries()), (NEW.to_vec(), 0));
}

#[test]
fn a_present_content_that_cannot_be_synced_closes_the_store() {
    let log = logged(fail(|call| *call == Call::SyncPresent, 0, 1, Errno::EIO));
    log.make(small("a/k0")).unwrap();
    assert_eq!(outcome(&log.make(large("a/k0"))), UNCHANGED);
    assert!(log.rig.is_poisoned());
    assert_eq!(log.records(), [["put a/k0"]]);
}

/// Recovery gives no version again that was given before: not even that of a change whose record was torn.
#[test]
fn a_record_bounds_the_versions_before_it() {
    let log = logged(Box::new(|_, _| None));
    let given: Vec<u64> = (0..3).map(|_| log.make(small("a/k0")).unwrap().version().unwrap().as_nanos()).collect();
    let contents = scan(&log.disk).unwrap();
    assert!(contents.superblock.version_floor < given[0]);
    let floors = contents.records.iter().map(|record| record.header.version_floor).skip(1);
    assert!(floors.zip(&given).all(|(floor, given)| floor >= *given), "{given:?} {:?}", contents.records);
}

/// A log that is much shorter than what goes through it: checkpoints make room while writers go on.
#[test]
fn writers_go_round_the_log() {
    let log = logged(Box::new(|_, _| None));
    thread::scope(|scope| {
        for writer in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..60_u8 {
                    let key = format!("a/{writer}.{}", n % 3);
                    let len = 10 + usize::from(n) * 200;
                    log.make(Change::put(&key, vec![n; len], PutOptions::new())).unwrap();
                }
            });
        }
    });
    for writer in 0..4 {
        let last: Vec<u8> = (0..3).map(|n| fs::read(log.rig.path(&format!("a/{writer}.{n}"))).unwrap()[0]).collect();
        assert_eq!(last, [57, 58, 59]);
    }
    let stats = log.rig.committer.stats().log.unwrap();
    assert!(stats.checkpoints > 2 && stats.used <= stats.capacity, "{stats:?}");
    log.rig.committer.drain();
    assert!(!log.rig.is_poisoned() && scan(&log.disk).unwrap().superblock.state == State::Clean);
}

#[test]
fn new_directories_wait_for_a_checkpoint_or_a_change_beside_the_log() {
    let log = logged(Box::new(|_, _| None));
    log.make(small("n/m/k")).unwrap();
    log.make(small("n/o/k")).unwrap();
    assert_eq!(log.syncs(), 0);
    let syncs_of = |change| {
        let before = log.rig.count(Call::is_dir_sync);
        log.make(change).unwrap();
        log.rig.count(Call::is_dir_sync) - before
    };
    // `n` in the root, `m` in `n`, and the name of the file in `m`.
    assert_eq!(syncs_of(large("n/m/large")), 3);
    assert_eq!(syncs_of(large("n/m/larger")), 1);
    // The sync of `n` was for `o` as well. That leaves the two directories of the names.
    assert_eq!(syncs_of(Change::rename("n/m/large", "n/o/large")), 2);
    assert_eq!(syncs_of(Change::rename("n/m/k", "r/k")), 0, "a record holds it");
    assert_eq!(syncs_of(Change::rename("n/o/large", "r/large")), 3);
    log.make(small("p/k")).unwrap();
    log.rig.committer.checkpoint().unwrap();
    assert_eq!(syncs_of(large("p/large")), 1, "a checkpoint covers it");
    // Made after it.
    assert_eq!(syncs_of(small("q/k")), 0);
    assert_eq!(syncs_of(large("q/large")), 2);
}

#[test]
fn a_new_directory_that_cannot_be_synced_closes_the_store() {
    let log = logged(fail(Call::is_dir_sync, 0, 1, Errno::EIO));
    log.make(small("n/k")).unwrap();
    let error = log.make(large("n/large")).unwrap_err();
    assert_eq!((error.step(), error.raw_os_error()), (Step::SyncDir, Some(Errno::EIO as i32)));
    assert!(log.rig.is_poisoned());
    assert!(!log.rig.path("n/large").exists());
    assert_eq!(log.records(), [["put n/k"]]);
}

#[test]
fn a_checkpoint_whose_sync_fails_on_a_directory_closes_the_store() {
    let log = logged(fail(|call| *call == Call::SyncFilesystem, 0, 1, Errno::EIO));
    log.make(small("n/k")).unwrap();
    log.rig.committer.checkpoint().unwrap_err();
    assert!(log.rig.is_poisoned());
    assert_eq!(log.records(), [["put n/k"]]);
}

#[test]
fn commits_slow_down_before_the_log_is_full() {
    let log = logged(Box::new(|_, _| None));
    let checkpoint = log.rig.engine.hold(Call::SyncFilesystem);
    let stats = || log.rig.committer.stats().log.unwrap();
    while stats().used < stats().capacity / 4 * 3 {
        log.make(small("a/k0")).unwrap();
    }
    assert_eq!(stats().waited, std::time::Duration::ZERO);
    log.make(small("a/k0")).unwrap();
    assert!(stats().waited > std::time::Duration::ZERO);
    assert!(stats().used < stats().capacity, "there is room still");
    drop(checkpoint);
    log.rig.committer.checkpoint().unwrap();
    assert_eq!(stats().used, 0);
}

#[path = "checkpoint_tests.rs"]
mod checkpoints;
