//! Queueing, on a frozen filesystem: the first change blocks until it is thawed, so no test depends on timing.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ringbolt::{Barrier, Engine, Reader, Store, Version};

use crate::help::*;
use crate::mounts::*;

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a test with a store on a separate ext4, for each engine and barrier.
fn each_disk(limit: usize, test: impl Fn(Store, &Path) + Sync) {
    for engine in engines() {
        for barrier in [Barrier::Auto, Barrier::PerFile, Barrier::Filesystem, Barrier::Journal, Barrier::IntentLog] {
            with_mounts("a filesystem that stands still", |dir| {
                let Some(disk) = disk(dir, EXT4, "rw") else { return };
                test(open_limited(&disk, engine, barrier, limit), &disk);
            });
        }
    }
}

fn open_limited(dir: &Path, engine: Engine, barrier: Barrier, limit: usize) -> Store {
    Store::builder(dir)
        .create_if_missing(true)
        .engine(engine)
        .barrier(barrier)
        .queue_changes(limit)
        .queue_bytes(1 << 20)
        .open()
        .unwrap()
}

fn in_line(store: &Store) -> (usize, usize) {
    let queue = store.stats().queue;
    (queue.changes, queue.in_line)
}

#[test]
fn what_is_dropped_in_line_is_not_done() {
    each_disk(1, |store, disk| {
        let frozen = Frozen::new(disk);
        let mut first = Box::pin(store.put_async("first", "1"));
        let mut second = Box::pin(store.put_async("second", "2"));
        let mut third = Box::pin(store.put_async("third", "3"));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        assert_eq!(in_line(&store), (1, 1));
        let mut batch = store.batch();
        batch.put("batch", "4").delete("first");
        let mut batch = Box::pin(batch.commit_async());
        assert!(poll(&mut third).is_pending() && poll(&mut batch).is_pending());
        assert_eq!(in_line(&store), (1, 3));
        drop(second);
        drop(batch);
        assert_eq!(in_line(&store), (1, 1));
        // A change that is already running cannot be cancelled.
        drop(first);
        assert_eq!(in_line(&store), (1, 1));
        drop(frozen);
        futures::executor::block_on(third).unwrap();
        assert_eq!(in_line(&store), (0, 0));
        let keys: Vec<String> = store.list("").unwrap().map(Result::unwrap).collect();
        assert_eq!(keys, ["first", "third"]);
        assert!(temporaries(disk).is_empty());
    });
}

/// Changes are admitted in the order of their first poll. A smaller one does not overtake a larger one that does not
/// fit.
#[test]
fn the_line_is_first_come_first_served() {
    each_disk(2, |store, disk| {
        let frozen = Frozen::new(disk);
        let mut first = Box::pin(store.put_async("k", "first"));
        assert!(poll(&mut first).is_pending());
        let mut batch = store.batch();
        batch.put("k", "batch").put("l", "batch");
        let mut large = Box::pin(batch.commit_async());
        assert!(poll(&mut large).is_pending());
        let mut small = Box::pin(store.put_async("k", "small"));
        assert!(poll(&mut small).is_pending());
        assert_eq!(in_line(&store), (1, 2));
        drop(frozen);
        let (first, large, small) = futures::executor::block_on(async { futures::join!(first, large, small) });
        let large = large.into_result().unwrap();
        let order: Vec<Version> =
            [first.unwrap(), large[0].version().unwrap(), large[1].version().unwrap(), small.unwrap()].into();
        assert!(order.is_sorted_by(|a, b| a < b));
        assert_eq!(store.get_versioned("k").unwrap(), ("small".into(), Some(order[3])));
    });
}

/// Reads work while all writers block, and return the acknowledged content.
#[test]
fn reads_go_on_while_writers_wait() {
    each_disk(16, |store, disk| {
        let old = store.put("d/k", "old").unwrap();
        let frozen = Frozen::new(disk);
        let mut put = Box::pin(store.put_async("d/k", "new"));
        let mut gone = Box::pin(store.delete_async("d/k"));
        assert!(poll(&mut put).is_pending() && poll(&mut gone).is_pending());
        assert_eq!(store.get_versioned("d/k").unwrap(), ("old".into(), Some(old)));
        assert_eq!(store.metadata("d/k").unwrap().version, Some(old));
        assert_eq!(store.list("").unwrap().count(), 1);
        assert_eq!(in_line(&store), (2, 0));
        // Nothing has been acknowledged.
        assert!(poll(&mut put).is_pending());
        drop(frozen);
        assert!(futures::executor::block_on(put).unwrap() > old);
        futures::executor::block_on(gone).unwrap();
    });
}

/// Closing the store waits for queued changes, even if their futures are no longer polled or were dropped.
#[test]
fn the_end_of_a_store_commits_what_is_queued() {
    each_disk(64, |store, disk| {
        let frozen = Frozen::new(disk);
        for i in 0..40 {
            let mut put = Box::pin(store.put_async(format!("d{}/{i}", i % 3), pattern(i * 100)));
            assert!(poll(&mut put).is_pending());
        }
        assert_eq!(in_line(&store), (40, 0));
        drop(frozen);
        store.close().unwrap();
        let reader = Reader::open(disk).unwrap();
        for i in 0..40 {
            assert_eq!(reader.get(format!("d{}/{i}", i % 3)).unwrap(), pattern(i * 100));
        }
        assert!(temporaries(disk).is_empty() && disk.join(".ringbolt/clean").exists());
    });
}

/// Changes that queue up behind the first become one batch, with one sync per directory.
#[test]
fn what_has_queued_up_is_one_batch() {
    each_disk(1024, |store, disk| {
        // After a batch, the committing thread handles the next change, and may take it before the others are queued.
        let mut batch = store.batch();
        batch.put("a/k", "").put("b/k", "").put("a/l", "").put("b/l", "");
        batch.commit().into_result().unwrap();
        let before = store.stats();
        let frozen = Frozen::new(disk);
        let mut puts: Vec<_> = (0..101)
            .map(|i| Box::pin(store.put_async(format!("{}/{i}", if i % 2 == 0 { "a" } else { "b" }), "x")))
            .collect();
        assert!(puts.iter_mut().all(|put| poll(put).is_pending()));
        drop(frozen);
        for done in futures::executor::block_on(futures::future::join_all(puts)) {
            done.unwrap();
        }
        let after = store.stats();
        assert_eq!((after.changes - before.changes, after.batched - before.batched), (101, 101));
        // The first may have been committed alone; those queued meanwhile form the batch.
        assert!(after.batches - before.batches <= 2, "{after:?}");
        assert!(after.syncs.directories - before.syncs.directories <= 4, "{after:?}");
        let files = after.syncs.files - before.syncs.files;
        let ranges = after.syncs.ranges - before.syncs.ranges;
        let filesystems = after.syncs.filesystems - before.syncs.filesystems;
        match after.barrier.configured {
            Barrier::PerFile => assert_eq!((files, ranges, filesystems), (101, 0, 0)),
            Barrier::Journal => assert_eq!((files, ranges, filesystems), (0, 101, 0)),
            Barrier::IntentLog => {
                assert_eq!((files, ranges, filesystems, after.syncs.directories), (0, 0, 0, before.syncs.directories));
                assert!(after.log.unwrap().records - before.log.unwrap().records <= 2, "{after:?}");
            }
            Barrier::Filesystem => assert!(files == 0 && ranges == 0 && (1..=2).contains(&filesystems)),
            _ => assert_eq!(ranges, 0),
        }
    });
}
