//! A sidecar on a full disk or in a read-only directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use nix::mount::{MsFlags, mount};
use ringbolt::Step;
use ringbolt::sidecar::{Purpose, Sidecar, SidecarError, SidecarOptions};

use crate::help::*;
use crate::mounts::{tmpfs, with_mounts};
use crate::sidecar_file::failed;
use crate::sidecar_format::{fixture, id, key};

/// The disk is full before the write, during it, or at the sync: the old content stays, and no temporary file.
#[test]
fn a_full_disk_leaves_the_old_file() {
    for engine in engines() {
        let options = SidecarOptions::new().engine(engine);
        with_mounts("a full disk under a sidecar", |dir| {
            let full = tmpfs(dir.join("t"), "size=64k,nr_inodes=5");
            let path = full.join("keys.json");
            let store = options.create(&path, fixture()).unwrap();
            let large = store.update(|sidecar| sidecar.keys.insert(id(5), key(Purpose::Raft, &[7; 60_000], "", 0)));
            let error = failed(large, &full, &["keys.json"]);
            assert!(error.is_storage_full() && error.step() == Step::Write, "{error}");
            for name in ["a", "b"] {
                fs::write(full.join(name), "").unwrap();
            }
            let error = failed(store.bump_local_epoch(id(305_419_896)), &full, &["a", "b", "keys.json"]);
            assert!(error.is_storage_full() && error.step() == Step::CreateTemp, "{error}");
            assert_eq!((options.read(&path).unwrap(), &*store.get()), (fixture(), &fixture()));
            // When there is space again, the store continues.
            fs::remove_file(full.join("a")).unwrap();
            assert_eq!(store.bump_local_epoch(id(305_419_896)).unwrap(), 8);
        });
    }
}

#[test]
fn a_read_only_directory_leaves_the_old_file() {
    for engine in engines() {
        let options = SidecarOptions::new().engine(engine);
        with_mounts("a read-only disk under a sidecar", |dir| {
            let at = tmpfs(dir.join("t"), "size=1m");
            let path = at.join("keys.json");
            options.write(&path, &fixture()).unwrap();
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(None::<&str>, &at, None::<&str>, flags, None::<&str>).unwrap();
            let error = failed(options.write(&path, &Sidecar::default()), &at, &["keys.json"]);
            assert!(error.is_read_only(), "{error}");
            assert_eq!(options.read(&path).unwrap(), fixture());
            // The open fails, not just the first change.
            let error = failed(options.open(&path), &at, &["keys.json"]);
            assert!(error.is_read_only(), "{error}");
        });
        if !nix::unistd::geteuid().is_root() {
            return skip("a directory of another user under a sidecar", "needs root");
        }
        // Changes the user for file access, for this thread and threads that it starts.
        let dir = dir();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("keys.json");
        options.write(&path, &fixture()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
                let error = failed(options.write(&path, &Sidecar::default()), dir.path(), &["keys.json"]);
                assert!(error.is_permission_denied(), "{error}");
                match options.read(&path) {
                    Err(SidecarError::Io(error)) => assert!(error.is_permission_denied(), "{error}"),
                    result => panic!("{result:?}"),
                }
            });
        });
        assert_eq!(options.read(&path).unwrap(), fixture());
    }
}
