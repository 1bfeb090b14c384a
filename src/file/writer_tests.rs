use std::ffi::CString;
use std::fs;
use std::path::Path;

use super::*;
use crate::engine::{EngineKind, Faulty, Interpreter};
use crate::protocol::{Call, Existing, Names};

impl Writer {
    pub(crate) fn delete(&self, dir: &Arc<Dir>, name: &CStr) -> Result<()> {
        let job = Job { name: name.into(), ..self.job(Plan::delete(None, Names::Synced), dir) };
        self.settle_in_place(&self.run(job, Phase::SyncDirs))
    }

    pub(crate) fn rename(&self, source: (Arc<Dir>, CString), dir: &Arc<Dir>, name: &CStr) -> Result<()> {
        let plan = Plan::rename(!Arc::ptr_eq(&source.0, dir), Names::Synced);
        let job = Job { name: name.into(), source: Some(source), ..self.job(plan, dir) };
        self.settle_in_place(&self.run(job, Phase::SyncDirs))
    }
}

const REPLACE: PutOptions = PutOptions { mode: None, existing: Existing::Replace };

fn new(options: PutOptions) -> Content {
    Content { bytes: "new".into(), options, stamp: None, medium: Medium::FSYNC }
}

fn temporaries(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|name| name.ends_with(".tmp")).count()
}

/// A writer on an engine with faults, in a directory where `k` is "old".
fn writer(
    fault: impl FnMut(usize, &Call) -> Option<Errno> + Send + 'static,
) -> (tempfile::TempDir, Arc<Dir>, Arc<Faulty>, Writer) {
    let at = tempfile::tempdir().unwrap();
    fs::write(at.path().join("k"), "old").unwrap();
    let dir = Arc::new(Dir::open(at.path()).unwrap());
    let engine = Arc::new(Faulty::new(fault));
    let shared: Arc<dyn Interpreter> = Arc::<Faulty>::clone(&engine);
    (at, dir, engine, Writer::new(Selected::for_test(shared, EngineKind::Portable), Maker::Store))
}

/// Each call fails in turn, with each errno: the put is not acknowledged, no sync is retried, no temporary file is left, and the
/// outcome is true.
#[test]
fn a_failure_at_every_call_of_a_put() {
    for put in [REPLACE, PutOptions { mode: Some(0o644), ..REPLACE }] {
        let calls = 6 + usize::from(put.mode.is_some());
        for at in 0..calls {
            for errno in [Errno::EIO, Errno::ENOSPC, Errno::EDQUOT, Errno::EROFS, Errno::ENOMEM] {
                let (dir, held, engine, writer) = writer(move |n, _| (n == at).then_some(errno));
                let error = writer.put(&held, c"k", &new(put)).unwrap_err();
                let ran = engine.ran();
                let published = at == calls - 1;
                assert_eq!(error.step(), ran[at].step());
                assert_eq!(error.raw_os_error(), Some(errno as i32));
                assert_eq!(error.outcome(), if published { Outcome::Unknown } else { Outcome::Unchanged });
                assert_eq!(fs::read(dir.path().join("k")).unwrap(), if published { b"new" } else { b"old" });
                assert_eq!(temporaries(dir.path()), 0, "{:?} failed", ran[at]);
                assert_eq!(error.leftover(), None);
                assert!(ran.iter().filter(|call| **call == Call::SyncFile).count() <= 1);
                // After the rename nothing is undone. Before it, only the temporary file is removed.
                let may_be_there = at > 0 || matches!(errno, Errno::EIO | Errno::ENOMEM);
                let cleanup = (!published && may_be_there).then_some(Call::RemoveTemp);
                assert_eq!(ran.get(at + 1..).unwrap(), cleanup.as_slice());
                assert_eq!(writer.check(&held).is_err(), published);
            }
        }
    }
}

#[test]
fn after_a_failed_directory_sync_nothing_is_written() {
    for errno in [Errno::EIO, Errno::EINVAL] {
        let (dir, held, engine, writer) = writer(move |_, call| (*call == Call::SyncDir).then_some(errno));
        let error = writer.delete(&held, c"k").unwrap_err();
        assert_eq!((error.step(), error.outcome()), (Step::SyncDir, Outcome::Unknown));
        assert_eq!(error.is_unsupported_filesystem(), errno == Errno::EINVAL);
        assert!(!dir.path().join("k").exists());
        let before = engine.ran().len();
        assert!(writer.check(&held).unwrap_err().is_poisoned());
        assert_eq!(engine.ran().len(), before);
    }
}

/// A rename between two directories whose second sync fails is visible and `Unknown`.
#[test]
fn a_failure_at_every_call_of_a_rename() {
    for (at, errno) in [(0, Errno::EACCES), (1, Errno::ENOSPC), (2, Errno::EIO), (3, Errno::EIO)] {
        let (dir, held, _, writer) = writer(move |n, _| (n == at).then_some(errno));
        fs::create_dir(dir.path().join("d")).unwrap();
        let other = Arc::new(held.open_beneath("d").unwrap());
        let error = writer.rename((held, c"k".into()), &other, c"moved").unwrap_err();
        assert_eq!(error.outcome(), if at < 2 { Outcome::Unchanged } else { Outcome::Unknown });
        assert_eq!(dir.path().join("k").exists(), at < 2);
        assert_eq!(dir.path().join("d/moved").exists(), at >= 2);
    }
}

/// A sync proves nothing after another one of the same descriptor failed, in either of the two directories.
#[test]
fn a_rename_between_directories_asks_both() {
    for distrusted in [0, 1] {
        let (dir, held, _, writer) = writer(|_, _| None);
        fs::create_dir(dir.path().join("d")).unwrap();
        let other = Arc::new(held.open_beneath("d").unwrap());
        [&held, &other][distrusted].distrust();
        let source = (Arc::clone(&held), c"k".into());
        let error = writer.rename(source, &other, c"moved").unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
}

/// After a device error it is unknown whether a name was changed; but a temporary file that still exists was not renamed.
#[test]
fn an_ambiguous_failure_is_not_called_unchanged() {
    let fails = |_, call: &Call| matches!(call, Call::Move | Call::Unlink | Call::Publish { .. }).then_some(Errno::EIO);
    let (_dir, held, _, writer) = writer(fails);
    let put = writer.put(&held, c"k", &new(REPLACE)).unwrap_err();
    assert_eq!(put.outcome(), Outcome::Unchanged);
    assert!(writer.is_tidy());
    assert_eq!(writer.delete(&held, c"k").unwrap_err().outcome(), Outcome::Unknown);
    assert!(!writer.is_tidy());
    let (dir, held, _, writer) = self::writer(fails);
    let rename = writer.rename((Arc::clone(&held), c"k".into()), &held, c"moved").unwrap_err();
    assert_eq!(rename.outcome(), Outcome::Unknown);
    drop(dir);
    // A rename that "failed" and removed the temporary file.
    let at = tempfile::tempdir().unwrap();
    let (_dir, held, _, writer) = self::writer({
        let at = at.path().to_owned();
        move |_, call| {
            let failed = matches!(call, Call::Publish { .. });
            if failed {
                for entry in fs::read_dir(&at).unwrap().map(Result::unwrap) {
                    fs::remove_file(entry.path()).unwrap();
                }
            }
            failed.then_some(Errno::EIO)
        }
    });
    let elsewhere = Arc::new(Dir::open(at.path()).unwrap());
    let put = writer.put(&elsewhere, c"k", &new(REPLACE)).unwrap_err();
    assert_eq!(put.outcome(), Outcome::Unknown);
    assert!(writer.check(&held).is_err());
}

#[test]
fn a_temporary_that_cannot_be_removed_is_named() {
    let (dir, held, _, writer) = writer(|_, call| match call {
        Call::SyncFile => Some(Errno::EIO),
        Call::RemoveTemp => Some(Errno::EROFS),
        _ => None,
    });
    let error = writer.put(&held, c"k", &new(REPLACE)).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unchanged);
    assert!(error.leftover().unwrap().starts_with(dir.path()));
    assert!(error.to_string().contains("could not be removed"), "{error}");
    assert_eq!(temporaries(dir.path()), 1);
}

#[test]
fn a_name_that_is_taken_is_tried_with_another_and_not_for_ever() {
    let (dir, held, engine, writer) = writer(|n, _| (n < 3).then_some(Errno::EEXIST));
    writer.put(&held, c"k", &new(REPLACE)).unwrap();
    assert_eq!(fs::read(dir.path().join("k")).unwrap(), b"new");
    assert_eq!(engine.ran().len(), 3 + 6);

    let (dir, held, engine, writer) = self::writer(|_, _| Some(Errno::EEXIST));
    let error = writer.put(&held, c"k", &new(REPLACE)).unwrap_err();
    assert_eq!((error.step(), error.outcome()), (Step::CreateTemp, Outcome::Unchanged));
    assert_eq!(engine.ran().len(), NAME_ATTEMPTS);
    assert_eq!(fs::read(dir.path().join("k")).unwrap(), b"old");
}

/// A sync that succeeds beside one that failed is not trusted.
#[test]
fn a_success_beside_a_failed_sync_is_unknown() {
    let (_dir, held, _, writer) = writer(|_, _| None);
    held.distrust();
    let error = writer.put(&held, c"k", &new(REPLACE)).unwrap_err();
    assert!(error.is_poisoned());
    assert_eq!(error.outcome(), Outcome::Unknown);
}

#[test]
fn an_interrupted_write_is_finished() {
    let mut interruptions = 3;
    let (dir, held, _, writer) = writer(move |_, call| match call {
        Call::Write { .. } if interruptions > 0 => {
            interruptions -= 1;
            Some(Errno::EINTR)
        }
        _ => None,
    });
    writer.put(&held, c"k", &new(REPLACE)).unwrap();
    assert_eq!(fs::read(dir.path().join("k")).unwrap(), b"new");
}

/// Where a rename cannot refuse to replace (macOS, some network filesystems), a link does.
#[test]
fn create_only_by_a_link() {
    let refuse = PutOptions { existing: Existing::Refuse, ..REPLACE };
    let cannot = |_, call: &Call| matches!(call, Call::Publish { .. }).then_some(Errno::EINVAL);
    let (dir, held, _, writer) = writer(cannot);
    let error = writer.put(&held, c"k", &new(refuse)).unwrap_err();
    assert!(error.is_already_exists());
    assert_eq!((error.outcome(), temporaries(dir.path())), (Outcome::Unchanged, 0));
    writer.put(&held, c"fresh", &new(refuse)).unwrap();
    assert_eq!(fs::read(dir.path().join("fresh")).unwrap(), b"new");
    assert_eq!(temporaries(dir.path()), 0);
}

/// Each chunk is written at its offset, wherever a call stops, and all of it is synced before the rename.
#[test]
fn short_writes_of_several_chunks_are_finished() {
    let chunks: Vec<bytes::Bytes> = (0..1500_u16).map(|i| vec![i as u8; usize::from(i % 7)].into()).collect();
    for takes in [1, 2, 5, 1000, usize::MAX] {
        let at = tempfile::tempdir().unwrap();
        let dir = Arc::new(Dir::open(at.path()).unwrap());
        let engine = Arc::new(Faulty::short(takes));
        let shared: Arc<dyn Interpreter> = Arc::<Faulty>::clone(&engine);
        let writer = Writer::new(Selected::for_test(shared, EngineKind::Portable), Maker::Store);
        writer.put(&dir, c"k", &Content { bytes: chunks.clone().into(), ..new(REPLACE) }).unwrap();
        assert_eq!(fs::read(at.path().join("k")).unwrap(), chunks.concat(), "{takes} bytes a write");
        let ran = engine.ran();
        let writes = ran.iter().filter(|call| matches!(call, Call::Write { .. })).count();
        // 1,286 chunks are not empty: one call takes 1,024 of them.
        assert_eq!(writes, chunks.concat().len().div_ceil(takes).max(2), "{takes} bytes a write");
        let last = ran.iter().rposition(|call| matches!(call, Call::Write { .. })).unwrap();
        assert_eq!(ran[last + 1..][..2], [Call::SyncFile, Call::CloseFile]);
    }
}

/// The same with owner, mode and attributes of the old file: whatever fails, the old file is unchanged, or the new one has them
/// all.
#[test]
fn a_failure_at_every_call_of_a_put_like_the_old_file() {
    use std::os::unix::fs::PermissionsExt;

    for at in 0..9 {
        for errno in [Errno::EIO, Errno::ENOSPC, Errno::EPERM, Errno::ENOTSUP] {
            let (dir, held, engine, writer) = writer(move |n, _| (n == at).then_some(errno));
            let path = dir.path().join("k");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
            let like = Preserved::of(&held, c"k").unwrap().unwrap();
            let error = writer.put_like(&held, c"k", &new(REPLACE), &like).unwrap_err();
            let ran = engine.ran();
            let steps = [Step::CreateTemp, Step::Write, Step::SetOwner, Step::SetAttributes, Step::SetMode];
            assert_eq!(ran[at].step(), *steps.get(at).unwrap_or(&ran[at].step()));
            assert_eq!((error.step(), error.raw_os_error()), (ran[at].step(), Some(errno as i32)));
            let published = at == 8;
            assert_eq!(error.outcome(), if published { Outcome::Unknown } else { Outcome::Unchanged });
            assert_eq!(fs::read(&path).unwrap(), if published { b"new" } else { b"old" });
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o604);
            assert_eq!((temporaries(dir.path()), error.leftover()), (0, None));
        }
    }
}
