use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use nix::sys::stat::futimens;

use super::commit_tests::scratch;
use super::crash::Tree;
use super::disk::{Filesystem, Name, Place};
use super::interleave::Scenario;
use super::operation::{A, B, FREE, Operation, PUT, Put, disk, version};
use crate::Store;
use crate::fs::temp;
use crate::protocol::{Existing, Medium, Version};

/// The trees that cuts leave of some operations, on every filesystem of the model.
fn trees() -> BTreeSet<Tree> {
    let create = Put { existing: Existing::Refuse, ..PUT };
    let mut trees = BTreeSet::new();
    for filesystem in Filesystem::ALL {
        let pairs = [
            vec![Operation::put(0, A, PUT), Operation::delete(A, None)],
            vec![Operation::put(0, A, PUT), Operation::put(1, FREE, create)],
            vec![Operation::put(0, A, PUT), Operation::put(1, B, PUT), Operation::delete(B, None)],
            vec![Operation::batch(&[&[(0, A), (1, FREE)], &[(2, B)]], Medium::PER_FILE_BATCH)],
        ];
        for operations in pairs {
            let found = Scenario::new(&disk(filesystem), operations).explore();
            trees.extend(found.unwrap_or_else(|violation| panic!("{violation}")).trees);
        }
    }
    trees
}

fn path(place: Place) -> String {
    let dir = if place.dir == 0 { "a" } else { "b" };
    match place.name {
        Name::Key(key) => format!("{dir}/k{key}"),
        Name::Temp(temp) => format!("{dir}/.ringbolt-{temp:016x}.tmp"),
    }
}

/// Sets an old time, so that opening need not wait for the clock.
fn age(path: &Path, version: Version) {
    futimens(File::open(path).unwrap(), &version.to_time(), &version.to_time()).unwrap();
}

/// A store as a cut leaves it: without the marker of an orderly end.
fn lay_out(root: &Path, format: &[u8], tree: &Tree) {
    for dir in ["a", "b", ".ringbolt"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    fs::write(root.join(".ringbolt/format"), format).unwrap();
    for (place, content) in &tree.0 {
        let path = root.join(path(*place));
        // A temporary file may contain anything.
        let bytes = if place.is_temp() { b"half" } else { &content.bytes[..usize::from(content.len)] };
        fs::write(&path, bytes).unwrap();
        age(&path, content.version.unwrap_or(version(1)));
    }
    for old in [".ringbolt/format", "a", "b", "."] {
        age(&root.join(old), version(1));
    }
}

/// The names in the two directories, and the contents of the store's keys.
fn look(root: &Path, store: &Store) -> (BTreeSet<String>, Vec<(String, Vec<u8>)>) {
    let names = ["a", "b"].into_iter().flat_map(|dir| {
        let entries = fs::read_dir(root.join(dir)).unwrap();
        entries.map(move |entry| format!("{dir}/{}", entry.unwrap().file_name().into_string().unwrap()))
    });
    let keys = store.list("").unwrap().map(Result::unwrap);
    let read = keys.map(|key| (key.clone(), store.get(&key).unwrap().to_vec())).collect();
    (names.collect(), read)
}

/// The real store opens every tree that a cut may leave in the model: it finds the keys whole, and removes the rest.
#[test]
fn a_store_opens_what_a_cut_has_left() {
    assert!(temp::is_swept(c".ringbolt-0000000000000007.tmp"));
    let first = scratch();
    match Store::create(first.path()) {
        Ok(store) => store.close().unwrap(),
        // A build with io_uring only, on a system that refuses it.
        Err(error) if error.is_engine_unavailable() => return,
        Err(error) => panic!("{error}"),
    }
    let format = fs::read(first.path().join(".ringbolt/format")).unwrap();
    let trees = trees();
    assert!(trees.len() > 40, "{}", trees.len());
    assert!(trees.iter().any(|tree| tree.keys() != *tree));
    for tree in trees {
        let at = scratch();
        lay_out(at.path(), &format, &tree);
        let keys = tree.keys().0.into_iter();
        let expected: Vec<(String, Vec<u8>)> =
            keys.map(|(place, content)| (path(place), content.bytes[..usize::from(content.len)].to_vec())).collect();
        let names: BTreeSet<String> = expected.iter().map(|(key, _)| key.clone()).collect();
        // First after the cut, then after an orderly end.
        for _ in 0..2 {
            let store = Store::open(at.path()).unwrap();
            assert_eq!(look(at.path(), &store), (names.clone(), expected.clone()), "{tree:?}");
            store.close().unwrap();
        }
    }
}
