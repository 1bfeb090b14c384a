//! Many concurrent writers, and kills.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use ringbolt::{Barrier, Engine, PutOptions, Store};

use crate::help::*;

pub(crate) const BARRIERS: [Barrier; 4] = [Barrier::Auto, Barrier::PerFile, Barrier::Filesystem, Barrier::IntentLog];

/// Opens a store with a barrier; `None` if the filesystem does not support it.
pub(crate) fn open(dir: &Path, engine: Engine, barrier: Barrier) -> Option<Store> {
    // So short a log is filled again and again: kills come in the middle of checkpoints, too.
    let builder = Store::builder(dir).create_if_missing(true).engine(engine).barrier(barrier).log_bytes(256 << 10);
    match builder.open() {
        Err(error) if error.is_unsupported_barrier() => {
            skip(&format!("{barrier:?}"), error);
            None
        }
        store => Some(store.unwrap()),
    }
}

/// Concurrent puts, guards, deletes and create-only puts: each finds its own result, and nothing else exists.
#[test]
fn all_kinds_of_changes_meet() {
    for barrier in BARRIERS {
        each_engine(|engine, dir| {
            let Some(store) = open(dir, engine, barrier) else { return };
            thread::scope(|scope| {
                for writer in 0..24usize {
                    let store = &store;
                    scope.spawn(move || {
                        for i in 0..12usize {
                            let key = format!("d{}/{writer}", writer % 3);
                            let content = pattern(writer * 100 + i);
                            match i % 4 {
                                0 => _ = store.put(&key, content.clone()).unwrap(),
                                1 => {
                                    let mut file = store.writer(&key, PutOptions::new().mode(0o640)).unwrap();
                                    file.write_all(&content).unwrap();
                                    file.commit().unwrap();
                                }
                                2 => {
                                    store.delete(&key).unwrap();
                                    assert!(store.get(&key).unwrap_err().is_not_found());
                                    store.put_new(&key, content.clone()).unwrap();
                                }
                                _ => {
                                    assert!(store.put_new(&key, "clash").unwrap_err().is_already_exists());
                                    store.put_with(&key, content.clone(), PutOptions::new().mode(0o600)).unwrap();
                                }
                            }
                            assert_eq!(store.get(&key).unwrap(), content);
                        }
                    });
                }
            });
            assert_eq!(store.list("").unwrap().count(), 24);
            assert!(temporaries(dir).is_empty());
        });
    }
}

const WRITERS: usize = 6;

/// The child: writers that put increasing numbers under their own keys, and print each when it is acknowledged.
#[test]
fn writers_to_kill() {
    let Some(dir) = std::env::var_os("RINGBOLT_TEST_KILL") else { return };
    let engine = if std::env::var_os("RINGBOLT_TEST_URING").is_some() { Engine::Uring } else { Engine::Portable };
    let barrier = std::env::var("RINGBOLT_TEST_BARRIER").unwrap();
    let barrier = BARRIERS.into_iter().find(|known| known.to_string() == barrier).unwrap();
    let store = open(Path::new(&dir), engine, barrier).unwrap();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = &store;
            scope.spawn(move || {
                for n in 0u64.. {
                    store.put(format!("d{}/{writer}", writer % 2), content(n)).unwrap();
                    // The parent may have closed the pipe.
                    if writeln!(std::io::stdout(), "ack {writer} {n}").is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A number, with padding so that a partial content would be noticed.
pub(crate) fn content(n: u64) -> Vec<u8> {
    let mut content = n.to_le_bytes().repeat(600);
    content.truncate(4800 - (n % 700) as usize);
    content
}

/// Killed at any moment: every acknowledged or newer content is there, complete. The next open removes temporary files.
#[test]
fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    const ROUNDS: u64 = 35;
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for barrier in BARRIERS {
        for engine in engines() {
            let dir = dir();
            if open(dir.path(), engine, barrier).is_none() {
                continue;
            }
            for round in 0..ROUNDS {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let acknowledged = kill_after(seed % 60, dir.path(), engine, barrier);
                let store = open(dir.path(), engine, barrier).unwrap();
                assert!(temporaries(dir.path()).is_empty(), "{engine:?} {barrier:?} round {round}");
                for (writer, n) in acknowledged {
                    let found = store.get(format!("d{}/{writer}", writer % 2)).unwrap();
                    let m = u64::from_le_bytes(found[..8].try_into().unwrap());
                    assert!(m >= n, "{engine:?} {barrier:?} round {round}: writer {writer} had {n}, found {m}");
                    assert!(found == content(m), "{engine:?} {barrier:?} round {round}: a mixture");
                }
            }
        }
    }
}

/// Runs the writers until they have acknowledged this many puts, then kills them. Returns the last printed number of
/// each.
fn kill_after(acks: u64, dir: &Path, engine: Engine, barrier: Barrier) -> HashMap<usize, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["crowd::writers_to_kill", "--exact", "--nocapture"]).env("RINGBOLT_TEST_KILL", dir);
    if engine == Engine::Uring {
        child.env("RINGBOLT_TEST_URING", "1");
    }
    let mut child = child
        .env("RINGBOLT_TEST_BARRIER", barrier.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = HashMap::new();
    let mut note = |line: String| {
        // Output of the harness may precede the first line, and the last line may be incomplete.
        let words: Vec<&str> = line.rsplit("ack ").next().unwrap_or("").split(' ').collect();
        if let (true, [writer, n]) = (line.contains("ack "), &words[..]) {
            acknowledged.insert(writer.parse().unwrap(), n.parse().unwrap());
        }
    };
    lines.by_ref().filter(|line| line.contains("ack ")).take(acks as usize + 1).for_each(&mut note);
    child.kill().unwrap();
    child.wait().unwrap();
    // Lines printed before the kill count, except an incomplete one.
    let rest: Vec<String> = lines.collect();
    rest.into_iter().rev().skip(1).rev().for_each(note);
    acknowledged
}
