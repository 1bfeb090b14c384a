//! `atomic_write_file::AtomicWriteFile`, with its defaults.

use std::fs;
use std::io::{ErrorKind, Write};

use atomic_write_file::AtomicWriteFile;

use crate::trace::*;

fn write(case: &Case, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = AtomicWriteFile::open(case.path("k"))?;
    file.write_all(bytes)?;
    file.commit()
}

#[test]
fn a_replace_is_durable_and_keeps_the_mode() {
    let seen = traced(|case| {
        case.old("k");
        case.begin();
        write(case, b"new").unwrap();
    });
    seen.is(&["create TEMP", "write TEMP", "sync TEMP", "rename TEMP k", "sync ."], &["k: new"]).keeps_the_mode(true);
}

#[test]
fn it_makes_no_directories() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(AtomicWriteFile::open(dir.path().join("d/k")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_write_that_fails_leaves_the_old_content() {
    let seen = traced(|case| {
        case.old("k");
        case.limit();
        case.begin();
        write(case, &[7; LIMIT + 1]).unwrap_err();
    });
    seen.is(&["create TEMP", "write TEMP", "write TEMP: EFBIG", "unlink TEMP", "sync ."], &["k: old"]);
}

#[test]
fn a_commit_that_fails_leaves_its_file() {
    let seen = traced(|case| {
        case.old("k/d");
        case.begin();
        write(case, b"new").unwrap_err();
    });
    let calls = ["create TEMP", "write TEMP", "sync TEMP", "rename TEMP k: EISDIR"];
    seen.is(&calls, &["TEMP: new", "k/d: old"]);
}

#[test]
fn a_file_that_cannot_be_synced_is_not_published_but_stays() {
    let fault = Fault { inject: "fsync:error=EIO:when=1", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        case.begin();
        write(case, b"new").unwrap_err();
    });
    seen.is(&["create TEMP", "write TEMP", "sync TEMP: EIO"], &["TEMP: new", "k: old"]);
}

#[test]
fn a_directory_that_cannot_be_synced_stops_nothing() {
    let fault = Fault { inject: "fsync:error=EIO:when=2", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        write(case, b"new").unwrap_err();
        assert_eq!(fs::read(case.path("k")).unwrap(), b"new");
        case.begin();
        write(case, b"next").unwrap();
    });
    seen.is(&["create TEMP", "write TEMP", "sync TEMP", "rename TEMP k", "sync ."], &["k: next"]);
}

#[test]
fn what_a_crash_leaves_stays() {
    let seen = traced(|case| {
        let mut file = AtomicWriteFile::open(case.path("k")).unwrap();
        file.write_all(b"half").unwrap();
        case.begin();
        case.crash(file)
    });
    let later = |dir: &std::path::Path| AtomicWriteFile::open(dir.join("k")).unwrap().commit().unwrap();
    seen.is::<&str>(&[], &["TEMP: half"]).then(later).leaves(&["TEMP: half", "k: "]);
}
