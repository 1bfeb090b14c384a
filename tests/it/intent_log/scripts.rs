//! What the children do before they are killed.

use std::io::{BufRead, Write};
use std::path::Path;

use ringbolt::{Engine, PutOptions};

use super::*;

/// Leaves the store open.
type Script = fn(&Path, Engine) -> Store;

pub(super) const ALL: [(&str, Script); 17] = [
    ("every change", every_change),
    ("records", records),
    ("no change", no_change),
    ("checkpoint", checkpoint),
    ("hold", hold),
    ("recover", recover),
    ("owned", owned),
    ("full disk", super::full::changes_on_a_full_disk),
    ("descriptors", super::limited::changes_without_descriptors),
    ("short log", super::limited::changes_beyond_the_limit),
    ("forked", super::forks::fork_and_end),
    ("puts", super::calls::puts),
    ("checkpoints", super::calls::checkpoints),
    ("rename as other", super::rights::rename_as_other),
    ("shut", super::rights::change_what_is_shut),
    ("closed", super::rights::replace_what_cannot_be_opened),
    ("swap", super::lost_names::swap),
];

/// Longer than what goes into the log.
pub(super) const LARGE: usize = 300 << 10;

/// The keys whose last change went beside the log: it was durable when it was acknowledged.
pub(super) const BESIDE: [&str; 5] = ["large", "large after small", "guarded", "renamed/small", "untouched"];

/// Every kind of change, after a checkpoint.
fn every_change(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    for key in ["old", "mode", "gone", "emptied/a/b", "replaced", "untouched", "if", "gone if"] {
        store.put(key, format!("old {key}")).unwrap();
    }
    store.checkpoint().unwrap();

    store.put("old", "new").unwrap();
    store.put("old", "newer").unwrap();
    store.put_new("new", pattern(5000)).unwrap();
    store.put("long", pattern(100 << 10)).unwrap();
    store.delete("gone").unwrap();
    store.put_with("mode", "0640", PutOptions::new().mode(0o640)).unwrap();
    store.put_with("set-id", "4755", PutOptions::new().mode(0o4755)).unwrap();
    store.put("empty", "").unwrap();
    store.put("n/e/s/t", "nested").unwrap();

    store.put("put delete put", "1").unwrap();
    store.delete("put delete put").unwrap();
    store.put("put delete put", "2").unwrap();
    store.put("put delete", "1").unwrap();
    store.delete("put delete").unwrap();

    store.delete("emptied/a/b").unwrap();
    store.put("emptied", "a file now").unwrap();
    store.put("opened", "a file").unwrap();
    store.delete("opened").unwrap();
    store.put("opened/k", "in a directory now").unwrap();

    let version = store.metadata("if").unwrap().version.unwrap();
    store.put_if("if", version, "put if").unwrap();
    store.delete_if("gone if", store.metadata("gone if").unwrap().version.unwrap()).unwrap();

    let mut batch = store.batch();
    batch.put("batch/1", "1").put("batch/2", "2").delete("replaced").then().put("batch/manifest", "1 2");
    batch.then().put("batch/1", "1 again").put_new("replaced", "anew");
    batch.commit().into_result().unwrap();

    store.put("large", pattern(LARGE)).unwrap();
    store.put("large after small", "small").unwrap();
    store.put("large after small", pattern(LARGE + 1)).unwrap();
    store.put("small after large", "small").unwrap();
    store.put("small after large", pattern(LARGE + 2)).unwrap();
    store.put("small after large", "small again").unwrap();
    store.put("guarded", "small").unwrap();
    let mut guard = store.writer("guarded", PutOptions::new().mode(0o644)).unwrap();
    guard.write_all(b"by a guard").unwrap();
    guard.commit().unwrap();
    store.put("small", "renamed").unwrap();
    store.put("renamed/small", "replaced by a rename").unwrap();
    store.rename("small", "renamed/small").unwrap();
    store.put("small", "where it was").unwrap();
    futures::executor::block_on(store.put_async("future", "async")).unwrap();
    store
}

/// Five puts, each with a record of one block. The first record of a session is before them.
fn records(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    for key in 1..=5 {
        store.put(format!("k{key}"), format!("logged {key}")).unwrap();
    }
    assert_eq!(store.stats().log.unwrap().records, 5);
    store
}

fn no_change(dir: &Path, engine: Engine) -> Store {
    drop(open_logged(dir, engine));
    open_logged(dir, engine)
}

fn checkpoint(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    store.put("before", "a checkpoint").unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.stats().log.unwrap().used, 0);
    store
}

/// Holds the store open until its input ends, then closes it and exits.
fn hold(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    store.put("held", "by a child").unwrap();
    let mut output = std::io::stdout();
    writeln!(output, "ready").unwrap();
    for line in std::io::stdin().lock().lines().map(Result::unwrap) {
        store.put("held", line).unwrap();
        writeln!(output, "ready").unwrap();
    }
    store.close().unwrap();
    std::process::exit(0);
}

/// Only opens the store.
fn recover(dir: &Path, engine: Engine) -> Store {
    open_logged(dir, engine).close().unwrap();
    std::process::exit(0);
}

/// A file of another user, which that user has put.
fn owned(dir: &Path, engine: Engine) -> Store {
    let (_, store) = super::rights::open_as_other(dir, engine);
    store.put_with("mine", "owned", PutOptions::new().mode(0o600)).unwrap();
    store
}

/// A user and group that is not the one of the tests.
pub(super) const OWNER: u32 = 65_530;
