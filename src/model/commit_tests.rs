use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::stat::stat;

use super::disk::{Content, Disk, Filesystem, Place};
use super::engine::{Fault, Model};
use super::observed::place;
use super::promise::{Effect, Standing};
use crate::PutOptions;
use crate::commit::barrier::BarrierKind;
use crate::commit::{Action, Change, ChangeGroups, ChangeResult, Committer, Setup, WrittenFile};
use crate::engine::{EngineKind, Interpreter, Mutant, Selected};
use crate::error::Outcome;
use crate::fs::{Key, Maker};
use crate::protocol::{Existing, Version};

const KINDS: [BarrierKind; 3] = [BarrierKind::PerFile, BarrierKind::Filesystem, BarrierKind::Journal];

/// A committer on the model; in the directories `a` and `b`, `k0` and `k1` are there, `k7` is not.
#[derive(Clone)]
pub(super) struct Rig {
    pub(super) model: Arc<Model>,
    pub(super) committer: Arc<Committer>,
    _at: Arc<tempfile::TempDir>,
}

/// A directory in memory, where there is one: the model does the syncing.
pub(super) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

pub(super) fn rig(filesystem: Filesystem, kind: BarrierKind, fault: Fault, mutant: Option<Mutant>) -> Rig {
    let at = scratch();
    let mut disk = Disk::new(filesystem);
    for (dir, id) in [("a", 0), ("b", 1)] {
        fs::create_dir(at.path().join(dir)).unwrap();
        for key in 0..2 {
            let path = at.path().join(dir).join(format!("k{key}"));
            let bytes = [b'0' + id, b'0' + key];
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(Content::EMPTY.mode)).unwrap();
            let version = Some(Version::of(&stat(&path).unwrap()));
            disk = disk.with(Place::key(id, key), id * 2 + key, Content { version, ..Content::of(&bytes) });
        }
    }
    rig_on(at, disk, kind, fault, mutant)
}

/// The same on a disk, with its files in this directory.
pub(super) fn rig_on(
    at: tempfile::TempDir,
    disk: Disk,
    kind: BarrierKind,
    fault: Fault,
    mutant: Option<Mutant>,
) -> Rig {
    let model = Arc::new(Model::new(at.path(), disk, fault));
    let engine: Arc<dyn Interpreter> = Arc::<Model>::clone(&model);
    let select = || Selected::for_test(Arc::clone(&engine), EngineKind::Portable);
    let selected = mutant.map_or_else(select, |mutant| mutant.within(select));
    let committer = Arc::new(Committer::new(Setup::for_test(at.path(), selected, kind)));
    Rig { model, committer, _at: Arc::new(at) }
}

pub(super) fn sound() -> Fault {
    Box::new(|_, _| None)
}

/// A change and its effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    Put(&'static str, u8),
    Create(&'static str, u8),
    Delete(&'static str),
    Rename(&'static str, &'static str),
}

pub(super) fn bytes(id: u8) -> [u8; 2] {
    [b'a' + id, b'A' + id]
}

impl Do {
    fn change(self) -> Change {
        let put = |key, id, options| Change::put(key, Bytes::copy_from_slice(&bytes(id)), options);
        match self {
            Do::Put(key, id) => put(key, id, PutOptions::new()),
            Do::Create(key, id) => put(key, id, PutOptions::new().create_new(true)),
            Do::Delete(key) => Change::delete(key, None),
            Do::Rename(from, to) => Change::rename(from, to),
        }
    }

    fn effect(self) -> Effect {
        let put = |key, id, existing| Effect::Put { place: place(key), content: Content::of(&bytes(id)), existing };
        match self {
            Do::Put(key, id) => put(key, id, Existing::Replace),
            Do::Create(key, id) => put(key, id, Existing::Refuse),
            Do::Delete(key) => Effect::Delete { place: place(key) },
            Do::Rename(from, to) => Effect::Rename { from: place(from), to: place(to) },
        }
    }
}

fn standing(answer: &ChangeResult) -> Standing {
    let Err(error) = answer else { return Standing::Durable };
    match error.outcome() {
        Outcome::Unchanged if error.is_already_exists() || error.is_not_found() => Standing::Refused,
        Outcome::Unchanged => Standing::Unchanged,
        _ => Standing::Unknown,
    }
}

impl Rig {
    /// One batch, in groups.
    pub(super) fn commit(&self, groups: &[&[Do]]) -> Vec<Standing> {
        let effects =
            groups.iter().enumerate().flat_map(|(group, all)| all.iter().map(move |one| (group, one.effect())));
        let operations = self.model.begin(effects);
        let changes = groups.iter().map(|group| group.iter().map(|one| one.change()).collect()).collect();
        self.told(&operations, &self.committer.commit(ChangeGroups::of(changes)))
    }

    /// A single change: solo if possible, else in a batch.
    pub(super) fn make(&self, one: Do) -> Vec<Standing> {
        let operations = self.model.begin([(0, one.effect())]);
        self.told(&operations, &[self.committer.make(one.change())])
    }

    fn told(&self, operations: &[usize], answers: &[ChangeResult]) -> Vec<Standing> {
        let standings: Vec<Standing> = answers.iter().map(standing).collect();
        self.model.end(operations, &standings);
        standings
    }
}

/// Whether a barrier holds on a filesystem.
fn holds(kind: BarrierKind, filesystem: Filesystem) -> bool {
    kind != BarrierKind::Journal || filesystem == Filesystem::Journaled
}

const ONE_GROUP: &[&[Do]] = &[&[Do::Put("a/k0", 0), Do::Put("a/k1", 1), Do::Put("b/k0", 2), Do::Create("b/k7", 3)]];
const GROUPS: &[&[Do]] = &[&[Do::Put("a/k0", 0), Do::Put("b/k0", 1)], &[Do::Put("b/k1", 2), Do::Delete("a/k1")]];
const RENAMES: &[&[Do]] = &[&[Do::Put("a/k0", 0), Do::Rename("a/k0", "b/k7")], &[Do::Rename("b/k1", "b/k0")]];

/// Every barrier on every filesystem: it holds, or the model shows how it fails.
#[test]
fn batches_by_every_barrier() {
    let (mut count, begin) = (0, Instant::now());
    for filesystem in Filesystem::ALL {
        for kind in KINDS {
            for groups in [ONE_GROUP, GROUPS, RENAMES] {
                // A rename of keys needs more than POSIX: see `interleave_tests.rs`.
                if std::ptr::eq(groups, RENAMES) && filesystem != Filesystem::Journaled {
                    continue;
                }
                let rig = rig(filesystem, kind, sound(), None);
                assert!(rig.commit(groups).iter().all(|standing| *standing == Standing::Durable));
                match rig.model.history().check() {
                    Ok(more) => {
                        assert!(holds(kind, filesystem), "{kind} on {filesystem:?}");
                        count += more;
                    }
                    Err(text) => assert!(!holds(kind, filesystem), "{kind} on {filesystem:?}: {text}"),
                }
            }
        }
    }
    tell("batches", count, begin);
}

pub(super) fn tell(what: &str, count: usize, begin: Instant) {
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    let line = format!("{what}: {count} crash states, {rate:.0} a second\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// Each call of a batch fails in turn: the results are true, and stay true after every cut.
#[test]
fn batches_with_every_failure() {
    const SMALL: [&[&[Do]]; 2] =
        [&[&[Do::Put("a/k0", 0), Do::Create("a/k7", 1)]], &[&[Do::Put("a/k0", 0)], &[Do::Put("b/k0", 1)]]];
    let (mut count, begin) = (0, Instant::now());
    for filesystem in Filesystem::ALL {
        for kind in KINDS.into_iter().filter(|kind| holds(*kind, filesystem)) {
            for groups in SMALL {
                for errno in [Errno::EIO, Errno::ENOSPC] {
                    for failing in 0.. {
                        let fault = Box::new(move |n, _: &_| (n == failing).then_some(errno));
                        let rig = rig(filesystem, kind, fault, None);
                        rig.commit(groups);
                        if failing >= rig.model.calls().len() {
                            break;
                        }
                        let what = || format!("{kind}, {errno} at call {failing}");
                        count += rig.model.history().check().unwrap_or_else(|text| panic!("{}: {text}", what()));
                    }
                }
            }
        }
    }
    tell("batches with failures", count, begin);
}

/// Every kind of change, one after the other, with a guard among them; once for each failing call.
#[test]
fn changes_by_a_caller_who_is_alone() {
    for filesystem in Filesystem::ALL {
        for kind in KINDS.into_iter().filter(|kind| holds(*kind, filesystem)) {
            for failing in 0.. {
                let fault = Box::new(move |n, _: &_| (n == failing).then_some(Errno::EIO));
                let rig = rig(filesystem, kind, fault, None);
                for one in [Do::Put("a/k0", 0), Do::Delete("b/k0"), Do::Create("a/k7", 1)] {
                    rig.make(one);
                }
                guard(&rig, "b/k1", 2, PutOptions::new().mode(0o640));
                rig.model.history().check().unwrap_or_else(|text| panic!("{kind}, EIO at call {failing}: {text}"));
                if failing >= rig.model.calls().len() {
                    break;
                }
            }
        }
    }
}

/// Writes a file through a guard and commits it.
pub(super) fn guard(rig: &Rig, key: &'static str, id: u8, options: PutOptions) {
    let core = rig.committer.core();
    let dir = core.find(&Key::parse(key).unwrap()).unwrap();
    let temp = crate::fs::temp::name(Maker::Store, c"", 1);
    fs::write(dir.path_of(&temp), bytes(id)).unwrap();
    let file = File::options().write(true).open(dir.path_of(&temp)).unwrap();
    rig.model.adopt(&dir, &temp, &file, Content::of(&bytes(id)));
    let effect = Effect::Put { place: place(key), content: Content::of(&bytes(id)), existing: options.existing };
    let operations = rig.model.begin([(0, effect)]);
    let action = Action::Publish { file: WrittenFile { dir, temp, file: file.into() }, options };
    rig.told(&operations, &[rig.committer.make(Change { key: Ok(key.into()), action })]);
}

/// Concurrent callers: solo, in batches, with guards. Every cut is checked, whatever order the threads have.
#[test]
fn callers_at_the_same_time() {
    const KEYS: [&str; 4] = ["a/k0", "a/k1", "b/k0", "b/k7"];
    let (mut count, begin) = (0, Instant::now());
    for filesystem in Filesystem::ALL {
        for kind in KINDS.into_iter().filter(|kind| holds(*kind, filesystem)) {
            let rig = rig(filesystem, kind, sound(), None);
            std::thread::scope(|scope| {
                for thread in 0..3_u8 {
                    let rig = &rig;
                    scope.spawn(move || {
                        for round in 0..3_u8 {
                            let id = thread * 6 + round * 2;
                            let key = |n: u8| KEYS[usize::from(thread + round + n) % 4];
                            match round {
                                0 => _ = rig.make(Do::Put(key(0), id)),
                                1 => _ = rig.commit(&[&[Do::Put(key(0), id)], &[Do::Put(key(1), id + 1)]]),
                                _ => guard(rig, key(0), id, PutOptions::new()),
                            }
                        }
                    });
                }
            });
            let history = rig.model.history();
            count += history.check_each_key().unwrap_or_else(|text| panic!("{kind}: {text}"));
        }
    }
    tell("callers", count, begin);
}

/// The mutants, beneath the real committer.
#[test]
fn mutants_beneath_a_committer_are_caught() {
    for mutant in Mutant::ALL {
        for filesystem in Filesystem::ALL {
            for kind in KINDS.into_iter().filter(|kind| holds(*kind, filesystem)) {
                let batch = rig(filesystem, kind, sound(), Some(mutant));
                batch.commit(&[&[Do::Put("a/k0", 0), Do::Put("b/k0", 1)]]);
                let alone = rig(filesystem, kind, sound(), Some(mutant));
                alone.make(Do::Put("a/k0", 0));
                let holds_by_journal = mutant == Mutant::RangeForFileSync && filesystem == Filesystem::Journaled;
                // A late sync does no harm to a batch on a journaled disk: the files were written out before, and the journal orders the rest.
                let makes_up = kind != BarrierKind::Journal && filesystem == Filesystem::Journaled;
                let batch_holds = holds_by_journal || (mutant == Mutant::LateFileSync && makes_up);
                let found = [&batch, &alone].map(|rig| rig.model.history().check().is_ok());
                assert_eq!(found, [batch_holds, holds_by_journal], "{mutant} beneath {kind} on {filesystem:?}");
            }
        }
    }
}
