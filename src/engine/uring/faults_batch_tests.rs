use std::sync::atomic::Ordering;

use super::*;
use crate::commit::barrier::BarrierKind;
use crate::commit::{Change, ChangeGroups, Committer, Setup};
use crate::engine::Job;
use crate::error::Error;

const FILES: usize = 8;

struct Store {
    at: tempfile::TempDir,
    committer: Committer,
}

/// A store on the ring. The directories `a` and `b` hold four files each, with the content "old".
fn store(engine: &Arc<dyn Interpreter>) -> Store {
    let at = disk();
    for dir in ["a", "b"] {
        fs::create_dir(at.path().join(dir)).unwrap();
    }
    (0..FILES).for_each(|i| fs::write(at.path().join(key(i)), OLD).unwrap());
    let committer = Committer::new(Setup::for_test(
        at.path(),
        Selected::for_test(Arc::clone(engine), EngineKind::Uring),
        BarrierKind::PerFile,
    ));
    Store { at, committer }
}

fn key(i: usize) -> String {
    format!("{}/k{i}", if i < FILES / 2 { "a" } else { "b" })
}

fn put(i: usize) -> Change {
    Change::put(&key(i), NEW, PutOptions { mode: None, existing: Existing::Replace })
}

impl Store {
    /// Puts all files as one batch. Returns the outcome of each, `None` for a success.
    fn batch(&self) -> Vec<Option<Outcome>> {
        let answers = self.committer.commit(ChangeGroups::of(vec![(0..FILES).map(put).collect()]));
        answers.iter().map(|answer| answer.as_ref().err().map(Error::outcome)).collect()
    }

    fn content(&self, i: usize) -> Vec<u8> {
        fs::read(self.at.path().join(key(i))).unwrap()
    }

    fn temporaries(&self) -> usize {
        temporaries(&self.at.path().join("a")) + temporaries(&self.at.path().join("b"))
    }

    /// A change that failed left the old content, the others the new, and nothing else is left.
    fn check(&self, outcomes: &[Option<Outcome>], what: &str) {
        for (i, outcome) in outcomes.iter().enumerate() {
            assert_eq!(self.content(i), if outcome.is_some() { OLD } else { NEW }, "{what}");
        }
        assert_eq!((self.temporaries(), self.is_poisoned()), (0, false), "{what}");
    }

    fn is_poisoned(&self) -> bool {
        self.committer.core().check().is_err()
    }
}

/// Injects a fault at the third request for a call.
fn third(faults: &Faults, wanted: &Call, fault: Fault) {
    let (wanted, mut seen) = (wanted.clone(), 0);
    faults.set(move |request| {
        let hit = request.call == wanted;
        seen += usize::from(hit);
        (hit && seen == 3).then_some(fault)
    });
}

fn faults() -> impl Iterator<Item = Fault> {
    ERRNOS.into_iter().map(Fault::Fails).chain([Fault::Ran(Errno::EIO)])
}

/// A fault at one of eight files fails that file only. The others are published, and nothing is synced twice.
#[test]
fn a_fault_at_a_file_of_a_batch() {
    let Some((engine, ring)) = ring("a_fault_at_a_file_of_a_batch") else { return };
    for call in [Call::SyncFile, Call::CloseFile] {
        for fault in faults() {
            let what = format!("{call:?}: {fault:?}");
            third(&ring, &call, fault);
            let store = store(&engine);
            let mut expected = [None; FILES];
            expected[2] = self::expected(&call, fault, false);
            assert_eq!(store.batch(), expected, "{what}");
            store.check(&expected, &what);
            let count = |call: Call| ring.seen().iter().filter(|seen| seen.call == call).count();
            assert_eq!((count(Call::SyncFile), count(Call::SyncDir)), (FILES, 2), "{what}");
            ring.set(|_| None);
            assert_eq!(store.batch(), [None; FILES], "after {what}");
        }
    }
}

/// Every change in that directory is `Unknown`, the others keep their own outcome, and the store is poisoned.
#[test]
fn a_fault_at_a_directory_of_a_batch() {
    let Some((engine, ring)) = ring("a_fault_at_a_directory_of_a_batch") else { return };
    for fault in faults() {
        ring.set({
            let mut first = true;
            move |seen| (seen.call == Call::SyncDir && std::mem::take(&mut first)).then_some(fault)
        });
        let store = store(&engine);
        let outcomes = store.batch();
        assert_eq!(outcomes[..FILES / 2], [Some(Outcome::Unknown); FILES / 2], "{fault:?}");
        assert_eq!(outcomes[FILES / 2..], [None; FILES / 2], "{fault:?}");
        assert!((0..FILES).all(|i| store.content(i) == NEW) && store.temporaries() == 0, "{fault:?}");
        assert!(store.is_poisoned(), "{fault:?}");
        let before = ring.seen().len();
        assert!(store.committer.make(put(0)).unwrap_err().is_poisoned());
        assert_eq!(ring.seen().len(), before);
    }
}

/// Concurrent callers, on the solo path or in a batch, as it comes. One fault is one failure, of its own file.
#[test]
fn a_fault_among_concurrent_callers() {
    let Some((engine, ring)) = ring("a_fault_among_concurrent_callers") else { return };
    for call in [Call::SyncFile, Call::CloseFile] {
        for fault in faults() {
            let what = format!("{call:?}: {fault:?}");
            third(&ring, &call, fault);
            let store = store(&engine);
            let outcomes = std::thread::scope(|scope| {
                let store = &store;
                let callers: Vec<_> = (0..FILES).map(|i| scope.spawn(move || store.committer.make(put(i)))).collect();
                let answers = callers.into_iter().map(|caller| caller.join().unwrap());
                answers.map(|answer| answer.err().map(|error| error.outcome())).collect::<Vec<_>>()
            });
            let failed: Vec<Outcome> = outcomes.iter().flatten().copied().collect();
            assert_eq!(failed, Vec::from_iter(expected(&call, fault, false)), "{what}");
            store.check(&outcomes, &what);
            ring.set(|_| None);
            assert_eq!(store.batch(), [None; FILES], "after {what}");
        }
    }
}

/// A failed sync of a directory is recorded in the directory and the writer before any success beside it is sent.
#[test]
fn a_failed_directory_sync_is_recorded_before_any_success_is_sent() {
    let Some((engine, ring)) = ring("a_failed_directory_sync_is_recorded_before_any_success_is_sent") else { return };
    for at in [0, FILES - 1] {
        for fault in [Fault::Fails(Errno::EIO), Fault::Ran(Errno::EIO), Fault::Fails(Errno::EINVAL)] {
            ring.set(move |seen| (seen.n == at).then_some(fault));
            let (disk, poisoned) = (disk(), Arc::default());
            let dir = Arc::new(Dir::open(disk.path()).unwrap());
            let jobs = (0..FILES).map(|_| {
                Job::new(crate::protocol::Run::new(crate::protocol::Plan::of([Call::SyncDir])), &dir, &poisoned)
            });
            let done = engine.run_all(jobs.collect());
            assert!(dir.confirm().is_err() && poisoned.load(Ordering::Acquire), "{fault:?}");
            assert_eq!(done.iter().filter(|done| done.run.report().dir_sync_failed()).count(), 1, "{fault:?}");
        }
    }
}
