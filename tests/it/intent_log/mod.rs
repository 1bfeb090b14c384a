//! Stores with an intent log: what they promise, on real files.
//!
//! A child that is killed leaves its acknowledged changes in the log and, since its files were never synced, in the page cache. A
//! power cut would lose the latter: the tests take them away by hand.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, raise};
use ringbolt::{Barrier, Engine, Store, StoreBuilder};

use crate::help::*;
use crate::mounts::*;

mod calls;
mod changes;
mod copies;
mod damage;
mod forks;
mod frozen;
mod full;
mod limited;
mod lost;
mod lost_names;
mod readers;
mod rights;
mod scripts;

/// The length of the logs of these tests, in bytes.
const LOG_BYTES: u64 = 1 << 20;

/// Where records begin, and where the two superblocks are.
const AREA: u64 = 128 << 10;
const SLOTS: [u64; 2] = [0, 64 << 10];

fn builder(dir: &Path, engine: Engine) -> StoreBuilder {
    let builder = Store::builder(dir).create_if_missing(true).engine(engine);
    builder.barrier(Barrier::IntentLog).log_bytes(LOG_BYTES)
}

fn open_logged(dir: &Path, engine: Engine) -> Store {
    builder(dir, engine).open().unwrap()
}

/// Runs a test with every available engine, each in a fresh directory; skips it where the filesystem takes no log.
fn each_logged(what: &str, test: impl Fn(Engine, &Path)) {
    each_engine(|engine, dir| match builder(dir, engine).open() {
        Err(error) if error.is_unsupported_barrier() => skip(what, error),
        store => {
            drop(store.unwrap());
            clear(dir);
            test(engine, dir);
        }
    });
}

/// Empties a directory, for another round with a new store.
fn clear(dir: &Path) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
}

/// The same on a fresh ext4 and a fresh xfs.
fn each_disk(what: &str, test: impl Fn(Engine, &Path) + Sync) {
    for engine in engines() {
        for make in [EXT4, XFS] {
            with_mounts(what, |dir| {
                if let Some(disk) = disk(dir, make, "rw") {
                    // Not the root of the filesystem, which holds `lost+found`.
                    test(engine, &disk.join("store"));
                }
            });
        }
    }
}

/// The child: runs a script, then ends as by a kill.
#[test]
fn script_to_kill() {
    let Some(script) = std::env::var_os("RINGBOLT_TEST_SCRIPT") else { return };
    let dir = PathBuf::from(std::env::var_os("RINGBOLT_TEST_DIR").unwrap());
    let engine = if std::env::var_os("RINGBOLT_TEST_URING").is_some() { Engine::Uring } else { Engine::Portable };
    let (_, run) = scripts::ALL.into_iter().find(|(name, _)| *name == script).unwrap();
    let _open = run(&dir, engine);
    raise(Signal::SIGKILL).unwrap();
}

/// A command that runs a script in a child.
fn child(script: &str, dir: &Path, engine: Engine) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["intent_log::script_to_kill", "--exact", "--nocapture"]);
    child.env("RINGBOLT_TEST_SCRIPT", script).env("RINGBOLT_TEST_DIR", dir);
    if engine == Engine::Uring {
        child.env("RINGBOLT_TEST_URING", "1");
    }
    child
}

/// Runs a script in a child that is killed at its end: within milliseconds, so that no checkpoint comes by time (5 s).
fn crash(script: &str, dir: &Path, engine: Engine) {
    let output = child(script, dir, engine).output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What is in a directory and below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    content: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    /// In nanoseconds: the version.
    mtime: i128,
}

type Tree = BTreeMap<PathBuf, Found>;

/// All files below a directory, without the store's own.
fn files(dir: &Path) -> Tree {
    let mut tree = everything(dir);
    tree.retain(|path, _| !path.starts_with(".ringbolt"));
    tree
}

/// All files below a directory.
fn everything(dir: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(next) = todo.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            // Every writer notes itself there.
            if path.ends_with(".ringbolt/lock") {
                continue;
            }
            let stat = fs::symlink_metadata(&path).unwrap();
            if stat.is_dir() {
                todo.push(path);
                continue;
            }
            let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let mtime = i128::from(stat.mtime()) * 1_000_000_000 + i128::from(stat.mtime_nsec());
            let found = Found { content, mode: stat.mode(), owner: (stat.uid(), stat.gid()), mtime };
            tree.insert(path.strip_prefix(dir).unwrap().to_owned(), found);
        }
    }
    tree
}

/// Compares two trees without printing long contents.
#[track_caller]
fn assert_same(found: &Tree, wanted: &Tree, what: &str) {
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}");
    for (path, wanted) in wanted {
        let found = &found[path];
        assert!(found.content == wanted.content, "{what}: the content of {path:?}");
        let rest = |found: &Found| (found.mode, found.owner, found.mtime);
        assert_eq!(rest(found), rest(wanted), "{what}: {path:?}");
    }
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join(".ringbolt/log")
}

fn format(dir: &Path) -> String {
    fs::read_to_string(dir.join(".ringbolt/format")).unwrap()
}

/// Changes a file in place.
fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    // A log is read past the page cache.
    file.sync_all().unwrap();
}
