//! `ringbolt log` and `ringbolt recover`, and the library beneath them: a log after its writer was interrupted.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use ringbolt::{Barrier, LogChangeKind, LogReader, LogState, PutOptions, Reader, Store};
use serde_json::Value;

use crate::cli::{fails, ok, run};
use crate::help::*;
use crate::mounts::{disk, with_mounts};

/// The key with control characters, and its value.
const ODD: (&str, &str) = ("odd\n\u{1b}[2Jname", "line 1\nline 2\u{7}");

/// The child: leaves changes in the log of a new store, and dies.
#[test]
fn a_writer_to_interrupt() {
    let Some(dir) = std::env::var_os("RINGBOLT_TEST_LOG") else { return };
    let store = logged(Path::new(&dir));
    store.put("old", "before").unwrap();
    store.put("gone", "x").unwrap();
    store.checkpoint().unwrap();
    store.put("a/b", "first").unwrap();
    store.put_with("a/b", "second", PutOptions::new().mode(0o640)).unwrap();
    store.put(ODD.0, ODD.1).unwrap();
    let mut batch = store.batch();
    batch.put("old", b"\xff\x00after".as_slice().to_vec()).delete("gone");
    batch.commit().into_result().unwrap();
    store.put("from", "moved").unwrap();
    store.rename("from", "to").unwrap();
    // Too long for the log.
    store.put("large", "small").unwrap();
    store.put("large", vec![7; 300 << 10]).unwrap();
    std::process::abort();
}

fn logged(dir: &Path) -> Store {
    Store::builder(dir).barrier(Barrier::IntentLog).log_bytes(1 << 20).create_if_missing(true).open().unwrap()
}

/// A store whose writer was interrupted; `None` where no log is possible. Some of its files are as a power cut leaves them.
fn interrupted(dir: &Path) -> Option<()> {
    if let Err(error) = Store::builder(dir.join("probe")).barrier(Barrier::IntentLog).create_if_missing(true).open() {
        assert!(error.is_unsupported_barrier(), "{error}");
        skip("an intent log", error);
        return None;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["cli_log::a_writer_to_interrupt", "--exact"])
        .env("RINGBOLT_TEST_LOG", dir.join("s"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "the child ended by itself");
    fs::write(dir.join("s/a/b"), "").unwrap();
    fs::write(dir.join("s/old"), "before").unwrap();
    fs::write(dir.join("s/gone"), "x").unwrap();
    Some(())
}

/// The line of the intent log in the report of `doctor`, and its state in JSON.
fn doctor(dir: &Path) -> (String, Value) {
    let text = ok(dir, &["doctor", "s"]);
    // Long text is wrapped, and its further lines begin with blanks.
    let log = text.lines().skip_while(|line| !line.starts_with("intent log"));
    let log: Vec<&str> = log.take_while(|line| !line.starts_with("warnings")).map(str::trim).collect();
    let json: Value = serde_json::from_str(&ok(dir, &["doctor", "s", "--json"])).unwrap();
    (log.join(" ").trim_end().to_owned(), json["intent_log"].clone())
}

#[test]
fn doctor_says_what_is_pending() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    let before = tree(&dir.join("s"));
    let (line, json) = doctor(dir);
    assert!(
        line.ends_with("10 changes wait for recovery; open the store for writing, or run `ringbolt recover`"),
        "{line}"
    );
    assert_eq!((&json["state"], &json["pending_changes"]), (&"pending".into(), &10.into()));
    assert_eq!(tree(&dir.join("s")), before);
    let store = logged(&dir.join("s"));
    let (line, json) = doctor(dir);
    assert!(line.ends_with("in use: a writer has the store open") && json["state"] == "in use", "{line}");
    store.close().unwrap();
    let (line, json) = doctor(dir);
    assert!(line.ends_with("clean: no change waits for recovery") && json["state"] == "clean", "{line}");
    fs::write(dir.join("s/.ringbolt/log"), "short").unwrap();
    let (line, json) = doctor(dir);
    assert!(line.contains("damaged: the intent log ") && json["state"] == "damaged", "{line}");
    fs::remove_dir_all(dir.join("s")).unwrap();
    Store::create(dir.join("s")).unwrap().close().unwrap();
    assert_eq!(doctor(dir), (String::new(), Value::Null));
}

/// Every file below a directory, with its content, mode and time.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>, u32, i64, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        let (mode, seconds, nanos) = (metadata.mode(), metadata.mtime(), metadata.mtime_nsec());
        let content = if metadata.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        found.push((path.display().to_string(), content, mode, seconds, nanos));
        if metadata.is_dir() {
            found.extend(tree(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn the_log_is_shown_and_stays_as_it_is() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    let before = tree(&dir.join("s"));
    let text = ok(dir, &["log", "s"]);
    assert!(text.starts_with("log: running, 1048576 bytes in blocks of "), "{text}");
    let has = |text: &str, words: &[&str]| {
        text.lines().any(|line| line.split_whitespace().skip(1).take(words.len()).eq(words.iter().copied()))
    };
    assert!(has(&text, &["put", "6", "0640"]) && has(&text, &["delete", "-", "-", "-", "-", "gone"]), "{text}");
    assert!(has(&text, &["file-rules", "-", "-", "-", "-", "large"]), "{text}");
    assert!(text.contains(" odd\n\u{1b}[2Jname\n"), "not a terminal: {text}");
    assert!(!text.contains("second") && !text.contains("line 1"), "{text}");
    let text = ok(dir, &["log", "s", "--values"]);
    assert!(text.contains("\"second\"\n") && text.contains("\"line 1\\nline 2\\u{7}\"\n"), "{text}");
    assert!(text.contains(" 7 bytes, not text\n"), "{text}");

    let json = ok(dir, &["log", "s", "--json"]);
    assert!(!json.contains("\"value\""), "{json}");
    let json: Value = serde_json::from_str(&json).unwrap();
    let log = LogReader::open(dir.join("s")).unwrap().unwrap();
    let superblock = log.superblock();
    assert_eq!(superblock.state, LogState::Running);
    assert_eq!(json["superblock"]["state"], "running");
    assert_eq!(json["superblock"]["len"], 1 << 20);
    assert_eq!(json["superblock"]["epoch"], format!("{:016x}", superblock.epoch));
    assert_eq!(json["records"].as_array().unwrap().len(), log.records().len());
    let sequences: Vec<u64> = log.records().map(|record| record.sequence()).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{sequences:?}");
    // Without the two changes before the checkpoint; with two for the rename, and two of the long value.
    assert_eq!(log.pending(), 10);
    let json: Value = serde_json::from_str(&ok(dir, &["log", "s", "--json", "--values"])).unwrap();
    let changes: Vec<&Value> =
        json["records"].as_array().unwrap().iter().flat_map(|record| record["changes"].as_array().unwrap()).collect();
    assert_eq!(changes.len(), 10);
    let old = changes.iter().find(|change| change["key"] == "old").unwrap();
    assert_eq!((&old["value"], &old["len"], &old["change"]), (&"/wBhZnRlcg==".into(), &7.into(), &"put".into()));
    let last: Vec<(&str, bool)> =
        log.last_changes().map(|change| (change.key(), matches!(change.kind(), LogChangeKind::Put(_)))).collect();
    assert_eq!(
        last,
        [("a/b", true), (ODD.0, true), ("old", true), ("gone", false), ("from", false), ("to", true), ("large", false)]
    );
    assert_eq!(tree(&dir.join("s")), before);
}

#[test]
fn without_a_log_and_with_one_in_use() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    Store::create(dir.join("plain")).unwrap().close().unwrap();
    assert_eq!(ok(dir, &["log", "plain"]), "no intent log\n");
    assert_eq!(
        serde_json::from_str::<Value>(&ok(dir, &["log", "plain", "--json"])).unwrap()["superblock"],
        Value::Null
    );
    assert!(ok(dir, &["recover", "plain"]).contains("has no intent log"));
    assert!(ok(dir, &["recover", "plain", "--export", "out"]).contains("nothing to export"));
    fs::create_dir(dir.join("empty")).unwrap();
    for command in ["log", "recover"] {
        assert!(fails(1, run(dir, &[command, "empty"])).contains("is not a store"));
        assert!(fails(1, run(dir, &[command, "missing"])).contains("No such file"));
    }
    let store = logged(&dir.join("s"));
    for command in ["log", "recover"] {
        assert!(fails(1, run(dir, &[command, "s"])).contains("another writer has it open"));
    }
    assert!(LogReader::open(dir.join("s")).unwrap_err().is_locked());
    store.close().unwrap();
    let log = LogReader::open(dir.join("s")).unwrap().unwrap();
    assert_eq!((log.superblock().state, log.pending(), log.records().len()), (LogState::Clean, 0, 0));
}

#[test]
fn recover_brings_the_changes_into_the_files() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    let error = Reader::open(dir.join("s")).unwrap_err();
    assert!(error.is_recovery_needed() && error.to_string().contains("(changes: 10); open the store"), "{error}");
    assert!(fails(1, run(dir, &["get", "s", "old"])).contains("run `ringbolt recover`"));
    let text = fails(2, run(dir, &["recover", "s", "--discard", "other"]));
    assert!(text.contains("no change of this key is pending"), "{text}");

    let text = ok(dir, &["recover", "s"]);
    assert_eq!(text, "changes recovered: 10; files written: 4, removed: 2; the intent log is clean\n");
    let reader = Reader::open(dir.join("s")).unwrap();
    for (key, value) in
        [("a/b", &b"second"[..]), (ODD.0, ODD.1.as_bytes()), ("old", b"\xff\x00after"), ("to", b"moved")]
    {
        assert_eq!(reader.get(key).unwrap(), value, "{key:?}");
    }
    assert!(reader.get("gone").unwrap_err().is_not_found() && reader.get("from").unwrap_err().is_not_found());
    assert_eq!(fs::metadata(dir.join("s/a/b")).unwrap().mode() & 0o7777, 0o640);
    assert!(ok(dir, &["log", "s"]).starts_with("log: clean, "));
    assert!(ok(dir, &["recover", "s"]).contains("nothing to recover: no change was pending"));
}

#[test]
fn recover_gives_up_a_key() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    // A file stands where the log needs a directory.
    fs::remove_dir_all(dir.join("s/a")).unwrap();
    fs::write(dir.join("s/a"), "in the way").unwrap();
    let text = fails(1, run(dir, &["recover", "s"]));
    assert!(text.contains("s/a") && text.contains("the changes stay in the log"), "{text}");
    assert!(ok(dir, &["log", "s"]).starts_with("log: recovering, "));
    assert!(Reader::open(dir.join("s")).unwrap_err().is_recovery_needed());
    let text = ok(dir, &["recover", "s", "--discard", "a/b"]);
    assert!(text.contains("files written: 3, removed: 2; changes discarded: 2; the intent log is clean"), "{text}");
    assert_eq!(ok(dir, &["get", "s", "a"]), "in the way");
    assert_eq!(run(dir, &["get", "s", "old"]).stdout, b"\xff\x00after");
}

/// As after a restore from a snapshot.
#[test]
fn recover_accepts_a_copy_if_asked() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    assert!(Command::new("cp").args(["-a", "s", "copy"]).current_dir(dir).status().unwrap().success());
    let text = fails(1, run(dir, &["recover", "copy"]));
    let before = tree(&dir.join("copy"));
    assert!(text.contains("it is a copy") && text.contains("recover --accept-copy"), "{text}");
    assert!(ok(dir, &["log", "copy"]).starts_with("log: a copy, running, "));
    assert_eq!(
        serde_json::from_str::<Value>(&ok(dir, &["log", "copy", "--json"])).unwrap()["superblock"]["is_copy"],
        true
    );
    ok(dir, &["recover", "copy", "--export", "out"]);
    assert_eq!(fs::read(dir.join("out/a/b")).unwrap(), b"second");
    assert_eq!(tree(&dir.join("copy")), before);
    let text = ok(dir, &["recover", "copy", "--accept-copy"]);
    assert_eq!(text, "changes recovered: 10; files written: 4, removed: 2; the intent log is clean\n");
    assert_eq!(ok(dir, &["get", "copy", "a/b"]), "second");
    // The next session makes a log of its own: a copy may share its blocks with the original.
    let inode = || fs::metadata(dir.join("copy/.ringbolt/log")).unwrap().ino();
    let copied = inode();
    drop(logged(&dir.join("copy")));
    assert_ne!(inode(), copied);
    // The original is as it was.
    assert!(ok(dir, &["recover", "s"]).starts_with("changes recovered: 10; "));
}

#[test]
fn export_leaves_the_store_alone() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    let before = tree(&dir.join("s"));
    let text = ok(dir, &["recover", "s", "--export", "out/of/it"]);
    assert!(text.contains("files exported: 4 ") && text.contains("keys that the log removes: 2;"), "{text}");
    let out = dir.join("out/of/it");
    assert_eq!(fs::read(out.join("a/b")).unwrap(), b"second");
    assert_eq!(fs::read(out.join("old")).unwrap(), b"\xff\x00after");
    assert_eq!(fs::read(out.join(ODD.0)).unwrap(), ODD.1.as_bytes());
    assert_eq!(fs::metadata(out.join("a/b")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(tree(&out).iter().filter(|(path, ..)| !path.ends_with("/a")).count(), 4);
    assert!(fails(2, run(dir, &["recover", "s", "--export", "out/of/it"])).contains("is not empty"));
    for within in ["s", "s/out", "s/../s/out/../x"] {
        assert!(fails(2, run(dir, &["recover", "s", "--export", within])).contains("is within the store"), "{within}");
    }
    fails(2, run(dir, &["recover", "s", "--export", "b", "--discard", "old"]));
    assert_eq!(tree(&dir.join("s")), before);
}

/// Nothing is lost on a disk without room for the files: the log keeps every change until there is, and can be exported.
#[test]
fn recover_waits_for_room_on_the_disk() {
    with_mounts("recovery on a full disk", |dir| {
        let Some(disk) = disk(dir, "mkfs.ext4 -q -F -m 0", "rw") else { return };
        let Some(()) = interrupted(&disk) else { return };
        for piece in [1 << 20, 1 << 10, 1] {
            let mut file = fs::File::options().create(true).append(true).open(disk.join("filler")).unwrap();
            while file.write_all(&vec![0; piece]).and_then(|()| file.sync_data()).is_ok() {}
        }
        let text = fails(1, run(&disk, &["recover", "s"]));
        assert!(text.contains("No space left") && text.contains("the changes stay in the log"), "{text}");
        let out = dir.join("out");
        let text = ok(&disk, &["recover", "s", "--export", out.to_str().unwrap()]);
        assert!(text.contains("files exported: 4 "), "{text}");
        assert_eq!(fs::read(out.join("a/b")).unwrap(), b"second");
        assert_eq!(LogReader::open(disk.join("s")).unwrap().unwrap().pending(), 10);
        fs::remove_file(disk.join("filler")).unwrap();
        assert!(ok(&disk, &["recover", "s"]).starts_with("changes recovered: 10; files written: 4, removed: 2;"));
        assert_eq!(Reader::open(disk.join("s")).unwrap().get("a/b").unwrap(), "second");
    });
}

#[test]
fn a_damaged_log_is_named() {
    let dir = dir();
    let dir = dir.path();
    let Some(()) = interrupted(dir) else { return };
    let path = dir.join("s/.ringbolt/log");
    let json: Value = serde_json::from_str(&ok(dir, &["log", "s", "--json"])).unwrap();
    let offset = json["records"][1]["offset"].as_u64().unwrap() as usize;
    let mut bytes = fs::read(&path).unwrap();
    bytes[offset + 30] ^= 1;
    fs::write(&path, &bytes).unwrap();
    for args in [&["log", "s"][..], &["recover", "s"], &["recover", "s", "--export", "out"], &["get", "s", "old"]] {
        let text = fails(1, run(dir, args));
        assert!(text.contains("cannot be used: record ") && text.contains(" is damaged"), "{args:?}: {text}");
    }
    assert!(LogReader::open(dir.join("s")).unwrap_err().is_damaged_log());
    fs::remove_file(&path).unwrap();
    for args in [&["log", "s"][..], &["recover", "s"], &["get", "s", "old"]] {
        assert!(fails(1, run(dir, args)).contains("cannot be used: it is missing"), "{args:?}");
    }
}
