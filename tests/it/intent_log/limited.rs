//! Processes with limits: on the length of files, and on descriptors.

use std::fs::{self, File};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use ringbolt::{ErrorKind, Outcome};

use super::*;

fn limit(resource: Resource, soft: Option<u64>) {
    let hard = getrlimit(resource).unwrap().1;
    setrlimit(resource, soft.unwrap_or(hard), hard).unwrap();
}

/// A limit between the lengths of a value and of the log: no record can be written any more.
pub(super) fn changes_beyond_the_limit(dir: &Path, engine: Engine) -> Store {
    // The default action of SIGXFSZ ends the process. Threads inherit the mask.
    SigSet::from_iter([Signal::SIGXFSZ]).thread_block().unwrap();
    let store = open_logged(dir, engine);
    store.put("k", "acknowledged").unwrap();
    store.put("gone", "1").unwrap();
    store.delete("gone").unwrap();
    limit(Resource::RLIMIT_FSIZE, Some(64 << 10));
    let error = unchanged(store.put("k", pattern((64 << 10) + 1)), dir);
    assert!(error.is_file_too_large(), "{error}");
    assert_eq!(store.get("k").unwrap(), "acknowledged");
    let error = store.put("k", "unknown").unwrap_err();
    assert_eq!((error.outcome(), error.is_file_too_large()), (Outcome::Unknown, true), "{error}");
    let error = store.put("l", "refused").unwrap_err();
    assert_eq!((error.outcome(), error.is_poisoned()), (Outcome::Unchanged, true), "{error}");
    assert!(store.checkpoint().unwrap_err().is_poisoned());
    assert_eq!(store.get("k").unwrap(), "acknowledged");
    let (error, none) = store.close().unwrap_err().into_parts();
    assert!(error.is_poisoned() && none.is_none(), "{error}");
    // Its log cannot be recovered under the limit either: it could not be written again.
    let error = builder(dir, engine).open().unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::FileTooLarge, log_path(dir).as_path()), "{error}");
    std::process::exit(0);
}

#[test]
fn a_log_beyond_the_file_size_limit_closes_the_store_and_loses_nothing() {
    each_logged("a file size limit", |engine, dir| {
        let output = child("short log", dir, engine).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(format(dir), "ringbolt store 2\n");
        assert!(temporaries(dir).len() <= 1);
        fs::write(dir.join("k"), "lost").unwrap();
        fs::write(dir.join("gone"), "deleted").unwrap();
        let store = open_logged(dir, engine);
        // The write was refused as a whole.
        assert_eq!(store.get("k").unwrap(), "acknowledged");
        assert_eq!(store.list("").unwrap().map(Result::unwrap).collect::<Vec<_>>(), ["k"]);
        assert!(temporaries(dir).is_empty());
    });
}

/// Without descriptors nothing can be written, but the log is open already: nothing is unknown.
pub(super) fn changes_without_descriptors(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    store.put("d/k", "acknowledged").unwrap();
    limit(Resource::RLIMIT_NOFILE, Some(64));
    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }
    let mut refused = 0;
    for n in 0..40 {
        // The store may give up descriptors that it holds for later.
        if let Err(error) = store.put(format!("new{n}/k"), "refused") {
            assert_eq!((error.kind(), error.outcome()), (ErrorKind::TooManyOpenFiles, Outcome::Unchanged), "{error}");
            refused += 1;
        }
        while let Ok(file) = File::open("/dev/null") {
            all.push(file);
        }
    }
    assert!(refused > 30, "{refused}");
    drop(all);
    store.put("d/k", "again").unwrap();
    store.checkpoint().unwrap();
    store.put("d/l", "after a checkpoint").unwrap();
    store
}

#[test]
fn without_descriptors_nothing_changes_and_the_store_goes_on() {
    each_logged("descriptors", |engine, dir| {
        crash("descriptors", dir, engine);
        fs::remove_file(dir.join("d/l")).unwrap();
        let store = open_logged(dir, engine);
        assert_eq!(
            (store.get("d/k").unwrap(), store.get("d/l").unwrap()),
            ("again".into(), "after a checkpoint".into())
        );
        assert!(temporaries(dir).is_empty());
    });
}
