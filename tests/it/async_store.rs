//! Changes as futures: on any runtime, in order, in few batches, and when futures are dropped.

use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesOrdered;
use ringbolt::{Applied, Committed, Engine, PutOptions, Reader, Result, Store, Version};

use crate::barriers::*;
use crate::help::*;

#[derive(Clone, Copy, Debug)]
enum Runtime {
    /// tokio on this thread.
    Current,
    /// tokio with worker threads.
    Multi,
    /// No runtime at all.
    None,
}

const RUNTIMES: [Runtime; 3] = [Runtime::Current, Runtime::Multi, Runtime::None];

impl Runtime {
    fn run<T>(self, future: impl Future<Output = T>) -> T {
        match self {
            Runtime::Current => tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future),
            Runtime::Multi => tokio_threads().block_on(future),
            Runtime::None => futures::executor::block_on(future),
        }
    }
}

fn tokio_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap()
}

/// Polls once, with a waker that does nothing. Returns whether it is still pending; if not, it must have succeeded.
fn is_pending<T>(future: &mut (impl Future<Output = Result<T>> + Unpin)) -> bool {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => true,
        Poll::Ready(done) => done.map(|_| false).unwrap(),
    }
}

fn borrows_nothing<F: Future<Output = T> + Send + 'static, T>(future: F) -> F {
    future
}

/// Futures do not borrow the key or the content.
#[test]
fn every_future_is_send_and_borrows_nothing() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let version = store.put("k", "0").unwrap();
        let key = String::from("k");
        let options = PutOptions::new().create_new(true);
        let mut batch = store.batch();
        batch.put(&key, "7");
        let put: Vec<futures::future::BoxFuture<'static, Result<Version>>> = vec![
            Box::pin(borrows_nothing(store.put_async(&key, "1"))),
            Box::pin(borrows_nothing(store.put_new_async(key.as_str(), "2"))),
            Box::pin(borrows_nothing(store.put_if_async(&key, version, "3"))),
            Box::pin(borrows_nothing(store.put_with_async(&key, "4", options))),
        ];
        let other: Vec<futures::future::BoxFuture<'static, Result<()>>> = vec![
            Box::pin(borrows_nothing(store.delete_async(&key))),
            Box::pin(borrows_nothing(store.delete_if_async(&key, version))),
            Box::pin(borrows_nothing(store.rename_async(&key, String::from("l")))),
        ];
        let committed = borrows_nothing::<_, Committed>(batch.commit_async());
        drop(key);
        // None of them was polled, so nothing has happened.
        drop((put, other, committed));
        assert_eq!(store.get("k").unwrap(), "0");
        store.close().unwrap();
        assert_eq!(open(dir, engine).metadata("k").unwrap().version, Some(version));
    });
}

#[test]
fn every_change_works_on_every_runtime() {
    each_config(|config, dir| {
        let store = config.open(dir);
        for runtime in RUNTIMES {
            runtime.run(all_changes(&store));
            assert_eq!(store.list("").unwrap().count(), 0, "{config:?} {runtime:?}");
        }
        assert!(temporaries(dir).is_empty());
    });
}

async fn all_changes(store: &Store) {
    let first = store.put_async("d/k", "1").await.unwrap();
    assert_eq!(store.get_versioned("d/k").unwrap(), ("1".into(), Some(first)));
    assert!(store.put_new_async("d/k", "2").await.unwrap_err().is_already_exists());
    let second = store.put_if_async("d/k", first, "3").await.unwrap();
    assert!(store.put_if_async("d/k", first, "4").await.unwrap_err().is_version_mismatch());
    let third = store.put_with_async("d/k", "5", PutOptions::new().mode(0o640)).await.unwrap();
    assert_eq!(store.metadata("d/k").unwrap().mode, 0o640);
    assert!(first < second && second < third);
    store.rename_async("d/k", "e/k").await.unwrap();
    assert!(store.rename_async("d/k", "e/k").await.unwrap_err().is_not_found());
    assert_eq!(store.get_versioned("e/k").unwrap(), ("5".into(), Some(third)));
    assert!(store.delete_if_async("e/k", first).await.unwrap_err().is_version_mismatch());
    store.delete_if_async("e/k", third).await.unwrap();
    store.put_new_async("e/k", "6").await.unwrap();
    store.delete_async("e/k").await.unwrap();
    assert!(store.delete_async("e/k").await.unwrap_err().is_not_found());
    assert!(store.put_async("../k", "7").await.unwrap_err().is_invalid_key());
    let mut batch = store.batch();
    batch.put("a", "8").put("b", "9").then().delete("a").rename("b", "c");
    let [Applied::Put(_), Applied::Put(b), Applied::Deleted, Applied::Renamed] =
        batch.commit_async().await.into_result().unwrap()[..]
    else {
        panic!("not what was asked for")
    };
    assert_eq!(store.get_versioned("c").unwrap(), ("9".into(), Some(b)));
    store.delete_async("c").await.unwrap();
    assert!(store.batch().commit_async().await.results().is_empty());
}

#[test]
fn a_thousand_puts_at_once_take_few_batches() {
    each_config(|config, dir| {
        for runtime in RUNTIMES {
            let store = config.open(dir);
            let puts = (0..1000).map(|i| store.put_async(format!("d{}/{i}", i % 3), format!("{runtime:?}{i}")));
            let versions: Vec<Version> = match runtime {
                Runtime::Multi => tokio_threads().block_on(async {
                    let tasks: Vec<_> = puts.map(tokio::spawn).collect();
                    join_all(tasks).await.into_iter().map(|task| task.unwrap().unwrap()).collect()
                }),
                _ => runtime.run(join_all(puts)).into_iter().map(Result::unwrap).collect(),
            };
            for (i, version) in versions.into_iter().enumerate() {
                let found = store.get_versioned(format!("d{}/{i}", i % 3)).unwrap();
                assert_eq!(found, (format!("{runtime:?}{i}").into(), Some(version)), "{config:?}");
            }
            let stats = store.stats();
            assert_eq!((stats.changes, stats.failed, stats.batched), (1000, 0, 1000), "{config:?} {runtime:?}");
            assert!(stats.batches < 500, "{config:?} {runtime:?}: {} batches", stats.batches);
            assert_eq!((stats.queue.changes, stats.queue.bytes, stats.queue.in_line), (0, 0, 0));
            assert!(temporaries(dir).is_empty());
        }
    });
}

/// The change is made, although nobody receives the result.
#[test]
fn dropped_after_a_poll_it_is_done_all_the_same() {
    each_config(|config, dir| {
        for round in 0..10 {
            let store = config.open(dir);
            for i in 0..10 {
                let mut put = Box::pin(store.put_async(format!("d/{round}-{i}"), pattern(i * 1000)));
                is_pending(&mut put);
            }
            let mut batch = store.batch();
            batch.put(format!("{round}"), "kept").delete(format!("d/{round}-0"));
            let mut committed = Box::pin(async { batch.commit_async().await.into_result() });
            is_pending(&mut committed);
            drop(committed);
            // Dropping the store waits for all queued changes.
            drop(store);
            let reader = Reader::open(dir).unwrap();
            for i in 1..10 {
                assert_eq!(reader.get(format!("d/{round}-{i}")).unwrap(), pattern(i * 1000), "{config:?}");
            }
            assert!(reader.get(format!("d/{round}-0")).unwrap_err().is_not_found());
            assert_eq!(reader.get(format!("{round}")).unwrap(), "kept");
            assert!(temporaries(dir).is_empty());
            // It was closed cleanly.
            assert!(dir.join(".ringbolt/clean").exists());
        }
    });
}

#[test]
fn dropped_before_its_first_poll_it_does_nothing() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put("k", "old").unwrap();
        let before = store.stats();
        let mut batch = store.batch();
        batch.put("fresh/dir/k", "new");
        drop((store.put_async("k", "new"), store.delete_async("k"), batch.commit_async()));
        drop(store.rename_async("k", "fresh/k"));
        let after = store.stats();
        assert_eq!((after.changes, after.batches), (before.changes, before.batches));
        store.close().unwrap();
        assert_eq!(listed(dir), ["k"]);
        assert!(!dir.join("fresh").exists());
    });
}

fn listed(dir: &Path) -> Vec<String> {
    Reader::open(dir).unwrap().list("").unwrap().map(Result::unwrap).collect()
}

#[test]
fn more_than_the_queue_holds_gets_through() {
    each_config(|config, dir| {
        for runtime in RUNTIMES {
            let store = config.builder(dir).queue_changes(4).queue_bytes(1 << 20).open().unwrap();
            // Some of them are larger than the whole queue.
            let len = |i: usize| if i % 50 == 49 { (1 << 20) + i } else { i * 10 };
            let puts = (0..200).map(|i| store.put_async(format!("k{i}"), pattern(len(i))));
            for done in runtime.run(join_all(puts)) {
                done.unwrap();
            }
            for i in 0..200 {
                assert!(store.get(format!("k{i}")).unwrap() == pattern(len(i)), "{config:?} {runtime:?} {i}");
            }
            let stats = store.stats();
            assert!(stats.largest_batch <= 4, "{config:?}: {}", stats.largest_batch);
            assert_eq!((stats.queue.changes, stats.queue.bytes, stats.queue.in_line), (0, 0, 0));
        }
    });
}

/// Blocking callers and tasks share one queue.
#[test]
fn threads_and_tasks_share_a_small_queue() {
    each_engine(|engine, dir| {
        let store = Store::builder(dir)
            .create_if_missing(true)
            .engine(engine)
            .queue_changes(2)
            .queue_bytes(1 << 20)
            .open()
            .unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let store = &store;
                scope.spawn(move || match thread % 2 {
                    0 => (0..25).for_each(|i| assert!(store.put(format!("{thread}/{i}"), "x").is_ok())),
                    _ => futures::executor::block_on(async {
                        let puts = (0..25).map(|i| store.put_async(format!("{thread}/{i}"), "x"));
                        join_all(puts).await.into_iter().for_each(|done| assert!(done.is_ok()));
                    }),
                });
            }
        });
        assert_eq!(store.list("").unwrap().count(), 200);
        let queue = store.stats().queue;
        assert_eq!((queue.changes, queue.bytes, queue.in_line), (0, 0, 0));
    });
}

#[test]
fn of_two_puts_of_one_task_the_later_stays() {
    each_config(|config, dir| {
        let store = config.open(dir);
        for (round, runtime) in (0..60).zip(RUNTIMES.into_iter().cycle()) {
            let key = format!("d/{}", round % 2);
            let last = runtime.run(async {
                let (first, second) = futures::join!(store.put_async(&key, "first"), store.put_async(&key, "second"));
                assert_ne!(first.unwrap(), second.as_ref().copied().unwrap());
                second.unwrap()
            });
            assert_eq!(store.get_versioned(&key).unwrap(), ("second".into(), Some(last)), "{config:?} {round}");
            let many: FuturesOrdered<_> = (0..12).map(|i| store.put_async(&key, i.to_string())).collect();
            let versions: Vec<Version> = runtime.run(many.map(Result::unwrap).collect());
            assert!(versions.is_sorted_by(|a, b| a < b), "{config:?}");
            assert_eq!(store.get_versioned(&key).unwrap(), ("11".into(), Some(versions[11])), "{config:?} {round}");
        }
        assert!(temporaries(dir).is_empty());
    });
}

/// Changes of different kinds: each sees the effects of those before it.
#[test]
fn changes_of_one_task_are_made_in_order() {
    each_config(|config, dir| {
        let store = config.open(dir);
        for (round, runtime) in (0..12).zip(RUNTIMES.into_iter().cycle()) {
            let fresh = format!("fresh{round}");
            runtime.run(async {
                let (put, moved, gone, again, kept) = futures::join!(
                    store.put_async("a", "1"),
                    store.rename_async("a", "b"),
                    store.delete_async("b"),
                    store.put_new_async("b", "2"),
                    store.put_async(format!("{fresh}/k"), "3"),
                );
                put.and(again).and(kept).unwrap();
                moved.and(gone).unwrap();
            });
            assert!(store.get("a").unwrap_err().is_not_found());
            assert_eq!((store.get("b").unwrap(), store.get(format!("{fresh}/k")).unwrap()), ("2".into(), "3".into()));
            store.delete("b").unwrap();
        }
    });
}

/// On a single thread: if a read waited for those puts, the thread would deadlock, because nothing would poll them.
#[test]
fn a_read_does_not_wait_for_writers() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let version = store.put("read", "old").unwrap();
        Runtime::Current.run(async {
            let mut puts: Vec<_> = (0..1000).map(|i| Box::pin(store.put_async(format!("k{i}"), "x"))).collect();
            puts.retain_mut(is_pending);
            assert_eq!(store.get_versioned("read").unwrap(), ("old".into(), Some(version)));
            assert_eq!(store.metadata("read").unwrap().len, 3);
            assert!(store.list("").unwrap().any(|key| key.unwrap() == "read"));
            for put in puts {
                put.await.unwrap();
            }
            assert_eq!(store.stats().changes, 1001);
        });
    });
}

/// Futures keep the store open and locked until they complete.
#[test]
fn futures_outlive_their_store() {
    each_config(|config, dir| {
        let again = || config.builder(dir).open();
        for runtime in RUNTIMES {
            let store = config.open(dir);
            let mut puts: Vec<_> = (0..100).map(|i| Box::pin(store.put_async(format!("k{i}"), "x"))).collect();
            let last = puts.pop().unwrap();
            let rest = puts.split_off(50);
            puts.retain_mut(is_pending);
            drop(store);
            assert!(again().unwrap_err().is_locked());
            runtime.run(async {
                join_all(puts.into_iter().chain(rest)).await.into_iter().for_each(|done| assert!(done.is_ok()));
            });
            assert!(again().unwrap_err().is_locked(), "{config:?}: the last was not even polled");
            runtime.run(last).unwrap();
            let store = again().unwrap();
            assert_eq!(store.list("k").unwrap().count(), 100);
            (0..100).for_each(|i| store.delete(format!("k{i}")).unwrap());
        }
        assert_eq!(temporaries(dir), Vec::<PathBuf>::new());
    });
}

/// Aborting a task drops its future.
#[test]
fn aborted_tasks_leave_whole_files_and_no_temporaries() {
    for engine in engines() {
        let dir = dir();
        aborted(engine, dir.path());
    }
}

fn aborted(engine: Engine, dir: &Path) {
    let store = open(dir, engine);
    let runtime = tokio_threads();
    let tasks: Vec<_> =
        (0..200).map(|i| runtime.spawn(store.put_async(format!("d{}/{i}", i % 5), pattern(i * 37)))).collect();
    tasks.iter().skip(1).step_by(2).for_each(tokio::task::JoinHandle::abort);
    let ended = runtime.block_on(join_all(tasks));
    for (i, ended) in ended.into_iter().enumerate() {
        let found = store.get(format!("d{}/{i}", i % 5));
        match ended {
            Ok(done) => assert!(done.is_ok() && found.unwrap() == pattern(i * 37)),
            Err(aborted) => assert!(aborted.is_cancelled() && i % 2 == 1),
        }
    }
    drop((runtime, store));
    for key in listed(dir) {
        let i = key.split_once('/').unwrap().1.parse::<usize>().unwrap();
        assert!(fs::read(dir.join(&key)).unwrap() == pattern(i * 37), "{key} is half a file");
    }
    assert!(temporaries(dir).is_empty());
}
