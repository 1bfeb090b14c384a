//! Batches: a result for each change, ordered groups, and the statistics.

use std::thread;

use ringbolt::{Applied, Barrier, BarrierKind, Batch, Error, PutOptions, Result, Store, Version};

use crate::barriers::*;
use crate::help::*;

/// Adds puts to a batch.
fn put_all(batch: &mut Batch, puts: impl Iterator<Item = (String, Vec<u8>)>) {
    for (key, content) in puts {
        batch.put(key, content);
    }
}

/// Which of the changes failed.
fn failed(results: &[Result<Applied>]) -> Vec<usize> {
    results.iter().enumerate().filter(|(_, done)| done.is_err()).map(|(i, _)| i).collect()
}

fn error(results: &[Result<Applied>], i: usize) -> &Error {
    let error = results[i].as_ref().unwrap_err();
    assert_eq!(error.outcome(), ringbolt::Outcome::Unchanged, "{error}");
    error
}

fn keys(store: &Store) -> Vec<String> {
    store.list("").unwrap().map(Result::unwrap).collect()
}

#[test]
fn each_change_has_its_own_answer() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let old = store.put("old", "1").unwrap();
        store.put("gone", "1").unwrap();
        store.put("from", "moved").unwrap();
        let mut batch = store.batch();
        batch
            .put("d/new", "2")
            .put_with("old", "3", PutOptions::new().expect_version(old))
            .put_with("old", "4", PutOptions::new().expect_version(old)) // 2: has another version by then
            .put_with("old", "5", PutOptions::new().create_new(true)) // 3: exists
            .delete("gone")
            .delete("gone") // 5: does not exist
            .rename("from", "e/to")
            .rename("from", "e/to") // 7: does not exist
            .delete_if("old", old) // 8: has another version
            .put("../k", "6") // 9: not a valid key
            .put(".ringbolt/k", "6") // 10: not a valid key
            .delete("/k") // 11
            .rename("e/to", "a//b") // 12
            .put_with("mode", "7", PutOptions::new().mode(0o640))
            .put("d", "8"); // 14: is a directory
        assert_eq!((batch.len(), batch.is_empty()), (15, false));
        let results = batch.commit().into_results();
        assert_eq!(failed(&results), [2, 3, 5, 7, 8, 9, 10, 11, 12, 14], "{config:?} {results:?}");
        assert!([2, 8].iter().all(|i| error(&results, *i).is_version_mismatch()));
        assert!(error(&results, 3).is_already_exists());
        assert!([5, 7].iter().all(|i| error(&results, *i).is_not_found()));
        assert!((9..=12).all(|i| error(&results, i).is_invalid_key()));
        assert!(error(&results, 14).is_a_directory());
        let puts: Vec<usize> = (0..15).filter(|i| matches!(results[*i], Ok(Applied::Put(_)))).collect();
        assert_eq!(puts, [0, 1, 13]);
        assert_eq!(keys(&store), ["d/new", "e/to", "mode", "old"]);
        assert_eq!((store.get("old").unwrap(), store.get("e/to").unwrap()), ("3".into(), "moved".into()));
        assert_eq!(store.metadata("mode").unwrap().mode, 0o640);
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn an_empty_batch_does_nothing() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        assert!(store.batch().commit().results().is_empty());
        let mut batch = store.batch();
        batch.then().then();
        assert!(batch.is_empty());
        assert!(futures::executor::block_on(batch.commit_async()).into_result().unwrap().is_empty());
        assert_eq!((store.stats().batches, store.stats().changes), (0, 0));
        // Empty groups do not count.
        let mut batch = store.batch();
        batch.then().put("a", "1").then().then().put("b", "2").then();
        assert_eq!(batch.commit().into_result().unwrap().len(), 2);
    });
}

#[test]
fn a_batch_that_is_dropped_does_nothing_and_holds_the_lock() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let mut batch = store.batch();
        batch.put("d/k", "1");
        drop(store);
        let again = || Store::builder(dir).create_if_missing(true).engine(engine).open();
        assert!(again().unwrap_err().is_locked());
        drop(batch);
        assert!(keys(&again().unwrap()).is_empty() && !dir.join("d").exists());
    });
}

/// Adds a change that fails.
type Fail = fn(&mut Batch) -> &mut Batch;

/// If any data change fails, the manifest is unchanged.
#[test]
fn a_failed_group_leaves_the_next_alone() {
    let failures: [(&str, Fail); 6] = [
        ("a clash", |batch| batch.put_with("clash", "2", PutOptions::new().create_new(true))),
        ("a mismatch", |batch| batch.put_with("data/2", "2", PutOptions::new().expect_version("1".parse().unwrap()))),
        ("no key", |batch| batch.put("..", "2")),
        ("a delete", |batch| batch.delete("missing")),
        ("a rename", |batch| batch.rename("missing", "data/2")),
        ("a file on the way", |batch| batch.put("clash/below", "2")),
    ];
    each_config(|config, dir| {
        for (what, fail) in failures {
            let store = config.open(dir);
            store.put("clash", "1").unwrap();
            let manifest = store.put("MANIFEST", "old").unwrap();
            let mut batch = store.batch();
            batch.put("data/1", "1");
            fail(&mut batch);
            batch.put("data/3", "3").then().put("MANIFEST", "new").delete("clash").rename("data/1", "data/4");
            batch.then().put("fresh/k", "4");
            let results = batch.commit().into_results();
            assert_eq!(failed(&results), [1, 3, 4, 5, 6], "{config:?} {what}: {results:?}");
            assert!(!error(&results, 1).is_not_attempted());
            assert!((3..7).all(|i| error(&results, i).is_not_attempted()), "{config:?} {what}");
            assert_eq!(store.get_versioned("MANIFEST").unwrap(), ("old".into(), Some(manifest)));
            assert_eq!(keys(&store), ["MANIFEST", "clash", "data/1", "data/3"]);
            assert!(temporaries(dir).is_empty());
            // Other changes are not affected.
            let mut batch = store.batch();
            batch.put("data/1", "1").then().put("MANIFEST", "newer");
            batch.commit().into_result().unwrap();
            assert_eq!(store.get("MANIFEST").unwrap(), "newer");
        }
    });
}

/// The second group sees the effects of the first.
#[test]
fn groups_build_on_one_another() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let mut batch = store.batch();
        batch.put("a", "1").then().rename("a", "b").then().put_with("a", "2", PutOptions::new().create_new(true));
        batch.then().delete("b").then().put("b", "3");
        let applied = batch.commit().into_result().unwrap();
        assert!(
            matches!(
                applied[..],
                [Applied::Put(_), Applied::Renamed, Applied::Put(_), Applied::Deleted, Applied::Put(_)]
            ),
            "{applied:?}"
        );
        assert_eq!((store.get("a").unwrap(), store.get("b").unwrap()), ("2".into(), "3".into()), "{config:?}");
        // A failure in the second group does not undo the first.
        let mut batch = store.batch();
        batch.put("c", "4").then().put_with("a", "5", PutOptions::new().create_new(true)).then().delete("c");
        assert_eq!(failed(batch.commit().results()), [1, 2]);
        assert_eq!((store.get("a").unwrap(), store.get("c").unwrap()), ("2".into(), "4".into()));
    });
}

/// Changes are applied in order even if several threads write the files.
#[test]
fn changes_of_a_large_batch_are_made_in_order() {
    each_config(|config, dir| {
        for round in 0..8 {
            let store = config.open(dir);
            let mut batch = store.batch();
            for i in 0..40 {
                let (from, to) = (format!("fresh{round}/{i}/k"), format!("moved{round}/{i}/k"));
                batch.put(&from, "1").put(&from, "2").rename(&from, &to).delete(&to).put(&to, i.to_string());
            }
            let results = batch.commit().into_results();
            assert_eq!(failed(&results), Vec::<usize>::new(), "{config:?} {round}: {results:?}");
            for i in 0..40 {
                assert_eq!(store.get(format!("moved{round}/{i}/k")).unwrap(), i.to_string());
            }
            assert_eq!(store.list(format!("fresh{round}/")).unwrap().count(), 0);
        }
    });
}

#[test]
fn a_batch_larger_than_the_queue_goes_alone() {
    each_config(|config, dir| {
        let store = config.builder(dir).queue_changes(4).queue_bytes(1000).open().unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    let mut batch = store.batch();
                    put_all(&mut batch, (0..300).map(|i| (format!("{thread}/{i}"), pattern(i))));
                    assert_eq!(batch.commit().into_result().unwrap().len(), 300);
                    store.put(format!("large{thread}"), pattern(5000)).unwrap();
                });
            }
        });
        assert_eq!(keys(&store).len(), 1204, "{config:?}");
        let stats = store.stats();
        assert_eq!((stats.changes, stats.queue.changes, stats.queue.bytes), (1204, 0, 0));
        assert!(stats.largest_batch >= 300);
    });
}

#[test]
fn three_thousand_files_in_thirty_new_directories() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let key = |i: usize| format!("new/{}/{i}", i % 30);
        let mut batch = store.batch();
        put_all(&mut batch, (0..3000).map(|i| (key(i), i.to_string().into())));
        batch.then().put("MANIFEST", "3000");
        let applied = batch.commit().into_result().unwrap();
        let versions: Vec<Version> = applied.into_iter().filter_map(Applied::version).collect();
        assert!(versions.is_sorted_by(|a, b| a < b), "{config:?}");
        for i in (0..3000).step_by(7) {
            assert_eq!(store.get_versioned(key(i)).unwrap(), (i.to_string().into(), Some(versions[i])));
        }
        assert_eq!(keys(&store).len(), 3001);
        let stats = store.stats();
        assert_eq!((stats.batches, stats.batched, stats.largest_batch, stats.changes), (1, 3001, 3001, 3001));
        assert!(stats.syncs.directories <= 31, "{config:?}: {:?}", stats.syncs);
        assert!(temporaries(dir).is_empty());
    });
}

/// Two batches with the same keys: the changes of each batch stay in order.
#[test]
fn batches_of_two_threads_meet() {
    each_config(|config, dir| {
        let store = config.open(dir);
        thread::scope(|scope| {
            for writer in ["one", "two"] {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..30 {
                        let mut batch = store.batch();
                        put_all(&mut batch, (0..20).map(|i| (format!("shared/{i}"), writer.into())));
                        batch
                            .put(format!("{writer}/a"), round.to_string())
                            .rename(format!("{writer}/a"), format!("{writer}/b"));
                        batch.then().put(format!("{writer}/done"), round.to_string());
                        batch.commit().into_result().unwrap();
                        assert_eq!(store.get(format!("{writer}/done")).unwrap(), round.to_string());
                        assert_eq!(store.get(format!("{writer}/b")).unwrap(), round.to_string());
                    }
                });
            }
        });
        assert_eq!(keys(&store).len(), 24, "{config:?}");
        assert!(
            (0..20).all(
                |i| ["one", "two"].contains(&&*String::from_utf8_lossy(&store.get(format!("shared/{i}")).unwrap()))
            )
        );
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn statistics_are_correct() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let stats = store.stats();
        assert_eq!((stats.changes, stats.batches, stats.latency.change.count), (0, 0, 0));
        assert_eq!((stats.barrier.configured, stats.barrier.last), (config.barrier, None));
        for round in 0..5 {
            let mut batch = store.batch();
            put_all(&mut batch, (0..10 + round).map(|i| (format!("d/{i}"), pattern(100))));
            batch.put("..", "no key").delete("none");
            assert_eq!(batch.commit().into_results().into_iter().filter(Result::is_err).count(), 2);
        }
        let stats = store.stats();
        assert_eq!((stats.changes, stats.failed, stats.bytes, stats.alone), (60, 10, 6000, 0), "{config:?}");
        assert_eq!((stats.batches, stats.batched, stats.largest_batch, stats.fallbacks), (5, 70, 16, 0));
        let by_kind = [stats.barrier.per_file, stats.barrier.filesystem, stats.barrier.journal];
        let logged = stats.barrier.intent_log;
        assert_eq!(by_kind.iter().sum::<u64>() + logged, 5);
        // Each file is covered by one sync of its own, or by one of the filesystem.
        assert_eq!(stats.syncs.filesystems, stats.barrier.filesystem, "{config:?}");
        assert_eq!(stats.syncs.directories, 5 - logged);
        match config.barrier {
            _ if logged > 0 => {
                assert_eq!((logged, stats.syncs.files, stats.syncs.ranges), (5, 0, 0));
                assert_eq!(stats.log.unwrap().records, 5);
            }
            Barrier::PerFile => assert_eq!((by_kind, stats.syncs.files, stats.syncs.ranges), ([5, 0, 0], 60, 0)),
            Barrier::Filesystem => assert_eq!((by_kind, stats.syncs.files, stats.syncs.ranges), ([0, 5, 0], 0, 0)),
            _ if stats.barrier.journal > 0 => assert_eq!((by_kind, stats.syncs.ranges), ([0, 0, 5], 60)),
            _ => assert!(stats.syncs.files >= stats.barrier.per_file * 10 && stats.syncs.ranges == 0),
        }
        let last = stats.barrier.last.unwrap();
        let plain = [BarrierKind::PerFile, BarrierKind::Filesystem, BarrierKind::Journal];
        assert!(if logged > 0 { last == BarrierKind::IntentLog } else { plain.contains(&last) });
        assert!(!stats.barrier.reason.is_empty());
        let latency = stats.latency;
        // A batch counts as one call.
        assert_eq!(latency.change.count, 5);
        for part in [latency.change, latency.stage, latency.barrier, latency.publish, latency.sync_dirs] {
            assert!(
                part.count == 5 && part.p50 <= part.p90 && part.p90 <= part.p99 && part.p99 <= part.max,
                "{part:?}"
            );
        }
        let queue = stats.queue;
        assert_eq!((queue.changes, queue.bytes, queue.in_line), (0, 0, 0));
    });
}

/// The device fills up in the middle of a batch: changes that fit are made, the others fail, and no temporary files are
/// left.
#[cfg(target_os = "linux")]
#[test]
fn a_device_that_fills_up_in_the_middle_of_a_batch() {
    use crate::mounts::*;
    for engine in engines() {
        for (large, barrier) in [1, 19, 40].into_iter().flat_map(|large| BARRIERS.map(|barrier| (large, barrier))) {
            with_mounts("a batch on a disk that fills up", |dir| {
                let full = tmpfs(dir.join("t"), "size=2m");
                let store = StoreConfig { engine, barrier }.open(&full);
                (0..40).for_each(|i| assert!(store.put(format!("d/{i}"), "old").is_ok()));
                let mut batch = store.batch();
                let len = |i| if i == large { 3 << 20 } else { 4 << 10 };
                put_all(&mut batch, (0..40).map(|i| (format!("d/{i}"), pattern(len(i)))));
                batch.put("last", pattern(3 << 20)).then().put("MANIFEST", "new");
                let results = batch.commit().into_results();
                let failed = failed(&results);
                assert!(
                    failed.contains(&40) && failed.contains(&41) && failed.len() < 42,
                    "{engine:?} {barrier:?} {failed:?}"
                );
                assert!(large == 40 || failed.contains(&large));
                // Its own file may not have fit.
                let manifest = error(&results, 41);
                assert!(manifest.is_not_attempted() || manifest.is_storage_full(), "{manifest}");
                for (i, done) in results.iter().take(40).enumerate() {
                    let found = store.get(format!("d/{i}")).unwrap();
                    match done {
                        Ok(_) => assert!(found == pattern(4 << 10)),
                        Err(error) => assert!(found == "old" && error.is_storage_full(), "{error}"),
                    }
                }
                assert!(!full.join("last").exists() && !full.join("MANIFEST").exists());
                assert_eq!(temporaries(&full), Vec::<std::path::PathBuf>::new());
                assert!(failed.iter().all(|i| results[*i].as_ref().unwrap_err().leftover().is_none()));
                store.put("d/0", "again").unwrap();
                store.close().unwrap();
                assert!(std::fs::exists(full.join(".ringbolt/clean")).unwrap());
            });
        }
    }
}
