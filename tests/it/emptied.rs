//! Directories emptied by deletes: a key can take their name.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ringbolt::PutOptions;

use crate::barriers::*;
use crate::help::*;

#[test]
fn a_key_takes_the_place_of_an_emptied_directory() {
    each_config(|config, dir| {
        let store = config.open(dir);
        for round in 0..4 {
            store.put("a/b/c", "1").unwrap();
            store.put("a/d", "2").unwrap();
            store.delete("a/d").unwrap();
            // Not while it contains a key.
            assert!(unchanged(store.put("a", "3"), dir).is_a_directory(), "{config:?}");
            assert!(unchanged(store.put_new("a", "3"), dir).is_a_directory(), "{config:?}");
            assert_eq!(store.get("a/b/c").unwrap(), "1");
            store.delete("a/b/c").unwrap();
            match round {
                0 => _ = store.put("a", "3").unwrap(),
                1 => _ = store.put_new("a", "3").unwrap(),
                2 => {
                    let mut file = store.writer("a", PutOptions::new().create_new(true)).unwrap();
                    file.write_all(b"3").unwrap();
                    file.commit().unwrap();
                }
                _ => {
                    store.put("x", "3").unwrap();
                    store.rename("x", "a").unwrap();
                }
            }
            assert_eq!(store.get("a").unwrap(), "3", "{config:?}");
            assert!(unchanged(store.put("a/b/c", "4"), dir).is_not_a_directory(), "{config:?}");
            assert!(unchanged(store.put_new("a", "4"), dir).is_already_exists(), "{config:?}");
            store.delete("a").unwrap();
            // Cached descriptors of the removed directories are not used again.
            store.put("a/b/c", "5").unwrap();
            store.delete("a/b/c").unwrap();
        }
        // With a batch, whose put depends on its earlier deletes; and with a guard.
        store.put("a/b/c", "1").unwrap();
        let mut batch = store.batch();
        batch.delete("a/b/c").put("a", "2").then().delete("a");
        batch.commit().into_result().unwrap();
        store.put("a/e", "3").unwrap();
        assert_eq!(store.get("a/e").unwrap(), "3", "{config:?}");
        let guard = store.writer("a", PutOptions::new()).unwrap();
        let guard = guard.commit().unwrap_err().into_value().unwrap();
        store.delete("a/e").unwrap();
        guard.commit().unwrap();
        assert_eq!(store.get("a").unwrap(), "");
    });
}

/// Files that do not belong to the store are not removed.
#[test]
fn a_directory_that_is_not_empty_stays() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        for path in ["a/b/foreign\u{e9}", "a/.ringbolt/lock"] {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::create_dir_all(dir.join("a/empty")).unwrap();
            fs::write(&path, "x").unwrap();
            assert!(unchanged(store.put("a", "1"), dir).is_a_directory());
            assert!(path.exists() && dir.join("a/empty").exists());
            fs::remove_dir_all(dir.join("a")).unwrap();
        }
        // A single write does not know about stores.
        fs::create_dir(dir.join("d")).unwrap();
        let options = ringbolt::WriteOptions::new().engine(engine);
        assert!(unchanged(options.write(dir.join("d"), "1"), dir).is_a_directory());
    });
}

/// Concurrent puts into the directory and in its place: each acknowledged put is there until the next change.
#[test]
fn puts_into_it_and_in_its_place_exclude_one_another() {
    each_engine(|engine, dir| {
        let store = &open(dir, engine);
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let mut done = 0;
                while !stop.load(Ordering::Acquire) {
                    if store.put("a/b/k", "inside").is_ok() {
                        assert_eq!(store.get("a/b/k").unwrap(), "inside");
                        assert!(store.put("a", "x").unwrap_err().is_a_directory());
                        store.delete("a/b/k").unwrap();
                        done += 1;
                    }
                }
                done
            });
            let mut outside = 0;
            while outside < 50 {
                if store.put("a", "outside").is_ok() {
                    assert_eq!(store.get("a").unwrap(), "outside");
                    store.delete("a").unwrap();
                    outside += 1;
                }
            }
            stop.store(true, Ordering::Release);
            inside.join().unwrap();
        });
        assert!(temporaries(dir).is_empty());
        assert_eq!(store.list("").unwrap().count(), 0);
    });
}
