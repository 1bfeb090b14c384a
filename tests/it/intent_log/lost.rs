//! What a power cut takes from the page cache comes back from the log.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use ringbolt::{ErrorKind, Outcome, Reader, Store};

use super::scripts::{BESIDE, LARGE, OWNER};
use super::*;

/// Removes whatever has this name.
fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(stat) if stat.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Puts an old or torn content under a key, with an old time.
fn stale(dir: &Path, key: &str, content: &[u8]) {
    let path = dir.join(key);
    path.ancestors().skip(1).filter(|above| above.is_file()).for_each(remove);
    if path.is_dir() {
        remove(&path);
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
}

/// What a power cut may do to the files of "every change": nothing to those that were durable without the log.
fn lose(dir: &Path) {
    for key in ["old", "mode", "if", "replaced"] {
        stale(dir, key, format!("old {key}").as_bytes());
    }
    // Renamed, but never written back.
    for key in ["new", "long", "set-id", "put delete put", "batch/1", "future"] {
        stale(dir, key, b"");
    }
    stale(dir, "long", &pattern(4096));
    // Never renamed.
    for name in ["empty", "n", "batch/2", "batch/manifest", "opened", "emptied", "small"] {
        remove(&dir.join(name));
    }
    // Never deleted.
    for key in ["gone", "gone if", "put delete", "emptied/a/b", "opened"] {
        stale(dir, key, b"deleted");
    }
    stale(dir, "small after large", &pattern(LARGE + 2));
}

/// Checks a few states by hand: the rest is compared with what the child left.
fn check_script(dir: &Path) -> Tree {
    let tree = files(dir);
    let content = |key: &str| tree.get(Path::new(key)).map(|found| found.content.as_slice());
    assert_eq!(content("old"), Some(&b"newer"[..]));
    assert_eq!(content("emptied"), Some(&b"a file now"[..]));
    assert_eq!(content("batch/1"), Some(&b"1 again"[..]));
    assert_eq!(content("small after large"), Some(&b"small again"[..]));
    assert_eq!((content("gone"), content("put delete"), content("gone if")), (None, None, None));
    assert_eq!(tree[Path::new("mode")].mode & 0o7777, 0o640);
    assert_eq!(tree[Path::new("set-id")].mode & 0o7777, 0o4755);
    assert!(BESIDE.iter().all(|key| content(key).is_some()));
    tree
}

fn assert_recovered(dir: &Path, acknowledged: &Tree, what: &str) {
    assert_same(&files(dir), acknowledged, what);
    assert!(temporaries(dir).is_empty(), "{what}");
}

#[test]
fn every_acknowledged_state_comes_back() {
    each_logged("lost files", |engine, dir| {
        for with_log in [true, false] {
            crash("every change", dir, engine);
            let acknowledged = check_script(dir);
            lose(dir);
            assert_ne!(files(dir), acknowledged);
            let store = if with_log { open_logged(dir, engine) } else { open(dir, engine) };
            assert_recovered(dir, &acknowledged, "after recovery");
            store.close().unwrap();
            assert_recovered(dir, &acknowledged, "after a clean close");
            assert_eq!(format(dir), "ringbolt store 1\n");
            // The log holds nothing that could come back a second time.
            stale(dir, "old", b"changed by hand");
            drop(open_logged(dir, engine));
            assert_eq!(fs::read(dir.join("old")).unwrap(), b"changed by hand");
            clear(dir);
        }
    });
}

#[test]
fn every_acknowledged_state_comes_back_on_ext4_and_xfs() {
    each_disk("lost files", |engine, dir| {
        crash("every change", dir, engine);
        let acknowledged = check_script(dir);
        lose(dir);
        drop(open_logged(dir, engine));
        assert_recovered(dir, &acknowledged, "after recovery");
    });
}

/// What is there after a kill proves nothing: recovery writes every key again.
#[test]
fn recovery_does_not_trust_what_it_finds() {
    each_logged("found files", |engine, dir| {
        crash("records", dir, engine);
        let before = files(dir);
        let inodes =
            || -> Vec<u64> { (1..=5).map(|key| fs::metadata(dir.join(format!("k{key}"))).unwrap().ino()).collect() };
        let found = inodes();
        drop(open_logged(dir, engine));
        assert_same(&files(dir), &before, "after recovery");
        assert!(inodes().iter().zip(&found).all(|(new, old)| new != old), "{found:?} {:?}", inodes());
    });
}

/// A checkpoint has covered these files: what happens to them later is not the log's.
#[test]
fn what_a_checkpoint_has_covered_is_not_replayed() {
    each_logged("a checkpoint", |engine, dir| {
        crash("checkpoint", dir, engine);
        stale(dir, "before", b"changed by hand");
        let store = open_logged(dir, engine);
        assert_eq!(store.get("before").unwrap(), "changed by hand");
    });
}

#[test]
fn a_session_without_changes_leaves_nothing_to_recover() {
    each_logged("no change", |engine, dir| {
        crash("no change", dir, engine);
        assert_eq!(format(dir), "ringbolt store 2\n");
        assert!(files(dir).is_empty());
        open_logged(dir, engine).close().unwrap();
        assert_eq!((format(dir).as_str(), files(dir).len()), ("ringbolt store 1\n", 0));
    });
}

/// Something stands in the way of a key: the error names it, and nothing is lost until it is gone.
#[test]
fn a_recovery_that_cannot_apply_a_key_says_which_and_loses_nothing() {
    type Obstacle = (&'static str, ErrorKind, fn(&Path) -> bool, fn(&Path));
    let in_the_way: fn(&Path) -> bool = |dir| {
        remove(&dir.join("new"));
        fs::create_dir(dir.join("new")).unwrap();
        fs::write(dir.join("new/foreign\u{e9}"), "foreign").is_ok()
    };
    let no_directory: fn(&Path) -> bool = |dir| {
        remove(&dir.join("n"));
        fs::write(dir.join("n"), "foreign").is_ok()
    };
    let immutable: fn(&Path) -> bool = |dir| chattr("+i", &dir.join("batch"));
    let obstacles: [Obstacle; 3] = [
        ("new", ErrorKind::IsADirectory, in_the_way, |dir| remove(&dir.join("new"))),
        ("n/e/s", ErrorKind::NotADirectory, no_directory, |dir| remove(&dir.join("n"))),
        ("batch", ErrorKind::PermissionDenied, immutable, |dir| assert!(chattr("-i", &dir.join("batch")))),
    ];
    each_logged("obstacles", |engine, dir| {
        crash("every change", dir, engine);
        let acknowledged = check_script(dir);
        for (path, kind, obstruct, clear) in obstacles {
            lose(dir);
            if !obstruct(dir) {
                skip("an immutable directory", "chattr does not work here");
                continue;
            }
            for with_log in [true, false] {
                let result = if with_log { builder(dir, engine).open() } else { Store::open(dir) };
                let error = result.unwrap_err();
                assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Unchanged), "{error}");
                assert!(error.path().starts_with(dir.join(path)), "{error}");
                assert!(error.to_string().contains(path), "{error}");
                let error = Reader::open(dir).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::RecoveryNeeded, "{error}");
                assert_eq!(format(dir), "ringbolt store 2\n");
            }
            clear(dir);
        }
        // The next power cut takes what the recoveries had written so far.
        lose(dir);
        drop(open_logged(dir, engine));
        assert_recovered(dir, &acknowledged, "after the obstacles");
    });
}

fn chattr(flag: &str, path: &Path) -> bool {
    Command::new("chattr").arg(flag).arg(path).output().is_ok_and(|output| output.status.success())
}

/// A second crash at each place of a recovery: the next one does the same again.
#[test]
fn a_recovery_that_is_killed_is_done_again() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("killed recoveries", "strace is not installed");
    }
    let engine = ringbolt::Engine::Portable;
    let dir = dir();
    let dir = dir.path();
    match builder(dir, engine).open() {
        Err(error) if error.is_unsupported_barrier() => return skip("killed recoveries", error),
        store => drop(store.unwrap()),
    }
    crash("every change", dir, engine);
    let mut acknowledged = check_script(dir);
    let mut kills = 0;
    for call in ["pwritev2", "unlinkat", "fsync", "renameat", "fchmod", "utimensat"] {
        // One of the threads of the recovery is killed at its n-th call of the kind, and all with it.
        for nth in [1, 2, 3, 4, 8, 15] {
            lose(dir);
            let recover = child("recover", dir, engine);
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            strace.args(["-e", &format!("inject={call}:signal=KILL:when={nth}")]).arg(recover.get_program());
            strace.args(recover.get_args());
            strace.envs(recover.get_envs().filter_map(|(name, value)| Some((name, value?))));
            match strace.output().unwrap().status.signal() {
                Some(9) => kills += 1,
                // No thread makes so many: the recovery has ended, and what follows needs another crash.
                signal => {
                    assert!(signal.is_none() && nth > 1, "{call} {nth}: {signal:?}");
                    clear(dir);
                    crash("every change", dir, engine);
                    acknowledged = check_script(dir);
                    break;
                }
            }
        }
    }
    assert!(kills > 10, "{kills}");
    lose(dir);
    drop(open_logged(dir, engine));
    assert_recovered(dir, &acknowledged, "after all kills");
}

/// Recovery by root gives a file to the user who has put it.
#[test]
fn recovery_keeps_the_owner() {
    if !nix::unistd::geteuid().is_root() {
        return skip("owners", "needs root");
    }
    each_logged("owners", |engine, dir| {
        drop(open_logged(dir, engine));
        run(Command::new("chown").args(["-R", &format!("{OWNER}:{OWNER}")]).arg(dir));
        crash("owned", dir, engine);
        let acknowledged = files(dir);
        assert_eq!(acknowledged[Path::new("mine")].owner, (OWNER, OWNER));
        remove(&dir.join("mine"));
        drop(open_logged(dir, engine));
        assert_same(&files(dir), &acknowledged, "after recovery by root");
    });
}

/// The log knows the greatest version that was given, even if a power cut takes the ceiling of versions back.
#[test]
fn no_version_is_given_twice() {
    each_logged("versions", |engine, dir| {
        drop(open_logged(dir, engine));
        let ceiling = |days: u64| {
            let time = SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60);
            fs::File::open(dir.join(".ringbolt/format")).unwrap().set_modified(time).unwrap();
        };
        // Versions are above the ceiling: these are of the day after tomorrow.
        ceiling(2);
        crash("records", dir, engine);
        let given = files(dir).values().map(|found| found.mtime).max().unwrap();
        ceiling(0);
        remove(&dir.join("k5"));
        let store = open_logged(dir, engine);
        store.put("k1", "later").unwrap();
        assert!(files(dir)[Path::new("k1")].mtime > given);
        store.close().unwrap();
        // And so does a session without the log.
        ceiling(0);
        open(dir, engine).put("k2", "later").unwrap();
        assert!(files(dir)[Path::new("k2")].mtime > given);
    });
}
