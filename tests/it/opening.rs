//! Which directories can be opened, and how a directory becomes a store.

use std::error::Error as _;
use std::fs::{self, File};
use std::io;
use std::thread;

use ringbolt::{ErrorKind, Reader, Store};

use crate::help::*;

#[test]
fn a_strangers_directory_is_left_as_it_is() {
    let dir = dir();
    let at = dir.path();
    fs::write(at.join("passwd"), "x").unwrap();
    assert_eq!(Store::open(at).unwrap_err().kind(), ErrorKind::NotAStore);
    assert_eq!(Reader::open(at).unwrap_err().kind(), ErrorKind::NotAStore);
    for refused in [Store::create(at), Store::builder(at).create_if_missing(true).open()] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
        assert!(error.to_string().contains("passwd"), "{error}");
    }
    assert_eq!(fs::read_dir(at).unwrap().count(), 1);
    let store = Store::builder(at).adopt(true).create().unwrap();
    assert_eq!(store.get("passwd").unwrap(), "x");
}

#[test]
fn a_store_is_created_once() {
    let dir = dir();
    let at = dir.path().join("store");
    assert_eq!(Store::open(&at).unwrap_err().kind(), ErrorKind::NotFound);
    Store::create(&at).unwrap().close().unwrap();
    assert_eq!(Store::create(&at).unwrap_err().kind(), ErrorKind::AlreadyExists);
    Store::open(&at).unwrap().close().unwrap();
    Store::builder(&at).create_if_missing(true).open().unwrap().close().unwrap();
    // A store whose creation was interrupted is empty; creating it again completes it.
    fs::remove_file(at.join(".ringbolt/format")).unwrap();
    assert_eq!(Store::open(&at).unwrap_err().kind(), ErrorKind::NotAStore);
    assert_eq!(Reader::open(&at).unwrap_err().kind(), ErrorKind::NotAStore);
    Store::create(&at).unwrap().close().unwrap();
    assert_eq!(Reader::open(&at).unwrap().list("").unwrap().count(), 0);
}

/// Of several concurrent creations one succeeds; the others fail because the store exists or is locked.
#[test]
fn of_several_that_create_one_does() {
    let dir = dir();
    let at = &dir.path().join("store");
    let created = thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(move || Store::create(at))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    let mut done = 0;
    for one in &created {
        match one {
            Ok(_) => done += 1,
            Err(error) => assert!(error.is_locked() || error.is_already_exists(), "{error}"),
        }
    }
    assert_eq!(done, 1);
}

#[test]
fn a_directory_that_is_open_already_will_do() {
    let dir = dir();
    let at = dir.path().join("store");
    fs::create_dir(&at).unwrap();
    let directory = File::open(&at).unwrap();
    let store = Store::builder_at(&directory).unwrap().create().unwrap();
    // By descriptor, not by path, which may refer to another directory later.
    fs::rename(&at, dir.path().join("moved")).unwrap();
    store.put("d/k", "1").unwrap();
    assert_eq!(Reader::open_at(&directory).unwrap().get("d/k").unwrap(), "1");
    store.close().unwrap();
    drop(directory);
    assert_eq!(fs::read(dir.path().join("moved/d/k")).unwrap(), b"1");
    let file = File::open(dir.path().join("moved/d/k")).unwrap();
    assert_eq!(Store::builder_at(&file).unwrap_err().kind(), ErrorKind::NotADirectory);
}

/// The source chain of an error contains the I/O error.
#[test]
fn an_error_has_its_source() {
    let dir = dir();
    let store = open(dir.path(), ringbolt::Engine::Auto);
    let error = store.get("missing").unwrap_err();
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>()).expect("a call failed");
    assert_eq!((source.kind(), error.kind()), (io::ErrorKind::NotFound, ErrorKind::NotFound));
    assert!(store.put("../k", "x").unwrap_err().source().is_none());
    assert_eq!(io::Error::from(store.put("../k", "x").unwrap_err()).kind(), io::ErrorKind::InvalidInput);
}

/// After a close, the filesystem can be unmounted, even if a `syncfs` was tried just before.
#[test]
#[cfg(target_os = "linux")]
fn a_closed_store_holds_no_descriptor() {
    let count = |at: &std::path::Path| {
        let held = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
        held.filter(|path| path.starts_with(at)).count()
    };
    each_engine(|engine, dir| {
        let at = &dir.join("store");
        let store = Store::builder(at).engine(engine).create().unwrap();
        for round in 0..20 {
            let mut batch = store.batch();
            (0..64).for_each(|i| _ = batch.put(format!("d/{i}"), round.to_string()));
            batch.commit().into_result().unwrap();
        }
        assert!(count(at) > 0);
        store.close().unwrap();
        assert_eq!(count(at), 0, "{engine:?}");
    });
}
