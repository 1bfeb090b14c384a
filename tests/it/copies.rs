//! Copies done by the kernel.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use ringbolt::{AtomicFile, Step};

use crate::help::*;

#[test]
fn a_copy_is_what_the_source_has_from_its_cursor_on() {
    let dir = dir();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, pattern(3 << 20)).unwrap();
    let mut source = File::open(&from).unwrap();
    source.seek(SeekFrom::Start(5)).unwrap();
    let mut file = AtomicFile::create(&to).unwrap();
    file.write_all(b"begin").unwrap();
    assert_eq!(file.copy_at_most(&source, 0).unwrap(), 0);
    assert_eq!(file.copy_at_most(&source, 1000).unwrap(), 1000);
    assert_eq!(file.copy_from(&source).unwrap(), (3 << 20) - 1005);
    assert_eq!(file.copy_from(&source).unwrap(), 0);
    file.write_all(b"end").unwrap();
    file.commit().unwrap();
    let whole = [b"begin", &pattern(3 << 20)[5..], b"end"].concat();
    assert!(fs::read(&to).unwrap() == whole);
}

/// Files in `/proc` have length 0 despite their content; sparse files have holes.
#[test]
fn files_of_any_kind_are_copied_whole() {
    let dir = dir();
    let (from, to) = (dir.path().join("sparse"), dir.path().join("to"));
    let sparse = File::create(&from).unwrap();
    sparse.write_all_at(b"middle", 9 << 20).unwrap();
    sparse.set_len(20 << 20).unwrap();
    let mut file = AtomicFile::create(&to).unwrap();
    assert_eq!(file.copy_from(&File::open(&from).unwrap()).unwrap(), 20 << 20);
    file.commit().unwrap();
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
    if let Ok(version) = File::open("/proc/version") {
        let mut file = AtomicFile::create(&to).unwrap();
        assert!(file.copy_from(&version).unwrap() > 0);
        file.commit().unwrap();
        assert_eq!(fs::read(&to).unwrap(), fs::read("/proc/version").unwrap());
    }
}

/// An incomplete copy is never published, even if its error is ignored.
#[test]
fn what_could_not_be_copied_is_not_published() {
    let dir = dir();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::write(&from, "content").unwrap();
    fs::write(&to, "old").unwrap();
    let unreadable = OpenOptions::new().write(true).open(&from).unwrap();
    let mut file = AtomicFile::create(&to).unwrap();
    file.write_all(b"begin").unwrap();
    file.copy_from(&unreadable).unwrap_err();
    let error = unchanged(file.commit(), dir.path());
    assert_eq!(error.step(), Step::Write, "{error}");
    let mut left = String::new();
    File::open(&to).unwrap().read_to_string(&mut left).unwrap();
    assert_eq!(left, "old");
}

#[cfg(any(feature = "cli", feature = "object_store"))]
/// Asserts that a child copies in the kernel, and writes no content itself.
#[cfg(target_os = "linux")]
fn copies(child: std::process::Command, log: &std::path::Path) {
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-e", "trace=copy_file_range,write,writev,pwrite64,pwritev", "-o"]).arg(log);
    strace.arg(child.get_program()).args(child.get_args());
    strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let log = fs::read_to_string(log).unwrap();
    let amount = |line: &str| line.rsplit(" = ").next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let (copied, written): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.contains("copy_file_range"));
    assert_eq!(copied.iter().map(|line| amount(line)).sum::<u64>(), 3 << 20, "{log}");
    assert!(written.iter().all(|line| amount(line) < 4096), "{log}");
}

#[cfg(all(feature = "cli", target_os = "linux"))]
#[test]
fn cp_lets_the_kernel_copy_large_files() {
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return skip("system calls of cp", "strace is not installed");
    }
    let dir = dir();
    fs::write(dir.path().join("large"), pattern(3 << 20)).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ringbolt"));
    child.arg("cp").arg(dir.path().join("large")).arg(dir.path().join("s"));
    copies(child, &dir.path().join("strace"));
    assert!(fs::read(dir.path().join("s/large")).unwrap() == pattern(3 << 20));
}

/// The copy is done in pieces, with a check for signals in between.
#[cfg(feature = "cli")]
#[test]
fn cp_copies_what_is_longer_than_a_piece() {
    let dir = dir();
    for len in [(1 << 20) + 1, 16 << 20, (33 << 20) + 7] {
        fs::write(dir.path().join("f"), pattern(len)).unwrap();
        crate::cli::ok(dir.path(), &["cp", "f", "s"]);
        assert!(fs::read(dir.path().join("s/f")).unwrap() == pattern(len));
    }
}

#[cfg(all(feature = "object_store", target_os = "linux"))]
#[test]
fn an_object_is_copied_by_the_kernel() {
    use object_store::{ObjectStoreExt, path::Path};
    use ringbolt::object_store::RingboltStore;

    const ME: &str = "copies::an_object_is_copied_by_the_kernel";
    if let Some(at) = std::env::var_os("RINGBOLT_TEST_COPY") {
        let store = RingboltStore::from(ringbolt::Store::builder(at).create_if_missing(true).open().unwrap());
        return futures::executor::block_on(store.copy(&Path::from("from"), &Path::from("to"))).unwrap();
    }
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return skip("system calls of a copy", "strace is not installed");
    }
    let dir = dir();
    let at = dir.path().join("s");
    let store = ringbolt::Store::builder(&at).create().unwrap();
    store.put("from", pattern(3 << 20)).unwrap();
    drop(store);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([ME, "--exact", "--test-threads=1"]).env("RINGBOLT_TEST_COPY", &at);
    copies(child, &dir.path().join("strace"));
    assert!(fs::read(at.join("to")).unwrap() == pattern(3 << 20));
}
