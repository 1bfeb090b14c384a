//! The store of a sidecar: changes, values that may not decrease, and changes by other programs; on every engine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::thread;

use ringbolt::sidecar::{KeyId, Purpose, Sidecar, SidecarError, SidecarStore};

use crate::help::*;
use crate::sidecar_file::{each, names};
use crate::sidecar_format::{fixture, id, key};

#[test]
fn changes_of_many_threads_are_all_there() {
    each(|options, dir, path| {
        let store = options.create(path, fixture()).unwrap();
        let storage = id(305_419_896);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        store.update(|sidecar| sidecar.raft_applied_index += 1).unwrap();
                        store.bump_local_epoch(storage).unwrap();
                    }
                });
            }
        });
        let sidecar = store.get();
        assert_eq!((sidecar.raft_applied_index, sidecar.keys[&storage].local_epoch), (184_273 + 40, 7 + 40));
        assert_eq!(options.read(path).unwrap(), *sidecar);
        assert_eq!(names(dir), ["keys.json"]);
    });
}

#[test]
fn what_only_moves_forward_is_not_taken_back() {
    each(|options, _, path| {
        let store = options.create(path, fixture()).unwrap();
        let (storage, raft) = (id(305_419_896), id(2_596_069_104));
        let before = fs::read(path).unwrap();
        let error = store.update(|sidecar| sidecar.raft_applied_index -= 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "raft_applied_index may only increase: it is 184273, and the change would set it to 184272"
        );
        let error = store.update(|sidecar| sidecar.keys.get_mut(&raft).unwrap().local_epoch = 6).unwrap_err();
        assert_eq!(
            error.to_string(),
            "keys.2596069104.local_epoch may only increase: it is 7, and the change would set it to 6"
        );
        assert!(matches!(store.update(|sidecar| sidecar.keys.remove(&raft)), Err(SidecarError::ActiveMissing { .. })));
        assert!(matches!(store.bump_local_epoch(id(7)), Err(SidecarError::NoSuchKey { .. })));
        // An error or a panic in `change` changes nothing, and later changes work.
        let mine = store.try_update(|sidecar| {
            sidecar.raft_applied_index += 1;
            Err::<(), Box<dyn std::error::Error>>("no".into())
        });
        assert_eq!(mine.unwrap_err().to_string(), "no");
        thread::scope(|scope| {
            let panics = scope.spawn(|| store.update(|_| panic!("in a change")));
            assert!(panics.join().is_err());
        });
        assert_eq!((fs::read(path).unwrap(), &*store.get()), (before, &fixture()));
        // The maximum epoch.
        store.update(|sidecar| sidecar.keys.get_mut(&storage).unwrap().local_epoch = 65_534).unwrap();
        assert_eq!(store.bump_local_epoch(storage).unwrap(), 65_535);
        assert_eq!(options.read(path).unwrap().keys[&storage].local_epoch, 65_535);
        let error = store.bump_local_epoch(storage).unwrap_err();
        assert_eq!(error.to_string(), "the local epoch of key 305419896 is 65535, the maximum; rotate to a new key");
        assert_eq!(options.read(path).unwrap().keys[&storage].local_epoch, 65_535);
        store.force_update(|sidecar| sidecar.raft_applied_index = 1).unwrap();
        assert_eq!(options.read(path).unwrap().raft_applied_index, 1);
    });
}

#[test]
fn a_rotation_is_one_write() {
    each(|options, _, path| {
        let store = options.create(path, Sidecar::default()).unwrap();
        let mut ids = Vec::<KeyId>::new();
        for purpose in [Purpose::Storage, Purpose::Raft, Purpose::Storage] {
            let inode = fs::metadata(path).unwrap().ino();
            let wrapped = vec![0xa5; 60];
            let id = store.rotate(purpose, wrapped.clone()).unwrap();
            assert!(!ids.contains(&id));
            ids.push(id);
            assert_ne!(fs::metadata(path).unwrap().ino(), inode);
            let sidecar = options.read(path).unwrap();
            let (active, key) = sidecar.active_key(purpose).unwrap();
            assert_eq!((active, key.wrapped.as_bytes(), key.local_epoch), (id, &*wrapped, 0));
            assert!(key.created.len() == 20 && key.created.ends_with('Z'), "{}", key.created);
        }
        assert_eq!(store.get().keys.len(), 3);
        assert_eq!(store.get().active.raft, Some(ids[1]));
        // An id chosen by the caller, which cannot be used twice.
        store.rotate_to(id(9), Purpose::Raft, [1_u8; 4].as_slice()).unwrap();
        assert!(matches!(store.rotate_to(id(9), Purpose::Raft, vec![]), Err(SidecarError::KeyExists { .. })));
        assert_eq!(options.read(path).unwrap().active.raft, Some(id(9)));
        let debug = format!("{store:?} {:?}", store.get());
        assert!(
            !debug.contains("165, 165") && !debug.contains("a5a5") && debug.contains("WrappedKey(60 bytes)"),
            "{debug}"
        );
    });
}

/// A change without effect writes nothing.
#[test]
fn no_change_is_no_write() {
    each(|options, _, path| {
        let store = options.create(path, fixture()).unwrap();
        let inode = || fs::metadata(path).unwrap().ino();
        let before = inode();
        assert_eq!(store.update(|sidecar| sidecar.keys.len()).unwrap(), 2);
        assert_eq!(inode(), before);
    });
}

/// Go's nil slice is read as an empty key. The first change, even one without effect, writes it back as one.
#[test]
fn a_nil_slice_is_written_back_as_an_empty_one() {
    each(|options, _, path| {
        drop(options.create(path, fixture()).unwrap());
        let nil = fs::read_to_string(path).unwrap().replace(r#""AQIDBA==""#, "null");
        fs::write(path, &nil).unwrap();
        let store = options.open(path).unwrap();
        assert_eq!(store.get().keys[&id(305_419_896)].wrapped.as_bytes(), b"");
        assert_eq!(fs::read_to_string(path).unwrap(), nil);
        store.update(|_| ()).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), nil.replace("null", r#""""#));
    });
}

#[test]
fn a_snapshot_does_not_change() {
    let dir = dir();
    let store = SidecarStore::create(dir.path().join("keys.json"), fixture()).unwrap();
    let before = store.get();
    store.update(|sidecar| sidecar.keys.insert(id(5), key(Purpose::Raft, &[1], "", 0))).unwrap();
    assert_eq!(*before, fixture());
    assert_eq!(Arc::strong_count(&before), 1);
    assert_eq!(store.path(), dir.path().join("keys.json"));
}

/// A key that returns must not restart its epochs or change its purpose; the file must not lower its version.
#[test]
fn what_was_given_once_is_not_given_again() {
    each(|options, _, path| {
        let store = options.create(path, Sidecar::default()).unwrap();
        let seven = id(7);
        store.rotate_to(seven, Purpose::Storage, vec![1; 60]).unwrap();
        assert_eq!(store.bump_local_epoch(seven).unwrap(), 1);
        store.rotate_to(id(8), Purpose::Storage, vec![2; 60]).unwrap();
        store.update(|sidecar| sidecar.keys.remove(&seven)).unwrap();
        let again = store.rotate_to(seven, Purpose::Storage, vec![1; 60]).unwrap_err();
        assert_eq!(
            again.to_string(),
            "keys.7.local_epoch may only increase: it is 1, and the change would set it to 0"
        );
        let other = store.update(|sidecar| sidecar.keys.insert(seven, key(Purpose::Raft, &[1], "", 1)));
        assert!(matches!(other, Err(SidecarError::KeyExists { .. })));
        store.update(|sidecar| sidecar.keys.insert(seven, key(Purpose::Storage, &[1], "", 1))).unwrap();
        let other = store.update(|sidecar| sidecar.keys.get_mut(&seven).unwrap().purpose = Purpose::Raft);
        assert!(matches!(other, Err(SidecarError::KeyExists { .. })));
        store.update(|sidecar| sidecar.upgrade(3)).unwrap();
        let error = store.update(|sidecar| sidecar.storage_envelope_cutover_index = None).unwrap_err();
        assert_eq!(error.to_string(), "version may only increase: it is 2, and the change would set it to 1");
        assert_eq!(options.read(path).unwrap(), *store.get());
    });
}

/// If another program replaces the file despite the lock, a running node does not overwrite it.
#[test]
fn a_file_changed_by_another_program_is_not_overwritten() {
    each(|options, dir, path| {
        let store = options.create(path, fixture()).unwrap();
        store.bump_local_epoch(id(305_419_896)).unwrap();
        let restored = Sidecar { raft_applied_index: u64::MAX, ..fixture() };
        fs::write(dir.join("copy"), restored.to_json().unwrap()).unwrap();
        fs::set_permissions(dir.join("copy"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(dir.join("copy"), path).unwrap();
        let error = store.bump_local_epoch(id(305_419_896)).unwrap_err();
        assert!(matches!(error, SidecarError::ChangedBehind { .. }), "{error}");
        assert_eq!(options.read(path).unwrap(), restored);
        drop(store);
        assert_eq!(options.open(path).unwrap().bump_local_epoch(id(305_419_896)).unwrap(), 8);
        let store = options.open(path).unwrap();
        fs::remove_file(path).unwrap();
        assert!(matches!(store.bump_local_epoch(id(305_419_896)), Err(SidecarError::ChangedBehind { .. })));
    });
}

/// `allow_bad_active` allows repairs.
#[test]
fn bad_active_ids_can_be_put_right() {
    each(|options, _, path| {
        let json = String::from_utf8(fixture().to_json().unwrap()).unwrap();
        fs::write(path, json.replace("\"raft\": 2596069104", "\"raft\": 3")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(options.open(path), Err(SidecarError::ActiveMissing { .. })));
        let store = options.clone().allow_bad_active(true).open(path).unwrap();
        assert!(matches!(
            store.update(|sidecar| sidecar.raft_applied_index += 1),
            Err(SidecarError::ActiveMissing { .. })
        ));
        store.try_update(|sidecar| sidecar.set_active(Purpose::Raft, Some(id(2_596_069_104)))).unwrap();
        assert_eq!(options.read(path).unwrap(), fixture());
    });
}
