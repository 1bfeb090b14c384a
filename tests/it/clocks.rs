//! Versions never come again, however the last session ended, and also where the clock was set back: that is, where a store's
//! last version lies ahead of the clock.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ringbolt::{Reader, Store, Version};

use crate::barriers::*;
use crate::help::*;

/// How a session ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Clean,
    /// As if it had been killed.
    Unclean,
}

const ENDS: [End; 2] = [End::Clean, End::Unclean];

fn end(store: Store, how: End) {
    let clean = store.path().join(".ringbolt/clean");
    store.close().unwrap();
    if let End::Unclean = how {
        fs::remove_file(clean).unwrap();
    }
}

fn set_hours_ahead(path: &Path, hours: u64) {
    let time = SystemTime::now() + Duration::from_secs(3600 * hours);
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// A store whose last version lies an hour ahead of the clock, as after the clock was set back.
fn from_the_future(way: Way, dir: &Path) -> (Store, Version) {
    way.open(dir).close().unwrap();
    set_hours_ahead(&dir.join(".ringbolt/clean"), 1);
    let store = way.open(dir);
    let first = store.put("first", "1").unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    assert!(first.to_string().parse::<u128>().unwrap() > now + 3_500_000_000_000);
    (store, first)
}

#[test]
fn versions_survive_the_end_of_a_session() {
    each_way(|way, dir| {
        let mut last = way.open(dir).put("d/k", "0").unwrap();
        for (round, how) in ENDS.into_iter().cycle().take(8).enumerate() {
            let store = way.open(dir);
            assert_eq!(store.metadata("d/k").unwrap().version, last, "{way:?} {how:?}");
            let next = store.put_if("d/k", last, round.to_string()).unwrap();
            assert!(next > last);
            assert!(unchanged(store.put_if("d/k", last, "x"), dir).is_version_mismatch());
            last = next;
            end(store, how);
        }
        assert_eq!(Reader::open(dir).unwrap().get_versioned("d/k").unwrap(), ("7".into(), last));
    });
}

#[test]
fn a_clean_end_keeps_the_last_version() {
    each_way(|way, dir| {
        let (store, first) = from_the_future(way, dir);
        let mut last = first;
        for _ in 0..4 {
            let next = store.put("k", "1").unwrap();
            assert!(next > last, "{way:?}");
            last = next;
        }
        store.delete("k").unwrap();
        store.delete("first").unwrap();
        store.close().unwrap();
        let store = way.open(dir);
        assert!(store.put("k", "2").unwrap() > last, "{way:?}");
    });
}

/// Files that are there tell of their versions; also those that somebody else has put there.
#[test]
fn a_file_from_the_future_is_believed_after_an_unclean_end() {
    each_way(|way, dir| {
        let store = way.open(dir);
        store.put("d/e/k", "1").unwrap();
        store.put("l", "1").unwrap();
        end(store, End::Unclean);
        set_hours_ahead(&dir.join("d/e/k"), 2);
        let store = way.open(dir);
        let future = store.metadata("d/e/k").unwrap().version;
        let next = store.put("l", "2").unwrap();
        assert!(next > future, "{way:?}");
        assert!(store.put_if("d/e/k", future, "2").unwrap() > next);
    });
}

/// A file that is not there any more cannot tell of its version, but its directory can.
#[test]
fn a_deleted_key_does_not_get_its_version_again() {
    let removals: [(&str, fn(&Store, &str)); 5] = [
        ("delete", |store, key| store.delete(key).unwrap()),
        ("delete_if", |store, key| store.delete_if(key, store.metadata(key).unwrap().version).unwrap()),
        ("delete in a batch", |store, key| {
            let mut batch = store.batch();
            batch.delete(key).delete("not/there");
            assert_eq!(batch.commit().into_results().into_iter().filter(Result::is_ok).count(), 1);
        }),
        // What is replaced is gone, too, and what replaces it is older.
        ("rename over it", |store, key| store.rename("old", key).unwrap()),
        ("rename over it in a batch", |store, key| {
            let mut batch = store.batch();
            batch.rename("old", key);
            batch.commit().into_result().unwrap();
        }),
    ];
    each_way(|way, dir| {
        for key in ["k", "d/k"] {
            for (what, remove) in removals {
                fs::remove_dir_all(dir).unwrap();
                fs::create_dir(dir).unwrap();
                let (store, _) = from_the_future(way, dir);
                store.put("old", "1").unwrap();
                let gone = store.put(key, "1").unwrap();
                remove(&store, key);
                end(store, End::Unclean);
                let store = way.open(dir);
                assert!(store.put(key, "2").unwrap() > gone, "{way:?}: {what} of {key}");
            }
        }
    });
}
