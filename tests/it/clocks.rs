//! Versions are never reused, however the last session ended, even if the clock was set back, so that the store's last
//! version is ahead of the clock.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use ringbolt::{Engine, PutOptions, Reader, Store, Version};

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
    let own = store.path().join(".ringbolt");
    // A clean close lowers it.
    let ceiling = fs::metadata(own.join("format")).unwrap().modified().unwrap();
    store.close().unwrap();
    if let End::Unclean = how {
        fs::remove_file(own.join("clean")).unwrap();
        File::open(own.join("format")).unwrap().set_modified(ceiling).unwrap();
    }
}

fn set_hours_ahead(path: &Path, hours: u64) {
    let time = SystemTime::now() + Duration::from_secs(3600 * hours);
    File::open(path).unwrap().set_modified(time).unwrap();
}

/// A store whose last version is an hour ahead of the clock, as after the clock was set back.
fn from_the_future(config: StoreConfig, dir: &Path) -> (Store, Version) {
    config.open(dir).close().unwrap();
    set_hours_ahead(&dir.join(".ringbolt/format"), 1);
    let store = config.open(dir);
    let first = store.put("first", "1").unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    assert!(first.to_string().parse::<u128>().unwrap() > now + 3_500_000_000_000);
    (store, first)
}

#[test]
fn versions_survive_the_end_of_a_session() {
    each_config(|config, dir| {
        let mut last = config.open(dir).put("d/k", "0").unwrap();
        for (round, how) in ENDS.into_iter().cycle().take(8).enumerate() {
            let store = config.open(dir);
            assert_eq!(store.metadata("d/k").unwrap().version, Some(last), "{config:?} {how:?}");
            let next = store.put_if("d/k", last, round.to_string()).unwrap();
            assert!(next > last);
            assert!(unchanged(store.put_if("d/k", last, "x"), dir).is_version_mismatch());
            last = next;
            end(store, how);
        }
        assert_eq!(Reader::open(dir).unwrap().get_versioned("d/k").unwrap(), ("7".into(), Some(last)));
    });
}

#[test]
fn a_clean_end_keeps_the_last_version() {
    each_config(|config, dir| {
        let (store, first) = from_the_future(config, dir);
        let mut last = first;
        for _ in 0..4 {
            let next = store.put("k", "1").unwrap();
            assert!(next > last, "{config:?}");
            last = next;
        }
        store.delete("k").unwrap();
        store.delete("first").unwrap();
        store.close().unwrap();
        let store = config.open(dir);
        assert!(store.put("k", "2").unwrap() > last, "{config:?}");
    });
}

/// A file with a time in the future, set by another program, has no effect: only the ceiling counts.
#[test]
fn a_file_from_the_future_does_not_move_versions() {
    each_config(|config, dir| {
        let store = config.open(dir);
        store.put("d/e/k", "1").unwrap();
        end(store, End::Unclean);
        set_hours_ahead(&dir.join("d/e/k"), 2);
        let store = config.open(dir);
        let future = store.metadata("d/e/k").unwrap().version.unwrap();
        assert!(store.put("l", "2").unwrap() < future, "{config:?}");
        assert!(store.put_if("d/e/k", future, "2").unwrap() < future, "{config:?}");
    });
}

/// A session that ends uncleanly leaves its ceiling, at most ten seconds ahead of its last version.
#[test]
fn the_next_session_begins_at_the_ceiling() {
    each_config(|config, dir| {
        let store = config.open(dir);
        let last = store.put("k", "1").unwrap();
        let ceiling = fs::metadata(dir.join(".ringbolt/format")).unwrap().modified().unwrap();
        end(store, End::Unclean);
        let next: u128 = config.open(dir).put("k", "2").unwrap().to_string().parse().unwrap();
        let ceiling = ceiling.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let last: u128 = last.to_string().parse().unwrap();
        assert!(last <= ceiling && ceiling <= last + 11_000_000_000, "{config:?}: {last} {ceiling}");
        assert!(next > ceiling && next <= ceiling + 1_000_000_000, "{config:?}: {ceiling} {next}");
    });
}

type Remove = fn(&Store, &str);

/// The version of a deleted file is not reused, although the file is gone.
#[test]
fn a_deleted_key_does_not_get_its_version_again() {
    let removals: [(&str, Remove); 5] = [
        ("delete", |store, key| store.delete(key).unwrap()),
        ("delete_if", |store, key| store.delete_if(key, store.metadata(key).unwrap().version.unwrap()).unwrap()),
        ("delete in a batch", |store, key| {
            let mut batch = store.batch();
            batch.delete(key).delete("not/there");
            assert_eq!(batch.commit().into_results().into_iter().filter(Result::is_ok).count(), 1);
        }),
        // A replaced file is gone, too, and its replacement is older.
        ("rename over it", |store, key| store.rename("old", key).unwrap()),
        ("rename over it in a batch", |store, key| {
            let mut batch = store.batch();
            batch.rename("old", key);
            batch.commit().into_result().unwrap();
        }),
    ];
    each_config(|config, dir| {
        for key in ["k", "d/k"] {
            for (what, remove) in removals {
                fs::remove_dir_all(dir).unwrap();
                fs::create_dir(dir).unwrap();
                let (store, _) = from_the_future(config, dir);
                store.put("old", "1").unwrap();
                let gone = store.put(key, "1").unwrap();
                remove(&store, key);
                end(store, End::Unclean);
                let store = config.open(dir);
                assert!(store.put(key, "2").unwrap() > gone, "{config:?}: {what} of {key}");
            }
        }
    });
}

type Fail = fn(&Store);

/// The same after other changes of the directory: a failed put, a dropped guard.
#[test]
fn what_fails_in_the_directory_of_a_deleted_key_hides_nothing() {
    let failures: [(&str, Fail); 3] = [
        ("a clash", |store| assert!(store.put_new("d/old", "2").unwrap_err().is_already_exists())),
        ("a dropped guard", |store| drop(store.writer("d/guard", PutOptions::new()).unwrap())),
        ("a mismatch", |store| {
            let stale = "1".parse().unwrap();
            assert!(store.put_if("d/old", stale, "2").unwrap_err().is_version_mismatch());
        }),
    ];
    each_config(|config, dir| {
        for (what, fail) in failures {
            fs::remove_dir_all(dir).unwrap();
            fs::create_dir(dir).unwrap();
            let (store, _) = from_the_future(config, dir);
            store.put("d/old", "1").unwrap();
            let gone = (0..10).map(|_| store.put("d/k", "1").unwrap()).max().unwrap();
            store.delete("d/k").unwrap();
            fail(&store);
            end(store, End::Unclean);
            let store = config.open(dir);
            assert!(store.put("d/k", "2").unwrap() > gone, "{config:?}: {what}");
        }
    });
}

/// The child: puts and deletes forever, and prints each version.
#[test]
fn puts_to_kill() {
    let Some(dir) = std::env::var_os("RINGBOLT_TEST_VERSIONS") else { return };
    let engine = if std::env::var_os("RINGBOLT_TEST_URING").is_some() { Engine::Uring } else { Engine::Portable };
    let store = open(Path::new(&dir), engine);
    for i in 0u64.. {
        let key = ["k", "d/k", "d/l"][(i % 3) as usize];
        let version = store.put(key, i.to_string()).unwrap();
        if i % 2 == 0 {
            store.delete(key).unwrap();
        }
        if writeln!(std::io::stdout(), "version {version}").is_err() {
            return;
        }
    }
}

/// Killed at any moment, with versions far ahead of the clock: later versions are greater.
#[test]
fn after_a_kill_versions_rise() {
    for engine in engines() {
        let dir = dir();
        let dir = dir.path();
        open(dir, engine).close().unwrap();
        set_hours_ahead(&dir.join(".ringbolt/format"), 1);
        let mut last: Option<Version> = None;
        for round in 0..25 {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["clocks::puts_to_kill", "--exact", "--nocapture"]).env("RINGBOLT_TEST_VERSIONS", dir);
            if engine == Engine::Uring {
                child.env("RINGBOLT_TEST_URING", "1");
            }
            let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let mut told: Vec<Version> = lines.by_ref().filter_map(told).take(round + 1).collect();
            child.kill().unwrap();
            child.wait().unwrap();
            // The last line may be incomplete.
            let rest: Vec<String> = lines.collect();
            told.extend(rest.into_iter().rev().skip(1).rev().filter_map(self::told));
            let first = told[0];
            assert!(last.is_none_or(|last| first > last), "{engine:?} round {round}: {first} after {last:?}");
            assert!(told.is_sorted_by(|a, b| a < b));
            last = told.last().copied();
        }
        let version = open(dir, engine).put("k", "1").unwrap();
        assert!(last.is_some_and(|last| version > last));
    }
}

fn told(line: String) -> Option<Version> {
    line.split_once("version ").map(|(_, version)| version.parse().unwrap())
}
