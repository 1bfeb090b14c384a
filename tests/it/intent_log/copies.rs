//! Copies of a store with a log.

use std::fs;
use std::process::Command;

use ringbolt::{ErrorKind, Reader, Store};

use super::*;

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// A copy of a log with live records may be older than the files beside it, or newer.
#[test]
fn a_copy_of_a_live_store_is_refused() {
    each_logged("live copies", |engine, dir| {
        let (at, other) = (dir.join("s"), dir.join("copy"));
        crash("every change", &at, engine);
        copy(&at, &other);
        let before = everything(&other);
        for result in
            [builder(&other, engine).open().map(drop), Store::open(&other).map(drop), Reader::open(&other).map(drop)]
        {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::DamagedLog, "{error}");
            assert!(error.to_string().contains("it is a copy") && error.path() == log_path(&other), "{error}");
        }
        assert_same(&everything(&other), &before, "after the refusals");
        // Copied back, it is a copy as well. Moved back, the original is not.
        let (aside, acknowledged) = (dir.join("aside"), files(&at));
        fs::rename(&at, &aside).unwrap();
        copy(&other, &at);
        assert_eq!(builder(&at, engine).open().unwrap_err().kind(), ErrorKind::DamagedLog);
        fs::remove_dir_all(&at).unwrap();
        fs::rename(&aside, &at).unwrap();
        fs::write(at.join("old"), "lost").unwrap();
        drop(open_logged(&at, engine));
        assert_same(&files(&at), &acknowledged, "the original");
    });
}

/// The same log file, written over with an equal copy of itself.
#[test]
fn a_log_that_is_restored_in_place_is_the_same() {
    each_logged("a log in place", |engine, dir| {
        crash("every change", dir, engine);
        let (acknowledged, log) = (files(dir), fs::read(log_path(dir)).unwrap());
        overwrite(&log_path(dir), 0, &pattern(log.len()));
        overwrite(&log_path(dir), 0, &log);
        fs::write(dir.join("old"), "lost").unwrap();
        drop(open_logged(dir, engine));
        assert_same(&files(dir), &acknowledged, "after recovery");
    });
}

#[test]
fn a_copy_of_a_closed_store_is_a_store_of_its_own() {
    each_logged("clean copies", |engine, dir| {
        let (at, other) = (dir.join("s"), dir.join("copy"));
        open_logged(&at, engine).put("k", "both").unwrap();
        copy(&at, &other);
        assert_eq!(Reader::open(&other).unwrap().get("k").unwrap(), "both");
        // Both at once, and both are killed: each recovers its own.
        for (dir, other) in [(&at, &other), (&other, &at)] {
            crash("records", dir, engine);
            fs::write(dir.join("k3"), "lost").unwrap();
            assert!(!other.join("new").exists());
        }
        for dir in [&at, &other] {
            let store = open_logged(dir, engine);
            assert_eq!((store.get("k").unwrap(), store.get("k3").unwrap()), ("both".into(), "logged 3".into()));
        }
    });
}

/// The log of one store in the place of another's: its records are of no use there.
#[test]
fn the_log_of_another_store_is_refused() {
    each_logged("a strange log", |engine, dir| {
        let (at, other) = (dir.join("s"), dir.join("other"));
        crash("records", &at, engine);
        crash("every change", &other, engine);
        let before = files(&at);
        fs::copy(log_path(&other), log_path(&at)).unwrap();
        let error = builder(&at, engine).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DamagedLog, "{error}");
        assert_same(&files(&at), &before, "after the refusal");
    });
}
