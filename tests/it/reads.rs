//! Reads: ranges, existence, listings with options and metadata; also as futures.

use std::fs;
use std::ops::Bound;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use futures::executor::block_on;
use futures::future::join_all;
use ringbolt::{Engine, Entry, ListOptions, Reader, Store};

use crate::help::*;

fn store(dir: &Path) -> Store {
    open(dir, Engine::Auto)
}

#[test]
fn ranges_are_cut_at_the_end() {
    let dir = dir();
    let store = store(dir.path());
    let content = pattern(100_000);
    store.put("d/k", content.clone()).unwrap();
    store.put("empty", "").unwrap();
    let all = |start: usize, end: usize| &content[start..end];
    let read = |range: (Bound<u64>, Bound<u64>)| store.get_range("d/k", range).unwrap();
    use Bound::{Excluded, Included, Unbounded};
    for (range, expected) in [
        ((Included(0), Excluded(1)), all(0, 1)),
        ((Included(99_000), Excluded(99_999)), all(99_000, 99_999)),
        ((Included(7), Included(9)), all(7, 10)),
        ((Excluded(7), Excluded(9)), all(8, 9)),
        ((Unbounded, Included(0)), all(0, 1)),
        ((Included(5), Unbounded), all(5, 100_000)),
        ((Unbounded, Unbounded), all(0, 100_000)),
        // A range beyond the end allocates no more than the file's length.
        ((Included(99_999), Included(u64::MAX)), all(99_999, 100_000)),
        ((Unbounded, Excluded(u64::MAX)), all(0, 100_000)),
        ((Included(100_000), Excluded(100_001)), &[]),
        ((Included(u64::MAX), Unbounded), &[]),
        ((Excluded(u64::MAX), Included(u64::MAX)), &[]),
        // Start after end.
        ((Included(9), Excluded(7)), &[]),
        ((Excluded(u64::MAX), Excluded(0)), &[]),
        ((Included(9), Excluded(9)), &[]),
    ] {
        assert!(read(range) == expected, "{range:?}");
        let (bytes, version) = store.get_range_versioned("d/k", range).unwrap();
        assert_eq!((&bytes[..], version), (expected, store.metadata("d/k").unwrap().version));
    }
    assert_eq!(store.get_range("empty", ..).unwrap(), "");
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.get_range("d/k", 3..5).unwrap(), all(3, 5));
    assert!(reader.get_range("none", ..).unwrap_err().is_not_found());
    assert!(reader.get_range("d", ..).unwrap_err().is_a_directory());
    assert!(reader.get_range("../k", ..).unwrap_err().is_invalid_key());
}

/// A sparse file much larger than memory: only the requested range is read.
#[test]
fn a_range_of_a_huge_file_is_read_alone() {
    let dir = dir();
    let store = store(dir.path());
    let file = fs::File::create(dir.path().join("huge")).unwrap();
    let len = 1 << 42;
    if let Err(error) = file.set_len(len) {
        return skip("a huge file", error);
    }
    assert_eq!(store.get_range("huge", len - 3..u64::MAX).unwrap(), [0; 3][..]);
    assert_eq!(store.metadata("huge").unwrap().len, len);
}

#[test]
fn only_regular_files_exist() {
    let dir = dir();
    let store = store(dir.path());
    store.put("d/k", "x").unwrap();
    store.put("k", "").unwrap();
    symlink("k", dir.path().join("link")).unwrap();
    symlink("d", dir.path().join("dirlink")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Existence does not depend on read permission.
    fs::set_permissions(dir.path().join("k"), fs::Permissions::from_mode(0o000)).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    for (key, there) in [
        ("k", true),
        ("d/k", true),
        ("d", false),
        ("none", false),
        ("none/k", false),
        ("k/below", false),
        ("d/none", false),
        ("link", false),
        ("dirlink/k", false),
        ("fifo", false),
    ] {
        assert_eq!(store.exists(key).unwrap(), there, "{key}");
        assert_eq!(reader.exists(key).unwrap(), there, "{key}");
        assert_eq!(block_on(reader.exists_async(key)).unwrap(), there, "{key}");
    }
    for key in ["", "..", "/k", "d/", ".ringbolt/format"] {
        assert!(store.exists(key).unwrap_err().is_invalid_key(), "{key}");
    }
    drop(store);
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(reader.exists("k").unwrap_err().is_directory_removed());
    assert!(reader.exists("d/k").unwrap_err().is_directory_removed());
}

fn entries(store: &Store, options: ListOptions) -> Vec<Entry> {
    store.list_with(options).unwrap().with_metadata().map(Result::unwrap).collect()
}

#[test]
fn a_listing_has_the_metadata_of_every_key() {
    each_engine(|engine, dir| {
        let store = open(dir, engine);
        for n in 0..50 {
            store.put(format!("d{}/{n}", n % 4), pattern(n)).unwrap();
        }
        let listed = entries(&store, ListOptions::new());
        assert_eq!(listed.len(), 50);
        for entry in &listed {
            assert_eq!(entry.metadata, store.metadata(&entry.key).unwrap());
            assert!(entry.metadata.version.is_some());
        }
        let reader = Reader::open(dir).unwrap();
        let read: Vec<_> = reader.list("").unwrap().with_metadata().map(Result::unwrap).collect();
        assert_eq!(read, listed);
        // The same result, page by page.
        let mut paged = Vec::new();
        let mut options = ListOptions::new().limit(7);
        loop {
            let page = block_on(store.list_page_async(options.clone())).unwrap();
            assert_eq!(page, entries(&store, options.clone()));
            let Some(last) = page.last() else { break };
            options = options.start_after(&last.key);
            paged.extend(page);
        }
        assert_eq!(paged, listed);
    });
}

#[test]
fn a_page_without_a_limit_has_a_thousand() {
    let dir = dir();
    let store = store(dir.path());
    for n in 0..1001 {
        fs::write(dir.path().join(format!("{n:04}")), "").unwrap();
    }
    let page = block_on(store.list_page_async(ListOptions::new())).unwrap();
    assert_eq!((page.len(), page[999].key.as_str()), (1000, "0999"));
    assert_eq!(block_on(store.list_page_async(ListOptions::new().limit(2000))).unwrap().len(), 1001);
    assert_eq!(block_on(store.list_page_async(ListOptions::new().limit(0))).unwrap(), []);
    let file = ListOptions::new().prefix("0001/");
    assert_eq!(block_on(store.list_page_async(file)).unwrap(), []);
}

#[test]
fn futures_read_what_calls_read() {
    let dir = dir();
    let store = store(dir.path());
    let version = store.put("d/k", "0123456789").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(store.get_async("d/k").await.unwrap(), "0123456789");
        assert_eq!(store.get_versioned_async("d/k").await.unwrap(), ("0123456789".into(), Some(version)));
        assert_eq!(store.get_range_async("d/k", 3..=4).await.unwrap(), "34");
        assert_eq!(store.metadata_async("d/k").await.unwrap(), store.metadata("d/k").unwrap());
        assert!(store.exists_async("d/k").await.unwrap());
        assert!(store.get_async("none").await.unwrap_err().is_not_found());
        assert!(store.get_async("../k").await.unwrap_err().is_invalid_key());
        assert!(store.metadata_async("d").await.unwrap_err().is_a_directory());
        // Many more reads than threads, from many tasks.
        let reads = (0..500).map(|n| tokio::spawn(store.get_range_async("d/k", n % 10..)));
        for (n, read) in join_all(reads).await.into_iter().enumerate() {
            assert_eq!(read.unwrap().unwrap(), "0123456789"[n % 10..]);
        }
    });
    // The futures need neither the store nor the reader.
    let reader = store.reader();
    let (a, b) = (store.get_async("d/k"), reader.get_async("d/k"));
    drop((store, reader));
    assert_eq!(block_on(a).unwrap(), block_on(b).unwrap());
}

fn is_static<T: Send + 'static>(_: &T) {}

#[test]
fn a_future_that_is_not_polled_does_nothing() {
    let dir = dir();
    open(dir.path(), Engine::Auto).close().unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let read = reader.get_async("k");
    is_static(&read);
    is_static(&reader.list_page_async(ListOptions::new()));
    store(dir.path()).put("k", "later").unwrap();
    assert_eq!(block_on(read).unwrap(), "later");
}

/// On a thread where a system call is refused, the blocking read fails but the future does not, because another thread
/// reads.
#[test]
#[cfg(target_os = "linux")]
fn no_future_reads_on_the_thread_that_polls_it() {
    use nix::libc::*;
    let dir = dir();
    let store = store(dir.path());
    store.put("d/k", "x").unwrap();
    store.put("large", pattern(1 << 20)).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    // New threads inherit the filter. So start some before, and retry until one of them does the read.
    let warm_up = |reader: &Reader| {
        for read in block_on(join_all((0..64).map(|_| reader.get_range_async("large", ..)))) {
            read.unwrap();
        }
    };
    warm_up(&reader);
    let check = |call, fails: &(dyn Fn() -> bool + Sync), future: &(dyn Fn() -> bool + Sync)| {
        let polled = || (0..1000).any(|_| future());
        crate::refusals::refusing(call, EIO, || assert!(fails() && polled(), "{call}"));
    };
    fn ok<T>(future: impl std::future::Future<Output = ringbolt::Result<T>>) -> bool {
        block_on(future).is_ok()
    }
    check(SYS_read, &|| reader.get("d/k").is_err(), &|| ok(reader.get_async("d/k")));
    check(SYS_read, &|| reader.get_versioned("d/k").is_err(), &|| ok(reader.get_versioned_async("d/k")));
    check(SYS_pread64, &|| reader.get_range("d/k", ..).is_err(), &|| ok(reader.get_range_async("d/k", ..)));
    check(SYS_openat2, &|| reader.metadata("d/k").is_err(), &|| ok(reader.metadata_async("d/k")));
    check(SYS_openat2, &|| reader.exists("d/k").is_err(), &|| ok(reader.exists_async("d/k")));
    let all = ListOptions::new;
    check(SYS_openat2, &|| reader.list_with(all()).is_err(), &|| ok(reader.list_page_async(all())));
    // The store's futures use the same threads as its reader's.
    warm_up(&store.reader());
    let reader = &store;
    check(SYS_read, &|| reader.get("d/k").is_err(), &|| ok(reader.get_async("d/k")));
    check(SYS_read, &|| reader.get_versioned("d/k").is_err(), &|| ok(reader.get_versioned_async("d/k")));
    check(SYS_pread64, &|| reader.get_range("d/k", ..).is_err(), &|| ok(reader.get_range_async("d/k", ..)));
    check(SYS_openat2, &|| reader.metadata("d/k").is_err(), &|| ok(reader.metadata_async("d/k")));
    check(SYS_openat2, &|| reader.exists("d/k").is_err(), &|| ok(reader.exists_async("d/k")));
    check(SYS_openat2, &|| reader.list_with(all()).is_err(), &|| ok(reader.list_page_async(all())));
}

/// The metadata of a listing comes without opening a file.
#[test]
#[cfg(target_os = "linux")]
fn a_listing_opens_directories_only() {
    let dir = dir();
    let store = store(dir.path());
    for n in 0..100 {
        store.put(format!("d/{n}"), "x").unwrap();
    }
    let mut listed = store.list("d/").unwrap().with_metadata();
    assert_eq!(listed.next().unwrap().unwrap().key, "d/0");
    crate::refusals::refusing(nix::libc::SYS_openat2, nix::libc::EIO, || {
        assert!(store.metadata("d/1").is_err());
        assert_eq!(listed.filter(|entry| entry.as_ref().unwrap().metadata.len == 1).count(), 99);
    });
}

/// An unreadable directory gives one error, and hides only its own keys. `lost+found` is skipped silently.
#[test]
#[cfg(target_os = "linux")]
fn a_directory_that_may_not_be_read_hides_its_own_keys_only() {
    if !nix::unistd::geteuid().is_root() {
        return skip("directories of another user", "needs root");
    }
    let dir = dir();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, mode) in [("a", 0o755), ("b", 0o700), ("c", 0o755), ("lost+found", 0o700)] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("k"), "x").unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    Store::builder(dir.path()).adopt(true).create().unwrap().close().unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let listed = std::thread::scope(|scope| {
        let list = || {
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            let keys: Vec<_> = reader.list("").unwrap().collect();
            let entries = reader.list("").unwrap().with_metadata().map(|entry| entry.map(|entry| entry.key));
            (keys, entries.collect::<Vec<_>>(), reader.exists("b/k"), reader.list("b/").map(drop))
        };
        scope.spawn(list).join().unwrap()
    });
    for keys in [listed.0, listed.1] {
        assert!(matches!(&keys[..], [Ok(a), Err(_), Ok(c)] if a == "a/k" && c == "c/k"), "{keys:?}");
        let error = keys[1].as_ref().unwrap_err();
        assert!(error.is_permission_denied() && error.path() == dir.path().join("b/"), "{error}");
    }
    assert!(listed.2.unwrap_err().is_permission_denied() && listed.3.unwrap_err().is_permission_denied());
}
