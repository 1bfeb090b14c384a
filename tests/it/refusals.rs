//! Systems that refuse io_uring, a system call, or a directory sync.

use std::collections::BTreeMap;
use std::thread;

use nix::libc;
use ringbolt::{Engine, Store};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::help::*;
use crate::mounts::{EXT4, disk, run, with_mounts};

/// Runs `test` on a thread where a system call fails with this errno. The filter ends with the thread.
pub(crate) fn refusing<T: Send>(call: i64, errno: i32, test: impl FnOnce() -> T + Send) -> T {
    let rules = BTreeMap::from([(call, Vec::new())]);
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let filter = SeccompFilter::new(rules, allow, refuse, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            apply_filter(&program).unwrap();
            test()
        });
        thread.join().unwrap()
    })
}

#[test]
#[cfg(feature = "uring")]
fn io_uring_refused_by_seccomp_is_explained() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let dir = dir();
        refusing(libc::SYS_io_uring_setup, errno, || {
            let error = Store::builder(dir.path()).create_if_missing(true).engine(Engine::Uring).open().unwrap_err();
            assert!(error.is_engine_unavailable(), "{error}");
            assert!(error.to_string().contains("refused by this container's seccomp profile"), "{error}");
            if cfg!(feature = "portable") {
                let store = Store::builder(dir.path()).create_if_missing(true).open().unwrap();
                assert_eq!(store.engine().kind, ringbolt::EngineKind::Portable);
                let error = ringbolt::probe_uring().unwrap_err();
                assert!(error.is_engine_unavailable() && error.to_string().contains("seccomp"), "{error}");
                store.put("k", "x").unwrap();
            } else {
                assert!(Store::create(dir.path()).unwrap_err().is_engine_unavailable());
            }
        });
    }
}

#[test]
#[cfg(feature = "uring")]
fn a_failure_that_is_no_refusal_is_an_error() {
    let dir = dir();
    refusing(libc::SYS_io_uring_register, libc::EINVAL, || {
        let error = Store::builder(dir.path()).create_if_missing(true).engine(Engine::Uring).open().unwrap_err();
        assert!(!error.is_engine_unavailable(), "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    });
}

/// Older seccomp profiles refuse openat2. Then paths are walked one component at a time, still without following links.
#[test]
fn without_openat2_no_link_is_followed_either() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        refusing(libc::SYS_openat2, errno, || {
            each_engine(|engine, dir| {
                let store = open(dir, engine);
                store.put("a/b/k", "x").unwrap();
                assert_eq!(store.get("a/b/k").unwrap(), "x");
                std::os::unix::fs::symlink("b", dir.join("a/link")).unwrap();
                assert!(store.get("a/link/k").unwrap_err().is_symlink());
                assert!(unchanged(store.put("a/link/k", "y"), dir).is_symlink());
                assert!(unchanged(store.put("a/link/c/k", "y"), dir).is_symlink());
                assert!(unchanged(store.put("a/b/k/c", "y"), dir).is_not_a_directory());
                assert!(store.get("a/b").unwrap_err().is_a_directory());
                assert_eq!(store.list("").unwrap().count(), 1);
            });
        });
    }
}

/// procfs cannot sync a directory, like many network and FUSE filesystems.
#[test]
fn a_filesystem_that_cannot_sync_directories_is_refused() {
    let error = Store::builder("/proc").adopt(true).create().unwrap_err();
    assert!(error.is_unsupported_filesystem(), "{error}");
    assert_eq!(error.step(), ringbolt::Step::SyncDir);
    assert!(error.to_string().contains("cannot make a directory durable"), "{error}");
}

/// Without CAP_FSETID, the kernel clears set-id bits on a write.
#[test]
fn set_id_bits_survive_the_write() {
    if !nix::unistd::geteuid().is_root() {
        return skip("set-id bits of another user", "needs root");
    }
    each_engine(|engine, dir| {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        thread::scope(|scope| {
            let write = || {
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
                let options = ringbolt::WriteOptions::new().engine(engine).mode(0o6755);
                options.write(dir.join("whole"), pattern(5000)).unwrap();
                let mut file = options.create(dir.join("pieces")).unwrap();
                std::io::Write::write_all(&mut file, &pattern(5000)).unwrap();
                file.commit().unwrap();
            };
            scope.spawn(write).join().unwrap();
        });
        for name in ["whole", "pieces"] {
            assert_eq!(std::fs::metadata(dir.join(name)).unwrap().mode() & 0o7777, 0o6755, "{engine:?} {name}");
        }
    });
}

/// Without permission to write, nothing is created and nothing is lost.
#[test]
fn a_read_only_directory_is_reported() {
    if !nix::unistd::geteuid().is_root() {
        return skip("read-only directories of another user", "needs root");
    }
    each_engine(|engine, dir| {
        open(dir, engine).put("k", "old").unwrap();
        let store = (engine == Engine::Portable).then(|| open(dir, engine));
        let results = thread::scope(|scope| {
            let attempt = || {
                // Changes the user for file access, for this thread only. A ring uses the user of its creator.
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
                let reopened = Store::builder(dir).create_if_missing(true).engine(engine).open().map(drop);
                let put = |store: &Store| ["k", "new/k"].map(|key| store.put(key, "new").map(drop));
                store.iter().flat_map(put).chain([reopened]).collect::<Vec<_>>()
            };
            scope.spawn(attempt).join().unwrap()
        });
        for result in results {
            let error = unchanged(result, dir);
            assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{error}");
        }
        drop(store);
        assert_eq!(open(dir, engine).get("k").unwrap(), "old");
    });
}

/// ext2 shares the magic number of ext4, but its syncfs flushes no cache of the device.
#[test]
fn ext2_is_not_taken_for_ext4() {
    with_mounts("an ext2", |dir| {
        let Some(image) = disk(dir, "mkfs.ext2 -q -F", "rw").map(|_| dir.join("backing/image")) else { return };
        let at = dir.join("ext2");
        std::fs::create_dir(&at).unwrap();
        run(std::process::Command::new("umount").arg(dir.join("disk")));
        let mounted =
            std::process::Command::new("mount").args(["-t", "ext2", "-o", "loop"]).arg(&image).arg(&at).status();
        if !mounted.unwrap().success() {
            return skip("an ext2", "this kernel has no driver of that name");
        }
        let refused = Store::builder(&at).barrier(ringbolt::Barrier::Filesystem).create().unwrap_err();
        assert!(refused.is_unsupported_barrier(), "{refused}");
        let store = Store::create(&at).unwrap();
        assert!(store.stats().barrier.reason.contains("ext4, xfs and btrfs only"), "{}", store.stats().barrier.reason);
        store.put("k", "1").unwrap();
    });
}

/// A directory with search and write but no read permission cannot be opened to sync new names in it.
#[test]
fn the_name_of_a_store_is_durable_or_refused() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        return skip("a directory that may not be read", "needs root");
    }
    for (what, make) in [("ext4", Some(EXT4)), ("a filesystem without a proven syncfs", None)] {
        with_mounts(what, |dir| {
            let at = match make {
                Some(make) => disk(dir, make, "rw").unwrap(),
                // ramfs is an unknown filesystem.
                None => {
                    let at = dir.join("ramfs");
                    std::fs::create_dir(&at).unwrap();
                    run(std::process::Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(&at));
                    at
                }
            };
            let drop_box = at.join("drop-box");
            std::fs::create_dir(&drop_box).unwrap();
            std::fs::set_permissions(&drop_box, std::fs::Permissions::from_mode(0o333)).unwrap();
            std::fs::create_dir(drop_box.join("store")).unwrap();
            std::os::unix::fs::chown(drop_box.join("store"), Some(65534), None).unwrap();
            let held = std::fs::File::open(drop_box.join("store")).unwrap();
            let created = std::thread::scope(|scope| {
                let create = || {
                    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
                    Store::builder_at(&held).and_then(ringbolt::StoreBuilder::create).map(drop)
                };
                scope.spawn(create).join().unwrap()
            });
            match make {
                Some(_) => created.unwrap(),
                None => {
                    let error = created.unwrap_err();
                    assert!(error.is_permission_denied() && error.to_string().contains("must be readable"), "{error}");
                }
            }
        });
    }
}
