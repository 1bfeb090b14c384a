//! Kills at any moment: during batches with groups, deletes, renames, and a sidecar's epochs. For puts, see `crowd`.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use ringbolt::{Barrier, Engine, Store};

use crate::crowd::{BARRIERS, content, open};
use crate::help::*;

/// The number of threads that commit batches, and of threads that put, rename and delete.
const WRITERS: usize = 3;

/// The number of kills. With those of `crowd`, each engine is killed a hundred times with an intent log.
fn rounds(barrier: Barrier) -> u64 {
    if barrier == Barrier::IntentLog { 65 } else { 6 }
}

/// The number of acknowledgements before the kill.
const ACKS_MAX: u64 = 80;

/// The groups of a batch, in their order.
const GROUPS: [&[&str]; 3] = [&["x", "y", "z"], &["manifest"], &["current"]];

/// The child: makes changes forever, and prints each when it is acknowledged.
#[test]
fn changes_to_kill() {
    let Some(dir) = std::env::var_os("RINGBOLT_TEST_KILLED") else { return };
    let asked = |name| std::env::var(name).unwrap();
    let engine = if asked("RINGBOLT_TEST_ENGINE") == "uring" { Engine::Uring } else { Engine::Portable };
    let barrier = BARRIERS.into_iter().find(|known| known.to_string() == asked("RINGBOLT_TEST_BARRIER")).unwrap();
    let round = asked("RINGBOLT_TEST_ROUND");
    let (dir, round) = (Path::new(&dir), &round);
    let store = &open(&dir.join("store"), engine, barrier).unwrap();
    #[cfg(feature = "sidecar")]
    let sidecar = &epochs::open(dir, engine);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            for (what, change) in [("batch", batch as fn(&Store, &str, usize, u64)), ("step", step)] {
                scope.spawn(move || {
                    (1..).all(|n| {
                        change(store, round, writer, n);
                        // Before the acknowledgement, so that the parent reads it.
                        say("checkpoints", 0, store.stats().log.map_or(0, |log| log.checkpoints));
                        say(what, writer, n)
                    })
                });
            }
        }
        #[cfg(feature = "sidecar")]
        for _ in 0..2 {
            scope.spawn(move || while say("epoch", 0, epochs::bump(sidecar)) {});
        }
    });
}

/// Prints an acknowledgement; `false` if the parent closed the pipe.
fn say(what: &str, who: usize, n: u64) -> bool {
    let word = if what == "checkpoints" { "note" } else { "ack" };
    writeln!(std::io::stdout(), "{word} {what} {who} {n}").is_ok()
}

/// Puts `n` under every key of every group.
fn batch(store: &Store, round: &str, writer: usize, n: u64) {
    let mut batch = store.batch();
    for group in GROUPS {
        batch.then();
        for key in group {
            batch.put(format!("{round}/batch{writer}/{key}"), content(n));
        }
    }
    batch.commit().into_result().unwrap();
}

/// The keys of the steps: of two directories.
fn keys(round: impl Display, writer: usize) -> (String, String) {
    (format!("{round}/a{writer}/k"), format!("{round}/b{writer}/k"))
}

/// Step `n`: a put, a rename to another directory, or a delete of the renamed file, in turn. Every other delete is
/// skipped, so that renames replace files.
fn step(store: &Store, round: &str, writer: usize, n: u64) {
    let (a, b) = keys(round, writer);
    match n % 3 {
        1 => _ = store.put(a, content(n)).unwrap(),
        2 => store.rename(a, b).unwrap(),
        _ if n.is_multiple_of(2) => store.delete(b).unwrap(),
        _ => {}
    }
}

/// The contents of the two keys after this many steps.
fn state(steps: u64) -> [Option<u64>; 2] {
    (1..=steps).fold([None; 2], |[a, b], n| match n % 3 {
        1 => [Some(n), b],
        2 => [None, a],
        _ if n.is_multiple_of(2) => [a, None],
        _ => [a, b],
    })
}

/// The number under a key, checked for completeness; `None` if the key does not exist.
fn number(store: &Store, key: &str, what: &str) -> Option<u64> {
    let found = match store.get(key) {
        Err(error) if error.is_not_found() => return None,
        found => found.unwrap(),
    };
    let n = u64::from_le_bytes(found[..8].try_into().unwrap());
    assert!(found == content(n), "{what}: {key} is a mixture");
    Some(n)
}

/// What was acknowledged before the kill.
#[derive(Default)]
struct Acknowledged {
    last: HashMap<(String, usize), u64>,
    epochs: Vec<u64>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        // Output of the harness may precede the first line.
        let told = line.split("ack ").nth(1).or_else(|| line.split("note ").nth(1));
        let words: Vec<&str> = told.unwrap_or("").split(' ').collect();
        let [what, who, n] = words[..] else { return };
        let n = n.parse().unwrap();
        if what == "epoch" {
            self.epochs.push(n);
        }
        self.last.insert((what.to_owned(), who.parse().unwrap()), n);
    }

    fn last(&self, what: &str, who: usize) -> u64 {
        self.last.get(&(what.to_owned(), who)).copied().unwrap_or(0)
    }
}

/// Killed at any moment: a group of a batch is there only if all groups before it are complete; each key has its state
/// after the last acknowledged step or the next; and no epoch is returned twice.
#[test]
fn a_kill_at_any_moment_keeps_every_order() {
    let seed = std::env::var("RINGBOLT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().hash_one(0) | 1);
    let mut random = seed;
    for engine in engines() {
        for barrier in BARRIERS {
            let dir = dir();
            if open(&dir.path().join("store"), engine, barrier).is_none() {
                continue;
            }
            #[cfg(feature = "sidecar")]
            epochs::create(dir.path());
            let mut given = BTreeSet::new();
            let mut checkpoints = 0;
            for round in 0..rounds(barrier) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let what = format!("RINGBOLT_TEST_SEED={seed}, {engine:?} {barrier:?}, round {round}");
                let told = kill_after(random % ACKS_MAX, dir.path(), engine, barrier, round);
                let store = open(&dir.path().join("store"), engine, barrier).unwrap();
                assert!(temporaries(&dir.path().join("store")).is_empty(), "{what}");
                for writer in 0..WRITERS {
                    check_batches(&store, round, writer, told.last("batch", writer), &what);
                    check_steps(&store, round, writer, told.last("step", writer), &what);
                }
                checkpoints += told.last("checkpoints", 0);
                let before = given.last().copied().unwrap_or(0);
                for epoch in told.epochs {
                    assert!(epoch > before, "{what}: epoch {epoch} after {before} went back");
                    assert!(given.insert(epoch), "{what}: epoch {epoch} was given twice");
                }
                #[cfg(feature = "sidecar")]
                assert!(epochs::read(dir.path()) >= given.last().copied().unwrap_or(0), "{what}: an epoch was lost");
            }
            // Each frees half of the log or more: it was gone round many times.
            assert!(
                barrier != Barrier::IntentLog || checkpoints > rounds(barrier),
                "{engine:?}: {checkpoints} checkpoints"
            );
        }
    }
}

fn check_batches(store: &Store, round: u64, writer: usize, acknowledged: u64, what: &str) {
    let mut earlier: Option<u64> = None;
    for group in GROUPS {
        let find = |key: &&str| number(store, &format!("{round}/batch{writer}/{key}"), what).unwrap_or(0);
        let found: Vec<u64> = group.iter().map(find).collect();
        let (least, most) = (found.iter().min().unwrap(), found.iter().max().unwrap());
        assert!(*least >= acknowledged, "{what}: batch {acknowledged} of {writer} was lost: {found:?}");
        assert!(
            *most <= acknowledged + 1,
            "{what}: batch {most} of {writer}, but only {acknowledged} was acknowledged"
        );
        assert!(earlier.is_none_or(|earlier| *most <= earlier), "{what}: {group:?} came before what is before it");
        earlier = Some(*least);
    }
}

fn check_steps(store: &Store, round: u64, writer: usize, acknowledged: u64, what: &str) {
    let (a, b) = keys(round, writer);
    let found = [number(store, &a, what), number(store, &b, what)];
    let allowed = [state(acknowledged), state(acknowledged + 1)];
    assert!(
        allowed.contains(&found),
        "{what}: after step {acknowledged} of {writer}: {found:?}, not one of {allowed:?}"
    );
}

/// Runs the child until it has acknowledged enough, then kills it.
fn kill_after(acks: u64, dir: &Path, engine: Engine, barrier: Barrier, round: u64) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed::changes_to_kill", "--exact", "--nocapture"])
        .env("RINGBOLT_TEST_KILLED", dir)
        .env("RINGBOLT_TEST_ENGINE", if engine == Engine::Uring { "uring" } else { "portable" })
        .env("RINGBOLT_TEST_BARRIER", barrier.to_string())
        .env("RINGBOLT_TEST_ROUND", round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = Acknowledged::default();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut left = acks + 1;
    let mut line = String::new();
    // Ignore an incomplete line.
    while output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
        told.note(line.trim_end());
        if line.contains("ack ") && left > 0 {
            left -= 1;
            if left == 0 {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    child.wait().unwrap();
    assert_eq!(left, 0, "the child ended by itself");
    told
}

/// A sidecar with one key, whose epoch is incremented.
#[cfg(feature = "sidecar")]
mod epochs {
    use std::path::Path;

    use ringbolt::Engine;
    use ringbolt::sidecar::{SidecarOptions, SidecarStore};

    use crate::sidecar_format::{fixture, id};

    const KEY: u32 = 305_419_896;

    pub(super) fn create(dir: &Path) {
        SidecarOptions::new().create(dir.join("keys.json"), fixture()).unwrap();
    }

    pub(super) fn open(dir: &Path, engine: Engine) -> SidecarStore {
        SidecarOptions::new().engine(engine).open(dir.join("keys.json")).unwrap()
    }

    pub(super) fn bump(sidecar: &SidecarStore) -> u64 {
        sidecar.bump_local_epoch(id(KEY)).unwrap().into()
    }

    pub(super) fn read(dir: &Path) -> u64 {
        SidecarOptions::new().read(dir.join("keys.json")).unwrap().keys[&id(KEY)].local_epoch.into()
    }
}
