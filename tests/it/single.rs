//! One file, without a store.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ringbolt::{AtomicFile, WriteOptions};

use crate::help::*;

#[test]
fn a_write_replaces_whole() {
    each_engine(|engine, dir| {
        let options = WriteOptions::new().engine(engine);
        let path = dir.join("f");
        for len in [0, 5, 4096, 3 << 20] {
            options.write(&path, pattern(len)).unwrap();
            assert!(fs::read(&path).unwrap() == pattern(len));
        }
        assert!(unchanged(options.clone().create_new(true).write(&path, "x"), dir).is_already_exists());
        options.clone().mode(0o666).write(&path, "x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o666);
        let mut file = options.create(&path).unwrap();
        file.write_all(b"streamed").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"streamed");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn missing_parents_are_made_only_if_asked_for() {
    each_engine(|engine, dir| {
        let path = dir.join("a/b/f");
        let options = WriteOptions::new().engine(engine);
        assert!(unchanged(options.write(&path, "x"), dir).is_not_found());
        assert!(!dir.join("a").exists());
        options.clone().create_parents(true).write(&path, "x").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"x");
        let error = unchanged(options.create_parents(true).write(path.join("below"), "x"), dir);
        assert!(error.is_not_a_directory(), "{error}");
    });
}

#[test]
fn a_link_is_replaced_and_what_it_names_is_not() {
    let dir = dir();
    let (real, link) = (dir.path().join("real"), dir.path().join("link"));
    fs::write(&real, "old").unwrap();
    symlink("real", &link).unwrap();
    ringbolt::write(&link, "new").unwrap();
    assert_eq!((fs::read(&real).unwrap(), fs::read(&link).unwrap()), (b"old".to_vec(), b"new".to_vec()));
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
}

#[test]
fn a_path_that_names_no_file_is_refused() {
    let dir = dir();
    let at = |name: &str| PathBuf::from(format!("{}/{name}", dir.path().display()));
    for path in [
        at(""),
        at("f/"),
        at("f/."),
        at(".."),
        at("nul\0"),
        at("\0/k"),
        at(&"x".repeat(256)),
        at(".ringbolt-x"),
        "".into(),
        "/".into(),
        "..".into(),
    ] {
        assert!(unchanged(ringbolt::write(&path, "x"), dir.path()).is_invalid_key(), "{path:?}");
        assert!(unchanged(AtomicFile::create(&path), dir.path()).is_invalid_key(), "{path:?}");
    }
    let error = unchanged(ringbolt::write(dir.path(), "x"), dir.path());
    assert!(error.is_a_directory(), "{error}");
}

/// A bare name is in the current directory. That is global to the process, so a child runs this.
#[test]
fn a_bare_name_is_in_the_current_directory() {
    const ME: &str = "single::a_bare_name_is_in_the_current_directory";
    if std::env::var_os("RINGBOLT_TEST_CHILD").is_some() {
        return ringbolt::write("bare", "x").unwrap();
    }
    let dir = dir();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([ME, "--exact"]).env("RINGBOLT_TEST_CHILD", "1").current_dir(dir.path());
    assert!(child.output().unwrap().status.success());
    assert_eq!(fs::read(dir.path().join("bare")).unwrap(), b"x");
}

#[test]
fn an_error_becomes_an_io_error() {
    let error = ringbolt::write(Path::new("/proc/no/such"), "x").unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.raw_os_error(), Some(2));
    let text = error.to_string();
    let error = std::io::Error::from(error);
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(error.to_string(), text);
}
