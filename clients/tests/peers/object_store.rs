//! `object_store::local::LocalFileSystem`, with its defaults and `with_fsync(true)`.

use futures::executor::block_on;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, ObjectStore, ObjectStoreExt, PutMode, RenameOptions, RenameTargetMode, UpdateVersion,
};

use crate::trace::*;

fn open(dir: &std::path::Path, fsync: bool) -> LocalFileSystem {
    LocalFileSystem::new_with_prefix(dir).unwrap().with_fsync(fsync)
}

fn k() -> Path {
    Path::from("k")
}

#[test]
fn by_default_nothing_is_synced() {
    let seen = traced(|case| {
        case.old("k");
        let store = open(&case.dir, false);
        case.begin();
        block_on(store.put(&k(), "new".into())).unwrap();
        block_on(store.put(&Path::from("d/e/k"), "new".into())).unwrap();
    });
    let first = ["create k#1", "write k#1", "rename k#1 k"];
    let second = ["mkdir d", "mkdir d/e", "create d/e/k#1", "write d/e/k#1", "rename d/e/k#1 d/e/k"];
    seen.is(&[&first[..], &second].concat(), &["d/e/k: new", "k: new"]).keeps_the_mode(false);
}

#[test]
fn with_fsync_a_put_is_durable() {
    let seen = traced(|case| {
        case.old("k");
        let store = open(&case.dir, true);
        case.begin();
        block_on(store.put(&k(), "new".into())).unwrap();
    });
    seen.is(&["create k#1", "write k#1", "sync k#1", "rename k#1 k", "sync ."], &["k: new"]).keeps_the_mode(false);
}

#[test]
fn with_fsync_new_directories_are_durable() {
    let seen = traced(|case| {
        let store = open(&case.dir, true);
        case.begin();
        block_on(store.put(&Path::from("d/e/k"), "new".into())).unwrap();
    });
    let directories = ["mkdir d", "mkdir d/e", "sync d/e", "sync d", "sync ."];
    let file = ["create d/e/k#1", "write d/e/k#1", "sync d/e/k#1", "rename d/e/k#1 d/e/k", "sync d/e"];
    seen.is(&[directories, file].concat(), &["d/e/k: new"]);
}

#[test]
fn a_create_only_put_is_whole() {
    let seen = traced(|case| {
        case.begin();
        for (fsync, path) in [(true, "k"), (false, "k2")] {
            let store = open(&case.dir, fsync);
            block_on(store.put_opts(&path.into(), "new".into(), PutMode::Create.into())).unwrap();
        }
    });
    let first = ["create k#1", "write k#1", "sync k#1", "link k#1 k", "sync .", "unlink k#1"];
    let second = ["create k2#1", "write k2#1", "link k2#1 k2", "unlink k2#1"];
    seen.is(&[&first[..], &second].concat(), &["k2: new", "k: new"]);
}

#[test]
fn a_create_only_put_is_refused() {
    let seen = traced(|case| {
        case.old("k");
        let store = open(&case.dir, true);
        case.begin();
        let error = block_on(store.put_opts(&k(), "new".into(), PutMode::Create.into())).unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    });
    seen.is(&["create k#1", "write k#1", "sync k#1", "link k#1 k: EEXIST", "unlink k#1"], &["k: old"]);
}

#[test]
fn neither_compare_and_swap_nor_attributes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), true);
    let tag = block_on(store.put(&k(), "old".into())).unwrap().e_tag;
    let update = PutMode::Update(UpdateVersion { e_tag: tag, version: None });
    let error = block_on(store.put_opts(&k(), "new".into(), update.into())).unwrap_err();
    assert!(matches!(error, Error::NotImplemented { .. }), "{error:?}");
    let attributes = Attributes::from_iter([(Attribute::ContentType, "text/plain")]);
    let error = block_on(store.put_opts(&k(), "new".into(), attributes.into())).unwrap_err();
    assert!(matches!(error, Error::NotImplemented { .. }), "{error:?}");
}

#[test]
fn a_delete_is_never_synced() {
    let seen = traced(|case| {
        case.old("d/k");
        case.old("d/k2");
        case.begin();
        block_on(open(&case.dir, false).delete(&Path::from("d/k"))).unwrap();
        block_on(open(&case.dir, true).delete(&Path::from("d/k2"))).unwrap();
    });
    seen.is(&["unlink d/k", "unlink d/k2"], &["d/"]);
}

#[test]
fn with_fsync_a_rename_is_durable() {
    let seen = traced(|case| {
        case.old("d/k");
        let store = open(&case.dir, true);
        case.begin();
        block_on(store.rename(&Path::from("d/k"), &Path::from("e/k"))).unwrap();
        let create = RenameOptions::new().with_target_mode(RenameTargetMode::Create);
        block_on(store.rename_opts(&Path::from("e/k"), &Path::from("d/k2"), create)).unwrap();
    });
    let first = ["rename d/k e/k: ENOENT", "mkdir e", "sync e", "sync .", "rename d/k e/k", "sync e", "sync d"];
    let second = ["link e/k d/k2", "sync d", "unlink e/k", "sync e"];
    seen.is(&[&first[..], &second].concat(), &["d/k2: old", "e/"]);
}

#[test]
fn by_default_a_rename_is_not_synced() {
    let seen = traced(|case| {
        case.old("d/k");
        let store = open(&case.dir, false);
        case.begin();
        block_on(store.rename(&Path::from("d/k"), &k())).unwrap();
    });
    seen.is(&["rename d/k k"], &["d/", "k: old"]);
}

async fn upload(store: &LocalFileSystem) {
    let mut upload = store.put_multipart(&k()).await.unwrap();
    for _ in 0..2 {
        upload.put_part("part".into()).await.unwrap();
    }
    upload.complete().await.unwrap();
}

#[test]
fn by_default_a_multipart_upload_is_not_synced() {
    let seen = traced(|case| {
        let store = open(&case.dir, false);
        case.begin();
        block_on(upload(&store));
    });
    seen.is(&["create k#1", "write k#1", "rename k#1 k"], &["k: partpart"]);
}

#[test]
fn with_fsync_a_multipart_upload_is_durable_on_complete() {
    let seen = traced(|case| {
        let store = open(&case.dir, true);
        case.begin();
        block_on(upload(&store));
    });
    seen.is(&["create k#1", "write k#1", "sync k#1", "rename k#1 k", "sync ."], &["k: partpart"]);
}

/// The place of the dropped part is filled with zeros.
#[test]
fn an_upload_that_lacks_a_part_is_published() {
    let seen = traced(|case| {
        case.begin();
        for (fsync, path) in [(true, "k"), (false, "k2")] {
            let mut upload = block_on(open(&case.dir, fsync).put_multipart(&path.into())).unwrap();
            drop(upload.put_part("one".into()));
            block_on(upload.put_part("two".into())).unwrap();
            block_on(upload.complete()).unwrap();
        }
    });
    let first = ["create k#1", "write k#1", "sync k#1", "rename k#1 k", "sync ."];
    let second = ["create k2#1", "write k2#1", "rename k2#1 k2"];
    seen.is(&[&first[..], &second].concat(), &["k2: 000two", "k: 000two"]);
}

#[test]
fn a_completion_that_fails_leaves_its_file() {
    let seen = traced(|case| {
        case.old("k/d");
        case.old("k2/d");
        case.begin();
        for (fsync, path) in [(true, "k"), (false, "k2")] {
            let mut upload = block_on(open(&case.dir, fsync).put_multipart(&path.into())).unwrap();
            block_on(upload.put_part("new".into())).unwrap();
            block_on(upload.complete()).unwrap_err();
            assert!(block_on(upload.abort()).is_err());
        }
    });
    let first = ["create k#1", "write k#1", "sync k#1", "rename k#1 k: EISDIR"];
    let second = ["create k2#1", "write k2#1", "rename k2#1 k2: EISDIR"];
    seen.is(&[&first[..], &second].concat(), &["k#1: new", "k/d: old", "k2#1: new", "k2/d: old"]);
}

#[test]
fn a_write_that_fails_leaves_the_old_content() {
    let seen = traced(|case| {
        case.old("k");
        case.limit();
        case.begin();
        for fsync in [false, true] {
            block_on(open(&case.dir, fsync).put(&k(), vec![7; LIMIT + 1].into())).unwrap_err();
        }
    });
    let calls = ["create k#1", "write k#1", "write k#1: EFBIG", "unlink k#1"];
    seen.is(&[calls, calls].concat(), &["k: old"]);
}

/// Later stores ignore it, and no listing shows it.
#[test]
fn what_a_crash_leaves_stays() {
    let seen = traced(|case| {
        let store = open(&case.dir, true);
        let mut upload = block_on(store.put_multipart(&k())).unwrap();
        block_on(upload.put_part("half".into())).unwrap();
        case.begin();
        case.crash(upload)
    });
    let later = |dir: &std::path::Path| {
        for fsync in [false, true] {
            let store = open(dir, fsync);
            block_on(store.put(&k(), "new".into())).unwrap();
            assert_eq!(block_on(store.list_with_delimiter(None)).unwrap().objects.len(), 1);
        }
    };
    seen.is::<&str>(&[], &["k#1: half"]).then(later).leaves(&["k#1: half", "k: new"]);
}

#[test]
fn a_file_that_cannot_be_synced_is_not_published() {
    let fault = Fault { inject: "fsync:error=EIO:when=1", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        let store = open(&case.dir, true);
        case.begin();
        block_on(store.put(&k(), "new".into())).unwrap_err();
    });
    seen.is(&["create k#1", "write k#1", "sync k#1: EIO", "unlink k#1"], &["k: old"]);
}

/// The error says that the rename failed, but the new content is there. Later writes are not refused.
#[test]
fn a_directory_that_cannot_be_synced_stops_nothing() {
    let fault = Fault { inject: "fsync:error=EIO:when=2", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        let store = open(&case.dir, true);
        let error = block_on(store.put(&k(), "new".into())).unwrap_err();
        assert!(error.to_string().contains("Unable to rename file"), "{error}");
        assert_eq!(std::fs::read(case.path("k")).unwrap(), b"new");
        case.begin();
        block_on(store.put(&k(), "next".into())).unwrap();
    });
    seen.is(&["create k#1", "write k#1", "sync k#1", "rename k#1 k", "sync ."], &["k: next"]);
}

#[test]
fn puts_at_once_share_no_syncs() {
    let seen = traced(|case| {
        let store = open(&case.dir, true);
        case.begin();
        std::thread::scope(|threads| {
            for n in 0..64 {
                let store = &store;
                threads.spawn(move || block_on(store.put(&Path::from(format!("{n}")), "new".into())).unwrap());
            }
        });
    });
    seen.count("sync ", 128..=128);
}

/// A second put finds the directory and treats it as durable, while the first is still syncing the parent.
#[test]
fn a_put_does_not_wait_for_the_directory_that_another_makes() {
    let fault = Fault { inject: "fsync:delay_enter=8000000", on: Some(".") };
    let seen = faulty(fault, |case| {
        let store = &open(&case.dir, true);
        std::thread::scope(|threads| {
            threads.spawn(move || block_on(store.put(&Path::from("d/k"), "new".into())).unwrap());
            while !case.path("d").exists() {
                std::thread::yield_now();
            }
            block_on(store.put(&Path::from("d/k2"), "new".into())).unwrap();
            case.begin();
        });
    });
    seen.is(&["sync ."], &["d/k2: new", "d/k: new"]);
}
