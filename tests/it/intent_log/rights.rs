//! A writer that may not do everything in its store: what goes beside the log then, and what is refused before the record.

use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};

use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use ringbolt::{Error, ErrorKind, Outcome, PutOptions, Step};

use super::scripts::{LARGE, OWNER};
use super::*;

/// Opens the store as another user, through a descriptor: its path may lead through directories that are closed to others.
pub(super) fn open_as_other(dir: &Path, engine: Engine) -> (File, Store) {
    let at = File::open(dir).unwrap();
    setgroups(&[]).unwrap();
    setgid(Gid::from_raw(OWNER)).unwrap();
    setuid(Uid::from_raw(OWNER)).unwrap();
    let builder = Store::builder_at(&at).unwrap().engine(engine);
    let store = builder.barrier(Barrier::IntentLog).log_bytes(LOG_BYTES).open().unwrap();
    (at, store)
}

/// Runs a script in a child, by another user, in a store that belongs to that user. `false` if that is not possible.
fn crash_as_other(what: &str, script: &str, dir: &Path, engine: Engine) -> bool {
    if !nix::unistd::geteuid().is_root() {
        skip(what, "needs root");
        return false;
    }
    drop(open_logged(dir, engine));
    fs::write(dir.join("strange"), "of root").unwrap();
    fs::set_permissions(dir.join("strange"), Permissions::from_mode(0o644)).unwrap();
    run(Command::new("chown").args(["-R", &format!("{OWNER}:{OWNER}")]).arg(dir));
    chown(dir.join("strange"), Some(0), Some(0)).unwrap();
    crash(script, dir, engine);
    true
}

/// Renames a file of its own, and one of root.
pub(super) fn rename_as_other(dir: &Path, engine: Engine) -> Store {
    let (_, store) = open_as_other(dir, engine);
    let records = || store.stats().log.unwrap().records;
    store.put("mine", "1").unwrap();
    store.rename("mine", "mine moved").unwrap();
    assert_eq!(records(), 2, "a put and a rename");
    store.rename("strange", "strange moved").unwrap();
    assert_eq!(records(), 2, "nothing of this rename is in the log");
    // The log holds the key that it replaces: from here on, the file rules.
    store.put("replaced", "1").unwrap();
    store.rename("strange moved", "replaced").unwrap();
    assert_eq!(records(), 4);
    store
}

/// Recovery could not give the file back to its owner, so a rename of it is made durable by syncs.
#[test]
fn a_rename_of_another_users_file_goes_beside_the_log() {
    each_logged("strange files", |engine, dir| {
        if !crash_as_other("strange files", "rename as other", dir, engine) {
            return;
        }
        let acknowledged = files(dir);
        assert_eq!(acknowledged[Path::new("replaced")].owner, (0, 0));
        fs::remove_file(dir.join("mine moved")).unwrap();
        drop(open_logged(dir, engine));
        assert_same(&files(dir), &acknowledged, "after recovery");
    });
}

fn set_mode(at: &File, name: &str, mode: u32) {
    fchmodat(at.as_fd(), name, Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink).unwrap();
}

/// Names may not change in a directory.
pub(super) fn change_what_is_shut(dir: &Path, engine: Engine) -> Store {
    let (at, store) = open_as_other(dir, engine);
    for key in ["shut/k", "open/k"] {
        store.put(key, "1").unwrap();
    }
    let version = store.metadata("shut/k").unwrap().version.unwrap();
    set_mode(&at, "shut", 0o555);
    let before = store.stats().log.unwrap().records;
    let refused = |result: Result<(), Error>, step: Step| {
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::PermissionDenied, Outcome::Unchanged), "{error}");
        assert_eq!(error.step(), step, "{error}");
        assert_eq!(store.stats().log.unwrap().records, before, "{error}");
    };
    refused(store.put("shut/k", "2").map(drop), Step::CreateTemp);
    refused(store.delete("shut/k"), Step::Unlink);
    refused(store.delete_if("shut/k", version), Step::Compare);
    refused(store.rename("shut/k", "open/k"), Step::Rename);
    refused(store.rename("open/k", "shut/k"), Step::Rename);
    store.put("open/k", "2").unwrap();
    set_mode(&at, "shut", 0o755);
    store.put("shut/k", "3").unwrap();
    store
}

/// Otherwise the record would be durable, and the change could not be made any more.
#[test]
fn a_directory_without_permission_is_found_before_the_record() {
    each_logged("directories that are shut", |engine, dir| {
        if !crash_as_other("directories that are shut", "shut", dir, engine) {
            return;
        }
        let acknowledged = files(dir);
        assert_eq!(acknowledged[Path::new("shut/k")].content, b"3");
        fs::write(dir.join("shut/k"), "lost").unwrap();
        drop(open_logged(dir, engine));
        assert_same(&files(dir), &acknowledged, "after recovery");
    });
}

/// A large value for a key whose present file cannot be opened.
pub(super) fn replace_what_cannot_be_opened(dir: &Path, engine: Engine) -> Store {
    let (at, store) = open_as_other(dir, engine);
    store.put_with("closed", "1", PutOptions::new().mode(0)).unwrap();
    let error = store.put("closed", pattern(LARGE)).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::PermissionDenied, Outcome::Unchanged), "{error}");
    assert_eq!(error.step(), Step::SyncFile, "{error}");
    // It was no sync that failed: the store goes on. One that may be written is enough.
    set_mode(&at, "closed", 0o200);
    store.put("closed", pattern(LARGE)).unwrap();
    store
}

/// The present content must be durable before a change goes beside the log.
#[test]
fn a_present_file_that_cannot_be_opened_refuses_the_change() {
    each_logged("files that are closed", |engine, dir| {
        if !crash_as_other("files that are closed", "closed", dir, engine) {
            return;
        }
        let acknowledged = files(dir);
        assert_eq!(acknowledged[Path::new("closed")].content, pattern(LARGE));
        drop(open_logged(dir, engine));
        assert_same(&files(dir), &acknowledged, "after recovery");
    });
}
