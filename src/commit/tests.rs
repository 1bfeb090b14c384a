//! Batches on an engine with injected faults.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use nix::errno::Errno;

use super::*;
use crate::commit::barrier::BarrierKind;
use crate::engine::{Engine, EngineKind, Faulty, Interpreter, Selected, select};
use crate::fs::Key;
use crate::protocol::{Call, Existing, PutOptions};

type Fault = Box<dyn FnMut(usize, &Call) -> Option<Errno> + Send>;

const KINDS: [BarrierKind; 3] = [BarrierKind::PerFile, BarrierKind::Filesystem, BarrierKind::Journal];

/// A committer on an engine with faults; in the directories `a` and `b`, `k0` and `k1` are "old".
struct Rig {
    at: tempfile::TempDir,
    engine: Arc<Faulty>,
    committer: Committer,
}

/// The engines of this build that run here; `None` stands for plain calls.
fn engines() -> Vec<Option<Arc<dyn Interpreter>>> {
    let uring = select(Engine::Uring).map(|selected| Some(selected.interpreter));
    if let (Err(why), true) = (&uring, cfg!(all(feature = "uring", target_os = "linux"))) {
        let _ =
            std::io::Write::write_all(&mut std::io::stderr(), format!("skipped faults on uring: {why}\n").as_bytes());
    }
    [None].into_iter().chain(uring).collect()
}

/// Every engine with every barrier.
fn everywhere() -> Vec<Case> {
    engines().iter().flat_map(|engine| KINDS.map(|kind| Case { engine: engine.clone(), kind })).collect()
}

#[derive(Clone)]
struct Case {
    engine: Option<Arc<dyn Interpreter>>,
    kind: BarrierKind,
}

impl From<BarrierKind> for Case {
    fn from(kind: BarrierKind) -> Case {
        Case { engine: None, kind }
    }
}

fn rig(case: impl Into<Case>, fault: Fault) -> Rig {
    let Case { engine: inner, kind } = case.into();
    // On a disk: the system's temporary directory is often in memory. Created, in case cargo builds elsewhere.
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    fs::create_dir_all(target).unwrap();
    let at = tempfile::tempdir_in(target).unwrap();
    for dir in ["a", "b"] {
        fs::create_dir(at.path().join(dir)).unwrap();
        for k in ["k0", "k1"] {
            fs::write(at.path().join(dir).join(k), "old").unwrap();
        }
    }
    let engine = Arc::new(Faulty::new(fault).over(inner));
    let shared: Arc<dyn Interpreter> = Arc::<Faulty>::clone(&engine);
    let committer = Committer::new(Setup::for_test(at.path(), Selected::for_test(shared, EngineKind::Portable), kind));
    Rig { at, engine, committer }
}

const KEYS: [&str; 4] = ["a/k0", "a/k1", "b/k0", "b/k1"];

impl Rig {
    /// Puts the four keys as one batch.
    fn batch(&self, existing: Existing) -> Vec<ChangeResult> {
        let options = PutOptions { mode: None, existing };
        self.committer.commit(ChangeGroups::of(vec![KEYS.iter().map(|key| put(key, options)).collect()]))
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        KEYS.iter().map(|key| fs::read(self.path(key)).unwrap_or_default()).collect()
    }

    fn path(&self, key: &str) -> PathBuf {
        self.at.path().join(key)
    }

    fn temporaries(&self) -> usize {
        let names = ["", "a", "b"].iter().flat_map(|dir| fs::read_dir(self.at.path().join(dir)).unwrap());
        names.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "tmp")).count()
    }

    fn count(&self, wanted: impl Fn(&Call) -> bool) -> usize {
        self.engine.ran().iter().filter(|call| wanted(call)).count()
    }

    fn is_poisoned(&self) -> bool {
        self.committer.core().check().is_err_and(|error| error.is_poisoned())
    }
}

fn put(key: &str, options: PutOptions) -> Change {
    Change::put(key, Bytes::from_static(b"new"), options)
}

fn outcome(answer: &ChangeResult) -> Option<Outcome> {
    answer.as_ref().err().map(Error::outcome)
}

fn outcomes(answers: &[ChangeResult]) -> Vec<Option<Outcome>> {
    answers.iter().map(outcome).collect()
}

/// Fails the calls that `wanted` selects, from number `first` up to but not including `end`, counted from 0.
fn fail(wanted: fn(&Call) -> bool, first: usize, end: usize, errno: Errno) -> Fault {
    let mut seen = 0;
    Box::new(move |_, call| {
        let hit = wanted(call);
        seen += usize::from(hit);
        (hit && (first..end).contains(&(seen - 1))).then_some(errno)
    })
}

fn is_publish(call: &Call) -> bool {
    matches!(call, Call::Publish { .. })
}

/// Selects the call that makes files durable with this barrier.
fn barrier(kind: BarrierKind) -> fn(&Call) -> bool {
    match kind {
        BarrierKind::PerFile => |call| *call == Call::SyncFile,
        BarrierKind::Filesystem => |call| *call == Call::SyncFilesystem,
        BarrierKind::Journal => |call| *call == Call::SyncRange,
        // Tested by itself: log_tests.rs.
        BarrierKind::IntentLog => |call| *call == Call::LogChange,
    }
}

fn is_write_out(call: &Call) -> bool {
    matches!(call, Call::WriteOut | Call::SyncRange)
}

fn is_file_sync(call: &Call) -> bool {
    matches!(call, Call::SyncFile | Call::SyncRange | Call::SyncFilesystem)
}

const OLD: &[u8] = b"old";
const NEW: &[u8] = b"new";
const UNCHANGED: Option<Outcome> = Some(Outcome::Unchanged);
const UNKNOWN: Option<Outcome> = Some(Outcome::Unknown);

#[test]
fn a_batch_syncs_each_directory_once_and_publishes_nothing_before_the_barrier() {
    for case in everywhere() {
        let kind = case.kind;
        let rig = rig(case.clone(), Box::new(|_, _| None));
        let versions: Vec<_> =
            rig.batch(Existing::Replace).into_iter().map(|answer| answer.unwrap().version().unwrap()).collect();
        assert!(versions.is_sorted() && rig.contents().iter().all(|content| content == NEW));
        for (key, version) in KEYS.iter().zip(versions) {
            let found = nix::sys::stat::stat(&rig.path(key)).unwrap();
            assert_eq!(Version::of(&found), version);
        }
        let wanted = match kind {
            BarrierKind::PerFile => [4, 4, 0, 0],
            BarrierKind::Filesystem => [4, 0, 0, 1],
            BarrierKind::Journal => [0, 0, 4, 0],
            BarrierKind::IntentLog => unreachable!("not among KINDS"),
        };
        let syncs = [Call::WriteOut, Call::SyncFile, Call::SyncRange, Call::SyncFilesystem];
        assert_eq!(syncs.map(|sync| rig.count(|call| *call == sync)), wanted);
        assert_eq!((rig.count(|call| *call == Call::SyncDir), rig.temporaries()), (2, 0));
        let ran = rig.engine.ran();
        let first_publish = ran.iter().position(is_publish).unwrap();
        assert!(ran.iter().rposition(is_file_sync).unwrap() < first_publish);
        assert!(ran.iter().rposition(is_publish) < ran.iter().position(|call| *call == Call::SyncDir));
        // Writeback of all files starts before the first is waited for.
        let last_start = ran.iter().rposition(|call| *call == Call::StartSync).unwrap();
        assert!(last_start < ran.iter().position(is_file_sync).unwrap());
    }
}

/// No change is acknowledged, nothing is renamed, every temporary file is removed, and no sync is retried.
#[test]
fn a_barrier_that_fails_fails_all_and_changes_nothing() {
    for case in everywhere() {
        let kind = case.kind;
        let rig = rig(case.clone(), fail(barrier(kind), 0, usize::MAX, Errno::EIO));
        let answers = rig.batch(Existing::Replace);
        assert_eq!(outcomes(&answers), [UNCHANGED; 4]);
        let step = if kind == BarrierKind::Filesystem { Step::SyncFilesystem } else { Step::SyncFile };
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap_err().step() == step));
        assert!(rig.contents().iter().all(|content| content == OLD));
        let syncs = if kind == BarrierKind::Filesystem { 1 } else { 4 };
        assert_eq!((rig.count(barrier(kind)), rig.count(is_publish), rig.temporaries()), (syncs, 0, 0));
        assert_eq!(rig.count(|call| *call == Call::SyncDir), 0);
        assert!(!rig.is_poisoned() && rig.committer.core().writer.is_tidy());
    }
}

/// A sandbox may refuse `sync_file_range` where it only saves time. Where durability depends on it, nothing is published.
#[test]
fn a_refused_write_out_fails_what_rests_upon_it() {
    for case in everywhere() {
        let kind = case.kind;
        for errno in [Errno::EPERM, Errno::ENOSYS] {
            let rig = rig(case.clone(), fail(is_write_out, 0, usize::MAX, errno));
            let expected = if kind == BarrierKind::Journal { UNCHANGED } else { None };
            assert_eq!(outcomes(&rig.batch(Existing::Replace)), [expected; 4], "{kind}");
            assert_eq!((rig.count(barrier(kind)) > 0, rig.temporaries()), (true, 0));
        }
    }
}

/// A batch after a failed barrier writes its own files, and is not affected.
#[test]
fn after_a_failed_barrier_new_files_are_trusted() {
    let syncfs = barrier(BarrierKind::Filesystem);
    let rig = rig(BarrierKind::Filesystem, fail(syncfs, 0, 1, Errno::EIO));
    assert_eq!(outcomes(&rig.batch(Existing::Replace)), [UNCHANGED; 4]);
    assert_eq!(outcomes(&rig.batch(Existing::Replace)), [None; 4]);
    let creates = rig.count(|call| matches!(call, Call::CreateTemp { .. }));
    assert_eq!((creates, rig.count(syncfs), rig.temporaries()), (8, 2, 0));
}

/// One file fails, at each of its steps and with each errno: the other changes succeed.
#[test]
fn a_file_that_fails_fails_alone() {
    let steps: [fn(&Call) -> bool; 7] = [
        |call| matches!(call, Call::CreateTemp { .. }),
        |call| matches!(call, Call::Write { .. }),
        |call| matches!(call, Call::Stamp { .. }),
        |call| *call == Call::StartSync,
        is_write_out,
        |call| *call == Call::SyncFile,
        |call| *call == Call::CloseFile,
    ];
    for case in everywhere() {
        let kind = case.kind;
        for wanted in steps.into_iter().chain([is_publish as fn(&Call) -> bool]) {
            for errno in [Errno::ENOSPC, Errno::EIO, Errno::EDQUOT] {
                let rig = rig(case.clone(), fail(wanted, 1, 2, errno));
                let answers = rig.batch(Existing::Replace);
                if rig.count(wanted) == 0 {
                    continue;
                }
                assert_eq!(outcomes(&answers), [None, UNCHANGED, None, None], "{kind} {errno}");
                let error = answers[1].as_ref().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(errno as i32));
                assert_eq!(rig.contents(), [NEW, OLD, NEW, NEW]);
                assert_eq!((rig.temporaries(), rig.is_poisoned()), (0, false));
                // A failed sync is never retried.
                assert!(KINDS.iter().all(|kind| rig.count(barrier(*kind)) <= 4));
            }
        }
    }
}

/// Every change in that directory is `Unknown`, changes in the other one keep their own result, and the store is poisoned.
#[test]
fn a_directory_sync_that_fails_fails_its_directory_and_closes_the_store() {
    for case in everywhere() {
        let rig = rig(case.clone(), fail(|call| *call == Call::SyncDir, 0, 1, Errno::EIO));
        assert_eq!(outcomes(&rig.batch(Existing::Replace)), [UNKNOWN, UNKNOWN, None, None]);
        assert!(rig.contents().iter().all(|content| content == NEW));
        assert_eq!((rig.count(|call| *call == Call::SyncDir), rig.temporaries()), (2, 0));
        assert!(rig.is_poisoned());
        let before = rig.engine.ran().len();
        let refused = rig.committer.make(put("a/k0", PutOptions::new())).unwrap_err();
        assert!(refused.is_poisoned() && refused.outcome() == Outcome::Unchanged);
        assert_eq!(rig.engine.ran().len(), before);
    }
}

/// A delete that fails in an ambiguous way poisons the store, but only after the changes beside it, which are durable.
#[test]
fn an_ambiguous_failure_does_not_stop_the_changes_beside_it() {
    for case in everywhere() {
        let rig = rig(case.clone(), fail(|call| *call == Call::Unlink, 0, 1, Errno::EIO));
        let changes =
            vec![Change::delete("a/k0", None), put("a/k1", PutOptions::new()), put("b/k0", PutOptions::new())];
        let answers = rig.committer.commit(ChangeGroups::of(vec![changes]));
        assert_eq!(outcomes(&answers), [UNKNOWN, None, None]);
        assert_eq!(
            (rig.contents(), rig.temporaries()),
            (vec![OLD.to_vec(), NEW.to_vec(), NEW.to_vec(), OLD.to_vec()], 0)
        );
        assert!(rig.is_poisoned());
    }
}

#[test]
fn a_clash_of_keys_fails_alone_and_a_link_stands_in_for_a_rename() {
    let cannot: Fault = Box::new(|_, call| (*call == Call::REFUSE).then_some(Errno::EINVAL));
    for fault in [Box::new(|_: usize, _: &Call| None) as Fault, cannot] {
        let rig = rig(BarrierKind::PerFile, fault);
        fs::remove_file(rig.path("a/k1")).unwrap();
        let answers = rig.batch(Existing::Refuse);
        assert_eq!(outcomes(&answers), [UNCHANGED, None, UNCHANGED, UNCHANGED]);
        assert!(answers[0].as_ref().unwrap_err().is_already_exists());
        assert_eq!(rig.contents(), [OLD, NEW, OLD, OLD]);
        assert_eq!((rig.count(|call| *call == Call::SyncDir), rig.temporaries()), (1, 0));
    }
}

/// A solo change runs on the caller's thread, others in a batch. Both give the same result.
#[test]
fn alone_and_in_company() {
    for case in everywhere() {
        let kind = case.kind;
        for company in [false, true] {
            let rig = rig(case.clone(), Box::new(|_, _| None));
            let commit = |change: Change| match company {
                false => rig.committer.make(change),
                true => rig.committer.commit(ChangeGroups::one(change)).remove(0),
            };
            commit(put("a/k0", PutOptions::new())).unwrap();
            assert_eq!(rig.count(|call| *call == Call::SyncFilesystem), 0, "one file is not worth one");
            let by_journal = rig.count(|call| *call == Call::SyncFile) == 0;
            assert_eq!(by_journal, kind == BarrierKind::Journal);
            commit(Change::delete("a/k1", None)).unwrap();
            assert!(commit(Change::delete("a/k1", None)).unwrap_err().is_not_found());
            commit(Change::rename("a/k0", "a/k1")).unwrap();
            let dir = rig.committer.core().find(&Key::parse("a/k9").unwrap()).unwrap();
            fs::write(rig.path("a/.ringbolt-x.tmp"), "guard").unwrap();
            let file = fs::File::options().write(true).open(rig.path("a/.ringbolt-x.tmp")).unwrap();
            let temp = CString::from(c".ringbolt-x.tmp");
            let action = Action::Publish {
                file: WrittenFile { dir, temp, file: file.into() },
                options: PutOptions::new().mode(0o640),
            };
            commit(Change { key: Ok("a/k9".into()), action }).unwrap();
            assert_eq!(fs::read(rig.path("a/k9")).unwrap(), b"guard");
            assert_eq!((fs::read(rig.path("a/k1")).unwrap(), rig.temporaries()), (NEW.to_vec(), 0));
            assert_eq!(rig.committer.stats().alone, if company { 0 } else { 5 });
        }
    }
}

/// A panic of the committing thread is an error for every waiting caller, and poisons the store.
#[test]
fn a_panic_is_told_to_everybody() {
    let rig = rig(BarrierKind::PerFile, Box::new(|_, call| if is_publish(call) { panic!("on purpose") } else { None }));
    std::thread::scope(|scope| {
        for key in KEYS {
            let committer = &rig.committer;
            scope.spawn(move || {
                let answer = committer.commit(ChangeGroups::one(put(key, PutOptions::new()))).remove(0);
                let error = answer.unwrap_err();
                assert!(error.is_engine_lost() || error.is_poisoned(), "{error}");
            });
        }
    });
    assert!(rig.is_poisoned());
    assert!(rig.committer.make(put("a/k0", PutOptions::new())).is_err());
    rig.committer.drain();
    assert!(Path::new(&rig.path("a/k0")).exists());
}

#[path = "order_tests.rs"]
mod order;

#[path = "edge_tests.rs"]
mod edges;

#[path = "log_tests.rs"]
mod log;
