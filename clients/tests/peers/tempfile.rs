//! `tempfile::NamedTempFile` and its `persist`, without and with the caller's own `sync_all`.

use std::io::{ErrorKind, Write};

use tempfile::NamedTempFile;

use crate::trace::*;

fn file(case: &Case) -> NamedTempFile {
    let mut file = NamedTempFile::new_in(&case.dir).unwrap();
    file.write_all(b"new").unwrap();
    file
}

#[test]
fn persist_syncs_nothing() {
    let seen = traced(|case| {
        case.old("k");
        case.begin();
        file(case).persist(case.path("k")).unwrap();
    });
    seen.is(&["create TEMP", "write TEMP", "rename TEMP k"], &["k: new"]).keeps_the_mode(false);
}

#[test]
fn with_sync_all_the_content_is_durable_and_the_name_is_not() {
    let seen = traced(|case| {
        case.old("k");
        case.begin();
        let file = file(case);
        file.as_file().sync_all().unwrap();
        file.persist(case.path("k")).unwrap();
    });
    seen.is(&["create TEMP", "write TEMP", "sync TEMP", "rename TEMP k"], &["k: new"]).keeps_the_mode(false);
}

#[test]
fn persist_noclobber_is_whole() {
    let seen = traced(|case| {
        case.begin();
        file(case).persist_noclobber(case.path("k")).unwrap();
    });
    seen.is(&["create TEMP", "write TEMP", "rename-new TEMP k"], &["k: new"]);
}

#[test]
fn persist_noclobber_is_refused() {
    let seen = traced(|case| {
        case.old("k");
        case.begin();
        let error = file(case).persist_noclobber(case.path("k")).unwrap_err();
        assert_eq!(error.error.kind(), ErrorKind::AlreadyExists);
    });
    seen.is(&["create TEMP", "write TEMP", "rename-new TEMP k: EEXIST", "unlink TEMP"], &["k: old"]);
}

#[test]
fn it_makes_no_directories() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(NamedTempFile::new_in(dir.path().join("d")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_write_that_fails_leaves_the_old_content() {
    let seen = traced(|case| {
        case.old("k");
        case.limit();
        case.begin();
        let mut file = NamedTempFile::new_in(&case.dir).unwrap();
        file.write_all(&[7; LIMIT + 1]).unwrap_err();
    });
    seen.is(&["create TEMP", "write TEMP", "write TEMP: EFBIG", "unlink TEMP"], &["k: old"]);
}

#[test]
fn a_persist_that_fails_removes_its_file() {
    let seen = traced(|case| {
        case.old("k/d");
        case.begin();
        assert!(file(case).persist(case.path("k")).is_err());
    });
    seen.is(&["create TEMP", "write TEMP", "rename TEMP k: EISDIR", "unlink TEMP"], &["k/d: old"]);
}

#[test]
fn what_a_crash_leaves_stays() {
    let seen = traced(|case| {
        case.begin();
        case.crash(file(case))
    });
    seen.is(&["create TEMP", "write TEMP"], &["TEMP: new"]);
}
