//! Versions: each put gets a new one, and conditional changes compare it.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::thread;
use std::time::SystemTime;

use futures::executor::block_on;
use futures::future::join_all;
use ringbolt::{PutOptions, Store, Version};

use crate::barriers::*;
use crate::help::*;

#[test]
fn every_put_has_a_version_of_its_own() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let mut all: Vec<Version> = (0..200).map(|_| store.put("k", "alone").unwrap()).collect();
        assert!(all.is_sorted_by(|a, b| a < b));
        thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let store = &store;
                    scope.spawn(move || (0..250).map(|_| put_any_way(store, thread)).collect::<Vec<_>>())
                })
                .collect();
            for thread in threads {
                let versions = thread.join().unwrap();
                // For consecutive puts they increase.
                assert!(versions.is_sorted_by(|a, b| a < b), "{config:?}");
                all.extend(versions);
            }
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 2200, "{config:?}");
        let (content, version) = store.get_versioned("k").unwrap();
        assert!(all.contains(&version.unwrap()) && !content.is_empty());
    });
}

fn put_any_way(store: &Store, way: usize) -> Version {
    match way % 3 {
        0 => store.put("k", "blocking").unwrap(),
        1 => futures::executor::block_on(store.put_async("k", "a future")).unwrap(),
        _ => {
            let mut batch = store.batch();
            batch.put("k", "a batch");
            batch.commit().into_result().unwrap()[0].version().unwrap()
        }
    }
}

#[test]
fn what_a_put_returns_is_what_the_file_says() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let agree = |key: &str, version: Version| {
            let metadata = store.metadata(key).unwrap();
            assert_eq!(metadata.version, Some(version), "{config:?}");
            assert_eq!(store.get_versioned(key).unwrap().1, Some(version));
            assert_eq!(store.reader().get_versioned(key).unwrap(), store.get_versioned(key).unwrap());
            assert_eq!(fs::metadata(dir.join(key)).unwrap().modified().unwrap(), metadata.modified);
            let since_1970 = metadata.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(version.to_string(), since_1970.as_nanos().to_string());
            assert_eq!(version.to_string().parse(), Ok(version));
        };
        for len in [0, 1, 5000, 3 << 20] {
            agree("d/k", store.put("d/k", pattern(len)).unwrap());
            agree("d/k", store.put_with("d/k", pattern(len), PutOptions::new().mode(0o6755)).unwrap());
        }
        agree("new", store.put_new("new", "1").unwrap());
        for i in 0..20 {
            let mut batch = store.batch();
            for i in 0..i {
                batch.put(format!("b/{i}"), pattern(i * 999));
            }
            for (i, applied) in batch.commit().into_result().unwrap().into_iter().enumerate() {
                agree(&format!("b/{i}"), applied.version().unwrap());
            }
        }
        let mut file = store.writer("guard", PutOptions::new().mode(0o600)).unwrap();
        file.write_all(b"1").unwrap();
        let before = store.put("k", "1").unwrap();
        file.commit().unwrap();
        let guarded = store.metadata("guard").unwrap().version.unwrap();
        assert!(guarded > before);
        agree("guard", guarded);
    });
}

#[test]
fn a_version_is_good_for_one_put() {
    each_config(|config, dir| {
        let store = config.open(dir);
        for concurrent in [false, true] {
            // While another change is running, changes go through a batch.
            let other = |i: usize| concurrent.then(|| Box::pin(store.put_async(format!("other/{i}"), "x")));
            let put_if = |key: &str, version, bytes: &'static str| {
                let (other, done) = (other(0), store.put_if_async(key.to_owned(), version, bytes));
                match other {
                    Some(other) => futures::executor::block_on(async { futures::join!(other, done).1 }),
                    None => store.put_if(key, version, bytes),
                }
            };
            let first = store.put("d/k", "1").unwrap();
            let second = put_if("d/k", first, "2").unwrap();
            assert!(second > first);
            assert!(unchanged(put_if("d/k", first, "3"), dir).is_version_mismatch());
            assert_eq!(store.get_versioned("d/k").unwrap(), ("2".into(), Some(second)), "{config:?}");
            // A missing key has no version; nor has a directory.
            assert!(unchanged(put_if("d/none", second, "4"), dir).is_version_mismatch());
            assert!(unchanged(store.delete_if("d/none", second), dir).is_version_mismatch());
            let error = unchanged(put_if("d", second, "5"), dir);
            assert!(error.is_version_mismatch() || error.is_a_directory(), "{error}");
            let error = unchanged(store.delete_if("d", second), dir);
            assert!(error.is_version_mismatch() || error.is_a_directory(), "{error}");
            assert!(unchanged(store.delete_if("d/k", first), dir).is_version_mismatch());
            store.delete_if("d/k", second).unwrap();
            assert!(store.get("d/k").unwrap_err().is_not_found());
            assert!(store.delete_if("d/k", second).unwrap_err().is_version_mismatch());
        }
    });
}

/// A failed conditional change creates no directory, which would stay and block a key of that name.
#[test]
fn where_there_is_no_directory_there_is_no_version() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let first = store.put("file", "1").unwrap();
        let expecting = PutOptions::new().expect_version(first);
        for key in ["d/k", "d/e/k", "file/k"] {
            assert!(unchanged(store.put_if(key, first, "2"), dir).is_version_mismatch());
            assert!(unchanged(block_on(store.put_if_async(key, first, "2")), dir).is_version_mismatch());
            assert!(unchanged(store.delete_if(key, first), dir).is_version_mismatch());
            assert!(unchanged(block_on(store.delete_if_async(key, first)), dir).is_version_mismatch());
            assert!(unchanged(store.writer(key, expecting).map(drop), dir).is_version_mismatch());
            assert!(store.delete(key).unwrap_err().is_not_found());
        }
        store.put("d", "a file").unwrap();
        // But it uses a directory created by an earlier change in the same batch.
        let mut batch = store.batch();
        batch.rename("file", "new/file").put_if("new/file", first, "2").put_if("new/none", first, "2");
        for i in 0..64 {
            batch.put(format!("other/{i}"), "x");
        }
        let results = batch.commit().into_results();
        assert!(results[..2].iter().all(Result::is_ok), "{results:?}");
        assert!(results[2].as_ref().unwrap_err().is_version_mismatch());
        assert_eq!(store.get("new/file").unwrap(), "2");
    });
}

/// Only the version counts: equal content from a later put does not match.
#[test]
fn equal_content_is_not_an_equal_version() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let first = store.put("k", "same").unwrap();
        store.delete("k").unwrap();
        assert_ne!(store.put("k", "same").unwrap(), first);
        assert!(unchanged(store.put_if("k", first, "same"), dir).is_version_mismatch());
        let mut batch = store.batch();
        batch.put("k", "same").delete_if("k", first).put_with("k", "x", PutOptions::new().expect_version(first));
        let failed: Vec<bool> = batch.commit().results().iter().map(|done| done.is_err()).collect();
        assert_eq!((failed, store.get("k").unwrap()), (vec![false, true, true], "same".into()));
    });
}

#[test]
fn a_guard_is_committed_only_on_its_version() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let first = store.put("k", "old").unwrap();
        let begin = |text: &str| {
            let mut file = store.writer("k", PutOptions::new().mode(0o640).expect_version(first)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let (winner, loser) = (begin("winner"), begin("loser"));
        winner.commit().unwrap();
        let rejected = loser.commit().unwrap_err();
        assert!(rejected.error().is_version_mismatch());
        drop(rejected);
        assert!(temporaries(dir).is_empty());
        assert_eq!(store.get("k").unwrap(), "winner");
        let missing = store.writer("none", PutOptions::new().expect_version(first)).unwrap();
        assert!(missing.commit().unwrap_err().error().is_version_mismatch());
        assert!(temporaries(dir).is_empty());
        assert!(!dir.join("none").exists());
        // Of many concurrent ones, one succeeds.
        let now = store.metadata("k").unwrap().version.unwrap();
        let files: Vec<_> = (0..8).map(|_| store.writer("k", PutOptions::new().expect_version(now)).unwrap()).collect();
        let done: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = files.into_iter().map(|file| scope.spawn(|| file.commit())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 1, "{config:?}");
        assert!(done.into_iter().filter_map(Result::err).all(|rejected| rejected.error().is_version_mismatch()));
        assert!(temporaries(dir).is_empty());
    });
}

/// Tasks read a counter, add one, and put it conditionally: no increment is lost.
#[test]
fn counters_count() {
    each_config(|config, dir| {
        let store = config.open(dir);
        store.put("counter", "0").unwrap();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        while !once(&store, |version, next| store.put_if("counter", version, next)) {}
                    }
                });
            }
        });
        assert_eq!(store.get("counter").unwrap(), "800", "{config:?}");
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn counters_of_tasks_count() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put("counter", "0").unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let store = std::sync::Arc::new(store);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let store = std::sync::Arc::clone(&store);
                runtime.spawn(async move {
                    for _ in 0..50 {
                        loop {
                            let (version, next) = read(&store);
                            match store.put_if_async("counter", version, next).await {
                                Ok(_) => break,
                                Err(error) => assert!(error.is_version_mismatch(), "{error}"),
                            }
                        }
                    }
                })
            })
            .collect();
        runtime.block_on(join_all(tasks)).into_iter().for_each(|task| task.unwrap());
        assert_eq!(store.get("counter").unwrap(), "800", "{engine:?}");
        assert!(temporaries(dir).is_empty());
    });
}

fn read(store: &Store) -> (Version, String) {
    let (content, version) = store.get_versioned("counter").unwrap();
    (version.unwrap(), (std::str::from_utf8(&content).unwrap().parse::<u32>().unwrap() + 1).to_string())
}

fn once(store: &Store, put: impl Fn(Version, String) -> ringbolt::Result<Version>) -> bool {
    let (version, next) = read(store);
    match put(version, next) {
        Ok(_) => true,
        Err(error) => {
            assert!(error.is_version_mismatch(), "{error}");
            false
        }
    }
}

#[test]
fn a_rename_takes_the_version_along() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let first = store.put("a", "1").unwrap();
        let replaced = store.put("b", "2").unwrap();
        store.rename("a", "b").unwrap();
        assert_eq!(store.get_versioned("b").unwrap(), ("1".into(), Some(first)));
        assert!(unchanged(store.put_if("b", replaced, "3"), dir).is_version_mismatch());
        store.rename("b", "d/e/c").unwrap();
        futures::executor::block_on(store.rename_async("d/e/c", "d/c")).unwrap();
        let mut batch = store.batch();
        batch.rename("d/c", "c");
        batch.commit().into_result().unwrap();
        store.put_if("c", first, "4").unwrap();
    });
}
