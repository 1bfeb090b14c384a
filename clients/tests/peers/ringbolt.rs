//! `ringbolt::write` and `ringbolt::Store`, with the portable engine, whose calls strace can see.

use std::path::Path;

use ringbolt::{Engine, Outcome, PutOptions, Store, WriteOptions};

use crate::trace::*;

fn open(dir: &Path) -> Store {
    Store::builder(dir).create_if_missing(true).adopt(true).engine(Engine::Portable).open().unwrap()
}

fn options() -> WriteOptions {
    WriteOptions::new().engine(Engine::Portable)
}

const FILE: [&str; 3] = ["create TEMP", "write TEMP", "sync TEMP"];
const DURABLE: [&str; 5] = ["create TEMP", "write TEMP", "sync TEMP", "rename TEMP k", "sync ."];

#[test]
fn a_single_write_is_durable() {
    let seen = traced(|case| {
        case.old("k");
        case.begin();
        options().write(case.path("k"), "new").unwrap();
    });
    seen.is(&DURABLE, &["k: new"]).keeps_the_mode(false);
}

#[test]
fn a_single_write_can_make_directories_durably() {
    let seen = traced(|case| {
        case.begin();
        options().create_parents(true).write(case.path("d/e/k"), "new").unwrap();
    });
    let directories = ["mkdir d", "sync .", "mkdir d/e", "sync d"];
    let file = ["create d/e/TEMP", "write d/e/TEMP", "sync d/e/TEMP", "rename d/e/TEMP d/e/k", "sync d/e"];
    seen.is(&[&directories[..], &file].concat(), &["d/e/k: new"]);
}

#[test]
fn a_put_is_durable() {
    let seen = traced(|case| {
        case.old("k");
        let store = open(&case.dir);
        case.begin();
        store.put("k", "new").unwrap();
        case.end();
    });
    seen.is(&DURABLE, &["k: new"]).keeps_the_mode(false);
}

#[test]
fn new_directories_are_durable() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        case.begin();
        store.put("d/e/k", "new").unwrap();
        case.end();
    });
    let directories = ["mkdir d", "sync .", "mkdir d/e", "sync d"];
    let file = ["create d/e/TEMP", "write d/e/TEMP", "sync d/e/TEMP", "rename d/e/TEMP d/e/k", "sync d/e"];
    seen.is(&[&directories[..], &file].concat(), &["d/e/k: new"]);
}

#[test]
fn a_create_only_put_is_whole() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        case.begin();
        store.put_new("k", "new").unwrap();
        assert!(store.put_new("k", "next").unwrap_err().is_already_exists());
        case.end();
    });
    let refused = ["rename-new TEMP k: EEXIST", "unlink TEMP"];
    seen.is(&[&FILE[..], &["rename-new TEMP k", "sync ."], &FILE, &refused].concat(), &["k: new"]);
}

#[test]
fn compare_and_swap() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        let old = store.put("k", "old").unwrap();
        case.begin();
        store.put_if("k", old, "new").unwrap();
        case.end();
        assert!(store.put_if("k", old, "late").unwrap_err().is_version_mismatch());
    });
    seen.is(&DURABLE, &["k: new"]);
}

#[test]
fn deletes_and_renames_are_durable() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        store.put("d/k", "old").unwrap();
        store.put("d/k2", "old").unwrap();
        case.begin();
        store.delete("d/k").unwrap();
        store.rename("d/k2", "e/k2").unwrap();
        case.end();
    });
    let calls = ["unlink d/k", "sync d", "mkdir e", "sync .", "rename d/k2 e/k2", "sync e", "sync d"];
    seen.is(&calls, &["d/", "e/k2: old"]);
}

#[test]
fn a_write_that_fails_leaves_the_old_content() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        store.put("k", "old").unwrap();
        case.limit();
        case.begin();
        let error = store.put("k", vec![7; LIMIT + 1]).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unchanged);
        case.end();
    });
    seen.is(&["create TEMP", "write TEMP", "write TEMP: EFBIG", "unlink TEMP"], &["k: old"]);
}

#[test]
fn a_file_that_cannot_be_synced_is_not_published() {
    let fault = Fault { inject: "fsync:error=EIO:when=1", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        case.begin();
        let error = options().write(case.path("k"), "new").unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unchanged);
    });
    seen.is(&["create TEMP", "write TEMP", "sync TEMP: EIO", "unlink TEMP"], &["k: old"]);
}

/// Until it is reopened.
#[test]
fn a_directory_that_cannot_be_synced_stops_further_writes() {
    // Creating the directory syncs it first; the second sync of `d` is that of the put.
    let fault = Fault { inject: "fsync:error=EIO:when=2", on: Some("d") };
    let seen = faulty(fault, |case| {
        let store = open(&case.dir);
        store.put("d/k", "old").unwrap();
        let error = store.put("d/k", "new").unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        case.begin();
        let error = store.put("k", "next").unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unchanged, "{error}");
        case.end();
        drop(store);
        open(&case.dir).put("k", "later").unwrap();
    });
    seen.is::<&str>(&[], &["d/k: new", "k: later"]);
}

#[test]
fn what_a_crash_leaves_goes_when_the_store_is_opened() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        let mut file = store.writer("k", PutOptions::new()).unwrap();
        std::io::Write::write_all(&mut file, b"half").unwrap();
        case.begin();
        case.crash((file, store))
    });
    seen.is::<&str>(&[], &["TEMP: half"]).then(|dir| drop(open(dir))).leaves(&[]);
}

#[test]
fn what_a_crash_leaves_of_a_single_write_stays() {
    let seen = traced(|case| {
        let mut file = options().create(case.path("k")).unwrap();
        std::io::Write::write_all(&mut file, b"half").unwrap();
        case.begin();
        case.crash(file)
    });
    let later = |dir: &Path| options().write(dir.join("k"), "new").unwrap();
    seen.is::<&str>(&[], &["TEMP: half"]).then(later).leaves(&["TEMP: half", "k: new"]);
}

#[test]
fn a_put_waits_for_the_directory_that_another_makes() {
    let fault = Fault { inject: "fsync:delay_enter=300000", on: Some(".") };
    let seen = faulty(fault, |case| {
        let store = &open(&case.dir);
        case.begin();
        std::thread::scope(|threads| {
            threads.spawn(move || store.put("d/k", "new").unwrap());
            while !case.path("d").exists() {
                std::thread::yield_now();
            }
            store.put("d/k2", "new").unwrap();
            case.end();
        });
    });
    seen.is(&["mkdir d", "sync ."], &["d/k2: new", "d/k: new"]);
}
