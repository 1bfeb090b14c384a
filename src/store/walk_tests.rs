//! Listings compared with a sorted list of all keys, in passes of a few names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::list_options::ListOptions;
use super::walk::Walk;
use crate::Entries;
use crate::List;
use crate::Reader;
use crate::fs::Dir;

/// Names whose order as paths differs from their order as names, and some that are prefixes of others.
const NAMES: [&str; 10] = ["a", "a.b", "a0", "a!", "ab", "b", "é", "\u{10ffff}", " ", "z"];

fn walk(dir: &Path, options: &ListOptions, names_max: usize) -> Walk {
    Walk::new(Arc::new(Dir::open(dir).unwrap()), options, names_max).unwrap()
}

/// The largest capacity that a walk has for the names of a directory. `BinaryHeap` and `Vec` never shrink.
fn room(walk: &Walk) -> usize {
    walk.levels.iter().map(|level| level.names.capacity()).max().unwrap_or(0)
}

fn keys(mut walk: Walk, limit: Option<usize>) -> Vec<String> {
    let mut left = limit;
    let mut keys = Vec::new();
    while left != Some(0)
        && let Some(key) = walk.next_key(left)
    {
        keys.push(key.unwrap());
        left = left.map(|left| left - 1);
    }
    keys
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4).prop_map(|names| names.join("/"))
}

/// A text near a key: a key, a prefix of one, or one with a suffix.
#[derive(Clone, Debug)]
struct Near {
    path: prop::sample::Index,
    kept: usize,
    end: &'static str,
}

fn near() -> impl Strategy<Value = Near> {
    let ends = prop::sample::select(vec!["", "", "", "/", "0", "//", ".", "\0", ".ringbolt"]);
    (any::<prop::sample::Index>(), 0..8_usize, ends).prop_map(|(path, kept, end)| Near { path, kept, end })
}

impl Near {
    fn text(&self, paths: &BTreeSet<String>) -> String {
        let path = paths.iter().nth(self.path.index(paths.len())).unwrap();
        path.chars().take(self.kept).chain(self.end.chars()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_listing_is_a_part_of_the_sorted_list(
        paths in prop::collection::btree_set(path(), 1..40),
        empty in prop::collection::btree_set(path(), 0..4),
        prefix in prop::option::of(near()),
        after in prop::option::of(near()),
        limit in prop::option::of(0..12_usize),
        names_max in 1..6_usize,
    ) {
        let prefix = prefix.map_or(String::new(), |near| near.text(&paths));
        let after = after.map(|near| near.text(&paths));
        let dir = tempfile::tempdir().unwrap();
        let mut all = BTreeSet::new();
        for path in &paths {
            let at = dir.path().join(path);
            // A file may block a directory, or the reverse.
            if fs::create_dir_all(at.parent().unwrap()).is_ok() && fs::write(&at, path).is_ok() {
                all.insert(path.clone());
            }
        }
        for path in &empty {
            let _ = fs::create_dir_all(dir.path().join(path));
        }
        fs::write(dir.path().join(".ringbolt-x"), "").unwrap();
        let mut options = ListOptions::new().prefix(prefix.clone());
        options.start_after = after.clone();
        options.limit = limit;
        let wanted = |key: &&String| key.starts_with(&*prefix) && after.as_ref().is_none_or(|after| *key > after);
        let expected: Vec<String> = all.iter().filter(wanted).take(limit.unwrap_or(usize::MAX)).cloned().collect();
        prop_assert_eq!(&keys(walk(dir.path(), &options, names_max), limit), &expected);
        let list = || reader(dir.path()).list_with(options.clone()).unwrap();
        prop_assert_eq!(&list().collect::<Result<Vec<_>, _>>().unwrap(), &expected);
        let entries: Vec<_> = list().with_metadata().map(Result::unwrap).collect();
        prop_assert!(entries.iter().all(|entry| entry.metadata.len == entry.key.len() as u64));
        prop_assert_eq!(entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>(), expected);
    }
}

/// A directory of `count` files, and one of as many directories with a file each.
fn tree(count: usize) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = Vec::new();
    fs::create_dir(dir.path().join("files")).unwrap();
    for i in 0..count {
        fs::create_dir_all(dir.path().join(format!("dirs/{i:05}"))).unwrap();
        keys.push(format!("dirs/{i:05}/k"));
    }
    keys.extend((0..count).map(|i| format!("files/{i:05}")));
    for key in &keys {
        fs::write(dir.path().join(key), "").unwrap();
    }
    (dir, keys)
}

#[test]
fn no_more_names_are_held_than_allowed() {
    let (dir, expected) = tree(1000);
    for names_max in [8, 64] {
        let mut walk = walk(dir.path(), &ListOptions::new(), names_max);
        let (mut found, mut most) = (Vec::new(), room(&walk));
        while let Some(key) = walk.next_key(None) {
            most = most.max(room(&walk));
            found.push(key.unwrap());
            assert!(walk.levels.len() <= 3);
        }
        assert_eq!(found, expected);
        // Powers of two: one more name would have doubled the capacity.
        assert_eq!(most, names_max);
    }
    // Reading the whole directory at once shows that the measure works.
    let mut walk = walk(dir.path(), &ListOptions::new(), 4096);
    walk.next_key(None).unwrap().unwrap();
    assert!(room(&walk) >= 1000);
}

#[test]
fn a_limit_bounds_what_a_pass_holds() {
    let (dir, expected) = tree(1000);
    for (after, limit) in [("files", 4), ("files/00500", 8), ("files/00998", 16)] {
        let options = ListOptions::new().start_after(after).limit(limit);
        let mut walk = walk(dir.path(), &options, 4096);
        let behind = expected.iter().filter(|key| key.as_str() > after).take(limit);
        let mut left = limit;
        for key in behind {
            assert_eq!(walk.next_key(Some(left)).unwrap().unwrap(), *key);
            assert!(room(&walk) <= limit, "{after}: {}", room(&walk));
            left -= 1;
        }
    }
    // A small limit at first: the passes grow, so there are few of them.
    let empty = tempfile::tempdir().unwrap();
    for i in 0..300 {
        fs::create_dir(empty.path().join(format!("{i:03}"))).unwrap();
    }
    fs::write(empty.path().join("x"), "").unwrap();
    let mut walk = walk(empty.path(), &ListOptions::new().limit(1), 4096);
    assert_eq!(walk.next_key(Some(1)).unwrap().unwrap(), "x");
    // Of 1, 2, 4 and so on up to 256 names; and each directory once.
    assert_eq!(walk.passes, 9 + 300);
}

#[test]
fn directories_before_the_start_are_not_entered() {
    let (dir, expected) = tree(3);
    for (after, passes) in [
        ("", 6),
        ("dirs/00000/", 6),
        ("dirs/00000/j", 6),
        ("dirs/00000/k", 6),
        ("dirs/000000", 5),
        ("dirs/00001", 5),
        ("dirs/00002/z", 4),
        ("dirs/9", 3),
        ("dirs0", 2),
        ("files/9", 2),
        ("files0", 1),
    ] {
        let mut walk = walk(dir.path(), &ListOptions::new().start_after(after), 8);
        let found: Vec<_> = std::iter::from_fn(|| walk.next_key(None)).map(Result::unwrap).collect();
        assert_eq!(found, expected.iter().filter(|key| key.as_str() > after).cloned().collect::<Vec<_>>());
        assert_eq!(walk.passes, passes, "{after}");
    }
    // Only the directory of the prefix is read, and none beyond the limit.
    let options = ListOptions::new().prefix("dirs/00001/").limit(1);
    let mut walk = walk(dir.path(), &options, 8);
    assert_eq!((walk.next_key(Some(1)).unwrap().unwrap(), walk.passes), ("dirs/00001/k".to_owned(), 1));
}

#[test]
fn what_is_deleted_before_it_is_looked_at_is_left_out() {
    let (dir, _) = tree(10);
    let entries = |prefix: &str, limit| {
        let options = ListOptions::new().prefix(prefix).limit(limit);
        reader(dir.path()).list_with(options).unwrap().with_metadata()
    };
    let rest = |entries: Entries| entries.map(|entry| entry.unwrap().key).collect::<Vec<_>>();
    // The directory is read when the listing begins; a key that is left out does not count.
    let mut listed = entries("files/", 9);
    assert_eq!(listed.next().unwrap().unwrap().key, "files/00000");
    for i in [1, 2] {
        fs::remove_file(dir.path().join(format!("files/0000{i}"))).unwrap();
    }
    fs::remove_file(dir.path().join("files/00003")).unwrap();
    fs::create_dir(dir.path().join("files/00003")).unwrap();
    assert_eq!(rest(listed), (4..10).map(|i| format!("files/0000{i}")).collect::<Vec<_>>());
    // Whole directories are removed, including the current one.
    let mut listed = entries("", 100);
    assert_eq!(listed.next().unwrap().unwrap().key, "dirs/00000/k");
    fs::remove_dir_all(dir.path().join("dirs")).unwrap();
    assert_eq!(
        rest(listed),
        ["files/00000", "files/00004", "files/00005", "files/00006", "files/00007", "files/00008", "files/00009"]
    );
}

/// Files and directories alternate: the parent is opened again after each, and no descriptor is left open.
#[test]
fn deep_trees_need_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let (mut at, mut expected) = (String::new(), BTreeSet::new());
    for _ in 0..100 {
        fs::create_dir_all(dir.path().join(&at)).unwrap();
        for name in ["a", "z"] {
            fs::write(dir.path().join(format!("{at}{name}")), "").unwrap();
            expected.insert(format!("{at}{name}"));
        }
        at += "m/";
    }
    let mut listed: List = reader(dir.path()).list("").unwrap();
    assert_eq!(listed.by_ref().map(Result::unwrap).collect::<BTreeSet<_>>(), expected);
    let mut listed = reader(dir.path()).list("").unwrap().with_metadata();
    let mut found = Vec::new();
    while let Some(entry) = listed.next() {
        found.push(entry.unwrap().key);
        assert!(listed.open_dirs() <= 1);
    }
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
}

/// Keys are put and deleted between the passes over a directory: a key that exists throughout is listed once.
#[test]
fn keys_that_stay_are_listed_once_whatever_else_changes() {
    let (dir, expected) = tree(200);
    std::thread::scope(|scope| {
        // Stops the other threads when it is dropped, even if the test fails.
        let running = Arc::new(());
        for other in 0..2 {
            let (dir, running) = (dir.path(), Arc::downgrade(&running));
            scope.spawn(move || {
                for i in (0..200).cycle() {
                    let path = dir.join(format!("{}/{i:05}-{other}", ["files", "dirs"][i % 2]));
                    fs::write(&path, "").unwrap();
                    if i % 3 > 0 {
                        fs::remove_file(&path).unwrap();
                    }
                    if running.upgrade().is_none() {
                        break;
                    }
                }
            });
        }
        for _ in 0..20 {
            let found = keys(walk(dir.path(), &ListOptions::new(), 16), None);
            assert!(found.is_sorted_by(|a, b| a < b));
            let stayed: Vec<_> = found.into_iter().filter(|key| !key.contains('-')).collect();
            assert_eq!(stayed, expected);
        }
        drop(running);
    });
}

/// A reader of any directory, without a store.
fn reader(path: &std::path::Path) -> Reader {
    Reader::new(Arc::new(Dir::open(path).unwrap()), true)
}
