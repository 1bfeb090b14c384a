//! Renames in a live log: every set of names that a power cut may leave leads to the same end.

use std::fs;

use ringbolt::ErrorKind;

use super::scripts::LARGE;
use super::*;

/// Exchanges two files by three renames, with a value beside the log between two in it, and every name used again.
pub(super) fn swap(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    store.put("a", "was a").unwrap();
    store.put("b", "was b").unwrap();
    store.checkpoint().unwrap();
    for (from, to) in [("a", "t"), ("b", "a"), ("t", "b")] {
        store.rename(from, to).unwrap();
    }
    store.put("large", "small before").unwrap();
    store.put("large", pattern(LARGE)).unwrap();
    store.put("large", "small after").unwrap();
    assert_eq!(store.stats().log.unwrap().records, 8);
    store
}

/// None of the names, or any prefix of the renames, is in the files.
#[test]
fn a_swap_in_the_live_log_is_recovered_from_every_set_of_names() {
    each_logged("swaps", |engine, dir| {
        let left: [&[(&str, &str)]; 7] = [
            &[("a", "was a"), ("b", "was b")],
            &[("t", "was a"), ("b", "was b")],
            &[("t", "was a"), ("a", "was b")],
            &[("a", "was b"), ("b", "was a")],
            // Not in the order of the log.
            &[("a", "was a"), ("t", "was a"), ("b", "was a")],
            &[("a", ""), ("b", ""), ("t", "")],
            &[],
        ];
        for (names, large) in left.into_iter().flat_map(|names| [(names, true), (names, false)]) {
            crash("swap", dir, engine);
            let acknowledged = files(dir);
            let content = |key: &str| String::from_utf8(acknowledged[Path::new(key)].content.clone()).unwrap();
            assert_eq!(["a", "b", "large"].map(content), ["was b", "was a", "small after"]);
            assert!(!acknowledged.contains_key(Path::new("t")));
            for name in ["a", "b"] {
                fs::remove_file(dir.join(name)).unwrap();
            }
            for (name, content) in names {
                fs::write(dir.join(name), content).unwrap();
            }
            // What went beside the log was durable, and what came behind it was not; or that is torn.
            fs::write(dir.join("large"), if large { pattern(LARGE) } else { Vec::new() }).unwrap();
            drop(open_logged(dir, engine));
            assert_same(&files(dir), &acknowledged, &format!("after {names:?}"));
            clear(dir);
        }
    });
}

/// An older copy of the log in its place: it knows nothing of what came later.
#[test]
fn an_older_copy_of_the_log_is_refused() {
    each_logged("older copies", |engine, dir| {
        crash("swap", dir, engine);
        let older = dir.join("older");
        fs::copy(log_path(dir), &older).unwrap();
        open_logged(dir, engine).put("a", "newer").unwrap();
        crash("records", dir, engine);
        fs::remove_file(log_path(dir)).unwrap();
        fs::rename(&older, log_path(dir)).unwrap();
        let before = everything(dir);
        for result in [builder(dir, engine).open().map(drop), Store::open(dir).map(drop)] {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DamagedLog, "{error}");
            assert!(error.to_string().contains("it is a copy"), "{error}");
        }
        assert_same(&everything(dir), &before, "after the refusals");
    });
}

/// Neither a record nor a superblock could be made durable together with the files.
#[test]
fn a_log_on_another_filesystem_is_refused() {
    for engine in engines() {
        with_mounts("a log elsewhere", |dir| {
            let Some(disk) = disk(dir, EXT4, "rw") else { return };
            let store = disk.join("store");
            fs::create_dir(&store).unwrap();
            let own = tmpfs(store.join(".ringbolt"), "size=8m");
            let error = builder(&store, engine).open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedBarrier, "{error}");
            assert!(error.to_string().contains("on another filesystem"), "{error}");
            assert!(!own.join("log").exists() && !own.join("log.new").exists());
            // Without a log the store may be like that.
            let store = Store::builder(&store).create_if_missing(true).engine(engine).open().unwrap();
            store.put("k", "1").unwrap();
        });
    }
}
