//! Validates untrusted keys.
//!
//! A refused text gets the same error from the check and from a store. An accepted text is a relative path of normal
//! components, leads to a place below the root, and after a put the store has exactly this key.

#![no_main]

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ringbolt::{COMPONENT_MAX, KEY_MAX, Reader, Store, check_key};

/// Deeper keys are looked up but not put, because each level is a directory to create and remove.
const PUT_DEPTH_MAX: usize = 4;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = std::env::temp_dir().join(format!("ringbolt-fuzz-key-{}", std::process::id()));
    fs::create_dir_all(&root).expect("a directory for the store");
    root
});

static STORE: LazyLock<Store> = LazyLock::new(|| Store::create(&*ROOT).expect("a store"));

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let _made = &*STORE;
    Reader::open(&*ROOT).expect("a reader")
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match check_key(&text) {
        Ok(()) => taken(&text),
        Err(error) => {
            assert!(error.is_invalid_key(), "{error:?}");
            assert!(!error.to_string().is_empty());
            assert!(why_not(&text), "refused without a reason: {error}");
            let store = &*STORE;
            assert!(store.get(&text).expect_err("no key").is_invalid_key());
            assert!(READER.get(&text).expect_err("no key").is_invalid_key());
            assert!(store.put(&text, "x").expect_err("no key").is_invalid_key());
            assert!(store.delete(&text).expect_err("no key").is_invalid_key());
            assert!(store.rename("a", &text).expect_err("no key").is_invalid_key());
            assert!(store.rename(&text, "a").expect_err("no key").is_invalid_key());
        }
    }
});

/// The rules, implemented independently.
fn why_not(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let ours = |part: &&str| part.to_ascii_lowercase().starts_with(".ringbolt");
    text.len() > KEY_MAX
        || text.contains('\0')
        || parts.iter().any(|part| ["", ".", ".."].contains(part) || part.len() > COMPONENT_MAX || ours(part))
}

fn taken(text: &str) {
    assert!(!why_not(text), "taken: {text:?}");
    let path = Path::new(text);
    assert!(path.is_relative());
    let parts: Vec<Component<'_>> = path.components().collect();
    assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
    // The text is canonical: joining its components gives the same key.
    let again = parts.iter().map(|part| part.as_os_str().to_str().expect("UTF-8")).collect::<Vec<_>>().join("/");
    assert_eq!(again, text);
    assert!(check_key(&again).is_ok());
    assert!(ROOT.join(path).strip_prefix(&*ROOT).is_ok_and(|rest| rest == path));

    let (store, reader) = (&*STORE, &*READER);
    assert!(reader.get(text).expect_err("an empty store").is_not_found());
    assert!(store.delete(text).expect_err("an empty store").is_not_found());
    if parts.len() > PUT_DEPTH_MAX {
        return;
    }
    store.put(text, text.to_owned()).expect("it is a key");
    assert_eq!(reader.get(text).expect("it was put"), text);
    let keys: Vec<String> = reader.list("").expect("a list").map(|key| key.expect("a key")).collect();
    assert_eq!(keys, [text], "it is listed under another name, or with other keys");
    store.delete(text).expect("it was there");
    if parts.len() > 1 {
        fs::remove_dir_all(ROOT.join(parts[0].as_os_str())).expect("its directories are empty");
    }
}
