//! The journal barrier: it is used where it holds, and refused with a reason everywhere else.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use ringbolt::{Barrier, BarrierKind, Engine, PutOptions, Reader, Store};

use crate::help::*;
use crate::mounts::*;

fn open(dir: &Path, engine: Engine, barrier: Barrier) -> ringbolt::Result<Store> {
    Store::builder(dir).create_if_missing(true).engine(engine).barrier(barrier).open()
}

/// Filesystems and mount options where it holds.
const HOLDS: [(&str, &str); 4] =
    [(EXT4, "rw"), (EXT4, "data=ordered,barrier=1,noatime"), (XFS, "rw"), (XFS, "noatime,logbufs=8")];

#[test]
fn it_holds_on_ext4_and_xfs() {
    for engine in engines() {
        for (make, options) in HOLDS {
            for barrier in [Barrier::Journal, Barrier::JournalOrAuto] {
                with_mounts("the journal barrier", |dir| {
                    let Some(disk) = disk(dir, make, options) else { return };
                    let store = open(&disk, engine, barrier).unwrap();
                    all_ways(&store, &disk);
                    let stats = store.stats();
                    assert_eq!((stats.barrier.configured, stats.barrier.last), (barrier, Some(BarrierKind::Journal)));
                    assert!(stats.barrier.journal > 0 && stats.barrier.journal == stats.batches);
                    assert_eq!((stats.barrier.per_file, stats.barrier.filesystem, stats.syncs.filesystems), (0, 0, 0));
                    store.close().unwrap();
                    // A store can be reopened with any other barrier.
                    let store = open(&disk, engine, Barrier::PerFile).unwrap();
                    assert_eq!(store.get("batch/9").unwrap(), pattern(9000));
                });
            }
        }
    }
}

/// Puts alone, in a batch, from many threads and through guards: no file is synced individually.
fn all_ways(store: &Store, disk: &Path) {
    let first = store.put("d/k", "1").unwrap();
    store.put_if("d/k", first, pattern(3 << 20)).unwrap();
    store.put_with("mode", "2", PutOptions::new().mode(0o640)).unwrap();
    store.put_new("empty", "").unwrap();
    let stats = store.stats();
    assert_eq!((stats.syncs.files, stats.syncs.ranges, stats.alone), (0, 4, 4));
    let mut file = store.writer("guard", PutOptions::new()).unwrap();
    file.write_all(&pattern(1 << 20)).unwrap();
    file.commit().unwrap();
    assert_eq!((store.stats().syncs.files, store.stats().syncs.ranges), (0, 5));

    let mut batch = store.batch();
    for i in 0..200 {
        batch.put(format!("batch/{i}"), pattern(i * 1000));
    }
    batch.put_with("guard", "clash", PutOptions::new().create_new(true)).delete("empty").rename("mode", "d/mode");
    let results = batch.commit().into_results();
    assert_eq!(results.iter().filter(|done| done.is_err()).count(), 1);
    assert!(results[200].as_ref().unwrap_err().is_already_exists());
    assert_eq!((store.stats().syncs.files, store.stats().syncs.ranges), (0, 206));

    thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || {
                for i in 0..20 {
                    let mut file = store.writer(format!("crowd/{writer}"), PutOptions::new()).unwrap();
                    file.write_all(&pattern(i * 700)).unwrap();
                    file.commit().unwrap();
                    store.put(format!("crowd/{writer}-{i}"), pattern(i)).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!((stats.syncs.files, stats.syncs.ranges), (0, 206 + 320));
    let reader = Reader::open(disk).unwrap();
    assert_eq!(reader.get("d/k").unwrap(), pattern(3 << 20));
    assert_eq!(reader.get("guard").unwrap(), pattern(1 << 20));
    assert!((0..200).all(|i| reader.get(format!("batch/{i}")).unwrap() == pattern(i * 1000)));
    assert!((0..8).all(|writer| reader.get(format!("crowd/{writer}")).unwrap() == pattern(19 * 700)));
    assert_eq!(reader.list("").unwrap().count(), 3 + 200 + 168);
    assert_eq!(temporaries(disk), Vec::<PathBuf>::new());
}

/// Filesystems on which it does not hold: mkfs command, mount options, and a word of the reason.
const REFUSED: [(&str, &str, &str); 9] = [
    (EXT4, "nobarrier", "without barriers"),
    (EXT4, "barrier=0", "without barriers"),
    (EXT4, "data=writeback", "data=ordered"),
    (EXT4, "data=journal", "data=ordered"),
    (EXT4, "journal_async_commit,data=writeback", "journal_async_commit"),
    ("mkfs.ext4 -q -F -O fast_commit", "rw", "fast_commit"),
    ("mkfs.ext4 -q -F -O ^has_journal", "rw", "no internal journal"),
    ("mkfs.ext2 -q -F", "rw", "ext"),
    (BTRFS, "rw", "ext4 and xfs only"),
];

#[test]
fn it_is_refused_where_it_does_not_hold() {
    for (make, options, why) in REFUSED {
        for engine in engines() {
            with_mounts("what the journal barrier does not hold on", |dir| {
                let Some(disk) = disk(dir, make, options) else { return };
                refused(&disk, engine, why);
            });
        }
    }
}

#[test]
fn it_is_refused_on_tmpfs_and_overlay() {
    for engine in engines() {
        with_mounts("what the journal barrier does not hold on", |dir| {
            let memory = tmpfs(dir.join("t"), "size=16m");
            refused(&memory, engine, "this is tmpfs");
            // Even if the filesystem beneath is an ext4 on which it holds.
            let Some(disk) = disk(dir, EXT4, "rw") else { return };
            for name in ["lower", "upper", "work"] {
                fs::create_dir(disk.join(name)).unwrap();
            }
            let over = dir.join("over");
            fs::create_dir(&over).unwrap();
            let path = |name: &str| disk.join(name).display().to_string();
            let options = format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
            mount(Some("overlay"), &over, Some("overlay"), MsFlags::empty(), Some(&*options)).unwrap();
            refused(&over, engine, "overlay");
        });
    }
}

/// The refusal created nothing; and `JournalOrAuto` falls back to another barrier.
fn refused(disk: &Path, engine: Engine, why: &str) {
    let error = open(disk, engine, Barrier::Journal).unwrap_err();
    assert!(error.is_unsupported_barrier() && error.to_string().contains(why), "{error}, not {why}");
    assert!(!disk.join(".ringbolt").exists());
    let store = open(disk, engine, Barrier::JournalOrAuto).unwrap();
    store.put("k", "1").unwrap();
    let mut batch = store.batch();
    for i in 0..20 {
        batch.put(format!("d/{i}"), pattern(i * 1000));
    }
    batch.commit().into_result().unwrap();
    assert!((0..20).all(|i| store.get(format!("d/{i}")).unwrap() == pattern(i * 1000)));
    let stats = store.stats();
    assert_eq!((stats.syncs.ranges, stats.barrier.journal, stats.barrier.configured), (0, 0, Barrier::JournalOrAuto));
    assert!(stats.syncs.files > 0 && stats.barrier.last.is_some_and(|last| last != BarrierKind::Journal));
    store.close().unwrap();
}

/// An external log is on another device, which needs its own flush.
#[test]
fn it_is_refused_on_an_xfs_with_an_external_log() {
    for engine in engines() {
        with_mounts("an external log", |dir| {
            let backing = tmpfs(dir.join("t"), "size=1g");
            let (image, log, at) = (backing.join("image"), backing.join("log"), dir.join("disk"));
            fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
            fs::File::create(&log).unwrap().set_len(128 << 20).unwrap();
            fs::create_dir(&at).unwrap();
            let logdev = |of: &Path| format!("logdev={}", of.display());
            run(Command::new("mkfs.xfs").args(["-q", "-f", "-l", &logdev(&log)]).arg(&image));
            let found = Command::new("losetup").args(["--find", "--show"]).arg(&log).output().unwrap();
            let device = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
            run(Command::new("mount").args(["-o", &format!("loop,{}", logdev(&device))]).arg(&image).arg(&at));
            // It is detached with the mount.
            run(Command::new("losetup").arg("--detach").arg(&device));
            refused(&at, engine, "external log");
        });
    }
}

/// The barrier covers the store's filesystem. Files on another filesystem mounted inside are synced individually.
#[test]
fn files_on_another_filesystem_within_are_synced_by_themselves() {
    for engine in engines() {
        with_mounts("a mount within a store", |dir| {
            let Some(disk) = disk(dir, EXT4, "rw") else { return };
            tmpfs(disk.join("within"), "size=16m");
            Store::builder(&disk).adopt(true).create().unwrap().close().unwrap();
            let store = open(&disk, engine, Barrier::Journal).unwrap();
            store.put("within/k", "1").unwrap();
            store.put("k", "1").unwrap();
            assert_eq!((store.stats().syncs.files, store.stats().syncs.ranges), (1, 1));
            let mut batch = store.batch();
            for i in 0..10 {
                batch.put(format!("within/d/{i}"), "2").put(format!("d/{i}"), "2");
            }
            batch.commit().into_result().unwrap();
            assert_eq!((store.stats().syncs.files, store.stats().syncs.ranges), (11, 11));
            assert!(temporaries(&disk).is_empty());
        });
    }
}
