//! The commands that read: ranges of a key, parts of a listing.

use crate::cli::{fails, ok, run};
use crate::help::*;

#[test]
fn get_a_range() {
    let dir = dir();
    let dir = dir.path();
    let store = ringbolt::Store::builder(dir.join("s")).create().unwrap();
    store.put("k", "0123456789").unwrap();
    store.put("large", pattern(1 << 20)).unwrap();
    for (range, expected) in [
        ("0..4", "0123"),
        ("4..4", ""),
        ("8..", "89"),
        ("..2", "01"),
        ("8..100", "89"),
        ("10..", ""),
        ("100..200", ""),
        ("0..18446744073709551615", "0123456789"),
        ("18446744073709551615..", ""),
    ] {
        assert_eq!(ok(dir, &["get", "s", "k", "--range", range]), expected, "{range}");
    }
    let part = run(dir, &["get", "s", "large", "--range", "300000..900001"]).stdout;
    assert!(part == pattern(1 << 20)[300_000..900_001]);
    for range in ["", "..", "5", "4..2", "0..=4", "a..b", "0-4", "-1..4", "0..99999999999999999999"] {
        let text = fails(2, run(dir, &["get", "s", "k", &format!("--range={range}")]));
        assert!(text.lines().count() == 1 && text.contains("not a range of bytes"), "{range}: {text}");
    }
    assert!(fails(1, run(dir, &["get", "s", "none", "--range", "0..1"])).contains("No such file"));
    assert!(ok(dir, &["help", "get"]).contains("START..END"));
}

#[test]
fn ls_a_part() {
    let dir = dir();
    let dir = dir.path();
    let store = ringbolt::Store::builder(dir.join("s")).create().unwrap();
    for key in ["a/1", "a/2", "a.b", "b", "c/1/2"] {
        store.put(key, key).unwrap();
    }
    for (args, expected) in [
        (&["--limit", "2"][..], "a.b\na/1\n"),
        (&["--after", "a/1"], "a/2\nb\nc/1/2\n"),
        (&["--after", "a/1", "--limit", "1"], "a/2\n"),
        (&["--after", "a/0x"], "a/1\na/2\nb\nc/1/2\n"),
        (&["--after", "not a key//", "--limit", "9"], ""),
        (&["--after", "c/"], "c/1/2\n"),
        (&["a/", "--after", "a/1"], "a/2\n"),
        (&["a/", "--after", "b"], ""),
        (&["--limit", "0"], ""),
    ] {
        let all = [&["ls", "s"], args].concat();
        assert_eq!(ok(dir, &all), expected, "{args:?}");
        // The same keys, with metadata.
        let long = ok(dir, &[&all[..], &["--long"]].concat());
        let keys: Vec<&str> = long.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(keys, expected.lines().collect::<Vec<_>>(), "{args:?}");
        let json: serde_json::Value = serde_json::from_str(&ok(dir, &[&all[..], &["--json"]].concat())).unwrap();
        let keys: Vec<&str> = json.as_array().unwrap().iter().map(|entry| entry["key"].as_str().unwrap()).collect();
        assert_eq!(keys, expected.lines().collect::<Vec<_>>(), "{args:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&ok(dir, &["ls", "s", "--json", "--limit", "1"])).unwrap();
    let version = store.metadata("a.b").unwrap().version.unwrap().to_string();
    assert_eq!((&json[0]["version"], &json[0]["len"]), (&version.into(), &3.into()));
    for limit in ["", "x", "-1", "+1", "1.5", "99999999999999999999999"] {
        let text = fails(2, run(dir, &["ls", "s", &format!("--limit={limit}")]));
        assert!(text.lines().count() == 1 && text.contains("not a number of keys"), "{limit}: {text}");
    }
}
