//! A process with a file size limit (`RLIMIT_FSIZE`).

use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use crate::help::*;

const LIMIT: usize = 64 << 10;

/// The child, which sets the limit.
#[test]
fn writer_with_a_limit() {
    let Some(dir) = std::env::var_os("RINGBOLT_TEST_LIMIT") else { return };
    // The default action of SIGXFSZ ends the process. Threads inherit the mask.
    SigSet::from_iter([Signal::SIGXFSZ]).thread_block().unwrap();
    for engine in engines() {
        let dir = Path::new(&dir).join(format!("{engine:?}"));
        let store = ringbolt::Store::builder(&dir).engine(engine).create_if_missing(true).open().unwrap();
        store.put("k", "old").unwrap();
        let hard = nix::sys::resource::getrlimit(Resource::RLIMIT_FSIZE).unwrap().1;
        setrlimit(Resource::RLIMIT_FSIZE, LIMIT as u64, hard).unwrap();

        let error = unchanged(store.put("k", pattern(LIMIT + 1)), &dir);
        assert!(error.is_file_too_large() && error.step() == ringbolt::Step::Write, "{error}");
        let error = unchanged(ringbolt::write(dir.join("single"), pattern(LIMIT + 1)), &dir);
        assert!(error.is_file_too_large(), "{error}");

        let mut batch = store.batch();
        batch.put("small", pattern(100)).put("large", pattern(LIMIT + 1)).put("full", pattern(LIMIT));
        let results = batch.commit().into_results();
        let failed: Vec<bool> = results.iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, true, false], "{results:?}");
        assert!(temporaries(&dir).is_empty());

        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
        assert_eq!(store.get("k").unwrap(), "old");
        assert!(store.get("large").unwrap_err().is_not_found());
        assert_eq!(
            (store.get("small").unwrap(), store.get("full").unwrap()),
            (pattern(100).into(), pattern(LIMIT).into())
        );
    }
}

#[test]
fn a_file_beyond_the_limit_leaves_the_old_content() {
    let dir = dir();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["limits::writer_with_a_limit", "--exact", "--nocapture"]).env("RINGBOLT_TEST_LIMIT", dir.path());
    let output = child.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}\n{stderr}", output.status);
    // The child ran its part.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), engines().len());
}
