//! Single writes on a tokio-uring runtime.

use std::fs;
use std::future::{Future, poll_fn};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::task::Poll;

use nix::libc;
use ringbolt::tokio_uring::{WriteOptions, start, write};
use ringbolt::{Outcome, Step};

use crate::devices::{ext4, fill};
use crate::help::*;
use crate::mounts::{tmpfs, with_mounts};
use crate::refusals::refusing;

/// Runs `test` in a fresh directory and on a new runtime, or prints why that is not possible.
fn on_ring<F: Future<Output = ()>>(test: impl FnOnce(PathBuf) -> F) {
    let dir = dir();
    match start(test(dir.path().to_owned())) {
        Ok(()) => {}
        Err(error) => {
            assert!(error.is_engine_unavailable(), "{error}");
            skip("tokio-uring", error);
        }
    }
}

#[test]
fn a_write_replaces_whole() {
    on_ring(|dir| async move {
        let path = dir.join("f");
        for len in [0, 5, 4096, 3 << 20] {
            write(&path, pattern(len)).await.unwrap();
            assert!(fs::read(&path).unwrap() == pattern(len));
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        }
        WriteOptions::new().mode(0o666).write(&path, "x").await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o666);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    });
}

#[test]
fn many_at_once_are_each_whole() {
    on_ring(|dir| async move {
        let writes = (0..64_usize).map(|n| {
            let path = dir.join((n % 8).to_string());
            ringbolt_task(async move { write(&path, pattern(1000 + n)).await })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap().unwrap();
        }
        for name in 0..8 {
            let found = fs::read(dir.join(name.to_string())).unwrap();
            assert!(found == pattern(found.len()) && found.len() % 8 == (1000 + name) % 8);
        }
        assert!(temporaries(&dir).is_empty());
    });
}

/// A running task of the runtime.
fn ringbolt_task<T: 'static>(task: impl Future<Output = T> + 'static) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_local(task)
}

#[test]
fn a_failure_is_reported_and_leaves_nothing() {
    on_ring(|dir| async move {
        let at = |name: &str| PathBuf::from(format!("{}/{name}", dir.display()));
        for path in [at(""), at("f/"), at("nul\0"), at(&"x".repeat(256)), at(".ringbolt-x"), "".into(), "..".into()] {
            assert!(unchanged(write(&path, "x").await, &dir).is_invalid_key(), "{path:?}");
        }
        let error = unchanged(write(at("none/f"), "x").await, &dir);
        assert!(error.is_not_found() && error.step() == Step::OpenDir, "{error}");
        fs::create_dir(at("d")).unwrap();
        let error = unchanged(write(at("d"), "x").await, &dir);
        assert!(error.is_a_directory() && error.step() == Step::Rename && error.path() == at("d"), "{error}");
        fs::write(at("f"), "x").unwrap();
        assert!(unchanged(write(at("f/below"), "x").await, &dir).is_not_a_directory());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    });
}

#[test]
fn a_link_is_replaced_and_what_it_names_is_not() {
    on_ring(|dir| async move {
        fs::write(dir.join("real"), "old").unwrap();
        symlink("real", dir.join("link")).unwrap();
        write(dir.join("link"), "new").await.unwrap();
        assert_eq!(
            (fs::read(dir.join("real")).unwrap(), fs::read(dir.join("link")).unwrap()),
            ("old".into(), "new".into())
        );
    });
}

#[test]
fn a_bare_name_is_in_the_current_directory() {
    const ME: &str = "tokio_uring::a_bare_name_is_in_the_current_directory";
    if std::env::var_os("RINGBOLT_TEST_CHILD").is_some() {
        return start(write("bare", "x")).unwrap().unwrap();
    }
    on_ring(|dir| async move {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([ME, "--exact"]).env("RINGBOLT_TEST_CHILD", "1").current_dir(&dir);
        assert!(child.output().unwrap().status.success());
        assert_eq!(fs::read(dir.join("bare")).unwrap(), b"x");
    });
}

/// All steps use the directory that was opened first.
#[test]
fn a_directory_may_be_renamed_or_removed_meanwhile() {
    on_ring(|dir| async move {
        for polls in 0.. {
            let (before, after) = (dir.join("before"), dir.join("after"));
            fs::create_dir(&before).unwrap();
            let mut future = pin!(write(before.join("f"), "x"));
            let early = pending_so_often(future.as_mut(), polls).await;
            fs::rename(&before, &after).unwrap();
            if early.is_some() {
                break;
            }
            future.await.unwrap();
            assert_eq!(fs::read(after.join("f")).unwrap(), b"x");
            fs::remove_dir_all(&after).unwrap();
        }
        fs::create_dir(dir.join("gone")).unwrap();
        let mut future = pin!(write(dir.join("gone/f"), "x"));
        assert!(pending_so_often(future.as_mut(), 0).await.is_none());
        let removed = fs::remove_dir(dir.join("gone")).is_ok();
        match future.await {
            Err(error) => {
                assert!(removed && error.is_directory_removed() && error.outcome() == Outcome::Unchanged, "{error}")
            }
            Ok(()) => assert!(!removed),
        }
    });
}

/// Polls until the future was pending more than this many times. Returns its result, if it completed.
async fn pending_so_often<F: Future + Unpin>(mut future: F, mut polls: usize) -> Option<F::Output> {
    poll_fn(|context| match pin!(&mut future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if polls == 0 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Drops the future at each await in turn: the target is complete, and no temporary file stays behind.
#[test]
fn a_future_that_is_dropped_leaves_the_old_content_or_the_new() {
    on_ring(|dir| async move {
        let path = dir.join("f");
        let (old, new) = (pattern(5000), pattern(7000));
        let mut kept = 0;
        for polls in 0.. {
            write(&path, old.clone()).await.unwrap();
            let options = WriteOptions::new().mode(0o640);
            // It is dropped with the block.
            let whole = { pending_so_often(Box::pin(options.write(&path, new.clone())), polls).await };
            let found = fs::read(&path).unwrap();
            assert!(found == old || found == new, "{polls}");
            kept += usize::from(found == old);
            if let Some(result) = whole {
                result.unwrap();
                assert!(found == new && polls >= 6 && kept >= 4, "{polls} {kept}");
                break;
            }
            // Pending requests complete while other futures run; then there are only complete files.
            for _ in 0..3 {
                write(dir.join("other"), "x").await.unwrap();
            }
            for _ in 0..1000 {
                if temporaries(&dir).is_empty() {
                    break;
                }
                write(dir.join("other"), "x").await.unwrap();
            }
            assert_eq!(temporaries(&dir), Vec::<PathBuf>::new(), "{polls}");
        }
    });
}

/// The runtime ends during the write: the target is complete or unchanged, and only an empty temporary file may remain.
#[test]
fn a_runtime_that_ends_leaves_the_old_content_or_the_new() {
    for polls in 0..8 {
        on_ring(|dir| async move {
            fs::write(dir.join("f"), "old").unwrap();
            let ended = start_elsewhere(dir.join("f"), polls);
            let found = fs::read(dir.join("f")).unwrap();
            assert!(ended && (found == b"old" || found == pattern(7000)), "{polls}");
            for temporary in temporaries(&dir) {
                assert_eq!(fs::metadata(&temporary).unwrap().len(), 0, "{polls}");
                let name = temporary.file_name().unwrap().to_str().unwrap();
                assert!(name.starts_with(".ringbolt-w"), "{name}");
            }
            // A store there lists only the file.
            let store = ringbolt::Store::builder(&dir).adopt(true).create_if_missing(true).open().unwrap();
            assert_eq!(store.list("").unwrap().map(Result::unwrap).collect::<Vec<_>>(), ["f"]);
        });
    }
}

/// A runtime on another thread, which ends with its future.
fn start_elsewhere(path: PathBuf, polls: usize) -> bool {
    let run = move || start(pending_so_often(Box::pin(write(path, pattern(7000))), polls)).is_ok();
    std::thread::spawn(run).join().unwrap()
}

#[test]
fn io_uring_refused_by_seccomp_is_explained() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        refusing(libc::SYS_io_uring_setup, errno, || {
            let error = start(async {}).unwrap_err();
            assert!(error.is_engine_unavailable() && error.step() == Step::StartEngine, "{error}");
            assert!(error.to_string().contains("refused by this container's seccomp profile"), "{error}");
        });
    }
    refusing(libc::SYS_io_uring_setup, libc::EIO, || {
        let error = start(async {}).unwrap_err();
        assert!(!error.is_engine_unavailable() && error.raw_os_error() == Some(libc::EIO), "{error}");
    });
}

/// No space for the content: the write is short, is continued, and then fails.
#[test]
fn a_disk_that_fills_up_in_the_middle_leaves_the_old_content() {
    with_mounts("a disk that fills up under tokio-uring", |dir| {
        let at: PathBuf = tmpfs(dir.join("t"), "size=1m");
        on_ring(|_| async move {
            let path = at.join("k");
            write(&path, "old").await.unwrap();
            for mode in [0o600, 0o4755] {
                let error = unchanged(WriteOptions::new().mode(mode).write(&path, pattern(4 << 20)).await, &at);
                assert!(error.is_storage_full() && error.step() == Step::Write, "{error}");
                assert_eq!(fs::read(&path).unwrap(), b"old");
            }
            fill(&at);
            let error = unchanged(write(&path, pattern(5000)).await, &at);
            assert!(error.is_storage_full(), "{error}");
        });
    });
}

/// The device is full but the page cache is not: the writes succeed and the sync fails. Then nothing may be renamed.
#[test]
fn a_sync_that_fails_leaves_the_old_content() {
    with_mounts("a failing sync under tokio-uring", |dir| {
        let backing = tmpfs(dir.join("t"), "size=48m");
        let disk = ext4(dir, &backing.join("image"), 512 << 20);
        on_ring(|_| async move {
            write(disk.join("k"), "old").await.unwrap();
            fill(&backing);
            let error = write(disk.join("k"), pattern(64 << 20)).await.unwrap_err();
            assert_eq!((error.outcome(), error.step()), (Outcome::Unchanged, Step::SyncFile), "{error}");
            assert_eq!(fs::read(disk.join("k")).unwrap(), b"old");
            // The failing device may have become read-only.
            assert!(error.leftover().is_some() || temporaries(&disk).is_empty(), "{error}");
        });
    });
}

/// procfs cannot sync a directory, nor hold a file.
#[test]
fn a_filesystem_without_files_is_reported() {
    on_ring(|dir| async move {
        let error = unchanged(write("/proc/self/f", "x").await, &dir);
        assert_eq!(error.step(), Step::CreateTemp, "{error}");
    });
}
