//! `ringbolt::object_store::RingboltStore`, with the portable engine, whose calls strace can see.

use futures::executor::block_on;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, RenameOptions,
    RenameTargetMode,
};
use ringbolt::object_store::RingboltStore;
use ringbolt::{Engine, Store};

use crate::trace::*;

fn open(dir: &std::path::Path) -> RingboltStore {
    Store::builder(dir).create_if_missing(true).adopt(true).engine(Engine::Portable).open().unwrap().into()
}

fn k() -> Path {
    Path::from("k")
}

const FILE: [&str; 3] = ["create TEMP", "write TEMP", "sync TEMP"];
/// The calls of the committing thread. It starts writeback first, so that files of one commit share a journal commit.
const QUEUED: [&str; 5] = ["create TEMP", "write TEMP", "sync_file_range TEMP", "sync_file_range TEMP", "sync TEMP"];
const NAME: [&str; 2] = ["rename TEMP k", "sync ."];

#[test]
fn a_put_is_durable() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        case.begin();
        block_on(store.put(&k(), "new".into())).unwrap();
        case.end();
    });
    seen.is(&[&QUEUED[..], &NAME].concat(), &["k: new"]);
}

#[test]
fn a_create_only_put_is_whole() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        case.begin();
        block_on(store.put_opts(&k(), "new".into(), PutMode::Create.into())).unwrap();
        let error = block_on(store.put_opts(&k(), "next".into(), PutMode::Create.into())).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
        case.end();
    });
    let refused = ["rename-new TEMP k: EEXIST", "unlink TEMP"];
    seen.is(&[&QUEUED[..], &["rename-new TEMP k", "sync ."], &QUEUED, &refused].concat(), &["k: new"]);
}

#[test]
fn compare_and_swap() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        let old = block_on(store.put(&k(), "old".into())).unwrap();
        let update = |bytes: &'static str| {
            let mode = PutMode::Update(old.clone().into());
            block_on(store.put_opts(&k(), bytes.into(), mode.into()))
        };
        case.begin();
        update("new").unwrap();
        case.end();
        assert!(matches!(update("late"), Err(Error::Precondition { .. })));
    });
    seen.is(&[&QUEUED[..], &NAME].concat(), &["k: new"]);
}

#[test]
fn deletes_and_renames_are_durable() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        let [a, b, c] = ["d/k", "d/k2", "e/k2"].map(Path::from);
        block_on(store.put(&a, "old".into())).unwrap();
        block_on(store.put(&b, "old".into())).unwrap();
        case.begin();
        block_on(store.delete(&a)).unwrap();
        block_on(store.rename(&b, &c)).unwrap();
        case.end();
    });
    let calls = ["unlink d/k", "sync d", "mkdir e", "sync .", "rename d/k2 e/k2", "sync e", "sync d"];
    seen.is(&calls, &["d/", "e/k2: old"]);
}

/// Copies the bytes, where the other store makes a hard link.
#[test]
fn a_create_only_rename_copies() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        block_on(store.put(&k(), "old".into())).unwrap();
        let create = RenameOptions::new().with_target_mode(RenameTargetMode::Create);
        case.begin();
        block_on(store.rename_opts(&k(), &Path::from("k2"), create)).unwrap();
        case.end();
    });
    let copy = ["create TEMP", "copy TEMP", "sync TEMP", "rename-new TEMP k2", "sync .", "unlink k", "sync ."];
    seen.is(&copy, &["k2: old"]);
}

#[test]
fn a_multipart_upload_is_durable_on_complete() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        case.begin();
        let mut upload = block_on(store.put_multipart(&k())).unwrap();
        for _ in 0..2 {
            block_on(upload.put_part("part".into())).unwrap();
        }
        block_on(upload.complete()).unwrap();
        case.end();
    });
    seen.is(&[&FILE[..], &NAME].concat(), &["k: partpart"]);
}

#[test]
fn an_upload_that_lacks_a_part_is_refused() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        let mut upload = block_on(store.put_multipart(&k())).unwrap();
        drop(upload.put_part("one".into()));
        block_on(upload.put_part("two".into())).unwrap();
        case.begin();
        block_on(upload.complete()).unwrap_err();
        case.end();
    });
    seen.is(&["unlink TEMP"], &[]);
}

#[test]
fn attributes_are_synced_with_the_content() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        let attributes = Attributes::from_iter([(Attribute::ContentType, "text/plain")]);
        case.begin();
        let put = block_on(store.put_opts(&k(), "new".into(), attributes.clone().into()));
        case.end();
        put.unwrap();
        assert_eq!(block_on(store.get(&k())).unwrap().attributes, attributes);
    });
    let calls = ["create TEMP", "write TEMP", "setxattr TEMP", "sync TEMP", "rename TEMP k", "sync ."];
    seen.is(&calls, &["k: new"]);
}

#[test]
fn puts_at_once_share_syncs() {
    let seen = traced(|case| {
        let store = open(&case.dir);
        case.begin();
        std::thread::scope(|threads| {
            for n in 0..64 {
                let store = &store;
                threads.spawn(move || block_on(store.put(&Path::from(format!("{n}")), "new".into())).unwrap());
            }
        });
        case.end();
    });
    seen.count("sync .", 1..=32);
}
