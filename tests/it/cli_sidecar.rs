//! `ringbolt sidecar`: its effects, its messages and its exit status.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use ringbolt::sidecar::{Sidecar, SidecarStore};
use serde_json::Value;

use crate::cli::*;
use crate::help::*;
use crate::sidecar_format::{fixture, id};

pub(crate) const FIXTURE: &str = include_str!("../data/sidecar/v2_fixture.json");

/// A private file `k`.
pub(crate) fn put(dir: &Path, content: impl AsRef<[u8]>) {
    fs::write(dir.join("k"), content).unwrap();
    fs::set_permissions(dir.join("k"), fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn json(dir: &Path, status: i32, args: &[&str]) -> Value {
    let output = run(dir, args);
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_sidecar_is_made_and_changed() {
    for engine in engines() {
        let engine = format!("{engine:?}").to_lowercase();
        let dir = dir();
        let dir = dir.path();
        assert_eq!(ok(dir, &["sidecar", "init", "k", "--engine", &engine]), "");
        assert_eq!(Sidecar::read(dir.join("k")).unwrap(), Sidecar::default());
        let text = fails(1, run(dir, &["sidecar", "init", "k"]));
        assert!(text.contains("File exists") && text.contains("nothing was changed"), "{text}");
        ok(dir, &["sidecar", "init", "two", "--storage-cutover-index", "18446744073709551615"]);
        assert_eq!(Sidecar::read(dir.join("two")).unwrap().storage_envelope_cutover_index, Some(u64::MAX));

        put(dir, fixture().to_json().unwrap());
        ok(dir, &["sidecar", "set-active", "k", "raft", "none", "--engine", &engine]);
        assert_eq!(Sidecar::read(dir.join("k")).unwrap().active.raft, None);
        ok(dir, &["sidecar", "set-active", "k", "raft", "2596069104", "--engine", &engine]);
        assert_eq!(Sidecar::read(dir.join("k")).unwrap(), fixture());
        let text = fails(1, run(dir, &["sidecar", "set-active", "k", "raft", "305419896"]));
        assert!(text.contains("is a storage key; use a raft key") && text.contains("nothing was changed"), "{text}");
        assert!(fails(1, run(dir, &["sidecar", "set-active", "k", "raft", "7"])).contains("no such key"));
        for wrong in [["raft", "07"], ["raft", "x"], ["wal", "7"], ["raft", "4294967296"]] {
            fails(2, run(dir, &["sidecar", "set-active", "k", wrong[0], wrong[1]]));
        }
        ok(dir, &["sidecar", "upgrade", "k", "--storage-cutover-index", "9", "--engine", &engine]);
        assert_eq!(Sidecar::read(dir.join("k")).unwrap().storage_envelope_cutover_index, Some(9));
        for same in [&["sidecar", "upgrade", "k"][..], &["sidecar", "upgrade", "k", "--storage-cutover-index", "9"]] {
            assert!(ok(dir, same).contains("already version 2, with storage cutover index 9"));
        }
        let text = fails(1, run(dir, &["sidecar", "upgrade", "k", "--storage-cutover-index", "8"]));
        assert!(text.contains("nothing was changed"), "{text}");
        assert_eq!(Sidecar::read(dir.join("k")).unwrap().storage_envelope_cutover_index, Some(9));
        assert!(temporaries(dir).is_empty());
    }
}

/// While a node has the file open, no other process can change it, but all can read it.
#[test]
fn a_running_node_is_not_disturbed() {
    let dir = dir();
    let dir = dir.path();
    let store = SidecarStore::create(dir.join("k"), fixture()).unwrap();
    for args in
        [&["sidecar", "set-active", "k", "raft", "none"][..], &["sidecar", "upgrade", "k"], &["sidecar", "init", "l"]]
    {
        let text = fails(1, run(dir, args));
        assert!(text.contains("another writer has it open") && text.contains("nothing was changed"), "{text}");
    }
    ok(dir, &["sidecar", "show", "k"]);
    ok(dir, &["sidecar", "check", "k"]);
    assert_eq!(store.bump_local_epoch(id(305_419_896)).unwrap(), 8);
}

#[test]
fn show_keeps_the_wrapped_keys_to_itself() {
    let dir = dir();
    let dir = dir.path();
    put(dir, FIXTURE);
    for args in [&["sidecar", "show", "k"][..], &["sidecar", "show", "k", "--json"]] {
        let text = ok(dir, args);
        assert!(!text.contains("AQIDBA") && !text.contains("BQYHCA"), "{text}");
        for shown in ["184273", "184201", "305419896", "2596069104", "2026-04-29T10:00:00Z"] {
            assert!(text.contains(shown), "{text}");
        }
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        let args = [args, &["--wrapped"]].concat();
        let text = ok(dir, &args);
        assert!(text.contains("AQIDBA==") && text.contains("BQYHCA=="), "{text}");
    }
    let value = json(dir, 0, &["sidecar", "show", "k", "--json"]);
    assert_eq!((&value["version"], &value["active"]["raft"]), (&2.into(), &2_596_069_104_u32.into()));
    assert_eq!((&value["keys"][0]["id"], &value["keys"][0]["wrapped_bytes"]), (&305_419_896.into(), &4.into()));
    ok(dir, &["sidecar", "set-active", "k", "raft", "none"]);
    assert_eq!(json(dir, 0, &["sidecar", "show", "k", "--json"])["active"]["raft"], Value::Null);
    fails(3, run(dir, &["sidecar", "show", "no"]));
    put(dir, "{}");
    fails(1, run(dir, &["sidecar", "show", "k"]));
}

/// The exit status is correct even if nobody reads the output.
#[test]
fn check_answers_into_a_closed_pipe() {
    let dir = dir();
    put(dir.path(), "{}");
    for (file, status) in [("k", 1), ("no", 3)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = ringbolt(dir.path());
        let output = command.args(["sidecar", "check", file, "--json"]).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
    }
}

/// A file that cannot be read is neither valid nor damaged.
#[test]
fn check_does_not_judge_an_unreadable_file() {
    let dir = dir();
    fs::write(dir.path().join("k"), FIXTURE).unwrap();
    let text = fails(4, run(dir.path(), &["sidecar", "check", "k/below"]));
    assert!(text.contains("Not a directory"), "{text}");
    assert_eq!(json(dir.path(), 4, &["sidecar", "check", "k/below", "--json"])["valid"], Value::Null);
}

/// For each kind of damage, one line names the file and says what to do.
#[test]
fn check_explains_each_kind_of_damaged_file() {
    let dir = dir();
    let dir = dir.path();
    let replaced = |from: &str, to: &str| FIXTURE.replacen(from, to, 1).into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (FIXTURE.as_bytes()[..300].to_vec(), "unexpected end of file; restore the file from a copy"),
        (vec![], "the file is empty; restore it from a copy"),
        (vec![0; 541], "only zero bytes, as after a power cut; restore it from a copy"),
        ([FIXTURE.as_bytes(), b"{}"].concat(), "unexpected text after the end; remove it"),
        ([b"\xef\xbb\xbf", FIXTURE.as_bytes()].concat(), "byte order mark; save it as UTF-8 without one"),
        (replaced("2026", "\u{1}"), "found while parsing a string; restore the file from a copy"),
        (FIXTURE.bytes().map(|byte| if byte == b'Z' { 0xff } else { byte }).collect(), "invalid UTF-8"),
        (replaced("\"version\": 2", "\"version\": 9"), "unsupported version 9 (supported: 1 and 2)"),
        (replaced("  \"version\": 2,\n", ""), "the version (1 or 2) is missing; restore the file from a copy"),
        (replaced("\"version\": 2", "\"version\": 1"), "make the file version 2, or remove it"),
        (replaced("\"created\"", "\"Created\""), "no field \"keys.2596069104.Created\" in version 2; remove it"),
        (
            replaced("\"created\"", "\"wrapped\""),
            "field \"keys.2596069104.wrapped\" occurs twice; keep the right one, or restore the file from a copy",
        ),
        (
            replaced("  \"raft_applied_index\": 184273,\n", ""),
            "field \"raft_applied_index\" is missing; add it, or restore the file from a copy",
        ),
        (
            replaced("184273", "-1"),
            "must be an integer from 0 to 18446744073709551615, found -1; correct it, or restore the file from a copy",
        ),
        (replaced("\"305419896\"", "\"0305\""), "\"0305\" is not the id of a key: no leading zeros"),
        (replaced("\"305419896\"", "\"0\""), "key id 0 is reserved: it means \"none\"; restore the file from a copy"),
        (
            replaced("\"305419896\"", "\"2596069104\""),
            "two keys have id 2596069104; keep the one that unwraps, or restore the file from a copy",
        ),
        (replaced("\"raft\",", "\"wal\","), "unknown purpose: \"wal\"; it must be \"storage\" or \"raft\""),
        (
            replaced("AQIDBA==", "AQIDBA"),
            "is not standard padded base64: the padding is wrong; restore the file from a copy",
        ),
        (replaced("\"raft\": 2596069104", "\"raft\": 3"), "no such key; use the id of an existing key, or 0 for none"),
        (replaced("\"raft\": 2596069104", "\"raft\": 305419896"), "use a raft key, or 0 for none"),
        (vec![b' '; (1 << 20) + 1], "the file has 1048577 bytes, but at most 1048576 are allowed; remove keys"),
    ];
    for (content, says) in cases {
        put(dir, content);
        let text = fails(1, run(dir, &["sidecar", "check", "k"]));
        assert!(text.starts_with("ringbolt: \"k\"") && text.contains(says), "{text}");
        assert!(!text.contains("AQID") && text.len() < 240, "{text}");
        let value = json(dir, 1, &["sidecar", "check", "k", "--json"]);
        assert_eq!((&value["valid"], &value["canonical"]), (&false.into(), &Value::Null));
        assert_eq!(format!("ringbolt: {}\n", value["error"].as_str().unwrap()), text);
        assert!(value["line"].as_u64() >= Some(1) || says.contains("1048577 bytes"), "{value}");
    }
}

#[test]
fn check_explains_a_file_that_is_not_private() {
    let dir = dir();
    let dir = dir.path();
    let check = |status: i32| fails(status, run(dir, &["sidecar", "check", "k"]));
    assert_eq!(
        check(3),
        "ringbolt: \"k\" does not exist; create it with `ringbolt sidecar init`, in an existing directory\n"
    );
    assert_eq!(json(dir, 3, &["sidecar", "check", "k", "--json"])["valid"], Value::from(false));
    put(dir, FIXTURE);
    let valid = "\"k\": valid, version 2, 2 keys, active: storage 305419896, raft 2596069104\n";
    assert_eq!(ok(dir, &["sidecar", "check", "k"]), valid);
    fs::set_permissions(dir.join("k"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(check(1).contains("has mode 0644, so other users may access it; run chmod 600 on it, or allow it"));
    assert_eq!(ok(dir, &["sidecar", "check", "k", "--allow-shared"]), valid);
    // A file written by hand, and a temporary file of an interrupted write.
    put(dir, format!("{FIXTURE}\n"));
    fs::write(dir.join("k.tmp"), "").unwrap();
    let text = ok(dir, &["sidecar", "check", "k"]);
    assert!(text.starts_with(valid) && text.contains("the formatting differs from ringbolt's"), "{text}");
    assert!(text.contains("\"k.tmp\" exists: a write is in progress or was interrupted"), "{text}");
    let value = json(dir, 0, &["sidecar", "check", "k", "--json"]);
    assert_eq!((&value["canonical"], &value["temporary"]), (&false.into(), &true.into()));
    ok(dir, &["sidecar", "upgrade", "k"]);
    // A command that changes nothing else still normalizes the file, and a mode that is too wide.
    for mode in [0o600, 0o644] {
        fs::set_permissions(dir.join("k"), fs::Permissions::from_mode(mode)).unwrap();
        ok(dir, &["sidecar", "set-active", "k", "raft", "2596069104", "--allow-shared"]);
        assert_eq!(ok(dir, &["sidecar", "check", "k"]), valid);
    }
    // A wrong active id can be repaired.
    put(dir, FIXTURE.replacen("\"raft\": 2596069104", "\"raft\": 3", 1));
    assert!(check(1).contains("no such key; use the id of an existing key, or 0 for none"));
    ok(dir, &["sidecar", "set-active", "k", "raft", "2596069104"]);
    assert_eq!(ok(dir, &["sidecar", "check", "k"]), valid);
    fs::rename(dir.join("k"), dir.join("real")).unwrap();
    symlink("real", dir.join("k")).unwrap();
    assert!(check(1).contains("is a symbolic link, not a regular file"));
    fs::remove_file(dir.join("k")).unwrap();
    fs::create_dir(dir.join("k")).unwrap();
    assert!(check(1).contains("is a directory, not a regular file"));
    fs::remove_dir(dir.join("k")).unwrap();
    nix::unistd::mkfifo(&dir.join("k"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(check(1).contains("is a FIFO, a socket or a device, not a regular file"));
}

#[test]
fn its_help_and_manual_are_there() {
    let dir = dir();
    let dir = dir.path();
    let help = ok(dir, &["help", "sidecar"]);
    for word in ["init", "show", "check", "set-active", "upgrade", "Exit status", "3  the file does not exist"] {
        assert!(help.contains(word), "{help}");
    }
    assert!(ok(dir, &["help", "sidecar", "check"]).contains("--allow-shared"));
    assert!(ok(dir, &["man", "sidecar"]).contains(".TH ringbolt-sidecar"));
    assert!(ok(dir, &["man", "sidecar", "set-active"]).contains(".TH ringbolt-sidecar-set-active"));
    fails(2, run(dir, &["man", "sidecar", "nope"]));
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(dir, &["completions", shell]);
        for word in ["sidecar", "set-active", "storage-cutover-index", "allow-shared", "wrapped"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    fails(2, run(dir, &["sidecar"]));
}
