use std::fs;

use super::*;
use crate::engine::{EngineKind, Faulty, Interpreter, Selected};
use crate::error::{Outcome, Step};
use crate::plan::Existing;
use crate::temp::Maker;

type Fault = Box<dyn FnMut(usize, &Call) -> Option<Errno> + Send>;

/// A committer on an engine with faults; in the directories `a` and `b` every `k` is "old".
struct Rig {
    at: tempfile::TempDir,
    dirs: [Arc<Dir>; 2],
    engine: Arc<Faulty>,
    committer: Committer,
}

fn rig(barrier: Barrier, fault: Fault) -> Rig {
    let at = tempfile::tempdir().unwrap();
    let dirs = ["a", "b"].map(|name| {
        fs::create_dir(at.path().join(name)).unwrap();
        for k in ["k0", "k1", "k2", "k3"] {
            fs::write(at.path().join(name).join(k), "old").unwrap();
        }
        Arc::new(Dir::open(&at.path().join(name)).unwrap())
    });
    let engine = Arc::new(Faulty::new(fault));
    let shared: Arc<dyn Interpreter> = Arc::<Faulty>::clone(&engine);
    let writer = Writer::new(Selected::for_test(shared, EngineKind::Portable), Maker::Store);
    let root = Arc::new(Dir::open(at.path()).unwrap());
    Rig { at, dirs, engine, committer: Committer::new(writer, barrier, root) }
}

impl Rig {
    /// Stages `k0` and `k1` in both directories and commits the four as one batch; what became of each, and what is there.
    fn batch(&self, existing: Existing) -> Vec<(Result<()>, Vec<u8>)> {
        let options = PutOptions { mode: None, existing };
        let synced = self.committer.barrier == Barrier::PerFile;
        let failures = self.committer.failures.load(Ordering::Acquire);
        let file = if synced { Staged::Durable } else { Staged::Written { failures } };
        let mut staged = Vec::new();
        for dir in &self.dirs {
            for name in [c"k0", c"k1"] {
                let bytes = Bytes::from_static(b"new");
                let temp = self.committer.writer.stage(dir, name, bytes, options, synced).unwrap();
                let job = Job { name: name.into(), temp, ..self.committer.writer.job(Plan::empty(), dir) };
                staged.push(Change { call: Call::Publish { existing }, job, file });
            }
        }
        let who: Vec<_> =
            staged.iter().map(|c| (Arc::clone(&c.job.dir), c.job.name.clone(), c.job.temp.clone())).collect();
        let reports = self.committer.lead(staged);
        let settled = reports.into_iter().zip(who).map(|(report, (dir, name, temp))| {
            let result = self.committer.writer.settle(report.verdict(), &dir, &name, &temp);
            (result, fs::read(dir.path_of(&name)).unwrap())
        });
        settled.collect()
    }

    fn temporaries(&self) -> usize {
        let names = ["a", "b"].iter().flat_map(|dir| fs::read_dir(self.at.path().join(dir)).unwrap());
        names.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "tmp")).count()
    }

    fn count(&self, wanted: &Call) -> usize {
        self.engine.ran().iter().filter(|call| *call == wanted).count()
    }
}

fn outcome(result: &Result<()>) -> Option<Outcome> {
    result.as_ref().err().map(crate::Error::outcome)
}

#[test]
fn a_batch_syncs_each_directory_once() {
    for barrier in [Barrier::PerFile, Barrier::Filesystem] {
        let rig = rig(barrier, Box::new(|_, _| None));
        for (result, content) in rig.batch(Existing::Replace) {
            result.unwrap();
            assert_eq!(content, b"new");
        }
        let files = if barrier == Barrier::PerFile { (4, 0) } else { (0, 1) };
        assert_eq!((rig.count(&Call::SyncFile), rig.count(&Call::SyncFilesystem)), files);
        assert_eq!(rig.count(&Call::SyncDir), 2);
        assert_eq!(rig.temporaries(), 0);
        // Nothing is published before the barrier, and no directory is synced before its last change.
        let ran = rig.engine.ran();
        let place = |wanted: fn(&Call) -> bool| ran.iter().position(wanted).unwrap();
        let last = ran.iter().rposition(|call| matches!(call, Call::Publish { .. })).unwrap();
        if barrier == Barrier::Filesystem {
            assert!(place(|call| *call == Call::SyncFilesystem) < place(|call| matches!(call, Call::Publish { .. })));
        }
        assert!(last < place(|call| *call == Call::SyncDir));
    }
}

/// Nobody is acknowledged, nothing is renamed, every temporary is gone, and no sync is tried again.
#[test]
fn a_barrier_that_fails_fails_all_and_changes_nothing() {
    let fault: Fault = Box::new(|_, call| (*call == Call::SyncFilesystem).then_some(Errno::EIO));
    let rig = rig(Barrier::Filesystem, fault);
    for (result, content) in rig.batch(Existing::Replace) {
        assert_eq!(result.as_ref().unwrap_err().step(), Step::SyncFilesystem);
        assert_eq!((outcome(&result), content), (Some(Outcome::Unchanged), b"old".to_vec()));
    }
    assert_eq!(rig.count(&Call::SyncFilesystem), 1);
    assert_eq!(rig.count(&Call::SyncFile) + rig.count(&Call::SyncDir), 0);
    assert_eq!(rig.temporaries(), 0);
    assert!(rig.committer.writer.is_tidy());
}

/// A barrier that failed has used up the errors of everything that was written by then, also of files of later batches.
#[test]
fn what_was_written_before_a_failed_barrier_is_never_trusted() {
    let mut syncs = 0;
    let fault: Fault = Box::new(move |_, call| {
        syncs += usize::from(*call == Call::SyncFilesystem);
        (syncs == 1 && *call == Call::SyncFilesystem).then_some(Errno::EIO)
    });
    let rig = rig(Barrier::Filesystem, fault);
    let options = PutOptions::new();
    let dir = &rig.dirs[0];
    // Written before the barrier of another batch fails, and published after.
    let file = Staged::Written { failures: 0 };
    let temp = rig.committer.writer.stage(dir, c"k2", Bytes::from_static(b"new"), options, false).unwrap();
    assert!(rig.batch(Existing::Replace).iter().all(|(result, _)| outcome(result) == Some(Outcome::Unchanged)));
    let error = rig.committer.publish(dir, c"k2", temp, options, file).unwrap_err();
    assert_eq!((error.step(), error.outcome()), (Step::SyncFilesystem, Outcome::Unchanged));
    assert_eq!(fs::read(dir.path_of(c"k2")).unwrap(), b"old");
    // What is written after that is as good as ever.
    assert!(rig.batch(Existing::Replace).iter().all(|(result, _)| result.is_ok()));
    assert_eq!((rig.count(&Call::SyncFilesystem), rig.temporaries()), (2, 0));
}

#[test]
fn a_rename_that_fails_fails_alone() {
    for errno in [Errno::ENOSPC, Errno::EISDIR, Errno::EIO] {
        let mut renames = 0;
        let fault: Fault = Box::new(move |_, call| {
            renames += usize::from(matches!(call, Call::Publish { .. }));
            (renames == 2 && matches!(call, Call::Publish { .. })).then_some(errno)
        });
        let rig = rig(Barrier::PerFile, fault);
        let results = rig.batch(Existing::Replace);
        let outcomes: Vec<_> = results.iter().map(|(result, _)| outcome(result)).collect();
        assert_eq!(outcomes, [None, Some(Outcome::Unchanged), None, None]);
        let contents: Vec<_> = results.iter().map(|(_, content)| content.as_slice()).collect();
        assert_eq!(contents, [b"new", b"old", b"new", b"new"]);
        assert_eq!((rig.count(&Call::SyncDir), rig.temporaries()), (2, 0));
    }
}

/// Everyone in that directory is told that it is unknown; those in the other hear their own truth; then it is over.
#[test]
fn a_directory_sync_that_fails_fails_its_directory_and_closes_the_store() {
    let mut syncs = 0;
    let fault: Fault = Box::new(move |_, call| {
        syncs += usize::from(*call == Call::SyncDir);
        (syncs == 1 && *call == Call::SyncDir).then_some(Errno::EIO)
    });
    let rig = rig(Barrier::PerFile, fault);
    let results = rig.batch(Existing::Replace);
    let outcomes: Vec<_> = results.iter().map(|(result, _)| outcome(result)).collect();
    assert_eq!(outcomes, [Some(Outcome::Unknown), Some(Outcome::Unknown), None, None]);
    assert!(results.iter().all(|(_, content)| content == b"new"));
    assert_eq!((rig.count(&Call::SyncDir), rig.temporaries()), (2, 0));
    assert!(rig.committer.writer.check(&rig.dirs[1]).unwrap_err().is_poisoned());
}

#[test]
fn a_clash_of_keys_fails_alone_and_a_link_stands_in_for_a_rename() {
    let cannot: Fault = Box::new(|_, call| (*call == Call::REFUSE).then_some(Errno::EINVAL));
    for fault in [Box::new(|_: usize, _: &Call| None) as Fault, cannot] {
        let rig = rig(Barrier::PerFile, fault);
        fs::remove_file(rig.at.path().join("a/k1")).unwrap();
        let results = rig.batch(Existing::Refuse);
        for (i, (result, content)) in results.iter().enumerate() {
            match i {
                1 => assert_eq!((outcome(result), content.as_slice()), (None, &b"new"[..])),
                _ => {
                    assert!(result.as_ref().unwrap_err().is_already_exists());
                    assert_eq!((outcome(result), content.as_slice()), (Some(Outcome::Unchanged), &b"old"[..]));
                }
            }
        }
        assert_eq!((rig.count(&Call::SyncDir), rig.temporaries()), (1, 0));
    }
}

/// A file that cannot be written fails before it meets the others.
#[test]
fn a_file_that_cannot_be_staged_fails_alone() {
    for barrier in [Barrier::PerFile, Barrier::Filesystem] {
        let fault: Fault = Box::new(|_, call| matches!(call, Call::Write { .. }).then_some(Errno::ENOSPC));
        let rig = rig(barrier, fault);
        let _other = rig.committer.begin();
        let options = PutOptions::new();
        let error = rig.committer.put(&rig.dirs[0], c"k0", Bytes::from_static(b"new"), options).unwrap_err();
        assert!(error.is_storage_full());
        assert_eq!((error.outcome(), rig.temporaries()), (Outcome::Unchanged, 0));
        assert_eq!(rig.count(&Call::SyncDir), 0);
    }
}

/// Alone a put goes by the strict plan; in company by the queue. Both are whole.
#[test]
fn alone_and_in_company() {
    for company in [false, true] {
        let rig = rig(Barrier::Filesystem, Box::new(|_, _| None));
        let _other = company.then(|| rig.committer.begin());
        let dir = &rig.dirs[0];
        rig.committer.put(dir, c"k0", Bytes::from_static(b"new"), PutOptions::new()).unwrap();
        assert_eq!(fs::read(dir.path_of(c"k0")).unwrap(), b"new");
        assert_eq!(rig.count(&Call::SyncFile), usize::from(!company));
        assert_eq!(rig.count(&Call::SyncFilesystem), usize::from(company));
        rig.committer.delete(dir, c"k1").unwrap();
        assert!(!dir.path_of(c"k1").exists());
        assert!(rig.committer.delete(dir, c"k1").unwrap_err().is_not_found());
        let temp =
            rig.committer.writer.stage(dir, c"k2", Bytes::from_static(b"new"), PutOptions::new(), false).unwrap();
        let file = fs::File::open(dir.path_of(&temp)).unwrap();
        rig.committer.commit(dir, c"k2", temp, file.into(), PutOptions::new()).unwrap();
        assert_eq!(fs::read(dir.path_of(c"k2")).unwrap(), b"new");
        assert_eq!(rig.temporaries(), 0);
    }
}
