use std::ffi::{CStr, CString};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};

use nix::errno::Errno;

use super::faults::{Fault, Faults, FaultyQueues, SeenRequest};
use super::{Failure, Uring};
use crate::engine::{EngineKind, Interpreter, Selected};
use crate::error::{Outcome, Result};
use crate::file::{Content, Writer};
use crate::fs::{Dir, Maker};
use crate::protocol::{Call, Existing, Medium, PutOptions, Version, is_ambiguous};

#[path = "faults_batch_tests.rs"]
mod batches;

const ERRNOS: [Errno; 6] = [Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EINTR, Errno::ENOSYS, Errno::ECANCELED];

const OLD: &[u8] = b"old";
const NEW: &[u8] = b"new and longer";

/// A real ring with faults; `None` where io_uring is refused.
fn ring(test: &str) -> Option<(Arc<dyn Interpreter>, Arc<Faults>)> {
    let faults = Arc::<Faults>::default();
    let shared = Arc::clone(&faults);
    match Uring::build_on(|kernel| FaultyQueues::new(kernel, shared)) {
        Ok((uring, _)) => Some((Arc::new(uring), faults)),
        Err(Failure::Refused(why)) => {
            skip(test, &why);
            None
        }
        Err(Failure::Error(error)) => panic!("{error}"),
    }
}

fn skip(test: &str, why: &dyn std::fmt::Display) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("skipped {test}: {why}\n").as_bytes());
}

/// A directory on the disk of the build. The system's temporary directory is often a tmpfs.
fn disk() -> tempfile::TempDir {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target");
    fs::create_dir_all(target).unwrap();
    tempfile::tempdir_in(target).unwrap()
}

/// A kind of change. Several are in flight together, each in its own directory, where `k<i>` holds "old". The first one
/// gets the faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One chain: `ringbolt::write`.
    Fused,
    /// A store's put: written by plain calls, then two chains.
    Stamped,
    Delete,
    /// A rename between two directories.
    Rename,
}

const VICTIM: &CStr = c"k0";

struct Rig<'a> {
    kind: Kind,
    engine: &'a Arc<dyn Interpreter>,
    faults: &'a Faults,
}

/// The result of the change with faults.
struct Case {
    result: Result<()>,
    content: Option<Vec<u8>>,
    /// The content of a rename's destination.
    moved: Option<Vec<u8>>,
    seen: Vec<SeenRequest>,
    poisoned: bool,
    tidy: bool,
    temporaries: usize,
}

impl Rig<'_> {
    /// Runs `many` changes at once. `decide` picks the fault of each request of the victim, by its index.
    fn run(&self, many: usize, decide: impl Fn(usize, &Call) -> Option<Fault> + Send + 'static) -> Case {
        self.faults.set(move |seen| (seen.name.as_c_str() == VICTIM).then(|| decide(seen.n, &seen.call)).flatten());
        let begin = Barrier::new(many);
        let at = disk();
        let mut results = std::thread::scope(|scope| {
            let spawn = |i| {
                let (at, begin) = (at.path().join(format!("d{i}")), &begin);
                scope.spawn(move || {
                    fs::create_dir_all(at.join("other")).unwrap();
                    fs::write(at.join(format!("k{i}")), OLD).unwrap();
                    let selected = Selected::for_test(Arc::clone(self.engine), EngineKind::Uring);
                    let writer = Writer::new(selected, Maker::Store);
                    let dir = Arc::new(Dir::open(&at).unwrap());
                    begin.wait();
                    let result = self.change(&writer, &dir, &CString::new(format!("k{i}")).unwrap());
                    (result, writer.check(&dir).is_err(), writer.is_tidy())
                })
            };
            let threads: Vec<_> = (0..many).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let seen = self.faults.seen();
        for (i, (result, poisoned, tidy)) in results.iter().enumerate().skip(1) {
            result.as_ref().unwrap_or_else(|error| panic!("a neighbour: {error}"));
            assert!(!poisoned && *tidy);
            self.check_durable(&at.path().join(format!("d{i}")), &format!("k{i}"), &seen);
        }
        let (result, poisoned, tidy) = results.swap_remove(0);
        let own = at.path().join("d0");
        let seen: Vec<SeenRequest> = seen.into_iter().filter(|seen| seen.name.as_c_str() == VICTIM).collect();
        if result.is_ok() {
            self.check_durable(&own, "k0", &seen);
        }
        Case {
            result,
            content: fs::read(own.join("k0")).ok(),
            moved: fs::read(own.join("other/moved")).ok().or_else(|| fs::read(own.join("other/k0")).ok()),
            seen,
            poisoned,
            tidy,
            temporaries: temporaries(&own),
        }
    }

    fn change(&self, writer: &Writer, dir: &Arc<Dir>, name: &CStr) -> Result<()> {
        let options = PutOptions { mode: None, existing: Existing::Replace };
        let stamp = (self.kind == Kind::Stamped).then_some(Version::MIN);
        match self.kind {
            Kind::Fused | Kind::Stamped => {
                let content = Content { bytes: NEW.into(), options, stamp, medium: Medium::FSYNC };
                writer.put(dir, name, &content)
            }
            Kind::Delete => writer.delete(dir, name),
            Kind::Rename => {
                let other = Arc::new(dir.open_beneath("other").unwrap());
                writer.rename((Arc::clone(dir), name.into()), &other, name)
            }
        }
    }

    /// Checks that an acknowledged change is there, and that its file and then its directory were synced.
    fn check_durable(&self, dir: &Path, name: &str, seen: &[SeenRequest]) {
        let mine: Vec<&SeenRequest> = seen.iter().filter(|seen| seen.name.to_str() == Ok(name)).collect();
        let at = |wanted: fn(&Call) -> bool| mine.iter().rposition(|seen| wanted(&seen.call));
        let changed = at(Call::is_visible).unwrap();
        assert!(at(|call| *call == Call::SyncDir).unwrap() > changed, "{mine:?}");
        let found = fs::read(dir.join(name)).ok();
        match self.kind {
            Kind::Fused | Kind::Stamped => {
                assert_eq!(found.as_deref(), Some(NEW));
                let begin = at(|call| matches!(call, Call::Write { .. })).unwrap_or(0);
                let whole = |call: &Call| matches!(call, Call::Write { range, sync: true } if *range == (0..NEW.len()));
                let syncs = mine[begin..changed]
                    .iter()
                    .filter(|seen| seen.fault.is_none() && (whole(&seen.call) || seen.call == Call::SyncFile));
                assert_eq!(syncs.count(), 1, "{mine:?}");
            }
            Kind::Delete => assert_eq!(found, None),
            Kind::Rename => {
                assert_eq!((found, fs::read(dir.join("other").join(name)).ok().as_deref()), (None, Some(OLD)));
                assert!(at(|call| *call == Call::SyncSourceDir) > at(|call| *call == Call::SyncDir));
            }
        }
        assert_eq!(temporaries(dir), 0);
    }

    /// Checks the victim's outcome, and that what it left behind agrees with it.
    fn check(&self, case: &Case, expected: Option<Outcome>, what: &str) {
        let outcome = case.result.as_ref().err().map(crate::error::Error::outcome);
        assert_eq!(outcome, expected, "{what}: {:?}\n{:?}", case.result, case.seen);
        let unknown = expected == Some(Outcome::Unknown);
        assert_eq!((case.poisoned, case.tidy), (unknown, !unknown), "{what}");
        assert_eq!(case.temporaries, 0, "{what}");
        if expected == Some(Outcome::Unchanged) {
            assert_eq!(case.content.as_deref(), Some(OLD), "{what}");
            assert_eq!(case.moved, None, "{what}");
            assert_eq!(case.result.as_ref().unwrap_err().leftover(), None, "{what}");
        }
        // Whatever is there is whole.
        assert!(case.content.as_deref().is_none_or(|found| found == OLD || found == NEW), "{what}");
        for (i, failed) in case.seen.iter().enumerate() {
            let is_sync = |call: &Call| matches!(call, Call::SyncFile | Call::Write { sync: true, .. });
            let is_final = matches!(failed.fault, Some(Fault::Fails(errno) | Fault::Ran(errno))
                if !matches!((&failed.call, errno), (Call::Write { .. }, Errno::EINTR | Errno::EOPNOTSUPP)));
            let again = |later: &SeenRequest| is_sync(&later.call) && later.temp == failed.temp;
            if is_final && is_sync(&failed.call) {
                assert!(!case.seen[i + 1..].iter().any(again), "{what}: a failed sync was retried");
            }
        }
        assert_eq!(self.faults.open_slots(), [""; 0], "{what}: a slot still holds a file");
    }
}

fn temporaries(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".tmp")).count()
}

/// The outcome that a fault must have; `None` if the plan goes on and the change is acknowledged. `published_by_chain`: the
/// rename is behind this call in the same chain.
fn expected(call: &Call, fault: Fault, published_by_chain: bool) -> Option<Outcome> {
    match (call, fault) {
        (Call::Write { .. }, Fault::Short(_) | Fault::Fails(Errno::EINTR)) => None,
        (Call::Write { sync: true, .. }, Fault::Fails(Errno::EOPNOTSUPP)) => None,
        // The descriptor is closed all the same.
        (Call::CloseFile, Fault::Fails(Errno::EINTR)) if !published_by_chain => None,
        // It is retried under another name.
        (Call::CreateTemp { .. }, Fault::Fails(Errno::EINTR)) => None,
        // The chain went on, and the rename behind this call has happened.
        (Call::CreateTemp { .. } | Call::Write { .. } | Call::CloseFile, Fault::Ran(_)) if published_by_chain => {
            Some(Outcome::Unknown)
        }
        (Call::Publish { .. }, Fault::Ran(_)) => Some(Outcome::Unknown),
        // Its source is still there.
        (Call::Publish { .. }, _) => Some(Outcome::Unchanged),
        (Call::Move | Call::Unlink, Fault::Fails(errno)) if !is_ambiguous(errno) => Some(Outcome::Unchanged),
        (Call::Move | Call::Unlink | Call::SyncDir | Call::SyncSourceDir, _) => Some(Outcome::Unknown),
        _ => Some(Outcome::Unchanged),
    }
}

/// The faults to try on a call.
fn faults_of(call: &Call) -> Vec<Fault> {
    let mut faults: Vec<Fault> = ERRNOS.map(Fault::Fails).into();
    faults.push(Fault::Ran(Errno::EIO));
    if let Call::Write { range, sync } = call {
        faults.extend([1, range.len() - 1].map(Fault::Short));
        faults.extend(sync.then_some(Fault::Fails(Errno::EOPNOTSUPP)));
    }
    faults
}

/// Each fault at each request, alone and with seven other changes in flight. Afterwards the ring works as before.
#[test]
fn a_fault_at_every_request() {
    let Some((engine, faults)) = ring("a_fault_at_every_request") else { return };
    for kind in [Kind::Fused, Kind::Stamped, Kind::Delete, Kind::Rename] {
        let rig = Rig { kind, engine: &engine, faults: &faults };
        let whole = rig.run(1, |_, _| None);
        rig.check(&whole, None, "no fault");
        let calls: Vec<Call> = whole.seen.into_iter().map(|seen| seen.call).collect();
        let wanted = match kind {
            Kind::Fused if calls.len() != 5 => {
                skip("a_fault_at_every_request of a single write", &"no synced writes on this filesystem");
                continue;
            }
            Kind::Fused => 5,
            Kind::Stamped => 4,
            Kind::Delete => 2,
            Kind::Rename => 3,
        };
        assert_eq!(calls.len(), wanted, "{kind:?}: {calls:?}");
        for (at, call) in calls.iter().enumerate() {
            for fault in faults_of(call) {
                for many in [1, 8] {
                    let what = format!("{kind:?}, {many} at once, {call:?}: {fault:?}");
                    let case = rig.run(many, move |n, _| (n == at).then_some(fault));
                    assert_eq!(case.seen[at].fault, Some(fault), "{what}");
                    rig.check(&case, expected(call, fault, kind == Kind::Fused), &what);
                    rig.check(&rig.run(1, |_, _| None), None, &format!("after {what}"));
                }
            }
        }
    }
}

/// A short write is finished and synced as a whole, in stages of their own. A fault at every request of those stages.
#[test]
fn a_fault_behind_a_short_write() {
    let Some((engine, faults)) = ring("a_fault_behind_a_short_write") else { return };
    let rig = Rig { kind: Kind::Fused, engine: &engine, faults: &faults };
    let whole = rig.run(1, |n, _| (n == 1).then_some(Fault::Short(5)));
    rig.check(&whole, None, "a short write");
    let calls: Vec<Call> = whole.seen.into_iter().map(|seen| seen.call).collect();
    let sync = Call::Write { range: 0..NEW.len(), sync: true };
    if calls.get(1) != Some(&sync) {
        return skip("a_fault_behind_a_short_write", &"no synced writes on this filesystem");
    }
    let rest = Call::Write { range: 5..NEW.len(), sync: false };
    let publish = Call::Publish { existing: Existing::Replace };
    assert_eq!(calls[5..], [rest, Call::SyncFile, Call::CloseFile, publish, Call::SyncDir]);
    for (at, call) in calls.iter().enumerate().skip(5) {
        for fault in faults_of(call) {
            let what = format!("behind a short write, {call:?}: {fault:?}");
            let case = rig.run(8, move |n, _| match n {
                1 => Some(Fault::Short(5)),
                n => (n == at).then_some(fault),
            });
            rig.check(&case, expected(call, fault, false), &what);
        }
    }
}

/// After a panic of the ring's thread, or when the ring cannot be entered any more, every caller gets an error, and no caller
/// gets a success for a request whose completion was not seen.
#[test]
fn a_lost_ring_fails_every_caller() {
    for fault in [Fault::Panics, Fault::Closes] {
        for at in 0..4 {
            let Some((engine, faults)) = ring("a_lost_ring_fails_every_caller") else { return };
            faults.set(move |seen| (seen.name.as_c_str() == VICTIM && seen.n == at).then_some(fault));
            let disk = disk();
            std::thread::scope(|scope| {
                for i in 0..8 {
                    let (engine, at) = (Arc::clone(&engine), disk.path().join(format!("d{i}")));
                    let faults = &faults;
                    scope.spawn(move || {
                        let name = CString::new(format!("k{i}")).unwrap();
                        fs::create_dir(&at).unwrap();
                        fs::write(at.join(name.to_str().unwrap()), OLD).unwrap();
                        let selected = Selected::for_test(Arc::clone(&engine), EngineKind::Uring);
                        let (writer, dir) = (Writer::new(selected, Maker::Store), Arc::new(Dir::open(&at).unwrap()));
                        let rig = Rig { kind: Kind::Stamped, engine: &engine, faults };
                        // Until the ring is lost, which the first changes bring about.
                        let error = (0..1000).find_map(|_| rig.change(&writer, &dir, &name).err()).expect("lost");
                        let found = fs::read(at.join(name.to_str().unwrap())).unwrap();
                        assert!(found == OLD || found == NEW);
                        assert_eq!(writer.check(&dir).is_err(), error.outcome() == Outcome::Unknown, "{error}");
                    });
                }
            });
        }
    }
}
