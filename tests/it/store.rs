//! The store: puts are read back, and failures change nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use ringbolt::{Engine, PutOptions, Reader, Store};

use crate::help::*;

#[test]
fn what_is_put_is_got() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        for len in [0, 1, 4 << 10, 1 << 20, 100 << 20] {
            let content = pattern(len);
            store.put("a/b", content.clone()).unwrap();
            assert!(store.get("a/b").unwrap() == content, "{engine:?} {len}");
            let mut file = store.writer("c", PutOptions::new()).unwrap();
            file.write_all(&content).unwrap();
            file.commit().unwrap();
            assert!(store.get("c").unwrap() == content, "{engine:?} {len}");
        }
        assert_eq!(temporaries(dir), Vec::<std::path::PathBuf>::new());
    });
}

/// More than fits in one write: Linux stops at 0x7ffff000 bytes, and ringbolt at 1 GiB.
#[test]
fn more_than_two_gib_is_put_whole() {
    let len = (2 << 30) + 4097;
    let disk = nix::sys::statvfs::statvfs(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if disk.blocks_available() as u64 * disk.fragment_size() as u64 <= 5 << 30 {
        return skip("more than 2 GiB", "no room on the disk of the target directory");
    }
    let mut content = vec![0; len];
    for at in (0..len).step_by(64 << 20) {
        content[at] = (at >> 26) as u8 | 0x80;
    }
    content[len - 1] = 1;
    let content = bytes::Bytes::from(content);
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put("large", content.clone()).unwrap();
        assert!(store.get("large").unwrap() == content, "{engine:?}");
        let mut file = store.writer("large", PutOptions::new()).unwrap();
        file.write_all(&content).unwrap();
        file.commit().unwrap();
        assert!(store.get("large").unwrap() == content, "{engine:?}, in pieces");
    });
}

#[test]
fn a_put_replaces_and_put_new_refuses_to() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put_new("k", "1").unwrap();
        assert!(unchanged(store.put_new("k", "2"), dir).is_already_exists());
        assert_eq!(store.get("k").unwrap(), "1");
        store.put("k", "22").unwrap();
        assert_eq!(store.get("k").unwrap(), "22");
    });
}

#[test]
fn of_many_creators_exactly_one_wins() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let wins: Vec<usize> = std::thread::scope(|scope| {
            let put = |i: usize| store.put_new("d/k", i.to_string()).map(|_| i);
            let threads: Vec<_> = (0..16).map(|i| scope.spawn(move || put(i))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect()
        });
        assert_eq!(wins.len(), 1);
        assert_eq!(store.get("d/k").unwrap(), wins[0].to_string());
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn many_writers_at_once_each_find_their_own() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let key = |writer: usize, i: usize| format!("d{}/{writer}-{i}", writer % 3);
        std::thread::scope(|scope| {
            for writer in 0..100 {
                let store = &store;
                scope.spawn(move || {
                    for i in 0..10 {
                        store.put(key(writer, i), pattern(writer * 50 + i)).unwrap();
                    }
                });
            }
        });
        for (writer, i) in (0..100).flat_map(|writer| (0..10).map(move |i| (writer, i))) {
            assert_eq!(store.get(key(writer, i)).unwrap(), pattern(writer * 50 + i));
        }
        assert_eq!(store.list("").unwrap().count(), 1000);
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn a_delete_and_a_rename_move_names_and_nothing_else() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put("a", "1").unwrap();
        store.put("x/b", "2").unwrap();
        store.rename("a", "x/y/c").unwrap();
        assert_eq!(store.get("x/y/c").unwrap(), "1");
        assert!(store.get("a").unwrap_err().is_not_found());
        store.rename("x/b", "x/y/c").unwrap();
        assert_eq!(store.get("x/y/c").unwrap(), "2");
        store.rename("x/y/c", "x/y/c").unwrap();
        store.rename("x/y/c", "x/y/d").unwrap();
        store.delete("x/y/d").unwrap();
        assert_eq!(store.list("").unwrap().count(), 0);
        for missing in ["x/y/d", "no/such", "x/y/d/e"] {
            assert!(unchanged(store.delete(missing), dir).is_not_found());
            assert!(unchanged(store.rename(missing, "z"), dir).is_not_found());
        }
        assert!(unchanged(store.delete("x"), dir).is_a_directory());
        assert!(unchanged(store.rename("x", "z"), dir).is_a_directory());
        store.put("a", "3").unwrap();
        store.rename("a", "x").unwrap(); // the directories in it are empty
        store.rename("x", "a").unwrap();
        assert!(unchanged(store.delete("a/b"), dir).is_not_found());
        assert_eq!(store.get("a").unwrap(), "3");
    });
}

#[test]
fn obstacles_are_reported() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put("file", "old").unwrap();
        store.put("d/file", "old").unwrap();
        assert!(unchanged(store.put("d", "new"), dir).is_a_directory());
        let error = unchanged(store.put("file/below", "new"), dir);
        assert!(error.is_not_a_directory());
        assert_eq!(error.path(), dir.join("file"));
        assert!(store.get("file/below").unwrap_err().is_not_found());
        assert!(store.get("d").unwrap_err().is_a_directory());

        fs::create_dir(dir.join("elsewhere")).unwrap();
        symlink("elsewhere", dir.join("link")).unwrap();
        assert!(unchanged(store.put("link/k", "new"), dir).is_symlink());
        assert!(unchanged(store.put("link/deeper/k", "new"), dir).is_symlink());
        for error in [
            unchanged(store.get("link/k"), dir),
            unchanged(store.delete("link/k"), dir),
            unchanged(store.rename("link/k", "z"), dir),
            unchanged(store.rename("file", "link/k"), dir),
            unchanged(store.writer("link/k", PutOptions::new()), dir),
        ] {
            assert!(error.is_symlink(), "{error}");
        }
        assert_eq!(fs::read_dir(dir.join("elsewhere")).unwrap().count(), 0);

        // A symbolic link at the target is replaced, and never followed.
        symlink("file", dir.join("alias")).unwrap();
        assert!(store.get("alias").unwrap_err().is_symlink());
        store.put("alias", "new").unwrap();
        assert_eq!((store.get("alias").unwrap(), store.get("file").unwrap()), ("new".into(), "old".into()));
    });
}

#[test]
fn special_files_are_not_keys() {
    let dir = dir();
    let store = open(dir.path(), Engine::Auto);
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    for key in ["fifo", "socket"] {
        assert!(store.get(key).unwrap_err().is_not_a_file(), "{key}");
    }
    assert_eq!(store.list("").unwrap().count(), 0);
}

#[test]
fn modes_are_what_was_asked_for() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let mode = |key: &str| fs::metadata(dir.join(key)).unwrap().mode() & 0o7777;
        store.put("default", "x").unwrap();
        assert_eq!(mode("default"), 0o600);
        // The mode is exact; the umask is not applied.
        for wanted in [0o666, 0o777, 0o400, 0o640, 0] {
            store.put_with("k", "x", PutOptions::new().mode(wanted)).unwrap();
            assert_eq!(mode("k"), wanted, "{engine:?}");
            store.writer("k", PutOptions::new().mode(wanted)).unwrap().commit().unwrap();
            assert_eq!(mode("k"), wanted, "{engine:?}");
        }
        assert_eq!(store.reader().metadata("default").unwrap().mode, 0o600);
    });
}

/// Leaves a store as a killed process does. (A kill would close the descriptors and release the lock; here they stay
/// open, so opening the store again needs a fresh lock file.)
fn killed(store: ringbolt::Store, act: impl FnOnce(&Store)) {
    act(&store);
    let lock = store.path().join(".ringbolt/lock");
    std::mem::forget(store);
    fs::remove_file(lock).unwrap();
}

/// Temporary files of single writes, and of stores inside the store, may be in use, so they are kept.
#[test]
fn a_sweep_spares_what_others_are_writing() {
    each_engine(|engine, dir| {
        killed(open(dir, engine), |store| _ = store.put("d/k", "old").unwrap());
        let mut single = ringbolt::AtomicFile::create(dir.join("d/single")).unwrap();
        single.write_all(b"new").unwrap();
        fs::create_dir(dir.join("d/inner")).unwrap();
        let inner = open(&dir.join("d/inner"), engine);
        let mut nested = inner.writer("x/k", PutOptions::new()).unwrap();
        nested.write_all(b"new").unwrap();
        let _outer = open(dir, engine);
        single.commit().unwrap();
        nested.commit().unwrap();
        assert_eq!(fs::read(dir.join("d/single")).unwrap(), b"new");
        assert_eq!(inner.get("x/k").unwrap(), "new");
    });
}

/// After a clean close, an open walks no directory; otherwise, all of them.
#[test]
fn only_an_untidy_store_is_swept() {
    each_engine(|engine, dir| {
        open(dir, engine).close().unwrap();
        let stale = dir.join(".ringbolt-0123456789abcdef.tmp");
        fs::write(&stale, "").unwrap();
        killed(open(dir, engine), |_| assert!(stale.exists()));
        assert!(!dir.join(".ringbolt/clean").exists());
        drop(open(dir, engine));
        assert!(!stale.exists());
        assert!(dir.join(".ringbolt/clean").exists());
    });
}

/// In POSIX, a rename between two names of one file does nothing. In particular, it removes nothing.
#[test]
fn a_rename_onto_another_name_of_the_same_file() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put("a", "x").unwrap();
        store.put("d/other", "y").unwrap();
        fs::hard_link(dir.join("a"), dir.join("d/b")).unwrap();
        store.rename("a", "d/b").unwrap();
        assert_eq!((store.get("a").unwrap(), store.get("d/b").unwrap()), ("x".into(), "x".into()));
    });
}

/// Operations in a cached directory that was removed or replaced.
#[test]
fn a_directory_that_was_replaced_is_found_again() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let again = || {
            store.put("a/x", "1").unwrap();
            fs::remove_dir_all(dir.join("a")).unwrap();
        };
        again();
        store.put("a/b/x", "2").unwrap();
        again();
        store.put("y", "3").unwrap();
        store.rename("y", "a/y").unwrap();
        assert_eq!(store.get("a/y").unwrap(), "3");
        again();
        fs::create_dir(dir.join("a")).unwrap();
        fs::write(dir.join("a/z"), "").unwrap();
        store.delete("a/z").unwrap();
        again();
        assert!(store.delete("a/z").unwrap_err().is_not_found());
        assert!(store.rename("a/z", "z").unwrap_err().is_not_found());
        again();
        store.writer("a/c", PutOptions::new()).unwrap().commit().unwrap();
        assert_eq!(store.list("").unwrap().count(), 1);
    });
}

#[test]
fn a_stale_temporary_is_swept_and_passes_nothing_on() {
    each_engine(|engine, dir| {
        killed(open(dir, engine), |store| _ = store.put("d/k", "old").unwrap());
        for at in ["", "d", ".ringbolt"] {
            let stale = dir.join(at).join(".ringbolt-0123456789abcdef.tmp");
            fs::write(&stale, "half").unwrap();
            fs::set_permissions(&stale, fs::Permissions::from_mode(0o666)).unwrap();
        }
        // Similar names are not touched.
        fs::write(dir.join(".ringbolt-notes.tmp"), "mine").unwrap();
        let store = open(dir, engine);
        assert_eq!(temporaries(dir), [dir.join(".ringbolt-notes.tmp")]);
        store.put("d/k", "new").unwrap();
        assert_eq!(fs::metadata(dir.join("d/k")).unwrap().mode() & 0o7777, 0o600);
    });
}

#[test]
fn a_store_has_one_writer_and_many_readers() {
    let dir = dir();
    let store = open(dir.path(), Engine::Auto);
    store.put("k", "1").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.is_locked());
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.get("k").unwrap(), "1");

    // An unfinished file keeps the store locked, so that its temporary file is not removed.
    let file = store.writer("k", PutOptions::new()).unwrap();
    let clone = store.clone();
    let rejected = store.close().unwrap_err();
    assert!(rejected.error().is_in_use() && rejected.to_string().contains("hold it (2)"), "{rejected}");
    let store = rejected.into_value().unwrap();
    drop(clone);
    assert!(store.close().unwrap_err().error().is_in_use());
    assert!(Store::open(dir.path()).unwrap_err().is_locked());
    file.commit().unwrap();
    let store = Store::open(dir.path()).unwrap();
    // A completed or unpolled future keeps the lock only until it is dropped.
    let unpolled = store.put_async("k", "2");
    let store = store.close().unwrap_err().into_value().unwrap();
    drop(unpolled);
    store.close().unwrap();
    Store::open(dir.path()).unwrap();
    assert_eq!(reader.get("k").unwrap(), "");
}

#[test]
fn a_vanished_directory_is_reported() {
    each_engine(|engine, dir| {
        let root = dir.join("root");
        let builder = || Store::builder(&root).engine(engine).create_if_missing(true);
        let store = builder().open().unwrap();
        store.put("d/e/k", "1").unwrap();
        // A subdirectory is created again.
        fs::remove_dir_all(root.join("d")).unwrap();
        store.put("d/e/k", "2").unwrap();
        assert_eq!(store.get("d/e/k").unwrap(), "2");
        // The store's own directory is not.
        let begun = store.writer("k", PutOptions::new()).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert!(store.put("k", "3").unwrap_err().is_directory_removed());
        assert!(store.put("new/k", "3").unwrap_err().is_directory_removed());
        assert!(store.writer("k", PutOptions::new()).unwrap_err().is_directory_removed());
        assert!(store.get("k").unwrap_err().is_directory_removed());
        assert!(store.delete("k").unwrap_err().is_directory_removed());
        assert!(store.list("").unwrap_err().is_directory_removed());
        assert!(begun.commit().unwrap_err().error().is_directory_removed());
        drop(store);
        assert!(Store::open(&root).unwrap_err().is_not_found());
        builder().open().unwrap().put("k", "4").unwrap();
    });
}

#[test]
fn a_store_needs_its_parent() {
    let dir = dir();
    let deep = dir.path().join("a/b");
    assert!(Store::open(&deep).unwrap_err().is_not_found());
    assert!(Store::builder(&deep).create_if_missing(true).open().unwrap_err().is_not_found());
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(Store::builder(dir.path().join("file")).create_if_missing(true).open().unwrap_err().is_not_a_directory());
    assert!(Reader::open(dir.path().join("file")).unwrap_err().is_not_a_directory());
}

#[test]
fn a_store_of_a_later_version_is_left_alone() {
    let dir = dir();
    open(dir.path(), Engine::Auto).close().unwrap();
    fs::write(dir.path().join(".ringbolt/format"), "ringbolt store 3\n").unwrap();
    fs::remove_file(dir.path().join(".ringbolt/clean")).unwrap();
    let theirs = dir.path().join(".ringbolt-0123456789abcdef.tmp");
    fs::write(&theirs, "").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(error.is_unknown_format());
    assert!(error.to_string().contains("ringbolt store 3"), "{error}");
    assert!(theirs.exists());
}
