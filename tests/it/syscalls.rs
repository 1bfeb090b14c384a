//! The system calls of a put: those of the protocol, and no others.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use ringbolt::{Engine, Payload, Store};

use crate::help::*;

/// The child: opens a store and puts a given number of times.
#[test]
fn puts_for_strace() {
    let Some(puts) = std::env::var_os("RINGBOLT_TEST_PUTS") else { return };
    let engine = match std::env::var("RINGBOLT_TEST_ENGINE").unwrap().as_str() {
        "Uring" => Engine::Uring,
        _ => Engine::Portable,
    };
    let store = open(Path::new(&std::env::var_os("RINGBOLT_TEST_DIR").unwrap()), engine);
    store.put("a/k", "first").unwrap();
    for _ in 0..puts.to_str().unwrap().parse().unwrap() {
        store.put("a/k", &[7; 4096][..]).unwrap();
    }
}

/// The number of each system call made by a child with this many puts.
fn trace(engine: Engine, dir: &Path, puts: u32) -> BTreeMap<String, i64> {
    let log = dir.join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&log).arg(std::env::current_exe().unwrap());
    strace.args(["syscalls::puts_for_strace", "--exact", "--test-threads=1"]);
    strace.env("RINGBOLT_TEST_PUTS", puts.to_string()).env("RINGBOLT_TEST_ENGINE", format!("{engine:?}"));
    assert!(strace.env("RINGBOLT_TEST_DIR", dir.join("store")).output().unwrap().status.success());
    let summary = std::fs::read_to_string(&log).unwrap();
    let counts = summary.lines().filter_map(|line| {
        let (calls, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), calls.parse().ok()?))
    });
    counts.filter(|(name, _)| name != "total").collect()
}

#[test]
fn a_put_makes_no_call_that_the_protocol_does_not_need() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("system calls of a put", "strace is not installed");
    }
    each_engine(|engine, dir| {
        Store::builder(dir.join("store")).create_if_missing(true).open().unwrap().put("a/k", "before").unwrap();
        let expected = match engine {
            // The syncs, with the calls chained to them.
            Engine::Uring => {
                BTreeMap::from([("openat", 1000), ("pwrite64", 1000), ("utimensat", 1000), ("io_uring_enter", 2000)])
            }
            _ => BTreeMap::from([
                ("openat", 1000),
                ("pwrite64", 1000),
                ("utimensat", 1000),
                ("fsync", 2000),
                ("close", 1000),
                ("renameat", 1000),
            ]),
        };
        // The completions of a chain may come in two pieces, which costs a wait more, in either trace. Not in each of three tries.
        let mut found = BTreeMap::new();
        for _ in 0..3 {
            found = added(engine, dir);
            if found.iter().map(|(name, calls)| (name.as_str(), *calls)).eq(expected.iter().map(|(n, c)| (*n, *c))) {
                return;
            }
        }
        panic!("{engine:?}: {found:?}, and not {expected:?}");
    });
}

/// The calls added by a thousand more puts, without those for waiting between threads.
fn added(engine: Engine, dir: &Path) -> BTreeMap<String, i64> {
    let (few, many) = (trace(engine, dir, 100), trace(engine, dir, 1100));
    let added: BTreeMap<String, i64> = many
        .into_iter()
        .map(|(name, calls)| (name.clone(), calls - few.get(&name).unwrap_or(&0)))
        .filter(|(name, calls)| *calls != 0 && *name != "futex" && *name != "sched_yield")
        .collect();
    // Allocation is up to the allocator, but a thousand puts must not need many calls for it.
    let (memory, calls): (BTreeMap<_, _>, BTreeMap<_, _>) = added
        .into_iter()
        .partition(|(name, _)| ["brk", "mmap", "munmap", "madvise", "mprotect"].contains(&name.as_str()));
    assert!(memory.values().sum::<i64>() < 20, "{engine:?}: {memory:?}");
    // The check for a forked child.
    let (process, calls): (BTreeMap<_, _>, BTreeMap<_, _>) = calls.into_iter().partition(|(name, _)| name == "getpid");
    assert!(process.values().sum::<i64>() <= 1000, "{engine:?}: {process:?}");
    // The version ceiling is raised occasionally: open, stamp, sync and close of one file.
    let raised = calls["utimensat"] - 1000;
    assert!((0..=100).contains(&raised), "{engine:?}: {calls:?}");
    let of_a_raise = |name: &str| name != "pwrite64" && name != "renameat";
    calls.into_iter().map(|(name, n)| if of_a_raise(&name) { (name, n - raised) } else { (name, n) }).collect()
}

/// The child: puts three chunks, through the store and through the object_store trait.
#[test]
fn chunks_for_strace() {
    let Some(dir) = std::env::var_os("RINGBOLT_TEST_CHUNKS") else { return };
    let engine = match std::env::var("RINGBOLT_TEST_ENGINE").unwrap().as_str() {
        "Uring" => Engine::Uring,
        _ => Engine::Portable,
    };
    let store = open(Path::new(&dir), engine);
    store.put("k", three().collect::<Payload>()).unwrap();
    put_object(store);
}

fn three() -> impl Iterator<Item = Bytes> {
    ["one", "two", "three"].into_iter().map(Bytes::from)
}

#[cfg(feature = "object_store")]
fn put_object(store: Store) {
    use object_store::{ObjectStore, PutPayload, path::Path};

    let store = ringbolt::object_store::RingboltStore::from(store);
    let at = Path::from("o");
    let put = store.put_opts(&at, three().collect::<PutPayload>(), Default::default());
    futures::executor::block_on(put).unwrap();
}

#[cfg(not(feature = "object_store"))]
fn put_object(store: Store) {
    store.put("o", three().collect::<Payload>()).unwrap();
}

/// Three chunks are written with one call, without copying them into one buffer.
#[test]
fn chunks_are_written_by_one_call() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("chunks of a put", "strace is not installed");
    }
    each_engine(|engine, dir| {
        let (at, log) = (dir.join("store"), dir.join("strace"));
        Store::builder(&at).create().unwrap().put("k", "before").unwrap();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=pwritev,pwritev2,pwrite64", "-o"]).arg(&log);
        strace.arg(std::env::current_exe().unwrap());
        strace.args(["syscalls::chunks_for_strace", "--exact", "--test-threads=1"]);
        strace.env("RINGBOLT_TEST_CHUNKS", &at).env("RINGBOLT_TEST_ENGINE", format!("{engine:?}"));
        assert!(strace.output().unwrap().status.success());
        let log = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<&str> = log.lines().filter(|line| line.contains("pwrite")).collect();
        assert_eq!(calls.len(), 2, "{engine:?}: {log}");
        assert!(calls.iter().all(|call| call.contains("pwritev(") && call.ends_with("], 3, 0) = 11")), "{log}");
        for key in ["k", "o"] {
            assert_eq!(std::fs::read(at.join(key)).unwrap(), b"onetwothree");
        }
    });
}
