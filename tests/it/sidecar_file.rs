//! The file of a sidecar: reading, writing and locking, on every engine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ringbolt::sidecar::{Sidecar, SidecarError, SidecarOptions, SidecarStore};
use ringbolt::{Outcome, Step};

use crate::help::*;
use crate::sidecar_format::fixture;

/// Runs a test with every engine, with a path to write to.
pub(crate) fn each(test: impl Fn(SidecarOptions, &Path, &Path)) {
    each_engine(|engine, dir| test(SidecarOptions::new().engine(engine), dir, &dir.join("keys.json")));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// The entries of a directory, without the lock.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != ".ringbolt-sidecar.lock").collect();
    names.sort();
    names
}

/// Asserts that a write failed, and that the directory contains only `stays`.
#[track_caller]
pub(crate) fn failed<T: std::fmt::Debug>(
    result: Result<T, SidecarError>,
    dir: &Path,
    stays: &[&str],
) -> ringbolt::Error {
    match result {
        Err(SidecarError::Io(error)) => {
            assert_eq!(error.outcome(), Outcome::Unchanged, "{error}");
            assert_eq!(names(dir), stays, "{error}");
            error
        }
        result => panic!("{result:?}"),
    }
}

#[test]
fn a_round_trip_leaves_one_private_file() {
    each(|options, dir, path| {
        let mut sidecar = fixture();
        for version in [1, 2] {
            options.write(path, &sidecar).unwrap();
            assert_eq!(options.read(path).unwrap(), sidecar);
            assert_eq!(sidecar.version(), version);
            assert_eq!(names(dir), ["keys.json"]);
            assert_eq!(mode(path), 0o600);
            sidecar.upgrade(1);
        }
    });
}

#[test]
fn what_an_interrupted_writer_left_passes_nothing_on() {
    each(|options, dir, path| {
        let stale = dir.join("keys.json.tmp");
        fs::write(&stale, "half of someth").unwrap();
        fs::set_permissions(&stale, fs::Permissions::from_mode(0o666)).unwrap();
        options.write(path, &fixture()).unwrap();
        assert_eq!((names(dir), mode(path)), (vec!["keys.json".to_owned()], 0o600));
        // A symbolic link is not followed.
        fs::write(dir.join("precious"), "precious").unwrap();
        symlink("precious", &stale).unwrap();
        options.write(path, &Sidecar::default()).unwrap();
        assert_eq!(names(dir), ["keys.json", "precious"]);
        assert_eq!(fs::read_to_string(dir.join("precious")).unwrap(), "precious");
        assert_eq!(options.read(path).unwrap(), Sidecar::default());
        // A directory with that name is not removed.
        fs::create_dir(&stale).unwrap();
        let error = failed(options.write(path, &fixture()), dir, &["keys.json", "keys.json.tmp", "precious"]);
        assert_eq!((error.step(), error.path()), (Step::CreateTemp, &*stale));
        assert_eq!(options.read(path).unwrap(), Sidecar::default());
    });
}

#[test]
fn a_link_in_its_place_is_replaced_by_a_write_and_refused_by_a_read() {
    each(|options, dir, path| {
        fs::write(dir.join("elsewhere"), fixture().to_json().unwrap()).unwrap();
        fs::set_permissions(dir.join("elsewhere"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("elsewhere", path).unwrap();
        let error = options.read(path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{path:?} is a symbolic link, not a regular file; give the path of a regular file")
        );
        options.write(path, &Sidecar::default()).unwrap();
        assert!(fs::symlink_metadata(path).unwrap().is_file());
        assert_eq!(options.read(dir.join("elsewhere")).unwrap(), fixture());
    });
}

#[test]
fn a_file_that_is_not_private_is_refused() {
    let dir = dir();
    let path = dir.path().join("keys.json");
    let text = |error: SidecarError| error.to_string();
    assert!(Sidecar::read(&path).unwrap_err().is_not_found());
    assert!(Sidecar::read(path.join("below")).unwrap_err().is_not_found());
    assert!(Sidecar::read(dir.path().join("no/keys.json")).unwrap_err().is_not_found());
    assert!(SidecarStore::open(&path).unwrap_err().is_not_found());
    assert!(SidecarStore::open(dir.path().join("no/keys.json")).unwrap_err().is_not_found());
    fs::create_dir(&path).unwrap();
    assert_eq!(
        text(Sidecar::read(&path).unwrap_err()),
        format!("{path:?} is a directory, not a regular file; give the path of a regular file")
    );
    fs::remove_dir(&path).unwrap();
    // The FIFO has no writer: a blocking open would wait forever.
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let fifo = format!("{path:?} is a FIFO, a socket or a device, not a regular file; give the path of a regular file");
    assert_eq!(text(Sidecar::read(&path).unwrap_err()), fifo);
    assert_eq!(text(SidecarStore::open(&path).unwrap_err()), fifo);
    fs::remove_file(&path).unwrap();
    for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o620, true), (0o666, true)]
    {
        let _ = fs::remove_file(&path);
        fs::write(&path, fixture().to_json().unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let shared = SidecarOptions::new().allow_shared(true);
        assert_eq!(shared.read(&path).unwrap(), fixture());
        for result in [Sidecar::read(&path), SidecarStore::open(&path).map(|store| (*store.get()).clone())] {
            match result {
                Ok(sidecar) => assert!(!exposed && sidecar == fixture(), "{mode:o}"),
                Err(SidecarError::Exposed { mode: found, .. }) => assert!(exposed && found == mode),
                Err(error) => panic!("{error}"),
            }
        }
        // With `allow_shared`, the first write makes it private.
        shared.open(&path).unwrap().update(|sidecar| sidecar.raft_applied_index += 1).unwrap();
        assert_eq!(self::mode(&path), 0o600);
    }
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len((1 << 20) + 1).unwrap();
    let error = Sidecar::read(&path).unwrap_err();
    assert!(matches!(error, SidecarError::TooLarge { len: 1_048_577, .. }), "{error}");
    assert!(text(error).starts_with(&format!("{path:?}: the file has 1048577 bytes")));
    file.set_len(1 << 20).unwrap();
    assert!(matches!(Sidecar::read(&path), Err(SidecarError::Syntax { .. })));
    for bad in ["", "/", "..", "f/"]
        .map(PathBuf::from)
        .into_iter()
        .chain([dir.path().join("x".repeat(252)), dir.path().join("k.tmp")])
    {
        match fixture().write(&bad) {
            Err(SidecarError::Io(error)) => assert!(error.is_invalid_key(), "{bad:?}: {error}"),
            result => panic!("{bad:?}: {result:?}"),
        }
    }
}

#[test]
fn a_missing_or_unwritable_directory_is_reported() {
    each(|options, dir, path| {
        let error = failed(options.write(dir.join("no/keys.json"), &fixture()), dir, &[]);
        assert!(error.is_not_found(), "{error}");
        let error = failed(options.create(dir.join("no/keys.json"), fixture()), dir, &[]);
        assert!(error.is_not_found(), "{error}");
        // The rename fails, because a directory has the name.
        fs::create_dir(path).unwrap();
        let error = failed(options.write(path, &fixture()), dir, &["keys.json"]);
        assert!(error.is_a_directory() && error.step() == Step::Rename, "{error}");
    });
}

#[test]
fn one_writer_a_directory() {
    each(|options, dir, path| {
        let store = options.create(path, fixture()).unwrap();
        for result in [
            options.open(path).map(drop),
            options.create(dir.join("other.json"), fixture()).map(drop),
            options.write(path, &Sidecar::default()),
        ] {
            let error = failed(result, dir, &["keys.json"]);
            assert!(error.is_locked(), "{error}");
        }
        // Readers need no lock.
        assert_eq!(options.read(path).unwrap(), *store.get());
        drop(store);
        let error = failed(options.create(path, Sidecar::default()), dir, &["keys.json"]);
        assert!(error.is_already_exists(), "{error}");
        assert_eq!(*options.open(path).unwrap().get(), fixture());
    });
}

/// procfs cannot be synced, so nothing is written there.
#[test]
#[cfg(target_os = "linux")]
fn a_filesystem_that_cannot_sync_directories_is_refused() {
    for engine in engines() {
        let options = SidecarOptions::new().engine(engine);
        match options.write("/proc/keys.json", &fixture()) {
            Err(SidecarError::Io(error)) => {
                assert!(error.is_unsupported_filesystem(), "{error}");
                assert_eq!((error.outcome(), error.step()), (Outcome::Unchanged, Step::SyncDir));
            }
            result => panic!("{result:?}"),
        }
    }
}

/// If root replaced the file of another user, that user could no longer read it.
#[test]
fn a_file_of_another_user_is_not_taken_over() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a sidecar of another user", "needs root");
    }
    let dir = dir();
    let path = dir.path().join("keys.json");
    fixture().write(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    assert_eq!(Sidecar::read(&path).unwrap(), fixture());
    let error = SidecarStore::open(&path).unwrap_err();
    assert!(matches!(error, SidecarError::Owner { owner: 65534, user: 0, .. }), "{error}");
}
