//! OpenDAL's service `fs`, with its defaults and with `atomic_write_dir`.

use std::fs;

use opendal::services::Fs;
use opendal::{ErrorKind, Operator};
use tokio::runtime::Runtime;

use crate::trace::*;

/// Its files need a tokio runtime.
fn open(dir: &std::path::Path, atomic: bool) -> (Runtime, Operator) {
    let mut service = Fs::default().root(dir.to_str().unwrap());
    if atomic {
        service = service.atomic_write_dir(dir.join("tmp").to_str().unwrap());
    }
    (tokio::runtime::Builder::new_current_thread().build().unwrap(), Operator::new(service).unwrap())
}

const FILE: [&str; 3] = ["create tmp/TEMP", "write tmp/TEMP", "sync tmp/TEMP"];

#[test]
fn by_default_the_target_is_written_in_place() {
    let seen = traced(|case| {
        case.old("k");
        let (runtime, store) = open(&case.dir, false);
        case.begin();
        runtime.block_on(store.write("k", "new")).unwrap();
    });
    seen.is(&["truncate k", "write k", "sync k"], &["k: new"]).keeps_the_mode(true);
}

#[test]
fn by_default_a_write_that_fails_loses_the_old_content() {
    let seen = traced(|case| {
        case.old("k");
        case.limit();
        let (runtime, store) = open(&case.dir, false);
        case.begin();
        runtime.block_on(store.write("k", vec![7; LIMIT + 1])).unwrap_err();
    });
    seen.leaves(&["k: 65536 bytes"]);
}

#[test]
fn with_a_directory_the_content_is_synced_and_the_name_is_not() {
    let seen = traced(|case| {
        case.old("k");
        let (runtime, store) = open(&case.dir, true);
        case.begin();
        runtime.block_on(store.write("k", "new")).unwrap();
    });
    seen.is(&[&FILE[..], &["rename tmp/TEMP k"]].concat(), &["k: new", "tmp/"]).keeps_the_mode(false);
}

#[test]
fn new_directories_are_not_synced() {
    let seen = traced(|case| {
        fs::create_dir(case.path("tmp")).unwrap();
        case.begin();
        for (atomic, path) in [(false, "d/k"), (true, "e/k")] {
            let (runtime, store) = open(&case.dir, atomic);
            runtime.block_on(store.write(path, "new")).unwrap();
        }
    });
    let calls = [&["mkdir d", "truncate d/k", "write d/k", "sync d/k", "mkdir e"], &FILE[..], &["rename tmp/TEMP e/k"]];
    seen.is(&calls.concat(), &["d/k: new", "e/k: new", "tmp/"]);
}

#[test]
fn by_default_a_create_only_write_shows_a_part() {
    let seen = traced(|case| {
        let (runtime, store) = open(&case.dir, false);
        case.begin();
        runtime.block_on(store.write_with("k", "new").if_not_exists(true).into_future()).unwrap();
        case.end();
        let error = runtime.block_on(store.write_with("k", "next").if_not_exists(true).into_future()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConditionNotMatch);
    });
    seen.is(&["create k", "write k", "sync k"], &["k: new"]);
}

/// It checks for an existing file before writing, but the rename then replaces whatever is there.
#[test]
fn with_a_directory_a_create_only_write_replaces_what_came_between() {
    let seen = traced(|case| {
        let (runtime, store) = open(&case.dir, true);
        case.begin();
        runtime.block_on(async {
            let mut writer = store.writer_with("k").if_not_exists(true).await.unwrap();
            writer.write("new").await.unwrap();
            fs::write(case.path("k"), "old").unwrap();
            writer.close().await.unwrap();
        });
    });
    seen.leaves(&["k: new", "tmp/"]);
}

#[test]
fn no_compare_and_swap() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, store) = open(dir.path(), true);
    let error = runtime.block_on(async { store.write_with("k", "new").if_match("tag").await }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn deletes_and_renames_are_not_synced() {
    let seen = traced(|case| {
        for name in ["d/k", "d/k2"] {
            case.old(name);
        }
        fs::create_dir(case.path("tmp")).unwrap();
        case.begin();
        for (atomic, path) in [(false, "d/k"), (true, "d/k2")] {
            let (runtime, store) = open(&case.dir, atomic);
            runtime.block_on(store.rename(path, "e/k")).unwrap();
            runtime.block_on(store.delete("e/k")).unwrap();
        }
    });
    let calls = ["mkdir e", "rename d/k e/k", "unlink e/k", "rename d/k2 e/k", "unlink e/k"];
    seen.is(&calls, &["d/", "e/", "tmp/"]);
}

#[test]
fn a_multipart_write_is_synced_and_its_name_is_not() {
    let seen = traced(|case| {
        case.begin();
        for (atomic, path) in [(false, "k"), (true, "k2")] {
            let (runtime, store) = open(&case.dir, atomic);
            runtime.block_on(async {
                let mut writer = store.writer_with(path).chunk(4).concurrent(2).await.unwrap();
                writer.write("partpart").await.unwrap();
                writer.close().await.unwrap();
            });
        }
    });
    let first = ["truncate k", "write k", "sync k", "mkdir tmp"];
    let files = ["k2: partpart", "k: partpart", "tmp/"];
    seen.is(&[&first[..], &FILE, &["rename tmp/TEMP k2"]].concat(), &files);
}

/// Attributes are set after the sync and after the rename.
#[test]
fn attributes_are_kept_but_not_with_the_content() {
    let seen = traced(|case| {
        let (runtime, store) = open(&case.dir, true);
        let attributes = [("kind".to_owned(), "log".to_owned())];
        case.begin();
        let written = runtime.block_on(async { store.write_with("k", "new").user_metadata(attributes).await });
        case.end();
        written.unwrap();
        let found = runtime.block_on(store.stat("k")).unwrap();
        assert_eq!(found.user_metadata().and_then(|all| all.get("kind").map(|kind| kind == "log")), Some(true));
    });
    seen.is(&[&FILE[..], &["rename tmp/TEMP k", "setxattr k"]].concat(), &["k: new", "tmp/"]);
}

#[test]
fn with_a_directory_a_write_that_fails_leaves_the_old_content_and_its_file() {
    let seen = traced(|case| {
        case.old("k");
        case.limit();
        let (runtime, store) = open(&case.dir, true);
        case.begin();
        runtime.block_on(store.write("k", vec![7; LIMIT + 1])).unwrap_err();
    });
    seen.leaves(&["k: old", "tmp/TEMP: 65536 bytes"]);
}

#[test]
fn a_file_that_cannot_be_synced_is_not_published_but_stays() {
    let fault = Fault { inject: "fsync:error=EIO:when=1", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        let (runtime, store) = open(&case.dir, true);
        case.begin();
        runtime.block_on(store.write("k", "new")).unwrap_err();
    });
    seen.is(&[&FILE[..2], &["sync tmp/TEMP: EIO"]].concat(), &["k: old", "tmp/TEMP: new"]);
}

#[test]
fn what_a_crash_leaves_stays() {
    let seen = traced(|case| {
        let (runtime, store) = open(&case.dir, true);
        let writer = runtime.block_on(async {
            let mut writer = store.writer_with("k").chunk(4).concurrent(2).await.unwrap();
            writer.write("halfhalf").await.unwrap();
            writer
        });
        case.begin();
        case.crash(writer)
    });
    let later = |dir: &std::path::Path| {
        let (runtime, store) = open(dir, true);
        runtime.block_on(store.write("k", "new")).unwrap();
    };
    seen.then(later).then(|dir| assert_eq!(fs::read_dir(dir.join("tmp")).unwrap().count(), 1));
}
