use super::*;
use crate::tokio_uring::runtime;

/// Runs `future` on a ring, if io_uring is available.
fn on_ring(future: impl Future<Output = ()>) {
    match runtime() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => assert!(error.is_engine_unavailable(), "{error}"),
    }
}

#[test]
fn a_directory_that_cannot_be_synced_leaves_the_new_content_and_says_unknown() {
    let place = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open_unsyncable(place.path()));
    on_ring(async {
        let error = replace(&dir, c"f", &"new".into(), PutOptions::new()).await.unwrap_err();
        assert_eq!((error.outcome(), error.step()), (Outcome::Unknown, Step::SyncDir), "{error}");
        assert!(error.is_unsupported_filesystem() && error.path() == place.path(), "{error}");
        assert_eq!(fs::read(place.path().join("f")).unwrap(), b"new");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    });
}

/// If the temporary file is gone, it was renamed after all, or never existed.
#[test]
fn a_failed_rename_is_unchanged_only_while_its_source_exists() {
    let place = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open(place.path()).unwrap());
    let failed = Verdict::Unchanged { step: Step::Rename, errno: Errno::EIO, temp_left: true };
    for (there, outcome) in [(true, Outcome::Unchanged), (false, Outcome::Unknown)] {
        let temp = Temporary { dir: Arc::clone(&dir), name: c"temp".into(), to_remove: true };
        if there {
            fs::write(place.path().join("temp"), "").unwrap();
        }
        let job = ReplaceJob { temp, file: None, name: c"f", bytes: &Payload::new() };
        assert_eq!(job.settle(failed).unwrap_err().outcome(), outcome);
        assert!(!place.path().join("temp").exists());
    }
}
