//! The system calls of a put through the log.

use std::collections::BTreeMap;
use std::process::Command;

use super::*;

/// Puts a given number of times.
pub(super) fn puts(dir: &Path, engine: Engine) -> Store {
    let store = builder(dir, engine).log_bytes(64 << 20).open().unwrap();
    let puts = std::env::var("RINGBOLT_TEST_PUTS").unwrap().parse().unwrap();
    for _ in 0..puts {
        store.put("a/k", &[7; 4096][..]).unwrap();
    }
    // No checkpoint is in progress when the child is killed.
    store.checkpoint().unwrap();
    let syncs = store.stats().syncs;
    assert_eq!((syncs.files, syncs.ranges, syncs.filesystems, syncs.directories), (0, 0, 0, 0));
    store
}

/// The number of each system call made by a child with this many puts.
fn trace(engine: Engine, dir: &Path, puts: u32) -> BTreeMap<String, i64> {
    let at = dir.join("store");
    let log = dir.join("strace");
    let child = child("puts", &at, engine);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&log).arg(child.get_program()).args(child.get_args());
    strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let status = strace.env("RINGBOLT_TEST_PUTS", puts.to_string()).output().unwrap().status;
    assert_eq!(status.signal(), Some(9));
    let summary = std::fs::read_to_string(&log).unwrap();
    // The next trace begins with a clean store.
    drop(builder(&at, engine).log_bytes(64 << 20).open().unwrap());
    let counts = summary.lines().filter_map(|line| {
        let (calls, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), calls.parse().ok()?))
    });
    counts.filter(|(name, _)| name != "total").collect()
}

#[test]
fn a_put_through_the_log_is_one_write_and_no_sync() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("system calls of a logged put", "strace is not installed");
    }
    each_logged("system calls of a logged put", |engine, dir| {
        let store = builder(&dir.join("store"), engine).log_bytes(64 << 20).open().unwrap();
        store.put("a/k", "before").unwrap();
        drop(store);
        let (few, many) = (trace(engine, dir, 100), trace(engine, dir, 1100));
        let added = |name: &str| many.get(name).unwrap_or(&0) - few.get(name).unwrap_or(&0);
        // A checkpoint is a syncfs and two superblocks. The log has room for every put, but a slow machine may need longer for them
        // than the interval of checkpoints. The ceiling of versions is raised occasionally: open, stamp, sync and close of a file.
        let (checkpoints, raised) = (added("syncfs"), added("utimensat") - 1000);
        assert!((0..=20).contains(&checkpoints) && (0..=100).contains(&raised), "{engine:?}: {many:?}");
        // The log has a ring of its own. The other ring makes what a raise syncs.
        let by_ring = engine == Engine::Uring;
        let written = 1000 + 2 * checkpoints;
        assert_eq!(added("pwritev2"), if by_ring { 0 } else { written }, "{engine:?}: {many:?}");
        let syncs = ["fsync", "fdatasync", "sync_file_range"].map(added).iter().sum::<i64>();
        assert!(if by_ring { (0..=raised).contains(&syncs) } else { syncs == raised }, "{engine:?}: {many:?}");
        let entered = added("io_uring_enter") - i64::from(by_ring) * written;
        assert!((0..=i64::from(by_ring) * raised).contains(&entered), "{engine:?}: {many:?}");
        assert_eq!(added("renameat"), 1000, "{engine:?}: {many:?}");
        for call in ["pwrite64", "openat", "close"] {
            assert!((1000..=1000 + raised).contains(&added(call)), "{engine:?} {call}: {many:?}");
        }
    });
}

/// Checkpoints of a put each: at least two sync the filesystem, however slow that is.
pub(super) fn checkpoints(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    for key in 0..12 {
        store.put(format!("key {key}"), "1").unwrap();
        store.checkpoint().unwrap();
    }
    store
}

/// The kernel reports an error of writeback once to each open file, and not to one that was opened later.
#[test]
fn checkpoints_sync_through_one_descriptor_that_was_opened_first() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("descriptors of checkpoints", "strace is not installed");
    }
    each_logged("descriptors of checkpoints", |engine, dir| {
        let at = dir.join("store");
        drop(open_logged(&at, engine));
        let (log, child) = (dir.join("strace"), child("checkpoints", &at, engine));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=syncfs,openat,openat2,renameat", "-o"]).arg(&log);
        strace.arg(child.get_program()).args(child.get_args());
        strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert_eq!(strace.output().unwrap().status.signal(), Some(9));
        let text = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<&str> = text.lines().collect();
        let place = |wanted: &dyn Fn(&str) -> bool| calls.iter().position(|call| wanted(call)).unwrap();
        let synced: Vec<&str> =
            calls.iter().filter_map(|call| call.split("syncfs(").nth(1)?.split([')', ' ']).next()).collect();
        assert!(synced.len() > 1 && synced.iter().all(|other| *other == synced[0]), "{text}");
        let opened =
            calls.iter().rposition(|call| call.contains("openat") && call.ends_with(&format!(" = {}", synced[0])));
        let published = place(&|call| call.contains("renameat(") && call.contains("\"key 0\""));
        let first_sync = place(&|call| call.contains("syncfs("));
        assert!(opened.unwrap() < published && published < first_sync, "{text}");
    });
}
