use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::*;
use crate::engine::{Engine, EngineKind, Faulty, Interpreter, select};
use crate::error::{Outcome, Step};
use crate::protocol::Call;

fn with_key() -> (KeyId, Sidecar) {
    let id = KeyId::new(7).unwrap();
    let mut sidecar = Sidecar::default();
    add(&mut sidecar, id, Purpose::Storage, vec![1; 60].into()).unwrap();
    (id, sidecar)
}

/// A store on an engine that fails while the returned flag is set; `None` if a ring is wanted but unavailable.
fn store(
    path: &Path,
    ring: bool,
    mut fault: impl FnMut(&Call) -> Option<Errno> + Send + 'static,
) -> Option<(Arc<AtomicBool>, SidecarStore)> {
    let inner = ring.then(|| select(Engine::Uring)).transpose().ok()?.map(|ring| ring.interpreter);
    let fails = Arc::new(AtomicBool::new(false));
    let enabled = Arc::clone(&fails);
    let engine = Faulty::new(move |_, call| fault(call).filter(|_| enabled.load(Ordering::Relaxed))).over(inner);
    let engine: Arc<dyn Interpreter> = Arc::new(engine);
    let engine = Selected::for_test(engine, EngineKind::Portable);
    let store = SidecarStore::create_with(path, engine, with_key().1).unwrap();
    Some((fails, store))
}

/// An epoch whose change failed is either not in the file, or its state is unknown. Then nothing is written until the
/// store is reopened. No epoch is returned twice.
#[test]
fn a_failure_at_every_call_of_a_change() {
    let steps = [
        (Step::CreateTemp, Errno::ENOSPC),
        (Step::SetMode, Errno::EPERM),
        (Step::Write, Errno::EIO),
        (Step::SyncFile, Errno::EIO),
        (Step::Close, Errno::EIO),
        (Step::Close, Errno::EDQUOT),
        (Step::Rename, Errno::EISDIR),
        (Step::SyncDir, Errno::EIO),
        (Step::SyncDir, Errno::EINVAL),
    ];
    for ring in [false, true] {
        for (step, errno) in steps {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keys.json");
            let Some((fails, store)) = store(&path, ring, move |call| (call.step() == step).then_some(errno)) else {
                continue;
            };
            let id = with_key().0;
            assert_eq!(store.bump_local_epoch(id).unwrap(), 1);
            fails.store(true, Ordering::Relaxed);
            let error = store.bump_local_epoch(id).unwrap_err();
            let published = step == Step::SyncDir;
            assert_eq!(error.outcome(), if published { Outcome::Unknown } else { Outcome::Unchanged });
            let SidecarError::Io(error) = error else { panic!("{error}") };
            assert_eq!((error.step(), error.raw_os_error()), (step, Some(errno as i32)));
            assert_eq!(error.is_unsupported_filesystem(), errno == Errno::EINVAL);
            // The file and the lock.
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "{step}");
            // `get` returns the last durable value.
            assert_eq!(store.get().keys[&id].local_epoch, 1);
            fails.store(false, Ordering::Relaxed);
            let next = store.bump_local_epoch(id);
            match next {
                Ok(epoch) => assert!(!published && epoch == 2, "{step}"),
                Err(SidecarError::Io(error)) => assert!(published && error.is_poisoned(), "{error}"),
                Err(error) => panic!("{error}"),
            }
            drop(store);
            let epoch = SidecarStore::open(&path).unwrap().bump_local_epoch(id).unwrap();
            assert_eq!(epoch, 3, "{step}");
        }
    }
}

/// A rotation is one rename: if it fails, neither the key nor the active id changes.
#[test]
fn a_rotation_is_whole_or_not_at_all() {
    for ring in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let publishes = Arc::new(Mutex::new(0));
        let count = Arc::clone(&publishes);
        let fault = move |call: &Call| {
            let publishes = matches!(call, Call::Publish { .. });
            *count.lock().unwrap() += u32::from(publishes);
            publishes.then_some(Errno::ENOSPC)
        };
        let Some((fails, store)) = store(&path, ring, fault) else { continue };
        let before = store.get();
        fails.store(true, Ordering::Relaxed);
        store.rotate(Purpose::Storage, vec![2; 60]).unwrap_err();
        assert_eq!((&*store.get(), &Sidecar::read(&path).unwrap()), (&*before, &*before));
        fails.store(false, Ordering::Relaxed);
        let id = store.rotate(Purpose::Storage, vec![2; 60]).unwrap();
        let after = Sidecar::read(&path).unwrap();
        assert_eq!((after.keys.len(), after.active.storage), (2, Some(id)));
        // One of them created the file.
        assert_eq!(*publishes.lock().unwrap(), 3);
    }
}

/// Ids are drawn until one is unused and not 0.
#[test]
fn ids_of_new_keys_are_free() {
    let (seven, sidecar) = with_key();
    let mut drawn = [0, seven.get(), seven.get(), 9, 10].into_iter();
    assert_eq!(unused_id(&sidecar, |_| drawn.next().unwrap()), KeyId::new(9).unwrap());
}
