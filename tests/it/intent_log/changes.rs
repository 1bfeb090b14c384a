//! Every kind of change, and the format file.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use futures::executor::block_on;
use ringbolt::{Applied, BarrierKind, ErrorKind, PutOptions, Store};

use super::scripts::LARGE;
use super::*;

/// Makes every kind of change, and checks each result at once.
fn change_everything(store: &Store) {
    let first = store.put("put", "1").unwrap();
    let second = store.put("put", "2").unwrap();
    assert!(second > first);
    assert_eq!(store.get_versioned("put").unwrap(), ("2".into(), Some(second)));
    assert!(store.put_if("put", first, "3").unwrap_err().is_version_mismatch());
    store.put_if("put", second, "3").unwrap();

    store.put_new("new", "1").unwrap();
    assert!(store.put_new("new", "2").unwrap_err().is_already_exists());
    store.put("deleted", "1").unwrap();
    store.delete("deleted").unwrap();
    assert!(store.delete("deleted").unwrap_err().is_not_found());
    let version = store.put("deleted if", "1").unwrap();
    assert!(store.delete_if("deleted if", first).unwrap_err().is_version_mismatch());
    store.delete_if("deleted if", version).unwrap();
    assert!(store.put_if("deleted if", version, "2").unwrap_err().is_version_mismatch());

    store.put("from", "renamed").unwrap();
    store.rename("from", "d/to").unwrap();
    assert!(store.rename("from", "d/to").unwrap_err().is_not_found());
    store.put_with("mode", "0644", PutOptions::new().mode(0o644)).unwrap();
    store.put("empty", "").unwrap();
    store.put("large", pattern(LARGE)).unwrap();
    store.put("long", pattern(80 << 10)).unwrap();
    let mut guard = store.writer("guarded", PutOptions::new().mode(0o640)).unwrap();
    guard.write_all(b"guarded").unwrap();
    guard.commit().unwrap();

    let mut batch = store.batch();
    batch.put("b/1", "1").put("b/2", pattern(LARGE)).delete("new").then().put("b/manifest", "1 2");
    batch.rename("b/2", "b/3").then().put("b/1", "1 again");
    let results = batch.commit().into_result().unwrap();
    let (puts, rest): (Vec<Applied>, Vec<Applied>) =
        results.into_iter().partition(|applied| matches!(applied, Applied::Put(_)));
    assert_eq!((puts.len(), rest), (4, vec![Applied::Deleted, Applied::Renamed]));
    let mut failing = store.batch();
    failing.put("b/4", "4").put_new("put", "exists").then().put("b/5", "not attempted");
    let kinds: Vec<Option<ErrorKind>> =
        failing.commit().into_results().into_iter().map(|result| result.err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::AlreadyExists), Some(ErrorKind::NotAttempted)]);

    block_on(store.put_async("async", "1")).unwrap();
    block_on(store.rename_async("async", "async renamed")).unwrap();
    block_on(store.put_async("async gone", "1")).unwrap();
    block_on(store.delete_async("async gone")).unwrap();
    let all = block_on(futures::future::join_all((0..50).map(|n| store.put_async(format!("crowd/{n}"), pattern(n)))));
    assert!(all.into_iter().collect::<Result<Vec<_>, _>>().unwrap().is_sorted_by(|a, b| a < b));
}

fn check_everything(tree: &Tree) {
    let expected: &[(&str, Vec<u8>, u32)] = &[
        ("async renamed", b"1".into(), 0o600),
        ("b/1", b"1 again".into(), 0o600),
        ("b/3", pattern(LARGE), 0o600),
        ("b/4", b"4".into(), 0o600),
        ("b/manifest", b"1 2".into(), 0o600),
        ("d/to", b"renamed".into(), 0o600),
        ("empty", b"".into(), 0o600),
        ("guarded", b"guarded".into(), 0o640),
        ("large", pattern(LARGE), 0o600),
        ("long", pattern(80 << 10), 0o600),
        ("mode", b"0644".into(), 0o644),
        ("put", b"3".into(), 0o600),
    ];
    let crowd = (0..50).map(|n| (format!("crowd/{n}"), pattern(n), 0o600));
    let mut wanted: Vec<(String, Vec<u8>, u32)> =
        expected.iter().map(|(key, content, mode)| (key.to_string(), content.clone(), *mode)).chain(crowd).collect();
    wanted.sort();
    let found: Vec<(String, Vec<u8>, u32)> = tree
        .iter()
        .map(|(path, found)| (path.to_str().unwrap().to_owned(), found.content.clone(), found.mode & 0o7777))
        .collect();
    assert!(found == wanted, "{:?}", tree.keys());
}

#[test]
fn every_change_is_there_and_stays() {
    each_logged("every change", |engine, dir| {
        let store = open_logged(dir, engine);
        assert_eq!(format(dir), "ringbolt store 2\n");
        change_everything(&store);
        check_everything(&files(dir));
        let stats = store.stats();
        assert!(stats.log.unwrap().records > 10 && stats.log.unwrap().used > 0, "{stats:?}");
        assert_eq!(stats.barrier.last, Some(BarrierKind::IntentLog));
        let before = files(dir);
        store.checkpoint().unwrap();
        let log = store.stats().log.unwrap();
        assert_eq!((log.used, log.checkpoints >= 1, log.rewritten), (0, true, 0), "{log:?}");
        store.put("after", "a checkpoint").unwrap();
        store.delete("after").unwrap();
        store.close().unwrap();
        assert_same(&files(dir), &before, "after the close");
        assert_eq!(format(dir), "ringbolt store 1\n");
        assert!(temporaries(dir).is_empty() && dir.join(".ringbolt/clean").exists());
        for with_log in [false, true, false] {
            let store = if with_log { open_logged(dir, engine) } else { Store::open(dir).unwrap() };
            assert_eq!(store.stats().log.is_some(), with_log);
            assert_same(&files(dir), &before, "after an open");
            assert_eq!(format(dir), if with_log { "ringbolt store 2\n" } else { "ringbolt store 1\n" });
        }
    });
}

#[test]
fn every_change_is_there_on_ext4_and_xfs() {
    each_disk("every change", |engine, dir| {
        let store = open_logged(dir, engine);
        change_everything(&store);
        store.close().unwrap();
        check_everything(&files(dir));
        assert_eq!(format(dir), "ringbolt store 1\n");
    });
}

/// The log of a store shows its values to nobody else, and survives sessions without it.
#[test]
fn the_log_is_private_and_reused() {
    each_logged("the log file", |engine, dir| {
        drop(open_logged(dir, engine));
        let stat = || fs::metadata(log_path(dir)).unwrap();
        let before = stat();
        assert_eq!((before.permissions().mode() & 0o7777, before.len()), (0o600, LOG_BYTES));
        assert!(before.blocks() * 512 >= LOG_BYTES, "{} blocks", before.blocks());
        Store::open(dir).unwrap().put("k", "without the log").unwrap();
        open_logged(dir, engine).put("k", "with it").unwrap();
        assert_eq!((stat().ino(), stat().len()), (before.ino(), LOG_BYTES));
    });
}

/// `a` and `a/b` are never both acknowledged, and no change of a batch makes the log one that cannot be replayed.
#[test]
fn a_key_and_one_beneath_it_exclude_each_other() {
    each_logged("keys in keys", |engine, dir| {
        for (first, second) in [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/b/c")] {
            let store = open_logged(dir, engine);
            let mut batch = store.batch();
            batch.put(first, "1").put(second, "2");
            let results = batch.commit().into_results();
            let done: Vec<bool> = results.iter().map(Result::is_ok).collect();
            assert_eq!(done.iter().filter(|done| **done).count(), 1, "{results:?}");
            let key = if done[0] { first } else { second };
            store.close().unwrap();
            let store = open_logged(dir, engine);
            let keys: Vec<String> = store.list("").unwrap().map(Result::unwrap).collect();
            assert_eq!(keys, [key]);
            store.delete(key).unwrap();
        }
    });
}

/// A store that a later version has made is refused, whatever its log says.
#[test]
fn a_format_of_a_later_version_is_refused() {
    each_logged("formats", |engine, dir| {
        drop(open_logged(dir, engine));
        let path = dir.join(".ringbolt/format");
        let before = fs::read(&path).unwrap();
        fs::write(&path, "ringbolt store 3\n").unwrap();
        let tree = everything(dir);
        for error in [builder(dir, engine).open().unwrap_err(), Store::open(dir).unwrap_err()] {
            assert!(error.is_unknown_format(), "{error}");
        }
        assert_same(&everything(dir), &tree, "after the refusals");
        fs::write(&path, before).unwrap();
        open_logged(dir, engine).put("k", "again").unwrap();
    });
}
