//! Children forked with a log open: they read, and touch neither the log nor the files.

use std::fs;
use std::thread;

use ringbolt::{ErrorKind, Store};

use super::*;
use crate::forked::in_child;

#[test]
fn a_forked_child_reads_and_leaves_the_log_alone() {
    each_logged("forks", |engine, dir| {
        let store = open_logged(dir, engine);
        for key in 0..20 {
            store.put(format!("k{key}"), format!("parent {key}")).unwrap();
        }
        thread::scope(|scope| {
            for writer in 0..4 {
                let store = &store;
                scope.spawn(move || (0..10).for_each(|n| _ = store.put(format!("{writer}/{n}"), "crowd").unwrap()));
            }
        });
        // Nothing is left for a checkpoint of the parent, which would change the log meanwhile.
        store.checkpoint().unwrap();
        let before = everything(dir);

        in_child(|| {
            assert_eq!(store.get("k7").unwrap(), "parent 7");
            for error in [
                store.put("k", "child").unwrap_err(),
                store.delete("k1").unwrap_err(),
                store.rename("k2", "k3").unwrap_err(),
                store.checkpoint().unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::Forked);
            }
            assert_eq!(store.clone().close().unwrap_err().kind(), ErrorKind::Forked);
            // A thread of the parent may have held the lock of the log at the fork.
            assert!(store.stats().log.is_none());
        });
        let mut all = Some(store);
        in_child(|| drop(all.take()));
        let store = all.unwrap();
        assert_same(&everything(dir), &before, "after the children");

        // They released nothing.
        assert!(Store::open(dir).unwrap_err().is_locked());
        in_child(|| assert!(builder(dir, engine).open().unwrap_err().is_locked()));
        assert_eq!(ringbolt::Reader::open(dir).unwrap().get("k7").unwrap(), "parent 7");
        store.put("k7", "parent again").unwrap();
        store.checkpoint().unwrap();
        store.put("last", "1").unwrap();
        store.close().unwrap();
        assert_eq!(format(dir), "ringbolt store 1\n");
        let store = open_logged(dir, engine);
        assert_eq!((store.get("k7").unwrap(), store.get("last").unwrap()), ("parent again".into(), "1".into()));
    });
}

/// Live records that the parent leaves when it is killed are recovered, although a child had a copy of the store.
#[test]
fn a_fork_of_a_killed_parent_changes_nothing() {
    each_logged("forks of the killed", |engine, dir| {
        crash("forked", dir, engine);
        fs::write(dir.join("k"), "lost").unwrap();
        let store = open_logged(dir, engine);
        assert_eq!((store.get("k").unwrap(), store.list("").unwrap().count()), ("parent".into(), 1));
    });
}

pub(super) fn fork_and_end(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    store.put("k", "parent").unwrap();
    let mut all = Some(store);
    in_child(|| {
        let store = all.take().unwrap();
        assert_eq!(store.get("k").unwrap(), "parent");
        assert_eq!(store.put("l", "child").unwrap_err().kind(), ErrorKind::Forked);
    });
    all.unwrap()
}
