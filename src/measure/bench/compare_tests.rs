use super::*;
use crate::measure::bench::{Asserted, Assertion, Method, NotMeasured, Profile, Series};

fn series(name: &str, rounds: &[f64]) -> Series {
    let p50_us = crate::measure::bench::record::median(&mut rounds.to_vec());
    Series {
        name: name.into(),
        n: 1000,
        p50_us,
        p90_us: p50_us * 2.0,
        p99_us: p50_us * 4.0,
        p999_us: None,
        max_us: p50_us * 8.0,
        p50_interval_us: None,
        ops_per_s: 1e6 / p50_us,
        flushes_per_op: Some(2.0),
        writes_per_op: None,
        kib_per_op: None,
        cpu_us_per_op: None,
        ctx_switches_per_op: None,
        rounds_p50_us: rounds.to_vec(),
        quantiles_us: Vec::new(),
    }
}

fn results(series: Vec<Series>) -> Results {
    let environment = crate::measure::environment::Environment { engine: "portable".into(), ..Default::default() };
    Results {
        schema: SCHEMA.into(),
        version: "1".into(),
        began: String::new(),
        took_s: 1.0,
        partial: false,
        method: Method { mode: "default".into(), rounds: 9, turn_ms: 1, size_bytes: 4096, rate_per_s: None },
        environment,
        summary: None,
        warnings: Vec::new(),
        results: series,
        not_measured: vec![NotMeasured { name: "replace/uring-chain".into(), reason: "refused".into() }],
    }
}

const STEADY: [f64; 9] = [100.0, 101.0, 99.0, 100.0, 100.5, 99.5, 100.0, 101.0, 99.0];

fn change(old: &[f64], new: &[f64]) -> SpeedChange {
    let (old, new) = (results(vec![series("a", old)]), results(vec![series("a", new)]));
    Comparison::of(&old, &new).unwrap().series[0].change
}

#[test]
fn a_change_is_reported_only_if_significant() {
    let times = |factor: f64| STEADY.map(|us| us * factor);
    assert_eq!(change(&STEADY, &STEADY), SpeedChange::Same);
    assert_eq!(change(&STEADY, &times(1.03)), SpeedChange::Same);
    assert_eq!(change(&STEADY, &times(1.2)), SpeedChange::Slower);
    assert_eq!(change(&STEADY, &times(0.8)), SpeedChange::Faster);
    let wild = [50.0, 300.0, 80.0, 150.0, 60.0, 240.0, 70.0, 110.0, 130.0];
    assert_eq!(change(&STEADY, &wild), SpeedChange::CannotTell);
    assert_eq!(change(&wild, &STEADY), SpeedChange::CannotTell);
    assert_eq!(change(&STEADY[..4], &times(2.0)), SpeedChange::CannotTell);
}

#[test]
fn a_run_equals_itself_and_differences_are_reported() {
    let old = results(vec![series("a", &STEADY), series("b", &STEADY)]);
    let mut new = results(vec![series("a", &STEADY), series("c", &STEADY)]);
    let comparison = Comparison::of(&old, &old).unwrap();
    assert!(!comparison.is_slower() && comparison.differences.is_empty() && comparison.missing.is_empty());
    new.environment.filesystem.kind = "xfs".into();
    new.partial = true;
    let comparison = Comparison::of(&old, &new).unwrap();
    assert_eq!(comparison.missing, ["b (old only)", "c (new only)"]);
    assert_eq!(comparison.differences, ["filesystem: \"\" and \"xfs\"", "the new run ended early"]);
    assert!(!comparison.is_drift());
    let four = |rounds: &[f64]| results(["a", "b", "c", "d"].map(|name| series(name, rounds)).to_vec());
    assert!(Comparison::of(&four(&STEADY), &four(&STEADY.map(|us| us * 1.3))).unwrap().is_drift());
    new.method.size_bytes = 512;
    assert!(Comparison::of(&old, &new).unwrap_err().to_string().contains("the file sizes differ: 4096 and 512 bytes"));
    new.method = old.method.clone();
    new.results.remove(0);
    assert!(Comparison::of(&old, &new).unwrap_err().to_string().contains("no series in common"));
}

#[test]
fn another_schema_is_refused() {
    let json = serde_json::to_string(&results(vec![series("a", &STEADY)])).unwrap();
    assert_eq!(Results::from_json(json.as_bytes()).unwrap().results.len(), 1);
    for (text, says) in [
        (
            json.replace("ringbolt-bench/1", "ringbolt-bench/2"),
            "unsupported schema \"ringbolt-bench/2\"; this version reads",
        ),
        (json.replace("\"schema\"", "\"scheme\""), "unsupported schema (none)"),
        (json[..json.len() / 2].to_owned(), "not benchmark results: EOF"),
        (json.replace("\"results\"", "\"result\""), "missing field `results`"),
        ("[]".to_owned(), "unsupported schema (none)"),
        (json.replace("\"ringbolt-bench/1\"", "1"), "unsupported schema (not a string)"),
        (json.replace("ringbolt-bench/1", "\u{9b}31m"), "unsupported schema \"\\u{9b}31m\""),
        (serde_json::to_string(&results(vec![series("a", &STEADY); 2])).unwrap(), "series \"a\" occurs twice"),
    ] {
        let error = Results::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Without serde_json's `float_roundtrip`, this number is read as a neighbouring one.
#[test]
fn a_number_is_read_as_it_was_written() {
    let mut before = results(vec![series("a", &STEADY)]);
    before.results[0].max_us = 2.213_333_333_333_333_8e110;
    let json = serde_json::to_vec(&before).unwrap();
    assert_eq!(Results::from_json(&json).unwrap(), before);
}

#[test]
fn demands_hold_or_say_what_was_found() {
    let results = results(vec![series("replace/portable", &STEADY), series("step/fsync", &STEADY)]);
    for (demand, holds, found) in [
        ("replace.p99<5ms", true, "replace/portable.p99 is 400 µs"),
        ("replace.p50<=100us", true, "is 100 µs"),
        ("replace.p50<0.1ms", false, "is 100 µs"),
        ("replace/portable.p50 < 0.1001 s", true, "is 100 µs"),
        ("step/fsync.max>1µs", true, "step/fsync.max is 800 µs"),
        ("replace.ops_per_s>=10000", true, "is 10000.0"),
        ("replace.flushes_per_op<=1", false, "is 2.0"),
        ("replace.writes_per_op<100", false, "writes_per_op of replace/portable is unknown"),
        ("replace.p999<1s", false, "the run was too short"),
        ("replace/uring-chain.p50<1s", false, "could not be measured: refused"),
        ("store/64xportable.p50<1s", false, "was not measured in this run"),
    ] {
        let assertion: Assertion = demand.parse().unwrap();
        let Asserted { holds: held, found: text } = assertion.check(&results);
        assert!(held == holds && text.contains(found), "{demand}: {held} {text}");
    }
    for (text, says) in [
        ("", "there is no comparison"),
        ("replace.p99", "there is no comparison"),
        ("replace<5ms", "the figure is missing"),
        (".p99<5ms", "the series name is missing"),
        ("replace.p98<5ms", "unknown figure \"p98\"; use one of p50 p90"),
        ("replace.p99<5", "a time needs a unit: 5ms, 5us or 5s"),
        ("replace.p99<fastms", "is not a number"),
        ("replace.p99<-1ms", "is not a number"),
        ("replace.p99==5ms", "there is no comparison"),
        ("replace.ops_per_s>5ms", "is not a number"),
        ("replace.p99<\u{1b}[31m5", "\"\\u{1b}[31m5\" is not a number"),
    ] {
        let error = text.parse::<Assertion>().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn every_profile_can_be_read_and_asks_for_what_every_run_measures() {
    let always: Vec<String> = super::super::select::names(crate::measure::bench::Mode::Quick);
    assert_eq!(Profile::names().count(), 2);
    for name in Profile::names() {
        let profile = Profile::built_in(name).unwrap();
        assert!(profile.name == name && profile.source.starts_with("https://") && !profile.quote.is_empty());
        for assertion in profile.assertions {
            let series = assertion.to_string();
            assert!(always.iter().any(|name| series.starts_with(&format!("{name}."))), "{series}");
        }
    }
    assert!(Profile::from_json(b"{\"name\": \"x\"}").is_err());
    let bad = br#"{"name":"x","about":"","source":"","quote":"","assertions":["nonsense"]}"#;
    assert!(Profile::from_json(bad).unwrap_err().to_string().contains("there is no comparison"));
}
