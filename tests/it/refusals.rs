//! Systems that refuse something: io_uring, a system call, a directory sync.

use std::collections::BTreeMap;
use std::thread;

use nix::libc;
use ringbolt::{Engine, Store};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::help::*;

/// Runs `test` on a thread for which this system call fails with this errno. The filter dies with the thread.
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
fn io_uring_refused_by_seccomp_is_told_in_words() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let dir = dir();
        refusing(libc::SYS_io_uring_setup, errno, || {
            let error = Store::builder(dir.path()).create_if_missing(true).engine(Engine::Uring).open().unwrap_err();
            assert!(error.is_engine_unavailable(), "{error}");
            assert!(error.to_string().contains("refused by this container's seccomp profile"), "{error}");
            if cfg!(feature = "portable") {
                let store = Store::open(dir.path()).unwrap();
                assert_eq!(store.engine().kind, ringbolt::EngineKind::Portable);
                assert!(store.engine().reason.contains("seccomp"), "{}", store.engine());
                store.put("k", "x").unwrap();
            } else {
                assert!(Store::open(dir.path()).unwrap_err().is_engine_unavailable());
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

/// Older seccomp profiles refuse openat2; paths are then walked, and still lead nowhere else.
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

/// procfs cannot sync a directory; neither can many network and FUSE filesystems.
#[test]
fn a_filesystem_that_cannot_sync_directories_is_refused() {
    let error = Store::open("/proc").unwrap_err();
    assert!(error.is_unsupported_filesystem(), "{error}");
    assert_eq!(error.step(), ringbolt::Step::SyncDir);
    assert!(error.to_string().contains("cannot make a directory durable"), "{error}");
}

/// The kernel takes the set-id bits off a file that is written to, unless one has CAP_FSETID.
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
fn a_read_only_directory_is_told() {
    if !nix::unistd::geteuid().is_root() {
        return skip("read-only directories of another user", "needs root");
    }
    each_engine(|engine, dir| {
        open(dir, engine).put("k", "old").unwrap();
        let store = (engine == Engine::Portable).then(|| open(dir, engine));
        let results = thread::scope(|scope| {
            let attempt = || {
                // The filesystem's idea of who we are, for this thread alone. A ring has its owner's.
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
