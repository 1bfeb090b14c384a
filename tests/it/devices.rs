//! Full and failing devices, in a separate mount namespace, so that nothing is left behind.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use ringbolt::{Barrier, PutOptions, Step, Store};

use crate::help::*;
use crate::mounts::{run, tmpfs, with_mounts};

/// An ext4 on a loop device whose image is on a tmpfs. Writes need space on the tmpfs only when they are synced. The
/// kernel detaches the device with the last mount.
pub(crate) fn ext4(at: &Path, image: &Path, size: u64) -> PathBuf {
    File::create(image).unwrap().set_len(size).unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image));
    let at = at.join("ext4");
    fs::create_dir(&at).unwrap();
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(&at));
    at
}

/// Fills a filesystem to the last byte.
pub(crate) fn fill(dir: &Path) {
    let mut ballast = File::create(dir.join("ballast")).unwrap();
    for size in [1 << 20, 4096, 1] {
        while ballast.write_all(&vec![1; size]).is_ok() {}
    }
}

/// No space for the temporary file's content: the write is short, and the next one fails.
#[test]
fn a_disk_that_fills_up_in_the_middle_leaves_the_old_content() {
    for engine in engines() {
        with_mounts("a disk that fills up", |dir| {
            let full = tmpfs(dir.join("t"), "size=1m");
            let store = open(&full, engine);
            store.put("k", "old").unwrap();
            let error = unchanged(store.put("k", pattern(2 << 20)), &full);
            assert!(error.is_storage_full(), "{error}");
            assert_eq!(error.step(), Step::Write);

            let mut file = store.writer("k", PutOptions::new()).unwrap();
            assert!(file.write_all(&pattern(2 << 20)).is_err());
            // If the error is ignored, the commit fails: an incomplete file is never published.
            let error = unchanged(file.commit(), &full);
            assert!(error.is_storage_full(), "{error}");
            assert_eq!(store.get("k").unwrap(), "old");
            store.put("k", "new").unwrap();
        });
    }
}

/// No space for the temporary file itself.
#[test]
fn a_disk_that_is_full_before_leaves_the_old_content() {
    for engine in engines() {
        with_mounts("a full disk", |dir| {
            let full = tmpfs(dir.join("t"), "size=1m,nr_inodes=8");
            let store = open(&full, engine);
            store.put("k", "old").unwrap();
            while File::create(full.join(format!("{}", fs::read_dir(&full).unwrap().count()))).is_ok() {}
            let error = unchanged(store.put("k", "new"), &full);
            assert!(error.is_storage_full(), "{error}");
            assert_eq!(error.step(), Step::CreateTemp);
            assert!(unchanged(store.writer("k", PutOptions::new()), &full).is_storage_full());
            assert!(store.put("no/room", "new").unwrap_err().is_storage_full());
            assert_eq!(store.get("k").unwrap(), "old");
        });
    }
}

/// The device is full but the page cache is not: the write succeeds and the sync fails. A chain with a linked plain
/// fsync would fail this test: the kernel continues with the rename, which replaces the old file by lost data.
#[test]
fn a_sync_that_fails_leaves_the_old_content() {
    for engine in engines() {
        // A small content; one too long for a chain with one write; one with a mode; one through a guard.
        for way in 0..4 {
            with_mounts("a failing sync", |dir| {
                let backing = tmpfs(dir.join("t"), "size=48m");
                let disk = ext4(dir, &backing.join("image"), 512 << 20);
                let store = open(&disk, engine);
                store.put("k", "old").unwrap();
                fill(&backing);
                let content = pattern(64 << 20);
                let result = match way {
                    0 => store.put("k", content).map(drop),
                    1 => store.put_new("new", content).map(drop),
                    2 => store.put_with("k", content, PutOptions::new().mode(0o644)).map(drop),
                    _ => {
                        let mut file = store.writer("k", PutOptions::new()).unwrap();
                        file.write_all(&content).unwrap();
                        file.commit().map(drop).map_err(Into::into)
                    }
                };
                let error = result.unwrap_err();
                assert!(store.get("k").unwrap() == "old", "{engine:?} {way}: the old content is lost: {error}");
                assert!(!disk.join("new").exists());
                assert_eq!(error.outcome(), ringbolt::Outcome::Unchanged, "{error}");
                assert_eq!(error.step(), Step::SyncFile, "{error}");
                // The device may have become read-only. Then the error names the temporary file, and a later open
                // removes it.
                assert!(error.leftover().is_some() || temporaries(&disk).is_empty(), "{error}");
            });
        }
    }
}

/// The same for writers that share one syncfs: none is acknowledged, and no old content changes.
#[test]
fn a_shared_sync_that_fails_leaves_every_old_content() {
    for engine in engines() {
        with_mounts("a failing syncfs", |dir| {
            let backing = tmpfs(dir.join("t"), "size=48m");
            let disk = ext4(dir, &backing.join("image"), 512 << 20);
            let store = Store::builder(&disk)
                .create_if_missing(true)
                .engine(engine)
                .barrier(Barrier::Filesystem)
                .open()
                .unwrap();
            for key in 0..8 {
                store.put(key.to_string(), "old").unwrap();
            }
            fill(&backing);
            thread::scope(|scope| {
                for key in 0..8 {
                    let (store, disk) = (&store, &disk);
                    scope.spawn(move || {
                        let error = store.put(key.to_string(), pattern(16 << 20)).unwrap_err();
                        assert_eq!(error.outcome(), ringbolt::Outcome::Unchanged, "{error}");
                        assert!(
                            store.get(key.to_string()).unwrap() == "old",
                            "{engine:?}: the old content is lost: {error}"
                        );
                        assert!(error.leftover().is_none() || disk.exists());
                    });
                }
            });
        });
    }
}

/// On a read-only mount nothing can be created, and the error says so.
#[test]
fn a_read_only_mount_is_reported() {
    for engine in engines() {
        with_mounts("a read-only mount", |dir| {
            let at = tmpfs(dir.join("t"), "size=1m");
            let store = open(&at, engine);
            store.put("k", "old").unwrap();
            let remount = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            // An open store does not prevent a read-only remount, because it holds only directories open.
            let lock_is_open = mount(None::<&str>, &at, None::<&str>, remount, None::<&str>);
            if lock_is_open.is_ok() {
                let error = unchanged(store.put("k", "new"), &at);
                assert_eq!(error.raw_os_error(), Some(nix::libc::EROFS), "{error}");
            }
            drop(store);
            mount(None::<&str>, &at, None::<&str>, remount, None::<&str>).unwrap();
            let error = Store::builder(&at).create_if_missing(true).engine(engine).open().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(nix::libc::EROFS), "{error}");
            assert_eq!(ringbolt::Reader::open(&at).unwrap().get("k").unwrap(), "old");
        });
    }
}

/// The filesystems that storage nodes use, with default options.
#[test]
fn every_common_filesystem_works() {
    for (make, args) in [("mkfs.ext4", ["-q", "-F"]), ("mkfs.xfs", ["-q", "-f"]), ("mkfs.btrfs", ["-q", "-f"])] {
        if Command::new(make).arg("-V").output().is_err() {
            skip(make, "not installed");
            continue;
        }
        with_mounts(make, |dir| {
            let backing = tmpfs(dir.join("t"), "size=1g");
            let (image, at) = (backing.join("image"), dir.join("mnt"));
            File::create(&image).unwrap().set_len(512 << 20).unwrap();
            run(Command::new(make).args(args).arg(&image));
            fs::create_dir(&at).unwrap();
            run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
            for engine in engines() {
                let store = open(&at, engine);
                store.put("a/k", "1").unwrap();
                store.put("a/k", pattern(3 << 20)).unwrap();
                assert!(store.put_new("a/k", "2").unwrap_err().is_already_exists());
                store.rename("a/k", "b/k").unwrap();
                assert!(store.get("b/k").unwrap() == pattern(3 << 20));
                store.delete("b/k").unwrap();
                assert!(temporaries(&at).is_empty());
            }
        });
    }
}
