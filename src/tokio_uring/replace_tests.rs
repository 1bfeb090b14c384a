use super::*;
use crate::tokio_uring::runtime;

/// Runs on a ring, if there can be one.
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

/// Where the temporary is gone, somebody has renamed it, or it was never there.
#[test]
fn a_rename_that_is_said_to_have_failed_is_believed_only_while_its_source_is_there() {
    let place = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open(place.path()).unwrap());
    let failed = Verdict::Unchanged { step: Step::Rename, errno: Errno::EIO, temp_left: true };
    for (there, outcome) in [(true, Outcome::Unchanged), (false, Outcome::Unknown)] {
        let temp = Temporary { dir: Arc::clone(&dir), name: c"temp".into(), to_remove: true };
        if there {
            fs::write(place.path().join("temp"), "").unwrap();
        }
        let work = Work { temp, file: None, name: c"f", bytes: &Payload::new() };
        assert_eq!(work.settle(failed).unwrap_err().outcome(), outcome);
        assert!(!place.path().join("temp").exists());
    }
}
