//! Content written in pieces: it disappears if it is not committed.

use std::fs;
use std::io::Write;

use ringbolt::{AtomicFile, Outcome, PutOptions};

use crate::help::*;

#[test]
fn a_guard_that_is_not_committed_leaves_nothing() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        store.put("k", "old").unwrap();
        let begin = || {
            let mut file = store.writer("k", PutOptions::new()).unwrap();
            file.write_all(b"new").unwrap();
            assert_eq!(temporaries(dir).len(), 1);
            file
        };
        drop(begin());
        assert!(temporaries(dir).is_empty());
        begin().discard().unwrap();
        assert!(temporaries(dir).is_empty());
        assert!(unchanged(store.writer("k", PutOptions::new().create_new(true)), dir).is_already_exists());
        let file = store.writer("n", PutOptions::new().create_new(true)).unwrap();
        fs::write(dir.join("n"), "first").unwrap();
        let mut file = file;
        file.write_all(b"second").unwrap();
        let rejected = file.commit().unwrap_err();
        assert!(rejected.error().is_already_exists());
        assert_eq!((fs::read(dir.join("n")).unwrap(), temporaries(dir).len()), (b"first".to_vec(), 1));
        let file = rejected.into_value().unwrap().with_options(PutOptions::new());
        file.commit().unwrap();
        assert_eq!((fs::read(dir.join("n")).unwrap(), temporaries(dir).len()), (b"second".to_vec(), 0));
        let file = store.writer("d", PutOptions::new()).unwrap();
        fs::create_dir_all(dir.join("d/e")).unwrap();
        fs::write(dir.join("d/e/f"), "in the way").unwrap();
        let (error, file) = file.commit().unwrap_err().into_parts();
        assert!(error.is_a_directory() && error.outcome() == ringbolt::Outcome::Unchanged, "{error}");
        assert_eq!(temporaries(dir).len(), 1);
        fs::remove_file(dir.join("d/e/f")).unwrap();
        file.unwrap().commit().unwrap();
        assert_eq!(store.get("k").unwrap(), "old");
    });
}

/// The same without a store.
#[test]
fn a_single_file_comes_back_when_its_name_is_refused() {
    let dir = dir();
    let path = dir.path().join("f");
    let mut file = AtomicFile::create(&path).unwrap().create_new(true);
    file.write_all(b"content").unwrap();
    fs::write(&path, "first").unwrap();
    let (error, file) = file.commit().unwrap_err().into_parts();
    assert!(error.is_already_exists() && error.outcome() == Outcome::Unchanged, "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"first");
    file.unwrap().create_new(false).commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"content");
    assert!(temporaries(dir.path()).is_empty());
}
