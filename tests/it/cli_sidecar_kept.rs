//! `ringbolt sidecar`: what its commands leave unchanged, and that they never print wrapped keys.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use ringbolt::sidecar::Sidecar;
use serde_json::Value;

use crate::cli::*;
use crate::cli_sidecar::{FIXTURE, json, put};
use crate::help::*;
use crate::sidecar_format::fixture;

/// Every command on the file `k`; the first two only read.
const ON_K: [&[&str]; 6] = [
    &["sidecar", "show", "k"],
    &["sidecar", "check", "k"],
    &["sidecar", "set-active", "k", "raft", "0"],
    &["sidecar", "upgrade", "k"],
    &["sidecar", "upgrade", "k", "--storage-cutover-index", "8"],
    &["sidecar", "init", "k"],
];

/// Like `run`, for a command that must not block.
fn run_at_once(dir: &Path, args: &[&str]) -> Output {
    let mut child = ringbolt(dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("{args:?} waits: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().unwrap()
}

/// Inode, mode, time and bytes: a write changes at least one of them.
fn state(path: &Path) -> (u64, u32, i64, Vec<u8>) {
    let found = fs::metadata(path).unwrap();
    (found.ino(), found.mode(), found.mtime_nsec(), fs::read(path).unwrap())
}

/// A file that is already version 2 is not written, even if a write would normalize it.
#[test]
fn upgrade_leaves_version_2_alone() {
    let dir = dir();
    let dir = dir.path();
    let k = dir.join("k");
    for (content, mode) in [(FIXTURE.to_owned(), 0o600), (format!("{FIXTURE}\n"), 0o600), (FIXTURE.to_owned(), 0o644)] {
        put(dir, &content);
        fs::set_permissions(&k, fs::Permissions::from_mode(mode)).unwrap();
        let before = state(&k);
        let upgrade = ["sidecar", "upgrade", "k", "--allow-shared"];
        let index = |index| [&upgrade[..], &["--storage-cutover-index", index]].concat();
        for same in [upgrade.to_vec(), index("0")] {
            let says = "\"k\" is already version 2, with storage cutover index 0\n";
            assert_eq!(ok(dir, &same), says);
            assert!(state(&k) == before, "{mode:o} {content}");
        }
        let text = fails(1, run(dir, &index("8")));
        assert!(text.contains("storage cutover index 0 instead of 8; nothing was changed"), "{text}");
        assert!(state(&k) == before, "{mode:o} {content}");
    }
    // Version 1 gets the index 0 by default.
    put(dir, fixture().to_json().unwrap());
    assert_eq!(ok(dir, &["sidecar", "upgrade", "k"]), "");
    assert_eq!(Sidecar::read(&k).unwrap(), Sidecar { storage_envelope_cutover_index: Some(0), ..fixture() });
    for wrong in ["-1", "x", "18446744073709551616"] {
        fails(2, run(dir, &["sidecar", "upgrade", "k", &format!("--storage-cutover-index={wrong}")]));
        fails(2, run(dir, &["sidecar", "init", "new", &format!("--storage-cutover-index={wrong}")]));
    }
    assert!(!dir.join("new").exists());
}

/// When a writing command fails, the message says that nothing was changed, and nothing was.
#[test]
fn what_writes_says_that_nothing_was_changed() {
    let dir = dir();
    let dir = dir.path();
    let k = dir.join("k");
    let damaged = FIXTURE.replacen("\"created\"", "\"Created\"", 1);
    for (content, mode) in [(FIXTURE, 0o640), (&damaged, 0o600), ("", 0o600)] {
        put(dir, content);
        fs::set_permissions(&k, fs::Permissions::from_mode(mode)).unwrap();
        let before = state(&k);
        for args in &ON_K[2..] {
            let text = fails(1, run(dir, args));
            assert!(text.contains("nothing was changed"), "{text}");
            assert!(state(&k) == before && temporaries(dir).is_empty(), "{text}");
        }
        for args in &ON_K[..2] {
            assert!(!fails(1, run(dir, args)).contains("changed"));
        }
    }
    fs::remove_file(&k).unwrap();
    for args in &ON_K[..5] {
        assert!(fails(3, run(dir, args)).contains("\"k\" does not exist"));
        assert!(!k.exists());
    }
}

/// Every command rejects a file that is not regular, without blocking.
#[test]
fn no_command_waits_for_a_fifo() {
    let dir = dir();
    let dir = dir.path();
    nix::unistd::mkfifo(&dir.join("k"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for args in ON_K {
        let text = fails(1, run_at_once(dir, args));
        assert!(text.contains("a FIFO, a socket or a device") || args[1] == "init", "{text}");
    }
    assert_eq!(json(dir, 1, &["sidecar", "check", "k", "--json"])["valid"], Value::from(false));
    // A symbolic link is neither followed nor replaced.
    fs::remove_file(dir.join("k")).unwrap();
    fs::write(dir.join("real"), FIXTURE).unwrap();
    symlink("real", dir.join("k")).unwrap();
    for args in ON_K {
        fails(1, run(dir, args));
    }
    assert!(dir.join("k").is_symlink() && fs::read(dir.join("real")).unwrap() == FIXTURE.as_bytes());
}

/// No command prints any part of a wrapped key of 48 bytes, whatever is wrong with the file.
#[test]
fn no_command_prints_a_wrapped_key() {
    let dir = dir();
    let dir = dir.path();
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldC1zZWNyZXQt";
    let whole = FIXTURE.replace("AQIDBA==", secret);
    let replaced = |from: &str, to: &str| whole.replacen(from, to, 1);
    let cases = [
        whole.clone(),
        format!("{whole}\n"),
        replaced(secret, &secret[..50]),
        replaced(secret, &format!("{secret}!")),
        replaced(&format!("\"{secret}\""), &format!("[\"{secret}\"]")),
        replaced("\"storage\",", &format!("\"{secret}\",")),
        replaced("\"305419896\"", &format!("\"{secret}\"")),
        replaced("\"created\"", &format!("\"{secret}\"")),
        replaced("\"version\": 2", &format!("\"version\": \"{secret}\"")),
        replaced("184273", &format!("\"{secret}\"")),
        whole[..whole.find(secret).unwrap() + 30].to_owned(),
    ];
    for content in cases {
        for args in ON_K {
            for more in [&[][..], &["--json"]] {
                put(dir, &content);
                let output = run(dir, &[args, more].concat());
                let said = format!("{output:?}");
                assert!(!said.contains("c2VjcmV0") && !said.contains("LXNlY3JldC"), "{said}");
                assert!(!said.contains("secret-"), "{said}");
            }
        }
    }
    put(dir, &whole);
    assert!(ok(dir, &["sidecar", "show", "k", "--wrapped"]).contains(secret));
}
