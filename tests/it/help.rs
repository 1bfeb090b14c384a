//! Shared code of the tests.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ringbolt::{Engine, Store};
use tempfile::TempDir;

/// A fresh directory on the disk of the target directory, because the system's temporary directory is often a tmpfs.
pub(crate) fn dir() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Prints in one line which test is skipped and why. Bypasses output capture.
pub(crate) fn skip(what: &str, why: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "skipped {what}: {why}");
}

/// Runs a test with every available engine, each in a fresh directory.
pub(crate) fn each_engine(test: impl Fn(Engine, &Path)) {
    for engine in engines() {
        test(engine, dir().path());
    }
}

pub(crate) fn engines() -> Vec<Engine> {
    let mut engines = Vec::new();
    for engine in [Engine::Portable, Engine::Uring] {
        match Store::builder(dir().path()).create_if_missing(true).engine(engine).open() {
            Ok(_) => engines.push(engine),
            Err(error) => {
                assert!(error.is_engine_unavailable(), "{error}");
                skip(&format!("{engine:?}"), error);
            }
        }
    }
    assert!(!engines.is_empty());
    engines
}

pub(crate) fn open(dir: &Path, engine: Engine) -> Store {
    Store::builder(dir).create_if_missing(true).engine(engine).open().unwrap()
}

/// All temporary files below a directory.
pub(crate) fn temporaries(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(temporaries(&entry.path()));
        } else if entry.file_name().to_string_lossy().ends_with(".tmp") {
            found.push(entry.path());
        }
    }
    found
}

/// Asserts that a call failed and changed nothing. Returns the error.
#[track_caller]
pub(crate) fn unchanged<T, E>(result: std::result::Result<T, E>, dir: &Path) -> ringbolt::Error
where
    T: std::fmt::Debug,
    E: Into<ringbolt::Error>,
{
    let error: ringbolt::Error = result.map_err(Into::into).unwrap_err();
    assert_eq!(error.outcome(), ringbolt::Outcome::Unchanged, "{error}");
    assert_eq!(error.leftover(), None, "{error}");
    assert_eq!(temporaries(dir), Vec::<PathBuf>::new(), "{error}");
    error
}

/// Content in which every displaced byte is noticed.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}
