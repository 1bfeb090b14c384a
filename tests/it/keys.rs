//! Keys, and how they are listed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use ringbolt::{Engine, Store};

use crate::help::*;

fn listed(store: &Store, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn invalid_keys_are_refused_everywhere() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let long = "x".repeat(256);
        for key in
            ["", "..", "a/../b", "/etc/passwd", "a\0b", "a//b", "a/", ".ringbolt/lock", "d/.ringbolt-x.tmp", &long]
        {
            for error in [
                unchanged(store.put(key, "x"), dir),
                unchanged(store.get(key), dir),
                unchanged(store.delete(key), dir),
                unchanged(store.rename(key, "z"), dir),
                unchanged(store.rename("z", key), dir),
                unchanged(store.writer(key, Default::default()), dir),
            ] {
                assert!(error.is_invalid_key(), "{key:?}: {error}");
            }
        }
        assert!(listed(&store, "").is_empty());
    });
}

#[test]
fn any_other_name_is_a_key() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        let long = "é".repeat(127);
        for key in
            ["...", " ", "-rf", "a\nb", "\u{1b}[2J", "ключ/鍵", "x.tmp", "ringbolt", &long, &format!("{long}/{long}")]
        {
            store.put(key, key.to_owned()).unwrap();
            assert_eq!(store.get(key).unwrap(), key);
            store.delete(key).unwrap();
        }
    });
}

#[test]
fn a_list_is_in_the_order_of_bytes() {
    let dir = dir();
    let store = open(dir.path(), Engine::Auto);
    let mut keys = ["a", "a.b", "a0", "a/b", "ab/c/d", "ab/c.d", "ab/c", "b/é", "b/z", "\u{10ffff}", "B"];
    for key in keys {
        match store.put(key, "") {
            // `a` and `a/b`, or `ab/c` and `ab/c/d`, cannot exist together.
            Err(error) if error.is_not_a_directory() || error.is_a_directory() => {}
            result => _ = result.unwrap(),
        }
    }
    store.delete("a").unwrap();
    store.put("a/b", "").unwrap();
    keys.sort_unstable();
    let expected: Vec<&str> = keys.into_iter().filter(|key| !["a", "ab/c"].contains(key)).collect();
    assert_eq!(listed(&store, ""), expected);
    assert_eq!(listed(&store, "a/"), ["a/b"]);
    assert_eq!(listed(&store, "a"), ["a.b", "a/b", "a0", "ab/c.d", "ab/c/d"]);
    assert_eq!(listed(&store, "ab/c"), ["ab/c.d", "ab/c/d"]);
    assert_eq!(listed(&store, "ab/c/d"), ["ab/c/d"]);
    for nothing in ["c", "a/b/", "a//", "/", "../", "./", ".ringbolt", ".ringbolt/", "ab/c/d/e"] {
        assert!(listed(&store, nothing).is_empty(), "{nothing:?}");
    }
}

#[test]
fn only_keys_are_listed() {
    let dir = dir();
    let store = open(dir.path(), Engine::Auto);
    store.put("d/k", "").unwrap();
    fs::write(dir.path().join("d/.ringbolt-0123456789abcdef.tmp"), "").unwrap();
    // A name that is not UTF-8; macOS refuses to make one.
    let _ = fs::write(dir.path().join(OsStr::from_bytes(b"\xff")), "");
    std::os::unix::fs::symlink("d", dir.path().join("link")).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    assert_eq!(listed(&store, ""), ["d/k"]);
}
