//! The format of keys.json: the exact bytes written, and the exact errors for invalid files, with line and column.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use ringbolt::sidecar::{ActiveKeys, FILE_MAX, KeyId, Purpose, Sidecar, SidecarError, SidecarKey};

use crate::help::*;

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../data/sidecar/", $name, ".json"))
    };
}

pub(crate) fn id(id: u32) -> KeyId {
    KeyId::new(id).unwrap()
}

pub(crate) fn key(purpose: Purpose, wrapped: &[u8], created: &str, local_epoch: u16) -> SidecarKey {
    SidecarKey { purpose, wrapped: wrapped.into(), created: created.into(), local_epoch }
}

/// The value of the version 1 fixture.
pub(crate) fn fixture() -> Sidecar {
    let created = "2026-04-29T10:00:00Z";
    Sidecar {
        raft_applied_index: 184_273,
        storage_envelope_active: true,
        storage_envelope_cutover_index: None,
        raft_envelope_cutover_index: 184_201,
        active: ActiveKeys { storage: Some(id(305_419_896)), raft: Some(id(2_596_069_104)) },
        keys: BTreeMap::from([
            (id(2_596_069_104), key(Purpose::Raft, &[5, 6, 7, 8], created, 7)),
            (id(305_419_896), key(Purpose::Storage, &[1, 2, 3, 4], created, 7)),
        ]),
    }
}

#[test]
fn the_bytes_are_those_of_the_go_program() {
    let ramp = |len: usize| (0..len).map(|i| i as u8).collect::<Vec<_>>();
    let day = "2026-04-29T10:00:00Z";
    let odd = "<b>&amp;</b> \u{2028} \u{2029} \"\\/ \n\r\t \0\x1f\x7f ä 😀";
    let mut version_2 = fixture();
    version_2.upgrade(0);
    let empty = Sidecar::default;
    let storage = |wrapped: usize| key(Purpose::Storage, &ramp(wrapped), day, 0);
    let raft = |wrapped: usize| key(Purpose::Raft, &ramp(wrapped), day, 0);
    let order = Sidecar {
        active: ActiveKeys { storage: Some(id(2)), raft: Some(id(10)) },
        keys: [(id(1), raft(4)), (id(2), storage(4)), (id(9), raft(4)), (id(10), raft(4))].into(),
        ..empty()
    };
    let escapes = Sidecar { keys: [(id(1), key(Purpose::Storage, &ramp(4), odd, 0))].into(), ..empty() };
    let largest = Sidecar {
        raft_applied_index: u64::MAX,
        storage_envelope_active: true,
        storage_envelope_cutover_index: Some(u64::MAX),
        raft_envelope_cutover_index: u64::MAX,
        active: ActiveKeys { storage: Some(id(u32::MAX)), raft: None },
        keys: [(id(u32::MAX), key(Purpose::Storage, &ramp(4), "", u16::MAX))].into(),
    };
    let wrapped = Sidecar { keys: [(id(1), storage(0)), (id(2), storage(60)), (id(3), raft(4096))].into(), ..empty() };
    let golden: [(Sidecar, &[u8]); 7] = [
        (fixture(), data!("v1_fixture")),
        (version_2, data!("v2_fixture")),
        (empty(), data!("empty_map")),
        (order, data!("key_order")),
        (escapes, data!("escapes")),
        (largest, data!("largest")),
        (wrapped, data!("wrapped")),
    ];
    for (sidecar, bytes) in golden {
        assert_eq!(String::from_utf8_lossy(&sidecar.to_json().unwrap()), String::from_utf8_lossy(bytes));
        assert_eq!(Sidecar::from_json(bytes).unwrap(), sidecar);
    }
    assert_eq!(Sidecar::from_json(data!("v1_nil_map")).unwrap(), empty());
    let nil = data!("v1_nil_slice");
    let read = Sidecar::from_json(nil).unwrap();
    assert_eq!(read, Sidecar { keys: [(id(1), storage(0)), (id(2), raft(0))].into(), ..empty() });
    let written = std::str::from_utf8(nil).unwrap().replace(r#""wrapped": null"#, r#""wrapped": """#);
    assert_eq!(String::from_utf8(read.to_json().unwrap()).unwrap(), written);
}

/// The version 2 fixture, with one piece of its text replaced.
fn damaged(from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(data!("v2_fixture")).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replacen(from, to, 1).into_bytes()
}

/// Asserts that a text is refused with this error.
#[track_caller]
fn refused(json: &[u8], says: &str) {
    let error = Sidecar::from_json(json).unwrap_err();
    assert_eq!(error.to_string(), says);
    assert!(says.starts_with(&error.location().unwrap().to_string()));
    assert_eq!(error.outcome(), ringbolt::Outcome::Unchanged);
}

/// Parses each case of the table of refused texts.
#[test]
fn what_breaks_a_rule_is_refused_by_line_and_column() {
    let cases = include_str!("../data/sidecar/refused.txt");
    let lines: Vec<&str> = cases.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    for case in lines.chunks(3) {
        let part = |n: usize, mark| {
            case[n].strip_prefix(mark).unwrap().strip_prefix(' ').unwrap_or_default().replace('⏎', "\n")
        };
        refused(&damaged(&part(0, '-'), &part(1, '+')), &part(2, '='));
    }
    assert!(lines.len() > 3 * 50);
}

#[test]
fn texts_that_are_not_json_have_specific_errors() {
    let whole = data!("v1_fixture");
    let with = |before: &[u8], after: &[u8]| [before, whole, after].concat();
    for (json, says) in [
        (vec![], "line 1, column 1: the file is empty; restore it from a copy"),
        (
            vec![0; 502],
            "line 1, column 1: the file contains only zero bytes, as after a power cut; restore it from a copy",
        ),
        (with(&[], &[0; 10]), "line 24, column 2: zero bytes, as after a power cut; restore the file from a copy"),
        (
            with("\u{feff}".as_bytes(), b""),
            "line 1, column 1: the file starts with a byte order mark; save it as UTF-8 without one",
        ),
        (with(b"", b"\n{}"), "line 25, column 1: unexpected text after the end; remove it"),
        (with(b"", b"}"), "line 24, column 2: unexpected text after the end; remove it"),
        (whole[..whole.len() - 1].to_vec(), "line 23, column 4: unexpected end of file; restore the file from a copy"),
        (whole[..60].to_vec(), "line 4, column 10: unexpected end of file; restore the file from a copy"),
        (b"{".to_vec(), "line 1, column 1: unexpected end of file; restore the file from a copy"),
        (b"[1, 184273, true]".to_vec(), "line 1, column 1: not a JSON object; restore the file from a copy"),
        (b" \n \"AQIDBA==\"".to_vec(), "line 2, column 2: not a JSON object; restore the file from a copy"),
        (b"\x7fELF".to_vec(), "line 1, column 1: not a JSON object; restore the file from a copy"),
        (
            with(b"", b"")[..].iter().map(|b| if *b == b'Z' { 0xff } else { *b }).collect(),
            "line 14, column 38: invalid UTF-8; restore the file from a copy",
        ),
    ] {
        refused(&json, says);
    }
    let deep =
        [b"{\"version\": 1, \"keys\": ".to_vec(), b"[".repeat(100_000), b"]".repeat(100_000), b"}".to_vec()].concat();
    assert!(matches!(Sidecar::from_json(&deep), Err(SidecarError::MissingField { .. })));
    assert_eq!(Sidecar::from_json(data!("v1_fixture")).unwrap(), fixture());
    let long = vec![b' '; FILE_MAX + 1];
    refused(
        &long,
        "the file has 1048577 bytes, but at most 1048576 are allowed; remove keys that are no longer needed",
    );
    assert!(Sidecar::from_json(&with(b" \r\n\t", b"\n")).is_ok());
    assert!(Sidecar::from_json(&with(b"", &vec![b'\n'; FILE_MAX - whole.len()])).is_ok());
}

/// The position where serde_json stops is not always that of the error, nor on a character boundary.
#[test]
fn syntax_errors_have_exact_positions() {
    let zeros = "zero bytes, as after a power cut; restore the file from a copy";
    let control =
        "not JSON: control character (\\u0000-\\u001F) found while parsing a string; restore the file from a copy";
    let cases: [(&str, &str, &str); 12] = [
        ("{\"\\u00ä\":1}", "line 1, column 8", "not JSON: invalid escape; restore the file from a copy"),
        ("{\"\\u000\n", "line 1, column 8", "not JSON: invalid escape; restore the file from a copy"),
        ("{\"a\":\"\\u0😀\"}", "line 1, column 11", "not JSON: invalid escape; restore the file from a copy"),
        ("{\"😀\u{8}\":1}", "line 1, column 4", control),
        ("{\"a\":\"😀\u{8}\"}", "line 1, column 8", control),
        ("{\"a\n\":1}", "line 1, column 4", control),
        ("{\"a\":\"b\n\n\"}", "line 1, column 8", control),
        ("{\"a\":1}\0\0", "line 1, column 8", zeros),
        ("{\"a\":1\0\0", "line 1, column 7", zeros),
        ("{\"a\0\0", "line 1, column 4", zeros),
        ("{\"a\":{\"b\":\"c\0\0", "line 1, column 13", zeros),
        ("{\"a\":{\"b\":\"ä\0\0", "line 1, column 13", zeros),
    ];
    for (json, at, what) in cases {
        assert_eq!(Sidecar::from_json(json.as_bytes()).unwrap_err().to_string(), format!("{at}: {what}"), "{json:?}");
    }
}

/// Invalid values that the types allow are refused before anything is written.
#[test]
fn what_breaks_a_rule_is_not_written() {
    let dir = dir();
    let path = dir.path().join("keys.json");
    let refused = |sidecar: &Sidecar, says: &str| {
        let error = sidecar.write(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("{path:?}: {says}"));
        assert_eq!(sidecar.to_json().unwrap_err().to_string(), says);
        assert!(!path.exists() && temporaries(dir.path()).is_empty(), "{says}");
    };
    let with = |storage: Option<u32>, raft: Option<u32>| Sidecar {
        active: ActiveKeys { storage: storage.map(id), raft: raft.map(id) },
        ..fixture()
    };
    const FIX: &str = "but there is no such key; use the id of an existing key, or 0 for none";
    refused(&with(Some(7), None), &format!("active.storage is 7, {FIX}"));
    refused(&with(None, Some(8)), &format!("active.raft is 8, {FIX}"));
    refused(&with(Some(7), Some(8)), &format!("active.storage is 7, {FIX}"));
    refused(
        &with(Some(2_596_069_104), None),
        "active.storage is 2596069104, which is a raft key; use a storage key, or 0 for none",
    );
    refused(
        &with(None, Some(305_419_896)),
        "active.raft is 305419896, which is a storage key; use a raft key, or 0 for none",
    );
    let large = Sidecar { keys: [(id(1), key(Purpose::Raft, &vec![0; FILE_MAX], "", 0))].into(), ..fixture() };
    let large = Sidecar { active: ActiveKeys::default(), ..large };
    refused(
        &large,
        "the file has 1398405 bytes, but at most 1048576 are allowed; remove keys that are no longer needed",
    );

    assert!(KeyId::new(0).is_none());
    assert_eq!(KeyId::new(u32::MAX).unwrap().to_string(), "4294967295");
    for text in
        ["", "0", "00", "010", "+1", "-1", " 1", "1 ", "1_0", "0x1", "abc", "4294967296", "99999999999999999999"]
    {
        assert!(text.parse::<KeyId>().is_err(), "{text:?}");
    }
    for name in ["", "Storage", "wal", "raft "] {
        assert_eq!(Purpose::from_name(name), None);
    }
}

#[test]
fn the_version_follows_from_the_data_and_no_write_changes_the_value() {
    let dir = dir();
    let path = dir.path().join("keys.json");
    let mut sidecar = fixture();
    for version in [1, 2] {
        let before = sidecar.clone();
        sidecar.write(&path).unwrap();
        assert_eq!(sidecar, before);
        assert_eq!(sidecar.version(), version);
        assert!(fs::read_to_string(&path).unwrap().starts_with(&format!("{{\n  \"version\": {version},\n")));
        // Reading and writing keeps the version.
        let again = Sidecar::read(&path).unwrap();
        assert_eq!(again, sidecar);
        sidecar.upgrade(5);
    }
    sidecar.upgrade(6);
    assert_eq!(sidecar.storage_envelope_cutover_index, Some(5));
}

fn strings() -> impl Strategy<Value = String> {
    // Go before 1.22 escapes two control characters differently.
    let c = prop_oneof![
        any::<char>(),
        prop::sample::select("<>&\u{2028}\u{2029}\"\\/\0\n\u{7f}\u{feff}😀".chars().collect::<Vec<_>>())
    ];
    prop::collection::vec(c, 0..12).prop_map(|c| c.into_iter().filter(|c| !['\u{8}', '\u{c}'].contains(c)).collect())
}

/// Arbitrary values; most are valid.
pub(crate) fn sidecars() -> impl Strategy<Value = Sidecar> {
    let ids = || prop_oneof![(1_u32..20), any::<u32>().prop_map(|id| id.max(1))].prop_map(id);
    let purposes = || prop::sample::select(Purpose::ALL.to_vec());
    let key = (purposes(), prop::collection::vec(any::<u8>(), 0..70), strings(), any::<u16>())
        .prop_map(|(purpose, wrapped, created, local_epoch)| key(purpose, &wrapped, &created, local_epoch));
    let keys = prop::collection::btree_map(ids(), key, 0..6);
    let other = prop_oneof![9 => Just(None), 1 => ids().prop_map(Some)];
    let choice = (prop::option::of(any::<prop::sample::Index>()), other);
    let indices = (any::<u64>(), any::<bool>(), prop::option::of(any::<u64>()), any::<u64>());
    (indices, keys, choice.clone(), choice).prop_map(|((applied, envelope, storage, raft), keys, first, second)| {
        let pick = |purpose, (index, other): (Option<prop::sample::Index>, Option<KeyId>)| {
            let of_it: Vec<KeyId> = keys.iter().filter(|(_, key)| key.purpose == purpose).map(|(id, _)| *id).collect();
            other.or_else(|| index.filter(|_| !of_it.is_empty()).map(|index| *index.get(&of_it)))
        };
        Sidecar {
            raft_applied_index: applied,
            storage_envelope_active: envelope,
            storage_envelope_cutover_index: storage,
            raft_envelope_cutover_index: raft,
            active: ActiveKeys { storage: pick(Purpose::Storage, first), raft: pick(Purpose::Raft, second) },
            keys,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_is_read(sidecar in sidecars()) {
        match sidecar.to_json() {
            Ok(json) => {
                prop_assert!(sidecar.validate().is_ok());
                prop_assert_eq!(&Sidecar::from_json(&json).unwrap(), &sidecar);
            }
            Err(_) => prop_assert!(sidecar.validate().is_err()),
        }
    }

    #[test]
    fn nothing_makes_the_reader_panic(json in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Sidecar::from_json(&json);
    }
}

/// Every truncation, every lost byte and every changed byte is either refused, or read completely as a different value;
/// only white space makes no difference.
#[test]
fn no_damaged_file_is_taken_for_another() {
    let value = |json: &[u8]| serde_json::from_slice::<serde_json::Value>(json).unwrap();
    for whole in [&data!("v1_fixture")[..], data!("v2_fixture")] {
        let sidecar = Sidecar::from_json(whole).unwrap();
        let read = |json: &[u8]| match Sidecar::from_json(json) {
            Ok(other) => {
                assert_eq!(value(json), value(&other.to_json().unwrap()), "{:?}", String::from_utf8_lossy(json));
                Some(other)
            }
            Err(error) => {
                let text = format!("{error} {error:?}");
                assert!(!text.contains("BQYHC") && !text.contains("AQIDB") && !text.contains('\n'), "{text}");
                None
            }
        };
        for len in 0..whole.len() {
            assert_eq!(read(&whole[..len]), None, "{len}");
        }
        let space = |byte: u8| b" \t\r\n".contains(&byte);
        let (mut refused, mut other) = (0, 0);
        for at in 0..whole.len() {
            let lost = [&whole[..at], &whole[at + 1..]].concat();
            assert!(read(&lost).is_none_or(|found| found != sidecar || space(whole[at])), "{at}");
            for byte in (0..=255).filter(|byte| *byte != whole[at]) {
                let mut damaged = whole.to_vec();
                damaged[at] = byte;
                match read(&damaged) {
                    None => refused += 1,
                    Some(found) if found == sidecar => assert!(space(byte) && space(whole[at]), "{at} {byte}"),
                    Some(_) => other += 1,
                }
            }
        }
        assert!(refused > 20 * other && other > 1000, "{refused} {other}");
    }
}

/// Checks values without a golden file against Go: it reads what we write, and writes the same bytes.
#[test]
fn go_agrees() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    if Command::new("go").arg("version").output().is_err() {
        return skip("the comparison with Go", "the go command is not installed");
    }
    let dir = dir();
    let mut runner = TestRunner::deterministic();
    let mut paths = Vec::new();
    while paths.len() < 300 {
        if let Ok(json) = sidecars().new_tree(&mut runner).unwrap().current().to_json() {
            let path = dir.path().join(paths.len().to_string());
            fs::write(&path, json).unwrap();
            paths.push(path);
        }
    }
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/go/sidecar.go");
    let go = |what: &str, args: &[PathBuf]| {
        let output = Command::new("go").args(["run", program, what]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    go("copy", &paths);
    for path in paths {
        let (ours, theirs) = (fs::read(&path).unwrap(), fs::read(path.with_extension("go")).unwrap());
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    }
    let golden = dir.path().join("golden");
    fs::create_dir(&golden).unwrap();
    go("golden", std::slice::from_ref(&golden));
    for entry in fs::read_dir(golden).unwrap().map(Result::unwrap) {
        let kept = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sidecar")).join(entry.file_name());
        assert!(fs::read(entry.path()).unwrap() == fs::read(&kept).unwrap(), "{kept:?}");
    }
}
