//! `atomicwrites::AtomicFile`.

use std::fs;
use std::io::{self, ErrorKind, Write};

use atomicwrites::{AllowOverwrite, AtomicFile, DisallowOverwrite, OverwriteBehavior};

use crate::trace::*;

fn write(case: &Case, overwrite: OverwriteBehavior, bytes: &[u8]) -> io::Result<()> {
    Ok(AtomicFile::new(case.path("k"), overwrite).write(|file| file.write_all(bytes))?)
}

const FILE: [&str; 4] = ["mkdir TEMP", "truncate TEMP/tmpfile.tmp", "write TEMP/tmpfile.tmp", "sync TEMP/tmpfile.tmp"];
const LEFT: [&str; 3] = ["sync TEMP", "sync .", "rmdir TEMP"];

#[test]
fn a_replace_is_durable_but_keeps_no_mode() {
    let seen = traced(|case| {
        case.old("k");
        case.begin();
        write(case, AllowOverwrite, b"new").unwrap();
    });
    seen.is(&[&FILE[..], &["rename TEMP/tmpfile.tmp k"], &LEFT].concat(), &["k: new"]).keeps_the_mode(false);
}

#[test]
fn a_create_only_write_is_whole() {
    let seen = traced(|case| {
        case.begin();
        write(case, DisallowOverwrite, b"new").unwrap();
    });
    seen.is(&[&FILE[..], &["rename-new TEMP/tmpfile.tmp k"], &LEFT].concat(), &["k: new"]);
}

#[test]
fn a_create_only_write_is_refused() {
    let seen = traced(|case| {
        case.old("k");
        case.begin();
        assert_eq!(write(case, DisallowOverwrite, b"new").unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
    let refused = ["rename-new TEMP/tmpfile.tmp k: EEXIST", "unlink TEMP/tmpfile.tmp", "rmdir TEMP"];
    seen.is(&[&FILE[..], &refused].concat(), &["k: old"]);
}

#[test]
fn a_rename_is_durable() {
    let seen = traced(|case| {
        case.old("d/k");
        case.begin();
        atomicwrites::replace_atomic(&case.path("d/k"), &case.path("k")).unwrap();
        atomicwrites::move_atomic(&case.path("k"), &case.path("d/k2")).unwrap();
    });
    seen.is(&["rename d/k k", "sync d", "sync .", "rename-new k d/k2", "sync .", "sync d"], &["d/k2: old"]);
}

#[test]
fn it_makes_no_directories() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        AtomicFile::new(dir.path().join("d/k"), AllowOverwrite).write(|file| file.write_all(b"new")).unwrap_err();
    assert_eq!(io::Error::from(error).kind(), ErrorKind::NotFound);
}

#[test]
fn a_write_that_fails_leaves_the_old_content() {
    let seen = traced(|case| {
        case.old("k");
        case.limit();
        case.begin();
        write(case, AllowOverwrite, &[7; LIMIT + 1]).unwrap_err();
    });
    let refused = ["write TEMP/tmpfile.tmp: EFBIG", "unlink TEMP/tmpfile.tmp", "rmdir TEMP"];
    seen.is(&[&FILE[..3], &refused].concat(), &["k: old"]);
}

#[test]
fn a_file_that_cannot_be_synced_is_not_published() {
    let fault = Fault { inject: "fsync:error=EIO:when=1", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        case.begin();
        write(case, AllowOverwrite, b"new").unwrap_err();
    });
    let refused = ["sync TEMP/tmpfile.tmp: EIO", "unlink TEMP/tmpfile.tmp", "rmdir TEMP"];
    seen.is(&[&FILE[..3], &refused].concat(), &["k: old"]);
}

#[test]
fn a_directory_that_cannot_be_synced_stops_nothing() {
    let fault = Fault { inject: "fsync:error=EIO:when=3", on: None };
    let seen = faulty(fault, |case| {
        case.old("k");
        write(case, AllowOverwrite, b"new").unwrap_err();
        assert_eq!(fs::read(case.path("k")).unwrap(), b"new");
        case.begin();
        write(case, AllowOverwrite, b"next").unwrap();
    });
    seen.is(&[&FILE[..], &["rename TEMP/tmpfile.tmp k"], &LEFT].concat(), &["k: next"]);
}

#[test]
fn what_a_crash_leaves_stays() {
    let seen = traced(|case| {
        case.begin();
        let file = AtomicFile::new(case.path("k"), AllowOverwrite);
        let _ = file.write(|file| -> io::Result<()> {
            file.write_all(b"half").unwrap();
            case.crash(())
        });
    });
    let later =
        |dir: &std::path::Path| AtomicFile::new(dir.join("k"), AllowOverwrite).write(|_| io::Result::Ok(())).unwrap();
    seen.is(&FILE[..3], &["TEMP/tmpfile.tmp: half"]).then(later).leaves(&["TEMP/tmpfile.tmp: half", "k: "]);
}
