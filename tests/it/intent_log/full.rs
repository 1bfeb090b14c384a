//! Full disks.

use std::fs::{self, File};
use std::process::Command;

use ringbolt::{ErrorKind, Outcome, PutOptions, Reader, Step};

use super::*;
use crate::devices::{ext4, fill};

/// A small disk, whose every block has room on its backing.
fn small_disk(dir: &Path) -> PathBuf {
    let backing = tmpfs(dir.join("t"), "size=80m");
    ext4(dir, &backing.join("image"), 64 << 20)
}

/// All values together take less than half of the log: no checkpoint takes them out of it.
const LEN: usize = 60 << 10;

/// Changes before the disk is full, while it is, and afterwards.
pub(super) fn changes_on_a_full_disk(dir: &Path, engine: Engine) -> Store {
    let store = open_logged(dir, engine);
    for key in 0..4 {
        store.put(format!("d/{key}"), pattern(LEN)).unwrap();
    }
    store.put("gone", "1").unwrap();
    fill(dir.parent().unwrap());
    for result in [
        store.put("d/0", pattern(LEN + 1)).map(drop),
        store.put_new("new", pattern(LEN)).map(drop),
        store.put("large", pattern(LEN * 3)).map(drop),
        store.put_with("d/1", pattern(LEN), PutOptions::new().mode(0o644)).map(drop),
    ] {
        let error = unchanged(result, dir);
        assert!(error.is_storage_full(), "{error}");
    }
    let mut batch = store.batch();
    batch.put("d/2", pattern(LEN + 2)).then().delete("gone");
    let results = batch.commit().into_results();
    assert!(results[0].as_ref().unwrap_err().is_storage_full());
    assert!(results[1].as_ref().unwrap_err().is_not_attempted());
    // It goes on: what needs no room succeeds, and so does everything when there is room.
    store.delete("gone").unwrap();
    fs::remove_file(dir.parent().unwrap().join("ballast")).unwrap();
    store.put("d/3", pattern(LEN + 3)).unwrap();
    store
}

#[test]
fn a_full_disk_changes_nothing_and_the_store_goes_on() {
    for engine in engines() {
        with_mounts("a full disk with a log", |dir| {
            let dir = small_disk(dir).join("store");
            crash("full disk", &dir, engine);
            let acknowledged = files(&dir);
            assert_eq!(acknowledged.len(), 4);
            // Recovery on a disk with no room for another file: it cannot write any again.
            for key in 0..4 {
                File::create(dir.join(format!("d/{key}"))).unwrap();
            }
            fs::write(dir.join("gone"), "deleted").unwrap();
            let ballast = dir.parent().unwrap().join("ballast");
            fs::create_dir(&ballast).unwrap();
            (0..).take_while(|n| File::create(ballast.join(n.to_string())).is_ok()).for_each(drop);
            for with_log in [true, false, true] {
                let builder = builder(&dir, engine);
                let builder = if with_log { builder } else { builder.barrier(Barrier::Auto) };
                let error = builder.open().unwrap_err();
                assert_eq!((error.kind(), error.outcome()), (ErrorKind::StorageFull, Outcome::Unchanged), "{error}");
                assert!(error.path().starts_with(dir.join("d")), "{error}");
                assert_eq!(Reader::open(&dir).unwrap_err().kind(), ErrorKind::RecoveryNeeded);
            }
            fs::remove_dir_all(ballast).unwrap();
            drop(open_logged(&dir, engine));
            assert_same(&files(&dir), &acknowledged, "after making room");
            assert!(temporaries(&dir).is_empty());
        });
    }
}

/// No room for a log: the store can be used without it, and with all the room there is.
#[test]
fn a_log_that_finds_no_room_is_not_made() {
    for engine in engines() {
        with_mounts("a log on a full disk", |dir| {
            let dir = small_disk(dir).join("store");
            open(&dir, engine).put("k", "1").unwrap();
            for _ in 0..2 {
                let error = builder(&dir, engine).log_bytes(1 << 30).open().unwrap_err();
                assert_eq!((error.kind(), error.step()), (ErrorKind::StorageFull, Step::WriteLog), "{error}");
                assert_eq!((error.outcome(), format(&dir).as_str()), (Outcome::Unchanged, "ringbolt store 1\n"));
                assert!(error.path().starts_with(dir.join(".ringbolt")), "{error}");
                assert_eq!(Reader::open(&dir).unwrap().get("k").unwrap(), "1");
            }
            let store = open(&dir, engine);
            store.put("large", pattern(8 << 20)).unwrap();
            assert_eq!(store.get("k").unwrap(), "1");
            drop(store);
            open_logged(&dir, engine).put("k", "2").unwrap();
        });
    }
}

/// No room for a log of another length: what is live in the old one is not lost.
#[test]
fn a_longer_log_that_finds_no_room_leaves_the_old_one() {
    for engine in engines() {
        with_mounts("a longer log on a full disk", |dir| {
            let dir = small_disk(dir).join("store");
            crash("every change", &dir, engine);
            let acknowledged = files(&dir);
            fs::remove_file(dir.join("new")).unwrap();
            let error = builder(&dir, engine).log_bytes(1 << 30).open().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            assert_same(&files(&dir), &acknowledged, "after the refusal");
            drop(open_logged(&dir, engine));
            assert_same(&files(&dir), &acknowledged, "with the old length");
        });
    }
}

/// The disk beneath the filesystem takes no new blocks: the log can be written, the files cannot. What the kernel could not write
/// back is in the log.
#[test]
fn a_checkpoint_that_cannot_write_back_closes_the_store_and_loses_nothing() {
    for engine in engines() {
        with_mounts("a checkpoint that fails", |dir| {
            let backing = tmpfs(dir.join("t"), "size=100m");
            let (image, disk) = (backing.join("image"), dir.join("disk"));
            run(Command::new("fallocate").args(["-l", "64M"]).arg(&image));
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard"]).arg(&image));
            fs::create_dir(&disk).unwrap();
            let mount = || run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&disk));
            mount();
            let dir = disk.join("store");
            let builder = || builder(&dir, engine).log_bytes(16 << 20);
            let store = builder().open().unwrap();
            store.put("d/before", "1").unwrap();
            store.checkpoint().unwrap();
            // Free blocks have no room on the backing, but everything that is in use: the log, too.
            run(Command::new("fstrim").arg(&disk));
            fill(&backing);
            let mut acknowledged = 0;
            let error = loop {
                match store.put(format!("d/{acknowledged}"), pattern(200_000 + acknowledged)) {
                    Ok(_) => acknowledged += 1,
                    Err(error) => break error,
                }
                if acknowledged == 20 {
                    assert!(store.checkpoint().unwrap_err().is_poisoned());
                }
            };
            assert!(error.is_poisoned() && acknowledged >= 20, "{error}");
            drop(store);
            fs::remove_file(backing.join("ballast")).unwrap();
            // The kernel forgets what it could not write.
            run(Command::new("umount").arg(&disk));
            mount();
            let store = builder().open().unwrap();
            for key in 0..acknowledged {
                assert!(store.get(format!("d/{key}")).unwrap() == pattern(200_000 + key), "{key}");
            }
            assert_eq!(store.get("d/before").unwrap(), "1");
            store.close().unwrap();
        });
    }
}

/// A store whose recovery fails is closed: its threads and descriptors are gone, and its filesystem can be unmounted.
#[test]
fn a_recovery_that_fails_holds_nothing() {
    crate::mounts::with_mounts("an unmount after a failed recovery", |dir| {
        let Some(disk) = crate::mounts::disk(dir, "mkfs.ext4 -q -F", "rw") else { return };
        let at = disk.join("s");
        crash("records", &at, Engine::Portable);
        fs::remove_file(at.join("k1")).unwrap();
        fs::create_dir(at.join("k1")).unwrap();
        fs::write(at.join("k1/in the way"), "").unwrap();
        let error = builder(&at, Engine::Portable).open().unwrap_err();
        assert!(error.is_a_directory(), "{error}");
        nix::mount::umount(&disk).unwrap();
    });
}
