//! Children forked with a store open: they can only read, and do not affect their parent.

use std::fs;
use std::io::Write;
use std::path::Path;

use fork::{Fork, WEXITSTATUS, WIFEXITED, fork, waitpid};
use ringbolt::{AtomicFile, Barrier, Engine, ErrorKind, PutOptions, Store};

use crate::help::*;

/// Forks a child that runs `act`, and waits for it.
pub(crate) fn in_child(act: impl FnOnce()) {
    match fork().unwrap() {
        Fork::Child => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            std::process::exit(i32::from(done.is_err()));
        }
        Fork::Parent(child) => {
            let status = waitpid(child).unwrap();
            assert!(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child failed: {status:#x}");
        }
    }
}

/// Asserts that every change fails with the same error kind.
fn refused(store: &Store, version: ringbolt::Version) {
    let kinds = [
        store.put("k", "child").map(drop),
        store.put_new("new/k", "child").map(drop),
        store.put_if("k", version, "child").map(drop),
        store.delete("k"),
        store.rename("k", "l"),
        store.writer("k", PutOptions::new()).map(drop),
        futures::executor::block_on(store.put_async("k", "child")).map(drop),
        {
            let mut batch = store.batch();
            batch.put("k", "child").put("l", "child");
            batch.commit().into_result().map(drop)
        },
    ];
    for (way, refused) in kinds.into_iter().enumerate() {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Forked, "{way}");
    }
}

#[test]
fn a_child_reads_and_changes_nothing() {
    for barrier in [Barrier::Auto, Barrier::IntentLog] {
        each_engine(|engine, dir| child_changes_nothing(engine, barrier, dir));
    }
}

fn child_changes_nothing(engine: Engine, barrier: Barrier, dir: &Path) {
    let Some(store) = crate::crowd::open(dir, engine, barrier) else { return };
    let version = store.put("k", "parent").unwrap();
    // Start all threads of the store first: commit, stage, sync and ring.
    crowd(&store);
    let mut guard = store.writer("guard", PutOptions::new()).unwrap();
    guard.write_all(b"parent").unwrap();
    let mut single = AtomicFile::create(dir.join("single")).unwrap();
    single.write_all(b"parent").unwrap();
    let before = listing(dir);

    in_child(|| {
        assert_eq!(store.get("k").unwrap(), "parent");
        refused(&store, version);
        assert_eq!(store.clone().close().unwrap_err().kind(), ErrorKind::Forked);
    });
    // Dropping everything neither hangs, nor unlocks, nor removes temporary files of the parent.
    let mut all = Some((store, guard, single));
    in_child(|| drop(all.take()));
    let (store, guard, single) = all.unwrap();
    assert_eq!(listing(dir), before);
    assert!(Store::open(dir).unwrap_err().is_locked());
    in_child(|| assert!(Store::open(dir).unwrap_err().is_locked()));

    let next = store.put_if("k", version, "parent again").unwrap();
    assert!(next > version);
    guard.commit().unwrap();
    single.commit().unwrap();
    crowd(&store);
    store.close().unwrap();
    assert_eq!(Store::open(dir).unwrap().get("guard").unwrap(), "parent");
    assert_eq!(fs::read(dir.join("single")).unwrap(), b"parent");
}

/// A child can use what it opens itself.
#[test]
fn a_single_write_of_a_child_is_its_own() {
    let dir = dir();
    in_child(|| ringbolt::write(dir.path().join("f"), "child").unwrap());
    assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"child");
}

fn crowd(store: &Store) {
    std::thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || (0..20).for_each(|i| _ = store.put(format!("crowd/{writer}/{i}"), "x").unwrap()));
        }
    });
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .chain(fs::read_dir(dir.join(".ringbolt")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
